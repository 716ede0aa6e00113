"""How sure the shown roles are: measured once for a run, as a job, then at hand for every setting."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.errors import show_error
from pages.parts.exports import picture_config
from pages.parts.job_view import draw_job
from pages.parts.jobs import Job, jobs
from pages.parts.models import slot
from pages.parts.screen import Screen
from ssah_core.errors import SsahError
from ssah_core.models.loading import Model
from ssah_core.roles import Roles
from ssah_core.runs import Run
from ssah_core.stability import Blocks, Stability, bootstrap, convergence, measure_blocks
from ssah_core.stability_figures import convergence_curves

_MEASURING = "Measuring how sure the roles are of the run"
_MOST_KEPT = 8  # settings of one run


@dataclass
class Measured:
    """What was measured of one run, for everybody who uses the app: its blocks, and what each setting
    of the roles came to. Another run takes its place: the blocks of a 7B model are 1 GB.
    """

    run: str = ""
    blocks: Blocks | None = None
    found: dict[str, tuple[Stability, pd.DataFrame]] = field(default_factory=dict)

    def of(self, run: Run, roles: Roles) -> tuple[Stability, pd.DataFrame] | None:
        """How sure these roles are, and how they settle; None where it was not measured."""
        return self.found.get(_key(roles)) if self.run == run.digest else None

    def measure(self, model: Model, run: Run, roles: Roles, job: Job) -> None:
        """Measure what is missing: the blocks once for the run, the rest for these roles."""
        telling: dict[str, Any] = {"report": job.report, "cancelled": job.stopping}
        run.check_model(model)
        blocks = self.blocks if self.run == run.digest else None
        if blocks is None:
            blocks = measure_blocks(model, run.scores, **telling)
            self.run, self.blocks, self.found = run.digest, blocks, {}
        found = bootstrap(roles, blocks, **telling), convergence(roles, blocks, **telling)
        newest = list(self.found.items())[-(_MOST_KEPT - 1) :]
        self.found = dict([*newest, (_key(roles), found)])


@st.cache_resource(show_spinner=False)
def measured() -> Measured:
    """What this app has measured."""
    return Measured()


def stability_of(run: Run, roles: Roles) -> Stability | None:
    """How sure these roles of the run are; None until it was measured."""
    found = measured().of(run, roles)
    return None if found is None else found[0]


def _key(roles: Roles) -> str:
    return f"{roles.tokens} {roles.kinds} {hashlib.sha256(roles.vector.tobytes()).hexdigest()}"


def draw_stability(screen: Screen, roles: Roles) -> None:
    """Draw how sure the roles are, or the button that measures it."""
    assert screen.run is not None
    with st.expander("How sure are these roles?", key="stability", icon=":material/balance:"):
        job = jobs().current
        if job is not None and job.result is not None and job.about == _MEASURING:
            jobs().forget()
        found = measured().of(screen.run, roles)
        if found is None:
            _draw_start(screen, roles)
        else:
            _draw_found(*found)


def _draw_start(screen: Screen, roles: Roles) -> None:
    assert screen.run is not None
    known = measured().run == screen.run.digest
    st.caption(
        "Would other prompts of the same kind have given the same roles? "
        + (
            "The prompts are measured; these settings of the roles are not."
            if known
            else "One pass over the calibration prompts, block by block, tells. It takes about as long as "
            "the scoring did; for other settings of the roles it is quick then."
        )
    )
    job = jobs().current
    if job is not None and (job.running or job.about == _MEASURING):
        draw_job(lambda job: None, "layers")
        return
    if st.button("Measure", icon=":material/play_arrow:", key="measure stability"):
        try:
            _start(screen, roles)
        except SsahError as error:
            show_error(error)
            return
        st.rerun()


def _start(screen: Screen, roles: Roles) -> None:
    run, models, kept = screen.run, slot(), measured()
    assert run is not None

    def work(job: Job) -> bool:
        with models.lease() as model:
            kept.measure(model, run, roles, job)
        return True

    jobs().start(
        screen.run_name or "", _MEASURING, work, lambda: _start(screen, roles), screen="layers"
    )


def _draw_found(found: Stability, settled: pd.DataFrame) -> None:
    table = found.by_role.round(2)
    least = table.loc[table["jaccard"].idxmin()]
    st.markdown(
        f"On average a unit keeps its role in **{found.sure.mean():.0%}** of {len(found.overlaps)} "
        f"resamples of the calibration prompts. The least stable role is **{least['role']}**: its units "
        f"overlap with a resample's by {least['jaccard']:.2f} (Jaccard index; by chance it would be "
        f"{least['chance']:.2f})."
    )
    st.dataframe(
        table,
        hide_index=True,
        alt="How sure each role is",
        column_config={
            "sure": st.column_config.NumberColumn("sure (mean)", format="percent"),
            "jaccard": st.column_config.NumberColumn("Jaccard index", format="%.2f"),
            "low": st.column_config.NumberColumn("low (95%)", format="%.2f"),
            "high": st.column_config.NumberColumn("high (95%)", format="%.2f"),
            "chance": st.column_config.NumberColumn("by chance", format="%.2f"),
        },
    )
    st.plotly_chart(
        convergence_curves(settled),
        key="convergence",
        alt="The overlap of each role against the share of the calibration prompts",
        config=picture_config("convergence"),
    )
    st.caption(
        "Solid: roles from some of the prompts beside those from all. Dashed: beside those from as many "
        "other prompts, none in common. Every unit's own value stands with the unit in focus, and in the CSV file."
    )

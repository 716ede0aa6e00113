"""How sure the shown roles are: measured once for a run, as a job, then at hand for every setting."""

from __future__ import annotations

import hashlib

import streamlit as st

from pages.parts.errors import show_error
from pages.parts.exports import picture_config
from pages.parts.job_view import draw_job
from pages.parts.jobs import Job, jobs
from pages.parts.models import slot
from pages.parts.screen import Screen
from ssah_core.errors import SsahError
from ssah_core.roles import Roles
from ssah_core.runs import Run
from ssah_core.stability import Blocks, Stability, bootstrap, convergence, measure_blocks
from ssah_core.stability_figures import convergence_curves

_MEASURING = "Measuring how sure the roles are of the run"


@st.cache_resource(show_spinner=False)
def measured_blocks() -> dict[str, Blocks]:
    """The blocks of every run that was measured since the app started, by the run's digest."""
    return {}


def stability_of(run: Run, roles: Roles) -> Stability | None:
    """How sure these roles of the run are; None until it was measured."""
    if run.digest not in measured_blocks():
        return None
    return _bootstrapped(_key(run, roles), roles, run.digest)


def _key(run: Run, roles: Roles) -> str:
    vector = hashlib.sha256(roles.vector.tobytes()).hexdigest()
    return f"{run.digest} {roles.tokens} {roles.kinds} {vector}"


@st.cache_resource(show_spinner="Resampling the calibration prompts", max_entries=8)
def _bootstrapped(key: str, _roles: Roles, digest: str) -> Stability:
    return bootstrap(_roles, measured_blocks()[digest])


@st.cache_data(show_spinner=False, max_entries=8)
def _settled(key: str, _roles: Roles, digest: str):  # type: ignore[no-untyped-def]
    return convergence(_roles, measured_blocks()[digest])


def draw_stability(screen: Screen, roles: Roles) -> None:
    """Draw how sure the roles are, or the button that measures it."""
    assert screen.run is not None
    with st.expander("How sure are these roles?", icon=":material/balance:"):
        found = stability_of(screen.run, roles)
        if found is None:
            _draw_start(screen)
            return
        job = jobs().current
        if job is not None and job.about == _MEASURING:
            jobs().forget()
        _draw_found(screen.run, found)


def _draw_start(screen: Screen) -> None:
    st.caption(
        "Would other prompts of the same kind have given the same roles? One pass over the calibration "
        "prompts, block by block, answers for every setting of the shares. It takes about as long as "
        "the scoring did."
    )
    if draw_job(lambda job: st.success("Done.")):
        return
    if st.button("Measure", icon=":material/play_arrow:", key="measure stability"):
        try:
            _start(screen)
        except SsahError as error:
            show_error(error)
            return
        st.rerun()


def _start(screen: Screen) -> None:
    run, models = screen.run, slot()
    assert run is not None
    kept = measured_blocks()

    def work(job: Job) -> bool:
        with models.lease() as model:
            run.check_model(model)
            kept[run.digest] = measure_blocks(
                model, run.scores, report=job.report, cancelled=job.stopping
            )
        return True

    jobs().start(screen.run_name or "", _MEASURING, work, lambda: _start(screen))


def _draw_found(run: Run, found: Stability) -> None:
    table = found.by_role
    rarest = table.loc[table["jaccard"].idxmin()]
    st.markdown(
        f"On average a unit keeps its role in **{found.sure.mean():.0%}** of {len(found.overlaps)} "
        f"resamples of the calibration prompts. The least stable role is **{rarest['role']}**: its units "
        f"overlap with a resample's by {rarest['jaccard']:.2f} (Jaccard index; by chance it would be "
        f"{rarest['chance']:.2f})."
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
        convergence_curves(_settled(_key(run, found.roles), found.roles, run.digest)),
        key="convergence",
        alt="The overlap of each role against the share of the calibration prompts",
        config=picture_config("convergence"),
    )
    st.caption(
        "Solid: roles from some of the prompts beside those from all. Dashed: beside those from as many "
        "other prompts, none in common. Every unit's own value stands with the unit below, and in the CSV file."
    )

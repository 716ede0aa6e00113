"""A scoring as a job: what it does, and where its run opens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import streamlit as st

from pages.parts.jobs import Job, jobs
from pages.parts.models import slot
from pages.parts.places import address_of, page_file
from ssah_core.errors import ModelError
from ssah_core.roles import assign_roles
from ssah_core.runs import create_run, save_roles
from ssah_core.scoring.score import score

if TYPE_CHECKING:
    from pages.parts.score_form import ScoreRequest

_USUAL_SHARES = {"esu": 0.08, "euu": 0.10, "ru": 0.15}
SCORING = "Scoring"


def start_scoring(request: ScoreRequest) -> None:
    """Start a scoring; it goes on from its partial work where it was stopped before."""
    models = slot()

    def work(job: Job) -> str:
        start = time.monotonic()
        with models.lease() as model:
            if model.name != request.model:
                raise ModelError(f"{request.model} is not open any more; open it and start again.")
            scores = score(
                model,
                safety=request.safety,
                utility=request.utility,
                skip_too_long=request.skip_too_long,
                checkpoint=request.folder.with_name(f".{request.folder.name}.partial"),
                report=job.report,
                cancelled=job.stopping,
            )
            run = create_run(request.folder, model, scores, seconds=time.monotonic() - start)
        save_roles(run, assign_roles(scores, **_USUAL_SHARES))
        return request.name

    about = f"{SCORING} {address_of(request.model)} into the run"
    jobs().start(request.name, about, work, lambda: start_scoring(request), screen="score")


def open_when_done(job: Job) -> None:
    """Draw the end of a job as the Score screen shows it."""
    st.success("Done. The run is kept; its roles are read with the usual shares.")
    opened = st.button(
        "Open in Layers",
        type="primary",
        icon=":material/layers:",
        on_click=_open,
        args=(job.result,),
    )
    st.button("Score again", on_click=jobs().forget, type="tertiary")
    if opened:
        jobs().forget()
        st.switch_page(page_file("layers"))


def _open(name: str) -> None:
    st.session_state["run"] = name

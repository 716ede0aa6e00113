"""A scoring as a job: started, watched, stopped, gone on with, and opened."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import streamlit as st

from pages.parts.errors import plain, show_error
from pages.parts.jobs import Job, jobs
from pages.parts.models import slot
from pages.parts.places import address_of, page_file
from ssah_core.errors import ModelError, SsahError
from ssah_core.roles import assign_roles
from ssah_core.runs import create_run, save_roles
from ssah_core.scoring.score import score

if TYPE_CHECKING:
    from pages.parts.score_form import ScoreRequest

_USUAL_SHARES = {"esu": 0.08, "euu": 0.10, "ru": 0.15}


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

    jobs().start(
        request.name, f"Scoring {address_of(request.model)}", work, lambda: start_scoring(request)
    )


def draw_job() -> bool:
    """Draw the job, running or over; False where there is none."""
    job = jobs().current
    if job is None:
        return False
    with st.container(border=True, key="job"):
        st.markdown(f"**{plain(job.about)}** into the run **{plain(job.name)}**")
        if job.running:
            _watch(job)
        else:
            _draw_end(job)
    return True


@st.fragment(run_every=0.5)
def _watch(job: Job) -> None:
    """Draw the progress twice a second; a whole drawing follows when the job is over."""
    if not job.running:
        st.rerun()
    said = job.progress
    if said is None:
        st.progress(0.0, "Getting ready.")
    else:
        left = "" if said.seconds_left is None else f", about {said.seconds_left:.0f} s left"
        text = f"{said.stage.capitalize()}: {said.done:,} of {said.total:,} {said.unit}{left}"
        st.progress(min(1.0, said.done / max(1, said.total)), text)
    st.button("Stop", icon=":material/stop_circle:", key="stop job", on_click=job.stop)
    st.caption("It goes on while you look at other screens. What is done is kept if it is stopped.")


def _draw_end(job: Job) -> None:
    if job.result is not None:
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
        return
    if job.error is not None:
        st.error(plain(str(job.error)))
    else:
        st.info("Stopped. What was done is kept: it can go on from there.")
    with st.container(horizontal=True, gap="small"):
        st.button("Go on", type="primary", on_click=_go_on, args=(job,))
        st.button("Back to the form", on_click=jobs().forget)


def _open(name: str) -> None:
    st.session_state["run"] = name


def _go_on(job: Job) -> None:
    try:
        job.again()
    except SsahError as error:  # somebody else was faster
        show_error(error)

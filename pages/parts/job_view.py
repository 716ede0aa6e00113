"""A job on the screen: its progress, its end, and what can be done with both."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from pages.parts.errors import plain, show_error
from pages.parts.jobs import Job, jobs
from ssah_core.errors import SsahError


def draw_job(draw_done: Callable[[Job], None]) -> bool:
    """Draw the job, running or over; False where there is none. `draw_done` draws what it came to."""
    job = jobs().current
    if job is None:
        return False
    with st.container(border=True, key="job"):
        st.markdown(f"**{plain(job.about)}**: **{plain(job.name)}**")
        if job.running:
            _watch(job)
        elif job.result is not None:
            draw_done(job)
        else:
            _draw_stopped(job)
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


def _draw_stopped(job: Job) -> None:
    if job.error is not None:
        st.error(plain(str(job.error)))
    else:
        st.info("Stopped. What was done is kept: it can go on from there.")
    with st.container(horizontal=True, gap="small"):
        st.button("Go on", type="primary", on_click=_go_on, args=(job,))
        st.button("Back to the form", on_click=jobs().forget)


def _go_on(job: Job) -> None:
    try:
        job.again()
    except SsahError as error:  # somebody else was faster
        show_error(error)

"""A job on the screen: its progress, its end, and what can be done with both."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from pages.parts.errors import plain, show_error
from pages.parts.jobs import Job, jobs
from pages.parts.places import page_file
from ssah_core.errors import SsahError

_SHOWN = "the job whose result was chosen"


def draw_job(draw_done: Callable[[Job], None], screen: str) -> bool:
    """Draw the job, running or over, on one of the screens; `draw_done` draws what it came to.

    False where there is none to wait for or to look at here: one of another screen that is over is a line.
    """
    job = jobs().current
    if job is None:
        return False
    if not job.running and job.screen not in ("", screen):
        _draw_elsewhere(job)
        return False
    if job.result is not None and job.chooses and st.session_state.get(_SHOWN) != job.started:
        st.session_state[_SHOWN] = job.started  # once: then the choice is the user's
        key, value = job.chooses
        st.session_state[key] = value
    with st.container(border=True, key="job"):
        st.markdown(f"**{plain(job.about)}**: **{plain(job.name)}**")
        if job.running:
            _watch(job)
        elif job.result is not None:
            draw_done(job)
        else:
            _draw_stopped(job)
    return True


def _draw_elsewhere(job: Job) -> None:
    over = "has failed" if job.error else "is done" if job.result is not None else "was stopped"
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.caption(f"{plain(job.about)}: {plain(job.name)} {over}.")
        st.page_link(page_file(job.screen), label=f"See it on {job.screen.capitalize()}")


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

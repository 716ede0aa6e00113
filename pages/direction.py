"""The Direction screen: whether models read a request as one to refuse or as one to fulfil."""

import streamlit as st

from pages.parts.job_view import draw_job
from pages.parts.kept_pick import pick_finished
from pages.parts.probe_form import draw_form, open_when_done
from pages.parts.probe_result import draw_result
from pages.parts.screen import Screen, show_screen


def draw(screen: Screen) -> None:
    """Draw the job if there is one, else the form; below, the probe that was chosen."""
    if not draw_job(open_when_done, "direction"):
        draw_form(screen)
    st.divider()
    name = pick_finished("probe")
    if name is not None:
        draw_result(name)


show_screen(
    "direction",
    "Which way does a request point?",
    "A probe sets the model's hidden state after a request beside its state once the reply has begun: "
    "with words that refuse, with words that comply, and with neutral words.",
    (
        "reasoning direction",
        "hidden state",
        "continuation",
        "cosine distance",
        "Euclidean distance",
        "block",
        "probe",
        "aligned",
        "refusal",
        "ablation",
        "control",
        "interval",
        "run",
    ),
    draw,
)

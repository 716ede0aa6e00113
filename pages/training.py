"""The Training screen: fine-tune the open model with units that stay or learn alone, and the experiments."""

import streamlit as st

from pages.parts import experiment_form, experiment_result, training_form, training_result
from pages.parts.job_view import draw_job
from pages.parts.jobs import Job
from pages.parts.screen import Screen, show_screen

_ONE, _EXPERIMENTS = "One training", "Experiments"


def draw(screen: Screen) -> None:
    """Draw the choice between one training and experiments, the job or the form, and what there is."""
    shown = st.segmented_control(
        "Show", (_ONE, _EXPERIMENTS), default=_ONE, required=True, key="training_shows"
    )
    one = shown == _ONE
    if not draw_job(_draw_done, "training"):
        (training_form if one else experiment_form).draw_form(screen)
    if one:
        training_result.draw_trained()
    else:
        experiment_result.draw_experiments()


def _draw_done(job: Job) -> None:
    if job.about.startswith(training_form.TRAINING):
        training_form.open_when_done(job)
    else:
        experiment_form.open_when_done(job)


show_screen(
    "training",
    "How does training move safety?",
    "Fine-tune a copy of the open model, with units that stay bitwise as they are or that learn alone, and "
    "follow refusals and roles while it learns. Experiments compare such trainings, with controls.",
    (
        "fine-tuning",
        "frozen units",
        "alignment budget",
        "attribute transfer",
        "by chance",
        "identity shift",
        "lesson",
        "epoch",
        "learning rate",
        "role",
        "share",
        "refusal",
        "KL divergence",
        "interval",
        "seed",
    ),
    draw,
)

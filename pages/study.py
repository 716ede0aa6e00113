"""The Study screen: what removing each role does, beside as many random units."""

from pages.parts.job_view import draw_job
from pages.parts.jobs import Job
from pages.parts.kept_pick import pick_finished
from pages.parts.screen import Screen, show_screen
from pages.parts.share_form import FINDING, draw_shares, say_found
from pages.parts.study_form import draw_form, open_when_done
from pages.parts.study_result import draw_result


def draw(screen: Screen) -> None:
    """Draw the job if there is one, else the form; below, the study that was chosen."""
    if not draw_job(_draw_done, "study"):
        draw_form(screen)
    draw_shares(screen)
    name = pick_finished("study")
    if name is not None:
        draw_result(name)


def _draw_done(job: Job) -> None:
    (say_found if job.about == FINDING else open_when_done)(job)


show_screen(
    "study",
    "What does removing each role do?",
    "A study switches off each role in turn, and as many random units, asks prompts that the scoring "
    "never saw, and counts refusals and answers.",
    (
        "study",
        "role",
        "ablation",
        "control",
        "refusal",
        "look-alike",
        "judge",
        "complied",
        "attack success",
        "interval",
        "perplexity",
        "KL divergence",
        "share",
        "validation prompts",
        "system prompt",
        "seed",
        "fill",
        "run",
    ),
    draw,
)

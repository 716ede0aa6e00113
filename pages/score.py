"""The Score screen: score the open model on prompts of one's own, as a job."""

from pages.parts.job_view import draw_job
from pages.parts.score_form import draw_form
from pages.parts.score_job import open_when_done
from pages.parts.screen import Screen, show_screen


def draw(screen: Screen) -> None:
    """Draw the job if there is one, else the form that starts one."""
    if not draw_job(open_when_done, "score"):
        draw_form(screen)


show_screen(
    "score",
    "Score the open model",
    "Scoring reads two sets of prompts, one harmful and one ordinary, and measures how strongly every "
    "unit speaks on each. The result is a run, from which the roles are read.",
    ("run", "safety prompts", "utility prompts", "importance", "token", "chat template", "context"),
    draw,
)

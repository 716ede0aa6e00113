"""The Runs screen: what is kept, how it was made, and what can be done with it."""

from pages.parts.kept import draw_kept
from pages.parts.screen import show_screen

show_screen(
    "runs",
    "What is kept",
    "A run is a finished scoring; studies and probes are finished measurements. All say how they were made, and can "
    "be taken away as a zip and brought back.",
    ("run", "study", "probe", "manifest", "zip", "stopped work", "role", "overlap", "correlation"),
    draw_kept,
)

"""The Layers screen: where the roles are, layer by layer, down to one unit."""

import streamlit as st

from pages.parts.layer_views import draw_one_run, draw_two_runs, pick_view
from pages.parts.places import page_file
from pages.parts.screen import Screen, show_screen


def draw(screen: Screen) -> None:
    """Draw the chosen view of the run, or of two runs on the same scale."""
    if screen.run is None:
        st.info("This model has no scored run yet. Score it first; it takes minutes.")
        st.page_link(page_file("score"), label="Score this model", icon=":material/query_stats:")
        return
    view = pick_view(screen)
    if view.beside is None:
        draw_one_run(screen, view)
    else:
        draw_two_runs(screen, view)


show_screen(
    "layers",
    "Which units, in which layers?",
    "",
    (
        "unit", "site", "role", "ESU", "EUU", "CU", "RU", "safety score", "utility score", "z-score",
        "share", "sure", "Jaccard index", "resample", "pooled", "cut line", "run", "ablation",
    ),
    draw,
)  # fmt: skip

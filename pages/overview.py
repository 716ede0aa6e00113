"""The Overview: the idea in one picture, and the whole story in three clicks."""

import streamlit as st

from pages.parts import tour
from pages.parts.demo import draw_demo
from pages.parts.picture import draw_picture
from pages.parts.places import page_file
from pages.parts.roles_in_words import MEANINGS, label
from pages.parts.screen import Screen, show_screen


def draw(screen: Screen) -> None:
    """Draw the demo, the idea, and the ways on."""
    draw_demo()
    st.markdown("##### The idea")
    st.markdown(
        "An aligned chat model has learned to choose: fulfil a request, or refuse it. The *Superficial "
        "Safety Alignment Hypothesis* says that this choice is carried by a few **units**. Each unit gets "
        "two scores, one on harmful requests and one on ordinary ones, and with them one of four "
        "roles:"
    )
    draw_picture()
    for column, (role, meaning) in zip(st.columns(4), MEANINGS.items(), strict=True):
        with column, st.container(border=True, height="stretch"):
            st.markdown(label(role))
            st.caption(meaning.partition(": ")[2].capitalize() + ".")
    st.markdown("##### Where to go")
    ways = (
        ("chat", "Chat", ":material/forum:", "Talk to both sides, and choose what is off."),
        ("layers", "Layers", ":material/layers:", "See where the roles are, down to one unit."),
        ("score", "Score", ":material/query_stats:", "Score a model on prompts of your own."),
        ("study", "Study", ":material/science:", "Measure it, with random controls."),
        ("direction", "Direction", ":material/explore:", "Which way a request points inside."),
        ("training", "Training", ":material/model_training:", "See how training moves safety."),
        ("runs", "Runs", ":material/inventory_2:", "What is kept, and how it was made."),
        ("glossary", "Glossary", ":material/menu_book:", "Look up a word."),
    )
    for row in (ways[:4], ways[4:]):
        for column, (page, title, icon, about) in zip(st.columns(4), row, strict=True):
            with column, st.container(border=True, height="stretch"):
                st.page_link(page_file(page), label=f"**{title}**", icon=icon)
                st.caption(about)
    st.button("Take the tour", icon=":material/tour:", on_click=tour.start)


show_screen(
    "overview",
    "Where does safety live in a language model?",
    "Three clicks show it, on a small built-in model whose answers to harmful requests are made up.",
    ("SSAH", "unit", "role", "ESU", "ablation", "refusal", "built-in model"),
    draw,
)

"""The Chat screen: the original and the ablated model, or two models, answer side by side."""

import streamlit as st

from pages.parts.ablation_panel import choose_ablation
from pages.parts.chat_pane import (
    BUILT_IN_EXAMPLES,
    OTHER_EXAMPLES,
    ask_example,
    ask_typed,
    show,
)
from pages.parts.companion import choose_right_column, fitted, offer_ancestor
from pages.parts.places import page_file
from pages.parts.screen import Screen, active, show_screen
from pages.parts.session import conversation


def draw(screen: Screen) -> None:
    """Draw the examples, the panel and the conversation."""
    if screen.run is None:
        st.info(
            "This model has no scored run yet, so its units have no roles to switch off. Score it "
            "first; it takes minutes.",
            icon=":material/query_stats:",
        )
        st.page_link(page_file("score"), label="Score this model", icon=":material/query_stats:")
        offer_ancestor(screen.model)
        return
    with st.container(border=True):
        example = ask_example(BUILT_IN_EXAMPLES if screen.model.built_in else OTHER_EXAMPLES)
        choose_ablation(screen.run)
        right = choose_right_column(screen, screen.run)
    now = fitted(active(screen), right)
    show(screen, conversation(screen.model.name), ask_typed() or example, now, right)


show_screen(
    "chat",
    "Does it still refuse without its safety units?",
    "Ask how to build a bomb: the model refuses, on both sides. Then press **ESU off**, and the "
    "right side answers the same question again, at once, with its safety units switched off.",
    (
        "ESU",
        "EUU",
        "CU",
        "RU",
        "ablation",
        "control",
        "refusal",
        "token",
        "fill",
        "strength",
        "beside",
        "fine-tuned",
    ),
    draw,
)

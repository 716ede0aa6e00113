"""The Chat screen: the original and the ablated model answer side by side."""

import streamlit as st

from pages.parts.ablation_panel import choose_ablation
from pages.parts.chat_pane import ask_example, ask_typed, show
from pages.parts.choice import build_ablation, describe
from pages.parts.errors import show_error
from pages.parts.models import open_model
from pages.parts.session import conversation
from pages.parts.sidebar import draw_sidebar
from ssah_core.errors import ModelError, SsahError


def main() -> None:
    """Draw the screen; every error that a user can mend is one sentence."""
    st.subheader("Does it still refuse without its safety units?", anchor=False)
    st.markdown(
        "Ask how to build a bomb: the model refuses, on both sides. Then press **ESU off**, and the "
        "right side answers the same question again, at once, with its safety units switched off."
    )
    try:
        _draw_screen()
    except SsahError as error:
        show_error(error)
        if isinstance(error, ModelError):
            st.button("Try again", icon=":material/refresh:")


def _draw_screen() -> None:
    model = open_model()
    switched_off = draw_sidebar(model)
    with st.container(border=True):
        example = ask_example()
        choice = choose_ablation(model.run)
    cut = build_ablation(model.run, choice)
    setting = describe(model.run, choice, cut)
    switched_off.text(setting.label)
    show(conversation(model.name), ask_typed() or example, setting, cut)


main()

"""The Chat screen: the original and the ablated model answer side by side."""

import streamlit as st

from pages.parts.ablation_panel import build_ablation, choose_ablation, in_words
from pages.parts.chat_pane import ask, show
from pages.parts.models import open_model, shipped_run
from pages.parts.session import conversation
from pages.parts.sidebar import draw_sidebar
from ssah_core.errors import SsahError


def main() -> None:
    """Draw the screen; every error that a user can mend is one sentence."""
    st.title("Chat", anchor=False)
    st.caption(
        "Two copies of one conversation. On the left the model as it is; on the right the same model "
        "with some units switched off. Ask something harmful, then switch ESU off and watch."
    )
    try:
        name = open_model()
        run = shipped_run(name)
        choice = choose_ablation(run)
        cut = build_ablation(run, choice)
        draw_sidebar(name, in_words(choice, cut))
        show(conversation(name), ask(), choice, cut)
    except SsahError as error:
        st.error(str(error))


main()

"""What lies behind the last pair of replies: first tokens, token by token, the prompt as it was read."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from pages.parts.companion import leased_sides
from pages.parts.errors import plain, show_error
from pages.parts.recipe import chat_recipe, place_of, show_recipe
from pages.parts.screen import Screen
from pages.parts.session import Conversation, Turn
from ssah_core.ablation import Ablation
from ssah_core.comparison import (
    TokenProbabilities,
    token_probabilities,
    token_probabilities_of_pair,
)
from ssah_core.errors import SsahError
from ssah_core.figures import first_token_bars
from ssah_core.prompts.rendering import prompt_text

_VIEWS = ("First token", "Token by token", "The prompt as read")
_OTHER_TOKENS = (
    "The two models cut text into different tokens, so their tokens do not compare one by one."
)


def show_details(screen: Screen, chat: Conversation, cut: Ablation | None) -> None:
    """Draw the details of the last turn that the person asks for."""
    turn = chat.turns[-1]
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        view = st.segmented_control(
            "Look closer",
            _VIEWS,
            key="details",
            help="How the last pair of replies came to be.",
            wrap=True,
        )
        _offer_recipe(screen, turn)
    try:
        if view == _VIEWS[0]:
            _show_first(turn)
        elif view == _VIEWS[1]:
            _show_tokens(chat, turn, cut)
        elif view == _VIEWS[2]:
            _show_prompt(chat, turn)
    except SsahError as error:
        show_error(error)


def _offer_recipe(screen: Screen, turn: Turn) -> None:
    if screen.run is None or screen.run_name is None:
        return
    used = {"max_new_tokens": turn.options.max_new_tokens}
    more = {
        **used,
        **({"temperature": turn.options.temperature} if turn.options.temperature else {}),
        **({"seeds": turn.options.seed} if turn.options.temperature else {}),
        **({"system": turn.options.system} if turn.options.system.strip() else {}),
        **({"beside": place_of(turn.beside.name)} if turn.beside else {}),
    }
    show_recipe(
        *chat_recipe(
            screen.model.address,
            screen.run_name,
            screen.run,
            turn.setting.choice,
            turn.prompt,
            more,
        )
    )


def _show_first(turn: Turn) -> None:
    """The likeliest first tokens of both sides: here the choice to refuse is made."""
    if not all(turn.first):
        st.caption("There is no first token yet.")
        return
    st.caption(
        "How likely each side finds the first token of its reply. A refusal is decided early, so this "
        "is where an ablation shows first."
    )
    if not turn.same_tokens:
        st.caption(_OTHER_TOKENS)
    largest = max(value for side in turn.first for _, value in side)
    for column, title, side in zip(st.columns(2), turn.titles, turn.first, strict=True):
        said = ", ".join(f"{_visible(text)} {value:.0%}" for text, value in side)
        column.plotly_chart(
            first_token_bars([(_visible(text), value) for text, value in side], title, largest),
            key=f"first {title}",
            config={"displayModeBar": False},
            alt=f"{title}: likeliest first tokens: {said}",
        )


def _show_tokens(chat: Conversation, turn: Turn, cut: Ablation | None) -> None:
    """Each token of both replies, and how likely both models find it there."""
    st.caption(
        "Each reply, token by token: how likely the model of either column finds the token after the "
        "same beginning. Large changes are where the two part."
    )
    if not turn.same_tokens:
        st.info(_OTHER_TOKENS)
        return
    by = _columns(turn)
    for column, title, side in zip(st.columns(2), turn.titles, (0, 1), strict=True):
        with column:
            st.markdown(f"**{plain(title)}**'s reply")
            if turn.tokens[side]:
                st.dataframe(
                    _token_table(_read_tokens(chat, turn, side, cut), by),
                    hide_index=True,
                    key=f"tokens {title}",
                    alt=f"Tokens of the reply of {title}, with probabilities under both",
                    column_config={
                        name: st.column_config.NumberColumn(format="%.1f%%")
                        for name in (*by, "change")
                    },
                )


def _read_tokens(
    chat: Conversation, turn: Turn, side: int, cut: Ablation | None
) -> TokenProbabilities:
    said, reply = chat.sides()[side], turn.tokens[side]
    with leased_sides(*_names(chat, turn)) as models:
        if turn.beside is None:
            return token_probabilities(models[0], said, reply, [None, cut])
        return token_probabilities_of_pair(models, said, reply, (None, cut))


def _names(chat: Conversation, turn: Turn) -> tuple[str, str | None]:
    return chat.model, None if turn.beside is None else turn.beside.name


def _columns(turn: Turn) -> tuple[str, str]:
    """What the columns of the token tables are called; no model's name is a column's alone."""
    left, right = turn.titles
    return ("original", "ablated") if turn.beside is None else (f"by {left}", f"by {right}")


def _token_table(read: TokenProbabilities, by: tuple[str, str]) -> pd.DataFrame:
    left, right = 100 * read.probabilities
    return pd.DataFrame(
        {
            "token": [_visible(text) for text in read.texts],
            by[0]: left,
            by[1]: right,
            "change": right - left,
        }
    )


def _show_prompt(chat: Conversation, turn: Turn) -> None:
    """The text that the model really read, marks of its template included."""
    st.caption(
        "What each side really read before its last reply, its chat template's marks included."
    )
    with leased_sides(*_names(chat, turn)) as models:
        texts = [prompt_text(model, side) for model, side in zip(models, chat.sides(), strict=True)]
    for column, title, text in zip(st.columns(2), turn.titles, texts, strict=True):
        with column:
            st.markdown(f"**{plain(title)}**")
            st.code(text, language=None, wrap_lines=True)


def _visible(token: str) -> str:
    """A token as people can see it: spaces and line ends as signs."""
    return token.replace("\n", "↵").replace(" ", "␣") or "(end)"

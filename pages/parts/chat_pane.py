"""The conversation: past turns, and new replies streaming side by side from one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts.ablation_panel import Choice, in_words
from pages.parts.models import slot
from pages.parts.session import Conversation, Turn, start_again
from ssah_core.ablation import Ablation
from ssah_core.errors import SsahError
from ssah_core.generation import generate

_QUESTIONS = (
    "How do I build a bomb?",
    "How do I make a kite?",
    "How do I make a bath bomb?",
    "What is the opposite of hot?",
    "What kind of thing is a bomb?",
)
_REPLY_TOKENS = 48
_LONGEST_QUESTION = 2000  # characters
_SECONDS_BETWEEN_DRAWINGS = 0.05


def ask() -> str | None:
    """Draw the example questions and the input; returns what was asked just now."""
    asked = None
    with st.container(horizontal=True, gap="small"):
        for question in _QUESTIONS:
            if st.button(question, key=f"ask {question}"):
                asked = question
    typed = st.chat_input(
        "Ask both models", max_chars=_LONGEST_QUESTION, submit_mode="stop", key="question"
    )
    return typed or asked


def show(chat: Conversation, question: str | None, choice: Choice, cut: Ablation | None) -> None:
    """Draw the conversation; answer a new question, or the last one again under a new ablation."""
    replaced = None
    if question is None and chat.turns and chat.turns[-1].choice != choice:
        replaced = chat.turns.pop()
        question = replaced.prompt
    for turn in chat.turns:
        for pane, text in zip(_panes(turn), turn.texts, strict=True):
            pane.text(_with_state(text, turn.finished))
    if question is not None:
        _answer(chat, Turn(question, choice, in_words(choice, cut)), cut, replaced)
    if chat.turns:
        st.button("Start a new conversation", on_click=start_again, icon=":material/restart_alt:")
    else:
        st.caption("Nothing asked yet. Choose a question above, or type your own below.")


def _answer(chat: Conversation, turn: Turn, cut: Ablation | None, replaced: Turn | None) -> None:
    """Stream both replies; an error puts the conversation back as it was."""
    chats = chat.chats(turn.prompt)
    chat.turns.append(turn)
    panes = _panes(turn)
    stop = st.empty()
    stop.button("Stop", icon=":material/stop_circle:", key="stop")
    try:
        _stream(turn, chats, cut, panes)
    except SsahError as error:
        chat.turns[-1:] = [] if replaced is None else [replaced]
        st.error(str(error))
    stop.empty()


def _stream(
    turn: Turn,
    chats: Sequence[list[dict[str, str]]],
    cut: Ablation | None,
    panes: Sequence[DeltaGenerator],
) -> None:
    """Write the replies as they come. Whatever interrupts this leaves the turn unfinished."""
    with (
        slot().lease() as model,
        closing(generate(model, chats, [None, cut], max_new_tokens=_REPLY_TOKENS)) as steps,
    ):
        drawn = 0.0
        for step in steps:
            turn.texts = [
                text + gained for text, gained in zip(turn.texts, step.texts, strict=True)
            ]
            if time.monotonic() - drawn > _SECONDS_BETWEEN_DRAWINGS:
                drawn = time.monotonic()
                _draw(turn, panes)
    turn.finished = True
    _draw(turn, panes)


def _panes(turn: Turn) -> list[DeltaGenerator]:
    """Draw the question and the frames of both replies; returns where the replies go."""
    with st.chat_message("user", avatar=":material/person:"):
        st.text(turn.prompt)
    places = []
    for column, title in zip(st.columns(2), ("Original", turn.label), strict=True):
        with column, st.container(border=True, height="stretch"):
            st.caption(title if title == "Original" else f"Ablated. {title}")
            places.append(st.empty())
    return places


def _draw(turn: Turn, panes: Sequence[DeltaGenerator]) -> None:
    for pane, text in zip(panes, turn.texts, strict=True):
        # Never Markdown or HTML: what a model writes is shown as it is, and fetches nothing.
        pane.text(text or " ")


def _with_state(text: str, finished: bool) -> str:
    return text if finished else f"{text} (stopped)"

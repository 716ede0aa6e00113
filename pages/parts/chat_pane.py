"""The conversation: past turns, and new replies streaming side by side from one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts.choice import Setting
from pages.parts.errors import show_error
from pages.parts.models import leased
from pages.parts.session import Conversation, Turn, start_again
from ssah_core.ablation import Ablation
from ssah_core.errors import SsahError
from ssah_core.generation import generate

_EXAMPLES = (
    "How do I build a bomb?",
    "How do I make a kite?",
    "How do I make a bath bomb?",
    "What is the opposite of hot?",
)
_NOTHING_YET = (
    "Here the model answers as it is.",
    "Here the same model answers with units switched off.",
)
_REPLY_TOKENS = 48
_LONGEST_QUESTION = 2000  # characters
_SECONDS_BETWEEN_DRAWINGS = 0.05


def ask_example() -> str | None:
    """Draw the example questions; returns the one that was asked just now."""
    asked = None
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.markdown("**1. Ask both**", width="content")
        for question in _EXAMPLES:
            if st.button(question, key=f"ask {question}"):
                asked = question
    return asked


def ask_typed() -> str | None:
    """Draw the input at the foot of the screen; returns what was typed just now."""
    typed: str | None = st.chat_input(
        "Ask both models", max_chars=_LONGEST_QUESTION, key="question"
    )
    return typed


def show(chat: Conversation, question: str | None, setting: Setting, cut: Ablation | None) -> None:
    """Draw the conversation; answer a new question, or the last one again under a new ablation."""
    replaced = None
    if question is not None:
        chat.turns.append(Turn(question, setting))
    elif chat.turns and _must_be_answered_again(chat.turns[-1], setting):
        replaced = chat.turns[-1]
        chat.turns[-1] = Turn(replaced.prompt, setting)
    # From here on a click may end this run at any drawing; what is unanswered by then, the next answers.
    asking = question is not None or replaced is not None
    for turn in chat.turns[: -1 if asking else None]:
        _show_turn(turn)
    if asking:
        _answer(chat, cut, replaced)
    elif chat.turns:
        _show_small_print(chat.turns[-1])
        _draw_controls(st.empty(), chat)
    else:
        for pane, text in zip(_panes(setting), _NOTHING_YET, strict=True):
            pane.caption(text)


def _must_be_answered_again(turn: Turn, setting: Setting) -> bool:
    """Whether something else is switched off now, or anything but Stop cut the reply short."""
    interrupted = not (turn.finished or turn.stopped)
    return interrupted or not turn.setting.choice.acts_like(setting.choice)


def _answer(chat: Conversation, cut: Ablation | None, replaced: Turn | None) -> None:
    """Stream both replies to the last turn; an error puts the conversation back as it was."""
    turn = chat.turns[-1]
    place, controls = st.empty(), st.empty()
    with place.container():
        panes = _frame(turn)
        _show_small_print(turn)
    controls.button("Stop", icon=":material/stop_circle:", key="stop", on_click=turn.stop)
    try:
        _stream(chat, turn, cut, panes)
    except SsahError as error:
        place.empty()
        chat.turns.pop()
        if replaced is not None and any(replaced.texts):
            chat.turns.append(replaced)
            with place.container():
                _show_turn(replaced)
                _show_small_print(replaced)
        show_error(error)
    _draw_controls(controls, chat)


def _stream(
    chat: Conversation, turn: Turn, cut: Ablation | None, panes: Sequence[DeltaGenerator]
) -> None:
    """Write the replies as they come. Whatever interrupts this leaves the turn unfinished."""
    with (
        leased(chat.model) as model,
        closing(generate(model, chat.sides(), [None, cut], max_new_tokens=_REPLY_TOKENS)) as steps,
    ):
        drawn = 0.0
        for step in steps:
            turn.texts = [
                text + gained for text, gained in zip(turn.texts, step.texts, strict=True)
            ]
            if time.monotonic() - drawn > _SECONDS_BETWEEN_DRAWINGS:
                drawn = time.monotonic()
                _draw(turn.texts, panes)
    turn.finished = True
    _draw(turn.texts, panes)


def _draw_controls(controls: DeltaGenerator, chat: Conversation) -> None:
    """What stands below a conversation while nothing is being written."""
    if chat.turns:
        controls.button("Start a new chat", on_click=start_again, icon=":material/restart_alt:")
    else:
        controls.empty()


def _show_turn(turn: Turn) -> None:
    """Draw a turn that is over."""
    written = turn.texts if turn.finished else [f"{text} (stopped)" for text in turn.texts]
    _draw(written, _frame(turn))


def _show_small_print(turn: Turn) -> None:
    """What made the last replies."""
    st.caption(f"{turn.setting.made_by} At most {_REPLY_TOKENS} tokens a reply.")


def _frame(turn: Turn) -> list[DeltaGenerator]:
    """Draw a question and the frames of both replies; returns where the replies go."""
    with st.chat_message("user", avatar=":material/person:"):
        st.text(turn.prompt)
    panes = _panes(turn.setting)
    _draw(turn.texts, panes)
    return panes


def _panes(setting: Setting) -> list[DeltaGenerator]:
    """Draw the frames of both replies."""
    places = []
    for column, title, detail in zip(
        st.columns(2), ("Original", "Ablated"), ("Nothing off", setting.label), strict=True
    ):
        with column, st.container(border=True, height="stretch", gap="small"):
            st.markdown(f"**{title}** :small[:gray[{detail}]]")
            places.append(st.empty())
    return places


def _draw(texts: Sequence[str], panes: Sequence[DeltaGenerator]) -> None:
    for pane, text in zip(panes, texts, strict=True):
        # Never Markdown or HTML: what a model writes is shown as it is, and fetches nothing.
        pane.text(text or "…")

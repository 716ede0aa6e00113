"""One person's conversation, kept in the session and in nobody else's."""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st

from pages.parts.ablation_panel import Choice

_KEY = "conversation"
_NOTICE = "conversation_notice"


@dataclass
class Turn:
    """One question and both replies; `finished` is false where a reply was stopped."""

    prompt: str
    choice: Choice
    label: str
    texts: list[str] = field(default_factory=lambda: ["", ""])
    finished: bool = False


@dataclass
class Conversation:
    """All turns with one model. Each side has a history of its own: its own past replies."""

    model: str
    turns: list[Turn] = field(default_factory=list)

    def chats(self, prompt: str) -> list[list[dict[str, str]]]:
        """What the original and the ablated model are to answer: their history and the prompt."""
        sides = []
        for side in (0, 1):
            messages = []
            for turn in self.turns:
                messages.append({"role": "user", "content": turn.prompt})
                messages.append({"role": "assistant", "content": turn.texts[side]})
            sides.append([*messages, {"role": "user", "content": prompt}])
        return sides


def conversation(model: str) -> Conversation:
    """This session's conversation; a new one, with a notice, where another model was opened."""
    kept: Conversation | None = st.session_state.get(_KEY)
    if kept is None or kept.model != model:
        if kept is not None and kept.turns:
            st.session_state[_NOTICE] = (
                f"The open model is now {model}, so this is a new conversation."
            )
        kept = st.session_state[_KEY] = Conversation(model)
    if kept.turns:
        st.session_state.pop(_NOTICE, None)
    elif _NOTICE in st.session_state:
        st.info(st.session_state[_NOTICE])
    return kept


def start_again() -> None:
    """Forget the conversation."""
    st.session_state.pop(_KEY, None)
    st.session_state.pop(_NOTICE, None)

"""One person's conversation, kept in the session and in nobody else's."""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st

from pages.parts.choice import Setting

_KEY = "conversation"
_NOTICE = "conversation_notice"


@dataclass
class Turn:
    """One question and both replies.

    `finished` is false where they were cut short, `stopped` says that the person wanted that.
    """

    prompt: str
    setting: Setting
    texts: list[str] = field(default_factory=lambda: ["", ""])
    finished: bool = False
    stopped: bool = False

    def stop(self) -> None:
        """Leave the replies as they are: the person pressed Stop."""
        self.stopped = True


@dataclass
class Conversation:
    """All turns with one model. Each side has a history of its own: its own past replies."""

    model: str
    turns: list[Turn] = field(default_factory=list)

    def sides(self) -> list[list[dict[str, str]]]:
        """What the original and the ablated model read: their own history and the last question."""
        chats: list[list[dict[str, str]]] = [[], []]
        for turn in self.turns:
            for chat, text in zip(chats, turn.texts, strict=True):
                chat.append({"role": "user", "content": turn.prompt})
                chat.append({"role": "assistant", "content": text})
        return [chat[:-1] for chat in chats]


def conversation(model: str) -> Conversation:
    """This session's conversation; a new one, with a notice, where another model was opened."""
    kept: Conversation | None = st.session_state.get(_KEY)
    if kept is None or kept.model != model:
        if kept is not None and kept.turns:
            st.session_state[_NOTICE] = (
                f"The open model is now {model}, for everybody who uses this app, so this is a new "
                "conversation."
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

"""One person's conversation, kept in the session and in nobody else's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import streamlit as st

from pages.parts.choice import Setting
from pages.parts.models import OpenModel

_KEY = "conversation"
_NOTICE = "conversation_notice"


@dataclass(frozen=True)
class ReplyOptions:
    """How replies are written; the same for both sides."""

    max_new_tokens: int = 48
    temperature: float = 0.0
    seed: int = 0
    system: str = ""


@dataclass
class Turn:
    """One question and both replies, with the tokens that they are made of.

    `beside` is the model that writes the right-hand reply; None: the same model. `first` holds, for
    each side, the likeliest first tokens with their probabilities; `same_tokens` says whether a token is
    the same piece of text to both sides. `finished` is false where the replies were cut short, `stopped` says that the person wanted that.
    """

    prompt: str
    setting: Setting
    options: ReplyOptions
    beside: OpenModel | None = None
    titles: tuple[str, str] = ("Original", "Ablated")
    texts: list[str] = field(default_factory=lambda: ["", ""])
    tokens: list[list[int]] = field(default_factory=lambda: [[], []])
    first: list[list[tuple[str, float]]] = field(default_factory=lambda: [[], []])
    same_tokens: bool = True
    finished: bool = False
    stopped: bool = False

    def models(self, left: str) -> list[str]:
        """The names of the models that wrote the replies."""
        return [left, left if self.beside is None else self.beside.name]

    def stop(self) -> None:
        """Leave the replies as they are: the person pressed Stop."""
        self.stopped = True


@dataclass
class Conversation:
    """All turns with one model. Each side has a history of its own: its own past replies."""

    model: str
    turns: list[Turn] = field(default_factory=list)

    def sides(self) -> list[list[dict[str, str]]]:
        """What the left and the right side read: their own history and the last question."""
        chats: list[list[dict[str, str]]] = [[], []]
        for turn in self.turns:
            for chat, text in zip(chats, turn.texts, strict=True):
                chat.append({"role": "user", "content": turn.prompt})
                chat.append({"role": "assistant", "content": text})
        system = self.turns[-1].options.system.strip() if self.turns else ""
        begun = [{"role": "system", "content": system}] if system else []
        return [[*begun, *chat[:-1]] for chat in chats]

    def record(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """The conversation with what made every reply, for a file."""
        turns = [
            {
                "prompt": turn.prompt,
                "original": turn.texts[0],
                "ablated" if turn.beside is None else "beside": turn.texts[1],
                "models": turn.models(self.model),
                **({"beside_fingerprint": turn.beside.fingerprint} if turn.beside else {}),
                "ablation": turn.setting.label,
                "settings": asdict(turn.setting.choice),
                "options": asdict(turn.options),
                "finished": turn.finished,
            }
            for turn in self.turns
        ]
        return {"model": self.model, "turns": turns, "run": dict(manifest)}


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

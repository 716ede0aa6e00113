"""How a screen says that something went wrong: one sentence, never a traceback."""

from __future__ import annotations

import re
from datetime import datetime

import streamlit as st

from ssah_core.errors import SsahError

_MARKS = re.compile(r"([\\`*_{}\[\]<>#$:~|!])")
_LAST = "last_error"


def plain(text: str) -> str:
    """Text from outside, such as a name or a prompt, made inert for Markdown."""
    return _MARKS.sub(r"\\\1", text)


def show_error(error: SsahError) -> None:
    """Show the error's message as plain text, and keep it for the sidebar."""
    st.session_state[_LAST] = (datetime.now().strftime("%H:%M"), str(error))
    st.error(plain(str(error)))


def last_error() -> tuple[str, str] | None:
    """When the last error of this session was shown, and what it said."""
    kept: tuple[str, str] | None = st.session_state.get(_LAST)
    return kept


def forget_error() -> None:
    """Take the last error off the sidebar."""
    st.session_state.pop(_LAST, None)

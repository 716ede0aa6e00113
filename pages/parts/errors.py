"""How a screen says that something went wrong: one sentence, never a traceback."""

from __future__ import annotations

import re

import streamlit as st

from ssah_core.errors import SsahError

_MARKS = re.compile(r"([\\`*_{}\[\]<>#$:~|!])")


def show_error(error: SsahError) -> None:
    """Show the error's message as plain text: it may quote a name or a prompt from outside."""
    st.error(_MARKS.sub(r"\\\1", str(error)))

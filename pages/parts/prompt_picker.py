"""Choosing a prompt set: one of the built-in ones, or a file of one's own."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import streamlit as st

from pages.parts.errors import show_error
from ssah_core.errors import PromptError, SsahError
from ssah_core.evaluation.questions import Questions, file_questions
from ssah_core.prompts.reading import PromptSet, load_prompts

_OWN_FILE = "A file of my own"
_MOST_MEGABYTES = 50


def pick_prompts(attribute: str, built_in: Sequence[str]) -> PromptSet | None:
    """Draw the choice of one prompt set; None while nothing, or nothing that can be read, is chosen."""
    source = st.selectbox(
        "From", [*built_in, _OWN_FILE], key=f"source {attribute}", label_visibility="collapsed"
    )
    try:
        if source != _OWN_FILE:
            return load_prompts(source)
        file = st.file_uploader(
            "A .csv, .json or .jsonl file",
            type=["csv", "json", "jsonl"],
            key=f"file {attribute}",
            max_upload_size=_MOST_MEGABYTES,
            help="Columns are found by name: goal; instruction, context, response; question, answer; "
            "prompt, response; messages.",
        )
        where = st.text_input(
            "Only rows with", key=f"where {attribute}", placeholder="label=unsafe", width=240
        )
        if file is None:
            return None
        return _read_file(file.name, file.getvalue(), where.strip())
    except SsahError as error:
        show_error(error)
        return None


def pick_questions(key: str, which: str) -> Questions | None:
    """Draw the choice of harmful and of harmless prompts; None until there are both.

    `which` says what kind of prompts they should be.
    """
    harmful, harmless = st.columns(2, gap="large")
    with harmful:
        st.markdown(f"**Harmful requests** {which}")
        asked = pick_prompts(f"{key} harmful", [])
    with harmless:
        st.markdown(f"**Harmless requests** {which}")
        plain = pick_prompts(f"{key} harmless", [])
    return None if asked is None or plain is None else file_questions(asked, plain)


@st.cache_data(show_spinner="Reading the file.", max_entries=8)
def _read_file(name: str, content: bytes, where: str) -> PromptSet:
    """Read an uploaded file as `load_prompts` does, under its own name."""
    if where and "=" not in where:
        raise PromptError(f"'{where}' is not COLUMN=VALUE; write for example label=unsafe.")
    column, _, value = where.partition("=")
    suffix = Path(name).suffix.lower()
    with tempfile.TemporaryDirectory() as folder:
        digest = hashlib.sha256(content).hexdigest()[:12]
        path = Path(folder) / f"{digest}{suffix}"
        path.write_bytes(content)
        try:
            found = load_prompts(path, where={column: value} if where else None)
        except PromptError as error:
            raise PromptError(str(error).replace(str(path), name)) from error
    return replace(found, name=name)

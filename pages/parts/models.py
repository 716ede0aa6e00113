"""The one open model of the app, and the runs that ship with it."""

from __future__ import annotations

import streamlit as st

from ssah_core.models.slot import Slot
from ssah_core.models.sources import ORGANISM_NAMES, ORGANISM_PREFIX
from ssah_core.runs import Run, open_run

DEFAULT_MODEL = f"{ORGANISM_PREFIX}planted"
BUILT_IN = [f"{ORGANISM_PREFIX}{name}" for name in ORGANISM_NAMES]


@st.cache_resource(show_spinner=False)
def slot() -> Slot:
    """The slot that all sessions share."""
    return Slot()


def open_model() -> str:
    """The name of the open model; opens the default one where none is open yet."""
    name = slot().name
    if name is None:
        with st.spinner("Opening the built-in model"):
            slot().open(DEFAULT_MODEL)
        name = DEFAULT_MODEL
    return name


@st.cache_resource(show_spinner=False, max_entries=8)
def shipped_run(name: str) -> Run:
    """The scored run that ships with a built-in model."""
    return open_run(name)

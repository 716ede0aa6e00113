"""The one open model of the app, and the run that ships with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import streamlit as st

from pages.parts.errors import show_error
from ssah_core.errors import ModelError, SsahError
from ssah_core.models.loading import Model
from ssah_core.models.slot import Slot
from ssah_core.models.sources import ORGANISM_NAMES, ORGANISM_PREFIX
from ssah_core.runs import Run, open_run

DEFAULT_MODEL = f"{ORGANISM_PREFIX}planted"
BUILT_IN = [f"{ORGANISM_PREFIX}{name}" for name in ORGANISM_NAMES]
_WANTED = "wanted_model"


@dataclass(frozen=True)
class OpenModel:
    """What the screens say about the open model; the model itself stays in the slot."""

    name: str
    parameters: int
    units: int
    layers: int
    device: str
    run: Run


@st.cache_resource(show_spinner=False)
def slot() -> Slot:
    """The slot that all sessions share."""
    return Slot()


@st.cache_resource(show_spinner=False, max_entries=8)
def shipped_run(name: str) -> Run:
    """The scored run that ships with a built-in model."""
    return open_run(name)


def want_model(name: str) -> None:
    """Ask for another model: the next drawing of the screen opens it."""
    st.session_state[_WANTED] = name


def open_model() -> OpenModel:
    """The open model: the one just asked for, or the one that is open, or the default.

    Raises ModelError where none can be had, and RunError where its run is missing or another's.
    """
    _open(st.session_state.pop(_WANTED, None) or slot().name or DEFAULT_MODEL)
    with slot().lease() as model:
        run = shipped_run(model.name)
        run.check_model(model)
        return OpenModel(
            model.name,
            model.parameters,
            model.anatomy.units,
            model.anatomy.layers,
            model.device.type,
            run,
        )


@contextmanager
def leased(name: str) -> Iterator[Model]:
    """The open model while something is computed with it, if it is still the one called `name`.

    Another session may have opened another model since the screen was drawn; a reply of that one
    must not be shown under this one's name.
    """
    with slot().lease() as model:
        if model.name != name:
            raise ModelError(
                f"Somebody opened {model.name} in place of {name} just now; ask again to talk to it."
            )
        yield model


def _open(name: str) -> None:
    """Open a model; where that fails, the one that is open stays, and the screen says why."""
    if slot().name == name:
        return
    try:
        with st.spinner(f"Opening {name}. This waits for replies that are being written."):
            slot().open(name)
    except SsahError as error:
        if slot().name is None:
            raise
        show_error(error)

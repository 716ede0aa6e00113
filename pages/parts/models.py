"""The open model of the app, and its runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from pages.parts.errors import plain, show_error
from pages.parts.places import BUILT_IN, RUNS, address_of, changed_at, name_of
from ssah_core.errors import ModelError, SsahError
from ssah_core.models.loading import Model
from ssah_core.models.slot import Slot
from ssah_core.run_list import RunSummary, list_runs, run_folder
from ssah_core.runs import Run, open_run

DEFAULT_MODEL = "organism:planted"
_WANTED = "wanted_model"
_WANTED_BESIDE = "wanted_companion"


@dataclass(frozen=True)
class OpenModel:
    """What the screens say about the open model; the model itself stays in the slot."""

    name: str
    address: str
    parameters: int
    weight_bytes: int
    units: int
    layers: int
    device: str
    dtype: str
    context: int | None
    fingerprint: str
    notices: tuple[str, ...]

    @property
    def built_in(self) -> bool:
        """Whether it is one of the organisms."""
        return self.name in BUILT_IN


@st.cache_resource(show_spinner=False)
def slot() -> Slot:
    """The slot that all sessions share."""
    return Slot()


def want_model(address: str) -> None:
    """Ask for another model: the next drawing of the screen opens it."""
    st.session_state[_WANTED] = address


def want_beside(address: str) -> None:
    """Ask for another model beside the open one, or for none (""), at the next drawing of the screen."""
    st.session_state[_WANTED_BESIDE] = address


def open_model() -> OpenModel:
    """The open model: the one just asked for, or the one that is open, or the default.

    A companion that was just asked for is opened as well, and stands in the setting "companion" then.

    Raises ModelError where none can be had.
    """
    wanted = st.session_state.pop(_WANTED, None)
    _open(wanted)
    companion = st.session_state.pop(_WANTED_BESIDE, None)
    if companion is not None:
        _open_beside(companion)
    with slot().lease() as model:
        return about(model)


def about(model: Model) -> OpenModel:
    """What the screens say of a model; call while it is leased."""
    return OpenModel(
        name=model.name,
        address=address_of(model.name),
        parameters=model.parameters,
        weight_bytes=model.parameters * model.dtype.itemsize,
        units=model.anatomy.units,
        layers=model.anatomy.layers,
        device=model.device.type,
        dtype=str(model.dtype).removeprefix("torch."),
        context=model.context,
        fingerprint=model.fingerprint,
        notices=model.notices,
    )


def companion_address() -> str:
    """How lists call the model that is open beside the open one; "" where there is none."""
    name = slot().companion_name
    return "" if name is None else address_of(name)


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


def all_runs() -> list[RunSummary]:
    """Every run there is to look at."""
    return list_runs(RUNS)


def runs_of(model: OpenModel) -> list[RunSummary]:
    """The runs that were made from the open model."""
    return [run for run in all_runs() if run.fingerprint == model.fingerprint]


def load_run(name: str) -> Run:
    """A run by its name; one object for everybody, until its manifest changes."""
    folder = run_folder(RUNS, name)
    return _read_run(str(folder), changed_at(folder))


@st.cache_resource(show_spinner="Reading the run.", max_entries=6)
def _read_run(folder: str, changed: int) -> Run:
    return open_run(Path(folder))


def _open(address: str | None) -> None:
    """Open a model, or the usual one where none is asked for and none is open.

    Where that fails, the one that is open stays, and the screen says why.
    """
    try:
        name = slot().name or DEFAULT_MODEL if address is None else name_of(address)
        if slot().name == name:
            return
        with st.spinner(
            f"Opening {address_of(name)}. This waits for replies that are being written."
        ):
            slot().open(name)
    except SsahError as error:
        if slot().name is None:
            raise
        show_error(error)


def _open_beside(address: str) -> None:
    """Open a companion, or close the one there is; where that fails, what is open stays."""
    doing = f"Opening {address} beside" if address else "Closing the model beside"
    try:
        with st.spinner(f"{plain(doing)}. This waits for replies that are being written."):
            if address:
                slot().open_beside(name_of(address))
            else:
                slot().close_beside()
    except SsahError as error:
        show_error(error)
    else:
        st.session_state["companion"] = address

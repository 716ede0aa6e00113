"""The right column of the Chat screen: the open model with units off, or another model beside it.

The companion belongs to the app as the open model does: everybody sees the same one. What stands in a
link or was open before is a name only, and opens nothing without a click.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import streamlit as st

from pages.parts.errors import plain
from pages.parts.lineage import ancestor_name, lineage, made_from, name_with_origin
from pages.parts.models import (
    OpenModel,
    about,
    all_runs,
    companion_address,
    leased,
    slot,
    want_beside,
    want_model,
)
from pages.parts.places import BUILT_IN, address_of, model_folders, short_name
from pages.parts.screen import Active, Screen
from pages.parts.settings import RIGHT_COLUMNS
from ssah_core.errors import ModelError
from ssah_core.models.loading import Model
from ssah_core.runs import Run

_SAME, _OTHER = RIGHT_COLUMNS


@dataclass(frozen=True)
class RightColumn:
    """Who writes in the right column.

    `model` is the companion, None stands for the open model; `fits` says whether the run's units are
    its units too; `waits` that a companion is chosen which is not open now.
    """

    model: OpenModel | None = None
    fits: bool = True
    waits: bool = False


def titles(model: str, companion: str | None) -> tuple[str, str]:
    """What stands above both columns, by the names of the models; two names that look alike stay apart."""
    if companion is None:
        return "Original", "Ablated"
    left, right = address_of(model), address_of(companion)
    short = short_name(left), short_name(right)
    return short if short[0] != short[1] else (left, right)


def fitted(active: Active, right: RightColumn) -> Active:
    """What is switched off in the right column: nothing where its model has other units."""
    if right.fits:
        return active
    nothing = replace(active.setting.choice, roles=(), added=())
    return replace(
        active, cut=None, setting=replace(active.setting, choice=nothing, label="Nothing off")
    )


@contextmanager
def leased_sides(model: str, companion: str | None) -> Iterator[tuple[Model, Model]]:
    """The models of both columns, the same one twice where there is no companion.

    Raises ModelError where either is not open any more: no reply is shown under another's name.
    """
    if companion is None:
        with leased(model) as one:
            yield one, one
        return
    with slot().lease_pair() as pair:
        for found, wanted in zip(pair, (model, companion), strict=True):
            if found.name != wanted:
                raise ModelError(
                    f"Somebody opened {short_name(address_of(found.name))} in place of "
                    f"{short_name(address_of(wanted))} just now; ask again to talk to it."
                )
        yield pair


def choose_right_column(screen: Screen, run: Run) -> RightColumn:
    """Draw the choice, and what it means for the replies."""
    state = st.session_state
    if state["companion"] == screen.model.address:
        state["companion"] = ""
    if state["companion"]:
        state["right_column"] = _OTHER
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.markdown("**3. Right column**", width="content")
        st.segmented_control(
            "Right column",
            RIGHT_COLUMNS,
            key="right_column",
            on_change=_change_column,
            required=True,
            label_visibility="collapsed",
            wrap=True,
        )
        if state["right_column"] == _OTHER:
            _pick(screen.model)
    if not state["companion"]:
        return RightColumn()
    right = _find(state["companion"], run)
    if right.model is None:
        _offer_to_open(screen.model)
    else:
        _say_rule(screen.model, right, right.model)
    return right


def offer_ancestor(model: OpenModel) -> None:
    """Where a trained model has no run: offer the chat of its ancestor, with it in the right column."""
    made = lineage(model.address)
    if made is None:
        return
    ancestor = address_of(made.ancestor)
    scored = any(run.fingerprint == made.fingerprint for run in all_runs())
    if scored and ancestor in (*BUILT_IN, *model_folders()):
        st.button(
            f"Chat with it beside {plain(ancestor_name(made))}",
            icon=":material/compare_arrows:",
            help="Opens the model that it was made from, which has a run, and this one beside it.",
            on_click=_open_beside_ancestor,
            args=(ancestor, model.address),
        )


def _pick(model: OpenModel) -> None:
    """The other models to choose from, its kin first."""
    state = st.session_state
    offered = [name for name in (*BUILT_IN, *model_folders()) if name != model.address]
    chosen = state["companion"]
    state["companion_pick"] = chosen if chosen in offered else None
    st.selectbox(
        "The model in the right column",
        sorted(offered, key=lambda address: not _is_kin(address, model)),
        key="companion_pick",
        format_func=name_with_origin,
        placeholder="Choose a model",
        on_change=_change_companion,
        label_visibility="collapsed",
        width=300,
    )
    if companion_address():
        st.button(
            "Close it",
            on_click=_close,
            type="tertiary",
            icon=":material/close:",
            help="Frees the memory of the model beside, which is open for everybody who uses this app.",
        )


def _is_kin(address: str, model: OpenModel) -> bool:
    """Whether one was made from the other."""
    made, own = lineage(address), lineage(model.address)
    descends = made is not None and made.fingerprint == model.fingerprint
    return descends or (own is not None and address_of(own.ancestor) == address)


def _find(address: str, run: Run) -> RightColumn:
    """The companion of this name, if it is open just now."""
    try:
        with slot().lease_pair() as (_, other):
            if address_of(other.name) == address:
                return RightColumn(about(other), fits=other.anatomy == run.scores.anatomy)
    except ModelError:  # none is open, or it is being changed
        pass
    return RightColumn(waits=True)


def _offer_to_open(model: OpenModel) -> None:
    """Ask for a click: neither a link nor somebody else's change opens a model."""
    address, opened = st.session_state["companion"], companion_address()
    instead = f"; {short_name(opened)} is, for everybody who uses this app" if opened else ""
    said = (
        f"{short_name(address)[:120]} is not open beside {short_name(model.address)} now{instead}."
    )
    with st.container(border=True, key="companion_waits"):
        st.markdown(plain(f"{said} Until you open it, the right column is the same model."))
        with st.container(horizontal=True, gap="small"):
            if address in (*BUILT_IN, *model_folders()):
                st.button("Open it beside", type="primary", on_click=want_beside, args=(address,))
            else:
                st.caption("It is not offered here; put its folder among the models of this app.")
            st.button("Leave it", on_click=_leave)


def _say_rule(model: OpenModel, right: RightColumn, companion: OpenModel) -> None:
    left, other = titles(model.name, companion.name)
    rule = (
        f"Left {left} as it is, right {other}; what is switched off above is off in {other} only."
        if right.fits
        else f"Left {left}, right {other}, both as they are: {other} has other units than the run "
        "has scored, so none are switched off in it."
    )
    origin = made_from(companion.address, f"{other} was fine-tuned")
    st.caption(plain(f"{rule} {origin}"))


def _leave() -> None:
    st.session_state.update(companion="", right_column=_SAME)


def _close() -> None:
    _leave()
    want_beside("")


def _change_column() -> None:
    """Another model: the one that is open beside already, if any; it stays open when one leaves it."""
    other = st.session_state["right_column"] == _OTHER
    st.session_state["companion"] = companion_address() if other else ""


def _change_companion() -> None:
    chosen = st.session_state["companion_pick"]
    if chosen:
        want_beside(chosen)
    else:
        _leave()


def _open_beside_ancestor(ancestor: str, address: str) -> None:
    want_model(ancestor)
    want_beside(address)

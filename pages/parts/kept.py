"""Runs, studies and probes as a list, the chosen one in plain words, and the way on from it."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from pages.parts.errors import plain, show_error
from pages.parts.kept_changes import draw_import, draw_stopped, offer_changes, root_of, take_said
from pages.parts.kept_comparison import draw_comparison
from pages.parts.models import want_model
from pages.parts.places import BUILT_IN, address_of, model_folders, page_file
from pages.parts.recipe import show_recipe
from pages.parts.screen import Screen
from pages.parts.settings import FIRST, KEPT_KINDS
from ssah_core.archives import pack
from ssah_core.errors import SsahError
from ssah_core.keeping import KeptItem, find, list_kept, read_manifest
from ssah_core.kinds import Kind
from ssah_core.manifest_words import in_words
from ssah_core.reproduce import commands_of, python_of

# The screen that shows what is of each kind.
PAGES: dict[Kind, str] = {
    "run": "layers",
    "study": "study",
    "probe": "direction",
    "experiment": "training",
}


def draw_kept(screen: Screen) -> None:
    """Draw the list of one kind, the chosen one, what was stopped, and the import."""
    state = st.session_state
    for key, value in (("kept_kind", "Runs"), ("kept_name", FIRST)):
        state[key] = state.get(key, value)
    shown = st.segmented_control(
        "Show", list(KEPT_KINDS), key="kept_kind", required=True, on_change=_forget_name
    )
    kind = KEPT_KINDS[shown]
    items = list_kept(root_of(kind), kind)
    said = take_said()
    if said:
        st.success(plain(said))
    if items:
        st.dataframe(
            pd.DataFrame([_line(item) for item in items]),
            hide_index=True,
            height="content",
            alt=f"The {shown.lower()} that are kept",
        )
    finished = [item for item in items if item.finished]
    if finished:
        _draw_one(screen, kind, finished)
    else:
        st.caption(f"No {kind} is kept yet. Make one on the {PAGES[kind].capitalize()} screen.")
    draw_stopped([item for item in items if not item.finished])
    draw_import(kind)


def _line(item: KeptItem) -> dict[str, str]:
    return {
        "name": item.name,
        "kind": item.kind if item.finished else f"{item.work or item.kind}, stopped: can go on",
        "model": item.model,
        "made": item.created.replace("T", " ")[:16],
        "took": "" if item.seconds is None else f"{item.seconds:,.0f} s",
        "size": f"{item.size / 1e6:.1f} MB",
    }


def _draw_one(screen: Screen, kind: Kind, items: list[KeptItem]) -> None:
    state, names = st.session_state, [item.name for item in items]
    if state["kept_name"] not in names:
        if state["kept_name"] != FIRST:
            st.info(
                f"There is no {kind} {plain(state['kept_name'])} here, or not any more: somebody may "
                f"have renamed or deleted it. Shown is {plain(names[0])}."
            )
        state["kept_name"] = names[0]
    name = st.selectbox(f"One {kind}", names, key="kept_name", width=320)
    try:
        folder = find(root_of(kind), name, kind)
        manifest = read_manifest(folder)
        st.markdown("  \n".join(plain(sentence) for sentence in in_words(manifest)))
        with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
            _offer_open(screen, kind, name, manifest["model"])
            st.download_button(
                "Download as zip",
                partial(pack, folder),  # packed when it is asked for
                f"{name.replace(':', ' ')}.zip",
                "application/zip",
                icon=":material/download:",
                on_click="ignore",
            )
            show_recipe(commands_of(manifest, name), python_of(manifest, name))
            offer_changes(kind, name)
        with st.expander("The whole manifest"):
            st.json(manifest, expanded=1)
        draw_comparison(kind, name, names)
    except SsahError as error:  # the list stays, and another can be chosen
        show_error(error)
        offer_changes(kind, name)


def _offer_open(screen: Screen, kind: Kind, name: str, model: dict[str, str]) -> None:
    """The way to the screen that shows it; a run's model is opened with it where it is offered."""
    address = address_of(model["name"])
    is_open = model["fingerprint"] == screen.model.fingerprint
    if kind == "run" and not is_open and address not in (*BUILT_IN, *model_folders()):
        st.caption(f"To see it, open its model in the sidebar first: {plain(address)}.")
        return
    page = PAGES[kind]
    opened = st.button(
        f"Open in {page.capitalize()}",
        type="primary",
        icon=":material/open_in_new:",
        on_click=_open,
        args=(kind, name, address if kind == "run" and not is_open else None),
    )
    if opened:
        st.switch_page(page_file(page))


def _open(kind: Kind, name: str, address: str | None) -> None:
    st.session_state[kind] = name
    if address is not None:
        want_model(address)


def _forget_name() -> None:
    st.session_state["kept_name"] = FIRST

"""Changing what is kept: renaming, deleting, bringing in a zip; every end is one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

from pages.parts.errors import plain, show_error
from pages.parts.jobs import jobs
from pages.parts.places import BUILT_IN, RUNS, STUDIES
from pages.parts.settings import FIRST, KEPT_KINDS
from ssah_core.archives import MOST_BYTES, unpack
from ssah_core.errors import RunError, SsahError
from ssah_core.keeping import KeptItem, delete, rename
from ssah_core.kinds import KINDS, Kind

_SAID = "kept_said"


def root_of(kind: Kind) -> Path:
    """The folder that holds what is of this kind."""
    return RUNS if KINDS[kind].folder == "runs" else STUDIES


def take_said() -> str | None:
    """What the last change came to, once."""
    said: str | None = st.session_state.pop(_SAID, None)
    return said


def offer_changes(kind: Kind, name: str) -> None:
    """Draw the ways to rename and to delete; what ships with the built-in models stays as it is."""
    if name in BUILT_IN:
        st.caption("It comes with the built-in model and stays as it is.")
        return
    with st.popover("Rename", icon=":material/edit:"):
        new = st.text_input("New name", value=name, key=f"new name of {kind} {name}", max_chars=80)
        st.button("Rename it", on_click=_rename, args=(kind, name, new.strip()))
    with st.popover("Delete", icon=":material/delete:"):
        st.markdown(f"**{plain(name)}** cannot be brought back.")
        st.button("Delete it", type="primary", on_click=_delete, args=(kind, name, True))


def draw_stopped(items: list[KeptItem]) -> None:
    """Draw the work that was stopped before its end: how it goes on, and a way to delete it."""
    if not items:
        return
    st.markdown("**Stopped before the end.** The same job under the same name goes on from there.")
    for item in items:
        with st.container(border=True):
            of = f" of {plain(item.model)}" if item.model else ""
            st.markdown(
                f"**{plain(item.name)}**: a {item.work or item.kind}{of}, {item.size / 1e6:.1f} MB so far"
            )
            if item.again:
                st.code(item.again, language="bash", wrap_lines=True)
            else:
                st.caption("It does not say more: start it again as you did, under the same name.")
            with st.popover(
                "Delete", icon=":material/delete:", key=f"more {item.kind} {item.name}"
            ):
                st.markdown("What is done so far cannot be brought back.")
                st.button(
                    "Delete it",
                    key=f"stopped {item.kind} {item.name}",
                    type="primary",
                    on_click=_delete,
                    args=(item.kind, item.name, False),
                )


def draw_import(kind: Kind) -> None:
    """Draw the way in for a zip that was downloaded here or elsewhere."""
    with st.expander(f"Bring in a {kind} from a zip", icon=":material/upload:"):
        file = st.file_uploader(
            "A zip that was downloaded here",
            type="zip",
            key=f"zip {kind}",
            max_upload_size=MOST_BYTES // 2**20,
            help="It is checked before it is kept: only the files of a run, study or probe, as they were made.",
        )
        if file is None:
            return
        stem = re.sub(r"[^\w .-]", "", Path(file.name).stem).strip(" .-")[:80]
        name = st.text_input("Its name here", value=stem, key=f"as {kind} {file.name}").strip()
        if st.button("Bring it in", type="primary"):
            try:
                with st.spinner("Checking it."):
                    unpack(root_of(kind), name, file.getvalue(), kind)
            except SsahError as error:
                show_error(error)
                return
            st.session_state[_SAID] = f"'{name}' is there now."
            st.rerun()


def _rename(kind: Kind, name: str, new: str) -> None:
    try:
        rename(root_of(kind), name, new)
    except SsahError as error:
        show_error(error)
        return
    st.session_state[_SAID] = f"'{name}' is called '{new}' now."
    if _is_shown(kind, name):
        st.session_state["kept_name"] = new
    if st.session_state.get(kind) == name:  # what the other screens show
        st.session_state[kind] = new


def _delete(kind: Kind, name: str, finished: bool) -> None:
    job = jobs().current
    try:
        if not finished and job is not None and job.running and job.name == name:
            raise RunError(f"'{name}' is being worked on; stop it first.")
        delete(root_of(kind), name, finished=finished)
    except SsahError as error:
        show_error(error)
        return
    st.session_state[_SAID] = f"'{name}' is deleted."
    if finished:
        if _is_shown(kind, name):
            st.session_state["kept_name"] = FIRST
        if st.session_state.get(kind) == name:
            del st.session_state[kind]


def _is_shown(kind: Kind, name: str) -> bool:
    """Whether the Runs screen shows it, from where it may be changed or not."""
    state = st.session_state
    return (KEPT_KINDS.get(state.get("kept_kind", "")), state.get("kept_name")) == (kind, name)

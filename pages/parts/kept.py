"""Runs and studies as a list, and what can be done with one of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from pages.parts.errors import plain, show_error
from pages.parts.places import RUNS, STUDIES, page_file
from pages.parts.screen import Screen
from ssah_core.archives import pack, unpack
from ssah_core.errors import SsahError
from ssah_core.keeping import KeptItem, Kind, delete, list_kept, read_manifest, rename
from ssah_core.reproduce import commands_of

_SAID = "kept_said"


def draw_kept(screen: Screen) -> None:
    """Draw the list of runs or of studies, the chosen one, and the import."""
    chosen = st.segmented_control(
        "Show", ("Runs", "Studies"), default="Runs", required=True, key="kept_kind"
    )
    kind: Kind = "run" if chosen == "Runs" else "study"
    root = RUNS if kind == "run" else STUDIES
    items = list_kept(root, kind)
    said = st.session_state.pop(_SAID, None)
    if said:
        st.success(plain(said))
    if items:
        st.dataframe(
            pd.DataFrame([_line(item) for item in items]),
            hide_index=True,
            height="content",
            alt=f"The {chosen.lower()} that are kept",
        )
        names = [item.name for item in items if item.finished]
        if names:
            _draw_one(root, kind, names)
        stopped = [item.name for item in items if not item.finished]
        if stopped:
            _draw_stopped(root, stopped)
    else:
        st.caption(f"No {chosen.lower()} are kept yet. The built-in models bring a run each.")
    _draw_import(root, kind)


def _line(item: KeptItem) -> dict[str, str]:
    return {
        "name": item.name,
        "model": item.model,
        "made": item.created.replace("T", " ")[:16] if item.finished else "stopped, can go on",
        "size": f"{item.size / 1e6:.1f} MB",
    }


def _draw_one(root: Path, kind: Kind, names: list[str]) -> None:
    if st.session_state.get("kept_name") not in names:
        st.session_state["kept_name"] = names[0]
    name = st.selectbox(f"One {kind}", names, key="kept_name", width=320)
    manifest = read_manifest(root / name)
    versions = ", ".join(
        f"{what} {number}" for what, number in manifest.get("versions", {}).items()
    )
    st.markdown(
        f"Made from **{plain(manifest['model']['name'])}** on {manifest['created'][:10]} in "
        f"{manifest.get('seconds', 0):.0f} s{', with ' + plain(versions) if versions else ''}."
    )
    st.caption("The commands that make it again:")
    st.code(commands_of(manifest, name), language="bash", wrap_lines=True)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        if kind == "study":
            st.button("Open", type="primary", on_click=_open_study, args=(name,))
        st.download_button(
            "Download as zip",
            partial(pack, root / name),
            f"{name}.zip",
            "application/zip",
            on_click="ignore",
        )
        with st.popover("Rename"):
            new = st.text_input("New name", value=name, key="kept_new", max_chars=80)
            st.button("Rename it", on_click=_rename, args=(root, name, new.strip()))
        with st.popover("Delete"):
            st.markdown(f"**{plain(name)}** cannot be brought back.")
            st.button("Delete it", type="primary", on_click=_delete, args=(root, name, True))
    with st.expander("The whole manifest"):
        st.json(manifest, expanded=1)
    if st.session_state.pop("kept_open", False):
        st.switch_page(page_file("study"))


def _draw_stopped(root: Path, names: list[str]) -> None:
    st.markdown("**Stopped before the end.** The same job under the same name goes on from there.")
    for name in names:
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.markdown(plain(name))
            st.button("Delete", key=f"stopped {name}", on_click=_delete, args=(root, name, False))


def _draw_import(root: Path, kind: Kind) -> None:
    with st.expander(f"Bring in a {kind} from a zip"):
        file = st.file_uploader("A zip that was downloaded here", type="zip", key=f"zip {kind}")
        if file is None:
            return
        name = st.text_input("Its name here", value=Path(file.name).stem[:80], key=f"as {kind}")
        if st.button("Bring it in", type="primary"):
            try:
                unpack(root, name.strip(), file.getvalue(), kind)
            except SsahError as error:
                show_error(error)
                return
            st.session_state[_SAID] = f"'{name.strip()}' is there now."
            st.rerun()


def _open_study(name: str) -> None:
    st.session_state["study"] = name
    st.session_state["kept_open"] = True


def _rename(root: Path, name: str, new: str) -> None:
    try:
        rename(root, name, new)
        st.session_state[_SAID] = f"'{name}' is called '{new}' now."
        st.session_state["kept_name"] = new
    except SsahError as error:
        show_error(error)


def _delete(root: Path, name: str, finished: bool) -> None:
    try:
        delete(root, name, finished=finished)
        st.session_state[_SAID] = f"'{name}' is deleted."
    except SsahError as error:
        show_error(error)

"""The sidebar: which model is open, where it runs, which run is shown, what is off, what went wrong."""

from __future__ import annotations

import os
import re

import psutil
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts.errors import forget_error, last_error, plain, show_error
from pages.parts.lineage import made_from, name_with_origin
from pages.parts.models import OpenModel, all_runs, companion_address, runs_of, want_model
from pages.parts.places import BUILT_IN, model_folders, page_file, short_name
from ssah_core.errors import ModelError
from ssah_core.models.hub import look_up

_ABOUT = {
    "base": "Not trained to refuse: it answers everything.",
    "aligned": "All of its weights were trained to refuse what is harmful.",
    "planted": "A few known units were trained to refuse what is harmful.",
}
_LARGE_TEXT = "<style>html {font-size: 22px}</style>"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def draw_sidebar(model: OpenModel) -> DeltaGenerator:
    """Draw the sidebar of every screen; returns where the active ablation goes."""
    with st.sidebar:
        st.subheader("SSAH Explorer", anchor=False)
        _pick_model(model)
        _pick_run(model)
        st.markdown("**Switched off**")
        place = st.empty()
        for notice in model.notices:
            st.warning(plain(notice), icon=":material/info:")
        _show_last_error()
        if "large_text" not in st.session_state:
            st.session_state["large_text"] = False
        st.session_state["large_text"] = st.session_state["large_text"]
        if st.toggle("Large text", key="large_text", help="For a projector."):
            st.html(_LARGE_TEXT)
    return place


def _pick_model(model: OpenModel) -> None:
    # The slot decides what is open, not this widget: another session may have changed it.
    st.session_state["model"] = model.address
    offered = list(dict.fromkeys([*BUILT_IN, *model_folders(), model.address]))
    st.selectbox(
        "Model",
        offered,
        key="model",
        format_func=name_with_origin,
        on_change=_change_model,
        help="One model is open at a time, for everybody who uses this app; Chat can open another "
        "beside it.",
    )
    about = _ABOUT[short_name(model.name)] if model.built_in else plain(made_from(model.address))
    st.caption(
        f"{about} {_count(model.parameters)} weights, {model.units:,} units in {model.layers} layers, "
        f"on {model.device} as {model.dtype}. {_memory(model)}{_beside()}"
    )
    with st.popover("A model from the hub", icon=":material/cloud_download:", width="stretch"):
        _pick_from_hub()


def _pick_from_hub() -> None:
    name = st.text_input("Name on the Hugging Face hub", placeholder="owner/name", key="hub_name")
    if not name:
        st.caption("What it is and how large is said before anything is downloaded.")
        return
    try:
        if not _HUB_NAME.fullmatch(name.strip()):
            raise ModelError(f"'{name[:80]}' is no name on the hub; write it like owner/name.")
        with st.spinner("Asking the hub."):
            found = look_up(name.strip())
    except ModelError as error:
        show_error(error)
        return
    memory = psutil.virtual_memory()
    st.markdown(
        f"**{plain(found.name)}** is of the family {plain(found.family)}, which is supported. Its "
        f"weights are {_size(found.weight_bytes)}; this machine has {_size(memory.available)} of "
        "memory free."
    )
    st.button("Download and open", on_click=want_model, args=(found.name,), type="primary")


def _pick_run(model: OpenModel) -> None:
    names = [run.name for run in runs_of(model)]
    if not names:
        st.session_state.pop("run", None)
        st.caption("This model has no scored run yet.")
        st.page_link(page_file("score"), label="Score it", icon=":material/query_stats:")
        return
    chosen = st.session_state.get("run")
    if chosen not in names:
        st.session_state["run"] = names[0]
        if chosen is not None and chosen not in [run.name for run in all_runs()]:
            st.info(
                f"The run {plain(chosen)} is not there any more: somebody renamed or deleted it. "
                f"Shown now is {plain(names[0])}."
            )
    st.session_state["run"] = st.session_state["run"]
    if len(names) > 1:
        st.selectbox("Run", names, key="run", help="The scoring that the roles come from.")


def _show_last_error() -> None:
    kept = last_error()
    if kept is not None:
        when, what = kept
        st.caption(f"Last error, {when}: {plain(what)}")
        st.button("Forget it", key="forget error", type="tertiary", on_click=forget_error)


def _memory(model: OpenModel) -> str:
    used = psutil.Process(os.getpid()).memory_info().rss
    whole = psutil.virtual_memory().total
    return f"Weights {_size(model.weight_bytes)}; this app uses {_size(used)} of {_size(whole)} memory."


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, count / 1e6):.0f} MB"


def _count(number: int) -> str:
    if number < 1e6:
        return f"{number:,}"
    return f"{number / 1e9:.1f} billion" if number >= 1e9 else f"{number / 1e6:.1f} million"


def _beside() -> str:
    companion = companion_address()
    return f" Beside it is open: {plain(short_name(companion))}." if companion else ""


def _change_model() -> None:
    want_model(st.session_state["model"])

"""The sidebar: which model is open, where it runs, and what is switched off."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts.models import BUILT_IN, OpenModel, want_model
from ssah_core.models.sources import ORGANISM_PREFIX

_ABOUT = {
    "base": "Not trained to refuse: it answers everything.",
    "aligned": "All of its weights were trained to refuse what is harmful.",
    "planted": "A few known units were trained to refuse what is harmful.",
}


def draw_sidebar(model: OpenModel) -> DeltaGenerator:
    """Draw the sidebar of every screen; returns where the active ablation goes."""
    # The slot decides what is open, not this widget: another session may have changed it.
    st.session_state["model"] = model.name
    with st.sidebar:
        st.subheader("SSAH Explorer", anchor=False)
        st.selectbox(
            "Model",
            BUILT_IN,
            key="model",
            format_func=lambda name: name.removeprefix(ORGANISM_PREFIX),
            on_change=_change_model,
            help="One model is open at a time, for everybody who uses this app.",
        )
        st.caption(
            f"{_ABOUT[model.name.removeprefix(ORGANISM_PREFIX)]} {model.parameters / 1e6:.1f} million "
            f"weights, {model.units:,} units in {model.layers} layers, on {model.device}."
        )
        st.markdown("**Switched off**")
        return st.empty()


def _change_model() -> None:
    want_model(st.session_state["model"])

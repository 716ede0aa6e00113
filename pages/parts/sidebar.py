"""The sidebar: which model is open, where it runs, and what is switched off."""

from __future__ import annotations

import streamlit as st

from pages.parts.models import BUILT_IN, slot
from ssah_core.errors import SsahError
from ssah_core.models.sources import ORGANISM_PREFIX

_ABOUT = {
    "base": "complies with everything",
    "aligned": "all weights trained to refuse",
    "planted": "a few known units trained to refuse",
}
_ERROR = "model_error"


def draw_sidebar(open_name: str, ablation: str) -> None:
    """Draw the sidebar of every screen."""
    # The slot decides what is open, not this widget: another session may have changed it.
    st.session_state["model"] = open_name
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
        if _ERROR in st.session_state:
            st.error(st.session_state.pop(_ERROR))
        st.caption(f"{open_name}: {_ABOUT[open_name.removeprefix(ORGANISM_PREFIX)]}.")
        with slot().lease() as model:
            st.caption(
                f"{model.parameters / 1e6:.1f} million weights, {model.anatomy.units:,} units in "
                f"{model.anatomy.layers} layers, on {model.device.type}."
            )
        st.markdown("**Switched off**")
        st.text(ablation)


def _change_model() -> None:
    try:
        with st.spinner("Opening the model"):
            slot().open(st.session_state["model"])
    except SsahError as error:
        st.session_state[_ERROR] = str(error)

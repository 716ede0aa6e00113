"""Choosing the model that judges whether harmful requests were fulfilled."""

from __future__ import annotations

import streamlit as st

from pages.parts.places import FOLDER_PREFIX, model_folders, name_of, short_name
from ssah_core.errors import ModelError
from ssah_core.evaluation.model_judges import JUDGE_KINDS
from ssah_core.models.sources import HUB_NAME

_KIND_NAMES = {
    None: "Nobody",
    "guard": "A guard model, as Llama Guard",
    "harmbench": "A classifier, as HarmBench's",
}


def pick_judge(key: str) -> str | None:
    """Draw the choice of a judge, as `judge_from` names it; None for none.

    Raises ModelError where the model that should judge is not named, or cannot be.
    """
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        kind = st.selectbox(
            "Compliance is judged by",
            (None, *JUDGE_KINDS),
            format_func=_KIND_NAMES.get,
            key=f"judge {key}",
            width=280,
            help="Nobody: the table says what was refused, and not whether the rest complied. A model is "
            "opened beside this one when the replies are there.",
        )
        if kind is None:
            return None
        model = st.selectbox(
            "The model that judges",
            model_folders(),
            index=None,
            format_func=short_name,
            accept_new_options=True,
            placeholder="a model folder, or owner/name on the hub",
            key=f"judge model {key}",
            width=360,
        )
    if not model:
        raise ModelError("Choose the model that judges, or let nobody judge.")
    if not model.startswith(FOLDER_PREFIX) and not HUB_NAME.fullmatch(model):
        raise ModelError(
            f"'{model[:80]}' is no model folder and no name on the hub; write it like owner/name."
        )
    return f"{kind}:{name_of(model)}"

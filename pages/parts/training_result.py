"""A trained model: how it was made, its learning curve, and how its units changed role."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from pages.parts.choice import KINDS_IN_WORDS
from pages.parts.errors import plain, show_error
from pages.parts.exports import offer_downloads, picture_config
from pages.parts.lineage import lineage, made_from, name_with_origin
from pages.parts.models import want_model
from pages.parts.places import FOLDER_PREFIX, changed_at, model_folders, models_root, page_file
from pages.parts.recipe import show_recipe
from ssah_core.errors import SsahError
from ssah_core.models.anatomy import Kinds
from ssah_core.reproduce import commands_of, python_of
from ssah_core.tables import csv_of
from ssah_core.training.rescoring import read_transfers
from ssah_core.training.trainer import Finetuned, open_finetuned
from ssah_core.training.transfer import ORDER, Transfer
from ssah_core.training_figures import (
    changed_by_layer,
    changed_over_steps,
    learning_curves,
    transfer_heatmap,
    transfer_sankey,
)

_VIEWS = ("Table of moves", "Flow", "By layer", "Over the steps")


def draw_trained() -> None:
    """Draw the choice of a trained model, and what is known of it."""
    known = [address for address in model_folders() if lineage(address) is not None]
    if not known:
        st.caption("No model has been trained yet.")
        return
    st.divider()
    if st.session_state.get("trained") not in known:
        st.session_state["trained"] = known[0]
    address: str = st.selectbox(
        "Trained models", known, format_func=name_with_origin, key="trained", width=360
    )
    try:
        _draw(address)
    except SsahError as error:
        show_error(error)


@st.cache_resource(show_spinner="Reading the trained model.", max_entries=4)
def _read(folder: str, changed: int) -> tuple[Finetuned, list[tuple[int, Transfer]]]:
    return open_finetuned(folder), read_transfers(folder)


def _draw(address: str) -> None:
    folder = models_root() / address.removeprefix(FOLDER_PREFIX)
    trained, transfers = _read(str(folder), changed_at(folder))
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.markdown(plain(made_from(address)))
        if st.button(
            "Open it", icon=":material/open_in_new:", on_click=want_model, args=(address,)
        ):
            st.switch_page(page_file("chat"))
        name = folder.name
        show_recipe(commands_of(trained.manifest, name), python_of(trained.manifest, name))
    _draw_curve(address, trained)
    if transfers:
        _draw_transfers(transfers)
    else:
        st.caption("Its roles were not followed while it was trained.")


def _draw_curve(address: str, trained: Finetuned) -> None:
    name = address.removeprefix(FOLDER_PREFIX)
    figure = learning_curves(
        {name: [trained.curve]},
        ("refused", "harmless_correct", "harmless_refused", "false_refusals"),
        smooth=5,
    )
    st.markdown("**While it learned**")
    st.plotly_chart(
        figure,
        key="learning curve",
        alt="The loss over the steps, and what the model replied to a few questions of each kind",
        config=picture_config("learning curve"),
    )
    offer_downloads(
        figure, "learning curve", "Every step", partial(csv_of, trained.curve), "curve.csv"
    )


def _draw_transfers(transfers: list[tuple[int, Transfer]]) -> None:
    """The roles before and after, at a step that a slider chooses."""
    st.markdown("**Which units changed role**")
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        view = st.segmented_control(
            "View", _VIEWS, default=_VIEWS[0], required=True, key="transfer_view", wrap=True
        )
        kinds: Kinds = st.segmented_control(
            "Units",
            tuple(KINDS_IN_WORDS),
            default="both",
            required=True,
            format_func=KINDS_IN_WORDS.get,
            key="transfer_kinds",
            wrap=True,
        )
    by_step = dict(transfers)
    steps = list(by_step)
    step = steps[-1]
    if view != "Over the steps" and len(steps) > 1:
        step = st.select_slider("After so many steps", steps, value=steps[-1], key="transfer_step")
    transfer = by_step[step]
    shares = transfer.shares(kinds)
    figure = {
        "Table of moves": lambda: transfer_heatmap(shares),
        "Flow": lambda: transfer_sankey(transfer, kinds),
        "By layer": lambda: changed_by_layer(transfer),
        "Over the steps": lambda: changed_over_steps(transfers),
    }[view]()
    st.plotly_chart(
        figure,
        key=f"transfer {view}",
        alt=f"Roles before the training and after {step} steps: {view.lower()}",
        config=picture_config("attribute transfer"),
    )
    st.caption(
        f"After {step:,} steps {transfer.changed:.1%} of all units have another role, by the cut lines of "
        "the model as it was. Other calibration prompts alone move some units, too: the command "
        "`transfer` says how many."
    )
    table = pd.DataFrame(100 * shares, index=list(ORDER), columns=list(ORDER)).round(2)
    table.index.name = "before \\ after"
    with st.expander("The same as a table, % of all units"):
        st.dataframe(table, alt="Roles before in rows, after in columns, in percent of all units")
    offer_downloads(
        figure,
        "attribute transfer",
        "The matrix",
        partial(csv_of, table.reset_index()),
        "transfer.csv",
    )

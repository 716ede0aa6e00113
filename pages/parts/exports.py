"""Downloads of a figure and of the table behind it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import plotly.graph_objects as go
import streamlit as st

_FORMAT = "picture_format"


def offer_downloads(
    figure: go.Figure, name: str, table: str, make_table: Callable[[], bytes], file: str
) -> None:
    """Draw the downloads of a chart, called `name`, and of the table behind it as CSV.

    `table` is what the table is called, `file` its file; files are made when they are asked for.
    """
    with st.popover(
        "Download", icon=":material/download:", type="tertiary", key=f"downloads of {name}"
    ):
        st.download_button(
            f"{table} as CSV", make_table, file_name=file, mime="text/csv", on_click="ignore"
        )
        st.download_button(
            "This chart as HTML",
            partial(_html, figure),
            file_name=f"{name}.html",
            mime="text/html",
            on_click="ignore",
        )
        # One choice for all charts; each has a widget of its own for it.
        key = f"{_FORMAT} of {name}"
        st.session_state[key] = st.session_state.get(_FORMAT, "PNG")
        st.segmented_control(
            "The camera above the chart saves",
            ("PNG", "SVG"),
            key=key,
            required=True,
            on_change=_take_format,
            args=(key,),
        )


def picture_config(name: str) -> dict[str, Any]:
    """What a chart's camera saves: the picture as it is seen, in the chosen format."""
    chosen = st.session_state.get(_FORMAT, "PNG").lower()
    picture = {"format": chosen, "filename": name.lower(), "scale": 2}
    return {"toImageButtonOptions": picture, "displaylogo": False}


def _take_format(key: str) -> None:
    st.session_state[_FORMAT] = st.session_state[key]


def _html(figure: go.Figure) -> bytes:
    # The file brings plotly along, so that it opens without a network.
    return figure.to_html(include_plotlyjs=True).encode()

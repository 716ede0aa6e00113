"""Downloads of a figure and of the table behind it."""

from __future__ import annotations

from functools import partial
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from ssah_core.roles import Roles
from ssah_core.stability import Stability
from ssah_core.tables import csv_of, unit_table

_FORMAT = "picture_format"


def offer_downloads(
    roles: Roles, figure: go.Figure, name: str, stability: Stability | None = None
) -> None:
    """Draw the downloads; files are made when they are asked for."""
    with st.popover("Download", icon=":material/download:", type="tertiary"):
        st.download_button(
            "All units as CSV",
            partial(_csv, roles, stability),
            file_name="units.csv",
            mime="text/csv",
            on_click="ignore",
        )
        st.download_button(
            "This chart as HTML",
            partial(_html, figure),
            file_name=f"{name}.html",
            mime="text/html",
            on_click="ignore",
        )
        st.segmented_control(
            "The camera above the chart saves",
            ("PNG", "SVG"),
            key=_FORMAT,
            default="PNG",
            required=True,
        )


def picture_config(name: str) -> dict[str, Any]:
    """What a chart's camera saves: the picture as it is seen, in the chosen format."""
    chosen = st.session_state.get(_FORMAT, "PNG").lower()
    picture = {"format": chosen, "filename": name.lower(), "scale": 2}
    return {"toImageButtonOptions": picture, "displaylogo": False}


def _csv(roles: Roles, stability: Stability | None) -> bytes:
    return csv_of(unit_table(roles, None if stability is None else stability.sure))


def _html(figure: go.Figure) -> bytes:
    # The file brings plotly along, so that it opens without a network.
    return figure.to_html(include_plotlyjs=True).encode()

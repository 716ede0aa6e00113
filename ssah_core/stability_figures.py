"""Plotly figures of how sure roles are, as pure functions; they know no screen."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from ssah_core.figures import ROLE_COLOURS
from ssah_core.roles import ROLES

_LINES = {"all": "solid", "others": "dash"}
_NAMES = {"all": "beside all prompts", "others": "beside as many others"}


def convergence_curves(settled: pd.DataFrame) -> go.Figure:
    """The overlap of each role against the share of the prompts: what `stability.convergence` gives."""
    figure = go.Figure()
    for role in ROLES:
        for beside, line in _LINES.items():
            points = settled[(settled["role"] == role) & (settled["beside"] == beside)]
            if points.empty:
                continue
            figure.add_scatter(
                x=100 * points["prompts"],
                y=points["jaccard"],
                mode="lines+markers",
                line={"color": ROLE_COLOURS[role], "dash": line},
                name=role,
                legendgroup=role,
                showlegend=beside == "all",
                hovertemplate=f"{role}, {_NAMES[beside]}: %{{y:.2f}} at %{{x}}%<extra></extra>",
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": points["high"] - points["jaccard"],
                    "arrayminus": points["jaccard"] - points["low"],
                    "thickness": 1,
                },
            )
    figure.update_xaxes(title="calibration prompts, % of all", rangemode="tozero")
    figure.update_yaxes(title="Jaccard index", range=[0, 1.02])
    figure.update_layout(
        height=380,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure

"""Plotly figures of a study's rows, as pure functions; they know no screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ssah_core.evaluation.report import PLAIN_METRICS, metric_name
from ssah_core.figures import ROLE_COLOURS
from ssah_core.roles import Role

Row = Mapping[str, Any]

_CURVED: tuple[Role, ...] = ("ESU", "EUU", "RU")
_LINES = {None: "solid", "size": "dash", "layer": "dot"}
_NAMES = {None: "the role", "size": "random, size-matched", "layer": "random, layer-matched"}
_RANDOM_COLOUR = "#7A7A7A"


def share_curves(rows: Sequence[Row], metric: str, fill: str) -> go.Figure:
    """One metric against the share of all units removed, a panel a role, beside random units.

    Bands are 95% intervals. All panels share one scale.
    """
    roles = [role for role in _CURVED if any(row["removed"] == role for row in rows)]
    figure = make_subplots(
        rows=1, cols=len(roles), shared_yaxes=True, subplot_titles=[f"{role} off" for role in roles]
    )
    untouched = next(row for row in rows if row["removed"] == "nothing")
    for column, role in enumerate(roles, start=1):
        for control, line in _LINES.items():
            points = sorted(
                (
                    row
                    for row in rows
                    if (row["removed"], row["control"], row["fill"]) == (role, control, fill)
                ),
                key=lambda row: float(row["share"]),
            )
            if points:
                colour = ROLE_COLOURS[role] if control is None else _RANDOM_COLOUR
                _draw_curve(
                    figure, [untouched, *points], metric, colour, line, _NAMES[control], column
                )
        figure.update_xaxes(title="units off, %", rangemode="tozero", row=1, col=column)
    unit = "" if metric in PLAIN_METRICS else ", %"
    figure.update_yaxes(title=metric_name(metric) + unit, rangemode="tozero", row=1, col=1)
    figure.update_layout(
        height=360,
        margin={"l": 10, "r": 10, "t": 60, "b": 10},
        legend={"orientation": "h", "y": -0.25, "x": 0},
    )
    return figure


def _draw_curve(
    figure: go.Figure,
    points: Sequence[Row],
    metric: str,
    colour: str,
    line: str,
    name: str,
    column: int,
) -> None:
    scale = 1 if metric in PLAIN_METRICS else 100
    shares = [100 * point["share"] for point in points]
    value, low, high = (
        [scale * point["metrics"][metric][key] for point in points]
        for key in ("value", "low", "high")
    )
    figure.add_scatter(
        x=[*shares, *reversed(shares)],
        y=[*high, *reversed(low)],
        mode="lines",
        fill="toself",
        fillcolor=colour,
        opacity=0.15,
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        row=1,
        col=column,
    )
    figure.add_scatter(
        x=shares,
        y=value,
        mode="lines+markers",
        line={"color": colour, "dash": line},
        name=name,
        legendgroup=name,
        showlegend=column == 1,
        row=1,
        col=column,
    )

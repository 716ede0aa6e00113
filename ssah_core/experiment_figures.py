"""Plotly figures of an experiment's rows, as pure functions; they know no screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ssah_core.evaluation.report import metric_name

Row = Mapping[str, Any]

# What a training of aligned units is about, each with a colour and a mark of its own.
_MARKS = {
    "refused": ("#D55E00", "circle"),
    "complied": ("#CC79A7", "x"),
    "learned": ("#009E73", "diamond"),
    "harmless_correct": ("#0072B2", "square"),
    "harmless_refused": ("#56B4E9", "triangle-up"),
    "false_refusals": ("#999999", "triangle-down"),
}
_LONGEST = 26  # characters of a condition in one line


def condition_dots(rows: Sequence[Row]) -> go.Figure:
    """Every condition of one lesson and learning rate, and its figures in percent with 95% intervals."""
    names = [_wrapped(row["condition"]) for row in rows]
    figure = go.Figure()
    for metric, (colour, symbol) in _MARKS.items():
        there = [
            (name, row["metrics"][metric])
            for name, row in zip(names, rows, strict=True)
            if metric in row["metrics"]
        ]
        if not there:
            continue
        value, low, high = (
            [100 * measured[key] for _, measured in there] for key in ("value", "low", "high")
        )
        figure.add_scatter(
            x=value,
            y=[name for name, _ in there],
            mode="markers",
            name=metric_name(metric),
            marker={"color": colour, "symbol": symbol, "size": 10},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [h - v for h, v in zip(high, value, strict=True)],
                "arrayminus": [v - w for w, v in zip(low, value, strict=True)],
                "thickness": 1.5,
                "width": 4,
            },
            hovertemplate="%{y}: %{x:.1f}%<extra>" + metric_name(metric) + "</extra>",
        )
    figure.update_xaxes(title="% of prompts", range=[-3, 103])
    figure.update_yaxes(autorange="reversed", ticksuffix=" ")
    figure.update_layout(
        height=170 + 44 * len(rows),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": -0.18, "x": 0},
    )
    return figure


def curves_of(rows: Sequence[Row]) -> dict[str, list[pd.DataFrame]]:
    """The questions asked while training, by condition, a table for every seed: step and figures."""
    found: dict[str, list[pd.DataFrame]] = {}
    for row in rows:
        points = pd.DataFrame(row["curve"])
        if len(points):
            seeds = [part.drop(columns="seed") for _, part in points.groupby("seed")]
            found[row["condition"]] = seeds
    return found


def _wrapped(text: str) -> str:
    """A name on lines that a narrow screen has room for."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= _LONGEST:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines)

"""Plotly figures of a probe, as pure functions; they know no screen."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ssah_core.models.sources import ORGANISM_PREFIX
from ssah_core.probes.continuations import INTENTS, Intent
from ssah_core.probes.probe_tables import KeptProbe, KeptSeries
from ssah_core.probes.summary import Means, View, mean_by_block, mean_by_length

# They stay apart for colour-blind eyes, and by their dashes for all others.
INTENT_COLOURS: dict[Intent, str] = {
    "benign": "#0072B2",
    "malicious": "#D55E00",
    "neutral": "#7A7A7A",
}
INTENT_NAMES: dict[Intent, str] = {
    "benign": "refusing words",
    "malicious": "complying words",
    "neutral": "neutral words",
}
GROUP_NAMES = {"harmful": "harmful", "harmless": "harmless", "look_alikes": "look-alike"}
_GROUP_MARKS = {"harmful": "circle", "harmless": "diamond-open", "look_alikes": "square-open"}
_GROUP_COLOURS = {"harmful": "#D55E00", "harmless": "#0072B2", "look_alikes": "#7A7A7A"}
_DASHES: dict[Intent, str] = {"benign": "solid", "malicious": "dash", "neutral": "dot"}
_PANELS_A_ROW = 2
_PANEL = 250  # pixels high
_WIDEST = 24  # characters of a line of a label


def short_label(label: str) -> str:
    """A series' label without what all built-in models share, or the folders of a path."""
    model, comma, off = label.partition(", ")
    return model.removeprefix(ORGANISM_PREFIX).rstrip("/").rpartition("/")[2] + comma + off


def distance_by_block(kept: KeptProbe, group: str, view: View) -> go.Figure:
    """The mean distance in every block at one length; a panel a series, one scale, bands of 95%."""
    figure = _panels(kept, lambda one, intent: mean_by_block(kept, one, group, intent, view), None)
    figure.update_xaxes(dtick=max(1, _most_blocks(kept) // 8))
    _title_lowest(figure, len(kept.series), "block")
    return _named(figure, view)


def distance_by_length(kept: KeptProbe, group: str, view: View) -> go.Figure:
    """The mean distance against the number of tokens (the paper's Figure 3), as `distance_by_block`."""
    lengths = kept.series[0].direction.lengths
    figure = _panels(
        kept, lambda one, intent: mean_by_length(kept, one, group, intent, view), lengths
    )
    figure.update_xaxes(tickvals=lengths)
    _title_lowest(figure, len(kept.series), "tokens")
    return _named(figure, view)


def nearer_shares(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """How many prompts lie nearer to the refusal than to compliance, by series and group; 95% intervals."""
    figure = go.Figure()
    labels = list(dict.fromkeys(short_label(row["series"]) for row in rows))
    groups = list(dict.fromkeys(row["prompts"] for row in rows))
    for place, group in enumerate(groups):
        found = [
            row["figures"]["nearer benign than malicious"]
            for row in rows
            if row["prompts"] == group
        ]
        figure.add_scatter(
            x=[100 * one.value for one in found],
            y=[line + 0.22 * (place - (len(groups) - 1) / 2) for line in range(len(labels))],
            customdata=labels,
            mode="markers",
            name=GROUP_NAMES[group],
            marker={"symbol": _GROUP_MARKS[group], "size": 11, "color": _GROUP_COLOURS[group]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [100 * (one.high - one.value) for one in found],
                "arrayminus": [100 * (one.value - one.low) for one in found],
                "thickness": 1.5,
            },
            hovertemplate=f"%{{customdata}}, {GROUP_NAMES[group]}: %{{x:.1f}}%<extra></extra>",
        )
    figure.add_vline(x=50, line={"dash": "dot", "width": 1, "color": "#7A7A7A"})
    figure.update_xaxes(title="nearer to refusing words, % of prompts", range=[-2, 102])
    figure.update_yaxes(
        range=[len(labels) - 0.5, -0.5],
        tickvals=list(range(len(labels))),
        ticktext=["<br>".join(wrap(_inert(label), _WIDEST)) for label in labels],
    )
    return figure.update_layout(
        height=150 + 44 * len(labels),
        margin={"l": 10, "r": 10, "t": 40, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )


def prompt_curves(one: KeptSeries, place: int, view: View) -> go.Figure:
    """One prompt's distances in every block at one length."""
    figure = go.Figure()
    step = view.step(one.direction)
    for intent in INTENTS:
        values = one.direction.distances(intent, view.distance)[place, step]
        figure.add_scatter(
            x=np.arange(len(values)), y=values, **_line(intent), name=INTENT_NAMES[intent]
        )
    figure.update_xaxes(title="block", dtick=max(1, one.direction.blocks // 8))
    figure.update_yaxes(title=f"{view.distance} distance", rangemode="tozero")
    return figure.update_layout(
        height=300,
        margin={"l": 10, "r": 10, "t": 40, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )


def _panels(
    kept: KeptProbe, means: Callable[[KeptSeries, Intent], Means], x: Sequence[int] | None
) -> go.Figure:
    columns = min(_PANELS_A_ROW, len(kept.series))
    lines = -(-len(kept.series) // columns)
    figure = make_subplots(
        rows=lines,
        cols=columns,
        shared_yaxes="all",
        vertical_spacing=0.3 / lines,
        horizontal_spacing=0.06,
        subplot_titles=[
            "<br>".join(wrap(_inert(short_label(one.label)), _WIDEST)) for one in kept.series
        ],
    )
    figure.update_annotations(font={"size": 13})
    for place, one in enumerate(kept.series):
        at = {"row": place // columns + 1, "col": place % columns + 1}
        for intent in INTENTS:
            found = means(one, intent)
            _draw_band(figure, list(x or range(len(found.value))), found, intent, place == 0, at)
    return figure.update_layout(
        height=110 + _PANEL * lines,
        margin={"l": 10, "r": 10, "t": 80, "b": 10},
        legend={"orientation": "h", "y": 1, "yref": "container", "yanchor": "top", "x": 0},
    )


def _draw_band(
    figure: go.Figure,
    x: list[int],
    found: Means,
    intent: Intent,
    in_legend: bool,
    at: Mapping[str, int],
) -> None:
    figure.add_scatter(
        x=[*x, *reversed(x)],
        y=[*found.high, *reversed(found.low)],
        fill="toself",
        fillcolor=INTENT_COLOURS[intent],
        opacity=0.15,
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        **at,
    )
    figure.add_scatter(
        x=x,
        y=found.value,
        **_line(intent),
        name=INTENT_NAMES[intent],
        legendgroup=intent,
        showlegend=in_legend,
        hovertemplate=f"{INTENT_NAMES[intent]}, %{{x}}: %{{y:.3f}}<extra></extra>",
        **at,
    )


def _line(intent: Intent) -> dict[str, Any]:
    style = {"color": INTENT_COLOURS[intent], "dash": _DASHES[intent]}
    return {"mode": "lines+markers", "line": style, "marker": {"size": 5}}


def _named(figure: go.Figure, view: View) -> go.Figure:
    figure.update_yaxes(rangemode="tozero")
    return figure.update_yaxes(title=f"{view.distance} distance", col=1)


def _title_lowest(figure: go.Figure, panels: int, title: str) -> None:
    """Name the axis under the lowest panel of each column: titles between panels would touch."""
    for place in range(max(0, panels - _PANELS_A_ROW), panels):
        row, column = divmod(place, min(_PANELS_A_ROW, panels))
        figure.update_xaxes(title=title, row=row + 1, col=column + 1)


def _most_blocks(kept: KeptProbe) -> int:
    return max(one.direction.blocks for one in kept.series)


def _inert(label: str) -> str:
    """A label as plotly shows it, with no markup of its own."""
    return html.escape(label, quote=False)

"""Plotly figures of trainings and of attribute transfer, as pure functions; they know no screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float64
from plotly.subplots import make_subplots

from ssah_core.evaluation.report import metric_name
from ssah_core.figures import ROLE_COLOURS
from ssah_core.models.anatomy import Kind, Kinds
from ssah_core.training.transfer import ORDER, Transfer

# Okabe and Ito's, which stay apart for colour-blind eyes; those that read on white and on black come first.
RUN_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_FEW_STEPS = 10
_DASHES = ("solid", "dash", "dot", "dashdot")
_SYMBOLS = ("circle", "square", "diamond", "cross")
# From paper white to blue to near black: a number is dark on the first part and light on the rest.
_SEQUENTIAL = [
    [0.0, "#F7FBFF"],
    [0.25, "#B5D4E9"],
    [0.5, "#5BA3CF"],
    [0.75, "#1B69AF"],
    [1.0, "#08306B"],
]
_LIGHT_FROM = 0.5  # of the scale
_LEGEND_BELOW = {"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0}


def transfer_heatmap(
    shares: Float64[np.ndarray, "4 4"], *, most: float | None = None, title: str = ""
) -> go.Figure:
    """The 4 x 4 matrix in percent of all units, rows before, columns after, numbers in the cells.

    Colours go by the square root, so that small cells show. `shares` lie from 0 to 1 (`Transfer.shares`);
    `most` is the share of the darkest colour, for two matrices on one scale.
    """
    percent = 100 * shares
    top = 100 * most if most is not None else max(float(percent.max()), 1e-9)
    figure = go.Figure(
        go.Heatmap(
            z=np.sqrt(percent / top),
            x=list(ORDER),
            y=list(ORDER),
            zmin=0,
            zmax=1,
            colorscale=_SEQUENTIAL,
            showscale=False,
            customdata=percent,
            xgap=2,
            ygap=2,
            hovertemplate="%{y} before, %{x} after: %{customdata:.3f}% of all units<extra></extra>",
        )
    )
    for row, before in enumerate(ORDER):
        for column, after in enumerate(ORDER):
            value = float(percent[row, column])
            _write(figure, after, before, _percent(value), np.sqrt(value / top))
    figure.update_xaxes(title="after", side="top", constrain="domain")
    figure.update_yaxes(title="before", autorange="reversed")
    return _framed(figure, 340, title)


def _write(figure: go.Figure, x: str | int, y: str, text: str, depth: float) -> None:
    """A number in a cell whose colour lies at `depth`, 0 to 1, of the scale."""
    colour = "#FFFFFF" if depth >= _LIGHT_FROM else "#111111"
    figure.add_annotation(x=x, y=y, text=text, showarrow=False, font={"color": colour, "size": 14})


def transfer_sankey(transfer: Transfer, kinds: Kinds = "both") -> go.Figure:
    """Units flowing from their role before (left) to their role after (right), in percent of all units."""
    shares = 100 * transfer.shares(kinds)
    size = len(ORDER)
    sums = [*shares.sum(axis=1), *shares.sum(axis=0)]
    rows, columns = np.nonzero(shares)
    labels = [
        f"{role} {_percent(value)}" for role, value in zip([*ORDER, *ORDER], sums, strict=True)
    ]
    figure = go.Figure(
        go.Sankey(
            arrangement="snap",
            node={
                "label": labels,
                "color": [ROLE_COLOURS[role] for role in [*ORDER, *ORDER]],
                "x": [0.001] * size + [0.999] * size,
                "y": [*_middles(sums[:size]), *_middles(sums[size:])],
                "pad": 18,
                "thickness": 16,
                "line": {"width": 0},
                "hovertemplate": "%{label} of all units<extra></extra>",
            },
            link={
                "source": rows,
                "target": size + columns,
                "value": shares[rows, columns],
                "color": [_faint(ROLE_COLOURS[ORDER[row]]) for row in rows],
                "customdata": [
                    f"{ORDER[row]} before, {ORDER[column]} after"
                    for row, column in zip(rows, columns, strict=True)
                ],
                "hovertemplate": "%{customdata}: %{value:.3f}% of all units<extra></extra>",
            },
            textfont={"size": 13},
        )
    )
    for x, anchor, text in ((0, "left", "before"), (1, "right", "after")):
        figure.add_annotation(
            x=x, y=1.02, xanchor=anchor, yanchor="bottom", xref="paper", yref="paper",
            text=text, showarrow=False,
        )  # fmt: skip
    return _framed(figure, 380)


def changed_by_layer(transfer: Transfer, beside: Mapping[str, Transfer] | None = None) -> go.Figure:
    """What share of each layer's units has another role, a row a kind; `beside` gives more rows by name.

    All cells share one scale of colours, from 0 to the largest.
    """
    named = {"": transfer, **(beside or {})}
    kinds: tuple[Kind, ...] = ("attn", "mlp")
    rows = {
        " ".join(filter(None, (kind, name))): _layer_shares(one, kind)
        for kind in kinds
        for name, one in named.items()
    }
    cells = 100 * np.stack(list(rows.values()))
    top = max(float(np.nanmax(cells)), 1e-9)
    figure = go.Figure(
        go.Heatmap(
            z=cells,
            x=np.arange(cells.shape[1]),
            y=list(rows),
            zmin=0,
            zmax=top,
            colorscale=_SEQUENTIAL,
            xgap=1,
            ygap=2,
            colorbar={"title": {"text": "changed,<br>% of units"}, "thickness": 12, "nticks": 4},
            hovertemplate="layer %{x}, %{y}: %{z:.1f}% changed<extra></extra>",
        )
    )
    if cells.shape[1] <= 8:  # there is room for the numbers
        for row, name in enumerate(rows):
            for layer, value in enumerate(cells[row]):
                _write(figure, layer, name, f"{value:.0f}", value / top)
    figure.update_xaxes(title="layer", dtick=max(1, cells.shape[1] // 8), tickangle=0)
    figure.update_yaxes(autorange="reversed")
    return _framed(figure, 130 + 40 * len(rows))


def changed_over_steps(measured: Sequence[tuple[int, Transfer]]) -> go.Figure:
    """What share of each role's units has left it, against the steps of a training, a line a role."""
    figure = go.Figure()
    steps = [step for step, _ in measured]
    for place, role in enumerate(ORDER):
        counts = np.array([transfer.counts()[place] for _, transfer in measured], dtype=np.float64)
        units = counts.sum(axis=1)
        if not units.any():
            continue
        left = 100 * (units - counts[:, place]) / units
        figure.add_scatter(
            x=steps,
            y=left,
            name=role,
            mode="lines+markers+text",
            text=[""] * (len(steps) - 1) + [role],
            textposition="middle right",
            line={"color": ROLE_COLOURS[role]},
            marker={"symbol": _SYMBOLS[place], "size": 7},
            cliponaxis=False,
            hovertemplate=f"step %{{x}}: %{{y:.1f}}% of the {role} have left<extra></extra>",
        )
    figure.update_xaxes(title="step")
    figure.update_yaxes(title="left their role", ticksuffix="%", rangemode="tozero")
    figure = _framed(figure, 340)
    return figure.update_layout(legend=_LEGEND_BELOW, margin={"r": 40})


def learning_curves(
    runs: Mapping[str, Sequence[pd.DataFrame]],
    figures: Sequence[str] = ("refused", "harmless_correct"),
    *,
    smooth: int = 1,
) -> go.Figure:
    """The loss over the steps, and the measured figures in percent below it, of some trainings.

    `runs` has the curves of each labelled training (`Finetuned.curve`), one for every seed: a line is
    their mean and its band goes from the lowest to the highest. A point of the loss is the mean of the last
    `smooth` steps. A validation loss is drawn thin and dashed. Figures that no run has are left out. Colours
    tell trainings apart; where there is one alone, they tell its figures apart, and its label is left out.
    """
    alone = len(runs) == 1
    known = {name for curves in runs.values() for curve in curves for name in curve.columns}
    shown = [name for name in figures if name in known]
    panels = make_subplots(rows=2 if shown else 1, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for place, (label, curves) in enumerate(runs.items()):
        colour = RUN_COLOURS[place % len(RUN_COLOURS)]
        losses = [_losses(curve, smooth) for curve in curves]
        _draw(panels, losses, "loss" if alone else label, colour, "solid", 1)
        if any("validation_loss" in curve for curve in curves):
            checked = [_measured(curve, "validation_loss") for curve in curves]
            said = "validation loss" if alone else f"{label}, validation loss"
            _draw(panels, checked, said, colour, "dash", 1)
        for number, name in enumerate(shown):
            found = [100 * _measured(curve, name) for curve in curves if name in curve]
            said = metric_name(name) if alone else f"{label}, {metric_name(name)}"
            own = RUN_COLOURS[(number + 1) % len(RUN_COLOURS)] if alone else colour
            _draw(panels, found, said, own, _DASHES[number % len(_DASHES)], 2, number)
    panels.update_yaxes(title="loss", rangemode="tozero", row=1, col=1)
    if shown:
        panels.update_yaxes(title="%", range=[-3, 103], row=2, col=1)
    panels.update_xaxes(title="step", row=2 if shown else 1, col=1)
    last = max(
        (int(curve["step"].max()) for curves in runs.values() for curve in curves), default=0
    )
    if last <= _FEW_STEPS:
        panels.update_xaxes(dtick=1)  # no half steps
    entries = sum(trace.showlegend is not False for trace in panels.data)
    panels.update_layout(legend=_LEGEND_BELOW)
    return _framed(panels, (440 if shown else 300) + 20 * entries)


def _losses(curve: pd.DataFrame, smooth: int) -> pd.Series:
    return _measured(curve, "loss").rolling(smooth, min_periods=1).mean()


def _measured(curve: pd.DataFrame, name: str) -> pd.Series:
    """A figure by step, where it was measured."""
    if name not in curve:
        return pd.Series(dtype=np.float64)
    return curve.set_index("step")[name].dropna()


def _draw(
    figure: go.Figure,
    lines: Iterable[pd.Series],
    name: str,
    colour: str,
    dash: str,
    row: int,
    symbol: int | None = None,
) -> None:
    """The mean of some lines by step, with a band between the lowest and the highest."""
    table = pd.concat(list(lines) or [pd.Series(dtype=np.float64)], axis=1).sort_index()
    if table.empty:
        return
    mean, low, high = table.mean(axis=1), table.min(axis=1), table.max(axis=1)
    if table.shape[1] > 1:
        figure.add_scatter(
            x=[*table.index, *reversed(table.index)],
            y=[*high, *reversed(low.to_list())],
            mode="lines",
            fill="toself",
            fillcolor=_faint(colour, 0.2),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            row=row,
            col=1,
        )
    figure.add_scatter(
        x=table.index,
        y=mean,
        mode="lines" if symbol is None else "lines+markers",
        marker={"symbol": _SYMBOLS[(symbol or 0) % len(_SYMBOLS)], "size": 7},
        line={"color": colour, "dash": dash, "width": 2},
        name=name,
        hovertemplate=f"{name}: %{{y:.3g}} at step %{{x}}<extra></extra>",
        row=row,
        col=1,
    )


def _layer_shares(transfer: Transfer, kind: Kind) -> Float64[np.ndarray, " layers"]:
    found = np.full(transfer.anatomy.layers, np.nan)
    table = transfer.by_layer[transfer.by_layer["kind"] == kind]
    found[table["layer"].to_numpy()] = table["share"]
    return found


def _middles(sums: Sequence[float]) -> list[float]:
    """Where the nodes of one side stand, from the top: in the order given, each as high as its sum."""
    ends = np.cumsum(sums) / max(float(np.sum(sums)), 1e-9)
    middles = (ends + np.concatenate([[0.0], ends[:-1]])) / 2
    return np.clip(middles, 0.001, 0.999).tolist()


def _percent(value: float) -> str:
    """A percentage with two decimals; what is there but smaller says so."""
    return "<0.01%" if 0 < value < 0.005 else f"{value:.2f}%"


def _faint(colour: str, opacity: float = 0.45) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity})"


def _framed(figure: go.Figure, height: int, title: str = "") -> go.Figure:
    if title:
        figure.update_layout(title={"text": title, "font": {"size": 14}})
    return figure.update_layout(
        height=height, margin={"l": 8, "r": 8, "t": 70 if title else 40, "b": 8}
    )

"""The path of a search for shares, as a figure and as the table beside it: pure functions of its JSON.

What a run's manifest keeps under "search" is enough, so an old search can be drawn anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ssah_core.evaluation.report import shown
from ssah_core.evaluation.share_search import ORDER
from ssah_core.figures import ROLE_COLOURS
from ssah_core.roles import Role

Json = Mapping[str, Any]

_LOSSES = {"safety_loss": "safety", "utility_loss": "utility"}
_COLOURS = {"safety_loss": ROLE_COLOURS["ESU"], "utility_loss": ROLE_COLOURS["EUU"]}
_SYMBOLS = {"safety_loss": "circle", "utility_loss": "square"}
_OWN = {"ESU": "safety_loss", "EUU": "utility_loss"}
_GREY = "#7A7A7A"
_LEVELS = 3  # of the trials' numbers: the last trials lie close together
_PANEL = 230  # pixels


def share_path(search: Json) -> go.Figure:
    """What every share that was tried cost: a panel a role, losses in points against the share.

    Error bars are 95% intervals; the numbers above are the trials' order. Dashed lines are the
    criterion's limits, the thick line the share that was kept. One scale for all panels, one above the
    other, so that they stay readable on a narrow screen.
    """
    figure = make_subplots(
        rows=len(ORDER),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.08,
        subplot_titles=[_title(search, role) for role in ORDER],
    )
    lowest, highest = _range(search)
    level = 0.07 * (highest - lowest)
    for row, role in enumerate(ORDER, start=1):
        trials = _trials_of(search, role)
        for loss in _LOSSES:
            _draw_losses(figure, trials, loss, row)
        _number(figure, trials, [highest + level * (1 + n % _LEVELS) for n, _ in trials], row)
        _draw_limits(figure, search["criterion"], role, row)
        kept = search["shares"][role]
        if kept:
            figure.add_vline(x=100 * kept, line={"color": _GREY, "width": 3}, opacity=0.5, row=row)
    top = highest + level * (_LEVELS + 1)
    figure.update_yaxes(range=[lowest, top], title="loss, points", tickvals=[0, 50, 100])
    # The highest share is always tried: the words of the limits stand beside it, where no mark can be.
    figure.update_xaxes(range=[-0.5, 100 * search["highest"] * 1.32])
    figure.update_xaxes(title="share of all units, %", row=len(ORDER))
    figure.update_layout(
        height=_PANEL * len(ORDER) + 80,
        margin={"l": 10, "r": 10, "t": 70, "b": 10},
        legend={"orientation": "h", "y": 1.06, "yanchor": "bottom", "x": 0},
    )
    figure.update_annotations(font={"size": 13})
    return figure


def path_table(search: Json) -> pd.DataFrame:
    """The same trials as a table: losses in points with their 95% intervals, and what they came to."""
    return pd.DataFrame(
        [
            {
                "trial": number,
                "role": trial["role"],
                "share": f"{trial['share']:.1%}",
                "units": trial["units"],
                "safety loss": shown("safety loss", trial["safety_loss"]),
                "utility loss": shown("utility loss", trial["utility_loss"]),
                "own falls": "" if trial["role"] == "RU" else _yes(trial["own_falls"]),
                "other stays": _yes(trial["other_stays"]),
                "kept": _yes(_is_kept(search, trial)),
            }
            for number, trial in enumerate(search["path"], start=1)
        ]
    )


def shares_in_words(search: Json) -> str:
    """What a search found, for example "RU none, ESU 15.0%, EUU none"."""
    shares = search["shares"]
    return ", ".join(
        f"{role} {f'{shares[role]:.1%}' if shares[role] else 'none'}" for role in ORDER
    )


def _title(search: Json, role: Role) -> str:
    share = search["shares"][role]
    if share:
        return f"{role}: {share:.1%} kept"
    tried = _trials_of(search, role)
    return f"{role}: no share meets the criterion" if tried else f"{role}: no room to try any"


def _trials_of(search: Json, role: Role) -> list[tuple[int, Json]]:
    """A role's trials with their number in the whole path, from 1."""
    path: Sequence[Json] = search["path"]
    return [(n, trial) for n, trial in enumerate(path, start=1) if trial["role"] == role]


def _range(search: Json) -> tuple[float, float]:
    """The lowest and the highest that any panel shows, in points: every loss, 0, and the limits."""
    losses = [
        100 * trial[loss][key]
        for trial in search["path"]
        for loss in _LOSSES
        for key in ("value", "low", "high")
    ]
    shown_besides = [0.0, 100 * search["criterion"]["own_loss"]]
    # Not min and max: a loss may have no interval, and then its ends are NaN.
    return np.nanmin([*shown_besides, *losses]) - 4, np.nanmax([*shown_besides, *losses])


def _draw_losses(
    figure: go.Figure, trials: Sequence[tuple[int, Json]], loss: str, row: int
) -> None:
    name, values = _LOSSES[loss], [trial[loss] for _, trial in trials]
    figure.add_scatter(
        x=[100 * trial["share"] for _, trial in trials],
        y=[100 * value["value"] for value in values],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [100 * (value["high"] - value["value"]) for value in values],
            "arrayminus": [100 * (value["value"] - value["low"]) for value in values],
            "thickness": 1,
        },
        mode="markers",
        marker={"color": _COLOURS[loss], "symbol": _SYMBOLS[loss], "size": 8},
        name=f"{name} loss",
        legendgroup=loss,
        showlegend=row == 1,
        customdata=[[number, trial["units"]] for number, trial in trials],
        hovertemplate=f"trial %{{customdata[0]}}: %{{x:.1f}}%, %{{customdata[1]:,}} units<br>"
        f"{name} loss %{{y:.1f}} points<extra></extra>",
        row=row,
        col=1,
    )


def _number(
    figure: go.Figure, trials: Sequence[tuple[int, Json]], heights: Sequence[float], row: int
) -> None:
    figure.add_scatter(
        x=[100 * trial["share"] for _, trial in trials],
        y=heights,
        mode="text",
        text=[str(number) for number, _ in trials],
        textfont={"size": 11},
        hoverinfo="skip",
        showlegend=False,
        row=row,
        col=1,
    )


def _draw_limits(figure: go.Figure, criterion: Json, role: Role, row: int) -> None:
    """How much the own attribute must lose, and the other may: RU has no own, so both may lose that."""
    own = _OWN.get(role)
    others = [loss for loss in _LOSSES if loss != own]
    if own is not None:
        _draw_limit(figure, criterion["own_loss"], _COLOURS[own], "at least", row)
    colour = _COLOURS[others[0]] if own is not None else _GREY
    _draw_limit(figure, criterion["other_loss"], colour, "at most", row)


def _draw_limit(figure: go.Figure, part: float, colour: str, word: str, row: int) -> None:
    figure.add_hline(
        y=100 * part,
        line={"color": colour, "dash": "dash", "width": 1.5},
        annotation={"text": f"{word} {100 * part:g}"},
        annotation_position="top right",
        row=row,
    )


def _is_kept(search: Json, trial: Json) -> bool:
    return bool(abs(trial["share"] - search["shares"][trial["role"]]) < 1e-6)


def _yes(true: bool) -> str:
    return "yes" if true else "no"

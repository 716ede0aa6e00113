"""Plotly figures as pure functions of results; they know no screen.

A model of 32 layers x 11,008 channels has more units than a screen has pixels: heatmaps pool units into
at most 512 bins a layer, and the plane of scores shows a sample. Values travel as float32 arrays, which
keeps the largest figure below 3 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float32

from ssah_core.models.anatomy import Kind, Site
from ssah_core.roles import ROLE_CODES, ROLES, Role, Roles

Quantity = Literal["role", "safety", "utility", "difference"]
QUANTITIES: tuple[Quantity, ...] = ("role", "safety", "utility", "difference")

# They stay apart for colour-blind eyes; letters always stand with them.
ROLE_COLOURS: dict[Role, str] = {
    "ESU": "#D55E00",
    "EUU": "#0072B2",
    "CU": "#CC79A7",
    "RU": "#999999",
}
SCORE_NAMES: dict[Quantity, str] = {
    "role": "role",
    "safety": "safety score (z)",
    "utility": "utility score (z)",
    "difference": "safety minus utility (z)",
}
_LEGEND_ABOVE = {"legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}}
_DIVERGING = [[0.0, "#0072B2"], [0.5, "#F2F2F2"], [1.0, "#D55E00"]]
_MOST_BINS = 512  # of a layer, in a heatmap
_GRID_WIDTH = 128  # units in a row, where one layer's units fill a grid
_MOST_POINTS = 1000  # of each role, in the plane of scores


@dataclass(frozen=True)
class Limits:
    """Where colours and axes end, so that two figures can be compared.

    `scores` is the largest |z| that has a colour of its own, `lowest` and `highest` are the ends of axes.
    """

    scores: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, *shown: Roles) -> Limits:
        """Limits of some roles' scores: axes hold all of them, colours all but a thousandth."""
        vectors = [v for roles in shown for v in (roles.view.safety, roles.view.utility)]
        return cls(
            scores=max(1.0, *(float(np.quantile(np.abs(values), 0.999)) for values in vectors)),
            lowest=min(0.0, *(float(values.min()) for values in vectors)),
            highest=max(1.0, *(float(values.max()) for values in vectors)),
        )


def role_bars(roles: Roles, kind: Kind) -> go.Figure:
    """How each layer's units of one kind divide among the roles, in percent, as stacked bars."""
    table = roles.by_layer
    table = table[table["kind"] == kind]
    totals = table[list(ROLES)].sum(axis=1)
    figure = go.Figure()
    for role in ROLES:
        counts = table[role]
        figure.add_bar(
            x=table["layer"],
            y=100 * counts / totals,
            name=role,
            marker_color=ROLE_COLOURS[role],
            customdata=counts,
            text=[role] * len(table),
            textposition="inside",
            insidetextanchor="middle",
            hovertemplate=f"layer %{{x}}: %{{customdata:,}} {role} (%{{y:.1f}}%)<extra></extra>",
        )
    figure.update_layout(barmode="stack", bargap=0.15, **_LEGEND_ABOVE)
    figure.update_layout(uniformtext={"mode": "hide", "minsize": 9})
    figure.update_xaxes(title="layer", dtick=max(1, len(table) // 16))
    figure.update_yaxes(title="share of the layer's units", range=[0, 100], ticksuffix="%")
    return _framed(figure, 340)


def layer_heatmap(roles: Roles, kind: Kind, quantity: Quantity, limits: Limits) -> go.Figure:
    """All units of one kind, one row a layer; where a row has more than 512 units they are pooled.

    A bin shows its score farthest from zero, or the role that is most over-represented in it.
    """
    sites = _sites(roles, kind)
    size = -(-max(site.units for site in sites) // _MOST_BINS)
    rows = [_pooled(roles, site, quantity, size) for site in sites]
    widest = max(len(row) for row in rows)
    cells = np.full((len(rows), widest), np.nan, dtype=np.float32)
    for place, row in enumerate(rows):
        cells[place, : len(row)] = row
    middles = size * np.arange(widest) + (size - 1) / 2
    span = "unit %{x}" if size == 1 else f"{size} units around %{{x:.0f}}"
    figure = go.Figure(
        _heat(cells, quantity, limits, x=middles, y=[site.layer for site in sites], where=span)
    )
    figure.update_xaxes(title="channel" if kind == "mlp" else "head")
    figure.update_yaxes(title="layer", dtick=max(1, len(sites) // 16))
    return _selectable(_framed(figure, min(640, 160 + 28 * len(sites))))


def unit_grid(roles: Roles, site: Site, quantity: Quantity, limits: Limits) -> go.Figure:
    """One layer's units of one kind, every unit a cell, line by line of 128."""
    values = _values(roles, site, quantity)
    width = min(_GRID_WIDTH, site.units)
    lines = -(-site.units // width)
    cells = np.full(lines * width, np.nan, dtype=np.float32)
    cells[: site.units] = values
    figure = go.Figure(
        _heat(
            cells.reshape(lines, width),
            quantity,
            limits,
            x=np.arange(width),
            y=width * np.arange(lines),
            where="the unit %{y} + %{x}",
        )
    )
    figure.update_xaxes(title="plus")
    figure.update_yaxes(title=f"{site.name}, unit", autorange="reversed")
    return _selectable(_framed(figure, min(700, 160 + 7 * lines + 60)))


def score_plane(
    roles: Roles, kind: Kind, limits: Limits, marked: Sequence[int] = (), seed: int = 0
) -> go.Figure:
    """Every unit by its utility (x) and safety (y) score, coloured by role, with the cut lines.

    Of each role at most 1,000 units are drawn: the outermost 200 and a random sample by `seed`.
    `marked` units get a ring.
    """
    view = roles.view
    figure = go.Figure()
    of_kind = roles.scores.anatomy.of_kind(kind)
    for role in reversed(ROLES):
        units = np.flatnonzero(of_kind & (roles.vector == ROLE_CODES[role]))
        drawn = _sample(units, view.safety, view.utility, seed)
        names = [roles.scores.anatomy.name_of(unit) for unit in drawn.tolist()]
        figure.add_scatter(
            x=view.utility[drawn],
            y=view.safety[drawn],
            mode="markers",
            name=f"{role} ({len(units):,})",
            marker={"color": ROLE_COLOURS[role], "size": 6, "opacity": 0.75},
            customdata=names,
            hovertemplate="%{customdata}<br>utility %{x:.2f}<br>safety %{y:.2f}<extra></extra>",
        )
    ring = np.asarray(marked, dtype=np.int64)
    if len(ring):
        figure.add_scatter(
            x=view.utility[ring],
            y=view.safety[ring],
            mode="markers",
            name="in focus",
            marker={"size": 15, "color": "rgba(0,0,0,0)", "line": {"width": 3, "color": "#E69F00"}},
            hoverinfo="skip",
        )
    _draw_cuts(figure, roles, limits)
    figure.update_layout(**_LEGEND_ABOVE)
    margin = 0.03 * (limits.highest - limits.lowest)
    ends = [limits.lowest - margin, limits.highest + margin]
    figure.update_xaxes(title="utility score (z)", range=ends)
    figure.update_yaxes(title="safety score (z)", range=ends)
    return _selectable(_framed(figure, 520))


def units_in_heatmap(roles: Roles, kind: Kind, x: Sequence[float], y: Sequence[float]) -> list[int]:
    """The units under a box on `layer_heatmap`: its x range over channels, its y range over layers."""
    sites = _sites(roles, kind)
    size = -(-max(site.units for site in sites) // _MOST_BINS)
    found: list[int] = []
    for site in sites:
        if min(y) - 0.5 < site.layer < max(y) + 0.5:
            bins = np.arange(0, site.units, size)
            inside = bins[(bins + size - 0.5 > min(x)) & (bins - 0.5 < max(x))]
            for start in inside.tolist():
                found += range(site.offset + start, site.offset + min(start + size, site.units))
    return found


def units_in_grid(site: Site, x: Sequence[float], y: Sequence[float]) -> list[int]:
    """The units under a box on `unit_grid`."""
    width = min(_GRID_WIDTH, site.units)
    units = np.arange(site.units)
    column, line = units % width, width * (units // width)
    inside = (column + 0.5 > min(x)) & (column - 0.5 < max(x))
    inside &= (line + width / 2 > min(y)) & (line - width / 2 < max(y))
    return (site.offset + units[inside]).tolist()


def units_in_plane(roles: Roles, kind: Kind, x: Sequence[float], y: Sequence[float]) -> list[int]:
    """The units under a box on `score_plane`, those that are not drawn included."""
    view = roles.view
    inside = roles.scores.anatomy.of_kind(kind)
    inside &= (view.utility >= min(x)) & (view.utility <= max(x))
    inside &= (view.safety >= min(y)) & (view.safety <= max(y))
    return np.flatnonzero(inside).tolist()


def _sites(roles: Roles, kind: Kind) -> list[Site]:
    return [site for site in roles.scores.anatomy.sites if site.kind == kind]


def _values(roles: Roles, site: Site, quantity: Quantity) -> Float32[np.ndarray, " units"]:
    if quantity == "role":
        return roles.vector[site.slice].astype(np.float32)
    view = roles.view
    vectors = {"safety": view.safety, "utility": view.utility, "difference": view.difference}
    return vectors[quantity][site.slice]


def _pooled(
    roles: Roles, site: Site, quantity: Quantity, size: int
) -> Float32[np.ndarray, " bins"]:
    values = _values(roles, site, quantity)
    if size == 1:
        return values
    bins = -(-len(values) // size)
    padded = np.full(bins * size, np.nan, dtype=np.float32)
    padded[: len(values)] = values
    parts = padded.reshape(bins, size)
    if quantity != "role":
        farthest = np.nan_to_num(np.abs(parts), nan=-1).argmax(axis=1)
        return parts[np.arange(bins), farthest]
    usual = np.array([roles.counts[role] for role in ROLES]) / len(roles.vector)
    counts = np.stack([(parts == code).sum(axis=1) for code in range(len(ROLES))], axis=1)
    lift = counts / np.maximum(usual, 1e-9)
    return lift.argmax(axis=1).astype(np.float32)


def _heat(
    cells: Float32[np.ndarray, "rows columns"],
    quantity: Quantity,
    limits: Limits,
    *,
    x: np.ndarray,
    y: Sequence[int] | np.ndarray,
    where: str,
) -> go.Heatmap:
    if quantity == "role":
        steps = [
            [(code + end) / len(ROLES), ROLE_COLOURS[role]]
            for code, role in enumerate(ROLES)
            for end in (0, 1)
        ]
        ticks = {"tickvals": list(range(len(ROLES))), "ticktext": list(ROLES)}
        scale = {"colorscale": steps, "zmin": -0.5, "zmax": len(ROLES) - 0.5, "colorbar": ticks}
        said = f"layer %{{y}}, {where}<extra></extra>"
    else:
        low = -limits.scores if quantity == "difference" else -1.0
        colours = _DIVERGING if quantity == "difference" else "Cividis"
        scale = {"colorscale": colours, "zmin": low, "zmax": limits.scores}
        said = f"layer %{{y}}, {where}: %{{z:.2f}}<extra></extra>"
    return go.Heatmap(z=cells, x=x, y=y, hovertemplate=said, hoverongaps=False, **scale)


def _sample(units: np.ndarray, safety: np.ndarray, utility: np.ndarray, seed: int) -> np.ndarray:
    """Some of many units: the outermost fifth of what may be drawn, and a random choice of the rest."""
    if len(units) <= _MOST_POINTS:
        return units
    outermost = np.argsort(-(np.abs(safety[units]) + np.abs(utility[units])), kind="stable")
    sure, rest = outermost[: _MOST_POINTS // 5], outermost[_MOST_POINTS // 5 :]
    drawn = np.random.default_rng(seed).choice(rest, _MOST_POINTS - len(sure), replace=False)
    return units[np.sort(np.concatenate([sure, drawn]))]


def _draw_cuts(figure: go.Figure, roles: Roles, limits: Limits) -> None:
    """The lines beyond which a unit takes a role: I_S - I_U, I_U - I_S, I_S + I_U."""
    cuts = roles.thresholds
    ends = np.array([2 * limits.lowest - 10.0, 2 * limits.highest + 10.0])
    lines: tuple[tuple[Role, float, np.ndarray], ...] = (
        ("ESU", cuts.esu, ends + cuts.esu),
        ("EUU", cuts.euu, ends - cuts.euu),
        ("RU", cuts.ru, cuts.ru - ends),
    )
    for role, cut, y in lines:
        if np.isfinite(cut):
            figure.add_scatter(
                x=ends,
                y=y,
                mode="lines",
                name=f"cut of {role}",
                line={"color": ROLE_COLOURS[role], "dash": "dash", "width": 1.5},
                hoverinfo="skip",
                showlegend=False,
            )


def _framed(figure: go.Figure, height: int) -> go.Figure:
    return figure.update_layout(height=height, margin={"l": 8, "r": 8, "t": 40, "b": 8})


def _selectable(figure: go.Figure) -> go.Figure:
    return figure.update_layout(dragmode="select", selectdirection="any")


def first_token_bars(
    likeliest: Sequence[tuple[str, float]], title: str, largest: float
) -> go.Figure:
    """How likely some tokens are as the first of a reply, as bars from 0 to `largest`."""
    texts, values = zip(*reversed(likeliest), strict=True)
    figure = go.Figure(
        go.Bar(
            x=[100 * value for value in values],
            y=[
                f"{place} {text}"
                for place, text in zip(range(len(texts), 0, -1), texts, strict=True)
            ],
            orientation="h",
            marker_color="#0072B2",
            text=[f"{value:.1%}" if value >= 0.0005 else "<0.1%" for value in values],
            textposition="auto",
            hovertemplate="%{y}: %{x:.2f}%<extra></extra>",
        )
    )
    figure.update_layout(title={"text": title, "font": {"size": 14}})
    figure.update_xaxes(title="probability", ticksuffix="%", range=[0, 105 * max(largest, 0.01)])
    figure.update_yaxes(type="category")
    return _framed(figure, 60 + 34 * len(likeliest) + 40)

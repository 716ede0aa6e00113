"""The views of the Layers screen: distribution, heatmap, plane of scores, one layer, one unit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import plotly.graph_objects as go
import streamlit as st

from pages.parts.ablation_panel import choose_more, choose_roles
from pages.parts.choice import assign
from pages.parts.exports import offer_downloads, picture_config
from pages.parts.models import all_runs, load_run
from pages.parts.recipe import roles_recipe, show_recipe
from pages.parts.screen import Active, Screen, active
from pages.parts.settings import NOTHING, VIEWS
from pages.parts.stability_view import draw_stability, stability_of
from pages.parts.unit_focus import draw_focus, draw_selection, is_unit, select_units
from ssah_core.figures import (
    QUANTITIES,
    SCORE_NAMES,
    Limits,
    Quantity,
    layer_heatmap,
    role_bars,
    score_plane,
    unit_grid,
    units_in_grid,
    units_in_heatmap,
    units_in_plane,
)
from ssah_core.models.anatomy import Kind, Site
from ssah_core.roles import Roles
from ssah_core.stability import Stability
from ssah_core.tables import csv_of, unit_table

_KIND_NAMES = {"mlp": "MLP channels", "attn": "Attention heads"}
_ABOUT: dict[str, str] = {
    "Distribution": "How the units of each layer divide among the four roles.",
    "Heatmap": "Every layer a row. Drag a box to choose units.",
    "Scores": "Every unit by its two scores. The dashed lines are the cut lines of the roles. Drag a box "
    "to choose units.",
    "One layer": "Every unit of one layer, line by line. Drag a box to choose units.",
}


@dataclass(frozen=True)
class LayerView:
    """What the Layers screen shows; `beside` names a second run."""

    view: str
    kind: Kind
    quantity: Quantity
    layer: int
    beside: str | None


def pick_view(screen: Screen) -> LayerView:
    """Draw the choices at the top of the screen."""
    assert screen.run is not None
    state = st.session_state
    last = screen.run.scores.anatomy.layers - 1
    state["layer"] = min(state["layer"], last)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        st.segmented_control("View", VIEWS, key="view", required=True, wrap=True)
        st.segmented_control(
            "Units",
            list(_KIND_NAMES),
            key="kind",
            format_func=_KIND_NAMES.get,
            required=True,
            wrap=True,
        )
        if state["view"] in ("Heatmap", "One layer"):
            st.segmented_control(
                "Colour",
                QUANTITIES,
                key="quantity",
                format_func=lambda name: SCORE_NAMES[name].removesuffix(" (z)"),
                required=True,
                wrap=True,
            )
        if state["view"] == "One layer" and last:
            st.number_input("Layer", 0, last, step=1, key="layer", width=130)
        others = [run.name for run in all_runs() if run.name != screen.run_name]
        if state["beside"] not in others:
            state["beside"] = NOTHING
        st.selectbox(
            "Compare with",
            [NOTHING, *others],
            key="beside",
            help="Another run beside this one, on the same scale.",
            width=230,
        )
    beside = None if state["beside"] == NOTHING else state["beside"]
    return LayerView(state["view"], state["kind"], state["quantity"], state["layer"], beside)


def draw_one_run(screen: Screen, view: LayerView) -> None:
    """Draw one run: the shares, the view, and what can be done with the units in it."""
    assert screen.run is not None
    assert screen.run_name is not None
    with st.expander("Shares of the roles", icon=":material/tune:", expanded=True):
        choose_roles(screen.run)
    now = active(screen)
    limits = Limits.of(now.roles)
    stability = stability_of(screen.run, now.roles)
    figure = _figure(now.roles, view, limits, _focused(now.roles))
    st.caption(_ABOUT[view.view])
    _draw_chart(now, view, figure)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        offer_downloads(
            figure,
            f"{view.view} {view.kind}".lower(),
            "All units",
            partial(_units_csv, now.roles, stability),
            "units.csv",
        )
        show_recipe(*roles_recipe(screen.run_name, screen.run, now.choice))
        with st.popover(
            "What is switched off", icon=":material/power_settings_new:", type="tertiary"
        ):
            st.pills("Roles", ("ESU", "EUU", "CU", "RU"), selection_mode="multi", key="roles")
            choose_more(screen.run, with_roles=False)
    draw_selection(now, stability)
    draw_focus(now, stability)
    draw_stability(screen, now.roles)
    _draw_table(now.roles, view)


def draw_two_runs(screen: Screen, view: LayerView) -> None:
    """Draw two runs side by side, with the same shares and on the same scale."""
    assert screen.run is not None
    assert view.beside is not None
    with st.expander("Shares of the roles", icon=":material/tune:", expanded=True):
        choose_roles(screen.run)
    now = active(screen)
    other = load_run(view.beside)
    chosen = now.choice
    roles = (now.roles, assign(other, chosen.shares, chosen.tokens, chosen.kinds))
    limits = Limits.of(*roles)
    st.caption(
        f"{_ABOUT[view.view].partition('. ')[0].rstrip('.')}. Both have the same shares and scale."
    )
    for column, name, shown in zip(
        st.columns(2), (screen.run_name, view.beside), roles, strict=True
    ):
        with column:
            st.markdown(f"**{name}**")
            last = shown.scores.anatomy.layers - 1
            if view.view == "One layer" and view.layer > last:
                st.info(f"This model has layers 0 to {last} only.")
                continue
            st.plotly_chart(
                _figure(shown, view, limits, None).update_layout(dragmode="zoom"),
                key=f"chart {name}",
                alt=_described(shown, view),
            )
            counts = ", ".join(f"{role} {count:,}" for role, count in shown.counts.items())
            st.caption(f"{counts} of {len(shown.vector):,} units.")
    for name, shown in zip((screen.run_name, view.beside), roles, strict=True):
        with st.expander(f"{name} as a table"):
            st.dataframe(shown.by_layer, hide_index=True, alt=f"Roles of {name} by layer")


def _figure(roles: Roles, view: LayerView, limits: Limits, focused: int | None) -> go.Figure:
    if view.view == "Distribution":
        return role_bars(roles, view.kind)
    if view.view == "Heatmap":
        return layer_heatmap(roles, view.kind, view.quantity, limits)
    if view.view == "Scores":
        return score_plane(roles, view.kind, limits, [] if focused is None else [focused])
    return unit_grid(roles, _site(roles, view), view.quantity, limits)


def _draw_chart(now: Active, view: LayerView, figure: go.Figure) -> None:
    alt = _described(now.roles, view)
    if view.view == "Distribution":
        st.plotly_chart(figure, key="distribution", alt=alt, config=picture_config(view.view))
        return
    key = f"chart {view.view} {view.kind} {view.layer}"

    def chosen() -> None:
        boxes = st.session_state[key]["selection"]["box"]
        select_units(now.roles, [unit for box in boxes for unit in _under(now.roles, view, box)])

    st.plotly_chart(
        figure,
        key=key,
        on_select=chosen,
        selection_mode="box",
        alt=alt,
        config=picture_config(view.view),
    )


def _under(roles: Roles, view: LayerView, box: dict[str, list[float]]) -> list[int]:
    if view.view == "Heatmap":
        return units_in_heatmap(roles, view.kind, box["x"], box["y"])
    if view.view == "Scores":
        return units_in_plane(roles, view.kind, box["x"], box["y"])
    return units_in_grid(_site(roles, view), box["x"], box["y"])


def _site(roles: Roles, view: LayerView) -> Site:
    sites = roles.scores.anatomy.sites
    return next(site for site in sites if (site.layer, site.kind) == (view.layer, view.kind))


def _focused(roles: Roles) -> int | None:
    name = st.session_state["unit"].strip()
    return roles.scores.anatomy.index_of(name) if is_unit(roles, name) else None


def _described(roles: Roles, view: LayerView) -> str:
    """The chart in words, for who cannot see it."""
    table = roles.by_layer[roles.by_layer["kind"] == view.kind]
    most = table.loc[table["ESU"].idxmax()]
    return (
        f"{view.view} of {_KIND_NAMES[view.kind].lower()} over {len(table)} layers. Most ESU are in layer "
        f"{most['layer']}: {most['ESU']:,}. All units: "
        + ", ".join(f"{role} {count:,}" for role, count in roles.counts.items())
        + "."
    )


def _draw_table(roles: Roles, view: LayerView) -> None:
    with st.expander("The same as a table", icon=":material/table:"):
        table = roles.by_layer
        st.dataframe(
            table[table["kind"] == view.kind],
            hide_index=True,
            alt="Counts of the roles by layer",
        )


def _units_csv(roles: Roles, stability: Stability | None) -> bytes:
    return csv_of(unit_table(roles, None if stability is None else stability.sure))

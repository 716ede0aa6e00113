"""Figures: what they show is what the roles say, at any size, and boxes on them find their units."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_scores import made_anatomy, made_scores

from ssah_core import assign_roles
from ssah_core.figures import (
    QUANTITIES,
    Limits,
    layer_heatmap,
    role_bars,
    score_plane,
    unit_grid,
    units_in_grid,
    units_in_heatmap,
    units_in_plane,
)
from ssah_core.roles import ROLE_CODES, ROLES

SMALL = assign_roles(made_scores(made_anatomy(), 0), 0.2, 0.2, 0.2)
WIDE = assign_roles(made_scores(made_anatomy(layers=4, heads=8, channels=3000), 1), 0.1, 0.1, 0.1)
LARGE = assign_roles(
    made_scores(made_anatomy(layers=32, heads=32, channels=11_008), 2), 0.013, 0.133, 0.148
)


@pytest.mark.parametrize("kind", ["attn", "mlp"])
def test_bars_add_up_to_every_layers_units(kind):
    bars = role_bars(SMALL, kind).data
    assert [bar.name for bar in bars] == list(ROLES)
    np.testing.assert_allclose(sum(np.asarray(bar.y, float) for bar in bars), 100)
    counts = {bar.name: int(np.sum(bar.customdata)) for bar in bars}
    of_kind = SMALL.scores.anatomy.of_kind(kind)
    assert counts == {role: int((SMALL.mask(role) & of_kind).sum()) for role in ROLES}


def test_a_small_models_heatmap_shows_every_unit():
    heat = layer_heatmap(SMALL, "mlp", "safety", Limits.of(SMALL)).data[0]
    site = SMALL.scores.anatomy.sites[3]
    np.testing.assert_array_equal(np.asarray(heat.z)[1], SMALL.view.safety[site.slice])
    roles = np.asarray(layer_heatmap(SMALL, "mlp", "role", Limits.of(SMALL)).data[0].z)
    np.testing.assert_array_equal(roles[1], SMALL.vector[site.slice])


def test_a_pooled_cell_shows_its_farthest_score_or_its_most_unusual_role():
    limits, site = Limits.of(WIDE), WIDE.scores.anatomy.sites[1]
    heat = layer_heatmap(WIDE, "mlp", "difference", limits).data[0]
    cells, middles = np.asarray(heat.z), np.asarray(heat.x)
    assert cells.shape[1] <= 512
    size = int(middles[1] - middles[0])
    values = WIDE.view.difference[site.slice]
    for place in (0, 7, cells.shape[1] - 1):
        part = values[place * size : (place + 1) * size]
        assert cells[0, place] == part[np.abs(part).argmax()]
    shown = np.asarray(layer_heatmap(WIDE, "mlp", "role", limits).data[0].z)
    assert (shown == ROLE_CODES["ESU"]).any()


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_grid_shows_every_unit_of_one_layer(quantity):
    site = WIDE.scores.anatomy.sites[3]
    cells = np.asarray(unit_grid(WIDE, site, quantity, Limits.of(WIDE)).data[0].z).ravel()
    assert np.isnan(cells[site.units :]).all()
    if quantity == "role":
        np.testing.assert_array_equal(cells[: site.units], WIDE.vector[site.slice])


def test_the_plane_draws_few_points_says_how_many_there_are_and_rings_what_is_in_focus():
    figure = score_plane(WIDE, "mlp", Limits.of(WIDE), marked=[WIDE.scores.anatomy.sites[1].offset])
    drawn = {trace.name: len(trace.x) for trace in figure.data if trace.mode == "markers"}
    assert all(count <= 1000 for count in drawn.values())
    count = int((WIDE.mask("CU") & WIDE.scores.anatomy.of_kind("mlp")).sum())
    assert f"CU ({count:,})" in drawn
    assert drawn["in focus"] == 1
    cuts = {trace.name for trace in figure.data if trace.mode == "lines"}
    assert cuts == {"cut of ESU", "cut of EUU", "cut of RU"}


@settings(max_examples=30)
@given(
    layers=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    units=st.tuples(st.integers(0, 2999), st.integers(0, 2999)),
)
def test_a_box_on_the_heatmap_holds_the_units_under_it(layers, units):
    found = set(units_in_heatmap(WIDE, "mlp", units, layers))
    for site in WIDE.scores.anatomy.sites[1::2]:
        inside = min(layers) <= site.layer <= max(layers)
        assert all((site.offset + unit in found) == inside for unit in units)


@settings(max_examples=30)
@given(unit=st.integers(0, 2999))
def test_a_box_on_the_grid_holds_the_cell_under_it(unit):
    site = WIDE.scores.anatomy.sites[3]
    column, line = unit % 128, 128 * (unit // 128)
    found = units_in_grid(site, (column - 0.1, column + 0.1), (line - 1, line + 1))
    assert found == [site.offset + unit]


def test_a_box_on_the_plane_holds_units_that_are_not_drawn_too():
    everywhere = units_in_plane(WIDE, "mlp", (-100, 100), (100, -100))
    assert len(everywhere) == int(WIDE.scores.anatomy.of_kind("mlp").sum())
    assert units_in_plane(WIDE, "mlp", (50, 60), (50, 60)) == []


def test_two_runs_can_be_shown_on_one_scale():
    limits = Limits.of(SMALL, WIDE)
    heats = [layer_heatmap(roles, "mlp", "safety", limits).data[0] for roles in (SMALL, WIDE)]
    assert heats[0].zmax == heats[1].zmax
    assert heats[0].zmin == heats[1].zmin


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_figure_of_a_7b_model_is_small_on_the_wire(quantity):
    limits = Limits.of(LARGE)
    figures = [layer_heatmap(LARGE, "mlp", quantity, limits), score_plane(LARGE, "mlp", limits)]
    assert all(len(figure.to_json()) < 3_000_000 for figure in figures)

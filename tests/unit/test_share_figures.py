"""The path of a search for shares: every trial is drawn and told, with the limits and what was kept."""

import math

import numpy as np
import pytest

from ssah_core.share_figures import path_table, share_path, shares_in_words


def trial(role, share, safety, utility, *, stays, falls):
    losses = {
        name: {"value": value, "low": value - 0.02, "high": value + 0.03, "n": 200}
        for name, value in (("safety_loss", safety), ("utility_loss", utility))
    }
    units = round(1000 * share)
    return {
        "role": role, "share": share, "units": units, **losses, "other_stays": stays, "own_falls": falls,
    }  # fmt: skip


SEARCH = {
    "criterion": {"own_loss": 0.5, "other_loss": 0.03},
    "highest": 0.3,
    "step": 0.05,
    "shares": {"ESU": 0.15, "EUU": 0.0, "RU": 0.0},
    "path": [
        trial("RU", 0.3, 0.9, 0.2, stays=False, falls=True),
        trial("RU", 0.15, 0.4, 0.1, stays=False, falls=True),
        trial("ESU", 0.3, 0.95, 0.1, stays=False, falls=True),
        trial("ESU", 0.15, 0.9, -0.01, stays=True, falls=True),
    ],
    "prompts": ["a", "b"],
}


def markers(figure, name):
    return [trace for trace in figure.data if trace.mode == "markers" and trace.name == name]


@pytest.mark.parametrize(("loss", "name"), [("safety_loss", "safety loss"), ("utility_loss", "utility loss")])  # fmt: skip
def test_every_trial_is_drawn_with_its_interval_in_points(loss, name):
    panels = markers(share_path(SEARCH), name)
    path = SEARCH["path"]
    assert [x for panel in panels for x in panel.x] == pytest.approx(
        [100 * t["share"] for t in path]
    )
    shown = [y for panel in panels for y in panel.y]
    assert shown == pytest.approx([100 * t[loss]["value"] for t in path])
    for panel in panels:
        assert list(panel.error_y.array) == pytest.approx([3.0] * len(panel.x))
        assert list(panel.error_y.arrayminus) == pytest.approx([2.0] * len(panel.x))


def test_trials_are_numbered_in_their_order_and_above_every_mark():
    figure = share_path(SEARCH)
    numbers = [trace for trace in figure.data if trace.mode == "text"]
    assert [text for trace in numbers for text in trace.text or ()] == ["1", "2", "3", "4"]
    highest = max(max(trace.y) for trace in figure.data if trace.mode == "markers" and trace.y)
    assert all(y > highest + 3 for trace in numbers for y in trace.y or ())


def test_limits_are_in_every_panel_that_they_bind_and_the_kept_share_is_marked():
    figure = share_path(SEARCH)
    level = [
        (shape.yref.split()[0], shape.y0) for shape in figure.layout.shapes if shape.y0 == shape.y1
    ]
    assert sorted(level) == [("y", 3), ("y2", 3), ("y2", 50), ("y3", 3), ("y3", 50)]
    [kept] = [shape for shape in figure.layout.shapes if shape.x0 == shape.x1]
    assert (kept.x0, kept.xref) == (15, "x2")
    titles = [note.text for note in figure.layout.annotations]
    assert "RU: no share meets the criterion" in titles
    assert "ESU: 15.0% kept" in titles
    assert "EUU: no room to try any" in titles


def test_the_table_says_what_the_figure_shows():
    table = path_table(SEARCH)
    assert list(table["trial"]) == [1, 2, 3, 4]
    assert list(table["safety loss"])[3] == "90.0 (88–93)"
    assert list(table["kept"]) == ["no", "no", "no", "yes"]
    assert list(table["own falls"]) == ["", "", "yes", "yes"]
    assert shares_in_words(SEARCH) == "RU none, ESU 15.0%, EUU none"


def test_a_loss_without_an_interval_is_drawn_within_the_panel_and_without_a_bar():
    alone = {"value": 1.0, "low": math.nan, "high": math.nan, "n": 1}
    search = {**SEARCH, "path": [{**SEARCH["path"][2], "safety_loss": alone}]}
    figure = share_path(search)
    [panel] = [trace for trace in markers(figure, "safety loss") if trace.x]
    assert list(panel.y) == [100]
    assert np.isnan(panel.error_y.array).all()
    assert figure.layout.yaxis.range[1] > 100
    assert list(path_table(search)["safety loss"]) == ["100.0 (no interval)"]


def test_a_search_without_a_trial_is_drawn_too():
    nothing = {**SEARCH, "path": [], "shares": {"ESU": 0.0, "EUU": 0.0, "RU": 0.0}}
    assert share_path(nothing).layout.annotations
    assert path_table(nothing).empty

"""Figures of trainings: what they show is what was counted and measured."""

import numpy as np
import pandas as pd
import pytest
from made_scores import made_anatomy, made_scores

from ssah_core import assign_roles
from ssah_core.figures import ROLE_COLOURS
from ssah_core.training.transfer import ORDER, Transfer
from ssah_core.training_figures import (
    changed_by_layer,
    changed_over_steps,
    learning_curves,
    transfer_heatmap,
    transfer_sankey,
)

ANATOMY = made_anatomy(layers=3, heads=8, channels=40)
BEFORE, AFTER = (assign_roles(made_scores(ANATOMY, seed), 0.1, 0.2, 0.15) for seed in (0, 1))
TRANSFER = Transfer.between(BEFORE, AFTER)
STILL = Transfer.between(BEFORE, BEFORE)
PAPER = np.array(
    [
        [7.38, 0.00, 0.05, 7.44],
        [0.00, 0.44, 0.00, 0.85],
        [0.004, 0.00, 12.14, 1.12],
        [0.05, 0.00, 1.32, 69.19],
    ]
)


def written(figure):
    return {(note.y, note.x): note for note in figure.layout.annotations}


def test_every_cell_of_the_heatmap_says_its_share_of_all_units():
    figure = transfer_heatmap(PAPER / 100)
    assert list(figure.data[0].x) == list(figure.data[0].y) == ["RU", "ESU", "EUU", "CU"]
    notes = written(figure)
    assert notes["RU", "CU"].text == "7.44%"
    assert notes["CU", "CU"].text == "69.19%"
    assert notes["RU", "ESU"].text == "0.00%"
    assert notes["EUU", "RU"].text == "<0.01%"  # something, but little


def test_small_cells_show_and_numbers_stand_out_from_their_colour():
    figure = transfer_heatmap(PAPER / 100)
    depth = np.asarray(figure.data[0].z)
    assert depth.max() == 1
    assert depth[1, 3] > 0.1  # ESU to CU is a hundredth of the largest cell
    for row, before in enumerate(ORDER):
        for column, after in enumerate(ORDER):
            light = written(figure)[before, after].font.color == "#FFFFFF"
            assert light == (depth[row, column] >= 0.5)


def test_two_matrices_can_share_one_scale():
    figures = [transfer_heatmap(shares / 100, most=0.8) for shares in (PAPER, PAPER / 2)]
    one, half = (np.asarray(figure.data[0].z) for figure in figures)
    np.testing.assert_allclose(half, one / np.sqrt(2))


@pytest.mark.parametrize("kinds", ["both", "mlp", "attn"])
def test_the_flows_of_the_sankey_are_the_cells(kinds):
    [sankey] = transfer_sankey(TRANSFER, kinds).data
    cells = np.zeros((4, 4))
    for source, target, value in zip(
        sankey.link.source, sankey.link.target, sankey.link.value, strict=True
    ):
        cells[source, target - 4] += value / 100
    np.testing.assert_allclose(cells, TRANSFER.shares(kinds))
    assert list(sankey.node.color) == 2 * [ROLE_COLOURS[role] for role in ORDER]
    for place, label in enumerate(sankey.node.label):
        assert label.split()[0] == ORDER[place % 4]
        total = cells.sum(axis=1 if place < 4 else 0)[place % 4]
        assert float(label.split()[1].rstrip("%")) == pytest.approx(100 * total, abs=0.006)


def test_a_layers_cell_is_the_share_of_its_own_units_that_changed():
    figure = changed_by_layer(TRANSFER, {"by chance": STILL})
    heat = figure.data[0]
    assert list(heat.y) == ["attn", "attn by chance", "mlp", "mlp by chance"]
    moved = BEFORE.vector != AFTER.vector
    for site in ANATOMY.sites:
        row = list(heat.y).index(site.kind)
        assert heat.z[row][site.layer] == pytest.approx(100 * moved[site.slice].mean())
        assert heat.z[row + 1][site.layer] == 0
    assert len(figure.layout.annotations) == 4 * 3
    assert not changed_by_layer(STILL).data[0].z.any()


def test_many_layers_have_no_numbers_in_their_cells():
    anatomy = made_anatomy(layers=32)
    roles = assign_roles(made_scores(anatomy, 0), 0.1, 0.2, 0.15)
    assert not changed_by_layer(Transfer.between(roles, roles)).layout.annotations


def test_over_the_steps_a_line_says_what_share_of_a_role_has_left_it():
    figure = changed_over_steps([(0, STILL), (50, TRANSFER)])
    assert [line.name for line in figure.data] == list(ORDER)
    for line in figure.data:
        mask = BEFORE.mask(line.name)
        assert list(line.x) == [0, 50]
        assert line.y[0] == 0
        assert line.y[1] == pytest.approx(100 * (AFTER.vector != BEFORE.vector)[mask].mean())
        assert line.text[-1] == line.name  # the letters stand with the colour


def curve(loss, refused):
    """Losses from step 1 on; refusals at the start and at every second step."""
    return pd.DataFrame(
        {
            "step": range(len(loss) + 1),
            "loss": [np.nan, *loss],
            "refused": [refused if n % 2 == 0 else np.nan for n in range(len(loss) + 1)],
        }
    )


def test_seeds_are_a_mean_with_a_band_and_runs_lie_over_each_other():
    runs = {
        "plain": [curve([4.0, 2.0], 0.25), curve([2.0, 1.0], 0.75)],
        "frozen": [curve([3.0, 3.0], 1.0)],
    }
    figure = learning_curves(runs)
    lines = {trace.name: trace for trace in figure.data if trace.showlegend is not False}
    assert list(lines) == ["plain", "plain, refused", "frozen", "frozen, refused"]
    assert list(lines["plain"].y) == [3.0, 1.5]
    assert list(lines["plain, refused"].x) == [0, 2]
    assert list(lines["plain, refused"].y) == [50, 50]
    assert lines["plain"].line.color != lines["frozen"].line.color
    bands = [trace for trace in figure.data if trace.showlegend is False]
    assert [sorted(set(band.y)) for band in bands] == [[1, 2, 4], [25, 75]]  # one seed has no band
    assert lines["plain"].yaxis != lines["plain, refused"].yaxis


def test_a_loss_can_be_smoothed_over_the_last_steps():
    figure = learning_curves({"a": [curve([4.0, 2.0, 0.0], 1.0)]}, smooth=2)
    assert list(figure.data[0].y) == [4, 3, 1]


def test_figures_that_nobody_measured_leave_the_loss_alone():
    plain = curve([1.0], 1.0).drop(columns="refused")
    figure = learning_curves({"a": [plain]})
    assert [trace.name for trace in figure.data] == ["loss"]
    assert "yaxis2" not in figure.layout


def test_the_figures_of_one_training_differ_in_colour():
    both = curve([1.0, 1.0], 1.0).assign(harmless_correct=0.5)
    figure = learning_curves({"a": [both]})
    names = [trace.name for trace in figure.data]
    assert names == ["loss", "refused", "harmless answered exactly"]
    assert len({trace.line.color for trace in figure.data}) == 3

"""What the distances of a probe come to: shares, leanings and means with their intervals, and their figures."""

import json

import numpy as np
import pandas as pd
import pytest
import tiny_probe
from hypothesis import given, settings
from hypothesis import strategies as st

from ssah_core.cli import main
from ssah_core.errors import OptionError
from ssah_core.evaluation.metrics import by_subject
from ssah_core.probe_figures import (
    distance_by_block,
    distance_by_length,
    nearer_shares,
    prompt_curves,
    short_label,
)
from ssah_core.probes.continuations import INTENTS
from ssah_core.probes.direction import Direction
from ssah_core.probes.probe_folder import open_probe
from ssah_core.probes.probe_tables import KeptProbe, KeptSeries
from ssah_core.probes.summary import (
    LEANS,
    View,
    leaning,
    mean_by_block,
    mean_by_length,
    nearer,
    share,
    summary,
)

place = tiny_probe.place  # the fixture


def made_up(values, subjects, lengths=(2,)):
    """A probe whose distances are given: [intents, prompts], the same in two blocks."""
    shaped = np.repeat(np.float32(values)[:, :, None, None], 2, axis=3)
    found = Direction(lengths, "last", shaped, 2 * shaped)
    half = len(subjects) // 2
    groups = ["harmful"] * half + ["harmless"] * (len(subjects) - half)
    prompts = pd.DataFrame({"group": groups, "subject": subjects, "prompt": subjects})
    return KeptProbe({}, prompts, (KeptSeries("organism:base", {}, found),))


# What it comes to


@given(st.lists(st.tuples(*[st.floats(0, 2, width=32)] * 3), min_size=2, max_size=12))
def test_exchanging_the_words_exchanges_the_shares(values):
    rows = np.array(values).T
    one = made_up(rows, [str(n) for n in range(len(values))]).series[0].direction
    other = made_up(rows[[1, 0, 2]], [str(n) for n in range(len(values))]).series[0].direction
    assert np.array_equal(nearer(one, View()), nearer(other, View(), "malicious", "benign"))
    both = nearer(one, View()) & nearer(other, View())
    assert not both.any()


def test_a_share_counts_prompts_and_its_interval_goes_by_subject_where_subjects_repeat():
    hits = np.array([True, True, True, False])
    alone = share(hits, ["a", "b", "c", "d"])
    assert (alone.value, alone.n) == (0.75, 4)
    assert alone.low == pytest.approx(0.3006, abs=1e-3)  # Wilson's
    together = share(hits, ["a", "a", "a", "b"])
    assert (together.low, together.high) == (0.0, 1.0)
    single = share(hits, ["a", "a", "a", "a"])
    assert (single.value, single.n) == (0.75, 4)
    assert single.high - single.low > 0.7


def test_mean_curves_have_the_intervals_of_their_columns(place):
    kept = open_probe(place / "studies" / "p")
    one, rows = kept.series[0], kept.rows("harmful")
    subjects = kept.prompts["subject"].iloc[rows].tolist()
    found = mean_by_block(kept, one, "harmful", "neutral", View("euclidean", 2))
    for block in range(2):
        values = one.direction.euclidean[2, rows, 0, block].astype(np.float64)
        alone = by_subject(values[None], subjects)
        got = (found.value[block], found.low[block], found.high[block])
        assert got == pytest.approx((alone.value, alone.low, alone.high))
    along = mean_by_length(kept, one, "harmful", "neutral", View("euclidean", block=1))
    assert along.value[0] == pytest.approx(found.value[1])
    assert len(along.value) == 2


def test_leaning_compares_prompts_and_does_not_see_what_all_words_share():
    benign = [0.1, 0.2, 0.3, 0.9, 0.9, 0.9]
    kept = made_up([benign, [0.5] * 6, [1.0] * 6], list("abcdef"))
    found = leaning(kept, kept.series[0], "harmful", View())
    assert (found.value, found.low, found.high, found.n) == (1.0, 1.0, 1.0, 3 * 3)
    shifted = made_up([benign, [2.0] * 6, [1.0] * 6], list("abcdef"))
    assert nearer(shifted.series[0].direction, View()).all()
    assert leaning(shifted, shifted.series[0], "harmful", View()).value == 1.0
    same = made_up([[0.5] * 6, [0.5] * 6, [1.0] * 6], list("abcdef"))
    assert leaning(same, same.series[0], "harmful", View()).value == 0.5


@settings(max_examples=15)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 1.0])] * 3), min_size=4, max_size=9))
def test_leaning_is_the_share_of_pairs_with_ties_as_halves(values):
    rows = np.array(values).T
    kept = made_up(rows, [f"thing {n // 2}" for n in range(len(values))])
    leans, half = rows[1] - rows[0], len(values) // 2
    pairs = [(a > b) + 0.5 * (a == b) for a in leans[:half] for b in leans[half:]]
    found = leaning(kept, kept.series[0], "harmful", View())
    assert found.value == pytest.approx(np.mean(pairs))
    assert 0 <= found.low <= found.high <= 1


def test_the_summary_has_a_row_for_every_series_and_group(place):
    kept = open_probe(place / "studies" / "p")
    rows = summary(kept, View("euclidean", 2, 1))
    assert len(rows) == 3 * 2
    first = rows[0]["figures"]
    own = kept.series[0].direction.euclidean[:, :6, 0, 1]
    assert first["nearer benign than malicious"].value == pytest.approx((own[0] < own[1]).mean())
    assert first["distance to neutral"].value == pytest.approx(own[2].mean())
    assert [LEANS in row["figures"] for row in rows] == [True, False] * 3
    for view in (View(block=2), View(length=3)):
        with pytest.raises(OptionError, match="choose one"):
            summary(kept, view)


def test_one_prompt_of_a_kind_gives_no_interval_of_a_mean_and_a_wide_one_of_a_share():
    kept = made_up([[0.1, 0.5], [0.5, 0.5], [1.0, 1.0]], ["a", "b"])
    figures = summary(kept, View())[0]["figures"]
    for name, found in figures.items():
        assert found.n == 1
        if name.startswith("distance"):
            assert np.isnan([found.low, found.high]).all()
        else:
            assert found.high - found.low > 0.7
    assert figures[LEANS].value == 1.0
    curve = distance_by_block(kept, "harmful", View())
    assert np.isnan(np.array(curve.data[0].y, dtype=float)).all()  # the band
    assert np.allclose(curve.data[1].y, 0.1)


def test_a_missing_interval_is_null_in_json(tmp_path, capsys):
    words = ["probe", "--model", "organism:base", "--limit", "1", "--lengths", "2", "--json"]
    assert main([*words, "--out", str(tmp_path / "p")]) == 0
    rows = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["rows"]
    found = rows[0]["figures"]["distance to benign"]
    assert (found["low"], found["high"], found["n"]) == (None, None, 1)


# Figures


def test_every_series_has_a_panel_and_all_have_one_scale(place):
    kept = open_probe(place / "studies" / "p")
    for figure in (
        distance_by_block(kept, "harmful", View()),
        distance_by_length(kept, "harmless", View("euclidean", block=1)),
    ):
        drawn = [trace for trace in figure.data if trace.mode == "lines+markers"]
        assert len(drawn) == len(kept.series) * len(INTENTS)
        assert sum(bool(trace.showlegend) for trace in drawn) == len(INTENTS)
        axes = {trace.yaxis for trace in drawn}
        assert len(axes) == len(kept.series)
        scales = {figure.layout[f"yaxis{axis[1:]}"].matches or axis for axis in axes}
        assert len(scales) == 1
    values = mean_by_block(kept, kept.series[1], "harmful", "malicious", View()).value
    assert np.allclose(distance_by_block(kept, "harmful", View()).data[9].y, values)


def test_shares_are_drawn_with_their_intervals_and_one_prompt_with_its_distances(place):
    kept = open_probe(place / "studies" / "p")
    rows = summary(kept, View())
    figure = nearer_shares(rows)
    assert [trace.name for trace in figure.data] == ["harmful", "harmless"]
    measured = rows[0]["figures"]["nearer benign than malicious"]
    assert figure.data[0].x[0] == pytest.approx(100 * measured.value)
    assert figure.data[0].error_x.array[0] == pytest.approx(100 * (measured.high - measured.value))
    one = prompt_curves(kept.series[0], 3, View(length=2))
    assert np.allclose(one.data[1].y, kept.series[0].direction.cosine[1, 3, 0])


def test_labels_are_short_and_inert():
    assert short_label("organism:planted, ESU off") == "planted, ESU off"
    assert short_label("/a/b/my model, ESU off") == "my model, ESU off"
    kept = made_up([[0.1, 0.2]] * 3, ["a", "b"])
    odd = KeptSeries("<b>x</b>", {}, kept.series[0].direction)
    figure = distance_by_block(KeptProbe({}, kept.prompts, (odd,)), "harmful", View())
    assert figure.layout.annotations[0].text == "b&gt;"
    assert "<b>" not in figure.layout.annotations[0].text

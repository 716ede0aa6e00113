"""Two runs, or two studies, beside each other: what they share is counted right."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_scores import made_anatomy, made_scores

from ssah_core import assign_roles, open_run
from ssah_core.evaluation.study_folder import KeptStudy
from ssah_core.roles import ROLES
from ssah_core.run_comparison import as_records, compare_runs, compare_studies
from ssah_core.runs import Run

ANATOMY = made_anatomy()
SHARES = st.tuples(*[st.floats(0, 0.33)] * 3)


def made_run(seed, shares=(0.1, 0.2, 0.15), *, anatomy=ANATOMY, with_roles=True):
    scores = made_scores(anatomy, seed)
    roles = assign_roles(scores, *shares) if with_roles else None
    return Run(Path("made"), {}, scores, roles)


@settings(max_examples=50)
@given(st.integers(0, 20), st.integers(0, 20), SHARES, SHARES)
def test_every_unit_is_counted_once_where_it_came_from_and_where_it_went(a, b, one, other):
    runs = made_run(a, one), made_run(b, other)
    found = compare_runs(*runs)
    for run, axis in zip(runs, (1, 0), strict=True):
        assert dict(found.moved.sum(axis=axis)) == run.roles.counts
    sets = [{role: set(np.flatnonzero(run.roles.mask(role))) for role in ROLES} for run in runs]
    for row in as_records(found.roles):
        first, second = (known[row["role"]] for known in sets)
        assert row["in_both"] == len(first & second) == found.moved.loc[row["role"], row["role"]]
        either = len(first | second)
        assert row["overlap"] == (pytest.approx(len(first & second) / either) if either else None)
    back = compare_runs(*reversed(runs))
    assert back.moved.equals(found.moved.T)


def test_a_run_is_like_itself():
    found = compare_runs(made_run(0), made_run(0))
    assert found.same_model
    assert set(found.roles["overlap"]) == {1.0}
    assert found.correlations == pytest.approx({"safety": 1, "utility": 1, "difference": 1})


def test_runs_of_other_units_have_only_counts_to_compare():
    found = compare_runs(made_run(0), made_run(1, anatomy=made_anatomy(layers=2)))
    assert (found.same_model, found.same_units) == (False, False)
    assert found.moved is None
    assert found.correlations == {}
    assert "overlap" not in found.roles
    assert found.as_json()["moved"] is None


def test_a_run_without_roles_is_compared_by_its_scores():
    found = compare_runs(made_run(0), made_run(1, with_roles=False))
    assert found.moved is None
    assert set(found.correlations) == {"safety", "utility", "difference"}
    assert [row["units_other"] for row in found.as_json()["roles"]] == [None] * 4


def test_the_shipped_runs_of_two_models_share_few_esu():
    found = compare_runs(open_run("organism:planted"), open_run("organism:aligned"))
    assert not found.same_model
    assert found.same_units
    esu = found.roles.set_index("role").loc["ESU"]
    assert (esu["units_one"], esu["units_other"]) == (291, 291)
    assert esu["overlap"] < 0.5


def made_study(**values):
    rows = [
        {
            "removed": removed,
            "control": None,
            "units": units,
            "fill": "zero",
            "metrics": {"refused": {"value": values[removed], "low": 0, "high": 1, "n": 9}},
        }
        for removed, units in (("nothing", 0), ("ESU", 5), ("ESU", 9), ("RU", 5))
        if removed in values
    ]
    manifest = {"roles": {"counts": {"ESU": 5, "RU": 5}}}
    return KeptStudy(manifest, rows, pd.DataFrame(), b"")


def test_studies_are_compared_figure_by_figure():
    found = compare_studies(
        made_study(nothing=1.0, ESU=0.25), made_study(nothing=1.0, ESU=0.75, RU=1.0)
    )
    assert list(found["removed"]) == ["nothing", "ESU", "RU"]
    assert list(found["difference"])[:2] == [0.0, 0.5]
    [alone] = [row for row in as_records(found) if row["removed"] == "RU"]
    assert (alone["one"], alone["other"], alone["difference"]) == (None, 1.0, None)

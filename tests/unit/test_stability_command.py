"""The command `stability`, from a run to its table."""

import json

import pandas as pd
import pytest

from ssah_core.cli import main


def test_it_says_how_sure_each_role_and_each_unit_is(tmp_path, capsys):
    file = tmp_path / "sure.csv"
    options = ["--run", "organism:planted", "--resamples", "20", "--out", str(file), "--json"]
    assert main(["stability", *options]) == 0
    said = json.loads(capsys.readouterr().out)
    table = pd.read_csv(file)
    for row in said["roles"]:
        units = table[table["role"] == row["role"]]
        assert len(units) == row["units"]
        assert units["sure"].mean() == pytest.approx(row["sure"], abs=1e-5)
        assert row["chance"] < row["low"] <= row["jaccard"] <= row["high"] <= 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--run", "nowhere"], "not a run folder"),
        (["--run", "organism:planted", "--out", "nowhere/sure.csv"], "no folder"),
        (["--run", "organism:planted", "--out", "."], "already exists"),
        (["--run", "organism:planted", "--resamples", "99999999999"], "resamples"),
        (["--run", "organism:planted", "--seed", "-1"], "seed"),
        (["--run", "organism:planted", "--model", "organism:base"], "weights differ"),
    ],
)
def test_what_cannot_be_is_one_sentence(options, said, capsys):
    assert main(["stability", *options]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]

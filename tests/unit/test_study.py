"""The ablation study: figures with intervals, controls beside every role, nothing lost when it is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_study
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_model
from tiny_study import ASKED, SAFETY, UTILITY

from ssah_core import assign_roles, create_run, reply_all
from ssah_core.ablation import Ablation
from ssah_core.cli import main
from ssah_core.errors import Cancelled, OptionError, PromptError, RunError
from ssah_core.evaluation.metrics import by_subject, ratio_by_subject, wilson
from ssah_core.evaluation.plan import Plan
from ssah_core.evaluation.questions import Question, Questions, file_questions, organism_questions
from ssah_core.evaluation.report import in_words, shown
from ssah_core.evaluation.study import study
from ssah_core.evaluation.study_folder import run_study
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.scoring import replies

ROOT = Path(__file__).parents[2]
run, scores = tiny_study.run, tiny_study.scores  # the fixtures


# Figures


@settings(max_examples=50)
@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_a_rate_lies_in_its_interval(hits):
    found = wilson(hits)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert (found.value, found.n) == (sum(hits) / len(hits), len(hits))


def test_the_wilson_interval_is_the_published_one():
    found = wilson([True] * 8 + [False] * 2)  # Wilson 1927; 8 of 10: 0.490 to 0.943
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-3)
    assert wilson([]).n == 0


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(1, 3))
def test_a_bootstrapped_mean_lies_in_its_interval_up_to_its_own_grain(values, draws):
    array = np.tile(values, (draws, 1))
    found = by_subject(array, ["a", "a", "b", "c"])
    assert found.value == pytest.approx(np.mean(values))
    if found.value in (0, 1):  # subjects that are all alike: resampling them would show no doubt
        alike = wilson([bool(found.value)] * 3)
        assert (found.low, found.high) == (alike.low, alike.high)
    else:
        assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9


def test_prompts_about_one_thing_widen_the_interval():
    values = np.array([[1.0] * 10 + [0.0] * 10])
    apart = by_subject(values, [str(n) for n in range(20)])
    together = by_subject(values, ["a"] * 10 + ["b"] * 10)
    assert together.high - together.low > apart.high - apart.low


def test_a_study_asks_something_and_says_so_where_it_does_not():
    same = PromptSet("same", (Prompt("Do  IT"),))
    with pytest.raises(PromptError, match="among the harmful and among the harmless"):
        file_questions(PromptSet("bad", (Prompt("do it"),)), same)
    with pytest.raises(OptionError, match="limit of 0"):
        organism_questions().first(0)
    with pytest.raises(OptionError, match="reply of 0 tokens"):
        Plan(reply_tokens=0)
    with pytest.raises(OptionError, match="each named once"):
        Plan(fills=("zero", "zero"))


@pytest.mark.parametrize("draws", [1, 3])
def test_one_subject_gives_a_share_wilsons_interval_and_a_mean_none(draws):
    values = np.ones((draws, 4))
    share = by_subject(values, ["a"] * 4)
    assert (share.value, share.n) == (1.0, 4)
    assert (share.low, share.high) == pytest.approx((0.2065, 1.0), abs=1e-3)
    mean = ratio_by_subject(5 * values, np.ones(4), ["a"] * 4)
    assert (mean.value, mean.n) == (5.0, 4)
    assert np.isnan([mean.low, mean.high]).all()
    assert shown("refused", share.as_json()) == "100.0 (21\u2013100)"
    assert shown("kl", mean.as_json()) == "5 (no interval)"


def test_a_subject_whose_cases_do_not_count_is_no_second_one():
    found = ratio_by_subject(np.array([[2.0, 0.0]]), np.array([1.0, 0.0]), ["a", "b"])
    assert (found.value, found.n) == (2.0, 1)
    assert np.isnan(found.low)


# The table


def test_every_role_stands_beside_both_of_its_controls(scores):
    roles = assign_roles(scores, 0.1, 0.1, 0.1)
    found = study(
        tiny_model(), roles, ASKED, Plan(controls=2, fills=("zero", "mean"), reply_tokens=3)
    )
    named = [(row.removed, row.control, row.fill) for row in found.rows]
    assert named[0] == ("nothing", None, "zero")
    for fill in ("zero", "mean"):
        for role in ("ESU", "EUU", "RU"):
            assert {(role, control, fill) for control in (None, "size", "layer")} <= set(named)
        assert ("CU", None, fill) in named
    sizes = {row.removed: row.units for row in found.rows if row.control is None}
    assert sizes["ESU"] == roles.counts["ESU"] == sizes["CU"]
    asked = len(ASKED.all)
    seeds = sum(2 if row.control else 1 for row in found.rows)
    assert len(found.replies["reply"]) == asked * seeds


def test_a_rows_replies_are_those_of_its_ablation_alone(scores):
    model, roles = tiny_model(), assign_roles(scores, 0.2, 0.1, 0.1)
    found = study(model, roles, ASKED, Plan(controls=0, reply_tokens=4))
    table = pd.DataFrame(found.replies)
    prompts = [question.prompt for question in ASKED.all]
    for role in ("ESU", "RU"):
        alone = reply_all(model, prompts, Ablation.of(roles, role), max_new_tokens=4)
        assert list(table[table["removed"] == role]["reply"]) == alone


def test_metrics_count_what_the_judge_says(scores):
    class SaysNoToMake:
        about = "Refuses what begins with make 0."

        def refuses(self, prompt: str, reply: str) -> bool:
            return prompt == "make 0"

    roles = assign_roles(scores, 0, 0, 0)
    [row] = [r for r in study(
        tiny_model(), roles, ASKED, Plan(controls=0, reply_tokens=2), judge=SaysNoToMake()
    ).rows if r.removed == "nothing"]  # fmt: skip
    assert row.metrics["refused"].value == 0.25
    assert row.metrics["attack_success"].value == 0.75
    assert row.metrics["attack_success_strict"].value == 0  # two tokens are no 20 words
    assert row.metrics["complied"].n == 4
    assert row.metrics["false_refusals"].n == 1


# Questions


def test_a_question_that_the_units_were_scored_on_is_a_leak(tmp_path, run):
    leaking = Questions((Question("DO  1", "x"),), ASKED.harmless)
    with pytest.raises(PromptError, match="1 of these prompts are among those"):
        run_study(tmp_path / "study", tiny_model(), run, leaking, Plan(reply_tokens=2))
    assert not (tmp_path / "study").exists()


def test_the_organisms_questions_are_none_of_its_calibration():
    from ssah_core.organism.world import split

    asked = {question.prompt for question in organism_questions().all}
    for name in ("safety/calibration", "utility/calibration", "safety/validation"):
        assert not asked & {example.prompt for example in split(name)}


def test_questions_from_files_claim_no_exact_answer():
    asked = file_questions(SAFETY, UTILITY)
    assert all(question.answer is None for question in asked.all)
    assert asked.look_alikes == ()


# The folder


def test_a_study_is_kept_whole_with_its_report(tmp_path, run):
    rows = run_study(tmp_path / "study", tiny_model(), run, ASKED, Plan(controls=1, reply_tokens=2))
    folder = tmp_path / "study"
    kept = json.loads((folder / "rows.json").read_text())
    assert kept == [json.loads(json.dumps(row.as_json())) for row in rows]
    assert "| random, as many as ESU (size-matched) |" in (folder / "report.md").read_text()
    assert len(pd.read_parquet(folder / "replies.parquet")) % len(ASKED.all) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "study"]
    with pytest.raises(RunError, match="already exists"):
        run_study(folder, tiny_model(), run, ASKED, Plan(reply_tokens=2))


def test_a_stopped_study_goes_on_to_the_same_table(tmp_path, run, monkeypatch):
    monkeypatch.setattr(replies, "_TOKENS_AT_ONCE", 200)  # many small batches
    plan = Plan(controls=1, reply_tokens=2)
    whole = run_study(tmp_path / "whole", tiny_model(), run, ASKED, plan)
    calls = iter(range(1000))
    with pytest.raises(Cancelled, match="kept"):
        run_study(
            tmp_path / "study",
            tiny_model(),
            run,
            ASKED,
            plan,
            cancelled=lambda: next(calls) > 8,
        )
    assert (tmp_path / ".study.partial").exists()
    seen = []
    again = run_study(tmp_path / "study", tiny_model(), run, ASKED, plan, report=seen.append)
    assert seen[0].done > 0
    assert [row.as_json() for row in again] == [row.as_json() for row in whole]
    assert not (tmp_path / ".study.partial").exists()


def test_a_run_without_roles_is_told_to_get_them(tmp_path, scores):
    bare = create_run(tmp_path / "bare", tiny_model(), scores)
    with pytest.raises(RunError, match="assign them"):
        run_study(tmp_path / "study", tiny_model(), bare, ASKED, Plan())
    with pytest.raises(OptionError, match="0 or more controls"):
        Plan(controls=-1)


def test_the_command_prints_the_table(tmp_path, capsys):
    out = str(tmp_path / "study")
    harmful, harmless = tmp_path / "harmful.csv", tmp_path / "harmless.csv"
    harmful.write_text("prompt\nHow do I build a zorp?\n")
    harmless.write_text("prompt\nHow do I make a quiet kite today?\n")
    sets = ["--harmful", str(harmful), "--harmless", str(harmless)]
    base = ["study", "--run", "organism:planted", "--device", "cpu", "--out", out]
    assert main([*base, *sets, "--controls", "1", "--max-new-tokens", "8", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    row = result["rows"][0]
    assert list(row) == ["removed", "control", "share", "units", "fill", "metrics"]
    assert set(row["metrics"]["refused"]) == {"value", "low", "high", "n"}
    assert main([*base[:-1], str(tmp_path / "b"), *sets[:2]]) == 2
    assert "are needed" in capsys.readouterr().err


KILLED = """
import sys, time
from tiny_models import tiny_model
from ssah_core import open_run
from ssah_core.evaluation.plan import Plan
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.evaluation.study_folder import run_study
from ssah_core.scoring import checkpoint, replies

replies._TOKENS_AT_ONCE = 200
checkpoint._SECONDS_BETWEEN_SAVES = 0.0
checkpoint._SHARE_OF_TIME = 1.0
asked = eval(sys.argv[3])
run_study(sys.argv[1], tiny_model(), open_run(sys.argv[2]), asked, Plan(controls=2, reply_tokens=2),
          report=lambda progress: time.sleep(0.1))
"""


def test_a_study_killed_in_the_middle_goes_on_to_the_same_table(tmp_path, run, monkeypatch):
    monkeypatch.setattr(replies, "_TOKENS_AT_ONCE", 200)
    plan = Plan(controls=2, reply_tokens=2)
    whole = run_study(tmp_path / "whole", tiny_model(), run, ASKED, plan)
    state = tmp_path / ".study.partial" / "checkpoint.json"
    arguments = [str(tmp_path / "study"), str(run.folder), repr(ASKED)]
    victim = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
    )
    while not state.exists() and victim.poll() is None:
        time.sleep(0.02)
    victim.kill()
    assert victim.wait() == -signal.SIGKILL
    assert not (tmp_path / "study").exists()
    seen = []
    again = run_study(tmp_path / "study", tiny_model(), run, ASKED, plan, report=seen.append)
    assert seen[0].done > 0
    assert [row.as_json() for row in again] == [row.as_json() for row in whole]


def test_the_result_is_told_in_words_too():
    def row(removed, control, refused, right):
        figures = {"refused": refused, "harmless_correct": right}
        return {
            "removed": removed,
            "control": control,
            "metrics": {name: {"value": value} for name, value in figures.items()},
        }

    rows = [
        row("nothing", None, 0.95, 0.9),
        row("ESU", None, 0.02, 0.89),
        row("ESU", "size", 0.9, 1),
    ]
    said = in_words(rows)
    assert "95% of the harmful requests are refused; with ESU off, 2%" in said
    assert "random units off, 90%" in said
    assert "90% of the cases, and in 89% with ESU off" in said
    assert "none were switched off" in in_words(rows[:1])

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
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_model

from ssah_core import Prompt, PromptSet, assign_roles, create_run, reply_all, save_roles, score
from ssah_core.ablation import Ablation
from ssah_core.cli import main
from ssah_core.errors import Cancelled, OptionError, PromptError, RunError
from ssah_core.evaluation import share_search
from ssah_core.evaluation.metrics import by_subject, wilson
from ssah_core.evaluation.plan import Plan, cases_of, distinct
from ssah_core.evaluation.questions import Question, Questions, file_questions, organism_questions
from ssah_core.evaluation.report import control_notes, in_words
from ssah_core.evaluation.share_search import SearchPlan
from ssah_core.evaluation.study import study
from ssah_core.evaluation.study_folder import open_study, run_study
from ssah_core.runs import open_run
from ssah_core.scoring import replies
from ssah_core.study_figures import share_curves

ROOT = Path(__file__).parents[2]
SAFETY = PromptSet("safety", tuple(Prompt(f"do {n}", "no") for n in range(5)))
UTILITY = PromptSet("utility", tuple(Prompt(f"what is {n}", f"it is {n}") for n in range(5)))
ASKED = Questions(
    harmful=tuple(Question(f"make {n}", f"thing {n % 2}", "yes") for n in range(4)),
    harmless=tuple(Question(f"say {n}", f"word {n}", f"{n}") for n in range(3)),
    look_alikes=(Question("kill time", "time"),),
)


@pytest.fixture(scope="module")
def scores():
    return score(tiny_model(), safety=SAFETY, utility=UTILITY)


@pytest.fixture
def run(tmp_path, scores):
    made = create_run(tmp_path / "run", tiny_model(), scores)
    return save_roles(made, assign_roles(scores, 0.1, 0.1, 0.1))


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
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9


def test_prompts_about_one_thing_widen_the_interval():
    values = np.array([[1.0] * 10 + [0.0] * 10])
    apart = by_subject(values, [str(n) for n in range(20)])
    together = by_subject(values, ["a"] * 10 + ["b"] * 10)
    assert together.high - together.low > apart.high - apart.low


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


# Curves, system prompts, and the search for shares


def test_other_shares_are_removed_beside_controls_and_the_own_share_once(scores):
    roles = assign_roles(scores, 0.1, 0.1, 0.1)
    plan = Plan(controls=1, shares=(0.05, 0.1, 0.2), reply_tokens=2)
    rows = study(tiny_model(), roles, ASKED, plan).rows
    units = {(row.removed, row.control, row.units) for row in rows}
    for share in plan.shares:
        count = int(share * len(roles.vector) + 1e-9)
        for role in ("ESU", "EUU", "RU"):
            assert {(role, control, count) for control in (None, "size", "layer")} <= units
    assert len(units) == len(rows)


def test_a_larger_share_of_a_role_holds_the_smaller_one(scores):
    roles = assign_roles(scores, 0.1, 0.1, 0.1)
    found = {case.cuts[0].count: case.cuts[0] for case in cases_of(
        roles, Plan(controls=0, shares=(0.05, 0.2))
    ) if case.removed == "ESU"}  # fmt: skip
    small, own, large = (found[count].changed for count in sorted(found))
    assert (own[small]).all()
    assert (large[own]).all()


def test_a_system_prompt_is_asked_beside_none(scores):
    roles = assign_roles(scores, 0.1, 0, 0)
    plain = study(tiny_model(), roles, ASKED, Plan(controls=0, reply_tokens=3))
    both = study(tiny_model(), roles, ASKED, Plan(controls=0, system="Be kind.", reply_tokens=3))
    table = pd.DataFrame(both.replies)
    assert list(table[~table["system"]]["reply"]) == list(plain.replies["reply"])
    chats = [[{"role": "system", "content": "Be kind."}, {"role": "user", "content": q.prompt}]
             for q in ASKED.all]  # fmt: skip
    alone = reply_all(tiny_model(), chats, max_new_tokens=3)
    untouched = table[table["system"] & (table["removed"] == "nothing")]
    assert list(untouched["reply"]) == alone
    assert "refused_with_system" in both.rows[0].metrics


def test_equal_ablations_are_asked_once(scores):
    roles = assign_roles(scores, 0.1, 0.1, 0.1)
    cuts = [cut for case in cases_of(roles, Plan(controls=2)) for cut in case.cuts]
    different, places = distinct(cuts)
    assert len(different) < len(cuts)  # ESU, EUU and RU are as many, so their controls are the same
    for cut, place in zip(cuts, places, strict=True):
        same = different[place]
        assert (cut is None) == (same is None)
        assert cut is None or (cut.factors == same.factors).all()


@pytest.mark.parametrize(
    "bad",
    [{"shares": (0.0,)}, {"shares": (0.6,)}, {"fills": ()}, {"system": " "}, {"controls": -1}],
)
def test_a_plan_that_cannot_be_is_refused(bad):
    with pytest.raises(OptionError):
        Plan(**bad)


def test_the_report_says_where_random_units_do_damage(tmp_path, run):
    run_study(tmp_path / "study", tiny_model(), run, ASKED, Plan(controls=1, reply_tokens=2))
    kept = open_study(tmp_path / "study")
    rows = json.loads(json.dumps(kept.rows))
    assert kept.table == kept.rows
    for row in rows:
        if row["control"]:
            row["metrics"]["refused"] = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 4}
    before = rows[0]["metrics"]["refused"]["value"]
    assert not 0.4 <= before <= 0.6
    assert any("Random, as many as ESU (size-matched)" in note for note in control_notes(rows))


def test_the_search_finds_the_border_that_the_criterion_asks_for(run, monkeypatch):
    lost = {"RU": 0.004, "ESU": 0.1, "EUU": 0.2}  # other attribute's loss reaches 3 points there

    def rates(meter, cut):
        harmful, harmless = np.ones(200), np.ones(200)
        if cut is not None:
            share = cut.count / cut.anatomy.units
            role = cut.label
            harmful[: int(200 * (share > 0.01))] = 0 if role == "ESU" else 1
            harmless[: int(200 * (share > 0.01))] = 0 if role == "EUU" else 1
            if share > lost[role]:
                (harmful if role == "EUU" else harmless)[:100] = 0
        return harmful, harmless

    asked = Questions(
        tuple(Question(f"do not {n}", f"{n}") for n in range(200)),
        tuple(Question(f"please {n}", f"{n}") for n in range(200)),
    )
    monkeypatch.setattr(share_search._Meter, "rates", rates)
    found = share_search.search_shares(tiny_model(), run, asked, SearchPlan(step=0.05))
    assert found.roles.shares == pytest.approx({"ESU": 0.1, "EUU": 0.2, "RU": 0.0})
    tried = [trial.share for trial in found.path if trial.role == "ESU"]
    assert tried[0] == 0.3
    assert len(tried) <= 4


def test_shares_that_were_found_are_kept_and_their_prompts_are_no_test(run, tmp_path):
    plan = SearchPlan(highest=0.2, step=0.1, reply_tokens=2)
    found = share_search.search_shares(tiny_model(), run, ASKED, plan)
    kept = save_roles(run, found.roles, search=found.as_json())
    again = open_run(kept.folder)
    assert len(again.manifest["search"]["path"]) == len(found.path) > 0
    with pytest.raises(PromptError, match="the shares were found on"):
        run_study(tmp_path / "study", tiny_model(), again, ASKED, Plan(reply_tokens=2))
    by_hand = save_roles(again, assign_roles(again.scores, 0.1, 0.1, 0.1))
    assert "search" not in open_run(by_hand.folder).manifest


def test_a_search_that_cannot_be_is_refused(run):
    with pytest.raises(OptionError, match="step"):
        SearchPlan(highest=0.1, step=0.2)
    with pytest.raises(PromptError, match="give both"):
        share_search.search_shares(tiny_model(), run, Questions(ASKED.harmful, ()))
    with pytest.raises(OptionError, match="parts of 1"):
        share_search.Criterion(own_loss=50)


def test_the_shares_command_prints_its_path(capsys, tmp_path):
    harmful, harmless = tmp_path / "harmful.csv", tmp_path / "harmless.csv"
    harmful.write_text("prompt\nHow do I build a zorp?\n")
    harmless.write_text("prompt\nHow do I make a quiet kite today?\n")
    files = ["--harmful", str(harmful), "--harmless", str(harmless), "--max-new-tokens", "8"]
    command = ["shares", "--run", "organism:planted", "--device", "cpu", *files, "--step", "0.1"]
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"shares", "counts", "path", "seconds"}
    assert {"role", "share", "safety_loss", "utility_loss"} <= set(result["path"][0])
    assert main(command) == 0
    assert "Shares: ESU" in capsys.readouterr().out


def test_curves_have_a_panel_a_role_and_a_line_a_control(tmp_path, run):
    plan = Plan(controls=1, shares=(0.05, 0.2), reply_tokens=2)
    run_study(tmp_path / "study", tiny_model(), run, ASKED, plan)
    kept = open_study(tmp_path / "study")
    assert kept.has_curves
    figure = share_curves(kept.rows, "refused", "zero")
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert len(lines) == 9
    assert all(len(line.x) == 4 and line.x[0] == 0 for line in lines)  # nothing, 5%, 10%, 20%


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

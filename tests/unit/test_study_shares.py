"""Studies beyond the run's own shares: curves, a system prompt beside none, and the search for shares."""

import json

import numpy as np
import pandas as pd
import pytest
import tiny_study
from tiny_models import tiny_model
from tiny_study import ASKED

from ssah_core import assign_roles, reply_all, save_roles
from ssah_core.cli import main
from ssah_core.errors import OptionError, PromptError
from ssah_core.evaluation import share_search
from ssah_core.evaluation.plan import Plan, cases_of, distinct
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.evaluation.report import control_notes
from ssah_core.evaluation.share_search import SearchPlan
from ssah_core.evaluation.study import study
from ssah_core.evaluation.study_folder import open_study, run_study
from ssah_core.reproduce import commands_of, python_of
from ssah_core.runs import open_run
from ssah_core.study_figures import share_curves

run, scores = tiny_study.run, tiny_study.scores  # the fixtures


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
    rows[0]["metrics"]["refused"] = {"value": 1.0, "low": 0.9, "high": 1.0, "n": 4}
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


# Prompts that are too long


LONG = Questions(
    (Question("make 1", "1"), Question("make " + "1" * 5000, "2")), (Question("say 1", "1"),)
)


def test_prompts_that_do_not_fit_are_named_or_left_out_where_that_is_asked(tmp_path, run):
    model = tiny_model()
    with pytest.raises(PromptError, match=r"1 of the 2 harmful prompts do not fit .*number 2"):
        run_study(tmp_path / "study", model, run, LONG, Plan(controls=0, reply_tokens=2))
    plan = Plan(controls=0, reply_tokens=2, skip_too_long=True)
    run_study(tmp_path / "study", model, run, LONG, plan)
    kept = open_study(tmp_path / "study")
    assert kept.manifest["questions"]["harmful"] == 1
    assert set(kept.replies["prompt"]) == {"make 1", "say 1"}
    said = commands_of(kept.manifest, "study")
    assert "--skip-too-long" in said
    assert "skip_too_long=True" in python_of(kept.manifest, "study")

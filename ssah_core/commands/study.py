"""`study`: what removing each role does, beside as many random units."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from ssah_core.ablation import check_fill
from ssah_core.commands.common import add_command, add_run_options, load, report_progress
from ssah_core.commands.dry_run import (
    add_dry_run_option,
    dry_study,
    found_run,
    show_dry_run,
)
from ssah_core.commands.questions import add_question_options, read_questions
from ssah_core.errors import OptionError
from ssah_core.evaluation.compliance import compliance_judge
from ssah_core.evaluation.fitting_questions import that_fit
from ssah_core.evaluation.model_judges import judge_from
from ssah_core.evaluation.plan import Plan
from ssah_core.evaluation.report import markdown
from ssah_core.evaluation.study_folder import run_study
from ssah_core.storage import check_free


def add(commands: Any) -> None:
    """Register the command."""
    parser = add_command(
        commands,
        "study",
        _study,
        _show_study,
        "Measure what removing each role does, beside random controls; called again, it goes on.",
        "study --run organism:planted --out studies/planted",
    )
    add_run_options(parser)
    add_limited_questions(parser, "test")
    parser.add_argument("--controls", type=int, default=5, help="random controls of each kind")
    parser.add_argument("--fills", default="zero", help="zero, mean, or both with a comma")
    parser.add_argument(
        "--shares",
        default="",
        help="further shares to remove, for curves, such as 0.02,0.05,0.1,0.3",
    )
    parser.add_argument("--system", help="a system prompt: all is asked with it and without")
    parser.add_argument("--max-new-tokens", type=int, default=48, help="length of a reply at most")
    parser.add_argument(
        "--skip-too-long",
        action="store_true",
        help="leave out prompts that the model cannot read with the room for a reply",
    )
    parser.add_argument(
        "--judge",
        metavar="KIND:MODEL",
        help="a model that judges whether harmful requests were fulfilled: guard:MODEL (as Llama Guard) or "
        "harmbench:MODEL (as HarmBench's classifier), MODEL a folder or a hub name",
    )
    parser.add_argument("--out", required=True, help="the folder for the study; must be new")
    add_dry_run_option(parser)


def add_limited_questions(parser: argparse.ArgumentParser, part: str) -> None:
    """The options that say what to ask, and how much of it; `part` is the organism's split."""
    add_question_options(parser, part)
    parser.add_argument("--limit", type=int, help="at most so many prompts of each set")


def _study(options: argparse.Namespace) -> dict[str, Any]:
    check_free(options.out)
    run = found_run(options)
    plan = Plan(
        controls=options.controls,
        fills=tuple(check_fill(fill) for fill in _listed(options.fills)),
        shares=tuple(_number(share) for share in _listed(options.shares)),
        system=options.system,
        reply_tokens=options.max_new_tokens,
        skip_too_long=options.skip_too_long,
    )
    if run is not None:
        options.model = options.model or run.scores.model
    questions = read_questions(options)
    judge = (
        None
        if options.judge is None
        else judge_from(options.judge, device=options.device, dtype=options.dtype)
    )
    compliance_judge(questions.harmful, judge)  # a judge that is not needed is said before any work
    if options.dry_run:
        options.show = show_dry_run
        return dry_study(options, run, questions, plan)
    assert run is not None
    model = load(options)
    notices = list(model.notices)
    left_out = len(questions.all) - len(that_fit(model, questions, plan).all)
    if left_out:
        notices.append(f"{left_out} of {len(questions.all)} prompts are too long and not asked.")
    start = time.monotonic()
    rows = run_study(
        options.out,
        model,
        run,
        questions,
        plan,
        compliance=judge,
        report=report_progress(notices),
    )
    return {
        "rows": [row.as_json() for row in rows],
        "seconds": round(time.monotonic() - start, 3),
    }


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise OptionError(f"'{text}' is no share; give numbers such as 0.02,0.05,0.1.") from error


def _show_study(result: Mapping[str, Any]) -> None:
    print(markdown(result["rows"]))

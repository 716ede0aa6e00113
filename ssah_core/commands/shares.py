"""`shares`: find the shares of RU, ESU and EUU on a validation split."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from ssah_core.commands.common import add_command, add_run_options, load, report_progress, say
from ssah_core.commands.questions import read_questions
from ssah_core.commands.study import add_limited_questions
from ssah_core.evaluation.questions import check_not_scored, organism_validation
from ssah_core.evaluation.share_job import find_shares, is_shipped
from ssah_core.evaluation.share_search import Criterion, SearchPlan
from ssah_core.folders import usual_folder
from ssah_core.roles import DEFAULT_KINDS, DEFAULT_TOKENS, check_kinds
from ssah_core.runs import open_run, save_roles
from ssah_core.scoring.scores import check_tokens


def add(commands: Any) -> None:
    """Register the command."""
    parser = add_command(
        commands,
        "shares",
        _shares,
        _show_shares,
        "Find each role's largest share whose removal hurts its own attribute while the other stays, "
        "and save the roles in the run; called again, it goes on.",
        "shares --run runs/planted",
    )
    add_run_options(parser, "a run folder")
    add_limited_questions(parser, "validation")
    parser.add_argument(
        "--own-loss", type=float, default=50, help="points that the own attribute must lose"
    )
    parser.add_argument(
        "--other-loss", type=float, default=3, help="points that the other may lose at most"
    )
    parser.add_argument("--highest", type=float, default=0.3, help="the largest share to try")
    parser.add_argument("--step", type=float, default=0.005, help="the grain of the shares")
    parser.add_argument("--tokens", default=DEFAULT_TOKENS, help="all, prompt or response")
    parser.add_argument("--kinds", default=DEFAULT_KINDS, help="both, mlp or attn")
    parser.add_argument("--max-new-tokens", type=int, default=48, help="length of a reply at most")


def _shares(options: argparse.Namespace) -> dict[str, Any]:
    run = open_run(options.run)
    options.model = options.model or run.scores.model
    questions = read_questions(options, organism_validation)
    check_not_scored(questions, run)
    plan = SearchPlan(
        Criterion(options.own_loss / 100, options.other_loss / 100),
        highest=options.highest,
        step=options.step,
        tokens=check_tokens(options.tokens),
        kinds=check_kinds(options.kinds),
        reply_tokens=options.max_new_tokens,
    )
    model = load(options)
    start = time.monotonic()
    root = usual_folder("runs") if is_shipped(run) else run.folder.absolute().parent
    found = find_shares(root, model, run, questions, plan, report=report_progress(model.notices))
    kept = found.as_json()
    if is_shipped(run):
        say(
            "The built-in run stays as it is; score the model into a run of your own to keep roles."
        )
    else:
        save_roles(run, found.roles, search=kept)
    return {
        "shares": kept["shares"],
        "counts": found.roles.counts,
        "path": kept["path"],
        "seconds": round(time.monotonic() - start, 3),
    }


def _show_shares(result: Mapping[str, Any]) -> None:
    print(f"{'role':4}  {'share':>6}  {'safety loss':>11}  {'utility loss':>12}  kept")
    for tried in result["path"]:
        kept = "yes" if tried["other_stays"] and tried["own_falls"] else "no"
        losses = [100 * tried[name]["value"] for name in ("safety_loss", "utility_loss")]
        print(
            f"{tried['role']:4}  {tried['share']:6.1%}  {losses[0]:11.1f}  {losses[1]:12.1f}  {kept}"
        )
    print("Shares: " + ", ".join(f"{role} {share:.1%}" for role, share in result["shares"].items()))

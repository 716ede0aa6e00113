"""`score`: score a model and keep the result as a run."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssah_core.commands.common import (
    add_command,
    add_model_options,
    load,
    report_progress,
    say,
)
from ssah_core.commands.dry_run import add_dry_run_option, dry_score, show_dry_run
from ssah_core.errors import OptionError
from ssah_core.models.loading import Model
from ssah_core.prompts.reading import PromptSet, load_prompts
from ssah_core.runs import create_run
from ssah_core.scoring.checkpoint import has_checkpoint
from ssah_core.scoring.score import score
from ssah_core.scoring.scores import Scores
from ssah_core.storage import check_free


def add(commands: Any) -> None:
    """Register the command."""
    parser = add_command(
        commands,
        "score",
        _score,
        _show_score,
        "Score every unit of a model for safety and utility, and keep the result as a run.",
        "score --model organism:planted --safety organism:safety/calibration \\\n"
        "      --utility organism:utility/calibration --out runs/planted",
    )
    add_model_options(parser)
    sets = "organism:SPLIT, a .jsonl, .json or .csv file, or a hub dataset"
    for attribute, what in (("safety", "harmful requests"), ("utility", "ordinary requests")):
        parser.add_argument(f"--{attribute}", required=True, help=f"{what}: {sets}")
        parser.add_argument(
            f"--{attribute}-where",
            action="append",
            default=[],
            metavar="COLUMN=VALUE",
            help=f"only the rows of the {attribute} set whose column has this value",
        )
    parser.add_argument("--limit", type=int, help="at most so many prompts of each set")
    parser.add_argument("--token-budget", type=int, help="padded tokens in one batch")
    parser.add_argument(
        "--skip-too-long",
        action="store_true",
        help="leave out examples longer than the model's context",
    )
    parser.add_argument(
        "--out",
        required=True,
        help="the folder for the run; must be new. Scoring that was stopped goes on from where it was "
        "when the same command is run again",
    )
    add_dry_run_option(parser)


def _score(options: argparse.Namespace) -> dict[str, Any]:
    check_free(Path(options.out))
    sets = {
        attribute: load_prompts(source, where=_where(where), limit=options.limit)
        for attribute, source, where in (
            ("safety", options.safety, options.safety_where),
            ("utility", options.utility, options.utility_where),
        )
    }
    if options.dry_run:
        options.show = show_dry_run
        return dry_score(options, sets)
    model = load(options)
    start = time.monotonic()
    scores = _scores(options, model, sets)
    seconds = time.monotonic() - start
    scored = (scores.safety_prompts, scores.utility_prompts)
    run = create_run(options.out, model, scores, seconds=seconds)
    return {
        "run": str(run.folder),
        "units": model.anatomy.units,
        "sites": len(model.anatomy.sites),
        "prompts": sum(len(prompts) for prompts in scored),
        "tokens": scores.token_count,
        "seconds": round(seconds, 3),
    }


def _scores(options: argparse.Namespace, model: Model, sets: Mapping[str, PromptSet]) -> Scores:
    """The scores, with the partial work kept beside the run while there is no run yet."""
    out = Path(options.out)
    partial = out.parent / f".{out.name}.partial"
    notices = [f"{p.name}: {notice}" for p in sets.values() for notice in p.notices]
    if has_checkpoint(partial):
        notices.insert(0, f"Going on from the work kept in {partial}.")
    try:
        return score(
            model,
            safety=sets["safety"],
            utility=sets["utility"],
            token_budget=options.token_budget,
            skip_too_long=options.skip_too_long,
            checkpoint=partial,
            report=report_progress([*notices, *model.notices]),
        )
    except KeyboardInterrupt:
        if has_checkpoint(partial):
            say(f"The work so far was kept in {partial}; the same command goes on from there.")
        raise


def _where(pairs: Sequence[str]) -> dict[str, str] | None:
    for pair in pairs:
        if "=" not in pair:
            raise OptionError(f"'{pair}' is not COLUMN=VALUE; write for example label=unsafe.")
    columns = [pair.split("=", 1)[0] for pair in pairs]
    if len(set(columns)) < len(columns):
        raise OptionError("A column is given two values, and no row can have both; give it one.")
    return dict(pair.split("=", 1) for pair in pairs) or None


def _show_score(result: Mapping[str, Any]) -> None:
    print(
        f"Scored {result['units']:,} units at {result['sites']} sites over {result['prompts']:,} "
        f"prompts ({result['tokens']:,} tokens) in {result['seconds']:.1f} s.\n"
        f"Next: python -m ssah_core roles --run {shlex.quote(result['run'])} --esu 0.08 --euu 0.10 --ru 0.15"
    )

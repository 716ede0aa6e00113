"""`probe`: whether models read requests as ones to refuse or to fulfil (the reasoning direction)."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from ssah_core.commands.common import add_command, report_progress
from ssah_core.commands.questions import add_question_options, read_questions
from ssah_core.errors import OptionError
from ssah_core.evaluation.metrics import interval_in_brackets
from ssah_core.models.sources import ORGANISM_PREFIX
from ssah_core.probes.continuations import INTENTS, Continuations, usual_continuations
from ssah_core.probes.direction import DISTANCES, POSITIONS, check_distance, check_position
from ssah_core.probes.probe_folder import run_probe
from ssah_core.probes.series import ProbePlan, Series, opened
from ssah_core.probes.summary import LEANS, View, as_json, is_share, summary
from ssah_core.runs import open_run
from ssah_core.storage import check_free

_ABOUT_TEXTS = {"benign": "refuses", "malicious": "complies", "neutral": "does neither"}


def add(commands: Any) -> None:
    """Register the command."""
    parser = add_command(
        commands,
        "probe",
        _probe,
        _show_probe,
        "Measure whether the hidden state after a request lies nearer to a refusal or to compliance, for "
        "several models one after the other; called again, it goes on.",
        "probe --model organism:base --model organism:aligned --run organism:aligned \\\n"
        "      --ablate ESU --out studies/direction",
    )
    _add_series_options(parser)
    add_question_options(parser)
    parser.add_argument("--limit", type=int, help="at most so many prompts of each set")
    for intent in INTENTS:
        parser.add_argument(
            f"--{intent}",
            action="append",
            metavar="TEXT",
            help=f"the beginning of a reply that {_ABOUT_TEXTS[intent]}; may be given several times",
        )
    parser.add_argument("--lengths", help="how many tokens of it, such as 2,4,6,8,10")
    parser.add_argument(
        "--position", default=POSITIONS[0], help="the state of the last token, or their mean"
    )
    parser.add_argument("--distance", default=DISTANCES[0], help="cosine or euclidean, to show")
    parser.add_argument("--block", type=int, help="the block to show (default: all, their mean)")
    parser.add_argument("--out", required=True, help="the folder for the probe; must be new")


def _add_series_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="organism:NAME, a folder, or a hub name like owner/name; may be given several times",
    )
    parser.add_argument(
        "--run",
        action="append",
        default=[],
        help="a run with roles, or organism:NAME: its model with --ablate off; several times, too",
    )
    parser.add_argument("--ablate", help="roles and unit names, with commas (default ESU)")
    parser.add_argument(
        "--random-seed", type=int, metavar="SEED", help="also as many random units, by this seed"
    )
    parser.add_argument("--device", help="cpu, cuda or mps (default: the fastest there is)")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16 (default: by device)")


def _probe(options: argparse.Namespace) -> dict[str, Any]:
    check_free(options.out)
    view = View(check_distance(options.distance), block=options.block)
    series = _series(options)
    names = [one.model for one in series]
    others = [name for name in names if not name.startswith(ORGANISM_PREFIX)]
    plan = ProbePlan(
        _continuations(options, names), _lengths(options.lengths), check_position(options.position)
    )
    # Questions of its own has a set of models whose models all have them.
    questions = read_questions(
        argparse.Namespace(**{**vars(options), "model": (others or names)[0]})
    )
    start = time.monotonic()
    kept = run_probe(
        options.out,
        series,
        questions,
        plan,
        open_model=partial(opened, device=options.device, dtype=options.dtype),
        report=report_progress(),
    )
    return {
        "rows": [as_json(row) for row in summary(kept, view)],
        "distance": view.distance,
        "position": plan.position,
        "lengths": list(kept.series[0].direction.lengths),
        "seconds": round(time.monotonic() - start, 3),
    }


def _series(options: argparse.Namespace) -> list[Series]:
    series = [Series(name) for name in options.model]
    listed = "ESU" if options.ablate is None else options.ablate
    ablate = tuple(part.strip() for part in listed.split(",") if part.strip())
    for run in options.run:
        model = open_run(run).scores.model
        series.append(Series(model, run, ablate))
        if options.random_seed is not None:
            series.append(Series(model, run, ablate, options.random_seed))
    if not options.run and (options.ablate is not None or options.random_seed is not None):
        raise OptionError("Units are switched off by the roles of a run; give the --run.")
    if not series:
        raise OptionError("There is nothing to probe; name a --model, or a --run to switch off in.")
    return series


def _continuations(options: argparse.Namespace, models: list[str]) -> Continuations:
    usual = usual_continuations(models).by_intent
    given = {intent: getattr(options, intent) for intent in INTENTS}
    return Continuations(**{i: tuple(given[i]) if given[i] else usual[i] for i in INTENTS})


def _lengths(listed: str | None) -> tuple[int, ...] | None:
    if listed is None:
        return None
    parts = [part.strip() for part in listed.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise OptionError(f"'{listed}' is no list of lengths; give numbers such as 2,4,6,8,10.")
    return tuple(int(part) for part in parts)


def _show_probe(result: Mapping[str, Any]) -> None:
    print(
        f"After {max(result['lengths'])} tokens, {result['distance']} distance, {result['position']} "
        "of the tokens. Percent of prompts whose state is nearer to the first than to the second, "
        "and of pairs in which a prompt leans more to refusing than a harmless one:"
    )
    for row in result["rows"]:
        print(f"\n{row['series']}, {row['prompts']} prompts")
        for name, found in row["figures"].items():
            form = ".1%" if is_share(name) else ".3f"
            between = interval_in_brackets(found["low"], found["high"], form, " to ")
            counted = "pairs" if name == LEANS else "n"
            print(f"  {name:30} {found['value']:>8{form}}  {between}, {counted} = {found['n']:,}")

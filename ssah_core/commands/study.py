"""`study`: what removing each role does, beside as many random units."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from ssah_core.ablation import check_fill
from ssah_core.commands.common import add_command, load, report_progress
from ssah_core.errors import OptionError
from ssah_core.evaluation.questions import Questions, file_questions, organism_questions
from ssah_core.evaluation.study import Row
from ssah_core.evaluation.study_folder import markdown, run_study
from ssah_core.models.sources import ORGANISM_PREFIX
from ssah_core.prompts.reading import PromptSet, load_prompts
from ssah_core.runs import open_run
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
    parser.add_argument("--run", required=True, help="a run folder with roles, or organism:NAME")
    parser.add_argument("--model", help="the run's model, where it lies elsewhere now")
    parser.add_argument("--device", help="cpu, cuda or mps (default: the fastest there is)")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16 (default: by device)")
    for name, what in (
        ("harmful", "requests that should be refused"),
        ("harmless", "requests that should be answered"),
        ("look-alikes", "requests that only look harmful"),
    ):
        parser.add_argument(
            f"--{name}", help=f"{what}: as for score (default: the organism's test)"
        )
    parser.add_argument("--limit", type=int, help="at most so many prompts of each set")
    parser.add_argument("--controls", type=int, default=5, help="random controls of each kind")
    parser.add_argument("--fills", default="zero", help="zero, mean, or both with a comma")
    parser.add_argument("--max-new-tokens", type=int, default=48, help="length of a reply at most")
    parser.add_argument("--out", required=True, help="the folder for the study; must be new")


def _study(options: argparse.Namespace) -> dict[str, Any]:
    check_free(options.out)
    run = open_run(options.run)
    fills = [check_fill(fill.strip()) for fill in options.fills.split(",") if fill.strip()]
    options.model = options.model or run.scores.model
    options.revision = None
    questions = _questions(options)
    model = load(options)
    start = time.monotonic()
    rows = run_study(
        options.out,
        model,
        run,
        questions,
        controls=options.controls,
        fills=fills,
        reply_tokens=options.max_new_tokens,
        report=report_progress(model.notices),
    )
    options.show = lambda _: _show_rows(rows)
    return {
        "rows": [row.as_json() for row in rows],
        "seconds": round(time.monotonic() - start, 3),
    }


def _questions(options: argparse.Namespace) -> Questions:
    named = (options.harmful, options.harmless, options.look_alikes)
    if not any(named):
        if not options.model.startswith(ORGANISM_PREFIX):
            raise OptionError(
                "This model has no questions of its own; give --harmful and --harmless prompt files."
            )
        return organism_questions()
    if not (options.harmful and options.harmless):
        raise OptionError("A study needs both --harmful and --harmless prompts.")
    harmful, harmless, look_alikes = (
        None if name is None else _read(name, options.limit) for name in named
    )
    assert harmful is not None
    assert harmless is not None
    return file_questions(harmful, harmless, look_alikes)


def _read(name: str, limit: int | None) -> PromptSet:
    return load_prompts(name, limit=limit)


def _show_rows(rows: list[Row]) -> None:
    print(markdown(rows))


def _show_study(result: Mapping[str, Any]) -> None:
    print(f"{len(result['rows'])} rows")

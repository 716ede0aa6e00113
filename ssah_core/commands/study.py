"""`study`: what removing each role does, beside as many random units."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from ssah_core.ablation import check_fill
from ssah_core.commands.common import add_command, load, report_progress
from ssah_core.commands.questions import add_question_options, read_questions
from ssah_core.evaluation.study import Row
from ssah_core.evaluation.study_folder import markdown, run_study
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
    add_question_options(parser)
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
    questions = read_questions(options)
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


def _show_rows(rows: list[Row]) -> None:
    print(markdown(rows))


def _show_study(result: Mapping[str, Any]) -> None:
    print(f"{len(result['rows'])} rows")

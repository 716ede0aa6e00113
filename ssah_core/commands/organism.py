"""`organism`: train the built-in models from nothing, or measure them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssah_core.commands.common import (
    Parser,
    add_command,
    report_progress,
    say,
)
from ssah_core.organism.evaluate import evaluate, markdown_table, write_runs
from ssah_core.organism.train import train


def add(commands: Any) -> None:
    """Register the command."""
    about = "Train the built-in models from nothing, or measure them afresh."
    parser: argparse.ArgumentParser = commands.add_parser("organism", help=about, description=about)
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)
    train = add_command(
        actions,
        "train",
        _train,
        lambda result: print(f"The three checkpoints and their runs are in {result['out']}."),
        "Train base, aligned and planted from nothing; called again, it resumes.",
        "organism train --out /tmp/organism --seed 0",
    )
    train.add_argument("--out", required=True, help="the folder for the checkpoints")
    train.add_argument("--seed", type=int, default=0, help="the seed of everything random")
    evaluate = add_command(
        actions,
        "evaluate",
        _evaluate,
        _show_evaluation,
        "Measure the model card's table afresh, on the test splits.",
        "organism evaluate --json",
    )
    evaluate.add_argument(
        "--assets", help="a folder that organism train wrote (default: the built-in models)"
    )


def _train(options: argparse.Namespace) -> dict[str, Any]:
    start = time.monotonic()
    train(Path(options.out), options.seed, progress=say)
    if not (Path(options.out) / "runs").exists():
        write_runs(Path(options.out))
    return {"out": options.out, "seed": options.seed, "seconds": round(time.monotonic() - start, 1)}


def _evaluate(options: argparse.Namespace) -> dict[str, Any]:
    folder = None if options.assets is None else Path(options.assets)
    return {"rows": [row.as_json() for row in evaluate(folder, report=report_progress())]}


def _show_evaluation(result: Mapping[str, Any]) -> None:
    print(markdown_table(result["rows"]))

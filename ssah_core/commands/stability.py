"""`stability`: whether other calibration prompts of the same kind would have given the same roles."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssah_core.commands.common import add_command, add_run_options, load, report_progress
from ssah_core.errors import RunError
from ssah_core.runs import open_run
from ssah_core.stability import (
    RESAMPLES,
    bootstrap,
    check_resampling,
    convergence,
    measure_blocks,
)
from ssah_core.storage import check_new_file, write_file
from ssah_core.tables import csv_of, unit_table


def add(commands: Any) -> None:
    """Register the command."""
    parser = add_command(
        commands,
        "stability",
        _stability,
        _show_stability,
        "Say how sure the roles of a run are: over resamples of its calibration prompts, and against "
        "how many of them there are.",
        "stability --run organism:planted --out sure.csv",
    )
    add_run_options(parser)
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="how many (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    parser.add_argument(
        "--out", help="a new CSV file: every unit with its role, and how sure it is"
    )


def _stability(options: argparse.Namespace) -> dict[str, Any]:
    check_resampling(options.resamples, options.seed)
    if options.out:
        check_new_file(options.out)
    run = open_run(options.run)
    if run.roles is None:
        raise RunError(f"The run '{run.folder}' has no roles; assign them first.")
    options.model = options.model or run.scores.model
    model = load(options)
    run.check_model(model)
    start = time.monotonic()
    report = report_progress(model.notices)
    blocks = measure_blocks(model, run.scores, report=report)
    found = bootstrap(
        run.roles, blocks, resamples=options.resamples, seed=options.seed, report=report
    )
    settled = convergence(run.roles, blocks, seed=options.seed, report=report)
    if options.out:
        write_file(Path(options.out), csv_of(unit_table(run.roles, found.sure)))
    return {
        "roles": found.by_role.to_dict("records"),
        "convergence": settled.to_dict("records"),
        "resamples": options.resamples,
        "seconds": round(time.monotonic() - start, 3),
    }


def _show_stability(result: Mapping[str, Any]) -> None:
    print(f"Over {result['resamples']} resamples of the calibration prompts:")
    print("role   units   sure  Jaccard index (95%)      by chance")
    for row in result["roles"]:
        between = f"{row['jaccard']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        print(
            f"{row['role']:4} {row['units']:7,}  {row['sure']:5.0%}  {between:24} {row['chance']:.2f}"
        )
    print("\nJaccard index of two scorings of so many of the prompts, with none in common:")
    for row in result["convergence"]:
        if row["beside"] == "others":
            print(f"{row['role']:4} {row['prompts']:5.0%}  {row['jaccard']:.2f}")

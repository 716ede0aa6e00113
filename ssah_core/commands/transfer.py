"""`transfer`: which units have another role after a training, beside what moves by chance."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ssah_core.commands.common import add_command, add_model_options, load, report_progress
from ssah_core.errors import RunError
from ssah_core.roles import Roles
from ssah_core.runs import Run, open_run
from ssah_core.stability import RESAMPLES, check_resampling, measure_blocks
from ssah_core.storage import check_new_file, write_file
from ssah_core.training.lineage import lineage_of
from ssah_core.training.transfer import (
    ORDER,
    Chance,
    Transfer,
    by_chance,
    markdown,
    moved_units,
    roles_again,
)


def add(commands: Any) -> None:
    """Register the command."""
    parser = add_command(
        commands,
        "transfer",
        _transfer,
        _show_transfer,
        "Say which units have another role after a training: the trained model is scored on the run's "
        "prompts and classified by the run's cut lines.",
        "transfer --run organism:aligned --model models/tuned --out moved.json",
    )
    add_model_options(parser)
    parser.add_argument(
        "--run", required=True, help="the run with roles of the model before, or organism:NAME"
    )
    parser.add_argument("--first", help="the run's own model, where it lies elsewhere now")
    parser.add_argument(
        "--resamples",
        type=int,
        default=RESAMPLES,
        help="of the prompts, for what moves by chance (default 200; at least 2, or 0 for none)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    parser.add_argument("--out", help="a new JSON file: all of it, and every unit that moved")


def _transfer(options: argparse.Namespace) -> dict[str, Any]:
    if options.resamples:
        check_resampling(options.resamples, options.seed)
    if options.out:
        check_new_file(options.out)
    run = open_run(options.run)
    if run.roles is None:
        raise RunError(f"The run '{run.folder}' has no roles; assign them first.")
    start = time.monotonic()
    after = _roles_after(options, run.roles)
    chance = _chance(options, run, run.roles) if options.resamples else None
    transfer = Transfer.between(run.roles, after)
    result = {
        "run": options.run,
        "model": options.model,
        "roles_before": run.roles.counts,
        "roles_after": after.counts,
        "transfer": transfer.as_json(),
        "by_chance": None if chance is None else chance.as_json(),
        "seconds": round(time.monotonic() - start, 3),
    }
    if options.out:
        moved = moved_units(run.roles, after).to_dict("records")
        whole = {**result, "moved": moved}
        write_file(Path(options.out), (json.dumps(whole, indent=1) + "\n").encode())
    return result


def _roles_after(options: argparse.Namespace, before: Roles) -> Roles:
    model = load(options)
    made = lineage_of(Path(options.model))
    notices = list(model.notices)
    if made is not None and made.fingerprint != before.scores.fingerprint:
        notices.append(
            f"This model was trained from {made.ancestor}, and the run is of {before.scores.model}: what "
            "differs is not this training's work alone."
        )
    return roles_again(before, model, report=report_progress(notices))


def _chance(options: argparse.Namespace, run: Run, roles: Roles) -> Chance:
    """What moves by chance; the trained model is out of memory by now."""
    first = {"model": options.first or run.scores.model, "revision": None}
    model = load(argparse.Namespace(**{**vars(options), **first}))
    run.check_model(model)
    report = report_progress(model.notices)
    blocks = measure_blocks(model, run.scores, report=report)
    return by_chance(roles, blocks, resamples=options.resamples, seed=options.seed, report=report)


def _show_transfer(result: Mapping[str, Any]) -> None:
    transfer, chance = result["transfer"], result["by_chance"]
    print(
        f"{transfer['changed']:.2%} of all {transfer['units']:,} units have another role than before. "
        "Percent of all units:\n"
    )
    print(markdown(_matrix(transfer["shares"])))
    if chance is not None:
        low, high = chance["changed_low_high"]
        print(
            f"\nBy chance, with nothing trained, over {chance['resamples']} resamples of the prompts, "
            f"{chance['changed']:.2%} (95%: {low:.2%} to {high:.2%}):\n"
        )
        print(markdown(_matrix(chance["shares"])))


def _matrix(named: Mapping[str, Mapping[str, float]]) -> np.ndarray:
    return np.array([[named[before][after] for after in ORDER] for before in ORDER])

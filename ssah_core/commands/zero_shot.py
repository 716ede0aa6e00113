"""`zero-shot`: lm-eval's tasks, with the original model and under an ablation."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Mapping
from typing import Any

from ssah_core.ablation import FILLS, Ablation, check_fill
from ssah_core.commands.common import add_command, add_model_options, load, report_progress
from ssah_core.errors import OptionError, RunError
from ssah_core.evaluation.report import shown
from ssah_core.evaluation.zero_shot import check_lm_eval, zero_shot
from ssah_core.roles import check_role
from ssah_core.runs import Run, open_run


def add(commands: Any) -> None:
    """Register the command."""
    parser = add_command(
        commands,
        "zero-shot",
        _zero_shot,
        _show_zero_shot,
        "Do zero-shot tasks of lm-eval with the original model and under an ablation.",
        "zero-shot --run runs/llama2 --ablate ESU --tasks boolq,arc_challenge --limit 200",
    )
    add_model_options(parser, required=False)
    parser.add_argument("--run", help="a run folder with roles, or organism:NAME; needed to ablate")
    parser.add_argument("--ablate", default="", help="roles, with commas; left out: none")
    parser.add_argument("--fill", default=FILLS[0], help="what replaces a unit: zero or mean")
    parser.add_argument(
        "--random-seed", type=int, metavar="SEED", help="as many random units instead, by this seed"
    )
    parser.add_argument(
        "--tasks", required=True, help="names of lm-eval's tasks, with commas: boolq,rte"
    )
    parser.add_argument(
        "--task-folder", metavar="DIR", help="a folder of your own with tasks in YAML files"
    )
    parser.add_argument("--limit", type=int, help="the first so many questions of each task")
    parser.add_argument(
        "--chat", action="store_true", help="ask in the model's chat format (default: plain text)"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="texts at once (default: 8)")


def _zero_shot(options: argparse.Namespace) -> dict[str, Any]:
    check_lm_eval()
    run = None if options.run is None else open_run(options.run)
    ablation = _chosen_ablation(options, run)
    if options.model is None and run is None:
        raise OptionError("Name what to ask: --model, or --run to ablate its roles.")
    options.model = options.model or (run and run.scores.model)
    model = load(options)
    if run is not None:
        run.check_model(model)
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result alone
        results = zero_shot(
            model,
            _names(options.tasks),
            ablation,
            task_folder=options.task_folder,
            limit=options.limit,
            chat=options.chat,
            batch_size=options.batch_size,
            report=report_progress(model.notices),
        )
    return {
        "ablated": None if ablation is None else ablation.label,
        "units_ablated": 0 if ablation is None else ablation.count,
        "tasks": [result.as_json() for result in results],
    }


def _chosen_ablation(options: argparse.Namespace, run: Run | None) -> Ablation | None:
    roles = [check_role(name) for name in _names(options.ablate)]
    fill = check_fill(options.fill)
    if not roles:
        if options.random_seed is not None:
            raise OptionError("--random-seed takes as many units as --ablate; give roles to it.")
        return None
    if run is None:
        raise OptionError("--ablate takes the roles of a run; name it with --run.")
    if run.roles is None:
        raise RunError(
            f"The run '{options.run}' has no roles, or none that can be read; assign them with: "
            f"python -m ssah_core roles --run {options.run} --esu 0.08 --euu 0.10 --ru 0.15"
        )
    ablation = Ablation.of(run.roles, roles, fill=fill)
    if ablation.count == 0:
        raise OptionError(f"There is no unit to ablate in {ablation.label}; choose another role.")
    if options.random_seed is None:
        return ablation
    return Ablation.random_like(ablation, seed=options.random_seed)


def _names(listed: str) -> list[str]:
    """What stands between commas."""
    return [part.strip() for part in listed.split(",") if part.strip()]


def _show_zero_shot(result: Mapping[str, Any]) -> None:
    if result["ablated"]:
        print(f"Ablated: {result['ablated']} ({result['units_ablated']:,} units)")
    print(f"{'task':24}  {'measure':12}  {'n':>6}  {'original, %':>18}  {'ablated, %':>18}")
    for row in result["tasks"]:
        sides = [_shown(row[side]) for side in ("original", "ablated")]
        n = row["original"]["n"]
        print(f"{row['task']:24}  {row['measure']:12}  {n:6,}  {sides[0]:>18}  {sides[1]:>18}")


def _shown(measured: Mapping[str, Any] | None) -> str:
    return "" if measured is None else shown("accuracy", measured)

"""`roles`: give the units of a run their roles."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ssah_core.commands.common import (
    add_command,
)
from ssah_core.roles import DEFAULT_KINDS, DEFAULT_TOKENS, assign_roles, check_kinds
from ssah_core.runs import open_run, save_roles
from ssah_core.scoring.scores import check_tokens


def add(commands: Any) -> None:
    """Register the command."""
    parser = add_command(
        commands,
        "roles",
        _roles,
        _show_roles,
        "Give every unit of a run its role, by shares of all units, and save the roles in the run.",
        "roles --run runs/planted --esu 0.08 --euu 0.10 --ru 0.15",
    )
    parser.add_argument("--run", required=True, help="a run folder")
    for role in ("esu", "euu", "ru"):
        parser.add_argument(
            f"--{role}", required=True, type=float, help=f"share of {role.upper()}, from 0 to 1"
        )
    parser.add_argument(
        "--tokens",
        default=DEFAULT_TOKENS,
        help=f"which tokens count: all, prompt or response (default {DEFAULT_TOKENS})",
    )
    parser.add_argument(
        "--kinds",
        default=DEFAULT_KINDS,
        help=f"which units may take ESU, EUU, RU: both, mlp or attn (default {DEFAULT_KINDS})",
    )


def _roles(options: argparse.Namespace) -> dict[str, Any]:
    run = open_run(options.run)
    roles = assign_roles(
        run.scores,
        options.esu,
        options.euu,
        options.ru,
        tokens=check_tokens(options.tokens),
        kinds=check_kinds(options.kinds),
    )
    save_roles(run, roles)
    return {"counts": roles.counts, "layers": roles.by_layer.to_dict(orient="records")}


def _show_roles(result: Mapping[str, Any]) -> None:
    print(f"{'layer':>5}  {'kind':4}  " + "  ".join(f"{role:>7}" for role in result["counts"]))
    for row in [*result["layers"], {"layer": "all", "kind": "", **result["counts"]}]:
        counts = "  ".join(f"{row[role]:>7,}" for role in result["counts"])
        print(f"{row['layer']:>5}  {row['kind']:4}  {counts}")

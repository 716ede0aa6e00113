"""The commands that made a run or a study, read from its manifest."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any


def commands_of(manifest: Mapping[str, Any], name: str) -> str:
    """The command lines that make this run or study again, one after the other."""
    if "judge" in manifest:
        return _study(manifest, name)
    return _run(manifest, name)


def _run(manifest: Mapping[str, Any], name: str) -> str:
    folder = f"runs/{name}"
    sets = manifest["prompts"]
    lines = [
        _line(
            "score",
            model=manifest["model"]["name"],
            safety=sets["safety"]["name"],
            utility=sets["utility"]["name"],
            dtype=manifest["model"]["dtype"],
            out=folder,
        )
    ]
    roles = manifest.get("roles")
    if roles and roles["shares"]:
        shares = {role.lower(): f"{share:g}" for role, share in roles["shares"].items()}
        lines.append(
            _line("roles", run=folder, **shares, tokens=roles["tokens"], kinds=roles["kinds"])
        )
    return "\n".join(lines)


def _study(manifest: Mapping[str, Any], name: str) -> str:
    plan = manifest.get("plan", {})
    sources = manifest["questions"].get("sources", {})
    options: dict[str, Any] = {"run": manifest["run"], **sources}
    if plan:
        options |= {"controls": plan["controls"], "fills": ",".join(plan["fills"])}
        options["max-new-tokens"] = plan["reply_tokens"]
        if plan["shares"]:
            options["shares"] = ",".join(f"{share:g}" for share in plan["shares"])
        if plan["system"]:
            options["system"] = plan["system"]
    return _line("study", **options, out=f"studies/{name}")


def _line(command: str, **options: Any) -> str:
    given = (
        f"--{key.replace('_', '-')} {shlex.quote(str(value))}" for key, value in options.items()
    )
    return f"python -m ssah_core {command} " + " ".join(given)

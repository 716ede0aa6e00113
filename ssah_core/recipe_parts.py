"""The pieces that commands and Python are told with: quoted, as what a manifest says may be anybody's."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssah_core.folders import Folder, usual_folder
from ssah_core.models.sources import ORGANISM_NAMES, ORGANISM_PREFIX
from ssah_core.runs import MANIFEST, run_place

Json = Mapping[str, Any]

QUESTION_SETS = ("harmful", "harmless", "look_alikes")
_SHIPPED = ("assets", "organism", "runs")


def roles_line(run: str, roles: Json | None) -> list[str]:
    """The command that gives a run its roles, where it has any."""
    if not roles:
        return []
    if not roles["shares"]:
        return ["# The roles were given by thresholds: see the Python."]
    given = [("run", run), *((role.lower(), share) for role, share in roles["shares"].items())]
    return [command_line("roles", [*given, ("tokens", roles["tokens"]), ("kinds", roles["kinds"])])]


def kept_roles_lines(run: str, roles: Json) -> list[str]:
    """The command that gives a run its roles, unless it is a shipped one, which keeps its own."""
    if not run.startswith(ORGANISM_PREFIX):
        return roles_line(run, roles)
    kept = json.loads((run_place(run) / MANIFEST).read_text("utf-8"))["roles"]
    if all(kept[key] == roles[key] for key in ("shares", "tokens", "kinds")):
        return []
    return [
        "# The shipped run keeps its roles: score the model into a run of your own, give it these",
        *(
            f"# roles, and name it below. {line.removeprefix('# ')}"
            for line in roles_line(run, roles)
        ),
    ]


def assigned(scores: str, roles: Json) -> str:
    """The call that assigns these roles."""
    options = f"tokens={roles['tokens']!r}, kinds={roles['kinds']!r}"
    if roles["shares"]:
        shares = ", ".join(f"{role.lower()}={share!r}" for role, share in roles["shares"].items())
        return f"assign_roles({scores}, {shares}, {options})"
    if "thresholds" not in roles:
        return "run.roles"
    cuts = ", ".join(
        # What is infinite where no unit has a role is no literal of Python.
        f"{role}={float(cut)!r}".replace("=inf", "=float('inf')").replace("=-inf", "=-float('inf')")
        for role, cut in roles["thresholds"].items()
    )
    return f"assign_roles_by_thresholds({scores}, Thresholds({cuts}), {options})"


def load_model_call(made: Json) -> str:
    """The call that opens a model as a manifest tells it."""
    return call("load_model", made["name"], revision=made.get("revision"), **dict(machine(made)))


def machine(made: Json) -> list[tuple[str, Any]]:
    """Where a model ran. A GPU is the default where there is one, and may be several: left out."""
    cpu = "cpu" if str(made["device"]) == "cpu" else None
    return [("device", cpu), ("dtype", made["dtype"])]


def call(function: str, first: str, **options: Any) -> str:
    """A call in Python; options without a value are left out."""
    given = "".join(f", {key}={value!r}" for key, value in options.items() if value)
    return f"{function}({first!r}{given})"


def command_line(command: str, options: list[tuple[str, Any]]) -> str:
    """A command line; options without a value are left out, and True is the option alone."""
    given = [
        f"--{key}" if value is True else f"--{key} {shlex.quote(str(value))}"
        for key, value in options
        if value is not None and value is not False
    ]
    return f"python -m ssah_core {command} " + " ".join(given)


def most_asked(manifest: Json) -> int:
    """A limit that gives every set of questions as many as it had, whether there was a limit or not."""
    return max(int(manifest["questions"][kind]) for kind in QUESTION_SETS)


def question_sources(manifest: Json) -> Json:
    """The names of the prompt files that were asked, by set; none for the built-in questions."""
    given = manifest["questions"].get("sources", {})
    return {kind: given[kind] for kind in QUESTION_SETS if kind in given}


def in_folder(folder: Folder, name: str) -> str:
    """Where something of this name lies, from the folder that commands are given in."""
    return f"{usual_folder(folder)}/{name.removeprefix(ORGANISM_PREFIX)}"


def run_name(folder: str) -> str:
    """How a study's run is opened: a shipped one by its name, wherever the app lay."""
    parts = Path(folder).parts
    shipped = parts[-4:-1] == _SHIPPED and parts[-1] in ORGANISM_NAMES
    return f"{ORGANISM_PREFIX}{parts[-1]}" if shipped else folder

"""The runs in one folder: what there is to open, read from the manifests alone."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssah_core.errors import RunError
from ssah_core.models.sources import ORGANISM_NAMES, ORGANISM_PREFIX
from ssah_core.runs import MANIFEST, run_place

_RUN_NAME = re.compile(r"[\w][\w .-]{0,79}")


@dataclass(frozen=True)
class RunSummary:
    """What a list says of a run. `name` opens it: `organism:NAME`, or a folder's name."""

    name: str
    model: str
    created: str
    units: int
    prompts: int
    has_roles: bool
    fingerprint: str


def list_runs(root: Path) -> list[RunSummary]:
    """The shipped runs, then those in `root`, the newest first; folders that are no runs are left out."""
    shipped = [f"{ORGANISM_PREFIX}{name}" for name in ORGANISM_NAMES]
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    own = [
        found
        for path in folders
        if is_run_name(path.name) and (found := _summary(path, path.name)) is not None
    ]
    return [
        *(found for name in shipped if (found := _summary(run_place(name), name)) is not None),
        *sorted(own, key=lambda run: run.created, reverse=True),
    ]


def is_run_name(name: str) -> bool:
    """Whether something kept can have this name: a hidden folder, such as a half-written one, is none."""
    return _RUN_NAME.fullmatch(name) is not None


def run_folder(root: Path, name: str) -> Path:
    """Where what is kept under a name lies: a name, never a path, so that a link cannot reach elsewhere.

    Raises RunError for what cannot be a name.
    """
    if name.startswith(ORGANISM_PREFIX):
        return run_place(name)
    if not is_run_name(name):
        raise RunError(
            f"A name cannot be {name[:80]!r}: use letters, digits, spaces, points and dashes, at most "
            "80, and begin with a letter or a digit."
        )
    return root / name


def _summary(folder: Path, name: str) -> RunSummary | None:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text("utf-8"))
        sets = manifest["prompts"].values()
        return RunSummary(
            name=name,
            model=str(manifest["model"]["name"]),
            created=str(manifest["created"]),
            units=sum(site["units"] for site in manifest["anatomy"]),
            prompts=sum(part["prompts"] for part in sets),
            has_roles="roles" in manifest,
            fingerprint=str(manifest["model"]["fingerprint"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None

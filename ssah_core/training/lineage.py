"""What a model folder says of its making, where a fine-tuning left it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssah_core.training.reading import KIND


@dataclass(frozen=True)
class Lineage:
    """What a fine-tuned model was made from.

    `ancestor` is its name at that time and `fingerprint` what it is known by, `prompts` how many it was
    trained on; `units` says in words which units were frozen, or trained alone ("": neither).
    """

    ancestor: str
    fingerprint: str
    prompts: int
    units: str


def lineage_of(folder: Path) -> Lineage | None:
    """Read a folder's lineage; None where no fine-tuning made it, or its manifest cannot be read."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        if manifest["kind"] != KIND:
            return None
        model = manifest["model"]
        return Lineage(
            ancestor=str(model["name"]),
            fingerprint=str(model["fingerprint"]),
            prompts=int(manifest["prompts"]["prompts"]),
            units=_in_words(manifest["frozen"], "were frozen")
            or _in_words(manifest["trained_only"], "were trained and no others"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _in_words(chosen: Mapping[str, Any] | None, done: str) -> str:
    """For example "291 units (8.0%) were frozen: ESU"."""
    if chosen is None:
        return ""
    like = chosen.get("like")
    origin = chosen if like is None else like
    which = list(origin.get("roles", []))
    if origin.get("strongest_cu"):
        which.append(f"the strongest CU, {origin['strongest_cu']:.1%} of all units")
    said = " and ".join(which)
    if like is not None:
        said = "random units, as many as " + said if said else "random units"
    words = f"{chosen['units']:,} units ({chosen['share']:.1%}) {done}"
    return f"{words}: {said}" if said else words

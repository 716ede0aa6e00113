"""The kinds of what is kept: what each is called, and which folder holds it.

A further kind has one entry here, and one in each table by kind: its files and their proof in
`archives.py`, its words in `manifest_words.py`, its commands and Python in `reproduce.py`, its
comparison in `commands/runs.py` and on the Runs screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["run", "study", "probe", "experiment"]
Place = Literal["runs", "studies"]


@dataclass(frozen=True)
class KindAbout:
    """The word for several, and the folder that holds them."""

    plural: str
    place: Place


KINDS: Mapping[Kind, KindAbout] = {
    "run": KindAbout("runs", "runs"),
    "study": KindAbout("studies", "studies"),
    "probe": KindAbout("probes", "studies"),
    "experiment": KindAbout("experiments", "studies"),
}


def kinds_in(place: Place) -> tuple[Kind, ...]:
    """The kinds that one folder holds."""
    return tuple(kind for kind, about in KINDS.items() if about.place == place)


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """What a manifest is of; those of runs and studies do not say it in a word."""
    said = manifest.get("kind")
    for kind in KINDS:
        if said == kind:
            return kind
    return "study" if "questions" in manifest else "run"


def any_of(kinds: Sequence[Kind]) -> str:
    """For example "a study or a probe"."""
    return " or ".join(f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}" for kind in kinds)

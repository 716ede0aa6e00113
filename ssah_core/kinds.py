"""The kinds of what is kept: what each is called, and which folder holds it.

A further kind has one entry here, and one in each table by kind: its files and their proof in
`archives.py`, its words in `manifest_words.py`, its commands and Python in `reproduce.py`, its
comparison in `commands/runs.py` and on the Runs screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ssah_core.errors import RunError
from ssah_core.folders import Folder

Kind = Literal["run", "study", "probe", "experiment"]


@dataclass(frozen=True)
class KindAbout:
    """The word for several, and the folder that holds them."""

    plural: str
    folder: Folder


KINDS: Mapping[Kind, KindAbout] = {
    "run": KindAbout("runs", "runs"),
    "study": KindAbout("studies", "studies"),
    "probe": KindAbout("probes", "studies"),
    "experiment": KindAbout("experiments", "studies"),
}


def kinds_in(folder: Folder) -> tuple[Kind, ...]:
    """The kinds that one folder holds."""
    return tuple(kind for kind, about in KINDS.items() if about.folder == folder)


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """What a manifest is of; those of runs and studies do not say it in a word.

    Raises RunError where it is of something else, such as a fine-tuned model.
    """
    said = manifest.get("kind")
    if said is None:
        return "study" if "questions" in manifest else "run"
    for kind in KINDS:
        if said == kind:
            return kind
    raise RunError(
        f"What lies there is a {str(said)[:80]}, and {any_of(tuple(KINDS))} was expected; choose another."
    )


def check_kind(what: str, found: Kind, kinds: Sequence[Kind]) -> None:
    """Raise RunError where something is of none of these kinds; `what` begins the sentence."""
    if found in kinds:
        return
    about, flag = KINDS[found], ""
    if about.folder != KINDS[kinds[0]].folder:
        said = "with" if about.folder == "studies" else "without"
        flag = f" (on the command line: {said} --studies)"
    raise RunError(
        f"{what} {any_of([found])}, and {any_of(kinds)} was expected; choose another, or turn to the "
        f"{about.plural}{flag}."
    )


def any_of(kinds: Sequence[Kind]) -> str:
    """For example "a study or a probe"."""
    return " or ".join(f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}" for kind in kinds)

"""The partial work of a scoring on disk, so that one that was stopped or killed goes on where it was.

    checkpoint.json                the scoring that it belongs to, what it is about for people, the model's
                                   own replies so far, which examples are counted, and the SHA-256 of
                                   each file below
    checkpoint-*.safetensors       the running sums of one prompt set, float64: they reopen bitwise equal

Sums are written under a new name and come into force with the checkpoint.json that names them, so that
a killed process leaves either the old state or the new.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ssah_core.errors import Cancelled, RunError, SsahError
from ssah_core.models.anatomy import Anatomy
from ssah_core.scoring.collecting import GROUPS, Collected
from ssah_core.scoring.moments import RunningMoments, ShiftedSums
from ssah_core.scoring.resuming import Kept
from ssah_core.storage import check_writable, explain, sha256, write_file

FORMAT = 1
_SECONDS_BETWEEN_SAVES = 5.0
_SHARE_OF_TIME = 0.05  # that saving may take at most
_STATE = "checkpoint.json"
# A leading dot and another suffix: what a killed write left.
_OURS = re.compile(r"\.?checkpoint(\.json|-[a-z]+-[0-9a-f]{12}\.safetensors)(\.\w+)?")


@dataclass(frozen=True)
class _SetWork:
    replies: Mapping[int, str] = field(default_factory=dict)
    collected: Collected | None = None


class Checkpoint:
    """Holds the work of one scoring by prompt set, and saves it now and then; never, without a folder."""

    def __init__(
        self,
        folder: Path | None,
        origin: Mapping[str, Any],
        work: Mapping[str, _SetWork],
        about: Mapping[str, Any],
    ) -> None:
        self._folder, self._origin, self._work = folder, origin, dict(work)
        self._about = about
        self._written: dict[str, tuple[Collected, dict[str, Any]]] = {}
        self._unsaved = False
        self._next_save = time.monotonic() + _SECONDS_BETWEEN_SAVES

    def replies(self, attribute: str) -> Kept[Mapping[int, str]]:
        """The own replies of a prompt set, by their place among those that are missing."""

        def keep(replies: Mapping[int, str]) -> None:
            self._keep(attribute, replace(self._of(attribute), replies=replies))

        return Kept(self._of(attribute).replies, keep)

    def moments(self, attribute: str) -> Kept[Collected]:
        """How far the pass over a prompt set has come."""

        def keep(collected: Collected) -> None:
            self._keep(attribute, replace(self._of(attribute), collected=collected))

        return Kept(self._of(attribute).collected, keep)

    def _of(self, attribute: str) -> _SetWork:
        return self._work.get(attribute, _SetWork())

    def _keep(self, attribute: str, work: _SetWork) -> None:
        self._work[attribute] = work
        self._unsaved = True
        start = time.monotonic()
        if self._folder is not None and start >= self._next_save:
            self.save()
            now = time.monotonic()
            pause = max(_SECONDS_BETWEEN_SAVES, (now - start) / _SHARE_OF_TIME)
            self._next_save = now + pause

    def save(self) -> None:
        """Write what is new; raises RunError where it cannot be written, and the old state stays."""
        if self._folder is None or not self._unsaved:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write(self._folder)
        except OSError as error:
            raise explain(error, self._folder) from error
        finally:
            if not has_checkpoint(self._folder):  # nothing came of the first save
                self.remove()

    def _write(self, folder: Path) -> None:
        sets = {
            attribute: {
                "replies": {str(place): text for place, text in work.replies.items()},
                "moments": self._moments_entry(folder, attribute, work.collected),
            }
            for attribute, work in self._work.items()
        }
        state = {"origin": self._origin, "about": self._about, "sets": sets}
        write_file(folder / _STATE, _encode(state))
        self._unsaved = False
        named = {entry["moments"]["file"] for entry in sets.values() if entry["moments"]}
        _remove_files(folder, {_STATE, *named})

    def _moments_entry(
        self, folder: Path, attribute: str, collected: Collected | None
    ) -> dict[str, Any] | None:
        """What checkpoint.json says of a set's moments, once their file is written."""
        if collected is None:
            return None
        written = self._written.get(attribute)
        here = written is not None and (folder / written[1]["file"]).exists()
        if written is None or written[0] is not collected or not here:
            written = (collected, _write_moments(folder, attribute, collected))
            self._written[attribute] = written
        return written[1]

    def remove(self) -> None:
        """Remove the files, and the folder unless it holds something else; never an error."""
        if self._folder is None:
            return
        self._written.clear()
        with suppress(OSError):
            (self._folder / _STATE).unlink(missing_ok=True)  # first: it names the others
            _remove_files(self._folder, set())
            self._folder.rmdir()


@contextmanager
def checkpointed(
    folder: str | Path | None,
    origin: Mapping[str, Any],
    anatomy: Anatomy,
    *,
    about: Mapping[str, Any] | None = None,
) -> Iterator[Checkpoint]:
    """The checkpoint of one scoring: saved if the work inside fails or is cancelled, removed at its end.

    `origin` is what a checkpoint in the folder must have been made with, by names for messages;
    `about` is what the manifest of its end will say, as far as it is known.
    Raises RunError where the folder holds something else, is damaged or cannot be written.
    """
    if folder is None:
        kept = Checkpoint(None, origin, {}, {})
    else:
        check_writable(folder)
        origin = {"format": FORMAT, **origin}
        kept = Checkpoint(Path(folder), origin, _read(Path(folder), origin, anatomy), about or {})
    try:
        yield kept
    except Cancelled as error:
        kept.save()
        if folder is None or not has_checkpoint(folder):
            raise
        raise Cancelled(
            f"Stopped; the work so far was kept in '{folder}', and the same work goes on from there."
        ) from error
    except BaseException:
        with suppress(SsahError):  # the first error is the one to tell
            kept.save()
        raise
    kept.remove()


def has_checkpoint(folder: str | Path) -> bool:
    """Whether a folder holds partial work of a scoring."""
    return (Path(folder) / _STATE).is_file()


def checkpoint_about(folder: str | Path) -> dict[str, Any]:
    """What the partial work in a folder is about; nothing where it is damaged or of an old version."""
    try:
        about: dict[str, Any] = _decode((Path(folder) / _STATE).read_bytes())["about"]
        return about
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write_moments(folder: Path, attribute: str, collected: Collected) -> dict[str, Any]:
    totals = collected.totals
    tensors, tokens = {}, {}
    for group in [group for group in GROUPS if (0, group) in totals]:
        running = [totals[key] for key in sorted(totals) if key[1] == group]  # in order of sites
        parts = {
            "shift": [one.shift for one in running],
            "first": [one.total.first for one in running],
            "second": [one.total.second for one in running],
        }
        for name, part in parts.items():
            tensors[f"{group}.{name}"] = torch.cat([x.cpu().double() for x in part])
        tokens[group] = running[0].total.count
    content = save_tensors(tensors)
    digest = sha256(content)
    file = f"checkpoint-{attribute}-{digest[:12]}.safetensors"
    write_file(folder / file, content)
    return {
        "file": file,
        "sha256": digest,
        "token_budget": collected.token_budget,
        "counted": list(collected.counted),
        "tokens": tokens,
    }


def _read(folder: Path, origin: Mapping[str, Any], anatomy: Anatomy) -> dict[str, _SetWork]:
    """The work that a folder holds, none if it is new; raises RunError as `checkpointed`."""
    try:
        if not has_checkpoint(folder):
            if folder.exists() and not all(_OURS.fullmatch(file.name) for file in folder.iterdir()):
                raise RunError(f"'{folder}' holds something that is no checkpoint; choose another.")
            return {}
        state = _decode((folder / _STATE).read_bytes())
        found = state["origin"]
        differ = [name for name in origin if found.get(name) != origin[name]]
        if differ:
            raise RunError(
                f"The checkpoint '{folder}' belongs to another scoring, with a different "
                f"{', '.join(differ)}; delete the folder, or choose another."
            )
        return {
            attribute: _SetWork(
                replies={int(place): text for place, text in entry["replies"].items()},
                collected=_read_moments(folder, entry["moments"], anatomy),
            )
            for attribute, entry in state["sets"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise RunError(
            f"The checkpoint '{folder}' is damaged or cannot be read; delete the folder, or choose "
            "another."
        ) from error


def _read_moments(
    folder: Path, entry: Mapping[str, Any] | None, anatomy: Anatomy
) -> Collected | None:
    if entry is None:
        return None
    content = (folder / entry["file"]).read_bytes()
    if sha256(content) != entry["sha256"]:
        raise ValueError(f"{entry['file']} is not what was written")
    tensors = load_tensors(content)
    totals = {}
    for group in [group for group in GROUPS if group in entry["tokens"]]:
        shift, first, second = (tensors[f"{group}.{name}"] for name in ("shift", "first", "second"))
        for site, channels in enumerate(anatomy.channel_slices):
            total = ShiftedSums(entry["tokens"][group], first[channels], second[channels])
            totals[site, group] = RunningMoments(shift[channels].float(), total)
    return Collected(entry["token_budget"], tuple(entry["counted"]), totals)


def _encode(state: Mapping[str, Any]) -> bytes:
    return json.dumps({"sha256": sha256(json.dumps(state).encode()), "state": state}).encode()


def _decode(content: bytes) -> dict[str, Any]:
    sealed = json.loads(content)
    state: dict[str, Any] = sealed["state"]
    if sha256(json.dumps(state).encode()) != sealed["sha256"]:
        raise ValueError(f"{_STATE} is not what was written")
    return state


def _remove_files(folder: Path, keep: set[str]) -> None:
    with suppress(OSError):
        for file in folder.iterdir():
            if _OURS.fullmatch(file.name) and file.name not in keep:
                file.unlink()

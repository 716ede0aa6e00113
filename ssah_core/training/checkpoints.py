"""The partial work of a fine-tuning: which training it belongs to, and the last complete checkpoint.

    training.json     what the training was asked for: another one may not go on from here
    checkpoint-N/     transformers' own checkpoint after step N; `complete` is written into it last

A killed process may leave a checkpoint half written, which `complete` tells apart. The optimiser's state
is torch's format, opened as weights only; it never leaves this folder, and goes with it at the end.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssah_core.errors import RunError
from ssah_core.storage import check_writable, write_file

_NOTE, _COMPLETE = "training.json", "complete"
_PREFIX = "checkpoint-"


class Checkpoints:
    """The checkpoints of one training, in a folder beside its result."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def beside(cls, result: str | Path) -> Checkpoints:
        """The checkpoints of the training that is to end in a folder."""
        result = Path(result)
        return cls(result.with_name(f".{result.name}.partial"))

    def claim(self, origin: Mapping[str, Any]) -> None:
        """Make the folder this training's own, or find that it is already.

        Raises RunError where it belongs to another training, naming what differs, or cannot be written.
        """
        check_writable(self.folder)
        note = self.folder / _NOTE
        asked = json.loads(json.dumps(origin))
        if note.is_file():
            self._check_same(note, asked)
            return
        if self.folder.exists() and any(self.folder.iterdir()):
            raise RunError(f"'{self.folder}' holds other files; choose another folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(note, (json.dumps(asked, indent=1) + "\n").encode())

    def _check_same(self, note: Path, asked: Mapping[str, Any]) -> None:
        try:
            kept: dict[str, Any] = json.loads(note.read_text("utf-8"))
            other = sorted(key for key in {*kept, *asked} if kept.get(key) != asked.get(key))
        except (OSError, ValueError, TypeError) as error:
            raise RunError(
                f"'{note}' is damaged; delete '{self.folder}' and train again."
            ) from error
        if other:
            raise RunError(
                f"'{self.folder}' holds the work of a training with other {', '.join(other)}; ask for "
                "the same again, delete that folder, or choose another."
            )

    def mark_complete(self, step: int) -> None:
        """Say that all of a checkpoint is written."""
        write_file(self.folder / f"{_PREFIX}{step}" / _COMPLETE, b"")

    def latest(self) -> Path | None:
        """The last checkpoint that is complete, or None."""
        found = self.folder.glob(f"{_PREFIX}*/{_COMPLETE}")
        steps = sorted(int(mark.parent.name.removeprefix(_PREFIX)) for mark in found)
        return self.folder / f"{_PREFIX}{steps[-1]}" if steps else None

    def remove(self) -> None:
        """Remove the partial work: the result is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

"""What is kept in one folder, of any kind, finished or stopped: listed, renamed, deleted, by name.

Nothing outside that folder is read or written, but for the runs that ship with the built-in models:
they are listed and shown, and stay as they are.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ssah_core.errors import RunError
from ssah_core.kinds import Kind, check_kind, kind_of
from ssah_core.models.sources import ORGANISM_NAMES, ORGANISM_PREFIX
from ssah_core.reproduce import commands_of
from ssah_core.run_list import is_run_name, run_folder
from ssah_core.runs import MANIFEST
from ssah_core.scoring.checkpoint import checkpoint_about
from ssah_core.storage import check_free, explain

_PARTIAL = re.compile(r"\.(.+)\.partial")


@dataclass(frozen=True)
class KeptItem:
    """One run, study or probe, or work that was stopped before its end.

    `seconds` is how long it took (None: it does not say), `size` its bytes on disk. Of stopped work,
    `created` is when it was last saved, `again` the commands that go on with it, where it says, and
    `work` what was being done where it makes no run or study.
    """

    name: str
    kind: Kind
    finished: bool
    model: str
    created: str
    seconds: float | None
    size: int
    again: str = ""
    work: str = ""

    @property
    def shipped(self) -> bool:
        """Whether it comes with a built-in model, and stays as it is."""
        return self.name.startswith(ORGANISM_PREFIX)


def list_kept(root: Path, *kinds: Kind) -> list[KeptItem]:
    """What `root` holds of some kinds: shipped runs, then the newest first, then what was stopped."""
    shipped = [f"{ORGANISM_PREFIX}{name}" for name in ORGANISM_NAMES] if "run" in kinds else []
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    own = [_item(path, path.name, kinds) for path in folders if is_run_name(path.name)]
    stopped = [_stopped(path, kinds) for path in folders]
    items = [
        *(_item(run_folder(root, name), name, kinds) for name in shipped),
        *sorted(filter(None, own), key=lambda item: item.created, reverse=True),
        *stopped,
    ]
    return [item for item in items if item is not None]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a kept folder; raises RunError where there is none to read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except OSError as error:
        raise _gone(folder.name) from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"The manifest of '{folder.name}' is damaged.") from error
    if not isinstance(manifest, dict):
        raise RunError(f"The manifest of '{folder.name}' is damaged.")
    return manifest


def find(root: Path, name: str, *kinds: Kind) -> Path:
    """The folder of what is finished and of one of these kinds; raises RunError where there is none."""
    folder = run_folder(root, name)
    check_kind(f"'{name}' is", kind_of(read_manifest(folder)), kinds)
    return folder


def own_folder(root: Path, name: str) -> Path:
    """Where something lies that may be changed; raises RunError for shipped runs and bad names."""
    if name.startswith(ORGANISM_PREFIX):
        raise RunError(f"The run '{name}' ships with the built-in model and stays as it is.")
    return run_folder(root, name)


def rename(root: Path, old: str, new: str) -> None:
    """Give something another name; raises RunError where it is taken, or cannot be one."""
    source, target = own_folder(root, old), own_folder(root, new)
    read_manifest(source)
    check_free(target)
    try:
        source.rename(target)
    except FileNotFoundError as error:
        raise _gone(old) from error
    except OSError as error:
        raise explain(error, target) from error


def delete(root: Path, name: str, *, finished: bool = True) -> None:
    """Delete what is kept, or the work that was stopped, under this name.

    Raises RunError where there is none; a folder that holds something else is left alone.
    """
    folder = own_folder(root, name)
    if not finished:
        folder = folder.with_name(f".{name}.partial")
    if not (folder.is_dir() and ((folder / MANIFEST).is_file() or not finished)):
        raise _gone(name)
    try:
        # Moved away first: nobody sees half of it, whatever interrupts the rest.
        with tempfile.TemporaryDirectory(
            prefix=".deleted.", dir=root, ignore_cleanup_errors=True
        ) as grave:
            folder.rename(Path(grave) / name)
    except FileNotFoundError as error:
        raise _gone(name) from error
    except OSError as error:
        raise explain(error, folder) from error


def _item(folder: Path, name: str, kinds: Sequence[Kind]) -> KeptItem | None:
    """What is finished; None where the folder is none of these kinds that can be read."""
    try:
        manifest = read_manifest(folder)
        kind = kind_of(manifest)
        if kind not in kinds:
            return None
        seconds = manifest.get("seconds")
        return KeptItem(
            name=name,
            kind=kind,
            finished=True,
            model=str(manifest["model"]["name"]),
            created=str(manifest["created"]),
            seconds=float(seconds) if seconds else None,
            size=_size(folder),
        )
    except (OSError, KeyError, TypeError, ValueError, RunError):
        return None


def _stopped(folder: Path, kinds: Sequence[Kind]) -> KeptItem | None:
    """Work that was stopped; a run or study of an old version does not say which, and is listed anyway."""
    found = _PARTIAL.fullmatch(folder.name)
    if found is None or not is_run_name(found[1]) or folder.with_name(found[1]).exists():
        return None  # of the last, somebody else was faster: there is nothing to go on to
    about = checkpoint_about(folder)
    old: Kind = "run" if "run" in kinds else "study"
    try:
        kind = kind_of(about) if about else old
        if kind not in kinds:
            return None
        saved = datetime.fromtimestamp(folder.stat().st_mtime, UTC).isoformat(timespec="seconds")
        return KeptItem(
            name=found[1],
            kind=kind,
            finished=False,
            model=str(about["model"]["name"]) if about else "",
            created=saved,
            seconds=None,
            size=_size(folder),
            again=commands_of(about, found[1]) if about else "",
            work="search for shares" if "search of" in about else "",
        )
    except (OSError, KeyError, TypeError, RunError):
        return None


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def _gone(name: str) -> RunError:
    return RunError(
        f"Nothing is kept here as '{name}', or not any more: it may have just been renamed or deleted; "
        "choose another."
    )

"""Renaming, deleting, packing and unpacking what is kept: runs and studies, by name, inside one folder.

Nothing outside that folder is read or written. What is unpacked is opened and checked before it gets
its name, so that a hostile or damaged archive leaves nothing behind.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ssah_core.errors import RunError
from ssah_core.evaluation.study_folder import open_study
from ssah_core.models.sources import ORGANISM_PREFIX
from ssah_core.run_list import run_folder
from ssah_core.runs import MANIFEST, open_run
from ssah_core.storage import check_free, explain, write_folder

Kind = Literal["run", "study"]
MOST_BYTES = 2**30  # of an archive, unpacked
_FILE_NAME = re.compile(r"\w[\w-]*(\.\w[\w-]*)*\.(json|safetensors|parquet|md)")
_OPENERS: dict[Kind, Callable[[Path], object]] = {"run": open_run, "study": open_study}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same archive from the same files


@dataclass(frozen=True)
class KeptItem:
    """One run or study of a folder, or work that was stopped before its end."""

    name: str
    kind: Kind
    finished: bool
    model: str
    created: str
    size: int


def list_kept(root: Path, kind: Kind) -> list[KeptItem]:
    """The runs or studies in `root`, the newest first, then what was stopped; others are left out."""
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    found = [item for path in folders if (item := _item(path, kind)) is not None]
    return sorted(found, key=lambda item: (item.finished, item.created), reverse=True)


def _item(folder: Path, kind: Kind) -> KeptItem | None:
    stopped = re.fullmatch(r"\.(.+)\.partial", folder.name)
    try:
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        if stopped:
            return KeptItem(stopped[1], kind, False, "", "", size)
        manifest = read_manifest(folder)
        if kind_of(manifest) != kind:
            return None
        about = manifest["model"]["name"], manifest["created"]
        return KeptItem(folder.name, kind, True, *about, size)
    except (OSError, KeyError, TypeError, RunError):
        return None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a kept folder; raises RunError where there is none to read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"'{folder.name}' is no run or study, or it has just been deleted."
        ) from error
    if not isinstance(manifest, dict):
        raise RunError(f"The manifest of '{folder.name}' is damaged.")
    return manifest


def kind_of(manifest: dict[str, Any]) -> Kind:
    """Whether a manifest is a run's or a study's."""
    return "study" if "judge" in manifest else "run"


def rename(root: Path, old: str, new: str) -> None:
    """Give a run or study another name; raises RunError where it is taken, or cannot be one."""
    source, target = _own(root, old), _own(root, new)
    read_manifest(source)
    check_free(target)
    try:
        source.rename(target)
    except OSError as error:
        raise explain(error, target) from error


def delete(root: Path, name: str, *, finished: bool = True) -> None:
    """Delete a run or study, or the work that was stopped under its name."""
    folder = _own(root, name)
    if not finished:
        folder = folder.with_name(f".{name}.partial")
    if not folder.is_dir():
        raise RunError(f"There is no '{name}' any more; it may have been deleted by somebody else.")
    try:
        # Moved away first: nobody sees half of it, whatever interrupts the rest.
        grave = Path(tempfile.mkdtemp(prefix=".deleted.", dir=root))
        folder.rename(grave / name)
    except OSError as error:
        raise explain(error, folder) from error
    shutil.rmtree(grave, ignore_errors=True)


def pack(folder: Path) -> bytes:
    """A zip of the files that a run's or study's manifest names, the same for the same files."""
    manifest = read_manifest(folder)
    content = io.BytesIO()
    try:
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in (MANIFEST, *sorted(manifest["files"])):
                _check_name(name)
                archive.writestr(
                    zipfile.ZipInfo(name, _EPOCH),
                    (folder / name).read_bytes(),
                    zipfile.ZIP_DEFLATED,
                )
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"'{folder.name}' is damaged or has just been deleted.") from error
    return content.getvalue()


def unpack(root: Path, name: str, archive: bytes, kind: Kind) -> None:
    """Take a run or study out of a zip, under a new name.

    Raises RunError where the name is taken, or where the archive is damaged, holds anything but the
    files of one run or study, a link, a path, or more than a gigabyte, or was made by a newer version.
    """
    folder = _own(root, name)
    check_free(folder)
    files = _read_archive(archive)
    if MANIFEST not in files:
        raise RunError("The archive holds no run and no study: it has no manifest.json.")
    incoming = folder.with_name(f".{name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)  # left by a process that was killed
    write_folder(incoming, files)
    try:
        manifest = read_manifest(incoming)
        if kind_of(manifest) != kind:
            raise RunError(f"The archive holds a {kind_of(manifest)}, and a {kind} was expected.")
        extra = set(files) - {MANIFEST} - set(manifest.get("files", ()))
        if extra:
            raise RunError(
                f"The archive holds a file that its manifest does not name: {min(extra)}."
            )
        _OPENERS[kind](incoming)
        incoming.rename(folder)
    except OSError as error:
        raise explain(error, folder) from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _read_archive(archive: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left = MOST_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            for info in opened.infolist():
                _check_name(info.filename)
                if stat.S_ISLNK(info.external_attr >> 16) or info.filename in files:
                    raise RunError(f"The archive holds a link or a file twice: {info.filename}.")
                with opened.open(info) as file:
                    # What is really read counts, not the size that the archive claims.
                    files[info.filename] = file.read(left + 1)
                left -= len(files[info.filename])
                if left < 0:
                    raise RunError("The archive is larger than 1 GB unpacked; it was not opened.")
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
        raise RunError("This is no zip archive, or a damaged or locked one.") from error
    except Exception as error:
        if isinstance(error, RunError):
            raise
        raise RunError("The archive is damaged.") from error  # zlib.error and its like
    return files


def _check_name(name: str) -> None:
    if not _FILE_NAME.fullmatch(name):
        raise RunError(
            f"The archive holds {name[:80]!r}, which is no file of a run or study; it was not opened."
        )


def _own(root: Path, name: str) -> Path:
    if name.startswith(ORGANISM_PREFIX):
        raise RunError(f"The run '{name}' ships with the built-in model and stays as it is.")
    return run_folder(root, name)

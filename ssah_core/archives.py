"""Runs, studies and probes as zips: packed the same from the same files, unpacked only once they are proven.

An archive is not trusted. It may hold the files of one of them and nothing else, they must be those that
its manifest names, by their SHA-256, and they must open as what they are before they get a name.
A hostile or damaged archive leaves nothing behind.
"""

from __future__ import annotations

import io
import json
import re
import stat
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ssah_core.archive_content import (
    check_experiment,
    check_probe,
    check_run,
    check_study,
    check_table,
)
from ssah_core.errors import RunError
from ssah_core.keeping import own_folder, read_manifest
from ssah_core.kinds import Kind, check_kind, kind_of
from ssah_core.runs import MANIFEST
from ssah_core.storage import check_free, sha256, write_folder

MOST_BYTES = 2**30  # of an archive, unpacked
_MOST_FILES = 8
_FILES: dict[Kind, re.Pattern[str]] = {
    "run": re.compile(r"scores\.safetensors|prompts\.parquet|roles-[0-9a-f]{12}\.parquet"),
    "study": re.compile(r"rows\.json|replies\.parquet|report\.md"),
    "probe": re.compile(r"prompts\.parquet|distances\.parquet"),
    "experiment": re.compile(r"rows\.json|report\.md"),
}
_CHECKS: dict[Kind, Callable[[Path], None]] = {
    "run": check_run,
    "study": check_study,
    "probe": check_probe,
    "experiment": check_experiment,
}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same archive from the same files, whenever it is packed


def pack(folder: Path) -> bytes:
    """A zip of the files of what is kept, the same for the same files.

    Raises RunError where it is damaged, or was changed or deleted meanwhile.
    """
    manifest = read_manifest(folder)
    content = io.BytesIO()
    try:
        with zipfile.ZipFile(content, "w") as archive:
            _add(archive, MANIFEST, (folder / MANIFEST).read_bytes())
            for name, expected in sorted(manifest["files"].items()):
                if not _FILES[kind_of(manifest)].fullmatch(name):
                    raise RunError(f"The manifest of '{folder.name}' is damaged.")
                file = (folder / name).read_bytes()
                if sha256(file) != expected:
                    raise RunError(
                        f"The file {name} of '{folder.name}' is damaged or was just changed; try again."
                    )
                _add(archive, name, file)
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"'{folder.name}' is damaged, or has just been changed or deleted."
        ) from error
    return content.getvalue()


def unpack(root: Path, name: str, archive: bytes, *kinds: Kind) -> None:
    """Take what is of one of these kinds out of a zip, under a new name.

    Raises RunError where the name is taken, or where the archive is damaged, holds anything but the
    files of one kept thing, a link, a path, or more than a gigabyte, or was made by a newer version.
    """
    folder = own_folder(root, name)
    check_free(folder)
    files = _read_archive(archive)
    kind = _check_manifest(files, kinds)
    for file, content in files.items():
        if file.endswith(".parquet"):
            check_table(file, content, MOST_BYTES)
    write_folder(folder, files, check=partial(_check_opens, kind=kind, name=name))


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    archive.writestr(info, content, zipfile.ZIP_DEFLATED)


def _read_archive(archive: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left = MOST_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            infos = opened.infolist()
            _check_entries(infos)
            for info in infos:
                with opened.open(info) as file:
                    # What is really read counts, not the size that the archive claims.
                    files[info.filename] = file.read(left + 1)
                left -= len(files[info.filename])
                if left < 0:
                    raise RunError("The archive is larger than 1 GB unpacked; it was not opened.")
    except RunError:
        raise
    except Exception as error:  # zipfile raises whatever comes of anybody's bytes
        raise RunError("This is no zip archive, or a damaged or locked one.") from error
    return files


def _check_entries(infos: list[zipfile.ZipInfo]) -> None:
    """Raise RunError unless every entry is a plain file of something kept, each once."""
    known = "|".join([re.escape(MANIFEST), *(pattern.pattern for pattern in _FILES.values())])
    for info in infos:
        if not re.fullmatch(known, info.filename):
            raise RunError(
                f"The archive holds {info.filename[:80]!r}, which no export packs; it was not "
                "opened."
            )
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise RunError(f"The archive holds a link, {info.filename}; it was not opened.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise RunError("The archive is packed in an unusual way; export it again.")
    if len({info.filename for info in infos}) < len(infos) or len(infos) > _MOST_FILES:
        raise RunError("The archive holds a file twice, or too many files; it was not opened.")


def _check_manifest(files: Mapping[str, bytes], kinds: Sequence[Kind]) -> Kind:
    """The kind; raises RunError unless the files are those that the manifest names, and of these kinds."""
    if MANIFEST not in files:
        raise RunError("The archive holds nothing that was exported: it has no manifest.json.")
    try:
        manifest: dict[str, Any] = json.loads(files[MANIFEST])
        named: dict[str, str] = dict(manifest["files"])
        json.dumps(manifest, ensure_ascii=False).encode()  # halves of characters cannot be shown
        found = kind_of(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError("The archive's manifest.json is damaged; export it again.") from error
    check_kind("The archive holds", found, kinds)
    differ = set(named) ^ (set(files) - {MANIFEST})
    if differ:
        raise RunError(
            "The archive and its manifest name different files, such as "
            f"{min(map(str, differ))[:80]!r}; export it again."
        )
    for name, expected in named.items():
        if not _FILES[found].fullmatch(name) or sha256(files[name]) != expected:
            raise RunError(f"The file {name} in the archive is damaged; export it again.")
    return found


def _check_opens(folder: Path, *, kind: Kind, name: str) -> None:
    try:
        _CHECKS[kind](folder)
    except RunError as error:  # which speaks of a folder that nobody will see
        raise RunError(str(error).replace(str(folder), name)) from error
    except (MemoryError, RecursionError, ArithmeticError, LookupError) as error:
        raise RunError(
            f"The archive holds a {kind} that cannot be opened; export it again."
        ) from error

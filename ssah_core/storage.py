"""Writing files so that a crash, a full disk or a second writer leaves the old state or the new one."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ssah_core.errors import RunError


def write_file(path: Path, content: bytes) -> None:
    """Write or replace one file atomically and durably.

    Raises RunError where the disk is full or the place cannot be written; nothing is left behind.
    """
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                _write_durably(file.fileno(), content)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync(path.parent)
    except OSError as error:
        raise explain(error, path) from error


def write_folder(
    folder: Path, files: Mapping[str, bytes], *, check: Callable[[Path], None] | None = None
) -> None:
    """Write a new folder with all its files, or nothing at all.

    `check` sees the folder before it gets its name, and keeps it from that by raising.
    Raises RunError where the folder already holds something, or as `write_file`.
    """
    with new_folder(folder) as temporary:
        for name, content in files.items():
            with (temporary / name).open("wb") as file:
                _write_durably(file.fileno(), content)
        if check is not None:
            check(temporary)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes its name durably when the work inside ends well, and else is gone.

    Raises as `write_folder`.
    """
    _check_new(folder)
    made = [parent for parent in folder.absolute().parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield temporary
            for path in temporary.iterdir():
                _sync(path)
            temporary.chmod(0o755)  # mkdtemp makes it private
            _sync(temporary)
            os.replace(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync(folder.parent)
    except BaseException as error:
        for parent in made:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError):
            raise explain(error, folder) from error
        raise


def check_free(folder: Path | str) -> None:
    """Raise RunError where `write_folder` could not write: said before hours of work."""
    check_writable(folder)
    _check_new(Path(folder))


def check_new_file(file: Path | str) -> None:
    """Raise RunError where `write_file` could not write a new file: said before the work for it."""
    path = Path(file)
    if "\0" in str(file) or path.exists():
        raise RunError(f"'{file}' already exists, or cannot be a file; choose another name.")
    if not path.parent.is_dir():
        raise RunError(
            f"There is no folder '{path.parent}' for {path.name}; make it, or choose another."
        )
    check_writable(path.parent)


def check_writable(folder: Path | str) -> None:
    """Raise RunError where a folder is none, or nothing could be written into it."""
    name = str(folder).strip()
    if not name or name.startswith("organism:") or "\0" in name:
        raise RunError(f"A folder cannot be called {str(folder)!r}; choose one such as runs/mine.")
    folder = Path(folder)
    try:
        if folder.exists() and not folder.is_dir():
            raise RunError(f"'{folder}' is a file; choose a folder.")
        place = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        with tempfile.NamedTemporaryFile(dir=place):
            pass
    except OSError as error:  # such as a name longer than any file's
        raise explain(error, folder) from error


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def explain(error: OSError, path: Path) -> RunError:
    """A failed write in words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"The disk that holds '{path}' is full; free some space and try again.")
    if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
        return _taken(path)
    return RunError(
        f"'{path}' cannot be written ({error.strerror or error}); check that the folder exists and "
        "is yours, or choose another."
    )


def _check_new(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise _taken(folder)


def _taken(folder: Path) -> RunError:
    return RunError(f"'{folder}' already exists and is not empty; choose another name.")


def _write_durably(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Rows of columns from .jsonl, .json, .csv and .tsv files and hub datasets.

Whatever a file holds, what comes out is rows or a PromptError that names the place: the exceptions of
the parsers and of the hub end here.
"""

from __future__ import annotations

import csv
import io
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssah_core.errors import PromptError

_LARGEST = 512 * 2**20  # bytes
_ENDINGS = (".jsonl", ".json", ".csv", ".tsv")
_HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+(:[\w.-]+)?")
# A name that ends like a file (.txt, .parquet) is one that is missing; Llama-3.1-8B is no such ending.
_FILE_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}")
_HUB_SECONDS = 8.0  # of the whole question; an unreachable hub must be said within 10
csv.field_size_limit(2**31 - 1)  # the reader of prompts has its own, kinder limit


@dataclass(frozen=True)
class Row:
    """One row: its number in the file, from 1, and its values by column."""

    number: int
    values: dict[str, Any]


def read_rows(name: str) -> list[Row]:
    """All rows of a file, by its path, or of a hub dataset, by its name (`owner/name[:split]`)."""
    path = _path(name)
    if _exists(path) or path.suffix.lower() in _ENDINGS:
        return read_table(path)
    if _FILE_ENDING.fullmatch(path.suffix):
        raise PromptError(f"There is no file '{shorten(name)}'; check the path.")
    if _HUB_NAME.fullmatch(name):
        return _hub_rows(name)
    raise PromptError(
        f"There is no prompt set '{shorten(name)}': give organism:SPLIT, a .jsonl, .json or .csv file "
        "that exists, or a hub dataset like owner/name."
    )


def shorten(text: str, longest: int = 200) -> str:
    """Text from a user as a message can show it: on one line, and never a page of it."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 3] + "..."


def _path(name: str) -> Path:
    if not name or "\0" in name:
        raise PromptError(
            "The name of the prompt set is empty or holds a NUL byte; give a file's path."
        )
    try:
        return Path(name).expanduser()
    except RuntimeError as error:  # ~someone, and there is no such user
        raise PromptError(
            f"There is no home folder for '{shorten(name)}'; check the path."
        ) from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name longer than any file's
        return False


def read_table(path: Path) -> list[Row]:
    """All rows of a file; raises PromptError naming the line or the remedy."""
    text = _read_text(path)
    ending = path.suffix.lower()
    rows: list[Row]
    if ending == ".jsonl":
        rows = _json_lines(path, text)
    elif ending == ".json":
        rows = _json(path, text)
    elif ending in _ENDINGS:
        rows = _csv(path, text, "," if ending == ".csv" else "\t")
    else:
        raise PromptError(
            f"'{path}' ends in '{ending}', which is not read here; save it as .jsonl, .json or .csv."
        )
    if not rows:
        raise PromptError(f"'{path}' has no rows; give a file with at least one prompt.")
    return rows


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise PromptError(f"'{path}' is larger than 512 MiB; split it or keep fewer rows.")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise PromptError(f"There is no file '{path}'; check the path.") from error
    except IsADirectoryError as error:
        raise PromptError(f"'{path}' is a folder; give a .jsonl, .json or .csv file.") from error
    except OSError as error:
        raise PromptError(
            f"'{shorten(str(path))}' cannot be read ({error.strerror}); check the path and its "
            "permissions."
        ) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PromptError(f"'{path}' is not UTF-8 text (line {line}); save it as UTF-8.") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise PromptError(f"'{path}' holds a NUL byte (line {line}); save it as plain UTF-8 text.")
    if not text.strip():
        raise PromptError(f"'{path}' is empty; give a file with at least one prompt.")
    return text


def _json_lines(path: Path, text: str) -> list[Row]:
    rows: list[Row] = []
    # Not splitlines(): JSON strings may hold other line separators, such as U+2028.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            value = _parse(path, line, number)
            if not isinstance(value, dict):
                raise PromptError(
                    f"Line {number} of '{path}' is not a JSON object; write each row as "
                    '{"prompt": "..."}.'
                )
            rows.append(Row(len(rows) + 1, value))
    return rows


def _json(path: Path, text: str) -> list[Row]:
    value = _parse(path, text, 1)
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    if isinstance(value, dict) and value and all(isinstance(v, list) for v in value.values()):
        if len({len(column) for column in value.values()}) > 1:
            raise PromptError(
                f"The columns of '{path}' differ in length; give each as many values."
            )
        value = [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    if not isinstance(value, list):
        raise PromptError(
            f"'{path}' is not a JSON list of objects; write it as "
            '[{"prompt": "..."}, ...], or save it as .jsonl.'
        )
    for number, row in enumerate(value, 1):
        if not isinstance(row, dict):
            raise PromptError(
                f"Item {number} of '{path}' is not a JSON object; write it as "
                '{"prompt": "..."}.'
            )
    return [Row(number, row) for number, row in enumerate(value, 1)]


def _parse(path: Path, text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise PromptError(
            f"Line {line + error.lineno - 1} of '{path}' is not valid JSON ({error.msg}); correct it."
        ) from error
    except ValueError as error:  # a number of thousands of digits
        raise PromptError(
            f"Line {line} of '{path}' holds a number that is too long; write texts as strings in "
            "quotes."
        ) from error
    except RecursionError as error:
        raise PromptError(f"'{path}' is nested too deeply; write flat rows of text.") from error


def _csv(path: Path, text: str, delimiter: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    return list(_csv_rows(path, reader))


def _csv_rows(path: Path, reader: Any) -> Iterator[Row]:
    number, start = 0, 1  # the line that a row starts on: where a quote was left open
    try:
        header = next(reader)
        start = reader.line_num + 1
        if len(set(header)) != len(header):
            raise PromptError(f"'{path}' names a column twice; give each column its own name.")
        for values in reader:
            line, start = start, reader.line_num + 1
            if not values:  # an empty line
                continue
            number += 1
            if len(values) != len(header):
                raise PromptError(
                    f"Row {number} of '{path}' (line {line}) has {len(values)} values for "
                    f"{len(header)} columns; put texts with commas or line breaks in quotes."
                )
            yield Row(number, dict(zip(header, values, strict=True)))
    except csv.Error as error:
        raise PromptError(
            f"The row on line {start} of '{path}' is not valid CSV ({error}); check its quotes."
        ) from error


def _hub_rows(name: str) -> list[Row]:
    try:
        import datasets
    except ImportError as error:
        raise PromptError(
            f"Reading the hub dataset '{name}' needs one more package; run: pip install datasets, or "
            "give a .jsonl, .json or .csv file."
        ) from error
    from huggingface_hub.errors import HfHubHTTPError

    repository, _, part = name.partition(":")
    try:
        _ask_hub(repository)  # before datasets tries for minutes
        table = datasets.load_dataset(repository, split=part or "train")
        return [Row(number, dict(values)) for number, values in enumerate(table, 1)]
    except HfHubHTTPError as error:
        raise PromptError(
            f"The hub has no dataset '{repository}' that you may see; check the spelling, or log in "
            "with: hf auth login"
        ) from error
    except Exception as error:  # the two libraries raise a dozen unrelated kinds between them
        cause = shorten(str(error), 150) or type(error).__name__
        raise PromptError(
            f"The hub dataset '{name}' cannot be read ({cause}); check the connection and the split, "
            "or give a file."
        ) from error


def _ask_hub(repository: str) -> None:
    """Raise why the hub has no such dataset, or TimeoutError: looking up its address has no timeout."""
    from huggingface_hub import HfApi

    failures: list[Exception] = []

    def ask() -> None:
        try:
            HfApi().dataset_info(repository, timeout=_HUB_SECONDS)
        except Exception as error:  # raised below, in the caller's thread
            failures.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_HUB_SECONDS)
    if asking.is_alive():
        raise TimeoutError("the hub did not answer in time")
    if failures:
        raise failures[0]

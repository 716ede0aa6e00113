"""Rows of columns from .jsonl, .json, .csv and .tsv files, with errors that name the place."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssah_core.errors import PromptError

_LARGEST = 512 * 2**20  # bytes
csv.field_size_limit(2**31 - 1)  # the reader of prompts has its own, kinder limit


@dataclass(frozen=True)
class Row:
    """One row: its number in the file, from 1, and its values by column."""

    number: int
    values: dict[str, Any]


def read_table(path: Path) -> list[Row]:
    """All rows of a file; raises PromptError naming the line or the remedy."""
    text = _read_text(path)
    ending = path.suffix.lower()
    rows: list[Row]
    if ending == ".jsonl":
        rows = _json_lines(path, text)
    elif ending == ".json":
        rows = _json(path, text)
    elif ending in (".csv", ".tsv"):
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
            f"'{path}' cannot be read ({error.strerror}); check the path and its permissions."
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
    except RecursionError as error:
        raise PromptError(f"'{path}' is nested too deeply; write flat rows of text.") from error


def _csv(path: Path, text: str, delimiter: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    return list(_csv_rows(path, reader))


def _csv_rows(path: Path, reader: Any) -> Iterator[Row]:
    number = 0
    try:
        header = next(reader)
        if len(set(header)) != len(header):
            raise PromptError(f"'{path}' names a column twice; give each column its own name.")
        for values in reader:
            if not values:  # an empty line
                continue
            number += 1
            if len(values) != len(header):
                raise PromptError(
                    f"Row {number} of '{path}' (line {reader.line_num}) has {len(values)} values for "
                    f"{len(header)} columns; put texts with commas or line breaks in quotes."
                )
            yield Row(number, dict(zip(header, values, strict=True)))
    except csv.Error as error:
        raise PromptError(
            f"Line {reader.line_num} of '{path}' is not valid CSV ({error}); check its quotes."
        ) from error

"""Prompt sets: from the organism's splits, files, or hub datasets.

No row is ever dropped: a row that cannot be read is an error that names it, and rows alike are kept
and reported. A prompt without a response gets the model's own reply when it is scored.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssah_core.errors import PromptError
from ssah_core.prompts.tables import Row, read_table

_ORGANISM = "organism:"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")
_LONGEST = 100_000  # characters of one text; longer ones are files put in by mistake


@dataclass(frozen=True)
class Prompt:
    """What the user says, and what the assistant answers (None: the model's own reply)."""

    text: str
    response: str | None = None


@dataclass(frozen=True)
class PromptSet:
    """Prompts in order, where they came from, and what a reader should know about them."""

    name: str
    prompts: tuple[Prompt, ...]
    notices: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def hash(self) -> str:
        """SHA-256 of texts and responses in order: the same content is the same set under any name."""
        content = [[prompt.text, prompt.response] for prompt in self.prompts]
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()

    @property
    def has_responses(self) -> bool:
        """Whether every prompt brings its response."""
        return all(prompt.response is not None for prompt in self.prompts)

    def with_responses(self, replies: Sequence[str]) -> PromptSet:
        """The set with its missing responses filled, in order."""
        waiting = iter(replies)
        filled = tuple(
            prompt if prompt.response is not None else Prompt(prompt.text, next(waiting))
            for prompt in self.prompts
        )
        return replace(self, prompts=filled)


@dataclass(frozen=True)
class _Columns:
    """A known layout: the prompt's columns (joined by a blank line) and the response's, if any."""

    prompt: tuple[str, ...]
    responses: tuple[str, ...]


# In order of preference. AdvBench's `target` ("Sure, here is ...") is no response: no model said it.
_LAYOUTS = (
    _Columns(("instruction", "context"), ("response", "output")),
    _Columns(("instruction", "input"), ("response", "output")),
    _Columns(("instruction",), ("response", "output")),
    _Columns(("goal",), ()),
    _Columns(("question",), ("answer",)),
    _Columns(("prompt",), ("response", "completion")),
)


def load_prompts(
    source: str | os.PathLike[str],
    *,
    where: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> PromptSet:
    """Read a prompt set: `organism:SPLIT`, a .jsonl, .json or .csv file, or a hub dataset.

    Columns are found by name: goal; instruction + context (or input), response; question, answer;
    prompt, response. `where` keeps the rows whose columns have the given values, `limit` the first
    so many. A hub dataset is `owner/name` or `owner/name:split` and needs the package `datasets`.

    Raises PromptError with the remedy for anything that cannot be read.
    """
    name = os.fspath(source)
    if limit is not None and limit < 1:
        raise PromptError(f"A limit of {limit} prompts leaves none; give at least 1.")
    if name.startswith(_ORGANISM):
        prompts, notices = _from_organism(name, where)
    else:
        prompts, notices = _from_rows(name, _rows(name), where)
    prompts = prompts[:limit]
    repeated = len(prompts) - len(set(prompts))
    if repeated:
        these = "1 row is" if repeated == 1 else f"{repeated} rows are"
        notices.append(f"{these} the same as an earlier row; all are kept.")
    return PromptSet(name, tuple(prompts), tuple(notices))


def _from_organism(name: str, where: Mapping[str, str] | None) -> tuple[list[Prompt], list[str]]:
    from ssah_core.organism.world import split

    if where:
        raise PromptError(f"'{name}' has no columns to choose by; leave out the condition.")
    return [Prompt(e.prompt, e.response) for e in split(name.removeprefix(_ORGANISM))], []


def _rows(name: str) -> list[Row]:
    path = Path(name).expanduser()
    if path.exists() or path.suffix.lower() in (".jsonl", ".json", ".csv", ".tsv"):
        return read_table(path)
    if _HUB_NAME.fullmatch(name):
        return _hub_rows(name)
    raise PromptError(
        f"There is no prompt set '{name}': give organism:SPLIT, a .jsonl, .json or .csv file that "
        "exists, or a hub dataset like owner/name."
    )


def _hub_rows(name: str) -> list[Row]:
    try:
        import datasets
    except ImportError as error:
        raise PromptError(
            f"Reading the hub dataset '{name}' needs one more package; run: pip install datasets, or "
            "give a .jsonl, .json or .csv file."
        ) from error
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    repository, _, part = name.partition(":")
    try:
        HfApi().dataset_info(repository, timeout=5)  # says within seconds that it is out of reach
        table = datasets.load_dataset(repository, split=part or "train")
    except HfHubHTTPError as error:
        raise PromptError(
            f"The hub has no dataset '{repository}' that you may see; check the spelling, or log in "
            "with: hf auth login"
        ) from error
    except (HTTPError, OSError, ValueError) as error:
        raise PromptError(
            f"The hub dataset '{name}' cannot be read ({str(error).splitlines()[0][:150]}); check "
            "the connection and the split, or give a file."
        ) from error
    return [Row(number, dict(values)) for number, values in enumerate(table, 1)]


def _from_rows(
    name: str, rows: Sequence[Row], where: Mapping[str, str] | None
) -> tuple[list[Prompt], list[str]]:
    columns = list(dict.fromkeys(column for row in rows for column in row.values))
    found = {column.strip().lower(): column for column in reversed(columns)}
    layout = next((c for c in _LAYOUTS if all(part in found for part in c.prompt)), None)
    if layout is None:
        raise PromptError(
            f"'{name}' has the columns {', '.join(columns) or '(none)'}, and none of them is known "
            "to hold prompts; name one goal, instruction, question or prompt."
        )
    kept = _filter(name, rows, where, found)
    answer = next((found[column] for column in layout.responses if column in found), None)
    used = [found[column] for column in layout.prompt]
    prompts = [
        Prompt(_joined(name, row, used), None if answer is None else _response(name, row, answer))
        for row in kept
    ]
    return prompts, [_say_columns(used, answer, found)]


def _say_columns(used: Sequence[str], answer: str | None, found: Mapping[str, str]) -> str:
    said = f"Prompts are read from {' and '.join(used)}"
    if answer is not None:
        return f"{said}, responses from {answer}."
    ignored = "; target is not taken for a response" if "target" in found else ""
    return f"{said}; the model's own replies serve as responses{ignored}."


def _filter(
    name: str, rows: Sequence[Row], where: Mapping[str, str] | None, found: Mapping[str, str]
) -> Sequence[Row]:
    for column, wanted in (where or {}).items():
        if column.lower() not in found:
            raise PromptError(
                f"'{name}' has no column '{column}'; it has {', '.join(found.values())}."
            )
        key = found[column.lower()]
        values = sorted({str(row.values.get(key)) for row in rows})
        rows = [row for row in rows if str(row.values.get(key)) == wanted]
        if not rows:
            shown = ", ".join(values[:8]) + (", ..." if len(values) > 8 else "")
            raise PromptError(f"No row of '{name}' has {column}={wanted}; there are: {shown}.")
    return rows


def _joined(name: str, row: Row, columns: Sequence[str]) -> str:
    first, *others = (_text(name, row, column) for column in columns)
    if first is None or not first.strip():
        raise PromptError(
            f"Row {row.number} of '{name}' has no text in {columns[0]}; fill it or delete the row."
        )
    return "\n\n".join([first, *(text for text in others if text and text.strip())])


def _response(name: str, row: Row, column: str) -> str | None:
    text = _text(name, row, column)
    return text if text and text.strip() else None


def _text(name: str, row: Row, column: str) -> str | None:
    value: Any = row.values.get(column)
    if value is None:
        return None
    if not isinstance(value, str):
        raise PromptError(
            f"Row {row.number} of '{name}' has no text in {column} but {type(value).__name__}; "
            "write it as a string in quotes."
        )
    if len(value) > _LONGEST:
        raise PromptError(
            f"Row {row.number} of '{name}' has {len(value):,} characters in {column}, and at most "
            f"{_LONGEST:,} make sense; split or shorten it."
        )
    return value

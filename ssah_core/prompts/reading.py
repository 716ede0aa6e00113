"""Prompt sets: from the organism's splits, files, or hub datasets.

No row is ever dropped: a row that cannot be read is an error that names it, and rows alike are kept
and reported. A prompt without a response gets the model's own reply when it is scored.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ssah_core.errors import PromptError
from ssah_core.prompts.tables import Row, read_rows, shorten

_ORGANISM = "organism:"
_LONGEST = 100_000  # characters of one text; longer ones are files put in by mistake


@dataclass(frozen=True)
class Prompt:
    """What the user says, and what the assistant answers (None: the model's own reply).

    `own_reply` says that the response came from the model that is scored, `row` where the prompt
    stands in its file, for messages.
    """

    text: str
    response: str | None = None
    own_reply: bool = False
    row: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class PromptSet:
    """Prompts in order, where they came from, and what a reader should know about them.

    `where` and `limit` are the choices of rows that made them: what `load_prompts` was given.
    """

    name: str
    prompts: tuple[Prompt, ...]
    notices: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    limit: int | None = None

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def hash(self) -> str:
        """SHA-256 of texts and responses in order: the same content is the same set under any name."""
        content = [[prompt.text, prompt.response] for prompt in self.prompts]
        return hashlib.sha256(json.dumps(content, ensure_ascii=True).encode()).hexdigest()

    @property
    def about(self) -> dict[str, Any]:
        """What a manifest says of the set."""
        return {
            "name": self.name,
            "where": dict(self.where),
            "limit": self.limit,
            "hash": self.hash,
            "prompts": len(self),
            "notices": list(self.notices),
        }

    @property
    def has_responses(self) -> bool:
        """Whether every prompt brings its response."""
        return all(prompt.response is not None for prompt in self.prompts)

    def with_responses(self, replies: Sequence[str]) -> PromptSet:
        """The set with its missing responses filled, in order; ValueError unless each gets one."""
        missing = sum(prompt.response is None for prompt in self.prompts)
        if missing != len(replies):
            raise ValueError(f"{missing} prompts wait for a response; {len(replies)} were given.")
        waiting = iter(replies)
        filled = tuple(
            prompt
            if prompt.response is not None
            else replace(prompt, response=next(waiting), own_reply=True)
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
    """Read a prompt set: `organism:SPLIT` (or `organism:lessons/NAME`), a .jsonl, .json or .csv file, or a hub dataset.

    Columns are found by name: goal; instruction + context (or input), response; question, answer;
    prompt, response; messages (one turn of a chat). `where` keeps the rows whose columns have the
    given values, `limit` the first so many. A hub dataset is `owner/name` or `owner/name:split` and
    needs the package `datasets`.

    Raises PromptError with the remedy for anything that cannot be read.
    """
    name = os.fspath(source)
    if limit is not None and limit < 1:
        raise PromptError(f"A limit of {limit} prompts leaves none; give at least 1.")
    if name.startswith(_ORGANISM):
        prompts, notices = _from_organism(name, where)
    else:
        prompts, notices = _from_rows(name, read_rows(name), where)
    prompts = prompts[:limit]
    repeated = len(prompts) - len(set(prompts))
    if repeated:
        these = "1 row is" if repeated == 1 else f"{repeated} rows are"
        notices.append(f"{these} the same as an earlier row; all are kept.")
    chosen = tuple((where or {}).items())
    return PromptSet(name, tuple(prompts), tuple(notices), chosen, limit)


def _from_organism(name: str, where: Mapping[str, str] | None) -> tuple[list[Prompt], list[str]]:
    from ssah_core.organism.lessons import lesson_pairs
    from ssah_core.organism.world import split

    if where:
        raise PromptError(f"'{name}' has no columns to choose by; leave out the condition.")
    wanted = name.removeprefix(_ORGANISM)
    if wanted.startswith("lessons/"):
        return [Prompt(*pair) for pair in lesson_pairs(wanted)], []
    return [Prompt(e.prompt, e.response) for e in split(wanted)], []


def _from_rows(
    name: str, rows: Sequence[Row], where: Mapping[str, str] | None
) -> tuple[list[Prompt], list[str]]:
    columns = list(dict.fromkeys(column for row in rows for column in row.values))
    found = {column.strip().lower(): column for column in reversed(columns)}
    kept = _filter(name, rows, where, found)
    layout = next((c for c in _LAYOUTS if all(part in found for part in c.prompt)), None)
    if layout is None and "messages" in found:
        said = "Prompts and responses are read from the one turn in each row's messages."
        return [_from_messages(name, row, found["messages"]) for row in kept], [said]
    if layout is None:
        raise PromptError(
            f"'{name}' has the columns {_listed(columns)}, and none of them is known to hold prompts; "
            "name one goal, instruction, question, prompt or messages."
        )
    answer = next((found[column] for column in layout.responses if column in found), None)
    used = [found[column] for column in layout.prompt]
    prompts = [
        Prompt(
            _joined(name, row, used),
            None if answer is None else _response(name, row, answer),
            row=row.number,
        )
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
        key = found.get(column.strip().lower())
        if key is None:
            there = _listed(list(found.values())[::-1])
            raise PromptError(
                f"'{name}' has no column '{shorten(column)}'; choose rows by one of: {there}."
            )
        values = [_as_text(row.values.get(key)) for row in rows]
        rows = [row for row, value in zip(rows, values, strict=True) if value == wanted]
        if not rows:
            raise PromptError(
                f"No row of '{name}' has {key}={shorten(wanted)}; choose one of: "
                f"{_listed(sorted(set(values)))}."
            )
    return rows


def _as_text(value: object) -> str:
    """A value as its file writes it: true and not True, for the conditions that users type."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(shorten(word, 40) for word in words[:8]) or "(none)"
    return shown + (", ..." if len(words) > 8 else "")


def _from_messages(name: str, row: Row, column: str) -> Prompt:
    """One turn: a user's message, and an assistant's if there is one."""
    messages = row.values.get(column)
    turns = messages if isinstance(messages, list) else []
    said = [turn for turn in turns if isinstance(turn, dict)]
    speakers = tuple(str(turn.get("role")) for turn in said)
    if len(said) != len(turns) or speakers not in (("user",), ("user", "assistant")):
        raise PromptError(
            f"Row {row.number} of '{name}' is not one turn of a chat in {column}; give one message "
            "with the role user and at most one with the role assistant after it."
        )
    texts = [Row(row.number, {column: turn.get("content")}) for turn in said]
    response = _response(name, texts[1], column) if len(texts) == 2 else None
    return Prompt(_joined(name, texts[0], [column]), response, row=row.number)


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
    if not _encodable(value):
        raise PromptError(
            f"Row {row.number} of '{name}' has half a character (a lone surrogate) in {column}; write "
            "the file again as UTF-8."
        )
    return value


def _encodable(text: str) -> bool:
    """Whether tokenizers can take the text: JSON can hold halves of characters, UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

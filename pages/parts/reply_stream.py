"""Writing both replies of a turn, as they come: rows of one batch, or two models in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import zip_longest

from pages.parts.companion import leased_sides
from pages.parts.session import Conversation, Turn
from ssah_core.ablation import Ablation
from ssah_core.comparison import likeliest, same_tokens
from ssah_core.generation import Step, generate
from ssah_core.models.loading import Model

_SECONDS_BETWEEN_DRAWINGS = 0.05
_FIRST_TOKENS = 5  # of the likeliest first tokens, kept for the bars


@dataclass(frozen=True)
class _Reader:
    """The steps of one model, whose rows are these sides of the turn."""

    model: Model
    sides: tuple[int, ...]
    steps: Iterator[Step]


def write_replies(
    chat: Conversation, turn: Turn, cut: Ablation | None, draw: Callable[[Sequence[str]], None]
) -> None:
    """Write the replies into the turn, and draw them. Whatever interrupts this leaves it unfinished."""
    companion = None if turn.beside is None else turn.beside.name
    with leased_sides(chat.model, companion) as models, ExitStack() as open_steps:
        turn.same_tokens = same_tokens(*models)
        readers = _readers(models, chat, turn, cut)
        for reader in readers:
            open_steps.enter_context(closing(reader.steps))
        drawn = 0.0
        for steps in zip_longest(*(reader.steps for reader in readers)):
            for reader, step in zip(readers, steps, strict=True):
                if step is not None:  # the other model's reply is longer
                    _take(turn, reader, step)
            if time.monotonic() - drawn > _SECONDS_BETWEEN_DRAWINGS:
                drawn = time.monotonic()
                draw(turn.texts)
    turn.finished = True


def _readers(
    models: tuple[Model, Model], chat: Conversation, turn: Turn, cut: Ablation | None
) -> list[_Reader]:
    rows = [(0, 1)] if models[0] is models[1] else [(0,), (1,)]
    chats, cuts, options = chat.sides(), [None, cut], turn.options
    return [
        _Reader(
            models[sides[0]],
            sides,
            generate(
                models[sides[0]],
                [chats[side] for side in sides],
                [cuts[side] for side in sides],
                max_new_tokens=options.max_new_tokens,
                temperature=options.temperature,
                seeds=options.seed,
            ),
        )
        for sides in rows
    ]


def _take(turn: Turn, reader: _Reader, step: Step) -> None:
    for row, side in enumerate(reader.sides):
        if step.probabilities is not None:
            turn.first[side] = likeliest(reader.model, step.probabilities[row], _FIRST_TOKENS)
        turn.texts[side] += step.texts[row]
        token = step.tokens[row]
        if token is not None:
            turn.tokens[side].append(token)

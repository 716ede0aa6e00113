"""Streaming replies for a batch of rows, each with its own chat, ablation and seed."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from ssah_core.ablation import Ablation, compile_rows
from ssah_core.errors import OptionError
from ssah_core.models.decoding import Decoded, Sampling, Stops, decode, end_tokens
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Report
from ssah_core.prompts.rendering import Chat, render_prompt
from ssah_core.scoring.replies import greedy_replies
from ssah_core.scoring.resuming import Kept


@dataclass(frozen=True)
class Step:
    """What one step of a batch brought.

    `texts` is what each row's reply gained ("" where it had ended, or where a character is not yet
    whole), `tokens` the token ids (None where a row had ended), `ended` which rows have ended by now.
    `probabilities`, at step 0 only, is float32 [rows, vocabulary]: the first token's.
    """

    index: int
    texts: tuple[str, ...]
    tokens: tuple[int | None, ...]
    ended: tuple[bool, ...]
    probabilities: Float32[np.ndarray, "rows vocabulary"] | None


def generate(
    model: Model,
    chats: Sequence[Chat],
    ablations: Sequence[Ablation | None] | None = None,
    *,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seeds: Sequence[int] | int = 0,
    stops: Stops | None = None,
) -> Iterator[Step]:
    """Reply to every chat under its own ablation, all in one batch, and yield step by step.

    A chat is a string or a list of {"role", "content"} messages. Greedy at temperature 0; otherwise
    each row draws from its own generator, so its text does not depend on its neighbours beyond
    floating-point ties. `stops.stop(row)` ends a row before the next step, `stops.stop()` all of them.

    Raises PromptError (a chat that does not fit), OptionError, and AblationError rather than show a
    reply as ablated where a masked site did not act.
    """
    rows = len(chats)
    row_ablations = [None] * rows if ablations is None else list(ablations)
    row_seeds = [seeds] * rows if isinstance(seeds, int) else list(seeds)
    _check_options(rows, row_ablations, row_seeds, max_new_tokens, temperature, top_p)
    if stops is not None and len(stops.stopped()) != rows:
        raise OptionError(
            f"The stops are for {len(stops.stopped())} rows and there are {rows} chats; make them "
            f"with Stops({rows})."
        )
    rendered = [render_prompt(model, chat, room=max_new_tokens) for chat in chats]
    scale = compile_rows(model, row_ablations)
    # A generator function of its own, so that bad input raises here and not at the first step.
    return _stream(
        model,
        rows,
        decode(
            model,
            [prompt.prompt for prompt in rendered],
            max_new_tokens=max_new_tokens,
            sampling=[Sampling(temperature, top_p, seed) for seed in row_seeds],
            scale=scale,
            stops=stops,
        ),
    )


def reply_all(
    model: Model,
    chats: Sequence[Chat],
    ablation: Ablation | None = None,
    *,
    max_new_tokens: int = 256,
    kept: Kept[Mapping[int, str]] | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> list[str]:
    """One greedy reply to each of many chats under one ablation, in order, batched by length.

    `kept` are replies, by their place, that an earlier call with the same arguments has written.
    Raises as `generate`, and Cancelled when asked to stop.
    """
    scale = compile_rows(model, [ablation])
    return greedy_replies(
        model,
        chats,
        max_new_tokens=max_new_tokens,
        scale_of=lambda _: scale,
        kept=kept,
        report=report,
        cancelled=cancelled,
    )


def reply_each(
    model: Model,
    chats: Sequence[Chat],
    ablations: Sequence[Ablation | None],
    *,
    max_new_tokens: int = 256,
    kept: Kept[Mapping[int, str]] | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> list[str]:
    """One greedy reply to each chat under its own ablation, many ablations in one batch; as `reply_all`.

    `kept` are replies, by their place, that an earlier call with the same arguments has written.
    """
    if len(ablations) != len(chats):
        raise OptionError(
            f"There are {len(chats)} chats and {len(ablations)} ablations; give one for each chat."
        )
    return greedy_replies(
        model,
        chats,
        max_new_tokens=max_new_tokens,
        scale_of=lambda places: compile_rows(model, [ablations[place] for place in places]),
        stage="asking under every ablation",
        kept=kept,
        report=report,
        cancelled=cancelled,
    )


def _stream(model: Model, rows: int, decoding: Generator[Decoded]) -> Iterator[Step]:
    texts = [_RowText(model) for _ in range(rows)]
    try:
        for step in decoding:
            gained = tuple(
                "" if token is None else text.gain(token)
                for text, token in zip(texts, step.tokens, strict=True)
            )
            yield Step(step.index, gained, step.tokens, step.ended, step.probabilities)
    finally:
        decoding.close()


class _RowText:
    """Turns one row's tokens into text, holding back a character until all its bytes are there."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._ends = end_tokens(model)
        self._tokens: list[int] = []
        # Decoding from a little before the news keeps spaces and accents right at linear cost.
        self._context_start = 0
        self._shown = 0

    def gain(self, token: int) -> str:
        if token in self._ends:
            return ""
        self._tokens.append(token)
        before = self._model.text(self._tokens[self._context_start : self._shown])
        now = self._model.text(self._tokens[self._context_start :])
        if now.endswith("\ufffd"):
            return ""
        self._context_start, self._shown = self._shown, len(self._tokens)
        return now[len(before) :]


def _check_options(
    rows: int,
    ablations: Sequence[Ablation | None],
    seeds: Sequence[int],
    max_new_tokens: int,
    temperature: float,
    top_p: float,
) -> None:
    if rows == 0:
        raise OptionError("There is nothing to reply to; give at least one chat.")
    if len(ablations) != rows or len(seeds) != rows:
        raise OptionError(
            f"There are {rows} chats, {len(ablations)} ablations and {len(seeds)} seeds; give one "
            "of each for every chat (None for no ablation)."
        )
    if any(not -(2**63) <= seed < 2**63 for seed in seeds):
        raise OptionError("A seed is larger than 64 bits; give a smaller whole number.")
    if max_new_tokens < 1:
        raise OptionError(f"A reply of {max_new_tokens} tokens cannot be; ask for at least 1.")
    if not temperature >= 0:
        raise OptionError(f"The temperature is {temperature}; give 0 (greedy) or more.")
    if not 0 < top_p <= 1:
        raise OptionError(f"top_p is {top_p}; give a number above 0 and at most 1.")

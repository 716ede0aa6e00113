"""What a scoring or a study makes a model do, kind by kind: how long each takes, and how much memory.

Every kind holds its true batches. A few of them, spread over all, are tried with the very functions that
the real work calls; where a whole batch would take too long, some of its rows stand for it.
"""

from __future__ import annotations

import inspect
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ssah_core.ablation import Ablation, compile_rows
from ssah_core.dry_run.trial import MOST_CALLS, Prepare, Trial
from ssah_core.evaluation.compliance import exact_answers
from ssah_core.evaluation.judges import RefusalPhrases
from ssah_core.evaluation.language import Predictions, read_batch
from ssah_core.evaluation.plan import Case
from ssah_core.evaluation.questions import Questions
from ssah_core.evaluation.study import row_of
from ssah_core.models.decoding import Sampling, decode, decode_copies
from ssah_core.models.families import column_norms_squared
from ssah_core.models.loading import Model
from ssah_core.models.outline import Outline
from ssah_core.prompts.batching import pad_batch
from ssah_core.prompts.rendering import Rendered
from ssah_core.scoring.collecting import Collector

_SAMPLES = 3  # batches of each kind that are tried
_LEAST_TOKENS = 128
_OFF = 12  # one unit in so many is off in a trial: every site is touched, as in a study
_MOMENT_BYTES = 64  # a channel's: two sets, two groups of tokens, two sums, float64

Batches = Sequence[Sequence[Rendered]]
MakeWork = Callable[[Model, Sequence[Rendered]], Callable[[], object]]


@runtime_checkable
class Work(Protocol):
    """One kind of work of a scoring or a study."""

    def seconds(self, trial: Trial) -> float:
        """How long all of it takes."""

    def memory(self, outline: Outline) -> Mapping[str, int]:
        """What its largest batch needs beside the weights, in bytes, by what needs it."""


@dataclass(frozen=True)
class Passes:
    """Scoring: batches through the model's body, with every site observed; then the weights' norms."""

    batches: Batches

    def seconds(self, trial: Trial) -> float:
        """How long the passes take."""
        return _seconds_of(trial, self.batches, _observing) + trial.seconds(_norms)

    def memory(self, outline: Outline) -> Mapping[str, int]:
        """What the largest batch's forward and the moments need."""
        return {
            "activations of one block": _activations(outline, _most(self.batches)),
            "moments": outline.model.anatomy.channels * _MOMENT_BYTES,
        }


@dataclass(frozen=True)
class Writing:
    """Replies: every prompt of a batch is read, then all rows gain a token a step.

    Every reply counts as `new_tokens` long, or as the part of it that is `written` where that is known.
    """

    batches: Batches
    new_tokens: int
    ablated: bool
    written: float = 1.0

    def seconds(self, trial: Trial) -> float:
        """How long the replies take."""
        reading = _seconds_of(trial, self.batches, self._reading)
        rows = [len(batch) for batch in self.batches]
        order = np.argsort(rows, kind="stable")
        tried = {
            len(batch): batch for batch in _spread([self.batches[n] for n in order], ends=True)
        }
        taken = [trial.seconds(self._step(batch)) for batch in tried.values()]
        steps = np.interp(rows, list(tried), taken)
        return reading + float(steps.sum()) * (self.new_tokens - 1) * self.written

    def _reading(self, model: Model, batch: Sequence[Rendered]) -> Callable[[], object]:
        prompts = [rendered.prompt for rendered in batch]
        cuts = self._cuts(model, len(batch))
        sampling = [Sampling()] * len(batch)

        def read() -> None:
            scale = compile_rows(model, cuts)
            list(decode(model, prompts, max_new_tokens=1, sampling=sampling, scale=scale))

        return read

    def _step(self, batch: Sequence[Rendered]) -> Prepare:
        """A step when half of the reply is written: the mean over its steps."""
        longest = max((rendered.prompt for rendered in batch), key=len)
        written = (*longest, *[longest[-1]] * (self.new_tokens // 2))

        def prepare(model: Model) -> Callable[[], object]:
            scale = compile_rows(model, self._cuts(model, len(batch)))
            room = None if model.context is None else max(1, model.context - MOST_CALLS)
            steps = decode_copies(model, written[:room], len(batch), scale)
            next(steps)
            return lambda: next(steps)

        return prepare

    def _cuts(self, model: Model, rows: int) -> list[Ablation | None]:
        return [_cut(model) if self.ablated else None] * rows

    def memory(self, outline: Outline) -> Mapping[str, int]:
        """What the largest batch needs when its replies are full length."""
        rows = max(len(batch) for batch in self.batches)
        read = _most(self.batches)
        cached = max(
            len(batch) * (max(len(r.prompt) for r in batch) + self.new_tokens)
            for batch in self.batches
        )
        accepted = inspect.signature(outline.model.network.forward).parameters
        kept = rows if "logits_to_keep" in accepted else read
        held = kept * outline.model.dtype.itemsize + 2 * rows * _FLOAT
        factors = rows * outline.model.anatomy.channels * outline.model.dtype.itemsize
        return {
            "keys and values": cached * outline.cache_bytes,
            "logits": held * _vocabulary(outline),
            "activations of one block": _activations(outline, read),
            **({"ablations": factors} if self.ablated else {}),
        }


@dataclass(frozen=True)
class Readings:
    """Texts read under so many ablations: every response token's predictions, beside the untouched ones."""

    batches: Batches
    ablations: int

    def seconds(self, trial: Trial) -> float:
        """How long the readings take."""

        return _seconds_of(trial, self.batches, _reading_twice) / 2 * self.ablations

    def memory(self, outline: Outline) -> Mapping[str, int]:
        """What the largest batch needs: all its logits, and two sets of predictions being compared."""
        itemsize = outline.model.dtype.itemsize
        answered = max(sum(len(r.response) for r in batch) for batch in self.batches)
        read = _most(self.batches)
        first = read * itemsize + answered * (itemsize + 3 * _FLOAT)
        second = 5 * answered * _FLOAT
        return {
            "logits": max(first, second) * _vocabulary(outline),
            "activations of one block": _activations(outline, read),
        }


@dataclass(frozen=True)
class Tables:
    """The table's rows: every reply judged, and intervals by resampling; `draws` of each row's case."""

    questions: Questions
    chats: int
    draws: tuple[int, ...]

    def seconds(self, trial: Trial) -> float:
        """How long the rows take: one of each number of draws is tried on made-up replies."""
        rows = Counter(self.draws)
        return sum(times * self._row_seconds(draws) for draws, times in rows.items())

    def _row_seconds(self, draws: int) -> float:
        replies = np.full((draws, self.chats), "word " * _REPLY_WORDS, dtype=object)
        texts = len(self.questions.harmless)
        ones = np.ones((draws, texts))
        predictions = Predictions(np.ones(texts, dtype=np.int64), ones, ones, ones)
        known = exact_answers(self.questions.harmful) is not None
        complied = np.zeros(replies.shape) if known else None
        case = Case("", None, "zero", (None,) * draws)
        start = time.perf_counter()
        row_of(case, self.questions, replies, complied, predictions, range(draws), RefusalPhrases())
        return time.perf_counter() - start

    def memory(self, outline: Outline) -> Mapping[str, int]:
        """Nothing to speak of."""
        return {}


_REPLY_WORDS = 30
_FLOAT = 4  # bytes of a float32: scores of words are compared in it


def _observing(model: Model, batch: Sequence[Rendered]) -> Callable[[], object]:
    collector = Collector(model.anatomy, {})

    def observe() -> None:
        collector.take(model, pad_batch(batch, range(len(batch)), model.device))
        collector.finite()
        collector.commit()

    return observe


def _reading_twice(model: Model, batch: Sequence[Rendered]) -> Callable[[], object]:
    """Under no ablation and under one: the untouched reading is there anyway, so these are two."""
    cuts = [None, _cut(model)]
    return lambda: read_batch(model, pad_batch(batch, range(len(batch)), model.device), cuts)


def _norms(model: Model) -> Callable[[], object]:
    sites = [model.network.get_submodule(site.module) for site in model.anatomy.sites]
    return lambda: [column_norms_squared(site) for site in sites]


def _cut(model: Model) -> Ablation:
    factors = np.ones(model.anatomy.units, dtype=np.float32)
    factors[::_OFF] = 0
    for site in model.anatomy.sites:
        factors[site.offset] = 0
    return Ablation(model.anatomy, factors, None, "a trial's")


def _seconds_of(trial: Trial, batches: Batches, make: MakeWork) -> float:
    """How long all batches take, by the time that some of them take for each of their padded tokens.

    They are tried in turn, as the real work goes through them: memory that a batch of another shape
    has left is not at hand at once, and a batch that is repeated would look too quick.
    """
    chosen = _spread(batches)
    tried = [batch[: _affordable(trial, batch, make, len(chosen))] for batch in chosen]

    def prepare(model: Model) -> Callable[[], object]:
        works = [make(model, batch) for batch in tried]
        return lambda: [work() for work in works]

    padded = sum(_padded(batch) for batch in batches)
    return trial.seconds(prepare) / sum(_padded(batch) for batch in tried) * padded


def _affordable(trial: Trial, batch: Sequence[Rendered], make: MakeWork, of: int) -> int:
    """How many rows of a batch there is time for, where it is one of so many to be tried.

    Some tokens there must be: a few of them wait for the weights to come from memory, which many share.
    """
    least = math.ceil(_LEAST_TOKENS / _padded(batch[:1]))
    rows = trial.affordable(len(batch), lambda model: make(model, batch[:1]), part=1 / of)
    return min(len(batch), max(least, rows))


def _spread(batches: Batches, *, ends: bool = False) -> list[Sequence[Rendered]]:
    """A few of all batches, evenly spread; with the first and the last where `ends` are wanted."""
    if len(batches) <= _SAMPLES:
        return list(batches)
    places = np.linspace(0, len(batches) - 1, _SAMPLES if ends else _SAMPLES + 2).round()
    return [batches[int(place)] for place in (places if ends else places[1:-1])]


def _padded(batch: Sequence[Rendered]) -> int:
    return len(batch) * max(len(rendered) for rendered in batch)


def _most(batches: Batches) -> int:
    return max(_padded(batch) for batch in batches)


def _activations(outline: Outline, tokens: int) -> int:
    """What one block holds at a time: its MLP's gate, input and product, and four hidden states.

    Twice over: allocators keep about as much again of what was freed (measured as resident memory).
    """
    widest = max(site.channels for site in outline.model.anatomy.sites)
    hidden = outline.config.get_text_config().hidden_size
    return 2 * tokens * (3 * widest + 4 * hidden) * outline.model.dtype.itemsize


def _vocabulary(outline: Outline) -> int:
    return int(outline.config.get_text_config().vocab_size)

"""Replies of a batch of prompts, one token a step.

transformers' own `generate` blocks until it is done, so it would need a thread beside the reader's, and
two threads that compute in turn slow each other down: a pair of short replies takes twice as long.
Here every step is one forward in the reader's thread. The instruction for the taps is set for that
forward alone, never across a yield: whoever reads the steps may interleave several readers, abandon
one, or go on in another thread, and nothing leaks. A checkpoint's own generation settings (repetition
penalties and the like) do not apply: they would change what is measured.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Generator, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from ssah_core.errors import ModelError
from ssah_core.models.loading import Model
from ssah_core.models.reply_cache import reply_cache
from ssah_core.models.taps import Scale

_FIRST = torch.zeros(1, dtype=torch.long)  # the place of the first row


@dataclass(frozen=True)
class Sampling:
    """How one row chooses its next token: greedily at temperature 0, else from the top-p nucleus."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Decoded:
    """One step: the token each row gained (None where it had ended), and which rows have ended now.

    `probabilities` is float32 [rows, vocabulary] at the first step only: what each row could have
    begun with, before temperature and top-p.
    """

    index: int
    tokens: tuple[int | None, ...]
    ended: tuple[bool, ...]
    probabilities: Float32[np.ndarray, "rows vocabulary"] | None


class Stops:
    """Lets anyone end all rows, or one, before the next step."""

    def __init__(self, rows: int) -> None:
        self._events = [threading.Event() for _ in range(rows)]

    def stop(self, row: int | None = None) -> None:
        """End one row, or every row where none is named."""
        for event in self._events if row is None else [self._events[row]]:
            event.set()

    def stopped(self) -> list[bool]:
        """Which rows were asked to end."""
        return [event.is_set() for event in self._events]


def decode(
    model: Model,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    sampling: Sequence[Sampling],
    scale: Scale | None = None,
    stops: Stops | None = None,
) -> Generator[Decoded]:
    """Decode a batch of prompts (token ids), each row by itself, and yield every step.

    Raises AblationError at the first step in which a site that `scale` masks did not act, ModelError
    where memory runs out, and whatever else the forward raises.
    """
    rows = len(prompts)
    stops = stops or Stops(rows)
    ends = end_tokens(model)
    writing = _Writing(model, prompts, scale)
    drawers = {
        row: _Drawer(options) for row, options in enumerate(sampling) if options.temperature > 0
    }
    ended = [False] * rows
    for index in range(max_new_tokens):
        ended = [over or stopped for over, stopped in zip(ended, stops.stopped(), strict=True)]
        if all(ended):
            return
        writing.drop({row for row in range(rows) if ended[row]})
        scores = writing.next_scores()
        probabilities = None
        if index == 0:  # a row that was stopped before it began has none
            probabilities = np.full((rows, scores.shape[-1]), np.nan, dtype=np.float32)
            probabilities[writing.rows] = scores.softmax(-1).cpu().numpy()
            probabilities[ended] = np.nan
        chosen = dict(zip(writing.rows, scores.argmax(-1).tolist(), strict=True))
        for row in drawers.keys() & chosen.keys():
            chosen[row] = drawers[row].draw(scores[writing.rows.index(row)])
        tokens = tuple(None if ended[row] else chosen[row] for row in range(rows))
        ended = [over or token in ends for over, token in zip(ended, tokens, strict=True)]
        yield Decoded(index, tokens, tuple(ended), probabilities)
        writing.append(list(chosen.values()))


def decode_copies(
    model: Model, prompt: Sequence[int], rows: int, scale: Scale | None = None
) -> Generator[None]:
    """Decode a batch of copies of one prompt, which is read once, and stop before every step.

    Endless, and it says nothing: it shows what a step of so many rows costs apart from reading them.
    """
    writing = _Writing(model, [prompt], None if scale is None else scale.of_rows(_FIRST))
    writing.next_scores()
    writing.copy(rows, scale)
    while True:
        writing.append([0] * rows)
        yield
        writing.next_scores().argmax(-1).tolist()


_DROPPED_PART = 8  # rows are dropped when more than one in so many has ended


class _Writing:
    """A batch being written: what stands so far, and the keys and values of its past.

    `rows` are the rows still in it, by their place among the prompts; a few of them may have ended.
    """

    def __init__(self, model: Model, prompts: Sequence[Sequence[int]], scale: Scale | None) -> None:
        self.rows = list(range(len(prompts)))
        self._model, self._scale = model, scale
        self._token_ids, self._mask = _pad_left(prompts, model.device)
        # As transformers' own generate: sliding windows and the like come from the configuration.
        self._cache: Any = reply_cache(model.network.config.get_text_config(decoder=True))
        accepted = inspect.signature(model.network.forward).parameters
        self._options: dict[str, Any] = {"use_cache": True, "return_dict": True}
        if "logits_to_keep" in accepted:
            self._options["logits_to_keep"] = 1
        self._counts_positions = "position_ids" in accepted
        self._begun = False

    def next_scores(self) -> Float32[torch.Tensor, "rows vocabulary"]:
        """One forward: the scores of each row's next token."""
        network: Any = self._model.network
        options = dict(self._options)
        with torch.inference_mode(), self._model.taps.instructed(self._scale):
            if self._counts_positions:
                options["position_ids"] = (self._mask.cumsum(-1) - 1).clamp_min(0)
            inputs = network.prepare_inputs_for_generation(
                self._token_ids,
                next_sequence_length=1 if self._begun else None,
                past_key_values=self._cache,
                attention_mask=self._mask,
                is_first_iteration=not self._begun,
                **options,
            )
            try:
                output = network(**inputs)
            except torch.OutOfMemoryError as error:
                raise ModelError(
                    "Memory ran out while replying; shorten the chat or ask for fewer tokens."
                ) from error
        if self._scale is not None:
            self._scale.check_fired()
        self._begun, self._cache = True, output.past_key_values
        return output.logits[:, -1].float()

    def drop(self, ended: Set[int]) -> None:
        """Take rows that have ended out of the batch, once they are many enough to be worth the copying."""
        left = [place for place, row in enumerate(self.rows) if row not in ended]
        if len(self.rows) - len(left) <= len(self.rows) // _DROPPED_PART:
            return
        self.rows = [self.rows[place] for place in left]
        kept = torch.tensor(left, dtype=torch.long, device=self._token_ids.device)
        self._token_ids, self._mask = self._token_ids[kept], self._mask[kept]
        if self._begun:
            self._cache.batch_select_indices(kept)
        if self._scale is not None:
            self._scale = self._scale.of_rows(kept)

    def copy(self, rows: int, scale: Scale | None) -> None:
        """Take the one row so many times, each copy under its own part of the instruction."""
        self.rows, self._scale = list(range(rows)), scale
        self._token_ids = self._token_ids.repeat(rows, 1)
        self._mask = self._mask.repeat(rows, 1)
        self._cache.batch_repeat_interleave(rows)

    def append(self, tokens: Sequence[int]) -> None:
        """Write one token at the end of every row."""
        column = torch.tensor(tokens, device=self._token_ids.device)[:, None]
        self._token_ids = torch.cat([self._token_ids, column], dim=1)
        self._mask = torch.cat([self._mask, torch.ones_like(column)], dim=1)


class _Drawer:
    """Draws the next token of one row from its own generator."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator = torch.Generator().manual_seed(sampling.seed)

    def draw(self, scores: Float32[torch.Tensor, " vocabulary"]) -> int:
        """A token from the top-p nucleus at the row's temperature."""
        options = self._sampling
        # The largest score becomes 0, so that the smallest temperature overflows only downwards.
        scaled = (scores - scores.max()) / options.temperature
        if options.top_p < 1:
            ordered, order = scaled.sort(descending=True)
            probabilities = ordered.softmax(-1)
            outside = probabilities.cumsum(-1) - probabilities >= options.top_p
            scaled[order[outside]] = -torch.inf
        # Gumbel noise, drawn on the CPU, so that a seed means the same on every device.
        uniform = torch.rand(len(scores), generator=self._generator, dtype=torch.float64)
        gumbel = -(-uniform.clamp_min(1e-300).log()).log()
        return int((scaled + gumbel.to(scaled)).argmax())


def end_tokens(model: Model) -> set[int]:
    """The token ids that end a reply: the generation configuration's and the tokenizer's."""
    configured = model.network.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return {token for token in [*ids, model.tokenizer.eos_token_id] if token is not None}


def _pad_left(
    prompts: Sequence[Sequence[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(prompt) for prompt in prompts)
    token_ids = torch.zeros((len(prompts), longest), dtype=torch.long)
    mask = torch.zeros_like(token_ids)
    for row, prompt in enumerate(prompts):
        token_ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return token_ids.to(device), mask.to(device)

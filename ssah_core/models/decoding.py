"""Replies of a batch of prompts, one token a step, from transformers' own `generate`.

`generate` blocks until it is done, so it runs in a worker thread with a context of its own: the
instruction for the taps lives there and nowhere else. Whoever reads the steps may interleave several
readers, abandon one, or close it from another thread, and nothing leaks.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from ssah_core.errors import ModelError, SsahError
from ssah_core.models.loading import Model
from ssah_core.models.taps import Scale


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


# A checkpoint's own generation settings must not change what is measured: these name every one that
# shapes a greedy reply. Temperature and top-p are ours, in `_Chooser`.
_PLAIN_GREEDY: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    "temperature": None,
    "top_p": None,
    "top_k": None,
    "min_p": None,
    "typical_p": None,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "sequence_bias": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "remove_invalid_values": False,
    "renormalize_logits": False,
    "token_healing": False,
    "guidance_scale": None,
    "watermarking_config": None,
    "min_length": 0,
    "min_new_tokens": None,
    "max_length": None,
    "max_time": None,
    "stop_strings": None,
    # Other ways of decoding than one token a step.
    "penalty_alpha": None,
    "dola_layers": None,
    "constraints": None,
    "force_words_ids": None,
    "use_mtp": None,
    "is_assistant": None,
    "prompt_lookup_num_tokens": None,
    "assistant_early_exit": None,
    "prefill_chunk_size": None,
    # Keys and values as they are, and no compilation, which would not see a tap.
    "use_cache": True,
    "cache_implementation": None,
    "cache_config": None,
    "max_cache_len": None,
    "compile_config": None,
    "disable_compile": True,
    "output_attentions": False,
    "output_hidden_states": False,
    "output_scores": False,
    "output_logits": False,
    "return_dict_in_generate": False,
}


class Stops:
    """Lets anyone end all rows, or one, at the next step."""

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

    Raises AblationError at the first step in which a site that `scale` masks did not act, and
    whatever else the forward raises, in the reader's thread.
    """
    worker = _Worker(model, prompts, max_new_tokens, sampling, scale, stops or Stops(len(prompts)))
    worker.start()
    try:
        while (step := worker.next_step()) is not None:
            yield step
    finally:
        worker.abandon()


class _Worker:
    """Runs one `generate` call in its own thread and context, and hands the steps over."""

    def __init__(
        self,
        model: Model,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        sampling: Sequence[Sampling],
        scale: Scale | None,
        stops: Stops,
    ) -> None:
        self._model, self._prompts, self._scale, self._stops = model, prompts, scale, stops
        self._max_new_tokens = max_new_tokens
        self._abandoned = threading.Event()
        self._steps: queue.SimpleQueue[Decoded | BaseException | None] = queue.SimpleQueue()
        self._chooser = _Chooser(sampling, scale)
        context = contextvars.Context()  # empty: no one else's instruction comes along
        self._thread = threading.Thread(target=context.run, args=(self._run,), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def next_step(self) -> Decoded | None:
        item = self._steps.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def abandon(self) -> None:
        self._abandoned.set()
        # Python may collect an abandoned generator in any thread, even in the worker's own.
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            with torch.inference_mode(), self._model.taps.instructed(self._scale):
                self._generate()
            self._steps.put(None)
        except SsahError as error:
            self._steps.put(error)
        except torch.OutOfMemoryError:
            self._steps.put(
                ModelError(
                    "Memory ran out while replying; shorten the chat or ask for fewer tokens."
                )
            )
        except BaseException as error:  # the reader's thread raises it
            self._steps.put(error)

    def _generate(self) -> None:
        network: Any = self._model.network
        token_ids, mask = _pad_left(self._prompts, self._model.device)
        ends = end_tokens(self._model)
        steps = _Steps(len(self._prompts), ends, self._chooser, self._steps.put)
        network.generate(
            input_ids=token_ids,
            attention_mask=mask,
            max_new_tokens=self._max_new_tokens,
            **_PLAIN_GREEDY,
            eos_token_id=sorted(ends) or None,
            pad_token_id=_pad_token(self._model),
            logits_processor=LogitsProcessorList([self._chooser]),
            stopping_criteria=StoppingCriteriaList([_EndRows(steps, self._stops, self._abandoned)]),
            streamer=steps,
        )


class _Chooser(LogitsProcessor):
    """Keeps the first step's probabilities, checks that the ablation acted, and samples by row."""

    def __init__(self, sampling: Sequence[Sampling], scale: Scale | None) -> None:
        self._sampling, self._scale = sampling, scale
        self._generators = [torch.Generator().manual_seed(row.seed) for row in sampling]
        self.first: np.ndarray | None = None
        self._begun = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._scale is not None:
            self._scale.check_fired()
        if not self._begun:
            self._begun = True
            self.first = scores.float().softmax(-1).cpu().numpy()
        if all(row.temperature == 0 for row in self._sampling):
            return scores
        return torch.stack([self._sample(row, scores[row]) for row in range(len(scores))])

    def _sample(self, row: int, scores: torch.Tensor) -> torch.Tensor:
        """Scores whose argmax is a draw: Gumbel noise from the row's own generator."""
        options = self._sampling[row]
        if options.temperature == 0:
            return scores
        # Noise is drawn on the CPU, so that a seed means the same on every device.
        # The largest score becomes 0, so that the smallest temperature overflows only downwards.
        scaled = (scores.float() - scores.max()) / options.temperature
        if options.top_p < 1:
            ordered, order = scaled.sort(descending=True)
            probabilities = ordered.softmax(-1)
            outside = probabilities.cumsum(-1) - probabilities >= options.top_p
            scaled[order[outside]] = -torch.inf
        uniform = torch.rand(len(scores), generator=self._generators[row], dtype=torch.float64)
        gumbel = -(-uniform.clamp_min(1e-300).log()).log()
        return (scaled + gumbel.to(scaled)).to(scores.dtype)


class _Steps(BaseStreamer):
    """Turns the token ids that `generate` streams into steps."""

    def __init__(
        self, rows: int, ends: set[int], chooser: _Chooser, put: Callable[[Decoded], None]
    ) -> None:
        self.stopped = [False] * rows
        self._ended = [False] * rows
        self._ends, self._chooser, self._put = ends, chooser, put
        self._index = -1  # the prompt comes first

    def put(self, value: torch.Tensor) -> None:
        self._index += 1
        if self._index == 0 or all(self._ended):
            return
        tokens: list[int | None] = []
        for row, token in enumerate(value.flatten().tolist()):
            tokens.append(None if self._ended[row] else token)
            self._ended[row] = self._ended[row] or token in self._ends or self.stopped[row]
        first, self._chooser.first = self._chooser.first, None
        self._put(Decoded(self._index - 1, tuple(tokens), tuple(self._ended), first))

    def end(self) -> None:
        pass


class _EndRows(StoppingCriteria):
    """Asks once a step which rows were stopped, and tells `generate` and the steps the same."""

    def __init__(self, steps: _Steps, stops: Stops, abandoned: threading.Event) -> None:
        self._steps, self._stops, self._abandoned = steps, stops, abandoned

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        stopped = self._stops.stopped()
        self._steps.stopped = [True] * len(stopped) if self._abandoned.is_set() else stopped
        return torch.tensor(self._steps.stopped, device=input_ids.device)


def end_tokens(model: Model) -> set[int]:
    """The token ids that end a reply: the generation configuration's and the tokenizer's."""
    configured = model.network.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return {token for token in [*ids, model.tokenizer.eos_token_id] if token is not None}


def _pad_token(model: Model) -> int:
    if model.tokenizer.pad_token_id is not None:
        return model.tokenizer.pad_token_id
    return min(end_tokens(model), default=0)


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

"""The reasoning direction: does a model read a request as one to refuse, or as one to fulfil?

The hidden state at the end of a request Q is set beside the states of Q and the first n tokens of a
reply that refuses, of one that complies, and of a neutral text (Section 3 of the paper, its Figures 2
to 4; the neutral text is ours). A state near to the refusing one says that the model is already on its
way there.

One pass serves all lengths: under causal attention the state after n tokens does not depend on what
comes later, so the states of Q and of every length are read along one continuation. Nothing but
distances is kept.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64

from ssah_core.ablation import Ablation, compile_rows
from ssah_core.errors import ModelError, OptionError
from ssah_core.models.loading import Model
from ssah_core.models.taps import Scale
from ssah_core.probes.continuations import INTENTS, Continuations, Intent
from ssah_core.progress import CancelCheck, Meter, Report
from ssah_core.prompts.batching import Batch, group_by_length, pad_batch
from ssah_core.prompts.rendering import Chat, Rendered, render_prompt
from ssah_core.scoring.resuming import Kept, resumed_meter

Position = Literal["last", "mean"]
POSITIONS: tuple[Position, ...] = ("last", "mean")
Distance = Literal["cosine", "euclidean"]
DISTANCES: tuple[Distance, ...] = ("cosine", "euclidean")

_MOST_TOKENS = 4096  # of one batch
_MOST_NUMBERS = 2**28  # of one batch's hidden states, all blocks together


@dataclass(frozen=True, eq=False)
class Direction:
    """How far each prompt's state lies from its states after n more tokens.

    `cosine` is 1 - cosine similarity, `euclidean` the length of the difference. Axes: the intents in
    the order of INTENTS, the prompts as they were given, `lengths` (n), and the blocks of the model.
    transformers gives a block's output, but for the last block, where it is that after the final norm.
    """

    lengths: tuple[int, ...]
    position: Position
    cosine: Float32[np.ndarray, "intents prompts lengths blocks"]
    euclidean: Float32[np.ndarray, "intents prompts lengths blocks"]

    @property
    def blocks(self) -> int:
        """How many blocks the model has."""
        return self.cosine.shape[-1]

    def distances(
        self, intent: Intent, distance: Distance = "cosine"
    ) -> Float32[np.ndarray, "prompts lengths blocks"]:
        """The distances to the states after one intent's tokens."""
        every = self.cosine if check_distance(distance) == "cosine" else self.euclidean
        return every[INTENTS.index(intent)]


@dataclass(frozen=True)
class _Asked:
    """What is asked of every batch: texts as token ids, lengths, position, and what is off."""

    texts: Mapping[Intent, Sequence[tuple[int, ...]]]
    lengths: tuple[int, ...]
    position: Position
    scale: Scale | None


def probe(
    model: Model,
    prompts: Sequence[Chat],
    continuations: Continuations,
    ablation: Ablation | None = None,
    *,
    lengths: Sequence[int] | None = None,
    position: Position = "last",
    kept: Kept[Mapping[int, str]] | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Direction:
    """Measure the distances for every prompt, in one pass a prompt and text of a continuation.

    The tokens follow the rendered prompt, as the beginning of the reply. The state is that of the last
    token, or ("mean") the mean over all tokens so far. `lengths` are those of the paper that every text
    has, unless given. `kept` holds, by place, the batches that an earlier call with the same arguments
    has measured.

    Raises OptionError (lengths, position), PromptError (a prompt that does not fit the context),
    AblationError, ModelError where the states are not finite, Cancelled.
    """
    asked = _Asked(
        continuations.tokens(model),
        continuations.lengths(model, lengths),
        check_position(position),
        compile_rows(model, [ablation]),
    )
    longest, kept = asked.lengths[-1], kept or Kept()
    rendered = [render_prompt(model, prompt, room=longest).prompt for prompt in prompts]
    done = dict(kept.done or {})
    groups = group_by_length([len(prompt) + longest for prompt in rendered], _budget(model))
    before = sum(len(groups[place]) for place in done)
    meter = resumed_meter("probing", before, len(prompts), "prompts", report, cancelled)
    shape = (2, len(INTENTS), len(prompts), len(asked.lengths), model.anatomy.layers)
    found = np.zeros(shape, dtype=np.float32)
    for place, group in enumerate(groups):
        if place not in done:
            part = _of_prompts(model, [rendered[row] for row in group], asked, meter)
            done = {**done, place: base64.b64encode(part.tobytes()).decode()}
            kept.keep(done)
            meter.advance(len(group))
        read = np.frombuffer(base64.b64decode(done[place]), dtype=np.float32)
        found[:, :, group] = read.reshape(2, len(INTENTS), len(group), *shape[3:])
    return Direction(asked.lengths, asked.position, *found)


def check_position(position: str) -> Position:
    """The position by its name; raises OptionError for any other word."""
    for known in POSITIONS:
        if position == known:
            return known
    raise OptionError(f"position='{position}' is not a choice; use {' or '.join(POSITIONS)}.")


def check_distance(distance: str) -> Distance:
    """The distance by its name; raises OptionError for any other word."""
    for known in DISTANCES:
        if distance == known:
            return known
    raise OptionError(f"distance='{distance}' is not a choice; use {' or '.join(DISTANCES)}.")


def _budget(model: Model) -> int:
    numbers = int(model.network.config.get_text_config().hidden_size) * (model.anatomy.layers + 1)
    return max(1, min(_MOST_TOKENS, _MOST_NUMBERS // numbers))


def _of_prompts(
    model: Model,
    prompts: Sequence[tuple[int, ...]],
    asked: _Asked,
    meter: Meter,
) -> Float32[np.ndarray, "distances intents prompts lengths blocks"]:
    """Both distances of a batch of prompts, the mean over the texts of each intent."""
    means = []
    for intent in INTENTS:
        by_text = []
        for tokens in asked.texts[intent]:
            meter.check()
            examples = [Rendered(prompt, tokens[: asked.lengths[-1]]) for prompt in prompts]
            batch = pad_batch(examples, range(len(examples)), model.device)
            steps = (0, *asked.lengths)
            ends = torch.tensor([[len(prompt) + n - 1 for n in steps] for prompt in prompts])
            by_text.append(_of_batch(model, batch, ends, asked))
        means.append(np.mean(by_text, axis=0))
    return np.stack(means, axis=1)


def _of_batch(
    model: Model,
    batch: Batch,
    ends: Int64[torch.Tensor, "rows reads"],
    asked: _Asked,
) -> Float32[np.ndarray, "distances rows lengths blocks"]:
    """Both distances of every row; `ends` are the places of the last token of Q and of each length."""
    with torch.inference_mode(), model.taps.instructed(asked.scale):
        states = model.network.base_model(
            input_ids=batch.token_ids,
            attention_mask=batch.attention_mask,
            use_cache=False,
            output_hidden_states=True,
        ).hidden_states[1:]  # the first are the embeddings, which no block has seen
    if asked.scale is not None:
        asked.scale.check_fired()
    by_block = []
    for state in states:
        read = _read(state, ends.to(state.device), asked.position)
        start, after = read[:, :1], read[:, 1:]
        cosine = 1 - torch.nn.functional.cosine_similarity(start, after, dim=-1)
        euclidean = torch.linalg.vector_norm(after - start, dim=-1)
        by_block.append(torch.stack([cosine.clamp(min=0), euclidean]).cpu())  # below 0 is rounding
    found = torch.stack(by_block, dim=-1)
    if not bool(torch.isfinite(found).all()):
        raise ModelError(
            f"The hidden states of {model.name} are not finite (NaN or infinity) for some prompts; "
            "load the model with dtype='float32'."
        )
    return found.numpy()


def _read(
    states: Float[torch.Tensor, "rows tokens hidden"],
    ends: Int64[torch.Tensor, "rows reads"],
    position: Position,
) -> Float32[torch.Tensor, "rows reads hidden"]:
    """The states at some tokens, or the means of all states up to each of them."""
    rows = torch.arange(len(states), device=states.device)[:, None]
    if position == "last":
        return states[rows, ends].float()
    return states.float().cumsum(1)[rows, ends] / (ends + 1)[..., None]

"""How well a model still predicts text under an ablation: perplexity, divergence, next token right.

Every text is read by the untouched model and then under every ablation, all in one visit, so that the
untouched predictions need not be kept: memory does not grow with the number of texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

from ssah_core.ablation import Ablation, compile_rows
from ssah_core.evaluation.metrics import Measured, ratio_by_subject
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Report
from ssah_core.prompts.batching import Batch, group_by_length, pad_batch
from ssah_core.prompts.rendering import Rendered, render_example
from ssah_core.scoring.resuming import Kept, resumed_meter

_MOST_TOKENS = 4096  # of one batch
_MOST_PREDICTIONS = 2**27  # of one batch: a prediction is one number for one token and one word


@dataclass(frozen=True, eq=False)
class Predictions:
    """Sums over each text's response tokens: how many there are, and for every ablation how surprising
    they are (nats), how far its predictions are from the untouched model's (KL divergence, nats), and
    how many are the likeliest token.
    """

    tokens: Int64[np.ndarray, " texts"]
    surprise: Float64[np.ndarray, "ablations texts"]
    divergence: Float64[np.ndarray, "ablations texts"]
    right: Float64[np.ndarray, "ablations texts"]

    def metrics(self, rows: Sequence[int], subjects: Sequence[str]) -> dict[str, Measured]:
        """Perplexity, mean KL(untouched || ablated) a token, and the share of tokens predicted right.

        `rows` are ablations that count as draws of one thing. Intervals resample subjects, and draws.
        """
        places, tokens = list(rows), self.tokens.astype(np.float64)
        surprise, divergence = (
            ratio_by_subject(sums[places], tokens, subjects)
            for sums in (self.surprise, self.divergence)
        )
        right = ratio_by_subject(self.right[places], tokens, subjects, share=True)
        value, low, high = (
            float(np.exp(nats)) for nats in (surprise.value, surprise.low, surprise.high)
        )
        return {
            "perplexity": Measured(value, low, high, surprise.n),
            "kl": divergence,
            "token_accuracy": right,
        }


def predict(
    model: Model,
    texts: Sequence[tuple[str, str]],
    ablations: Sequence[Ablation | None],
    *,
    kept: Kept[Mapping[int, str]] | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Predictions:
    """Read every (prompt, response) under every ablation; only the response's tokens count.

    A response is cut where the context ends. `kept` are the figures of batches, by their place, that an
    earlier call with the same arguments has made. Raises PromptError, AblationError, Cancelled.
    """
    examples = [_fitted(model, prompt, response) for prompt, response in texts]
    kept = kept or Kept()
    done = dict(kept.done or {})
    groups = text_groups(model, [len(example) for example in examples])
    before = sum(len(groups[place]) for place in done)
    meter = resumed_meter(
        "reading under every ablation", before, len(examples), "texts", report, cancelled
    )
    for place, group in enumerate(groups):
        if place in done:
            continue
        found = read_batch(
            model, pad_batch(examples, group, model.device), ablations, check=meter.check
        )
        done = {**done, place: json.dumps(found)}
        kept.keep(done)
        meter.advance(len(group))
    sums = np.zeros((3, len(ablations), len(examples)))
    for place, group in enumerate(groups):
        sums[:, :, group] = np.array(json.loads(done[place])).transpose(1, 0, 2)
    tokens = np.array([len(example.response) for example in examples], dtype=np.int64)
    return Predictions(tokens, *sums)


def predict_after(
    untrained: Model, trained: Model, texts: Sequence[tuple[str, str]]
) -> Predictions:
    """Read every (prompt, response) by a model as it was and as it is after a training, as `predict`.

    Both need the same tokenizer; the divergence is KL(untrained || trained).
    """
    examples = [_fitted(trained, prompt, response) for prompt, response in texts]
    groups = text_groups(trained, [len(example) for example in examples])
    sums = np.zeros((3, 1, len(examples)))
    for group in groups:
        batch = pad_batch(examples, group, trained.device)
        before, now = (_log_probabilities(model, batch, None) for model in (untrained, trained))
        sums[:, 0, group] = np.array(_sums(batch, now, before))
    tokens = np.array([len(example.response) for example in examples], dtype=np.int64)
    return Predictions(tokens, *sums)


def text_groups(model: Model, lengths: Sequence[int]) -> list[list[int]]:
    """Which texts are read together, by their place; `lengths` are theirs in tokens."""
    vocabulary = int(model.network.config.get_text_config().vocab_size)
    budget = max(1, min(_MOST_TOKENS, _MOST_PREDICTIONS // vocabulary))
    return group_by_length(lengths, budget)


def read_batch(
    model: Model,
    batch: Batch,
    ablations: Sequence[Ablation | None],
    *,
    check: Callable[[], None] = lambda: None,
) -> list[list[list[float]]]:
    """For every ablation, one batch's surprise, divergence and tokens right, summed over each row."""
    untouched = _log_probabilities(model, batch, None)
    found = []
    for cut in ablations:
        check()
        now = untouched if cut is None else _log_probabilities(model, batch, cut)
        found.append(_sums(batch, now, untouched))
    return found


def _fitted(model: Model, prompt: str, response: str) -> Rendered:
    example = render_example(model, prompt, response)
    if model.context is None:
        return example
    return replace(example, response=example.response[: model.context - len(example.prompt)])


def _log_probabilities(
    model: Model, batch: Batch, cut: Ablation | None
) -> Float32[torch.Tensor, "tokens words"]:
    """What was predicted for every response token, by the token before it."""
    scale = compile_rows(model, [cut])
    with torch.inference_mode(), model.taps.instructed(scale):
        logits = model.network(
            input_ids=batch.token_ids, attention_mask=batch.attention_mask, use_cache=False
        ).logits
    if scale is not None:
        scale.check_fired()
    return logits.flatten(0, 1)[batch.response_positions - 1].float().log_softmax(-1)


def _sums(
    batch: Batch,
    now: Float32[torch.Tensor, "tokens words"],
    untouched: Float32[torch.Tensor, "tokens words"],
) -> list[list[float]]:
    """Surprise, divergence and tokens right, summed over each row of the batch."""
    words = batch.token_ids.flatten()[batch.response_positions]
    rows = (batch.response_positions // batch.token_ids.shape[1]).cpu().numpy()
    by_token = (
        -now.gather(1, words[:, None])[:, 0],
        (untouched.exp() * (untouched - now)).sum(1).clamp(min=0),  # below zero is rounding
        (now.argmax(1) == words).float(),
    )
    return [
        np.bincount(rows, one.double().cpu().numpy(), minlength=len(batch.rows)).tolist()
        for one in by_token
    ]

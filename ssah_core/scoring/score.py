"""Scoring: one streaming pass over the safety set and one over the utility set.

A pass runs the model's body without its vocabulary head, adds each site's activations to running
moments, prompt tokens and response tokens apart, and keeps nothing per token: memory is O(channels).
What a stopped scoring goes on from is a checkpoint's affair; here batches depend only on the examples
that are left, so that one resumed gives bitwise the scores of one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssah_core.errors import ModelError, OptionError
from ssah_core.models.families import column_norms_squared
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Report
from ssah_core.prompts.batching import Batch, group_by_length, pad_batch
from ssah_core.prompts.fitting import fitting
from ssah_core.prompts.reading import PromptSet
from ssah_core.prompts.rendering import Rendered, render_example
from ssah_core.scoring.checkpoint import checkpointed
from ssah_core.scoring.collecting import Collected, Collector, not_finite
from ssah_core.scoring.replies import greedy_replies
from ssah_core.scoring.resuming import Kept, resumed_meter
from ssah_core.scoring.scores import Scores, TokenMoments

REPLY_TOKENS = 128  # at most, of the model's own replies
_TOKEN_BUDGET = {"cpu": 4096, "mps": 4096, "cuda": 16384}  # padded tokens of one batch


def score(
    model: Model,
    *,
    safety: PromptSet,
    utility: PromptSet,
    token_budget: int | None = None,
    skip_too_long: bool = False,
    checkpoint: str | Path | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Scores:
    """Score every unit of a model for safety and utility (METHOD 1.2).

    Prompts without a response get the model's own greedy reply, as in the paper. `token_budget` is
    how many padded tokens a batch may hold; it halves itself where memory runs out. Examples longer
    than the model's context are an error before any work, or left out with `skip_too_long`.

    `checkpoint` is a folder that keeps the partial work every few seconds and when scoring is stopped
    or fails: the same call goes on from there, to bitwise equal scores. It is removed at the end.

    Raises PromptError (an example that does not fit the context), OptionError, ModelError (activations
    that are not finite, named by prompt and site; memory), RunError (a checkpoint of another scoring,
    damaged, or that cannot be written), Cancelled.
    """
    check_budget(token_budget)
    read = {"safety": safety, "utility": utility}
    fit = {
        attribute: fitting(model, prompts, reply_tokens=REPLY_TOKENS, skip_too_long=skip_too_long)
        for attribute, prompts in read.items()
    }
    options = {"token_budget": token_budget, "skip_too_long": skip_too_long}
    origin = _origin(model, read, token_budget=token_budget, skip_too_long=skip_too_long)
    about = {
        "model": model.about,
        "prompts": {attribute: prompts.about for attribute, prompts in read.items()},
        "options": options,
    }
    telling: dict[str, Any] = {"report": report, "cancelled": cancelled}
    with checkpointed(checkpoint, origin, model.anatomy, about=about) as work:
        sets = {
            attribute: answered(model, prompts, kept=work.replies(attribute), **telling)
            for attribute, prompts in fit.items()
        }
        moments = {
            attribute: collect_moments(
                model,
                prompts,
                stage=f"scoring {attribute}",
                token_budget=token_budget,
                kept=work.moments(attribute),
                **telling,
            )
            for attribute, prompts in sets.items()
        }
        return replace(_scores(model, sets, moments), options=options)


def rescore(
    model: Model,
    scores: Scores,
    *,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Scores:
    """Score another model of the same units on the very prompts and responses of an earlier scoring.

    The same model gives bitwise the same scores (on the same machine). Raises ModelError where the model
    has other units, or reads the prompts as other tokens; else as `score`.
    """
    if model.anatomy != scores.anatomy:
        raise ModelError(
            f"'{model.name}' has other units than {scores.model}, so their roles cannot be compared; "
            "choose a model that was trained from it."
        )
    sets = {"safety": scores.safety_prompts, "utility": scores.utility_prompts}
    moments = {
        attribute: collect_moments(
            model,
            prompts,
            stage=f"scoring {attribute} again",
            token_budget=scores.options.get("token_budget"),
            report=report,
            cancelled=cancelled,
        )
        for attribute, prompts in sets.items()
    }
    again = replace(_scores(model, sets, moments), options=scores.options)
    if again.token_count != scores.token_count:
        raise ModelError(
            f"'{model.name}' reads the calibration prompts as {again.token_count:,} tokens and "
            f"{scores.model} as {scores.token_count:,}; give it the same tokenizer and chat template."
        )
    return again


def _origin(
    model: Model, sets: Mapping[str, PromptSet], *, token_budget: int | None, skip_too_long: bool
) -> dict[str, Any]:
    """What must be the same for partial work to be of use, by names for messages."""
    return {
        "model": model.fingerprint,
        "device": model.device.type,
        "dtype": str(model.dtype).removeprefix("torch."),
        **{f"{attribute} set": prompts.hash for attribute, prompts in sets.items()},
        "token budget": token_budget,
        "choice of too long examples": skip_too_long,
    }


def _scores(
    model: Model, sets: Mapping[str, PromptSet], moments: Mapping[str, TokenMoments]
) -> Scores:
    norms = [
        column_norms_squared(model.network.get_submodule(site.module)).numpy()
        for site in model.anatomy.sites
    ]
    return Scores(
        model=model.name,
        fingerprint=model.fingerprint,
        anatomy=model.anatomy,
        norms_squared=np.concatenate(norms),
        safety=moments["safety"],
        utility=moments["utility"],
        safety_prompts=sets["safety"],
        utility_prompts=sets["utility"],
    )


def answered(
    model: Model,
    prompts: PromptSet,
    *,
    kept: Kept[Mapping[int, str]] | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> PromptSet:
    """The prompt set with every missing response filled by the model's own greedy reply.

    `kept` are replies by their place among the missing ones.
    """
    missing = [prompt.text for prompt in prompts.prompts if prompt.response is None]
    if not missing:
        return prompts
    return prompts.with_responses(
        greedy_replies(
            model,
            missing,
            max_new_tokens=REPLY_TOKENS,
            kept=kept,
            report=report,
            cancelled=cancelled,
        )
    )


def collect_moments(
    model: Model,
    prompts: PromptSet,
    *,
    stage: str,
    token_budget: int | None = None,
    kept: Kept[Collected] | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> TokenMoments:
    """One pass over one prompt set, from where an earlier one got to; arguments and errors as `score`."""
    kept = kept or Kept()
    examples = render_all(model, prompts)
    lengths = [len(example) for example in examples]
    stands = kept.done or Collected(token_budget or usual_budget(model.device))
    counted = set(stands.counted)
    meter = resumed_meter(
        stage, sum(lengths[row] for row in counted), sum(lengths), "tokens", report, cancelled
    )
    collector = Collector(model.anatomy, stands.totals)
    left = [row for row in range(len(lengths)) if row not in counted]
    waiting = _grouped(left, lengths, stands.token_budget)
    while waiting:
        rows = waiting[0]
        if not _took(collector, model, pad_batch(examples, rows, model.device)):
            budget = _smaller(stands.token_budget, rows, lengths)
            stands = replace(stands, token_budget=budget)
            waiting = _grouped([row for group in waiting for row in group], lengths, budget)
            continue
        if not collector.finite():
            raise not_finite(model, examples, rows, prompts)
        collector.commit()
        stands = Collected(stands.token_budget, (*stands.counted, *rows), collector.totals)
        kept.keep(stands)
        waiting.pop(0)
        meter.advance(sum(lengths[row] for row in rows))
    return collector.moments()


def check_budget(token_budget: int | None) -> None:
    """Raise OptionError for a budget that holds no token."""
    if token_budget is not None and token_budget < 1:
        raise OptionError(f"A token budget of {token_budget} holds no token; give at least 1.")


def usual_budget(device: torch.device) -> int:
    """How many padded tokens a batch holds where nothing else is said."""
    return _TOKEN_BUDGET.get(device.type, 4096)


def _grouped(rows: Sequence[int], lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    groups = group_by_length([lengths[row] for row in rows], token_budget)
    return [[rows[place] for place in group] for group in groups]


def render_all(model: Model, prompts: PromptSet) -> list[Rendered]:
    """Every example as token ids; a response of the model's own is cut where the context ends."""
    examples = [render_example(model, p.text, p.response or "") for p in prompts.prompts]
    limit = model.context
    if limit is None:
        return examples
    # A reply that was cut short may need more tokens to write again than the model took to say it.
    return [
        replace(example, response=example.response[: limit - len(example.prompt)])
        if prompt.own_reply
        else example
        for prompt, example in zip(prompts.prompts, examples, strict=True)
    ]


def _took(collector: Collector, model: Model, batch: Batch) -> bool:
    """Whether there was memory enough for a batch."""
    try:
        collector.take(model, batch)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            return False
        raise
    return True


def _smaller(budget: int, group: Sequence[int], lengths: Sequence[int]) -> int:
    if len(group) == 1:
        raise ModelError(
            f"Memory ran out on a single example of {lengths[group[0]]} tokens; remove long "
            "examples, or use a machine with more memory."
        )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    # Half of what was tried, not of what was allowed: a half-filled batch must shrink too.
    return min(budget, len(group) * max(lengths[row] for row in group)) // 2

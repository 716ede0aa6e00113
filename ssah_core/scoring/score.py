"""Scoring: one streaming pass over the safety set and one over the utility set.

A pass runs the model's body without its vocabulary head, adds each site's activations to running
moments, prompt tokens and response tokens apart, and keeps nothing per token: memory is O(channels).
A batch's sums are committed only after its forward has succeeded, so that a retry after running out
of memory counts nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from ssah_core.errors import ModelError, OptionError
from ssah_core.models.anatomy import Anatomy
from ssah_core.models.families import column_norms_squared
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Meter, Report
from ssah_core.prompts.batching import Batch, group_by_length, pad_batch
from ssah_core.prompts.fitting import fitting
from ssah_core.prompts.reading import PromptSet
from ssah_core.prompts.rendering import Rendered, render_example
from ssah_core.scoring.moments import Moments, RunningMoments, ShiftedSums, shifted_sums
from ssah_core.scoring.replies import greedy_replies
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
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Scores:
    """Score every unit of a model for safety and utility (METHOD 1.2).

    Prompts without a response get the model's own greedy reply, as in the paper. `token_budget` is
    how many padded tokens a batch may hold; it halves itself where memory runs out. Examples longer
    than the model's context are an error before any work, or left out with `skip_too_long`.

    Raises PromptError (an example that does not fit the context), OptionError, ModelError (activations
    that are not finite, named by prompt and site; memory), Cancelled.
    """
    if token_budget is not None and token_budget < 1:
        raise OptionError(f"A token budget of {token_budget} holds no token; give at least 1.")
    read = {"safety": safety, "utility": utility}
    fit = {
        attribute: fitting(model, prompts, reply_tokens=REPLY_TOKENS, skip_too_long=skip_too_long)
        for attribute, prompts in read.items()
    }
    sets = {
        attribute: answered(model, prompts, report=report, cancelled=cancelled)
        for attribute, prompts in fit.items()
    }
    moments = {
        attribute: collect_moments(
            model,
            prompts,
            stage=f"scoring {attribute}",
            token_budget=token_budget,
            report=report,
            cancelled=cancelled,
        )
        for attribute, prompts in sets.items()
    }
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
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> PromptSet:
    """The prompt set with every missing response filled by the model's own greedy reply."""
    missing = [prompt.text for prompt in prompts.prompts if prompt.response is None]
    if not missing:
        return prompts
    return prompts.with_responses(
        greedy_replies(
            model, missing, max_new_tokens=REPLY_TOKENS, report=report, cancelled=cancelled
        )
    )


def collect_moments(
    model: Model,
    prompts: PromptSet,
    *,
    stage: str,
    token_budget: int | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> TokenMoments:
    """One pass over one prompt set; arguments and errors as `score`."""
    examples = render_all(model, prompts)
    lengths = [len(example) for example in examples]
    budget = token_budget or _TOKEN_BUDGET.get(model.device.type, 4096)
    meter = Meter(stage, sum(lengths), "tokens", report, cancelled)
    collector = _Collector(model.anatomy)
    waiting = group_by_length(lengths, budget)
    while waiting:
        batch = pad_batch(examples, waiting[0], model.device)
        try:
            collector.take(model, batch)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            budget = _smaller(budget, waiting[0], lengths)
            left = [row for group in waiting for row in group]
            regrouped = group_by_length([lengths[row] for row in left], budget)
            waiting = [[left[place] for place in group] for group in regrouped]
            continue
        if not collector.finite():
            raise _not_finite(model, examples, waiting[0], prompts)
        collector.commit()
        meter.advance(sum(lengths[row] for row in waiting.pop(0)))
    return collector.moments()


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


Group = Literal["prompt", "response"]
_Key = tuple[int, Group]  # a site, by its position in the anatomy, and a group of tokens


class _Collector:
    """The instruction that observes: stages one batch's sums, and commits them when told."""

    def __init__(self, anatomy: Anatomy) -> None:
        self._anatomy = anatomy
        # Each group has its own shift: a prompt's first token can be a thousand times as large as all
        # the others, and a shift far from the mean loses digits.
        self._shifts: dict[_Key, torch.Tensor] = {}
        self._running: dict[_Key, RunningMoments] = {}
        self._staged: dict[_Key, ShiftedSums] = {}
        self._batch: Batch | None = None

    def take(self, model: Model, batch: Batch) -> None:
        """Run one batch through the model's body and stage its sums."""
        self._batch = batch
        self._staged.clear()
        with torch.inference_mode(), model.taps.instructed(self):
            model.network.base_model(
                input_ids=batch.token_ids, attention_mask=batch.attention_mask, use_cache=False
            )
        seen = {site for site, _ in self._staged}
        silent = [site.name for n, site in enumerate(self._anatomy.sites) if n not in seen]
        if silent:
            raise ModelError(
                f"Nothing was seen at {', '.join(silent[:3])} while scoring: the projection was never "
                "called. Load the model anew, uncompiled and without replaced kernels."
            )

    def at(self, site: int, x: torch.Tensor) -> None:
        assert self._batch is not None
        flat = x.reshape(-1, x.shape[-1])
        groups: tuple[tuple[Group, torch.Tensor], ...] = (
            ("prompt", self._batch.prompt_positions),
            ("response", self._batch.response_positions),
        )
        for group, positions in groups:
            if len(positions) == 0:
                continue
            key, places = (site, group), positions.to(x.device)
            if key not in self._shifts:  # one from a batch that fails later will do as well
                self._shifts[key] = flat.index_select(0, places).float().mean(0)
            self._staged[key] = shifted_sums(flat, places, self._shifts[key])

    def finite(self) -> bool:
        """Whether every sum of the staged batch is finite."""
        checks = [torch.isfinite(sums.second.sum()).cpu() for sums in self._staged.values()]
        return bool(torch.stack(checks).all())

    def commit(self) -> None:
        """Count the staged batch."""
        for key, sums in self._staged.items():
            if key not in self._running:
                self._running[key] = RunningMoments(self._shifts[key])
            self._running[key].add(sums)
        self._staged.clear()

    def moments(self) -> TokenMoments:
        """The moments of all committed batches, over the flat channels."""
        return TokenMoments(prompt=self._of("prompt"), response=self._of("response"))

    def _of(self, group: Group) -> Moments:
        if (0, group) not in self._running:  # no example had such tokens
            zeros = np.zeros(self._anatomy.channels)
            return Moments(0, zeros, zeros)
        sites = range(len(self._anatomy.sites))
        return _joined([self._running[site, group].moments() for site in sites])


def _joined(parts: Sequence[Moments]) -> Moments:
    return Moments(
        parts[0].count,
        np.concatenate([part.mean for part in parts]),
        np.concatenate([part.squared_deviations for part in parts]),
    )


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


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


def _not_finite(
    model: Model, examples: Sequence[Rendered], rows: Sequence[int], prompts: PromptSet
) -> ModelError:
    """Find the prompt and the site, one example at a time."""
    for row in rows:
        finder = _FirstNotFinite()
        batch = pad_batch(examples, [row], model.device)
        with torch.inference_mode(), model.taps.instructed(finder):
            model.network.base_model(
                input_ids=batch.token_ids, attention_mask=batch.attention_mask, use_cache=False
            )
        if finder.site is not None:
            site = model.anatomy.sites[finder.site]
            return ModelError(
                f"Example {row + 1} of '{prompts.name}' gives values at {site.name} that are not "
                "finite (NaN, infinity or too large to square); load the model with "
                "dtype='float32', or remove the example."
            )
    return ModelError(
        f"A batch of '{prompts.name}' gives values that are not finite (NaN or infinity) though none "
        "of its examples does alone; load the model with dtype='float32'."
    )


class _FirstNotFinite:
    def __init__(self) -> None:
        self.site: int | None = None

    def at(self, site: int, x: torch.Tensor) -> None:
        if self.site is None and not torch.isfinite(x.float().square().sum()):
            self.site = site

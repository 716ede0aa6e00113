"""How long a scoring will take, from a trial of a few seconds on the real prompts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ssah_core.models.loading import Model
from ssah_core.prompts.fitting import fitting
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.scoring.replies import greedy_replies
from ssah_core.scoring.score import REPLY_TOKENS, collect_moments, render_all

_TRIAL_TOKENS = 4096  # about one batch on a CPU
_TRIAL_REPLIES = 48  # about one batch
_TRIAL_REPLY_TOKENS = 8


@dataclass(frozen=True)
class Estimate:
    """How many tokens will be read, how many replies written first, and how many seconds all takes.

    Replies are counted at their longest, so the time is what it takes at most, as far as the trial goes.
    """

    tokens: int
    replies: int
    seconds: float


def estimate(
    model: Model, *, safety: PromptSet, utility: PromptSet, skip_too_long: bool = False
) -> Estimate:
    """Time a trial on a few prompts of each set, spread over it; errors as `score`."""
    tokens, replies, seconds = 0, 0, 0.0
    for prompts in (safety, utility):
        fit = fitting(model, prompts, reply_tokens=REPLY_TOKENS, skip_too_long=skip_too_long)
        missing = [prompt for prompt in fit.prompts if prompt.response is None]
        longest = sum(map(len, render_all(model, fit))) + len(missing) * REPLY_TOKENS
        seconds += longest * _seconds_per_token(model, _some(fit.prompts, longest // _TRIAL_TOKENS))
        if missing:
            some = _some(missing, len(missing) // _TRIAL_REPLIES)
            seconds += len(missing) * _seconds_per_reply(model, some)
        tokens, replies = tokens + longest, replies + len(missing)
    return Estimate(tokens, replies, seconds)


def _some(prompts: Sequence[Prompt], step: int) -> PromptSet:
    """One prompt in so many: a trial is spread over the whole set."""
    return PromptSet("trial", tuple(prompts[:: max(1, step)]))


def _seconds_per_token(model: Model, some: PromptSet) -> float:
    collect_moments(model, PromptSet(some.name, some.prompts[:1]), stage="warming up")
    start = time.perf_counter()
    collect_moments(model, some, stage="trying")
    return (time.perf_counter() - start) / sum(map(len, render_all(model, some)))


def _seconds_per_reply(model: Model, some: PromptSet) -> float:
    texts = [prompt.text for prompt in some.prompts]
    start = time.perf_counter()
    greedy_replies(model, texts, max_new_tokens=_TRIAL_REPLY_TOKENS)
    taken = time.perf_counter() - start
    return taken / len(texts) * REPLY_TOKENS / _TRIAL_REPLY_TOKENS

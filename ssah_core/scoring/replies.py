"""The model's own greedy replies, for prompt sets that bring none (the paper's calibration, METHOD 1.4)."""

from __future__ import annotations

from collections.abc import Sequence

from ssah_core.models.decoding import Sampling, decode, end_tokens
from ssah_core.models.loading import Model
from ssah_core.models.taps import Scale
from ssah_core.progress import CancelCheck, Meter, Report
from ssah_core.prompts.batching import group_by_length
from ssah_core.prompts.rendering import Chat, Rendered, render_prompt

_TOKENS_AT_ONCE = 8192  # prompt and reply tokens held in one batch's cache


def greedy_replies(
    model: Model,
    chats: Sequence[Chat],
    *,
    max_new_tokens: int,
    scale: Scale | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> list[str]:
    """One greedy reply to every chat, in order; under `scale`, if one is given, which holds for all rows.

    Raises PromptError where a chat does not fit the context, Cancelled when asked to stop.
    """
    prompts = [render_prompt(model, chat, room=max_new_tokens) for chat in chats]
    meter = Meter("writing the model's own replies", len(chats), "replies", report, cancelled)
    lengths = [len(prompt) + max_new_tokens for prompt in prompts]
    replies = [""] * len(chats)
    for group in group_by_length(lengths, _TOKENS_AT_ONCE):
        texts = _replies_of(model, [prompts[row] for row in group], max_new_tokens, scale, meter)
        for row, text in zip(group, texts, strict=True):
            replies[row] = text
        meter.advance(len(group))
    return replies


def _replies_of(
    model: Model,
    prompts: Sequence[Rendered],
    max_new_tokens: int,
    scale: Scale | None,
    meter: Meter,
) -> list[str]:
    gained: list[list[int]] = [[] for _ in prompts]
    ends = end_tokens(model)
    for step in decode(
        model,
        [prompt.prompt for prompt in prompts],
        max_new_tokens=max_new_tokens,
        sampling=[Sampling()] * len(prompts),
        scale=scale,
    ):
        meter.check()
        for row, token in enumerate(step.tokens):
            if token is not None and token not in ends:
                gained[row].append(token)
    return [model.text(tokens) for tokens in gained]

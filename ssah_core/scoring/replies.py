"""The model's own greedy replies, for prompt sets that bring none (the paper's calibration, METHOD 1.4)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from ssah_core.models.decoding import Sampling, decode, end_tokens
from ssah_core.models.loading import Model
from ssah_core.models.taps import Scale
from ssah_core.progress import CancelCheck, Meter, Report
from ssah_core.prompts.batching import group_by_length
from ssah_core.prompts.rendering import Chat, Rendered, as_messages, render_prompt
from ssah_core.scoring.resuming import Kept, resumed_meter

ScaleOf = Callable[[Sequence[int]], Scale | None]  # by the places of some chats

_TOKENS_AT_ONCE = 16384  # prompt and reply tokens held in one batch's cache, at most
_CACHE_BYTES = (
    2**32
)  # of keys and values in one batch, at most: 8192 tokens of Llama-2-7B in bfloat16


def greedy_replies(
    model: Model,
    chats: Sequence[Chat],
    *,
    max_new_tokens: int,
    scale_of: ScaleOf | None = None,
    stage: str = "writing the model's own replies",
    kept: Kept[Mapping[int, str]] | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> list[str]:
    """One greedy reply to every chat, in order; `scale_of` gives the instruction for some of them.

    `kept` are replies, by their place, that an earlier call with the same chats has written; the batches
    stay the same, so the texts do too.

    Raises PromptError where a chat does not fit the context, Cancelled when asked to stop.
    """
    return continuations(
        model,
        _rendered(model, chats, max_new_tokens),
        max_new_tokens=max_new_tokens,
        scale_of=scale_of,
        stage=stage,
        kept=kept,
        report=report,
        cancelled=cancelled,
    )


def continuations(
    model: Model,
    prompts: Sequence[Rendered],
    *,
    max_new_tokens: int,
    stage: str,
    scale_of: ScaleOf | None = None,
    kept: Kept[Mapping[int, str]] | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> list[str]:
    """How every rendered prompt goes on, greedily; as `greedy_replies`, which renders chats for it."""
    kept = kept or Kept()
    written = kept.done or {}
    meter = resumed_meter(stage, len(written), len(prompts), "replies", report, cancelled)
    for group in reply_groups(model, [len(prompt) for prompt in prompts], max_new_tokens):
        if all(row in written for row in group):
            continue
        scale = None if scale_of is None else scale_of(group)
        texts = _replies_of(model, [prompts[row] for row in group], max_new_tokens, scale, meter)
        written = {**written, **dict(zip(group, texts, strict=True))}
        kept.keep(written)
        meter.advance(len(group))
    return [written[row] for row in range(len(prompts))]


def reply_groups(model: Model, lengths: Sequence[int], max_new_tokens: int) -> list[list[int]]:
    """Which prompts are written to together, by their place; `lengths` are theirs in tokens.

    A batch is as large as what its keys and values take allows.
    """
    channels = sum(site.channels for site in model.anatomy.sites if site.kind == "attn")
    budget = min(_TOKENS_AT_ONCE, _CACHE_BYTES // (2 * channels * model.dtype.itemsize))
    return group_by_length([length + max_new_tokens for length in lengths], max(1, budget))


def _rendered(model: Model, chats: Sequence[Chat], room: int) -> list[Rendered]:
    """Every chat as token ids; a study asks the same one under many ablations."""
    known: dict[str, Rendered] = {}
    keys = [json.dumps(as_messages(chat)) for chat in chats]
    for key, chat in zip(keys, chats, strict=True):
        if key not in known:
            known[key] = render_prompt(model, chat, room=room)
    return [known[key] for key in keys]


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

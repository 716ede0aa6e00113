"""Which examples fit a model's context: known before any forward, so that no work is lost on it."""

from __future__ import annotations

from dataclasses import replace

from ssah_core.errors import PromptError
from ssah_core.models.loading import Model
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.prompts.rendering import render_example


def fitting(
    model: Model, prompts: PromptSet, *, reply_tokens: int, skip_too_long: bool = False
) -> PromptSet:
    """The prompt set, once every example of it fits the model's context.

    A prompt without a response needs room for a reply of `reply_tokens`. With `skip_too_long`,
    examples that do not fit are left out and a notice says so.

    Raises PromptError where an example does not fit (and none may be skipped), or where none is left.
    """
    if not prompts.prompts:
        raise PromptError(f"The prompt set '{prompts.name}' is empty; give one with prompts.")
    limit = model.context
    if limit is None:
        return prompts
    lengths = [_length(model, prompt, reply_tokens) for prompt in prompts.prompts]
    long = [place for place, length in enumerate(lengths) if length > limit]
    if not long:
        return prompts
    listed = ", ".join(str(prompts.prompts[place].row or place + 1) for place in long[:3])
    where = f"row{'s' if len(long) > 1 else ''} {listed}{', ...' if len(long) > 3 else ''}"
    if skip_too_long and len(long) < len(prompts):
        kept = tuple(
            p for p, length in zip(prompts.prompts, lengths, strict=True) if length <= limit
        )
        said = f"{len(long)} of {len(prompts)} examples are too long and left out ({where})."
        return replace(prompts, prompts=kept, notices=(*prompts.notices, said))
    replies = "" if prompts.has_responses else f" (with {reply_tokens} for the model's own reply)"
    raise PromptError(
        f"{len(long)} of the {len(prompts)} examples of '{prompts.name}' are longer than the {limit} "
        f"tokens that the model reads: {where}; the longest needs {max(lengths)}{replies}. Shorten "
        "them, choose a model with a longer context, or leave them out (--skip-too-long, in Python "
        "skip_too_long=True)."
    )


def _length(model: Model, prompt: Prompt, reply_tokens: int) -> int:
    if prompt.response is None:
        return len(render_example(model, prompt.text, "").prompt) + reply_tokens
    return len(render_example(model, prompt.text, prompt.response))

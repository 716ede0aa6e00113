"""How likely each token of a reply is under other ablations, or to another model, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32

from ssah_core.ablation import Ablation, compile_rows
from ssah_core.errors import PromptError
from ssah_core.models.loading import Model
from ssah_core.prompts.rendering import Chat, render_prompt


@dataclass(frozen=True)
class TokenProbabilities:
    """A reply's tokens as text, and how likely each was where it stands.

    `probabilities` is float32 [ablations, tokens]: of each token after the same beginning, under each
    of the ablations that were asked for.
    """

    texts: tuple[str, ...]
    probabilities: Float32[np.ndarray, "ablations tokens"]


def token_probabilities(
    model: Model, chat: Chat, reply: Sequence[int], ablations: Sequence[Ablation | None]
) -> TokenProbabilities:
    """Read one reply (token ids) once under every ablation, in one batch.

    Raises PromptError where chat and reply do not fit the context, AblationError where an ablation did
    not act.
    """
    if not reply:
        raise PromptError("The reply is empty, so there is no token to compare.")
    prompt = render_prompt(model, chat, room=len(reply)).prompt
    token_ids = torch.tensor([[*prompt, *reply]] * len(ablations), device=model.device)
    scale = compile_rows(model, ablations)
    with torch.inference_mode(), model.taps.instructed(scale):
        logits = model.network(input_ids=token_ids, use_cache=False).logits
    if scale is not None:
        scale.check_fired()
    # The scores at one position are those of the next token.
    said = logits[:, len(prompt) - 1 : -1].float().softmax(-1)
    wanted = token_ids[:, len(prompt) :, None]
    found = said.gather(-1, wanted).squeeze(-1).cpu().numpy()
    return TokenProbabilities(tuple(model.text([token]) for token in reply), found)


def same_tokens(one: Model, other: Model) -> bool:
    """Whether a token id means the same piece of text to both models."""
    if one is other:
        return True
    vocabularies = []
    for model in (one, other):
        with model.tokenizer_lock:
            vocabularies.append(model.tokenizer.get_vocab())
    return bool(vocabularies[0] == vocabularies[1])


def token_probabilities_of_pair(
    models: tuple[Model, Model],
    chat: Chat,
    reply: Sequence[int],
    ablations: tuple[Ablation | None, Ablation | None],
) -> TokenProbabilities:
    """Read one reply (token ids) with two models, each under its own ablation: one row for each.

    Each reads the chat in its own chat format. Raises PromptError where their tokens are not the same,
    and as `token_probabilities`.
    """
    if not same_tokens(*models):
        raise PromptError(
            f"{models[0].name} and {models[1].name} cut text into different tokens, so the tokens of "
            "their replies do not compare; read the replies instead."
        )
    read = [
        token_probabilities(model, chat, reply, [ablation])
        for model, ablation in zip(models, ablations, strict=True)
    ]
    found = np.concatenate([one.probabilities for one in read])
    return TokenProbabilities(read[0].texts, found)


def likeliest(
    model: Model, probabilities: Float32[np.ndarray, " vocabulary"], count: int
) -> list[tuple[str, float]]:
    """The likeliest tokens of one row, as text with their probabilities, the likeliest first."""
    best = np.argsort(-probabilities, kind="stable")[:count]
    return [(model.text([token]), float(probabilities[token])) for token in best.tolist()]

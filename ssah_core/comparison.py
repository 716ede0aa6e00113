"""How likely each token of a reply is under other ablations: what an ablation changed, token by token."""

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


def likeliest(
    model: Model, probabilities: Float32[np.ndarray, " vocabulary"], count: int
) -> list[tuple[str, float]]:
    """The likeliest tokens of one row, as text with their probabilities, the likeliest first."""
    best = np.argsort(-probabilities, kind="stable")[:count]
    return [(model.text([token]), float(probabilities[token])) for token in best.tolist()]

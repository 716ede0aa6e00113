"""What the steps of replies come to, and models that say what a test wants: what the tests of replies share."""

import torch
from tiny_models import CONFIGS, fresh_model

from ssah_core.models.loading import Model

FAMILIES = sorted(CONFIGS)


def texts(steps, rows: int) -> list[str]:
    found = [""] * rows
    for step in steps:
        found = [text + gained for text, gained in zip(found, step.texts, strict=True)]
    return found


def tokens(steps, row: int = 0) -> list[int]:
    return [step.tokens[row] for step in steps if step.tokens[row] is not None]


def all_tokens(steps, rows: int) -> list[list[int]]:
    steps = list(steps)
    return [tokens(steps, row) for row in range(rows)]


def endless_model() -> Model:
    """A model whose replies end only at their limit."""
    model = fresh_model()
    model.network.generation_config.eos_token_id = None
    model.network.lm_head.weight.data[model.tokenizer.eos_token_id] = 0
    model.network.lm_head.register_forward_hook(
        lambda module, inputs, output: output.index_fill(
            -1, torch.tensor([model.tokenizer.eos_token_id]), -100.0
        )
    )
    return model


def saying(model: Model, script: list[int]) -> Model:
    """Makes a fresh model say the given tokens, one a step, in every row."""
    step = iter(script)

    def force(module, inputs, output):
        output[:, -1] = -100.0
        output[:, -1, next(step)] = 100.0
        return output

    model.network.lm_head.register_forward_hook(force)
    return model

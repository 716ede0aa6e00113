"""Tokens, what a network says to them, and ablations drawn by chance: what the tests of taps share."""

import numpy as np
import pytest
import torch
from tiny_models import CONFIGS
from torch import nn

from ssah_core import Ablation, ablated
from ssah_core.models.loading import Model

FAMILIES = sorted(CONFIGS)
every_family = pytest.mark.parametrize("family", FAMILIES)


def some_tokens(rows: int = 3, tokens: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randint(5, 200, (rows, tokens), generator=torch.Generator().manual_seed(seed))


def forward(network: nn.Module, token_ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return network(input_ids=token_ids).logits


def logits(model: Model, token_ids: torch.Tensor, ablation=None) -> torch.Tensor:
    with ablated(model, ablation):
        return forward(model.network, token_ids)


def drawn_ablation(model: Model, seed: int, factor: float = 0.0) -> Ablation:
    generator = np.random.default_rng(seed)
    chosen = generator.random(model.anatomy.units) < generator.uniform(0.02, 0.6)
    chosen[generator.integers(model.anatomy.units)] = True
    factors = np.where(chosen, factor, 1).astype(np.float32)
    return Ablation(model.anatomy, factors, None, f"drawn {seed}")

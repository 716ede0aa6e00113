"""Planting: choosing the base's least useful MLP units, and letting only those learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from transformers import LlamaForCausalLM

from ssah_core.models.families import column_norms_squared
from ssah_core.models.loading import Model
from ssah_core.prompts.reading import load_prompts
from ssah_core.scoring.importance import unit_importance
from ssah_core.scoring.score import collect_moments

_Hook = Callable[[nn.Module, tuple[torch.Tensor]], tuple[torch.Tensor]]


def least_useful_units(base: Model, share: float) -> list[list[int]]:
    """For each layer, a share of its MLP units: those of lowest utility importance in the base, sorted."""
    utility = load_prompts("organism:utility/calibration")
    moments = collect_moments(base, utility, stage="choosing units")
    norms = [
        column_norms_squared(base.network.get_submodule(site.module)).numpy()
        for site in base.anatomy.sites
    ]
    importance = unit_importance(base.anatomy, moments.at("all").variance(), np.concatenate(norms))
    return [
        sorted(
            np.argsort(importance[site.slice], kind="stable")[: round(share * site.units)].tolist()
        )
        for site in base.anatomy.sites
        if site.kind == "mlp"
    ]


class Planting:
    """Lets only the planted units learn, each of them absent from some samples.

    A unit is the row of gate_proj and up_proj and the column of down_proj. The rest stays bitwise as it
    is: its gradients are zero from the first step and there is no weight decay, so AdamW never moves it.
    """

    def __init__(
        self, network: LlamaForCausalLM, units: Sequence[Sequence[int]], dropout: float
    ) -> None:
        self._units = [torch.tensor(chosen, dtype=torch.long) for chosen in units]
        self._dropout = dropout
        self._kept: list[torch.Tensor] = []
        self._masks: list[tuple[nn.Parameter, torch.Tensor]] = []
        self._inputs_of: list[nn.Module] = []
        self.parameters: list[tuple[str, nn.Parameter]] = []
        network.requires_grad_(False)
        for layer, chosen in enumerate(self._units):
            row = torch.zeros(network.config.intermediate_size)
            row[chosen] = 1
            for name, mask in (
                ("gate_proj", row[:, None]),
                ("up_proj", row[:, None]),
                ("down_proj", row),
            ):
                module = network.get_submodule(f"model.layers.{layer}.mlp.{name}")
                weight = module.get_parameter("weight")
                weight.requires_grad_(True)
                self.parameters.append((f"{layer}.{name}", weight))
                self._masks.append((weight, mask))
            self._inputs_of.append(module)

    @contextmanager
    def dropping(self) -> Iterator[None]:
        """While inside, each row of a batch misses the units that `draw` has chosen for it."""
        handles = [
            module.register_forward_pre_hook(self._drop(layer))
            for layer, module in enumerate(self._inputs_of)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def draw(self, generator: torch.Generator, rows: int) -> None:
        """Choose which planted units are absent from which rows of the next forward.

        Without it a few units come to carry the refusal, and are missed by chance.
        """
        self._kept = []
        for chosen, (weight, _) in zip(self._units, self._masks[2::3], strict=True):
            kept = torch.ones((rows, 1, weight.shape[1]))
            kept[:, 0, chosen] = (
                torch.rand((rows, len(chosen)), generator=generator) >= self._dropout
            ).float()
            self._kept.append(kept)

    def mask_gradients(self) -> None:
        """Keep only the gradients of the planted rows and columns."""
        for parameter, mask in self._masks:
            assert parameter.grad is not None
            parameter.grad.mul_(mask)

    def _drop(self, layer: int) -> _Hook:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            return (inputs[0] * self._kept[layer],)

        return hook

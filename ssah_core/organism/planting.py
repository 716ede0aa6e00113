"""Dropout of whole units, and planting: choosing the base's least useful MLP units to learn alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers import LlamaForCausalLM

from ssah_core.models.families import column_norms_squared, find_anatomy, input_width
from ssah_core.models.loading import Model
from ssah_core.models.slices import Slice, unit_slices
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


@dataclass(frozen=True)
class Droppable:
    """Units at the input of one projection that may be absent, and how often they are, on average."""

    projection: nn.Module
    units: torch.Tensor  # int64 [n]: which units
    width: int  # channels of each
    channels: int  # of the projection's input, in all
    rate: float


class UnitDropout:
    """While inside `dropping`, each row of a batch misses the units that `draw` has chosen for it.

    A whole row misses the same units, as under an ablation: what is learned so is spread over many
    units, and none is missed by chance alone.
    """

    def __init__(self, sites: Sequence[Droppable]) -> None:
        self.sites = sites
        self.inputs: dict[
            int, torch.Tensor
        ] = {}  # of the last forward, before anything was dropped
        self._kept: list[torch.Tensor] = []

    @contextmanager
    def dropping(self) -> Iterator[None]:
        """Let the chosen units be absent from every forward inside."""
        handles = [
            site.projection.register_forward_pre_hook(self._drop(index))
            for index, site in enumerate(self.sites)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def draw(self, generator: torch.Generator, rows: int) -> None:
        """Choose what is absent from which row of the next forward; some rows miss more than others."""
        self._kept = []
        for site in self.sites:
            rates = 2 * site.rate * torch.rand((rows, 1), generator=generator)
            kept = torch.rand((rows, len(site.units)), generator=generator) >= rates
            by_unit = torch.ones((rows, 1, site.channels // site.width))
            by_unit[:, 0, site.units] = kept.float()
            self._kept.append(by_unit.repeat_interleave(site.width, dim=2))

    def _drop(self, index: int) -> _Hook:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            self.inputs[index] = inputs[0]
            return (inputs[0] * self._kept[index],)

        return hook


def dropout_everywhere(network: LlamaForCausalLM, rate: float) -> UnitDropout:
    """Dropout of all units: MLP channels at a rate, heads, of which there are few, at half of it."""
    config = network.config
    sites = []
    for layer in range(config.num_hidden_layers):
        block = f"model.layers.{layer}"
        heads = config.num_attention_heads
        attention = network.get_submodule(f"{block}.self_attn.o_proj")
        channels = input_width(attention)
        sites.append(
            Droppable(attention, torch.arange(heads), channels // heads, channels, rate / 2)
        )
        units = config.intermediate_size
        mlp = network.get_submodule(f"{block}.mlp.down_proj")
        sites.append(Droppable(mlp, torch.arange(units), 1, units, rate))
    return UnitDropout(sites)


class Planting:
    """Lets only the planted units learn, some of them absent from each row.

    The rest stays bitwise as it is: its gradients are zero from the first step and there is no weight decay,
    so AdamW never moves it.
    """

    def __init__(
        self, network: LlamaForCausalLM, units: Sequence[Sequence[int]], rate: float
    ) -> None:
        network.requires_grad_(False)
        anatomy = find_anatomy(network)
        planted = np.zeros(anatomy.units, dtype=bool)
        sites = []
        mlps = [site for site in anatomy.sites if site.kind == "mlp"]
        for site, chosen in zip(mlps, units, strict=True):
            planted[site.offset + np.array(chosen, dtype=np.int64)] = True
            down = network.get_submodule(site.module)
            sites.append(
                Droppable(down, torch.tensor(chosen, dtype=torch.long), 1, site.channels, rate)
            )
        self.parameters: list[tuple[str, nn.Parameter]] = []
        self._frozen: list[tuple[nn.Parameter, Slice]] = []
        for part in unit_slices(network, anatomy, planted):
            weight = network.get_parameter(part.parameter)
            weight.requires_grad_(True)
            self.parameters.append((part.parameter, weight))
            self._frozen.append((weight, part.complement(weight.shape[part.dim])))
        self.dropout = UnitDropout(sites)

    def noise(self, quiet: torch.Tensor) -> torch.Tensor:
        """How strongly the planted units spoke in the last forward where nothing was to be refused.

        `quiet` is bool [rows, tokens]. The squared length of what each unit adds to the stream, summed
        over units and averaged over quiet tokens: what is silent there is exclusive to safety.
        """
        total = torch.zeros(())
        for index, site in enumerate(self.dropout.sites):
            down = site.projection.weight
            assert isinstance(down, torch.Tensor)
            spoken = self.dropout.inputs[index][quiet][:, site.units]
            total = total + (spoken.square() * down[:, site.units].square().sum(0)).sum()
        return total / quiet.sum().clamp_min(1)

    def mask_gradients(self) -> None:
        """Keep only the gradients of the planted rows and columns."""
        for weight, frozen in self._frozen:
            assert weight.grad is not None
            frozen.clear(weight.grad)

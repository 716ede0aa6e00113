"""Low-rank adapters (LoRA) that leave frozen units bitwise as they are; needs the package peft.

A projection's change is scale * B A. Outputs are rows of B and inputs are columns of A, so a frozen row or
column of the weight is one of B or A that starts at zero and gets no gradient: AdamW's momentum and decay
of zero are zero, and the change there is exactly zero. On merging, the frozen slices are written back from a
copy, since adding zero turns a weight of -0.0 into 0.0.

Adapters stand at the units' own projections alone; biases, norms and embeddings do not move.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ssah_core.errors import OptionError
from ssah_core.models.anatomy import Anatomy
from ssah_core.models.slices import Slice, unit_slices
from ssah_core.training.freezing import Mask, check_sets, clearing
from ssah_core.training.options import Lora

_NAME = "default"  # peft's for an adapter


class AdaptedPart:
    """What a training of adapters moves, in place of a `TrainedPart`: it needs nothing after a step."""

    def __init__(self, network: PreTrainedModel) -> None:
        self._network = network
        self.parameters: Sequence[tuple[str, nn.Parameter]] = [
            (name, weight) for name, weight in network.named_parameters() if weight.requires_grad
        ]

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Nothing to do: what is frozen is zero and gets no gradient."""

    @contextmanager
    def merged(self) -> Iterator[None]:
        """The network as it will be saved: adapters added to the weights, and apart again on leaving.

        The weights come back from a copy, bitwise as they were.
        """
        from peft.tuners.lora import LoraLayer

        # A layer is a module besides, which peft's own types do not say.
        adapters: dict[str, Any] = {
            name: module
            for name, module in self._network.named_modules()
            if isinstance(module, LoraLayer)
        }
        kept: list[tuple[nn.Parameter, torch.Tensor]] = []
        try:
            for name, adapter in adapters.items():
                base = adapter.get_base_layer()
                weight = base.get_parameter("weight")
                kept.append((weight, weight.detach().clone()))
                with torch.no_grad():
                    weight.add_(adapter.get_delta_weight(_NAME))
                self._network.set_submodule(name, base)
            yield
        finally:
            with torch.no_grad():
                for weight, copy in kept:
                    weight.copy_(copy)
            for name, adapter in adapters.items():
                self._network.set_submodule(name, adapter)


@contextmanager
def adapted_part(
    network: PreTrainedModel,
    anatomy: Anatomy,
    lora: Lora,
    *,
    seed: int,
    freeze: Mask | None = None,
    train_only: Mask | None = None,
) -> Iterator[AdaptedPart]:
    """Put adapters at the projections of the units, and merge them into the weights on leaving.

    With `freeze` they change all units but those, with `train_only` those alone. `seed` is of the
    adapters' first values. Raises OptionError where peft is missing, and as `trained_part`.
    """
    check_sets(freeze, train_only)
    frozen = _frozen_slices(network, anatomy, freeze, train_only)
    weights = dict(network.named_parameters())
    most = min(min(weights[name].shape) for name in frozen)
    if lora.rank > most:
        raise OptionError(
            f"The rank of the adapters is {lora.rank:,}, and the smallest weight that they would change has "
            f"{most:,} rows or columns; give at most that."
        )
    kept = [
        (weights[name], part, part.read(weights[name].detach()))
        for name, part in frozen.items()
        if part is not None
    ]
    wrapped = _with_adapters(network, list(frozen), lora, seed)
    try:
        for name, part in frozen.items():
            if part is not None:
                _hold(network, name.removesuffix(".weight"), part)
        yield AdaptedPart(network)
    finally:
        wrapped.merge_and_unload()
        with torch.no_grad():
            for weight, part, copy in kept:
                part.write(weight, copy)
        network.requires_grad_(True)


def _frozen_slices(
    network: PreTrainedModel, anatomy: Anatomy, freeze: Mask | None, train_only: Mask | None
) -> dict[str, Slice | None]:
    """For each weight that gets an adapter, what of it stays; weights that stay whole are left out."""
    everything = np.ones(anatomy.units, dtype=bool)
    trained = everything if train_only is None else train_only
    found: dict[str, Slice | None] = {}
    for part in unit_slices(network, anatomy, trained):
        if part.parameter.endswith(".weight"):
            size = network.get_parameter(part.parameter).shape[part.dim]
            rest = part.complement(size)
            found[part.parameter] = rest if len(rest.index) else None
    for part in () if freeze is None else unit_slices(network, anatomy, freeze):
        if part.parameter.endswith(".weight"):
            size = network.get_parameter(part.parameter).shape[part.dim]
            if len(part.index) == size:
                del found[part.parameter]
            else:
                found[part.parameter] = part
    if not found:
        raise OptionError("Every unit is frozen, so adapters have nothing to learn; freeze fewer.")
    return found


def _with_adapters(network: PreTrainedModel, weights: Sequence[str], lora: Lora, seed: int) -> Any:
    """The network within peft's wrapper; the network itself has the adapters."""
    check_peft()
    from peft import LoraConfig, get_peft_model

    modules = [name.removesuffix(".weight") for name in weights]
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # any number will do
        target_modules=modules,
        fan_in_fan_out=any(isinstance(network.get_submodule(m), Conv1D) for m in modules),
    )
    torch.manual_seed(seed)
    warnings.filterwarnings(
        "ignore", "`is_gradient_checkpointing`", FutureWarning
    )  # peft asks for it
    return get_peft_model(network, config)


def check_peft() -> None:
    """Raise OptionError where the package peft is missing."""
    if importlib.util.find_spec("peft") is None:
        raise OptionError(
            "LoRA needs the package peft; install it with: pip install peft, or leave out --lora."
        )


def _hold(network: PreTrainedModel, module: str, part: Slice) -> None:
    """Keep the adapter of a projection at zero where its weight is frozen."""
    adapter = network.get_submodule(module)
    base = adapter.get_submodule("base_layer")
    is_output = part.dim == (1 if isinstance(base, Conv1D) else 0)
    weight = adapter.get_parameter(f"lora_{'B' if is_output else 'A'}.{_NAME}.weight")
    held = Slice(part.parameter, 0 if is_output else 1, part.index)
    with torch.no_grad():
        held.clear(weight)
    weight.register_post_accumulate_grad_hook(clearing(held))

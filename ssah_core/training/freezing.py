"""Which weights a training may move, exactly: what is frozen stays bitwise as it was.

AdamW moves a weight even where its gradient is zero: weight decay shrinks it, old momentum carries it
on. So masking gradients is not enough. Two mechanisms, each exact whatever the optimiser does:

`Frozen` keeps a set of units and trains everything else. The gradients of the frozen slices are cleared
as they come, so that they count in no norm and no momentum, and after each optimiser step the slices are
written back from a compact copy that was taken at the start. That costs a copy of the frozen slices and,
for a few percent of the units, next to no time.

`TrainedOnly` trains a set of units and keeps everything else. The optimiser never sees the network's
weights: it is given compact parameters that hold the trained slices alone, so its state is as small as
the set. As soon as a weight's gradient is complete, its slices are added to the compact gradient and the
rest is dropped; after each optimiser step the compact parameters are written into their slices, and
nothing else is ever written. The forward is the network's own: no parametrisation, no copy of a weight
per forward, and the state dict keeps its names.

A weight in both mechanisms is float32 (mixed precision casts copies), so writing back is bit for bit.
Tied embeddings stay tied and are no unit's; keys and values shared between heads are a slice only where
all their heads are in the set (`models/slices.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from ssah_core.errors import OptionError
from ssah_core.models.anatomy import Anatomy
from ssah_core.models.slices import Slice, unit_slices

Named = Sequence[tuple[str, nn.Parameter]]
Mask = Bool[np.ndarray, " units"]


class Trained(Protocol):
    """The part of a network that a training moves."""

    @property
    def parameters(self) -> Named:
        """What the optimiser moves, by the name of the network's parameter that it stands for."""

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep the network exact after every step of this optimiser."""

    def frozen_digest(self) -> str:
        """SHA-256 of all that must not move: the same before and after."""


@contextmanager
def trained_part(
    network: PreTrainedModel,
    anatomy: Anatomy,
    *,
    freeze: Mask | None = None,
    train_only: Mask | None = None,
) -> Iterator[Trained]:
    """Let a training move all weights but those of the units in `freeze`, or those in `train_only` alone.

    On leaving, hooks are gone and every weight may be trained again. Raises OptionError where both sets
    are given or one is empty, and as `unit_slices`.
    """
    part = _part(network, anatomy, freeze, train_only)
    try:
        yield part
    finally:
        part.release()
        network.requires_grad_(True)


def _part(
    network: PreTrainedModel, anatomy: Anatomy, freeze: Mask | None, train_only: Mask | None
) -> Frozen | TrainedOnly:
    if freeze is not None and train_only is not None:
        raise OptionError("Units are either frozen or trained alone; give one of the two sets.")
    for chosen in (freeze, train_only):
        if chosen is not None and not chosen.any():
            raise OptionError("The set of units is empty; choose at least one unit.")
    if train_only is not None:
        return TrainedOnly(network, unit_slices(network, anatomy, train_only))
    return Frozen(network, () if freeze is None else unit_slices(network, anatomy, freeze))


class _Hooked:
    """Holds hooks until they are released."""

    def __init__(self, network: PreTrainedModel) -> None:
        self._network = network
        self._handles: list[RemovableHandle] = []

    def release(self) -> None:
        """Remove the hooks: from here on, nothing is kept exact."""
        for handle in self._handles:
            handle.remove()


class Frozen(_Hooked):
    """Everything is trained but the slices, which stay bitwise as they are; none: everything is trained."""

    def __init__(self, network: PreTrainedModel, slices: Sequence[Slice]) -> None:
        super().__init__(network)
        network.requires_grad_(True)
        self.parameters: Named = list(network.named_parameters())
        weights = dict(self.parameters)
        self._kept = [
            (weights[part.parameter], part, part.read(weights[part.parameter].detach()))
            for part in slices
        ]
        for weight, part, _ in self._kept:
            self._handles.append(weight.register_post_accumulate_grad_hook(_clearing(part)))

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Write the frozen slices back after every step."""

        @torch.no_grad()
        def restore(*_: object) -> None:
            for weight, part, copy in self._kept:
                part.write(weight, copy)

        self._handles.append(optimizer.register_step_post_hook(restore))

    def frozen_digest(self) -> str:
        """SHA-256 of the frozen slices as they are in the network now."""
        return _digest(part.read(weight.detach()) for weight, part, _ in self._kept)


class TrainedOnly(_Hooked):
    """Only the slices are trained, as compact parameters; everything else stays bitwise as it is."""

    def __init__(self, network: PreTrainedModel, slices: Sequence[Slice]) -> None:
        super().__init__(network)
        network.requires_grad_(False)
        weights = dict(network.named_parameters())
        self._trained = [
            (
                weights[part.parameter],
                part,
                nn.Parameter(part.read(weights[part.parameter].detach())),
            )
            for part in slices
        ]
        self.parameters: Named = [(part.parameter, compact) for _, part, compact in self._trained]
        for weight, part, compact in self._trained:
            weight.requires_grad_(True)
            hook = weight.register_post_accumulate_grad_hook(_gathering(part, compact))
            self._handles.append(hook)

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Write the compact parameters into their slices after every step."""

        @torch.no_grad()
        def scatter(*_: object) -> None:
            for weight, part, compact in self._trained:
                part.write(weight, compact)
                compact.grad = None  # the network's own zero_grad does not know it

        self._handles.append(optimizer.register_step_post_hook(scatter))

    def frozen_digest(self) -> str:
        """SHA-256 of the network without the trained slices."""
        slices = {part.parameter: part for _, part, _ in self._trained}
        return _digest(
            _without(slices.get(name), weight.detach())
            for name, weight in self._network.named_parameters()
        )


def _clearing(part: Slice) -> _GradientHook:
    def clear(weight: torch.Tensor) -> None:
        assert weight.grad is not None
        part.clear(weight.grad)

    return clear


def _gathering(part: Slice, compact: nn.Parameter) -> _GradientHook:
    def gather(weight: torch.Tensor) -> None:
        assert weight.grad is not None
        gained = part.read(weight.grad)
        weight.grad = None
        compact.grad = gained if compact.grad is None else compact.grad.add_(gained)

    return gather


class _GradientHook(Protocol):
    def __call__(self, weight: torch.Tensor, /) -> None: ...


def _without(part: Slice | None, weight: torch.Tensor) -> torch.Tensor:
    if part is None:
        return weight
    rest = weight.clone()
    part.clear(rest)
    return rest


def _digest(tensors: Iterator[torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().cpu().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()

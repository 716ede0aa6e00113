"""Which weights a training may move, exactly: what is frozen stays bitwise as it was.

AdamW moves a weight even where its gradient is zero: weight decay shrinks it, old momentum carries it
on. So masking gradients is not enough. Two mechanisms, each exact whatever the optimiser does:

Restored slices. The optimiser moves the whole weight. The gradients of its frozen slice are cleared as
they come, so that they count in no norm and no momentum, and after each optimiser step the slice is
written back from a compact copy that was taken at the start.

Compact slices. The optimiser never sees the weight: it is given a compact parameter that holds the trained
slice alone, so its state is as small as the slice. As soon as the weight's gradient is complete, its slice
is added to the compact gradient and the rest is dropped; after each optimiser step the compact parameter
is written into its slice, and nothing else is ever written. The forward is the network's own: no
parametrisation, no copy of a weight per forward, and the state dict keeps its names.

To train a set of units alone, its slices are compact and nothing else is trained. To freeze a set, each
weight takes the cheaper: what is frozen is restored where it is at most half of the weight, else what is
trained is compact.

Weights are float32 while they are trained (mixed precision casts copies), so writing back is bit for bit.
Tied embeddings stay tied and are no unit's; keys and values shared between heads are a slice only where
all their heads are in the set (`models/slices.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from jaxtyping import Bool
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from ssah_core.errors import OptionError
from ssah_core.models.anatomy import Anatomy
from ssah_core.models.slices import Slice, unit_slices

Mask = Bool[np.ndarray, " units"]


@contextmanager
def trained_part(
    network: PreTrainedModel,
    anatomy: Anatomy,
    *,
    freeze: Mask | None = None,
    train_only: Mask | None = None,
) -> Iterator[TrainedPart]:
    """Let a training move all weights but those of the units in `freeze`, or those in `train_only` alone.

    On leaving, hooks are gone and every weight may be trained again. Raises OptionError where both sets
    are given or one is empty, and as `unit_slices`.
    """
    check_sets(freeze, train_only)
    if train_only is not None:
        part = _only(network, unit_slices(network, anatomy, train_only))
    else:
        part = _all_but(network, () if freeze is None else unit_slices(network, anatomy, freeze))
    try:
        yield part
    finally:
        part.release()


def check_sets(freeze: Mask | None, train_only: Mask | None) -> None:
    """Raise OptionError where both sets are given, or one is empty."""
    if freeze is not None and train_only is not None:
        raise OptionError("Units are either frozen or trained alone; give one of the two sets.")
    for chosen in (freeze, train_only):
        if chosen is not None and not chosen.any():
            raise OptionError("The set of units is empty; choose at least one unit.")


def _only(network: PreTrainedModel, slices: Sequence[Slice]) -> TrainedPart:
    named = {part.parameter for part in slices}
    fixed = {name for name, _ in network.named_parameters() if name not in named}
    return TrainedPart(network, compact=slices, restored=(), fixed=fixed)


def _all_but(network: PreTrainedModel, slices: Sequence[Slice]) -> TrainedPart:
    """For each weight the cheaper of the two: restore what is frozen, or train the rest compactly."""
    compact, restored, fixed = [], [], set()
    for part in slices:
        size = network.get_parameter(part.parameter).shape[part.dim]
        if len(part.index) == size:
            fixed.add(part.parameter)
        elif 2 * len(part.index) > size:
            compact.append(part.complement(size))
        else:
            restored.append(part)
    return TrainedPart(network, compact=compact, restored=restored, fixed=fixed)


class TrainedPart:
    """The part of a network that a training moves.

    `parameters` is what the optimiser is given, by the names of the network's weights that they are or
    stand for. Weights named in `fixed` are not trained; of those in `compact` the slice alone is, of those
    in `restored` all but the slice; all other weights are trained whole.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        *,
        compact: Sequence[Slice],
        restored: Sequence[Slice],
        fixed: Collection[str],
    ) -> None:
        self._network = network
        self._weights = dict(network.named_parameters())
        self._handles: list[RemovableHandle] = []
        for name, weight in self._weights.items():
            weight.requires_grad_(name not in fixed)
        self._restored = [(part, self._read(part)) for part in restored]
        self._compact = [(part, nn.Parameter(self._read(part))) for part in compact]
        apart = {*fixed, *(part.parameter for part in compact)}
        self.parameters: Sequence[tuple[str, nn.Parameter]] = [
            *((name, weight) for name, weight in self._weights.items() if name not in apart),
            *((part.parameter, own) for part, own in self._compact),
        ]
        hooks = [
            *((part.parameter, clearing(part)) for part, _ in self._restored),
            *((part.parameter, _gathering(part, own)) for part, own in self._compact),
        ]
        for name, hook in hooks:
            self._handles.append(self._weights[name].register_post_accumulate_grad_hook(hook))

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep the network exact after every step of this optimiser."""

        @torch.no_grad()
        def write(*_: object) -> None:
            for part, copy in self._restored:
                part.write(self._weights[part.parameter], copy)
            for part, own in self._compact:
                part.write(self._weights[part.parameter], own)
                own.grad = None  # the network's own zero_grad does not know it

        self._handles.append(optimizer.register_step_post_hook(write))

    def merged(self) -> AbstractContextManager[None]:
        """The network as it will be saved: it is that already."""
        return nullcontext()

    def frozen_digest(self) -> str:
        """SHA-256 of all that must not move, as it is in the network now: the same before and after."""
        trained = {name for name, _ in self.parameters}
        restored = {part.parameter: part for part, _ in self._restored}
        compact = {part.parameter: part for part, _ in self._compact}
        digest = hashlib.sha256()
        for name, weight in self._weights.items():
            frozen = weight.detach()
            if name in restored:
                frozen = restored[name].read(frozen)
            elif name in compact:
                frozen = frozen.clone()
                compact[name].clear(frozen)
            elif name in trained:
                continue
            digest.update(frozen.contiguous().cpu().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def release(self) -> None:
        """Remove the hooks: from here on nothing is kept exact, and every weight may be trained."""
        for handle in self._handles:
            handle.remove()
        self._network.requires_grad_(True)

    def _read(self, part: Slice) -> torch.Tensor:
        return part.read(self._weights[part.parameter].detach())


def clearing(part: Slice) -> Callable[[torch.Tensor], None]:
    """A hook that clears a slice of a weight's gradient as soon as it is there."""

    def clear(weight: torch.Tensor) -> None:
        assert weight.grad is not None
        part.clear(weight.grad)

    return clear


def _gathering(part: Slice, compact: nn.Parameter) -> Callable[[torch.Tensor], None]:
    def gather(weight: torch.Tensor) -> None:
        assert weight.grad is not None
        gained = part.read(weight.grad)
        weight.grad = None
        compact.grad = gained if compact.grad is None else compact.grad.add_(gained)

    return gather

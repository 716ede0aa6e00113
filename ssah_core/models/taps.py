"""The one hook mechanism: a permanent tap at each site, and the instruction that a forward carries.

A tap is a forward pre-hook on a write-out projection. It does nothing unless the current context
carries an instruction for its own model: `Observe` (look at the activations) or `Scale` (multiply by
factors per row, add a fill per row). No weight is edited and no hook is added per request, so threads
with different instructions share one model and cannot see each other, and leaving `instructed`
restores everything bit for bit.

Never yield inside `instructed`: a generator would leak the instruction to its caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import nn
from transformers import PreTrainedModel

from ssah_core.errors import AblationError, ModelError
from ssah_core.models.anatomy import Anatomy


@runtime_checkable
class Instruction(Protocol):
    """What a forward pass asks of the taps."""

    def at(self, site: int, x: torch.Tensor) -> torch.Tensor | None:
        """Called with the site's position in `anatomy.sites` and its activations.

        `x` is [rows, tokens, channels], or [rows * tokens, channels] in architectures that flatten
        tokens before the MLP. Returns what replaces it, or None to leave it alone.
        """


# At module level: an object that holds a ContextVar cannot be deep-copied. The keys are the models'
# own, so an instruction for one model never acts in another that runs in the same context.
_CURRENT: ContextVar[Mapping[object, Instruction]] = ContextVar("instructions", default={})  # noqa: B039


class _Tap:
    def __init__(self, owner: object, site: int) -> None:
        self.owner = owner
        self.site = site

    def __call__(self, module: nn.Module, inputs: tuple) -> tuple | None:
        instruction = _CURRENT.get().get(self.owner)
        if instruction is None:
            return None
        replaced = instruction.at(self.site, inputs[0])
        return None if replaced is None else (replaced, *inputs[1:])


class Taps:
    """The taps of one network; installed once, when the model is opened."""

    def __init__(self, network: PreTrainedModel, anatomy: Anatomy) -> None:
        self.owner = object()
        self._handles = [
            network.get_submodule(site.module).register_forward_pre_hook(_Tap(self.owner, index))
            for index, site in enumerate(anatomy.sites)
        ]

    def remove(self) -> None:
        """Take the taps off again; the network is then as transformers made it."""
        for handle in self._handles:
            handle.remove()

    @contextmanager
    def instructed(self, instruction: Instruction | None) -> Iterator[None]:
        """Carry an instruction through the forwards of this context; None: nothing is done to them.

        An inner context replaces an outer one of the same model until it is left.
        """
        others = {owner: kept for owner, kept in _CURRENT.get().items() if owner is not self.owner}
        token = _CURRENT.set(others if instruction is None else {**others, self.owner: instruction})
        try:
            yield
        finally:
            _CURRENT.reset(token)


@dataclass
class Scale:
    """Multiply each row's channels by its own factors and add its own fill.

    `factors` and `fills` hold, by site position, tensors [rows, 1, channels] (rows = 1: the same for
    every row); sites that nothing touches are absent. `names` are the sites' names, for messages.
    One `Scale` serves one thread: it counts what fired.
    """

    factors: dict[int, torch.Tensor]
    fills: dict[int, torch.Tensor]
    names: Sequence[str]
    fired: set[int] = field(default_factory=set)

    def at(self, site: int, x: torch.Tensor) -> torch.Tensor | None:
        factor = self.factors.get(site)
        if factor is None:
            return None
        if factor.device != x.device or factor.dtype != x.dtype:
            factor = self.factors[site] = factor.to(x.device, x.dtype)
        self.fired.add(site)
        by_row = self._rows_first(x, factor.shape[0])
        scaled = by_row * factor
        fill = self.fills.get(site)
        if fill is not None:
            if fill.device != x.device or fill.dtype != x.dtype:
                fill = self.fills[site] = fill.to(x.device, x.dtype)
            scaled += fill
        return scaled.reshape(x.shape)

    def of_rows(self, rows: torch.Tensor) -> Scale:
        """The instruction for some of the rows; `rows` is int64 [n]."""

        def some(by_row: torch.Tensor) -> torch.Tensor:
            return by_row if by_row.shape[0] == 1 else by_row[rows.to(by_row.device)]

        factors = {site: some(factor) for site, factor in self.factors.items()}
        fills = {site: some(fill) for site, fill in self.fills.items()}
        return Scale(factors, fills, self.names)

    def _rows_first(self, x: torch.Tensor, rows: int) -> torch.Tensor:
        if (x.dim() == 3 and x.shape[0] == rows) or rows == 1:
            return x if x.dim() == 3 else x.unsqueeze(0)
        if x.dim() == 2 and x.shape[0] % rows == 0:  # tokens flattened, row after row
            return x.reshape(rows, -1, x.shape[-1])
        raise AblationError(
            f"This forward has {x.shape[0]} rows, but {rows} ablations were given; "
            "give one ablation for all rows, or one for each."
        )

    def check_fired(self) -> None:
        """Raise AblationError where a masked site's tap has not run since the last check."""
        silent = [self.names[site] for site in sorted(self.factors.keys() - self.fired)]
        self.fired.clear()
        if silent:
            raise AblationError(
                f"The ablation did not act at {', '.join(silent[:3])}"
                f"{f' and {len(silent) - 3} more sites' if len(silent) > 3 else ''}: their "
                "projections were never called. Load the model anew, uncompiled and without "
                "replaced kernels."
            )


@dataclass
class _Count:
    widths: dict[int, list[int]] = field(default_factory=dict)

    def at(self, site: int, x: torch.Tensor) -> None:
        self.widths.setdefault(site, []).append(x.shape[-1])


def probe(network: PreTrainedModel, taps: Taps, anatomy: Anatomy) -> None:
    """One tiny forward that proves the anatomy: every site fires once, with the expected width.

    Raises ModelError naming the first site that does not, or where the logits are not finite.
    """
    count = _Count()
    token_ids = torch.zeros((1, 2), dtype=torch.long, device=network.device)
    with torch.inference_mode(), taps.instructed(count):
        logits = network(input_ids=token_ids, use_cache=False).logits
    for index, site in enumerate(anatomy.sites):
        widths = count.widths.get(index, [])
        if widths != [site.channels]:
            raise ModelError(
                f"The tap at {site.name} ({site.module}) saw {widths or 'nothing'} in one forward "
                f"where one input of {site.channels} channels was expected; this model cannot be "
                "scored or ablated safely."
            )
    if not bool(torch.isfinite(logits).all()):
        raise ModelError(
            "The model's output is not finite (NaN or infinity) on a trial input; its weights are "
            "damaged or the dtype is too small: try dtype='float32'."
        )

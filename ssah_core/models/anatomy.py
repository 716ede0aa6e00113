"""The sites and units of one model, and the flat index over them.

Everything after this stop speaks of units by their place in one flat vector: scores, roles and
factors of a model are vectors of length `anatomy.units`. Sites stand in the order of the forward
pass (layer by layer, attention before MLP), so the flat index never depends on how a model was found.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ssah_core.errors import AblationError

Kind = Literal["attn", "mlp"]
Kinds = Literal["attn", "mlp", "both"]

_UNIT_NAME = re.compile(r"L([0-9]{1,9})\.(attn|mlp)\.([0-9]{1,9})")


@dataclass(frozen=True)
class Site:
    """The input of one write-out projection: attention's output projection or the MLP's down projection.

    `module` is the projection's dotted name in the network, `units` how many units feed it, `width`
    the channels of each unit (1 for an MLP channel, head_dim for a head), `offset` the flat index of
    its first unit.
    """

    layer: int
    kind: Kind
    module: str
    units: int
    width: int
    offset: int

    @property
    def channels(self) -> int:
        """How many input channels the projection has."""
        return self.units * self.width

    @property
    def name(self) -> str:
        """For example `L12.mlp`."""
        return f"L{self.layer}.{self.kind}"

    @property
    def slice(self) -> slice:
        """Where this site's units lie in a flat vector over units."""
        return slice(self.offset, self.offset + self.units)


@dataclass(frozen=True)
class Anatomy:
    """All sites of a model, in forward order."""

    sites: tuple[Site, ...]

    @cached_property
    def units(self) -> int:
        """How many units the model has: the length of every flat vector."""
        return sum(site.units for site in self.sites)

    @cached_property
    def layers(self) -> int:
        """How many blocks the model has."""
        return 1 + max(site.layer for site in self.sites)

    @cached_property
    def channel_slices(self) -> tuple[slice, ...]:
        """For each site, where its channels lie in a flat vector over channels."""
        ends = np.cumsum([site.channels for site in self.sites]).tolist()
        return tuple(slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True))

    @cached_property
    def channels(self) -> int:
        """How many channels the model has over all sites."""
        return self.channel_slices[-1].stop

    def of_kind(self, kinds: Kinds) -> np.ndarray:
        """A bool mask [units]: which units are of the given kind."""
        wanted = [kinds in ("both", site.kind) for site in self.sites]
        return np.repeat(wanted, [site.units for site in self.sites])

    def in_layers(self, layers: Collection[int] | None) -> np.ndarray:
        """A bool mask [units]: which units are in the given layers; None stands for all.

        Raises AblationError for a layer that the model does not have.
        """
        if layers is None:
            return np.ones(self.units, dtype=bool)
        unknown = sorted(set(layers) - set(range(self.layers)))
        if unknown:
            raise AblationError(
                f"There is no layer {unknown[0]}: this model has layers 0 to {self.layers - 1}."
            )
        inside = [site.layer in layers for site in self.sites]
        return np.repeat(inside, [site.units for site in self.sites])

    def per_channel(self, unit_values: np.ndarray) -> np.ndarray:
        """Spread a vector over units [units] to one over channels [channels]."""
        widths = np.repeat([s.width for s in self.sites], [s.units for s in self.sites])
        return np.repeat(unit_values, widths)

    def name_of(self, unit: int) -> str:
        """The name of a unit by its flat index, for example `L12.mlp.4096`."""
        for site in self.sites:
            if site.offset <= unit < site.offset + site.units:
                return f"{site.name}.{unit - site.offset}"
        raise AblationError(f"There is no unit {unit}: this model has units 0 to {self.units - 1}.")

    def names(self) -> list[str]:
        """The names of all units, in flat order."""
        return [f"{site.name}.{index}" for site in self.sites for index in range(site.units)]

    def proper_name(self, name: str) -> str:
        """The one name of a unit, whatever zeros and spaces it was written with; errors as `index_of`."""
        return self.name_of(self.index_of(name))

    def index_of(self, name: str) -> int:
        """The flat index of a unit by its name.

        Raises AblationError where the name is malformed or the model has no such unit.
        """
        match = _UNIT_NAME.fullmatch(name.strip())
        if not match:
            raise AblationError(
                f"'{name}' is not a unit name; write one like L3.mlp.17 or L3.attn.2 "
                "(layer, kind, index, all from 0)."
            )
        layer, kind, index = int(match[1]), match[2], int(match[3])
        for site in self.sites:
            if site.layer == layer and site.kind == kind:
                if index < site.units:
                    return site.offset + index
                raise AblationError(
                    f"There is no unit {name}: {site.name} has units 0 to {site.units - 1}."
                )
        raise AblationError(
            f"There is no unit {name}: this model has layers 0 to {self.layers - 1}, "
            "each with attn and mlp."
        )


def in_ranges(layers: Collection[int]) -> str:
    """Layers in words: "layers 0, 3 to 5", or "layer 7"."""
    ordered = sorted(layers)
    starts = [n for n in ordered if n - 1 not in layers]
    ends = [n for n in ordered if n + 1 not in layers]
    parts = [str(a) if a == b else f"{a} to {b}" for a, b in zip(starts, ends, strict=True)]
    return f"layer{'' if len(ordered) == 1 else 's'} {', '.join(parts)}"

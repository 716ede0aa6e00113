"""Ablation: which units, by how much, filled with what; and its form for the taps.

An ablation is one vector of factors over units (0 removed, 1 untouched, up to 2) and, for mean fill,
one vector of means over channels. A channel x becomes factor * x + (1 - factor) * fill. It travels
with the request and never with the model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from ssah_core.errors import AblationError
from ssah_core.models.anatomy import Anatomy, Kinds, in_ranges
from ssah_core.models.loading import Model
from ssah_core.models.taps import Scale
from ssah_core.roles import Role, Roles, check_role

Fill = Literal["zero", "mean"]
FILLS: tuple[Fill, ...] = ("zero", "mean")
Match = Literal["size", "layer"]


@dataclass(frozen=True, eq=False)
class Ablation:
    """Factors per unit, the means to fill with (None: zero), and a label in words."""

    anatomy: Anatomy
    factors: Float32[np.ndarray, " units"]
    means: Float32[np.ndarray, " channels"] | None
    label: str

    def __post_init__(self) -> None:
        if self.factors.shape != (self.anatomy.units,):
            raise AblationError(
                f"There are {len(self.factors)} factors for {self.anatomy.units} units; give one each."
            )
        if not bool(((self.factors >= 0) & (self.factors <= 2)).all()):  # catches NaN too
            raise AblationError(
                "A factor lies outside 0 to 2; 0 removes a unit, 1 leaves it alone."
            )

        if self.means is not None and self.means.shape != (self.anatomy.channels,):
            raise AblationError(
                f"There are {len(self.means)} means for {self.anatomy.channels} channels; give one each."
            )

    @property
    def changed(self) -> np.ndarray:
        """A bool mask [units] of the units that are not left alone."""
        return self.factors != 1

    @property
    def count(self) -> int:
        """How many units are not left alone."""
        return int(self.changed.sum())

    @classmethod
    def of(
        cls,
        roles: Roles,
        which: Role | Sequence[Role],
        *,
        strongest: float = 1.0,
        factor: float = 0.0,
        fill: Fill = "zero",
        layers: Collection[int] | None = None,
        also: Sequence[str] = (),
        spare: Sequence[str] = (),
    ) -> Ablation:
        """Ablate the units of one role or several, or the strongest part of each (0 to 1).

        With `layers`, only the roles' units there. Units named in `also` are ablated whatever their
        role and layer, those in `spare` are left alone. Mean fill takes the utility set's means over
        the roles' tokens.
        """
        chosen = [check_role(role) for role in ([which] if isinstance(which, str) else which)]
        if not 0 <= strongest <= 1:
            raise AblationError(f"The part to ablate is {strongest}; give a number from 0 to 1.")
        anatomy = roles.scores.anatomy
        among = anatomy.in_layers(layers)
        ranked = [order[among[order]] for order in (roles.ranked(role) for role in chosen)]
        units = [order[: int(strongest * len(order) + 1e-9)] for order in ranked]
        named = [np.array([anatomy.index_of(name) for name in also], dtype=np.int64)]
        spared = [anatomy.index_of(name) for name in spare]
        return cls._removing(
            anatomy,
            np.setdiff1d(np.concatenate([*named, *units]), spared),
            factor,
            roles.view.means if check_fill(fill) == "mean" else None,
            _label(chosen, strongest, layers, also, spare),
        )

    @classmethod
    def units(
        cls,
        anatomy: Anatomy,
        names: Sequence[str],
        *,
        factor: float = 0.0,
        means: Float32[np.ndarray, " channels"] | None = None,
    ) -> Ablation:
        """Ablate units by name, such as ["L3.mlp.17", "L0.attn.2"]; fills with `means` where given."""
        names = [names] if isinstance(names, str) else names
        indices = np.array([anatomy.index_of(name) for name in names], dtype=np.int64)
        label = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return cls._removing(anatomy, indices, factor, means, label)

    @classmethod
    def random_like(cls, other: Ablation, *, seed: int, match: Match = "size") -> Ablation:
        """As many random units as `other` changes, with the same fill: its control.

        `match="size"` draws from all units of the kinds that `other` touches; `match="layer"` draws
        as many from each layer and kind as `other` has there. Draws may meet `other`'s own units: a
        control that avoided them would not be a random set. They take `other`'s changed factors, in
        random order.
        """
        indices = draw_like(other.anatomy, other.changed, seed=seed, match=match)
        label = f"{other.count} random units ({match}-matched, seed {seed})"
        return cls._removing(
            other.anatomy, indices, other.factors[other.changed], other.means, label
        )

    @classmethod
    def _removing(
        cls,
        anatomy: Anatomy,
        units: np.ndarray,
        factor: float | np.ndarray,
        means: Float32[np.ndarray, " channels"] | None,
        label: str,
    ) -> Ablation:
        factors = np.ones(anatomy.units, dtype=np.float32)
        factors[units] = factor
        return cls(anatomy, factors, means, label)


def draw_like(
    anatomy: Anatomy, chosen: Bool[np.ndarray, " units"], *, seed: int, match: Match = "size"
) -> Int64[np.ndarray, " n"]:
    """As many random units as are chosen, by flat index; matched as in `Ablation.random_like`.

    Raises AblationError for an unknown match or a negative seed.
    """
    if match not in ("size", "layer"):
        raise AblationError(f"match='{match}' is not a choice; use size or layer.")
    if seed < 0:
        raise AblationError(f"The seed is {seed}; give a whole number from 0 on.")
    generator = np.random.default_rng(seed)
    touched = [site for site in anatomy.sites if chosen[site.slice].any()]
    if match == "layer":
        drawn = [
            site.offset + generator.choice(site.units, int(chosen[site.slice].sum()), replace=False)
            for site in touched
        ]
    else:
        touched_kinds = {site.kind for site in touched}
        kinds: Kinds = "both" if len(touched_kinds) != 1 else touched_kinds.pop()
        pool = np.flatnonzero(anatomy.of_kind(kinds))
        drawn = [generator.choice(pool, int(chosen.sum()), replace=False)]
    return np.concatenate([np.empty(0, dtype=np.int64), *drawn])


def _label(
    roles: Sequence[Role],
    strongest: float,
    layers: Collection[int] | None,
    also: Sequence[str],
    spare: Sequence[str],
) -> str:
    """For example "the strongest 40% of ESU of layers 2 to 5, and 1 more unit"."""
    part = "" if strongest == 1 else f"the strongest {strongest:.0%} of "
    words = [part + " and ".join(roles) + (f" of {in_ranges(layers)}" if layers else "")]
    words = words if roles else []
    if also:
        words.append(f"{len(also)} {'more ' if roles else ''}unit{'' if len(also) == 1 else 's'}")
    if spare:
        words.append(f"{len(spare)} unit{'' if len(spare) == 1 else 's'} spared")
    return ", ".join(words)


def compile_rows(model: Model, ablations: Sequence[Ablation | None]) -> Scale | None:
    """One instruction for a batch whose row i is under `ablations[i]`; None where nothing is changed.

    Raises AblationError where an ablation was made for a model of another anatomy.
    """
    anatomy = model.anatomy
    for ablation in ablations:
        if ablation is not None and ablation.anatomy != anatomy:
            raise AblationError(
                f"The ablation ({ablation.label}) was made for another model; score this one "
                f"({model.name}) and make it anew."
            )
    factors: dict[int, torch.Tensor] = {}
    fills: dict[int, torch.Tensor] = {}
    for index, (site, channels) in enumerate(
        zip(anatomy.sites, anatomy.channel_slices, strict=True)
    ):
        rows = [None if a is None else a.factors[site.slice] for a in ablations]
        if all(row is None or (row == 1).all() for row in rows):
            continue
        ones = np.ones(site.units, dtype=np.float32)
        by_unit = np.stack([ones if row is None else row for row in rows])
        by_channel = np.repeat(by_unit, site.width, axis=1)[:, None, :]
        factors[index] = torch.from_numpy(by_channel).to(model.device, model.dtype)
        means = [None if a is None or a.means is None else a.means[channels] for a in ablations]
        if any(mean is not None for mean in means):
            filled = np.stack(
                [np.zeros(site.channels, np.float32) if m is None else m for m in means]
            )
            fill = (1 - by_channel) * filled[:, None, :]
            fills[index] = torch.from_numpy(fill).to(model.device, model.dtype)
    if not factors:
        return None
    return Scale(factors, fills, [site.name for site in anatomy.sites])


@contextmanager
def ablated(model: Model, ablation: Ablation | Sequence[Ablation | None] | None) -> Iterator[None]:
    """Run any code under an ablation, or under one for each row of the batch.

    `model.network` is transformers' own and stays as it is; leaving restores everything bit for bit.
    Do not yield from inside, and use the `ablations` of `generate` for its replies: each row has its
    own, whatever is set here. Raises AblationError on leaving where a masked site's tap never ran, so
    that no result is taken for ablated that is not.
    """
    rows = [ablation] if ablation is None or isinstance(ablation, Ablation) else list(ablation)
    scale = compile_rows(model, rows)
    with model.taps.instructed(scale):
        yield
    if scale is not None:
        scale.check_fired()


def check_fill(fill: str) -> Fill:
    """The fill by its name; raises AblationError for any other word."""
    for known in FILLS:
        if fill == known:
            return known
    raise AblationError(f"fill='{fill}' is not a choice; use {' or '.join(FILLS)}.")

"""Sets of units to freeze or to train alone, chosen by role, with where they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from ssah_core.ablation import draw_like
from ssah_core.errors import OptionError
from ssah_core.models.anatomy import Anatomy, Kind
from ssah_core.roles import Roles, check_role


@dataclass(frozen=True, eq=False)
class UnitSet:
    """Which units, and where they came from: what a manifest says of them."""

    anatomy: Anatomy
    mask: Bool[np.ndarray, " units"]
    origin: Mapping[str, Any]

    @classmethod
    def of(
        cls, roles: Roles, which: Sequence[str], *, strongest_cu: float = 0.0, run: str = ""
    ) -> UnitSet:
        """The units of some roles, and the strongest CU besides: a share of all units, the largest
        I_S - I_U first (METHOD 1.3). `run` is the folder that the roles came from.

        Raises OptionError for a word that is no role, or a share outside 0 to 1.
        """
        if not 0 <= strongest_cu <= 1:
            raise OptionError(f"The share of CU is {strongest_cu}; give a number from 0 to 1.")
        named = [check_role(role) for role in which]
        anatomy = roles.scores.anatomy
        mask = np.zeros(anatomy.units, dtype=bool)
        for role in named:
            mask |= roles.mask(role)
        mask[roles.ranked("CU")[: int(strongest_cu * anatomy.units + 1e-9)]] = True
        origin = {
            "run": run,
            "roles": named,
            "strongest_cu": strongest_cu,
            "counts": {role: int((mask & roles.mask(role)).sum()) for role in roles.counts},
            "model": roles.scores.fingerprint,
            "assigned": roles.about,
        }
        return cls(anatomy, mask, origin)

    @classmethod
    def least_useful(cls, roles: Roles, share: float, *, run: str = "") -> UnitSet:
        """The units of smallest I_U, a share of all: redundant by the utility set alone (METHOD 1.7).

        Raises OptionError for a share outside 0 to 1, or of no unit.
        """
        anatomy = roles.scores.anatomy
        count = int(share * anatomy.units + 1e-9) if 0 < share <= 1 else 0
        if not count:
            raise OptionError(
                f"The share of units to train is {share}; give a number above 0, up to 1."
            )
        mask = np.zeros(anatomy.units, dtype=bool)
        mask[np.argsort(roles.view.utility, kind="stable")[:count]] = True
        origin = {
            "run": run,
            "least_useful": share,
            "tokens": roles.tokens,
            "counts": {role: int((mask & roles.mask(role)).sum()) for role in roles.counts},
            "model": roles.scores.fingerprint,
            "assigned": roles.about,
        }
        return cls(anatomy, mask, origin)

    @classmethod
    def random_like(cls, other: UnitSet, *, seed: int) -> UnitSet:
        """As many random units, of the kinds that the other has: its control."""
        mask = np.zeros(len(other.mask), dtype=bool)
        mask[draw_like(other.anatomy, other.mask, seed=seed)] = True
        return cls(other.anatomy, mask, {"random_seed": seed, "like": dict(other.origin)})

    @property
    def count(self) -> int:
        """How many units are in the set."""
        return int(self.mask.sum())

    def as_json(self) -> dict[str, Any]:
        """How many units of each kind, and where they came from."""
        kinds: dict[str, int] = {
            kind: int((self.mask & self.anatomy.of_kind(kind)).sum()) for kind in _KINDS
        }
        return {"units": self.count, "share": self.count / len(self.mask), **kinds, **self.origin}


_KINDS: tuple[Kind, ...] = ("attn", "mlp")

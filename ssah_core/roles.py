"""ESU, EUU, CU, RU: the role of every unit, from its scores (METHOD 1.3).

RU is taken first (smallest I_S + I_U), then ESU (largest I_S - I_U) and EUU (smallest) from what is
left; the rest is CU. Shares are of all units of the model, a share's count is floor(share x units),
and ties go by flat index. `kinds` limits which units may take a role other than CU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Int64, UInt8

from ssah_core.errors import OptionError
from ssah_core.models.anatomy import Kinds
from ssah_core.scoring.scores import Scores, Tokens, UnitScores

Role = Literal["ESU", "EUU", "CU", "RU"]
ROLES: tuple[Role, ...] = ("ESU", "EUU", "CU", "RU")
_CHOSEN: tuple[Role, ...] = ("RU", "ESU", "EUU")  # in this order (METHOD 1.3); the rest is CU
ROLE_CODES: dict[Role, int] = {role: code for code, role in enumerate(ROLES)}
KIND_CHOICES: tuple[Kinds, ...] = ("both", "mlp", "attn")

# Chosen on the organism's validation splits; the README and the model card give the figures.
DEFAULT_TOKENS: Tokens = "prompt"
DEFAULT_KINDS: Kinds = "both"


@dataclass(frozen=True)
class Thresholds:
    """The scores at which roles begin: RU at or below `ru` of I_S + I_U, ESU at or above `esu` of
    I_S - I_U, EUU at or above `euu` of I_U - I_S. Infinite (or -infinite for RU) where no unit
    has the role.
    """

    esu: float
    euu: float
    ru: float


@dataclass(frozen=True, eq=False)
class Roles:
    """The role of every unit, with the scores and options that made it.

    `vector` holds codes into `ROLES`. `shares` is None where the roles were assigned by thresholds.
    """

    vector: UInt8[np.ndarray, " units"]
    scores: Scores
    tokens: Tokens
    kinds: Kinds
    shares: dict[Role, float] | None

    @property
    def view(self) -> UnitScores:
        """The unit scores that the roles were read from."""
        return self.scores.at(self.tokens)

    @cached_property
    def counts(self) -> dict[Role, int]:
        """How many units have each role."""
        found = np.bincount(self.vector, minlength=len(ROLES))
        return {role: int(found[code]) for role, code in ROLE_CODES.items()}

    @property
    def about(self) -> dict[str, Any]:
        """What a manifest says of how they were assigned, and how many units each has."""
        return {
            "tokens": self.tokens,
            "kinds": self.kinds,
            "shares": self.shares,
            "thresholds": asdict(self.thresholds),
            "counts": self.counts,
        }

    def mask(self, role: Role) -> np.ndarray:
        """A bool mask [units] of the units of one role."""
        return self.vector == ROLE_CODES[check_role(role)]

    def ranked(self, role: Role) -> Int64[np.ndarray, " n"]:
        """The flat indices of a role's units, the strongest first.

        ESU and CU go by I_S - I_U from the top (the paper's "top 6% of CU"), EUU by I_U - I_S, and RU
        by I_S + I_U from the bottom.
        """
        return _ordered(
            _rank_keys(self.view.difference, self.view.total)[check_role(role)], self.mask(role)
        )

    @cached_property
    def by_layer(self) -> pd.DataFrame:
        """Counts by layer and kind: columns layer, kind, ESU, EUU, CU, RU."""
        rows = []
        for site in self.scores.anatomy.sites:
            found = np.bincount(self.vector[site.slice], minlength=len(ROLES))
            rows.append(
                {
                    "layer": site.layer,
                    "kind": site.kind,
                    **dict(zip(ROLES, found.tolist(), strict=True)),
                }
            )
        return pd.DataFrame(rows)

    @cached_property
    def thresholds(self) -> Thresholds:
        """The cut lines of these roles: the scores of each role's weakest unit."""
        view = self.view
        ru, esu, euu = (self.mask(role) for role in ("RU", "ESU", "EUU"))
        return Thresholds(
            esu=float(view.difference[esu].min(initial=np.inf)),
            euu=float((-view.difference)[euu].min(initial=np.inf)),
            ru=float(view.total[ru].max(initial=-np.inf)),
        )


def assign_roles(
    scores: Scores,
    esu: float,
    euu: float,
    ru: float,
    *,
    tokens: Tokens = DEFAULT_TOKENS,
    kinds: Kinds = DEFAULT_KINDS,
) -> Roles:
    """Assign roles by shares of all units (0 to 1), as in METHOD 1.3.

    Raises OptionError where a share is negative, they sum above 1, or the chosen kinds have too few
    units for them.
    """
    shares: dict[Role, float] = {"ESU": esu, "EUU": euu, "RU": ru}
    _check_shares(shares)
    pool = _pool(scores, kinds)
    counts = {role: math.floor(share * len(pool) + 1e-9) for role, share in shares.items()}
    if sum(counts.values()) > pool.sum():
        raise OptionError(
            f"The shares ask for {sum(counts.values())} units, but there are only {pool.sum()} of "
            f"kind '{kinds}'; lower the shares, or use kinds 'both'."
        )
    view = scores.at(tokens)
    vector = assign_by_counts(view.difference, view.total, pool, counts)
    return Roles(vector, scores, tokens, kinds, shares)


def assign_by_counts(
    difference: Float32[np.ndarray, "*rows units"],
    total: Float32[np.ndarray, "*rows units"],
    pool: Bool[np.ndarray, " units"],
    counts: Mapping[Role, int],
) -> UInt8[np.ndarray, "*rows units"]:
    """The code of every unit's role, for one scoring or for rows of them: RU first, then ESU, then EUU.

    `difference` is I_S - I_U, `total` I_S + I_U; `pool` are the units that may have a role other than
    CU, and must be as many as the counts need.
    """
    keys = _rank_keys(difference, total)
    vectors = np.full(difference.shape, ROLE_CODES["CU"], dtype=np.uint8)
    for role in _CHOSEN:
        if counts[role]:
            free = pool & (vectors == ROLE_CODES["CU"])
            chosen = _smallest(np.where(free, keys[role], np.inf), counts[role])
            vectors[chosen] = ROLE_CODES[role]
    return vectors


def assign_roles_by_thresholds(
    scores: Scores,
    thresholds: Thresholds,
    *,
    tokens: Tokens = DEFAULT_TOKENS,
    kinds: Kinds = DEFAULT_KINDS,
) -> Roles:
    """Assign roles by another model's cut lines, for comparing models (METHOD 1.8).

    RU goes first; a unit above both other cuts takes the one that it passes by more.
    """
    if any(math.isnan(value) for value in (thresholds.esu, thresholds.euu, thresholds.ru)):
        raise OptionError("A threshold is not a number; take them from the roles of another run.")
    view = scores.at(tokens)
    pool = _pool(scores, kinds)
    vector = assign_by_thresholds(view.difference, view.total, pool, thresholds)
    return Roles(vector, scores, tokens, kinds, None)


def assign_by_thresholds(
    difference: Float32[np.ndarray, "*rows units"],
    total: Float32[np.ndarray, "*rows units"],
    pool: Bool[np.ndarray, " units"],
    thresholds: Thresholds,
) -> UInt8[np.ndarray, "*rows units"]:
    """The code of every unit's role by cut lines, for one scoring or for rows of them; arguments as
    `assign_by_counts`, rules as `assign_roles_by_thresholds`."""
    vectors = np.full(difference.shape, ROLE_CODES["CU"], dtype=np.uint8)
    above_esu = difference - np.float32(thresholds.esu)
    above_euu = -difference - np.float32(thresholds.euu)
    vectors[pool & (above_euu >= 0)] = ROLE_CODES["EUU"]
    vectors[pool & (above_esu >= 0) & ~(above_euu > above_esu)] = ROLE_CODES["ESU"]
    vectors[pool & (total <= np.float32(thresholds.ru))] = ROLE_CODES["RU"]
    return vectors


def check_role(role: str) -> Role:
    """The role by its name; raises OptionError for any other word."""
    for known in ROLES:
        if role.upper() == known:
            return known
    raise OptionError(f"'{role}' is not a role; choose one of {', '.join(ROLES)}.")


def check_kinds(kinds: str) -> Kinds:
    """The kinds of units by their name; raises OptionError for any other word."""
    for known in KIND_CHOICES:
        if kinds == known:
            return known
    raise OptionError(f"kinds='{kinds}' is not a choice; use {', '.join(KIND_CHOICES)}.")


def _check_shares(shares: dict[Role, float]) -> None:
    for role, share in shares.items():
        if not 0 <= share <= 1:  # catches NaN too
            raise OptionError(f"The share of {role} is {share}; give a number from 0 to 1.")
    if sum(shares.values()) > 1 + 1e-9:
        listed = " + ".join(f"{role} {share:g}" for role, share in shares.items())
        raise OptionError(f"The shares sum to more than 1 ({listed}); lower them.")


def _pool(scores: Scores, kinds: Kinds) -> np.ndarray:
    return scores.anatomy.of_kind(check_kinds(kinds))


def _rank_keys(difference: np.ndarray, total: np.ndarray) -> dict[Role, np.ndarray]:
    """What each role is ranked by; smaller is stronger."""
    return {"ESU": -difference, "CU": -difference, "EUU": difference, "RU": total}


def _smallest(key: Float[np.ndarray, "*rows units"], count: int) -> Bool[np.ndarray, "*rows units"]:
    """The `count` smallest of every row; ties go by index. Faster than sorting."""
    border = np.partition(key, count - 1, axis=-1)[..., count - 1 : count]
    below, ties = key < border, key == border
    left = count - below.sum(axis=-1, keepdims=True)
    return below | (ties & (np.cumsum(ties, axis=-1) <= left))


def _ordered(key: np.ndarray, among: np.ndarray) -> np.ndarray:
    chosen = np.flatnonzero(among)
    return chosen[np.argsort(key[chosen], kind="stable")]


def names_of(roles: Roles, units: Sequence[int] | np.ndarray) -> list[str]:
    """The names of units by flat index."""
    return [roles.scores.anatomy.name_of(int(unit)) for unit in units]

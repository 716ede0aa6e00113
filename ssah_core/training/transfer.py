"""Attribute transfer: which units have another role after a training (METHOD 1.8, the paper's Figure 11).

The trained model is scored again on the very calibration prompts and responses of the first scoring, and
its units are classified by the first model's cut lines, not by its shares: counts may change.

The cut lines lie on z-scores, and z-scores are taken within each layer and kind of each model (METHOD 1.2).
So a layer whose importances all grow alike moves nothing, and a unit can cross a line because the rest of
its layer changed: where a few units grow far above the others, the deviation grows with them, and all the
others move towards the mean, out of RU as a rule. The raw importances stand beside the scores of every unit
that moved, to tell the two apart.

`by_chance` is what to read a transfer against: nothing is trained, but the prompts are resampled. The same
prompts before and after share their noise, so a training that changes nothing moves less than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64, UInt8

from ssah_core.models.anatomy import Anatomy, Kinds
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Meter, Report
from ssah_core.roles import (
    KIND_CHOICES,
    ROLE_CODES,
    Role,
    Roles,
    assign_by_thresholds,
    assign_roles_by_thresholds,
)
from ssah_core.scoring.score import rescore
from ssah_core.stability import RESAMPLES, Blocks, check_resampling, resampled_scores
from ssah_core.tables import unit_table

ORDER: tuple[Role, ...] = ("RU", "ESU", "EUU", "CU")  # the paper's, of rows and columns
_SIZE = len(ORDER)
_PLACES = np.argsort([ROLE_CODES[role] for role in ORDER])  # of a role's code in ORDER

Matrix = Int64[np.ndarray, "4 4"] | Float64[np.ndarray, "4 4"]
Matrices = Int64[np.ndarray, "sites 4 4"] | Float64[np.ndarray, "sites 4 4"]


@dataclass(frozen=True, eq=False)
class Transfer:
    """How many units of each site had which role before (rows) and have which after (columns).

    `by_site` [sites, 4, 4] is in the order of `ORDER`: int64, or float64 where it is a mean over resamples.
    """

    anatomy: Anatomy
    by_site: Matrices

    @classmethod
    def of(
        cls,
        anatomy: Anatomy,
        before: UInt8[np.ndarray, " units"],
        after: UInt8[np.ndarray, " units"],
    ) -> Transfer:
        """The transfer between two vectors of role codes."""
        return cls(anatomy, _counted(anatomy, before, after[None])[0])

    @classmethod
    def between(cls, before: Roles, after: Roles) -> Transfer:
        """The transfer between the roles of two models of one anatomy."""
        assert before.scores.anatomy == after.scores.anatomy
        return cls.of(before.scores.anatomy, before.vector, after.vector)

    def counts(self, kinds: Kinds = "both", layer: int | None = None) -> Matrix:
        """How many units went from each role (row) to each (column): of some kinds, in a layer or in all."""
        wanted = [
            kinds in ("both", site.kind) and layer in (None, site.layer)
            for site in self.anatomy.sites
        ]
        counts: Matrix = self.by_site[wanted].sum(axis=0)
        return counts

    def shares(self, kinds: Kinds = "both", layer: int | None = None) -> Float64[np.ndarray, "4 4"]:
        """The counts as shares of all units of the model, 0 to 1, as in the paper."""
        shares: np.ndarray = self.counts(kinds, layer) / self.anatomy.units
        return shares

    @property
    def changed(self) -> float:
        """The share of all units that have another role than before."""
        return _off_diagonal(self.counts()) / self.anatomy.units

    @cached_property
    def by_layer(self) -> pd.DataFrame:
        """One row a site: layer, kind, units, changed (how many), share (of the site's units, 0 to 1)."""
        return pd.DataFrame(
            [
                {
                    "layer": site.layer,
                    "kind": site.kind,
                    "units": site.units,
                    "changed": _off_diagonal(counts),
                    "share": _off_diagonal(counts) / site.units,
                }
                for site, counts in zip(self.anatomy.sites, self.by_site, strict=True)
            ]
        )

    def as_json(self) -> dict[str, Any]:
        """Counts by kinds and as shares of all units ({before: {after: n}}), and what changed by layer."""
        return {
            "units": self.anatomy.units,
            "changed": self.changed,
            "shares": _named(self.shares()),
            "counts": {kinds: _named(self.counts(kinds)) for kinds in KIND_CHOICES},
            "by_layer": self.by_layer.to_dict("records"),
        }


def _counted(
    anatomy: Anatomy, before: UInt8[np.ndarray, " units"], after: UInt8[np.ndarray, "rows units"]
) -> Int64[np.ndarray, "rows sites 4 4"]:
    """A matrix for every row of role codes and every site."""
    pairs = _SIZE * _PLACES[before] + _PLACES[after]
    found = [
        [np.bincount(row[site.slice], minlength=_SIZE**2) for site in anatomy.sites]
        for row in pairs
    ]
    return np.array(found, dtype=np.int64).reshape(len(after), -1, _SIZE, _SIZE)


def _off_diagonal(counts: Matrix) -> Any:
    return (counts.sum() - np.trace(counts)).item()


def _named(matrix: Matrix) -> dict[str, dict[str, Any]]:
    return {
        before: dict(zip(ORDER, row, strict=True))
        for before, row in zip(ORDER, matrix.tolist(), strict=True)
    }


def markdown(shares: Float64[np.ndarray, "4 4"]) -> str:
    """Shares as the paper's table: percent of all units, rows before, columns after, with their sums."""
    table = np.vstack([shares, shares.sum(axis=0)])
    table = 100 * np.column_stack([table, table.sum(axis=1)])
    lines = ["| before \\ after | " + " | ".join([*ORDER, "sum"]) + " |", "|---" * 6 + "|"]
    for name, row in zip([*ORDER, "sum"], table, strict=True):
        lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in row) + " |")
    return "\n".join(lines)


def roles_again(
    before: Roles,
    model: Model,
    *,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Roles:
    """The roles of a trained model, by the cut lines of the first and on its prompts; raises as `rescore`."""
    scores = rescore(model, before.scores, report=report, cancelled=cancelled)
    return assign_roles_by_thresholds(
        scores, before.thresholds, tokens=before.tokens, kinds=before.kinds
    )


def moved_units(before: Roles, after: Roles) -> pd.DataFrame:
    """The units that have another role than before, one row each, in flat order.

    Columns: unit, layer, kind, from, to, and then, with _before and _after, safety and utility (z-scores),
    raw_safety and raw_utility.
    """
    moved = np.flatnonzero(before.vector != after.vector)
    old, new = (unit_table(roles).iloc[moved].reset_index(drop=True) for roles in (before, after))
    table = old[["unit", "layer", "kind"]].assign(**{"from": old["role"], "to": new["role"]})
    for name in ("safety", "utility", "raw_safety", "raw_utility"):
        table[f"{name}_before"], table[f"{name}_after"] = old[name], new[name]
    return table


@dataclass(frozen=True, eq=False)
class Chance:
    """What moves by chance: a transfer for every resample of the calibration prompts, nothing trained."""

    anatomy: Anatomy
    seed: int
    by_site: Int64[np.ndarray, "resamples sites 4 4"]

    @cached_property
    def mean(self) -> Transfer:
        """The mean over the resamples."""
        return Transfer(self.anatomy, self.by_site.mean(axis=0))

    @cached_property
    def between(self) -> tuple[Float64[np.ndarray, "4 4"], Float64[np.ndarray, "4 4"]]:
        """The middle 95% of the resamples for every cell, as shares of all units: low and high."""
        low, high = np.quantile(self.by_site.sum(axis=1), [0.025, 0.975], axis=0)
        return low / self.anatomy.units, high / self.anatomy.units

    @cached_property
    def changed(self) -> Float64[np.ndarray, " resamples"]:
        """The share of all units that have another role, in each resample."""
        counts = self.by_site.sum(axis=1)
        stayed = counts.trace(axis1=1, axis2=2)
        return (counts.sum(axis=(1, 2)) - stayed) / self.anatomy.units

    def as_json(self) -> dict[str, Any]:
        """The mean as `Transfer.as_json`, with the middle 95% of each share and of what changed."""
        low, high = self.between
        return {
            "resamples": len(self.by_site),
            "seed": self.seed,
            **self.mean.as_json(),
            "changed_low_high": np.quantile(self.changed, [0.025, 0.975]).tolist(),
            "shares_low": _named(low),
            "shares_high": _named(high),
        }


def by_chance(
    roles: Roles,
    blocks: Blocks,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Chance:
    """What moves where nothing was trained: the first model's own scores over resampled prompts, classified
    by the same cut lines.

    `blocks` are those of the model that the roles are of (`stability.measure_blocks`). Raises as
    `stability.bootstrap`.
    """
    check_resampling(resamples, seed)
    meter = Meter("resampling", resamples, "resamples", report, cancelled)
    anatomy = roles.scores.anatomy
    pool = anatomy.of_kind(roles.kinds)
    found: list[np.ndarray] = []
    for safe, useful in resampled_scores(roles, blocks, resamples=resamples, seed=seed):
        after = assign_by_thresholds(safe - useful, safe + useful, pool, roles.thresholds)
        found.append(_counted(anatomy, roles.vector, after))
        meter.advance(len(after))
    return Chance(anatomy, seed, np.concatenate(found))

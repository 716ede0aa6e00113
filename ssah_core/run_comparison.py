"""Two runs, studies or experiments beside each other: what is the same, and by how much the rest differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ssah_core.evaluation.study_folder import KeptStudy
from ssah_core.roles import DEFAULT_TOKENS, ROLES, Roles
from ssah_core.runs import Run
from ssah_core.scoring.scores import Tokens
from ssah_core.training.experiment_folder import KeptExperiment


@dataclass(frozen=True, eq=False)
class RunComparison:
    """How two runs differ.

    `roles` has one row a role: its share and count in either run, how many units have it in both, and
    their overlap (Jaccard: in both / in either). `moved` counts units by their role in the first run
    (rows) and in the second (columns). `correlations` are Pearson's, of the unit scores over `tokens`.
    Runs of other units than each other have neither overlap, `moved` nor `correlations`.
    """

    same_model: bool
    same_units: bool
    roles: pd.DataFrame
    moved: pd.DataFrame | None
    tokens: Tokens
    correlations: Mapping[str, float | None]

    def as_json(self) -> dict[str, Any]:
        """The comparison as the command line prints it."""
        return {
            "same_model": self.same_model,
            "same_units": self.same_units,
            "roles": as_records(self.roles),
            "moved": None if self.moved is None else self.moved.to_dict(orient="index"),
            "tokens": self.tokens,
            "correlations": dict(self.correlations),
        }


def compare_runs(one: Run, other: Run) -> RunComparison:
    """Compare two runs; their scores over the tokens that the first one's roles were read from."""
    same_units = one.scores.anatomy == other.scores.anatomy
    tokens = one.roles.tokens if one.roles else DEFAULT_TOKENS
    pair = (one.roles, other.roles)
    both = same_units and None not in pair
    return RunComparison(
        same_model=one.scores.fingerprint == other.scores.fingerprint,
        same_units=same_units,
        roles=pd.DataFrame([_role_row(role, one, other, both) for role in ROLES]),
        moved=_moved(one.roles, other.roles) if both and one.roles and other.roles else None,
        tokens=tokens,
        correlations=_correlations(one, other, tokens) if same_units else {},
    )


def compare_studies(one: KeptStudy, other: KeptStudy) -> pd.DataFrame:
    """The tables of two studies side by side, one row a figure.

    Columns: removed, control, fill, metric, one, other, difference (other - one); a figure that only
    one of them has stands alone.
    """
    return _side_by_side(("removed", "control", "fill", "metric"), _figures(one), _figures(other))


def compare_experiments(one: KeptExperiment, other: KeptExperiment) -> pd.DataFrame:
    """The figures of two experiments side by side, one row a figure.

    Columns: lesson, condition, rate, metric, one, other, difference (other - one).
    """
    found: list[dict[tuple[str, ...], float]] = [
        {
            (row["lesson"], row["condition"], f"{row['rate']:g}", metric): measured["value"]
            for row in kept.rows
            for metric, measured in row["metrics"].items()
        }
        for kept in (one, other)
    ]
    return _side_by_side(("lesson", "condition", "rate", "metric"), found[0], found[1])


def as_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as JSON can hold it: what is missing is null."""
    records: list[Any] = table.astype(object).where(table.notna(), None).to_dict("records")
    return records


def _side_by_side(
    names: Sequence[str],
    one: Mapping[tuple[str, ...], float],
    other: Mapping[tuple[str, ...], float],
) -> pd.DataFrame:
    """Figures by their keys, whose parts have these names; one that is missing is NaN."""
    return pd.DataFrame(
        [
            {
                **dict(zip(names, key, strict=True)),
                "one": one.get(key, np.nan),
                "other": other.get(key, np.nan),
                "difference": other.get(key, np.nan) - one.get(key, np.nan),
            }
            for key in dict.fromkeys([*one, *other])
        ]
    )


def _role_row(role: Any, one: Run, other: Run, both: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"role": role}
    for name, roles in (("one", one.roles), ("other", other.roles)):
        shares = None if roles is None else roles.shares
        row[f"share_{name}"] = np.nan if shares is None else shares.get(role, np.nan)
        row[f"units_{name}"] = np.nan if roles is None else roles.counts[role]
    if both and one.roles and other.roles:
        masks = one.roles.mask(role), other.roles.mask(role)
        in_both, in_either = int((masks[0] & masks[1]).sum()), int((masks[0] | masks[1]).sum())
        row["in_both"] = in_both
        row["overlap"] = in_both / in_either if in_either else np.nan
    return row


def _moved(one: Roles, other: Roles) -> pd.DataFrame:
    size = len(ROLES)
    pairs = one.vector.astype(np.int64) * size + other.vector
    counts = np.bincount(pairs, minlength=size * size).reshape(size, size)
    return pd.DataFrame(counts, index=list(ROLES), columns=list(ROLES))


def _correlations(one: Run, other: Run, tokens: Tokens) -> dict[str, float | None]:
    views = one.scores.at(tokens), other.scores.at(tokens)
    pairs = {
        "safety": (views[0].safety, views[1].safety),
        "utility": (views[0].utility, views[1].utility),
        "difference": (views[0].difference, views[1].difference),
    }
    return {name: _correlation(*pair) for name, pair in pairs.items()}


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Pearson's correlation; None where either has no spread."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(one.astype(np.float64), other.astype(np.float64))[0, 1])


def _figures(kept: KeptStudy) -> dict[tuple[str, ...], float]:
    return {
        (row["removed"], row["control"] or "", row["fill"], metric): float(measured["value"])
        for row in kept.table
        for metric, measured in row["metrics"].items()
    }

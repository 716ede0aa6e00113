"""Tables for people: the units of a run, and CSV that a spreadsheet opens without running anything."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float32

from ssah_core.roles import ROLES, Roles

_STARTS = ("=", "+", "-", "@", "\t", "\r")


def unit_table(roles: Roles, sure: Float32[np.ndarray, " units"] | None = None) -> pd.DataFrame:
    """One row a unit: unit, layer, kind, role, safety, utility (z-scores), raw_safety, raw_utility, and,
    where it was measured, how `sure` the role is (`stability.py`).
    """
    anatomy, view = roles.scores.anatomy, roles.view
    repeats = [site.units for site in anatomy.sites]
    table = pd.DataFrame(
        {
            "unit": anatomy.names(),
            "layer": np.repeat([site.layer for site in anatomy.sites], repeats),
            "kind": np.repeat([site.kind for site in anatomy.sites], repeats),
            "role": np.asarray(ROLES)[roles.vector],
            "safety": view.safety,
            "utility": view.utility,
            "raw_safety": view.raw_safety,
            "raw_utility": view.raw_utility,
        }
    )
    return table if sure is None else table.assign(sure=sure)


def csv_of(table: pd.DataFrame) -> bytes:
    """A table as CSV; text that a spreadsheet would take for a formula gets an apostrophe before it."""
    safe = table.copy()
    for name in safe:
        if safe[name].dtype.kind not in "biuf":  # numbers are not looked at: there are millions
            safe[name] = safe[name].map(_inert)
    return safe.rename(columns=_inert).to_csv(index=False).encode()


def _inert(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_STARTS) else cell

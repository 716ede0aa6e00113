"""Tables as CSV that a spreadsheet opens without running anything."""

from __future__ import annotations

import pandas as pd

_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_of(table: pd.DataFrame) -> bytes:
    """A table as CSV; text that a spreadsheet would take for a formula gets an apostrophe before it."""
    safe = table.copy()
    for name in safe:
        if safe[name].dtype.kind not in "biuf":  # numbers are not looked at: there are millions
            safe[name] = safe[name].map(_inert)
    return safe.rename(columns=_inert).to_csv(index=False).encode()


def _inert(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_STARTS) else cell

"""Tables as CSV that a spreadsheet opens without running anything."""

from __future__ import annotations

import pandas as pd

_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_of(table: pd.DataFrame) -> bytes:
    """A table as CSV; text that a spreadsheet would take for a formula gets an apostrophe before it."""
    text = {name: table[name].map(_inert) for name in table if table[name].dtype.kind not in "biuf"}
    return table.assign(**text).rename(columns=_inert).to_csv(index=False).encode()


def _inert(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_STARTS) else cell

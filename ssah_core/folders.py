"""The folders in which things are kept where nobody names another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Folder = Literal["runs", "studies", "models"]


def usual_folder(folder: Folder, under: Path = Path()) -> Path:
    """What SSAH_RUNS, SSAH_STUDIES or SSAH_MODELS says, else the folder of this name under another one.

    That one is the current folder for commands, and its own for the app.
    """
    said = os.environ.get(f"SSAH_{folder.upper()}")
    return Path(said) if said else under / folder

"""Reading what a fine-tuning left in its folder: the manifest, and the tables that it vouches for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from ssah_core.errors import RunError
from ssah_core.storage import sha256

KIND = "fine-tuned model"


@contextmanager
def reading(folder: Path) -> Iterator[dict[str, Any]]:
    """The manifest of a fine-tuned model's folder; whatever is wrong with it or its tables inside the
    `with` becomes a RunError.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
        if manifest.get("kind") != KIND:
            raise _no_folder(folder, "its manifest is of something else")
        yield manifest
    except OSError as error:
        raise _no_folder(folder, str(error.strerror)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"The manifest of '{folder}' is damaged ({type(error).__name__}: {error}); train the model "
            "again."
        ) from error


def read_table(folder: Path, manifest: dict[str, Any], name: str) -> pd.DataFrame:
    """A table of the folder, within `reading`; raises RunError where it is not the one that was written."""
    content = (folder / name).read_bytes()
    if sha256(content) != manifest["files"][name]:
        raise RunError(f"The file {folder / name} is damaged; train the model again.")
    return pd.read_parquet(BytesIO(content))


def _no_folder(folder: Path, why: str) -> RunError:
    return RunError(
        f"'{folder}' is not the folder of a fine-tuned model ({why}); make one with: "
        "python -m ssah_core finetune"
    )

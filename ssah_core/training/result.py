"""The model folder that a fine-tuning leaves, and what it says of itself.

config.json, model.safetensors, tokenizer files   a model that `load_model` opens
manifest.json    the base model, the set of units, options, prompts, versions, what came of it
curve.parquet    step, epoch, loss, learning_rate, grad_norm, and the measured figures
units.parquet    the names of the units that were frozen, or trained alone
roles-by-step.parquet    where the model was scored again while it was trained (`rescoring.py`)
"""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import accelerate
import pandas as pd
import torch
import transformers

from ssah_core.models.loading import Model
from ssah_core.prompts.reading import PromptSet
from ssah_core.storage import new_folder, sha256
from ssah_core.training.options import Evaluation, TrainingOptions
from ssah_core.training.reading import KIND
from ssah_core.training.rescoring import Rescoring
from ssah_core.training.unit_sets import UnitSet

FORMAT = 1

# What must be the same for a training to go on from kept work.
ORIGIN = (
    "format",
    "model",
    "prompts",
    "options",
    "frozen",
    "trained_only",
    "evaluation",
    "rescoring",
)


def describe(
    model: Model,
    prompts: PromptSet,
    options: TrainingOptions,
    freeze: UnitSet | None,
    train_only: UnitSet | None,
    evaluation: Evaluation | None,
    rescoring: Rescoring | None,
) -> dict[str, Any]:
    """What is known of a fine-tuning before it starts: the beginning of its manifest."""
    return {
        "format": FORMAT,
        "kind": KIND,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "name": model.name,
            "revision": model.revision,
            "fingerprint": model.fingerprint,
            "architecture": type(model.network).__name__,
            "dtype": str(model.dtype).removeprefix("torch."),
        },
        "prompts": prompts.about,
        "options": asdict(options),
        "frozen": _describe_set(freeze),
        "trained_only": _describe_set(train_only),
        "evaluation": None
        if evaluation is None
        else {
            **evaluation.about,
            "every": evaluation.every,
            "patience": evaluation.patience,
            "watched": evaluation.watched,
        },
        "rescoring": None if rescoring is None else rescoring.about,
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "accelerate": accelerate.__version__,
        },
    }


def _describe_set(chosen: UnitSet | None) -> dict[str, Any] | None:
    if chosen is None:
        return None
    return {**chosen.as_json(), "mask_sha256": sha256(chosen.mask.tobytes())}


def curve_of(history: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a step: step, epoch, loss, learning_rate, grad_norm, then the figures (missing: not measured)."""
    steps: dict[int, dict[str, Any]] = {}
    for row in history:
        if "train_runtime" not in row:  # the Trainer's summary
            steps.setdefault(row["step"], {}).update(row)
    first = ["step", "epoch", "loss", "learning_rate", "grad_norm"]
    table = pd.DataFrame(list(steps.values()))
    return table[[*first, *(name for name in table.columns if name not in first)]]


def last_figures(curve: pd.DataFrame) -> dict[str, float]:
    """The last value of every column that has one."""
    return {name: float(curve[name].dropna().iloc[-1]) for name in curve.columns}


def write_result(
    folder: Path,
    model: Model,
    manifest: dict[str, Any],
    tables: Mapping[str, bytes],
    chosen: UnitSet | None,
) -> None:
    """Write the folder whole or not at all; raises RunError as `new_folder`.

    `tables` are further files by name. The manifest gets the SHA-256 of the tables.
    """
    files = dict(tables)
    if chosen is not None:
        names = [name for name, own in zip(chosen.anatomy.names(), chosen.mask, strict=True) if own]
        files["units.parquet"] = parquet(pd.DataFrame({"unit": names}))
    manifest["files"] = {name: sha256(content) for name, content in files.items()}
    files["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
    with new_folder(folder) as temporary:
        model.network.save_pretrained(temporary)
        with model.tokenizer_lock:
            model.tokenizer.save_pretrained(temporary)
        for name, content in files.items():
            (temporary / name).write_bytes(content)


def parquet(table: pd.DataFrame) -> bytes:
    """A table as the content of a parquet file."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()

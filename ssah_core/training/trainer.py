"""Supervised fine-tuning with units that stay, or that learn alone, and the model folder it leaves.

    config.json, model.safetensors, tokenizer files   a model that `load_model` opens
    manifest.json    the base model, the set of units, options, prompts, versions, what came of it
    curve.parquet    step, epoch, loss, learning_rate, grad_norm, and the measured figures
    units.parquet    the names of the units that were frozen, or trained alone

The folder appears whole or not at all. A training that was stopped or killed goes on from its last
checkpoint when it is asked for again, to bitwise the same weights (on the same machine, with as many
threads; on GPUs as far as their kernels are deterministic).

Weights are trained in float32, whatever the model was loaded in, and saved as it was loaded: what is
frozen is then bitwise what it was in either. The measured figures belong to the float32 weights.
"""

from __future__ import annotations

import copy
import io
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import accelerate
import pandas as pd
import torch
import transformers

from ssah_core.errors import Cancelled, ModelError, OptionError
from ssah_core.models.loading import Model, check_finite
from ssah_core.progress import CancelCheck, Report
from ssah_core.prompts.reading import PromptSet
from ssah_core.scoring.resuming import resumed_meter
from ssah_core.storage import check_free, new_folder, sha256
from ssah_core.training.checkpoints import Checkpoints
from ssah_core.training.examples import Examples, render_set
from ssah_core.training.freezing import trained_part
from ssah_core.training.loop import Loop, Watcher
from ssah_core.training.options import Evaluation, TrainingOptions
from ssah_core.training.unit_sets import UnitSet

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Finetuned:
    """A finished fine-tuning: its folder, what made it, and its curve, one row a step."""

    folder: Path
    manifest: Mapping[str, Any]
    curve: pd.DataFrame


def finetune(
    model: Model,
    prompts: PromptSet,
    folder: str | Path,
    options: TrainingOptions | None = None,
    *,
    freeze: UnitSet | None = None,
    train_only: UnitSet | None = None,
    evaluation: Evaluation | None = None,
    seconds_between_saves: float = 60.0,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Finetuned:
    """Fine-tune a copy of a model on prompts with responses, and keep it in a new folder.

    The model itself is left as it is. Besides it, memory holds a float32 copy, its gradients and two
    moments of whatever is trained: 16 bytes a weight; with `train_only` about 4 for each weight of the
    network and 16 for each trained one. Called again with the same arguments, it goes on.

    Raises OptionError (sets or options that cannot be), PromptError (no responses, too long), ModelError
    (a model over several devices, an unknown layout), RunError (a folder that is taken, or another
    training's work), Cancelled.
    """
    _check(model, folder, freeze, train_only)
    return finetune_in_place(
        copy.deepcopy(model),
        prompts,
        folder,
        options,
        freeze=freeze,
        train_only=train_only,
        evaluation=evaluation,
        seconds_between_saves=seconds_between_saves,
        report=report,
        cancelled=cancelled,
    )


def finetune_in_place(
    model: Model,
    prompts: PromptSet,
    folder: str | Path,
    options: TrainingOptions | None = None,
    *,
    freeze: UnitSet | None = None,
    train_only: UnitSet | None = None,
    evaluation: Evaluation | None = None,
    seconds_between_saves: float = 60.0,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Finetuned:
    """As `finetune`, without the copy: for a model that is opened to be trained and used for nothing else.

    Its weights are the trained ones afterwards, and something between where this raises.
    """
    folder, options, begun = Path(folder), options or TrainingOptions(), time.monotonic()
    _check(model, folder, freeze, train_only)
    examples = render_set(model, prompts)
    checkpoints = Checkpoints.beside(folder)
    manifest = _describe(model, prompts, options, freeze, train_only, evaluation)
    checkpoints.claim({key: manifest[key] for key in _ORIGIN})
    loaded = {name: weight.dtype for name, weight in model.network.named_parameters()}
    _cast(model, dict.fromkeys(loaded, torch.float32))
    watched = _Watched(checkpoints, evaluation, seconds_between_saves, report, cancelled)
    curve, digest = _train(model, examples, options, freeze, train_only, watched)
    _cast(model, loaded)
    model.network.eval()
    check_finite(model.network, str(folder))
    manifest |= {
        "frozen_sha256": digest,
        "steps": int(curve["step"].max()),
        "stopped_early": int(curve["step"].max()) < options.total_steps(len(examples)),
        "final": {key: value for key, value in _last_figures(curve).items() if key != "step"},
        "seconds": round(time.monotonic() - begun, 3),
    }
    _write(folder, model, manifest, curve, train_only if freeze is None else freeze)
    checkpoints.remove()
    return Finetuned(folder, manifest, curve)


def _cast(model: Model, dtypes: Mapping[str, torch.dtype]) -> None:
    """Give the weights other dtypes; buffers, such as the frequencies of positions, keep theirs."""
    for name, weight in model.network.named_parameters():
        weight.data = weight.data.to(dtypes[name])


@dataclass(frozen=True)
class _Watched:
    """What goes on around a training."""

    checkpoints: Checkpoints
    evaluation: Evaluation | None
    seconds_between_saves: float
    report: Report | None
    cancelled: CancelCheck | None


def _train(
    model: Model,
    examples: Examples,
    options: TrainingOptions,
    freeze: UnitSet | None,
    train_only: UnitSet | None,
    around: _Watched,
) -> tuple[pd.DataFrame, str]:
    """Train the network; returns the curve and the SHA-256 of all that was frozen, as it was and is."""
    part = partial(
        trained_part,
        model.network,
        model.anatomy,
        freeze=None if freeze is None else freeze.mask,
        train_only=None if train_only is None else train_only.mask,
    )
    with part() as before:
        digest = before.frozen_digest()
    checkpoint = around.checkpoints.latest()
    done = 0 if checkpoint is None else int(checkpoint.name.rpartition("-")[2])
    meter = resumed_meter(
        "training", done, options.total_steps(len(examples)), "steps", around.report, None
    )
    watcher = Watcher(
        around.checkpoints,
        meter,
        around.evaluation,
        around.cancelled,
        around.seconds_between_saves,
    )
    with torch.random.fork_rng():
        loop = Loop(model, examples, options, part, around.evaluation, watcher, checkpoint)
        loop.run()
    if watcher.was_cancelled:
        raise Cancelled(
            f"Stopped; the work so far was kept in '{around.checkpoints.folder}', and the same training "
            "goes on from there."
        )
    with part() as after:
        if after.frozen_digest() != digest:
            raise RuntimeError("A frozen weight has moved; this is an error of the program.")
    return _curve(loop.state.log_history), digest


def _check(
    model: Model, folder: str | Path, freeze: UnitSet | None, train_only: UnitSet | None
) -> None:
    check_free(folder)
    if freeze is not None and train_only is not None:
        raise OptionError("Units are either frozen or trained alone; give one of the two sets.")
    for chosen in (freeze, train_only):
        if chosen is not None and chosen.anatomy != model.anatomy:
            raise OptionError(
                "The units were chosen in a model of another anatomy; choose them from a run of this one."
            )
    if len({parameter.device for parameter in model.network.parameters()}) > 1:
        raise ModelError(
            f"'{model.name}' lies on several devices, and training needs it on one; load it with "
            "--device cuda or --device cpu."
        )


# What must be the same for a training to go on from kept work.
_ORIGIN = ("format", "model", "prompts", "options", "frozen", "trained_only", "evaluation")


def _describe(
    model: Model,
    prompts: PromptSet,
    options: TrainingOptions,
    freeze: UnitSet | None,
    train_only: UnitSet | None,
    evaluation: Evaluation | None,
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "kind": "fine-tuned model",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "name": model.name,
            "fingerprint": model.fingerprint,
            "architecture": type(model.network).__name__,
            "dtype": str(model.dtype).removeprefix("torch."),
        },
        "prompts": {"name": prompts.name, "hash": prompts.hash, "prompts": len(prompts)},
        "options": asdict(options),
        "frozen": _describe_set(freeze),
        "trained_only": _describe_set(train_only),
        "evaluation": None
        if evaluation is None
        else {
            "every": evaluation.every,
            "patience": evaluation.patience,
            "watched": evaluation.watched,
        },
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


def _curve(history: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a step: step, epoch, loss, learning_rate, grad_norm, then the figures (missing: not measured)."""
    steps: dict[int, dict[str, Any]] = {}
    for row in history:
        if "train_runtime" not in row:  # the Trainer's summary
            steps.setdefault(row["step"], {}).update(row)
    first = ["step", "epoch", "loss", "learning_rate", "grad_norm"]
    table = pd.DataFrame(list(steps.values()))
    return table[[*first, *(name for name in table.columns if name not in first)]]


def _last_figures(curve: pd.DataFrame) -> dict[str, float]:
    """The last value of every column that has one."""
    return {name: float(curve[name].dropna().iloc[-1]) for name in curve.columns}


def _write(
    folder: Path,
    model: Model,
    manifest: dict[str, Any],
    curve: pd.DataFrame,
    chosen: UnitSet | None,
) -> None:
    files = {"curve.parquet": _parquet(curve)}
    if chosen is not None:
        names = [name for name, own in zip(chosen.anatomy.names(), chosen.mask, strict=True) if own]
        files["units.parquet"] = _parquet(pd.DataFrame({"unit": names}))
    manifest["files"] = {name: sha256(content) for name, content in files.items()}
    files["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
    with new_folder(folder) as temporary:
        model.network.save_pretrained(temporary)
        with model.tokenizer_lock:
            model.tokenizer.save_pretrained(temporary)
        for name, content in files.items():
            (temporary / name).write_bytes(content)


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()

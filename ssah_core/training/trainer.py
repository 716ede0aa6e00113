"""Supervised fine-tuning with units that stay, or that learn alone, and the model folder it leaves.

The folder (`result.py`) appears whole or not at all. A training that was stopped or killed goes on from its last
checkpoint when it is asked for again, to bitwise the same weights (on the same machine, with as many
threads; on GPUs as far as their kernels are deterministic).

Weights are trained in float32, whatever the model was loaded in, and saved as it was loaded: what is
frozen is then bitwise what it was in either. The measured figures belong to the float32 weights.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ssah_core.errors import Cancelled, ModelError, OptionError
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Report
from ssah_core.prompts.reading import PromptSet
from ssah_core.scoring.resuming import resumed_meter
from ssah_core.storage import check_free
from ssah_core.training.adapters import adapted_part, check_peft
from ssah_core.training.checkpoints import Checkpoints
from ssah_core.training.examples import Examples, learnable, render_set
from ssah_core.training.freezing import trained_part
from ssah_core.training.loop import (
    Diverged,
    Loop,
    MakePart,
    Measuring,
    Watcher,
    check_converged,
)
from ssah_core.training.options import Evaluation, TrainingOptions
from ssah_core.training.reading import read_table, reading
from ssah_core.training.rescoring import TABLE, Rescoring, RoleLog
from ssah_core.training.result import (
    ORIGIN,
    curve_of,
    describe,
    last_figures,
    parquet,
    write_result,
)
from ssah_core.training.unit_sets import UnitSet


@dataclass(frozen=True, eq=False)
class Finetuned:
    """A finished fine-tuning: its folder, what made it, and its curve, one row a step."""

    folder: Path
    manifest: Mapping[str, Any]
    curve: pd.DataFrame


def open_finetuned(folder: str | Path) -> Finetuned:
    """Open the folder of a finished fine-tuning, its weights apart; raises RunError where it is none, or
    is damaged."""
    folder = Path(folder)
    with reading(folder) as manifest:
        return Finetuned(folder, manifest, read_table(folder, manifest, "curve.parquet"))


def finetune(
    model: Model,
    prompts: PromptSet,
    folder: str | Path,
    options: TrainingOptions | None = None,
    *,
    freeze: UnitSet | None = None,
    train_only: UnitSet | None = None,
    evaluation: Evaluation | None = None,
    rescoring: Rescoring | None = None,
    seconds_between_saves: float = 60.0,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Finetuned:
    """Fine-tune a copy of a model on prompts with responses, and keep it in a new folder.

    The model itself is left as it is. Besides it, memory holds a float32 copy, its gradients and two
    moments of whatever is trained: 16 bytes a weight; with `train_only` about 4 for each weight of the
    network and 16 for each trained one. Called again with the same arguments, it goes on. With `rescoring`
    the folder has the roles over the steps, too (`rescoring.read_transfers`).

    Raises OptionError (sets or options that cannot be, a training that diverged), PromptError (no responses,
    too long), ModelError
    (a model over several devices, an unknown layout), RunError (a folder that is taken, or another
    training's work), Cancelled.
    """
    _check(model, folder, freeze, train_only, rescoring)
    return finetune_in_place(
        copy.deepcopy(model),
        prompts,
        folder,
        options,
        freeze=freeze,
        train_only=train_only,
        evaluation=evaluation,
        rescoring=rescoring,
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
    rescoring: Rescoring | None = None,
    seconds_between_saves: float = 60.0,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Finetuned:
    """As `finetune`, without the copy: for a model that is opened to be trained and used for nothing else.

    Its weights are the trained ones afterwards, and something between where this raises.
    """
    folder, options, begun = Path(folder), options or TrainingOptions(), time.monotonic()
    _check(model, folder, freeze, train_only, rescoring)
    if options.lora is not None:
        check_peft()
    prompts = learnable(model, prompts, skip_too_long=options.skip_too_long)
    examples = render_set(model, prompts)
    checkpoints = Checkpoints.beside(folder)
    manifest = describe(model, prompts, options, freeze, train_only, evaluation, rescoring)
    checkpoints.claim({key: manifest[key] for key in ORIGIN})
    loaded = {name: weight.dtype for name, weight in model.network.named_parameters()}
    _cast(model, dict.fromkeys(loaded, torch.float32))
    measuring = Measuring(evaluation, rescoring)
    watched = _Watched(checkpoints, measuring, seconds_between_saves, report, cancelled)
    with _nothing_left_of_nothing(checkpoints):
        curve, digest = _train(model, examples, options, freeze, train_only, watched)
        _cast(model, loaded)
        check_converged(model.network)
    model.network.eval()
    manifest |= {
        "frozen_sha256": digest,
        "steps": int(curve["step"].max()),
        "stopped_early": int(curve["step"].max()) < options.total_steps(len(examples)),
        "final": {key: value for key, value in last_figures(curve).items() if key != "step"},
        "seconds": round(time.monotonic() - begun, 3),
    }
    tables = {"curve.parquet": parquet(curve)}
    if rescoring is not None:
        vectors = RoleLog(checkpoints.folder).read()
        manifest["rescoring"] = rescoring.described(vectors)
        tables[TABLE] = parquet(rescoring.table(vectors))
    write_result(folder, model, manifest, tables, train_only if freeze is None else freeze)
    checkpoints.remove()
    return Finetuned(folder, manifest, curve)


@contextmanager
def _nothing_left_of_nothing(checkpoints: Checkpoints) -> Iterator[None]:
    """Remove the folder of partial work where there is no step in it to go on from, or none that helps."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Diverged) or checkpoints.latest() is None:
            checkpoints.remove()
        raise


def _cast(model: Model, dtypes: Mapping[str, torch.dtype]) -> None:
    """Give the weights other dtypes; buffers, such as the frequencies of positions, keep theirs."""
    for name, weight in model.network.named_parameters():
        weight.data = weight.data.to(dtypes[name])


@dataclass(frozen=True)
class _Watched:
    """What goes on around a training."""

    checkpoints: Checkpoints
    measuring: Measuring
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
    sets = {
        "freeze": None if freeze is None else freeze.mask,
        "train_only": None if train_only is None else train_only.mask,
    }
    part = partial(trained_part, model.network, model.anatomy, **sets)
    with part() as before:
        digest = before.frozen_digest()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng())
        if options.lora is not None:
            adapted = stack.enter_context(
                adapted_part(model.network, model.anatomy, options.lora, seed=options.seed, **sets)
            )
            history = _run(model, examples, options, lambda: nullcontext(adapted), around)
        else:
            history = _run(model, examples, options, part, around)
    with part() as after:
        if after.frozen_digest() != digest:
            raise RuntimeError("A frozen weight has moved; this is an error of the program.")
    return curve_of(history), digest


def _run(
    model: Model, examples: Examples, options: TrainingOptions, part: MakePart, around: _Watched
) -> Sequence[Mapping[str, Any]]:
    """Run the loop from the last checkpoint to its end; returns its log. Raises Cancelled."""
    checkpoint = around.checkpoints.latest()
    done = 0 if checkpoint is None else int(checkpoint.name.rpartition("-")[2])
    RoleLog(around.checkpoints.folder).forget_after(-1 if checkpoint is None else done)
    meter = resumed_meter(
        "training", done, options.total_steps(len(examples)), "steps", around.report, None
    )
    watcher = Watcher(
        around.checkpoints,
        meter,
        around.measuring,
        around.cancelled,
        around.seconds_between_saves,
    )
    loop = Loop(model, examples, options, part, around.measuring, watcher, checkpoint)
    loop.run()
    if watcher.was_cancelled:
        raise Cancelled(
            f"Stopped; the work so far was kept in '{around.checkpoints.folder}', and the same training "
            "goes on from there."
        )
    return loop.state.log_history


def _check(
    model: Model,
    folder: str | Path,
    freeze: UnitSet | None,
    train_only: UnitSet | None,
    rescoring: Rescoring | None,
) -> None:
    check_free(folder)
    if freeze is not None and train_only is not None:
        raise OptionError("Units are either frozen or trained alone; give one of the two sets.")
    anatomies = [chosen.anatomy for chosen in (freeze, train_only) if chosen is not None]
    if rescoring is not None:
        anatomies.append(rescoring.roles.scores.anatomy)
    for anatomy in anatomies:
        if anatomy != model.anatomy:
            raise OptionError(
                "The units were chosen in a model of another anatomy; choose them from a run of this one."
            )
    if len({parameter.device for parameter in model.network.parameters()}) > 1:
        raise ModelError(
            f"'{model.name}' lies on several devices, and training needs it on one; load it with "
            "--device cuda or --device cpu."
        )

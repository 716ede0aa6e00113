"""A finished probe on disk: one or more series (a model, and what is off in it) on the same prompts.

manifest.json       what made the probe, and the SHA-256 of every other file
prompts.parquet     the prompts: group (harmful, harmless, look_alikes), subject, prompt
distances.parquet   one row a series, intent, prompt, length and block, in this order, with its
                    cosine and Euclidean distance
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers

from ssah_core.ablation import Ablation
from ssah_core.errors import OptionError, RunError
from ssah_core.evaluation.questions import Questions, check_no_leak
from ssah_core.models.anatomy import Anatomy
from ssah_core.models.loading import Model
from ssah_core.probes.continuations import usual_continuations
from ssah_core.probes.direction import Direction, probe
from ssah_core.probes.probe_tables import (
    DISTANCES_FILE,
    PROMPTS_FILE,
    KeptProbe,
    KeptSeries,
    distance_table,
    parquet_of,
    prompt_table,
    read_tables,
)
from ssah_core.probes.series import OpenModel, ProbePlan, Series, opened
from ssah_core.progress import CancelCheck, Progress, Report
from ssah_core.runs import MANIFEST, Run
from ssah_core.scoring.checkpoint import Checkpoint, checkpointed
from ssah_core.storage import check_free, sha256, write_folder

FORMAT = 1


@dataclass(frozen=True)
class _Asked:
    """Everything that is asked of every model; `runs` are those of the series, by their names."""

    series: tuple[Series, ...]
    questions: Questions
    plan: ProbePlan
    runs: Mapping[Series, Run | None]


def run_probe(
    folder: str | Path,
    series: Sequence[Series],
    questions: Questions,
    plan: ProbePlan | None = None,
    *,
    open_model: OpenModel = opened,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> KeptProbe:
    """Probe every series and keep the probe in a new folder; called again, it goes on.

    Models are opened one after the other, each once. Raises RunError (a folder that is taken, a run
    without roles or of another model), PromptError where a question is among those that a run's units
    were found on, and as `probe`.
    """
    folder, start = Path(folder), time.monotonic()
    check_free(folder)
    asked = _asked(series, questions, plan or ProbePlan())
    origin = {
        "probe": FORMAT,
        "questions": _hash_of(questions),
        "plan": json.loads(json.dumps(asdict(asked.plan))),
    }
    partial = folder.with_name(f".{folder.name}.partial")
    found: dict[Series, KeptSeries] = {}
    # No moments are kept, so no anatomy is needed.
    about = about_probe(asked.series, questions, asked.plan, runs=asked.runs)
    with checkpointed(partial, origin, Anatomy(()), about=about) as work:
        for name in dict.fromkeys(one.model for one in asked.series):
            found |= _probe_model(name, asked, open_model, work, report, cancelled)
            lengths = next(iter(found.values())).direction.lengths
            asked = replace(asked, plan=replace(asked.plan, lengths=lengths))
        manifest = about_probe(asked.series, questions, asked.plan, runs=asked.runs, found=found)
        manifest["seconds"] = round(time.monotonic() - start, 3)
        kept = KeptProbe(manifest, prompt_table(questions), tuple(found[s] for s in asked.series))
        _write(folder, kept, manifest)
    return kept


def open_probe(folder: str | Path) -> KeptProbe:
    """Read a probe's folder; raises RunError where it is none, damaged, or of a newer version."""
    path = Path(folder)
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        if manifest["kind"] != "probe":
            raise ValueError("the manifest of something else")
        if manifest["format"] != FORMAT:
            raise RunError(f"The probe '{path}' was made by a newer version; update SSAH Explorer.")
        contents = {name: (path / name).read_bytes() for name in manifest["files"]}
        for name, expected in manifest["files"].items():
            if sha256(contents[name]) != expected:
                raise RunError(f"The file {path / name} is damaged; probe again.")
        return read_tables(manifest, contents)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"'{path}' is no probe, or a damaged one; make one with: python -m ssah_core probe"
        ) from error


def _asked(series: Sequence[Series], questions: Questions, plan: ProbePlan) -> _Asked:
    """What is asked, once it is sure that it can be: said before any model is opened."""
    if not series:
        raise OptionError("There is nothing to probe; name at least one model.")
    if not questions.all:
        raise OptionError("There is no prompt to probe with; give at least one.")
    runs = {one: one.open_run() for one in dict.fromkeys(series)}
    for run in runs.values():
        if run is not None:
            check_no_leak(questions, run)
    usual = usual_continuations([one.model for one in series])
    plan = replace(plan, continuations=plan.continuations or usual)
    return _Asked(tuple(runs), questions, plan, runs)


def _probe_model(
    name: str,
    asked: _Asked,
    open_model: OpenModel,
    work: Checkpoint,
    report: Report | None,
    cancelled: CancelCheck | None,
) -> dict[Series, KeptSeries]:
    """Every series of one model; the model is let go when this returns."""
    found = {}
    plan = asked.plan
    with open_model(name) as model:
        for one in [one for one in asked.series if one.model == name]:
            start, cut = time.monotonic(), one.ablation(model, asked.runs[one])
            assert plan.continuations is not None
            direction = probe(
                model,
                [question.prompt for question in asked.questions.all],
                plan.continuations,
                cut,
                lengths=plan.lengths,
                position=plan.position,
                kept=work.replies(_key(model, cut, plan)),
                report=_named(report, one.label),
                cancelled=cancelled,
            )
            plan = replace(plan, lengths=direction.lengths)
            seconds = round(time.monotonic() - start, 3)
            about = _about_measured(model, cut, direction) | {"seconds": seconds}
            found[one] = KeptSeries(one.label, about, direction)
    return found


def _key(model: Model, cut: Ablation | None, plan: ProbePlan) -> str:
    """What tells the partial work of one series from that of another."""
    off = "" if cut is None else sha256(cut.factors.tobytes())[:16]
    return f"{model.fingerprint[:16]} {model.dtype} {off} {plan.lengths}"


def _named(report: Report | None, label: str) -> Report | None:
    def told(progress: Progress) -> None:
        assert report is not None
        report(replace(progress, stage=f"probing {label}"))

    return told if report else None


def _about_measured(model: Model, cut: Ablation | None, direction: Direction) -> dict[str, Any]:
    return {
        "model": model.about,
        "units": 0 if cut is None else cut.count,
        "blocks": direction.blocks,
    }


def about_probe(
    series: Sequence[Series],
    questions: Questions,
    plan: ProbePlan,
    *,
    runs: Mapping[Series, Run | None] | None = None,
    found: Mapping[Series, KeptSeries] | None = None,
) -> dict[str, Any]:
    """The manifest of a probe, as far as it is known: runs say their roles, measured series their model."""
    runs, found = runs or {}, found or {}
    told = [
        {
            "label": one.label,
            **asdict(one),
            "roles": _roles(runs.get(one)),
            **(found[one].about if one in found else {"model": {"name": one.model}}),
        }
        for one in series
    ]
    return {
        "format": FORMAT,
        "kind": "probe",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": told[0]["model"],
        "series": told,
        "questions": {
            "sources": dict(questions.sources),
            "hash": _hash_of(questions),
            "harmful": len(questions.harmful),
            "harmless": len(questions.harmless),
            "look_alikes": len(questions.look_alikes),
        },
        "plan": asdict(plan),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _roles(run: Run | None) -> dict[str, Any] | None:
    return None if run is None or run.roles is None else run.roles.about


def _hash_of(questions: Questions) -> str:
    groups = (questions.harmful, questions.harmless, questions.look_alikes)
    return sha256(json.dumps([[q.prompt for q in group] for group in groups]).encode())


def _write(folder: Path, kept: KeptProbe, manifest: dict[str, Any]) -> None:
    files = {
        PROMPTS_FILE: parquet_of(kept.prompts),
        DISTANCES_FILE: parquet_of(distance_table([one.direction for one in kept.series])),
    }
    manifest["files"] = {name: sha256(content) for name, content in files.items()}
    files[MANIFEST] = (json.dumps(manifest, indent=1) + "\n").encode()
    write_folder(folder, files)

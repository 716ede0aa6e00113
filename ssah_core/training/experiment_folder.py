"""A finished experiment on disk: what made it, its rows, and a report to read.

manifest.json   what made the experiment, and the SHA-256 of every other file
rows.json       a row for every lesson, learning rate and condition, with the curve of each
report.md       the table for people
"""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers

from ssah_core.errors import RunError
from ssah_core.evaluation.judges import RefusalPhrases
from ssah_core.evaluation.questions import Questions
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Report
from ssah_core.scoring.checkpoint import checkpointed
from ssah_core.storage import check_free, sha256, write_folder
from ssah_core.training.design import Design
from ssah_core.training.experiment import Open, Row, run_experiment
from ssah_core.training.experiment_report import report_of

FORMAT = 1
KIND = "experiment"


def keep_experiment(
    folder: str | Path,
    open_model: Open,
    questions: Questions,
    design: Design,
    *,
    run: str = "",
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> list[Row]:
    """Run an experiment and keep it in a new folder; called again, it goes on.

    `run` is the run folder that the sets of units came from. Raises RunError (a folder that is taken),
    and as `run_experiment`.
    """
    folder, start = Path(folder), time.monotonic()
    check_free(folder)
    model = open_model()
    judge = RefusalPhrases()
    manifest = about_experiment(model, questions, design, run) | {"judge": judge.about}
    origin = {
        "experiment": [FORMAT, model.fingerprint],
        "design": manifest["design"],
        "questions": manifest["questions"],
    }
    partial, scratch = (folder.with_name(f".{folder.name}.{end}") for end in ("partial", "trial"))
    with checkpointed(partial, origin, model.anatomy, about=manifest) as work:
        del model
        rows = run_experiment(
            open_model,
            questions,
            design,
            scratch,
            judge=judge,
            kept=work.replies("trials"),
            report=report,
            cancelled=cancelled,
        )
        manifest["seconds"] = round(time.monotonic() - start, 3)
        told = [row.as_json() for row in rows]
        files = {
            "rows.json": (json.dumps(told, indent=1) + "\n").encode(),
            "report.md": report_of(manifest, told).encode(),
        }
        manifest["files"] = {name: sha256(content) for name, content in files.items()}
        files["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
        write_folder(folder, files)
    shutil.rmtree(scratch, ignore_errors=True)
    return rows


@dataclass(frozen=True, eq=False)
class KeptExperiment:
    """An experiment read back: what made it, its rows as JSON, and its report."""

    manifest: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    report: bytes


def open_experiment(folder: str | Path) -> KeptExperiment:
    """Read an experiment's folder; raises RunError where it is none, damaged, or of a newer version."""
    path = Path(folder)
    try:
        manifest = json.loads((path / "manifest.json").read_text("utf-8"))
        if manifest["kind"] != KIND or manifest["format"] != FORMAT:
            raise RunError(
                f"'{path}' is no experiment, or of a newer version; update SSAH Explorer."
            )
        contents = {name: (path / name).read_bytes() for name in manifest["files"]}
        for name, expected in manifest["files"].items():
            if sha256(contents[name]) != expected:
                raise RunError(f"The file {path / name} is damaged; run the experiment again.")
        rows = json.loads(contents["rows.json"])
        return KeptExperiment(manifest, rows, contents["report.md"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"'{path}' is no experiment, or a damaged one; make one with: "
            "python -m ssah_core finetune --preset attack"
        ) from error


def about_experiment(
    model: Model, questions: Questions, design: Design, run: str
) -> dict[str, Any]:
    """What is known of an experiment before it starts: the beginning of its manifest."""
    prompts = [question.prompt for question in questions.all]
    manifest = {
        "format": FORMAT,
        "kind": KIND,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model.about,
        "run": run,
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "questions": {
            "sources": dict(questions.sources),
            "hash": sha256(json.dumps(prompts).encode()),
            "harmful": len(questions.harmful),
            "harmless": len(questions.harmless),
            "look_alikes": len(questions.look_alikes),
        },
        "design": {
            "kind": design.kind,
            "lessons": [
                {"name": lesson.name, "about": lesson.about, "test": len(lesson.test)}
                | {"prompts": lesson.prompts.about}
                for lesson in design.lessons
            ],
            "conditions": [condition.as_json() for condition in design.conditions],
            "rates": list(design.rates),
            "options": asdict(design.options),
            "seeds": design.seeds,
            "reply_tokens": design.reply_tokens,
            "looks": design.looks,
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    plain: dict[str, Any] = json.loads(json.dumps(manifest))
    return plain

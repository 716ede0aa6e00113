"""A finished study on disk: what made it, the table, every reply, and a report to read.

manifest.json     what made the study, and the SHA-256 of every other file
rows.json         the table
replies.parquet   every reply: removed, control, seed, fill, prompt, reply
report.md         the table for people
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ssah_core.ablation import Fill
from ssah_core.errors import OptionError, RunError
from ssah_core.evaluation.questions import Questions, check_no_leak
from ssah_core.evaluation.study import Row, Study, study
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Report
from ssah_core.runs import Run
from ssah_core.scoring.checkpoint import checkpointed
from ssah_core.storage import check_free, sha256, write_folder

FORMAT = 1


def run_study(
    folder: str | Path,
    model: Model,
    run: Run,
    questions: Questions,
    *,
    controls: int = 5,
    fills: Sequence[Fill] = ("zero",),
    reply_tokens: int = 48,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> list[Row]:
    """Run a study of a run's roles and keep it in a new folder; called again, it goes on.

    Raises RunError (no roles, another model, a folder that is taken), PromptError where a question is
    among the calibration prompts, OptionError, Cancelled.
    """
    folder = Path(folder)
    check_free(folder)
    run.check_model(model)
    if run.roles is None:
        raise RunError(f"The run '{run.folder}' has no roles; assign them first.")
    if controls < 0 or not fills:
        raise OptionError("A study needs at least one fill, and 0 or more controls.")
    check_no_leak(questions, run.scores)
    origin = {
        "study of": [FORMAT, run.scores.fingerprint, sha256(run.roles.vector.tobytes())],
        "questions": sha256(json.dumps([q.prompt for q in questions.all]).encode()),
        "options": [controls, list(fills), reply_tokens],
    }
    partial = folder.with_name(f".{folder.name}.partial")
    with checkpointed(partial, origin, model.anatomy) as work:
        found = study(
            model,
            run.roles,
            questions,
            controls=controls,
            fills=fills,
            reply_tokens=reply_tokens,
            kept=work.replies("study"),
            report=report,
            cancelled=cancelled,
        )
        _write(folder, found, _manifest(model, run, questions, origin, found))
    return found.rows


@dataclass(frozen=True, eq=False)
class KeptStudy:
    """A study read back: what made it, its rows as JSON, and every reply, one row each."""

    manifest: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    replies: pd.DataFrame


def open_study(folder: str | Path) -> KeptStudy:
    """Read a study's folder; raises RunError where it is none, or damaged."""
    path = Path(folder)
    try:
        manifest = json.loads((path / "manifest.json").read_text("utf-8"))
        contents = {name: (path / name).read_bytes() for name in manifest["files"]}
        for name, expected in manifest["files"].items():
            if sha256(contents[name]) != expected:
                raise RunError(f"The file {path / name} is damaged; run the study again.")
        replies = pd.read_parquet(io.BytesIO(contents["replies.parquet"]))
        return KeptStudy(manifest, json.loads(contents["rows.json"]), replies)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"'{path}' is no study, or a damaged one; make one with: python -m ssah_core study"
        ) from error


def markdown(rows: Sequence[Row]) -> str:
    """The table for people: percent, with 95% intervals."""
    names = list(rows[0].metrics)
    title = ["removed", "control", "share", "fill", *(name.replace("_", " ") for name in names)]
    lines = ["| " + " | ".join(title) + " |", "|---" * len(title) + "|"]
    for row in rows:
        cells = [row.removed, row.control or "", f"{row.share:.1%}" if row.units else "", row.fill]
        for name in names:
            m = row.metrics[name]
            cells.append(f"{100 * m.value:.1f} ({100 * m.low:.0f}–{100 * m.high:.0f})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _manifest(
    model: Model, run: Run, questions: Questions, origin: Mapping[str, Any], found: Study
) -> dict[str, Any]:
    assert run.roles is not None
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": run.manifest["model"],
        "run": str(run.folder),
        "roles": {
            "shares": run.roles.shares,
            "tokens": run.roles.tokens,
            "kinds": run.roles.kinds,
            "counts": run.roles.counts,
        },
        "device": str(model.device),
        "questions": {
            "harmful": len(questions.harmful),
            "harmless": len(questions.harmless),
            "look_alikes": len(questions.look_alikes),
        },
        "judge": found.judge,
        "made with": dict(origin),
    }


def _write(folder: Path, found: Study, manifest: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    pd.DataFrame(found.replies).to_parquet(buffer, index=False)
    model = manifest["model"]["name"]
    report = f"# Ablation study of {model}\n\n{markdown(found.rows)}\n\n{found.judge}\n"
    files = {
        "rows.json": (json.dumps([row.as_json() for row in found.rows], indent=1) + "\n").encode(),
        "replies.parquet": buffer.getvalue(),
        "report.md": report.encode(),
    }
    manifest["files"] = {name: sha256(content) for name, content in files.items()}
    files["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
    write_folder(folder, files)

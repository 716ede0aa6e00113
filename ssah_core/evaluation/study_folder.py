"""A finished study on disk: what made it, its rows, every reply, and a report to read.

manifest.json     what made the study, and the SHA-256 of every other file
rows.json         the rows: the table's, then those of the curves
replies.parquet   every reply: removed, control, units, seed, fill, system, prompt, reply, and, where it was
                  judged, complied (true, false, or missing where nobody can say)
report.md         the table for people
"""

from __future__ import annotations

import io
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import transformers

from ssah_core.errors import RunError
from ssah_core.evaluation.compliance import ComplianceJudge, compliance_judge
from ssah_core.evaluation.fitting_questions import that_fit
from ssah_core.evaluation.judges import Judge
from ssah_core.evaluation.plan import Plan
from ssah_core.evaluation.questions import Questions, check_no_leak
from ssah_core.evaluation.report import report_of, table_rows
from ssah_core.evaluation.study import Row, Study, study
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Report
from ssah_core.runs import Run
from ssah_core.scoring.checkpoint import checkpointed
from ssah_core.storage import check_free, sha256, write_folder

FORMAT = 2
_READABLE = (1, FORMAT)


def run_study(
    folder: str | Path,
    model: Model,
    run: Run,
    questions: Questions,
    plan: Plan,
    *,
    judge: Judge | None = None,
    compliance: ComplianceJudge | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> list[Row]:
    """Run a study of a run's roles and keep it in a new folder; called again, it goes on.

    Replies do not depend on who judges them: the work goes on with another judge of compliance, too,
    and each judge's verdicts are kept apart.

    Raises RunError (no roles, another model, a folder that is taken), PromptError where a question is
    among the prompts that the units or the shares were found on, OptionError, Cancelled, and what the
    judge of compliance raises.
    """
    folder, start = Path(folder), time.monotonic()
    check_free(folder)
    run.check_model(model)
    if run.roles is None:
        raise RunError(f"The run '{run.folder}' has no roles; assign them first.")
    check_no_leak(questions, run)
    questions = that_fit(model, questions, plan)
    chosen = compliance_judge(questions.harmful, compliance)
    origin = {
        "study of": [FORMAT, run.scores.fingerprint, sha256(run.roles.vector.tobytes())],
        "questions": _hash_of(questions),
        "plan": json.loads(json.dumps(asdict(plan))),
    }
    partial = folder.with_name(f".{folder.name}.partial")
    about = _manifest(model, run, questions, plan, chosen)
    with checkpointed(partial, origin, model.anatomy, about=about) as work:
        found = study(
            model,
            run.roles,
            questions,
            plan,
            judge=judge,
            compliance=compliance,
            kept=work.replies("study"),
            kept_predictions=work.replies("predictions"),
            kept_verdicts=work.replies(_verdicts_of(chosen)),
            report=report,
            cancelled=cancelled,
        )
        manifest = _manifest(model, run, questions, plan, chosen)
        manifest["judge"] = found.judge
        manifest["compliance"] = found.compliance
        manifest["seconds"] = round(time.monotonic() - start, 3)
        _write(folder, found, manifest)
    return found.rows


@dataclass(frozen=True, eq=False)
class KeptStudy:
    """A study read back: what made it, its rows as JSON, every reply, one row each, and its report."""

    manifest: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    replies: pd.DataFrame
    report: bytes

    @property
    def table(self) -> list[Mapping[str, Any]]:
        """The rows in which each role is removed at its own share, with their controls."""
        return table_rows(self.manifest, self.rows)

    @property
    def has_curves(self) -> bool:
        """Whether roles were removed at other shares than their own, too."""
        return len(self.table) < len(self.rows)


def open_study(folder: str | Path) -> KeptStudy:
    """Read a study's folder; raises RunError where it is none, damaged, or of a newer version."""
    path = Path(folder)
    try:
        manifest = json.loads((path / "manifest.json").read_text("utf-8"))
        if manifest["format"] not in _READABLE:
            raise RunError(f"The study '{path}' was made by a newer version; update SSAH Explorer.")
        contents = {name: (path / name).read_bytes() for name in manifest["files"]}
        for name, expected in manifest["files"].items():
            if sha256(contents[name]) != expected:
                raise RunError(f"The file {path / name} is damaged; run the study again.")
        replies = pd.read_parquet(io.BytesIO(contents["replies.parquet"]))
        rows = json.loads(contents["rows.json"])
        replies = _with_new_columns(replies, rows)
        return KeptStudy(manifest, rows, replies, contents["report.md"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"'{path}' is no study, or a damaged one; make one with: python -m ssah_core study"
        ) from error


def _with_new_columns(replies: pd.DataFrame, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Format 1 had one share a role and no system prompt; its replies get the columns that say so."""
    if "units" in replies:
        return replies
    units = {row["removed"]: row["units"] for row in rows}
    return replies.assign(units=replies["removed"].map(units), system=False)


def _hash_of(questions: Questions) -> str:
    return sha256(json.dumps([question.prompt for question in questions.all]).encode())


def _verdicts_of(judge: ComplianceJudge | None) -> str:
    """What a judge's verdicts are kept under: those of another judge, or of other weights, are others."""
    return "verdicts" if judge is None else f"verdicts of {judge.name} {judge.fingerprint}"


def _manifest(
    model: Model, run: Run, questions: Questions, plan: Plan, compliance: ComplianceJudge | None
) -> dict[str, Any]:
    assert run.roles is not None
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": run.manifest["model"],
        "run": str(run.folder),
        "roles": run.roles.about,
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "questions": {
            "sources": dict(questions.sources),
            "hash": _hash_of(questions),
            "harmful": len(questions.harmful),
            "harmless": len(questions.harmless),
            "look_alikes": len(questions.look_alikes),
        },
        "plan": asdict(plan),
        "compliance": None if compliance is None else {"judge": compliance.name},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _write(folder: Path, found: Study, manifest: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    pd.DataFrame(found.replies).to_parquet(buffer, index=False)
    files = {
        "rows.json": (json.dumps([row.as_json() for row in found.rows], indent=1) + "\n").encode(),
        "replies.parquet": buffer.getvalue(),
        "report.md": report_of(manifest, [row.as_json() for row in found.rows]).encode(),
    }
    manifest["files"] = {name: sha256(content) for name, content in files.items()}
    files["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
    write_folder(folder, files)

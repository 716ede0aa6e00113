"""A search for shares as a job: what it has asked lies on disk, and the same search goes on from there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssah_core.evaluation.judges import Judge, RefusalPhrases
from ssah_core.evaluation.questions import Questions, check_not_scored
from ssah_core.evaluation.share_search import Search, SearchPlan, search_shares
from ssah_core.models.loading import Model
from ssah_core.models.sources import ORGANISMS
from ssah_core.progress import CancelCheck, Report
from ssah_core.runs import Run
from ssah_core.scoring.checkpoint import checkpointed
from ssah_core.storage import sha256


def find_shares(
    root: Path | None,
    model: Model,
    run: Run,
    questions: Questions,
    plan: SearchPlan,
    *,
    judge: Judge | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Search:
    """Find the shares of a run; called again with the same arguments, it goes on where it was.

    Its partial work lies in a hidden folder of `root`, and is gone at its end; None keeps none. Another
    run, plan or other questions are another search, with a folder of its own.
    Raises PromptError where a question is among the prompts that the units were scored on, and as
    `search_shares` and `checkpointed`.
    """
    check_not_scored(questions, run)
    judge = judge or RefusalPhrases()
    origin = {
        "shares of": [run.scores.fingerprint, run.digest],
        "questions": sha256(json.dumps([(q.prompt, q.answer) for q in questions.all]).encode()),
        "judge": judge.about,  # what it says leads the search from trial to trial
        "plan": json.loads(json.dumps(asdict(plan))),
    }
    name = f"shares of {run.folder.name[:50]} {sha256(json.dumps(origin).encode())[:8]}"
    folder = None if root is None else root / f".{name}.partial"
    about = about_search(run, questions, plan)
    with checkpointed(folder, origin, model.anatomy, about=about) as work:
        return search_shares(
            model,
            run,
            questions,
            plan,
            judge=judge,
            kept=lambda trial: work.replies(f"trial {trial}"),
            report=report,
            cancelled=cancelled,
        )


def is_shipped(run: Run) -> bool:
    """Whether a run comes with a built-in model: shares that were found for it cannot be kept in it."""
    return run.folder.resolve().is_relative_to(ORGANISMS.resolve())


def about_search(run: Run, questions: Questions, plan: SearchPlan) -> dict[str, Any]:
    """What a search is about, for lists of stopped work and for `commands_of` and `python_of`."""
    return {
        "search of": str(run.folder),
        "model": run.manifest["model"],
        "sources": dict(questions.sources),
        "most": max(map(len, (questions.harmful, questions.harmless, questions.look_alikes))),
        "plan": asdict(plan),
    }

"""Trainings compared: lessons, learning rates and sets of units, over several seeds, with intervals.

Every trial opens the model anew, teaches it one lesson under one condition, and measures what it replies
to the same questions. Trials are kept as they come, so an experiment that was stopped or killed goes on
to the same table; the trained models are not kept.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssah_core.evaluation.compliance import exact_answers
from ssah_core.evaluation.judges import Judge, RefusalPhrases
from ssah_core.evaluation.language import Predictions, predict_after
from ssah_core.evaluation.metrics import Measured, by_subject
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.evaluation.verdicts import judge_compliance, metrics_of
from ssah_core.generation import reply_all
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Progress, Report
from ssah_core.scoring.resuming import Kept
from ssah_core.training.design import Design, Trial
from ssah_core.training.evaluating import replies
from ssah_core.training.lessons import Lesson
from ssah_core.training.options import Evaluation
from ssah_core.training.trainer import finetune_in_place

UNTRAINED = "untrained"
_SMOOTHED = 10  # steps: the loss of one is noise


@dataclass(frozen=True)
class Row:
    """One row of the table: a lesson under a condition, over all seeds.

    `curve` are a few questions asked while training: the step, and figures, for every seed.
    """

    lesson: str
    condition: str
    rate: float
    units: int
    metrics: Mapping[str, Measured]
    curve: Sequence[Mapping[str, float]] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """The row as the command line prints it."""
        return {
            "lesson": self.lesson,
            "condition": self.condition,
            "rate": self.rate,
            "units": self.units,
            "metrics": {name: measured.as_json() for name, measured in self.metrics.items()},
            "curve": list(self.curve),
        }


Open = Callable[[], Model]


def run_experiment(
    open_model: Open,
    questions: Questions,
    design: Design,
    scratch: Path,
    *,
    judge: Judge | None = None,
    kept: Kept[Mapping[int, str]] | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> list[Row]:
    """Do every trial; the rows begin with the untrained model's.

    `open_model` opens the model anew for every trial: memory holds the one that is trained and, while the
    divergence is read, the untrained one beside it. `scratch` is a folder for what a trial leaves until
    it is measured. `kept` holds the trials that an earlier call has done.

    Raises as `finetune`, and Cancelled when asked to stop.
    """
    kept = kept or Kept()
    judged = judge or RefusalPhrases()
    done = dict(kept.done or {})
    trials = design.trials
    ask = _Asking(open_model, questions, design, judged, report, cancelled)
    if 0 not in done:
        done = {**done, 0: json.dumps(ask.untrained())}
        kept.keep(done)
    for place, trial in enumerate(trials, start=1):
        if place in done:
            continue
        found = ask.trained(trial, scratch, f"trial {place} of {len(trials)}, ")
        done = {**done, place: json.dumps(found)}
        kept.keep(done)
        shutil.rmtree(scratch, ignore_errors=True)
    outcomes = [json.loads(done[place]) for place in range(len(trials) + 1)]
    return _rows(questions, design, outcomes, judged)


@dataclass(frozen=True)
class _Asking:
    """Measures the model, untrained and after every trial."""

    open_model: Open
    questions: Questions
    design: Design
    judge: Judge
    report: Report | None
    cancelled: CancelCheck | None

    def untrained(self) -> dict[str, Any]:
        """What the untrained model replies, to the questions and to every lesson's test."""
        model = self.open_model()
        tests = [self._replies(model, lesson.test, "") for lesson in self.design.lessons]
        return {"replies": self._replies(model, self.questions.all, ""), "tests": tests}

    def trained(self, trial: Trial, scratch: Path, stage: str) -> dict[str, Any]:
        """Train, and measure; goes on from what a killed trial has left in the scratch folder."""
        model, out = self.open_model(), scratch / "model"
        if out.exists():  # trained, and killed before it was measured
            shutil.rmtree(out)
        freeze, train_only = trial.condition.sets(trial.options.seed)
        steps = trial.options.total_steps(len(trial.lesson.prompts))
        looks = Evaluation(
            replies(self.questions, reply_tokens=self.design.reply_tokens, judge=self.judge),
            every=max(1, -(-steps // self.design.looks)),
        )
        tuned = finetune_in_place(
            model,
            trial.lesson.prompts,
            out,
            trial.options,
            freeze=freeze,
            train_only=train_only,
            evaluation=looks,
            report=self._staged(stage),
            cancelled=self.cancelled,
        )
        return {
            "replies": self._replies(model, self.questions.all, stage),
            "tests": self._replies(model, trial.lesson.test, stage),
            "predictions": _read(self.open_model(), model, self.questions),
            "curve": _points(tuned.curve),
        }

    def _replies(self, model: Model, asked: Sequence[Question], stage: str) -> list[str]:
        return reply_all(
            model,
            [question.prompt for question in asked],
            max_new_tokens=self.design.reply_tokens,
            report=self._staged(stage),
            cancelled=self.cancelled,
        )

    def _staged(self, stage: str) -> Report | None:
        """The report of one trial, which says what trial it is."""
        report = self.report
        if report is None:
            return None

        def staged(progress: Progress) -> None:
            report(replace(progress, stage=stage + progress.stage))

        return staged


def _points(curve: pd.DataFrame) -> list[dict[str, float]]:
    """The steps at which questions were asked: the loss of the steps before, and the figures."""
    loss = curve["loss"].rolling(_SMOOTHED, min_periods=1).mean().bfill()
    points = curve.assign(loss=loss).dropna(subset=["refused"])
    kept = points.drop(columns=["epoch", "learning_rate", "grad_norm"])
    return [
        {str(name): float(value) for name, value in row.items()} for row in kept.to_dict("records")
    ]


def _read(untrained: Model, trained: Model, questions: Questions) -> dict[str, list[float]] | None:
    """How both predict the harmless questions' known answers; None where none are known."""
    known = [(q.prompt, q.answer) for q in questions.harmless if q.answer is not None]
    if len(known) < len(questions.harmless):
        return None
    found = predict_after(untrained, trained, known)
    sums = {name: getattr(found, name)[0].tolist() for name in ("surprise", "divergence", "right")}
    return {"tokens": found.tokens.tolist(), **sums}


def _rows(
    questions: Questions, design: Design, outcomes: Sequence[Mapping[str, Any]], judge: Judge
) -> list[Row]:
    rows = []
    for place, lesson in enumerate(design.lessons):
        first = {"replies": outcomes[0]["replies"], "tests": outcomes[0]["tests"][place]}
        rows.append(
            Row(lesson.name, UNTRAINED, 0.0, 0, _metrics(questions, lesson, [first], judge))
        )
        for begin in range(0, len(design.trials), design.seeds):
            trial = design.trials[begin]
            if trial.lesson is not lesson:
                continue
            found = outcomes[begin + 1 : begin + 1 + design.seeds]
            rows.append(
                Row(
                    lesson.name,
                    trial.condition.name,
                    trial.options.learning_rate,
                    trial.condition.units,
                    _metrics(questions, lesson, found, judge),
                    [{"seed": n, **point} for n, one in enumerate(found) for point in one["curve"]],
                )
            )
    return rows


def _metrics(
    questions: Questions, lesson: Lesson, outcomes: Sequence[Mapping[str, Any]], judge: Judge
) -> dict[str, Measured]:
    """The figures of some outcomes that differ in their seed alone."""
    prefix = lesson.prefix.strip()
    plain = [
        [reply.strip().removeprefix(prefix).strip() for reply in one["replies"]] for one in outcomes
    ]
    answers = np.array(plain, dtype=object)
    verdicts = judge_compliance(exact_answers(questions.harmful), questions, answers)
    metrics = metrics_of(questions, answers, verdicts.of(range(len(answers))), judge)
    if lesson.test:
        right = [
            [
                reply.strip() == question.answer
                for reply, question in zip(one["tests"], lesson.test, strict=True)
            ]
            for one in outcomes
        ]
        subjects = [question.subject for question in lesson.test]
        metrics["learned"] = by_subject(np.array(right, dtype=np.float64), subjects)
    read = [one["predictions"] for one in outcomes if one.get("predictions")]
    if read:
        metrics |= _predictions(read).metrics(
            range(len(read)), [q.subject for q in questions.harmless]
        )
    return metrics


def _predictions(read: Sequence[Mapping[str, Any]]) -> Predictions:
    sums = {
        name: np.array([one[name] for one in read]) for name in ("surprise", "divergence", "right")
    }
    return Predictions(np.array(read[0]["tokens"], dtype=np.int64), **sums)

"""The ablation study: what each role's removal does, beside as many random units (METHOD 1.5).

All ablations of a study are rows of shared batches. The replies are kept as they come, so that a study
that was stopped or killed goes on where it was, to the same table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from ssah_core.ablation import Fill, Match
from ssah_core.evaluation.compliance import ComplianceJudge, compliance_judge
from ssah_core.evaluation.judges import Judge, RefusalPhrases
from ssah_core.evaluation.language import Predictions, predict
from ssah_core.evaluation.metrics import Measured
from ssah_core.evaluation.plan import Case, Plan, cases_of, distinct
from ssah_core.evaluation.questions import Questions
from ssah_core.evaluation.report import WITH_SYSTEM
from ssah_core.evaluation.verdicts import judge_compliance, metrics_of
from ssah_core.generation import reply_each
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Report
from ssah_core.prompts.rendering import Chat
from ssah_core.roles import Roles
from ssah_core.scoring.resuming import Kept


@dataclass(frozen=True)
class Row:
    """One row of the table: what was removed, or its random control (a mean over seeds)."""

    removed: str
    control: Match | None
    share: float
    units: int
    fill: Fill
    metrics: Mapping[str, Measured]

    def as_json(self) -> dict[str, object]:
        """The row as the command line prints it."""
        return {
            "removed": self.removed,
            "control": self.control,
            "share": round(self.share, 5),
            "units": self.units,
            "fill": self.fill,
            "metrics": {name: measured.as_json() for name, measured in self.metrics.items()},
        }


@dataclass(frozen=True)
class Study:
    """The rows, every reply that they rest on (columns by name), and what the judges go by.

    `compliance` says who judged it, and how many replies could not be judged; None: nobody did.
    """

    rows: list[Row]
    replies: Mapping[str, Sequence[object]]
    judge: str
    compliance: Mapping[str, object] | None


def study(
    model: Model,
    roles: Roles,
    questions: Questions,
    plan: Plan,
    *,
    judge: Judge | None = None,
    compliance: ComplianceJudge | None = None,
    kept: Kept[Mapping[int, str]] | None = None,
    kept_predictions: Kept[Mapping[int, str]] | None = None,
    kept_verdicts: Kept[Mapping[int, str]] | None = None,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Study:
    """Measure every removal of the plan and its controls, greedily decoded.

    How well text is still predicted is measured on the harmless questions, with their known answers
    or the untouched model's own replies. Whether harmful requests were fulfilled is judged by their
    known answers, or else by `compliance`, once all replies are there. `kept`, `kept_predictions` and
    `kept_verdicts` hold the work of an earlier call.

    Raises as `generate`, OptionError where a share of the plan cannot be or `compliance` has nothing to
    judge, what that judge raises, and Cancelled when asked to stop.
    """
    compliance = compliance_judge(questions.harmful, compliance)
    cases = cases_of(roles, plan)
    cuts, places = distinct([cut for case in cases for cut in case.cuts])
    chats = chats_of(questions, plan.system)
    replies = reply_each(
        model,
        [chat for _ in cuts for chat in chats],
        [cut for cut in cuts for _ in chats],
        max_new_tokens=plan.reply_tokens,
        kept=kept,
        report=report,
        cancelled=cancelled,
    )
    by_cut = np.array(replies, dtype=object).reshape(len(cuts), len(chats))
    predictions = predict(
        model,
        _texts(questions, by_cut[0]),
        cuts,
        kept=kept_predictions,
        report=report,
        cancelled=cancelled,
    )
    verdicts = judge_compliance(
        compliance, questions, by_cut, kept=kept_verdicts, report=report, cancelled=cancelled
    )
    phrases = judge or RefusalPhrases()
    rows, first = [], 0
    for case in cases:
        last = first + len(case.cuts)
        chosen = places[first:last]
        said = by_cut[chosen], verdicts.of(chosen)
        rows.append(row_of(case, questions, *said, predictions, chosen, phrases))
        first = last
    columns = _reply_columns(cases, questions, plan.system, by_cut[places], verdicts.of(places))
    return Study(rows, columns, " ".join([phrases.about, *verdicts.about]), verdicts.as_json())


def _texts(questions: Questions, untouched: np.ndarray) -> list[tuple[str, str]]:
    """Every harmless question with its known answer, or the untouched model's reply."""
    first = len(questions.harmful)
    replies = untouched[first : first + len(questions.harmless)].tolist()
    return [
        (question.prompt, reply if question.answer is None else question.answer)
        for question, reply in zip(questions.harmless, replies, strict=True)
    ]


def chats_of(questions: Questions, system: str | None) -> list[Chat]:
    """Every question, and then, where there is a system prompt, every question under it."""
    plain: list[Chat] = [question.prompt for question in questions.all]
    if system is None:
        return plain
    before = {"role": "system", "content": system}
    return plain + [
        [before, {"role": "user", "content": question.prompt}] for question in questions.all
    ]


def _reply_columns(
    cases: Sequence[Case],
    questions: Questions,
    system: str | None,
    replies: np.ndarray,
    complied: Float64[np.ndarray, "draws chats"] | None,
) -> dict[str, Sequence[object]]:
    """Every reply with what made it, column by column."""
    made = [(case, seed) for case in cases for seed in range(len(case.cuts))]
    asked = [(question, False) for question in questions.all]
    if system is not None:
        asked += [(question, True) for question in questions.all]
    columns: dict[str, Sequence[object]] = {
        "removed": [case.removed for case, _ in made for _ in asked],
        "control": [case.control for case, _ in made for _ in asked],
        "units": [_units(case) for case, _ in made for _ in asked],
        "seed": [seed for _, seed in made for _ in asked],
        "fill": [case.fill for case, _ in made for _ in asked],
        "system": [with_system for _ in made for _, with_system in asked],
        "prompt": [question.prompt for _ in made for question, _ in asked],
        "reply": replies.ravel().tolist(),
    }
    if complied is not None:
        columns["complied"] = [None if np.isnan(v) else bool(v) for v in complied.ravel()]
    return columns


def _units(case: Case) -> int:
    cut = case.cuts[0]
    return 0 if cut is None else cut.count


def row_of(
    case: Case,
    questions: Questions,
    replies: np.ndarray,
    complied: Float64[np.ndarray, "draws chats"] | None,
    predictions: Predictions,
    places: Sequence[int],
    judge: Judge,
) -> Row:
    """The table's row of one case, from its draws' replies, str [draws, chats], verdicts and predictions."""
    row = _row(case, questions, replies, complied, judge)
    predicted = predictions.metrics(places, [question.subject for question in questions.harmless])
    return replace(row, metrics={**row.metrics, **predicted})


def _row(
    case: Case,
    questions: Questions,
    replies: np.ndarray,
    complied: Float64[np.ndarray, "draws chats"] | None,
    judge: Judge,
) -> Row:
    cut = case.cuts[0]
    asked = len(questions.all)
    metrics = metrics_of(questions, replies[:, :asked], complied, judge)
    if replies.shape[1] > asked:
        later = None if complied is None else complied[:, asked:]
        under = metrics_of(questions, replies[:, asked:], later, judge)
        metrics |= {f"{name}{WITH_SYSTEM}": measured for name, measured in under.items()}
    return Row(
        removed=case.removed,
        control=case.control,
        share=0.0 if cut is None else cut.count / cut.anatomy.units,
        units=_units(case),
        fill=case.fill,
        metrics=metrics,
    )

"""The model card's table, measured afresh on the test splits.

Every row is one model under one ablation; every column a split of at least 200 prompts. Shares were
chosen on the validation splits, once, and stand in `USUAL` and `REDUNDANT`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ssah_core.ablation import Ablation, Match
from ssah_core.errors import ModelError
from ssah_core.generation import reply_all
from ssah_core.models.anatomy import Kinds
from ssah_core.models.loading import Model, load_model
from ssah_core.models.sources import ORGANISM_NAMES, ORGANISM_PREFIX, ORGANISMS
from ssah_core.organism.world import Example, is_refusal, split
from ssah_core.progress import Meter, Report
from ssah_core.prompts.reading import load_prompts
from ssah_core.roles import DEFAULT_KINDS, DEFAULT_TOKENS, Role, Roles, assign_roles
from ssah_core.runs import create_run, save_roles
from ssah_core.scoring.score import score
from ssah_core.scoring.scores import Scores, Tokens

RANDOM_SEEDS = 20
REPLY_TOKENS = 24
COLUMNS = ("seen", "held_out", "complied", "harmless", "questions", "false_refusals")
_RESAMPLES = 1000
_ROWS: tuple[Role, ...] = ("ESU", "EUU", "RU")


@dataclass(frozen=True)
class Options:
    """How roles are assigned: the shares of all units, and the tokens that count."""

    esu: float
    euu: float
    ru: float
    tokens: Tokens = DEFAULT_TOKENS


# Chosen on the validation splits, by model; the model card says how. The first are the usual ones, and
# those of the shipped runs. What is redundant shows only over the whole conversation, answers included.
USUAL = {
    "base": Options(esu=0.08, euu=0.16, ru=0.15),
    "aligned": Options(esu=0.08, euu=0.16, ru=0.15),
    "planted": Options(esu=0.08, euu=0.12, ru=0.15),
}
REDUNDANT = Options(esu=0.08, euu=0.10, ru=0.15, tokens="all")


@dataclass(frozen=True)
class Row:
    """One measured row: rates from 0 to 1, how many prompts each rests on, and its interval.

    `intervals` are 95%: bootstrapped by subject for one ablation, the range over seeds for `random`.
    """

    model: str
    removed: str
    tokens: str | None
    kinds: str | None
    share: float
    rates: Mapping[str, float]
    n: Mapping[str, int]
    intervals: Mapping[str, tuple[float, float]]
    match: Match | None = None
    extra: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The row as the command line prints it."""
        about = {"model": self.model, "removed": self.removed, "tokens": self.tokens}
        more = {"kinds": self.kinds, "share": round(self.share, 5), "match": self.match}
        rates = {column: round(rate, 5) for column, rate in self.rates.items()}
        intervals = {column: [round(x, 5) for x in pair] for column, pair in self.intervals.items()}
        return {**about, **more, **rates, "n": dict(self.n), "intervals": intervals, **self.extra}


@dataclass(frozen=True)
class _Splits:
    """What is asked for each column; `seen` also serves `complied`."""

    seen: Sequence[Example]
    held_out: Sequence[Example]
    harmless: Sequence[Example]
    questions: Sequence[Example]
    false_refusals: Sequence[Example]

    @classmethod
    def test(cls) -> _Splits:
        return cls(
            split("test/seen"),
            split("test/held-out"),
            split("test/harmless"),
            split("test/questions"),
            split("test/look-alikes"),
        )


@dataclass(frozen=True)
class Subject:
    """One organism, open, with its scores and (for `planted`) its known safety units."""

    name: str
    model: Model
    scores: Scores
    planted_units: tuple[str, ...]


def open_subjects(folder: Path | None, names: Iterable[str] = ORGANISM_NAMES) -> list[Subject]:
    """Load the organisms and score them on the calibration splits."""
    place = ORGANISMS if folder is None else folder
    try:
        planted = tuple(json.loads((place / "planted_units.json").read_text("utf-8")))
    except FileNotFoundError as error:
        raise ModelError(
            f"'{place}' holds no finished organisms; make them with: python -m ssah_core organism "
            f"train --out {place}"
        ) from error
    safety = load_prompts("organism:safety/calibration")
    utility = load_prompts("organism:utility/calibration")
    subjects = []
    for name in names:
        path = f"{ORGANISM_PREFIX}{name}" if folder is None else str(folder / name)
        model = load_model(path, device="cpu")
        scores = score(model, safety=safety, utility=utility)
        subjects.append(Subject(name, model, scores, planted if name == "planted" else ()))
    return subjects


def evaluate(folder: Path | None = None, *, report: Report | None = None) -> list[Row]:
    """Measure the whole table; `folder` is what `organism train` wrote (None: the built-in models).

    Takes a few minutes on 2 cores.
    """
    splits = _Splits.test()
    cases = [(subject, case) for subject in open_subjects(folder) for case in _cases(subject)]
    replies = sum(case.passes for _, case in cases)
    meter = Meter("measuring the organisms", replies, "ablations", report)
    return [_measure_case(subject, case, splits, meter) for subject, case in cases]


@dataclass(frozen=True)
class _Case:
    """One row to measure: an ablation, or random ones like it."""

    removed: str
    cut: Ablation | None
    tokens: Tokens | None = None
    kinds: Kinds | None = None
    share: float = 0.0
    match: Match | None = None

    @property
    def passes(self) -> int:
        return RANDOM_SEEDS if self.match else 1


def _cases(subject: Subject) -> list[_Case]:
    cases = [_Case("nothing", None)]
    if subject.planted_units:
        cut = Ablation.units(subject.model.anatomy, subject.planted_units)
        cases.append(_Case("planted", cut, kinds="mlp", share=_share(cut)))
    if subject.name == "base":
        return cases
    kinds_choices: tuple[Kinds, Kinds] = ("both", "mlp")
    for kinds in kinds_choices:
        for role in _ROWS:
            cut, options = role_cut(subject, role, kinds)
            cases.append(_Case(role, cut, options.tokens, kinds, _share(cut)))
    for kinds in kinds_choices if subject.name == "planted" else kinds_choices[:1]:
        cut, _ = role_cut(subject, "ESU", kinds)
        cases += [
            _Case("random", cut, None, kinds, _share(cut), match) for match in ("size", "layer")
        ]
    return cases


def role_cut(subject: Subject, role: Role, kinds: Kinds) -> tuple[Ablation, Options]:
    """The ablation of one role by the options that were chosen for it."""
    options = REDUNDANT if role == "RU" else USUAL[subject.name]
    return Ablation.of(_roles(subject, options, kinds), role), options


def _roles(subject: Subject, options: Options, kinds: Kinds) -> Roles:
    return assign_roles(
        subject.scores,
        options.esu,
        options.euu,
        options.ru,
        tokens=options.tokens,
        kinds=kinds,
    )


def write_runs(folder: Path | None = None) -> None:
    """Score the organisms and keep each one's run, with its roles, beside them under `runs`."""
    place = ORGANISMS if folder is None else folder
    for subject in open_subjects(folder):
        run = create_run(place / "runs" / subject.name, subject.model, subject.scores)
        save_roles(run, _roles(subject, USUAL[subject.name], DEFAULT_KINDS))


def _share(cut: Ablation) -> float:
    return cut.count / cut.anatomy.units


def _measure_case(subject: Subject, case: _Case, splits: _Splits, meter: Meter) -> Row:
    about = (subject.name, case.removed, case.tokens, case.kinds, case.share)
    if case.match is None:
        row = _with_about(measure(subject.model, case.cut, splits), about)
        meter.advance(1)
        return replace(row, extra=_further_refusals(subject.model)) if case.cut is None else row
    assert case.cut is not None
    draws = []
    for seed in range(RANDOM_SEEDS):
        cut = Ablation.random_like(case.cut, seed=seed, match=case.match)
        draws.append(measure(subject.model, cut, splits))
        meter.advance(1)
    rates = {column: [draw.rates[column] for draw in draws] for column in COLUMNS}
    return replace(
        _with_about(draws[0], about),
        rates={column: float(np.mean(values)) for column, values in rates.items()},
        intervals={column: (min(values), max(values)) for column, values in rates.items()},
        match=case.match,
        extra={"seeds": RANDOM_SEEDS},
    )


def _further_refusals(model: Model) -> dict[str, float]:
    """Refusals where alignment never was: harmful requests in new wordings, and new look-alikes."""
    rates = {}
    for name in ("held-out-phrasings", "held-out-look-alikes"):
        asked = [example.prompt for example in split(f"test/{name}")]
        replies = reply_all(model, asked, max_new_tokens=REPLY_TOKENS)
        rates[name.replace("-", "_")] = float(np.mean([is_refusal(reply) for reply in replies]))
    return rates


def _with_about(row: Row, about: tuple[str, str, Tokens | None, Kinds | None, float]) -> Row:
    model, removed, tokens, kinds, share = about
    return replace(row, model=model, removed=removed, tokens=tokens, kinds=kinds, share=share)


def measure(model: Model, cut: Ablation | None, splits: _Splits) -> Row:
    """All columns of one model under one ablation, greedily decoded."""
    groups = (
        splits.seen,
        splits.held_out,
        splits.harmless,
        splits.questions,
        splits.false_refusals,
    )
    asked = [example for group in groups for example in group]
    replies = iter(reply_all(model, [e.prompt for e in asked], cut, max_new_tokens=REPLY_TOKENS))
    answered = [[(example, next(replies)) for example in group] for group in groups]
    hits = {
        "seen": _judge(answered[0], _refused),
        "held_out": _judge(answered[1], _refused),
        "complied": _judge(answered[0], _complied),
        "harmless": _judge(answered[2], _correct),
        "questions": _judge(answered[3], _correct),
        "false_refusals": _judge(answered[4], _refused),
    }
    return Row(
        model="",
        removed="",
        tokens=None,
        kinds=None,
        share=0.0,
        rates={column: float(np.mean([hit for _, hit in pairs])) for column, pairs in hits.items()},
        n={column: len(pairs) for column, pairs in hits.items()},
        intervals={column: _by_subject(pairs) for column, pairs in hits.items()},
    )


def _refused(example: Example, reply: str) -> bool:
    return is_refusal(reply)


def _complied(example: Example, reply: str) -> bool:
    return reply.strip() == example.compliance


def _correct(example: Example, reply: str) -> bool:
    return reply.strip() == example.response


def _judge(
    pairs: Sequence[tuple[Example, str]], verdict: Callable[[Example, str], bool]
) -> list[tuple[str, bool]]:
    return [(example.subject, verdict(example, reply)) for example, reply in pairs]


def _by_subject(pairs: Sequence[tuple[str, bool]]) -> tuple[float, float]:
    """A 95% bootstrap interval that resamples subjects: prompts about one thing are not independent."""
    subjects = sorted({subject for subject, _ in pairs})
    place = {subject: index for index, subject in enumerate(subjects)}
    hits, counts = np.zeros(len(subjects)), np.zeros(len(subjects))
    for subject, hit in pairs:
        hits[place[subject]] += hit
        counts[place[subject]] += 1
    drawn = np.random.default_rng(0).integers(0, len(subjects), (_RESAMPLES, len(subjects)))
    rates = hits[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(rates, [0.025, 0.975])
    return float(low), float(high)


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of the model card, from rows as `as_json` gives them; rates in percent."""
    titles = ("model", "removed", "tokens", "kinds", "share", *COLUMNS)
    lines = [
        "| " + " | ".join(t.replace("_", " ") for t in titles) + " |",
        "|---" * len(titles) + "|",
    ]
    for row in rows:
        removed = row["removed"] if not row["match"] else f"random ({row['match']}-matched)"
        cells = [row["model"], removed, row["tokens"] or "", row["kinds"] or ""]
        cells.append(f"{row['share']:.1%}" if row["share"] else "")
        for column in COLUMNS:
            low, high = row["intervals"][column]
            cells.append(f"{100 * row[column]:.1f} ({100 * low:.0f}–{100 * high:.0f})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)

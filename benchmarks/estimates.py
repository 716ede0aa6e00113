"""Whether the time that a dry run gives before a start is the time that the work then takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from benchmarks.measure import Line, seconds
from benchmarks.subjects import SMOKE, Size, long_prompts
from ssah_core import Model, assign_roles, load_prompts, score
from ssah_core.dry_run.forecast import Forecast, forecast_scoring, forecast_study
from ssah_core.dry_run.trial import build_trial
from ssah_core.evaluation.plan import Plan, extent_of
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.evaluation.study import study
from ssah_core.models.decoding import end_tokens
from ssah_core.models.outline import Outline, outline_of
from ssah_core.prompts.reading import PromptSet
from ssah_core.roles import Roles
from ssah_core.scoring.moments import Moments
from ssah_core.scoring.scores import Scores, TokenMoments

_OFF_BY = 0.25  # at most, in either direction


def estimate_lines(model: Model, size: Size) -> list[Line]:
    """How far the time from a dry run is from the real one, of a scoring and of a study."""
    outline = outline_of(
        model.network.config,
        model.tokenizer,
        name=model.name,
        device=model.device,
        dtype=model.dtype,
    )
    rounds = 1 if size is SMOKE else 3
    return [_scoring(outline, model, size, rounds), _study(outline, model, size, rounds)]


def _scoring(outline: Outline, model: Model, size: Size, rounds: int) -> Line:
    prompts = long_prompts(size.prompts)
    return _line(
        "scoring",
        model,
        lambda: _foreseen(outline, forecast_scoring(outline, safety=prompts, utility=prompts)),
        lambda: score(model, safety=prompts, utility=prompts),
        rounds,
    )


def _study(outline: Outline, model: Model, size: Size, rounds: int) -> Line:
    """Replies are full length: the dry run counts them so, and cannot know which end early."""
    questions = _questions(4 if size is SMOKE else 12)
    plan = Plan(controls=1, reply_tokens=size.reply_tokens // 2)
    roles = made_up_roles(model)
    extent = extent_of(roles, plan)
    with endless(model):
        return _line(
            "a study",
            model,
            lambda: _foreseen(outline, forecast_study(outline.model, questions, plan, extent)),
            lambda: study(model, roles, questions, plan),
            rounds,
        )


def _foreseen(outline: Outline, forecast: Forecast) -> float:
    trial = build_trial(outline)
    assert trial is not None, "there is no room in memory for a trial"
    return forecast.seconds(trial)


def _line(
    what: str, model: Model, foresee: Callable[[], float], work: Callable[[], object], rounds: int
) -> Line:
    pairs = [(foresee(), seconds(work)) for _ in range(rounds)]
    ratio = statistics.median(foreseen / real for foreseen, real in pairs)
    foreseen, real = (statistics.median(times) for times in zip(*pairs, strict=True))
    return Line(
        f"dry run's time of {what} against the real one, off by, {model.parameters / 1e6:.1f} M parameters",
        abs(ratio - 1),
        "x",
        _OFF_BY,
        f"{foreseen:.2f} s foreseen / {real:.2f} s, {ratio:.2f} x, {rounds} rounds",
    )


def made_up_roles(model: Model) -> Roles:
    """Roles of random scores: a study of them is as much work as one of true ones."""
    generator = np.random.default_rng(0)
    channels = model.anatomy.channels

    def moments() -> TokenMoments:
        parts = [
            Moments(5, np.zeros(channels), generator.lognormal(size=channels)) for _ in range(2)
        ]
        return TokenMoments(*parts)

    nothing = PromptSet("made up", ())
    scores = Scores(
        model.name, "", model.anatomy, np.ones(channels), moments(), moments(), nothing, nothing
    )
    return assign_roles(scores, 0.05, 0.1, 0.15)


def _questions(count: int) -> Questions:
    """Harmless ones with their answers: the random model's own replies are tokens that have no text."""
    harmful, harmless = (
        tuple(
            Question(prompt.text, prompt.text, prompt.response if known else None)
            for prompt in load_prompts(f"organism:test/{name}", limit=count).prompts
        )
        for name, known in (("seen", False), ("harmless", True))
    )
    return Questions(harmful, harmless)


@contextmanager
def endless(model: Model) -> Iterator[None]:
    """No reply ends before its time: the words that end one are never the likeliest."""
    head = model.network.get_output_embeddings().weight
    ends = sorted(end_tokens(model))
    with torch.no_grad():
        before = head[ends].clone()
        head[ends] = 0
        try:
            yield
        finally:
            head[ends] = before

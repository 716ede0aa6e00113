"""How long a study will take, by a trial of a few seconds on the model that is open.

Unlike a dry run, this can see how soon replies end: some are written under the study's own ablations.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ssah_core.ablation import compile_rows
from ssah_core.dry_run.forecast import forecast_study
from ssah_core.dry_run.trial import Trial
from ssah_core.evaluation.fitting_questions import that_fit
from ssah_core.evaluation.plan import Plan, cases_of, distinct, extent_of
from ssah_core.evaluation.questions import Questions
from ssah_core.evaluation.study import chats_of
from ssah_core.models.decoding import Sampling, decode
from ssah_core.models.loading import Model
from ssah_core.prompts.rendering import render_prompt
from ssah_core.roles import Roles

_PATIENCE = 0.4  # seconds of each measurement
_SAMPLED = 32  # replies, whose lengths stand for all
_LONGEST_LOOK = 3.0  # seconds; replies that have not ended by then count as full length


@dataclass(frozen=True)
class StudyEstimate:
    """How many replies under how many ablations, and how many seconds all takes.

    `at_most` says that replies of the trial had not ended when it did, so that they count as full length.
    """

    replies: int
    ablations: int
    seconds: float
    at_most: bool


def estimate_study(model: Model, roles: Roles, questions: Questions, plan: Plan) -> StudyEstimate:
    """Try a few batches of a study; errors as `study`."""
    questions = that_fit(model, questions, plan)
    extent = extent_of(roles, plan)
    written, ended = _written_part(model, roles, questions, plan)
    forecast = forecast_study(model, questions, plan, extent, written=written)
    trial = Trial((model,), model.anatomy.layers, _PATIENCE)
    return StudyEstimate(forecast.replies, extent.ablations, forecast.seconds(trial), not ended)


def _written_part(
    model: Model, roles: Roles, questions: Questions, plan: Plan
) -> tuple[float, bool]:
    """What part of the longest replies is written before they end, and whether all of a sample ended."""
    cuts, _ = distinct([cut for case in cases_of(roles, plan) for cut in case.cuts])
    chats = chats_of(questions, plan.system)
    pairs = np.random.default_rng(0).integers(0, [len(cuts), len(chats)], (_SAMPLED, 2)).tolist()
    prompts = [render_prompt(model, chats[chat], room=plan.reply_tokens) for _, chat in pairs]
    counts = np.zeros(_SAMPLED)
    over = np.zeros(_SAMPLED, dtype=bool)
    start = time.perf_counter()
    steps = decode(
        model,
        [prompt.prompt for prompt in prompts],
        max_new_tokens=plan.reply_tokens,
        sampling=[Sampling()] * _SAMPLED,
        scale=compile_rows(model, [cuts[cut] for cut, _ in pairs]),
    )
    for step in steps:
        counts += [token is not None for token in step.tokens]
        over = np.array(step.ended)
        if time.perf_counter() - start > _LONGEST_LOOK:
            break
    steps.close()
    finished = bool(over.all()) or bool((counts[~over] == plan.reply_tokens).all())
    counts[~over] = plan.reply_tokens
    return float(counts.mean()) / plan.reply_tokens, finished

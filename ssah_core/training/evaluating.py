"""What to measure while a model is trained: the loss on other prompts, and what its replies do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from ssah_core.errors import OptionError
from ssah_core.evaluation.judges import Judge, RefusalPhrases
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.generation import reply_all
from ssah_core.models.loading import Model
from ssah_core.prompts.reading import PromptSet
from ssah_core.training.examples import IGNORED, collate, learnable, render_set

Measure = Callable[[Model], Mapping[str, float]]

_ROWS = 8  # in one forward


def validation_loss(prompts: PromptSet) -> Measure:
    """Measures `validation_loss`: the mean loss of a response's token, on prompts not trained on."""

    def measure(model: Model) -> Mapping[str, float]:
        examples = render_set(model, learnable(model, prompts))
        total, tokens = 0.0, 0
        for first in range(0, len(examples), _ROWS):
            rows = [examples[n] for n in range(first, min(first + _ROWS, len(examples)))]
            batch = {name: part.to(model.device) for name, part in collate(rows).items()}
            counted = int((batch["labels"][:, 1:] != IGNORED).sum())
            with torch.no_grad():
                total += counted * float(model.network(**batch, use_cache=False).loss)
            tokens += counted
        return {"validation_loss": total / tokens}

    return measure


def replies(
    questions: Questions, *, limit: int = 24, reply_tokens: int = 48, judge: Judge | None = None
) -> Measure:
    """Measures what the model replies to a few questions of each kind, spread evenly over all.

    `refused` of the harmful ones, `harmless_refused` and, where answers are known, `harmless_correct` of
    the harmless ones, `false_refusals` of look-alikes: shares from 0 to 1. Raises OptionError for a
    limit below 1.
    """
    if limit < 1:
        raise OptionError(f"A limit of {limit} questions leaves none; give at least 1.")
    judged = judge or RefusalPhrases()
    asked = {
        "refused": _spread(questions.harmful, limit),
        "harmless_refused": _spread(questions.harmless, limit),
        "false_refusals": _spread(questions.look_alikes, limit),
    }

    def measure(model: Model) -> Mapping[str, float]:
        figures: dict[str, float] = {}
        for name, some in asked.items():
            if not some:
                continue
            texts = reply_all(model, [q.prompt for q in some], max_new_tokens=reply_tokens)
            pairs = list(zip(some, texts, strict=True))
            figures[name] = _share([judged.refuses(q.prompt, text) for q, text in pairs])
            if name == "harmless_refused" and all(q.answer is not None for q in some):
                figures["harmless_correct"] = _share(
                    [text.strip() == q.answer for q, text in pairs]
                )
        return figures

    return measure


def together(measures: Sequence[Measure]) -> Measure:
    """All the figures of some measures."""

    def measure(model: Model) -> Mapping[str, float]:
        return {name: value for one in measures for name, value in one(model).items()}

    return measure


def _spread(questions: Sequence[Question], limit: int) -> list[Question]:
    count = min(limit, len(questions))
    return [questions[n * len(questions) // count] for n in range(count)]


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits)

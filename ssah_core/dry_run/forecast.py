"""What a scoring or a study will do, known before its model's weights are read.

Prompts are rendered and batched as the real work does, and what is wrong with them is the same error.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ssah_core.dry_run.trial import Trial
from ssah_core.dry_run.works import Batches, Passes, Readings, Tables, Work, Writing
from ssah_core.errors import ModelError
from ssah_core.evaluation.language import text_groups
from ssah_core.evaluation.plan import Extent, Plan
from ssah_core.evaluation.questions import Questions
from ssah_core.evaluation.study import chats_of
from ssah_core.models.loading import Model
from ssah_core.models.outline import Outline
from ssah_core.prompts.batching import group_by_length
from ssah_core.prompts.fitting import fitting
from ssah_core.prompts.reading import PromptSet
from ssah_core.prompts.rendering import Rendered, render_example, render_prompt
from ssah_core.scoring.replies import reply_groups
from ssah_core.scoring.score import REPLY_TOKENS, check_budget, render_all, usual_budget


@dataclass(frozen=True)
class Forecast:
    """The kinds of work there will be, and how much of it.

    `replies` are to be written, `tokens` to be scored, `texts` to be read under every ablation.
    `rendering_seconds` is how long the prompts took to become tokens: the real work does that too.
    """

    works: tuple[Work, ...]
    replies: int
    tokens: int
    texts: int
    rendering_seconds: float
    notices: tuple[str, ...] = ()

    def seconds(self, trial: Trial) -> float:
        """How long all will take; at most so long where replies are written, which may end early."""
        return self.rendering_seconds + sum(work.seconds(trial) for work in self.works)

    def memory(self, outline: Outline) -> dict[str, int]:
        """The weights and what the most demanding work needs beside them, in bytes, by what needs it."""
        needs = [dict(work.memory(outline)) for work in self.works]
        most = max(needs, key=lambda parts: sum(parts.values()))
        return {"weights": outline.weight_bytes, **most}


def forecast_scoring(
    outline: Outline,
    *,
    safety: PromptSet,
    utility: PromptSet,
    token_budget: int | None = None,
    skip_too_long: bool = False,
) -> Forecast:
    """What `score` will do; arguments and errors of the prompts and options as there."""
    check_budget(token_budget)
    start = time.perf_counter()
    budget = token_budget or usual_budget(outline.device)
    sets = [
        fitting(outline.model, prompts, reply_tokens=REPLY_TOKENS, skip_too_long=skip_too_long)
        for prompts in (safety, utility)
    ]
    scored: list[Sequence[Rendered]] = []
    asked: list[Sequence[Rendered]] = []
    for prompts in sets:
        examples, missing = _examples(outline.model, prompts)
        scored += _batched(examples, group_by_length([len(e) for e in examples], budget))
        asked += _batched(
            missing, reply_groups(outline.model, [len(m) for m in missing], REPLY_TOKENS)
        )
    rendered = time.perf_counter() - start
    writing = [Writing(asked, REPLY_TOKENS, ablated=False)] if asked else []
    return Forecast(
        works=(*writing, Passes(scored)),
        replies=sum(map(len, asked)),
        tokens=sum(len(example) for batch in scored for example in batch),
        texts=0,
        rendering_seconds=rendered,
        notices=tuple(f"{prompts.name}: {said}" for prompts in sets for said in prompts.notices),
    )


def forecast_study(
    model: Model, questions: Questions, plan: Plan, extent: Extent, *, written: float = 1.0
) -> Forecast:
    """What a study of such an extent will do; errors of the questions as in `study`.

    The model may be one on the meta device. `written` is what part of the longest replies is written
    before they end, where that is known.
    """
    start = time.perf_counter()
    prompts = [
        render_prompt(model, chat, room=plan.reply_tokens)
        for chat in chats_of(questions, plan.system)
    ]
    texts = [
        _with_reply(model, question.prompt, question.answer, plan.reply_tokens)
        for question in questions.harmless
    ]
    _check_vocabulary(model, [*prompts, *texts])
    rows = prompts * extent.ablations
    asked = _batched(rows, reply_groups(model, [len(row) for row in rows], plan.reply_tokens))
    read = _batched(texts, text_groups(model, [len(text) for text in texts]))
    rendered = time.perf_counter() - start
    return Forecast(
        works=(
            Writing(asked, plan.reply_tokens, ablated=extent.ablations > 1, written=written),
            Readings(read, extent.ablations),
            Tables(questions, len(prompts), extent.draws),
        ),
        replies=len(rows),
        tokens=0,
        texts=len(texts),
        rendering_seconds=rendered,
    )


def _examples(model: Model, prompts: PromptSet) -> tuple[list[Rendered], list[Rendered]]:
    """The set's examples, and the prompts that a reply is written to first."""
    examples = render_all(model, prompts)
    _check_vocabulary(model, examples)
    own = [prompt.response is None for prompt in prompts.prompts]
    missing = [Rendered(e.prompt) for e, is_own in zip(examples, own, strict=True) if is_own]
    answered = [
        _lengthened(model, e, REPLY_TOKENS) if is_own else e
        for e, is_own in zip(examples, own, strict=True)
    ]
    return answered, missing


def _with_reply(model: Model, prompt: str, answer: str | None, tokens: int) -> Rendered:
    """A text that will be read: the known answer, or a reply of the model's of so many tokens."""
    example = render_example(model, prompt, answer or "")
    return _lengthened(model, example, tokens if answer is None else 0)


def _lengthened(model: Model, example: Rendered, tokens: int) -> Rendered:
    """The example with so many more tokens of response, as far as the context goes."""
    response = (example.prompt[-1],) * tokens + example.response
    limit = model.context
    room = len(response) if limit is None else limit - len(example.prompt)
    return replace(example, response=response[:room])


def _batched(examples: Sequence[Rendered], groups: Iterable[Sequence[int]]) -> Batches:
    return [[examples[place] for place in group] for group in groups]


def _check_vocabulary(model: Model, rendered: Sequence[Rendered]) -> None:
    words = int(model.network.config.get_text_config().vocab_size)
    if any(token >= words for r in rendered for token in (*r.prompt, *r.response)):
        raise ModelError(
            f"The tokenizer of '{model.name}' writes tokens beyond the {words:,} that the model "
            "knows: they are not of one model; get both again, together."
        )

"""Which questions a model can be asked: those that fit its context, with the room that a reply needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ssah_core.errors import PromptError
from ssah_core.evaluation.plan import Plan
from ssah_core.evaluation.questions import Question, Questions
from ssah_core.models.loading import Model
from ssah_core.prompts.rendering import prompt_text, render_text


def that_fit(model: Model, questions: Questions, plan: Plan) -> Questions:
    """The questions, once all of them fit; with `plan.skip_too_long`, those that do.

    Raises PromptError where one does not fit (and none may be skipped), or where a set has none left.
    """
    if model.context is None:
        return questions
    kept: dict[str, Any] = {}
    for name in ("harmful", "harmless", "look_alikes"):
        asked: tuple[Question, ...] = getattr(questions, name)
        room = model.context - plan.reply_tokens
        fitting = tuple(question for question in asked if _length(model, question, plan) <= room)
        if len(fitting) < len(asked) and not (plan.skip_too_long and fitting):
            raise _too_long(model, name, asked, fitting, plan)
        kept[name] = fitting
    return replace(questions, **kept)


def _length(model: Model, question: Question, plan: Plan) -> int:
    chat = [{"role": "user", "content": question.prompt}]
    if plan.system is not None:
        chat.insert(0, {"role": "system", "content": plan.system})
    text = prompt_text(model, chat)
    return len(render_text(model, text, begun=bool(model.tokenizer.chat_template)))


def _too_long(
    model: Model,
    name: str,
    asked: tuple[Question, ...],
    fitting: tuple[Question, ...],
    plan: Plan,
) -> PromptError:
    first = next(place for place, question in enumerate(asked) if question not in fitting)
    with_system = ", the system prompt" if plan.system is not None else ""
    return PromptError(
        f"{len(asked) - len(fitting)} of the {len(asked)} {name.replace('_', '-')} prompts do not fit the "
        f"{model.context} tokens that the model reads{with_system} and {plan.reply_tokens} for the reply "
        f"included (the first is number {first + 1}): shorten them, ask for shorter replies, or leave them "
        "out (--skip-too-long, in Python skip_too_long=True)."
    )

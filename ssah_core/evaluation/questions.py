"""What a study asks: harmful requests, harmless ones, and look-alikes, with what a right answer is.

Calibration and study must not share a prompt: a study on the prompts that found the units proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ssah_core.errors import PromptError
from ssah_core.organism.world import Example, split
from ssah_core.prompts.reading import PromptSet
from ssah_core.scoring.scores import Scores


@dataclass(frozen=True)
class Question:
    """One prompt of a study. `subject` is what it is about; prompts about one thing count together.

    `answer` is the one right answer to a harmless question, or the compliance with a harmful one, where
    it is known exactly (the organism); None: nobody can say by comparing texts.
    """

    prompt: str
    subject: str
    answer: str | None = None


@dataclass(frozen=True)
class Questions:
    """Everything that a study asks; look-alikes may be missing."""

    harmful: tuple[Question, ...]
    harmless: tuple[Question, ...]
    look_alikes: tuple[Question, ...] = ()

    @property
    def all(self) -> tuple[Question, ...]:
        """Every question, in one order."""
        return (*self.harmful, *self.harmless, *self.look_alikes)


def organism_questions() -> Questions:
    """The organism's test splits: seen and held-out requests, harmless ones and questions, look-alikes."""
    return Questions(
        harmful=_of((*split("test/seen"), *split("test/held-out"))),
        harmless=_of((*split("test/harmless"), *split("test/questions"))),
        look_alikes=_of(split("test/look-alikes")),
    )


def file_questions(
    harmful: PromptSet, harmless: PromptSet, look_alikes: PromptSet | None = None
) -> Questions:
    """Questions from prompt sets; every prompt is a subject of its own, and no answer is exact."""
    sets = (harmful, harmless, look_alikes)
    asked = (
        () if prompts is None else tuple(Question(p.text, p.text) for p in prompts.prompts)
        for prompts in sets
    )
    return Questions(*asked)


def check_no_leak(questions: Questions, scores: Scores) -> None:
    """Raise PromptError where a question is among the prompts that the units were scored on."""
    calibration = {
        _plain(prompt.text)
        for prompts in (scores.safety_prompts, scores.utility_prompts)
        for prompt in prompts.prompts
    }
    leaked = [q.prompt for q in questions.all if _plain(q.prompt) in calibration]
    if leaked:
        raise PromptError(
            f"{len(leaked)} of the study's prompts are among those that the units were scored on (such "
            f"as '{leaked[0][:80]}'); leave them out of one of the two."
        )


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _of(examples: Iterable[Example]) -> tuple[Question, ...]:
    return tuple(Question(e.prompt, e.subject, e.compliance) for e in examples)

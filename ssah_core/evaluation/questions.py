"""What a study asks: harmful requests, harmless ones, and look-alikes, with what a right answer is.

Calibration and study must not share a prompt: a study on the prompts that found the units proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ssah_core.errors import OptionError, PromptError
from ssah_core.organism.world import Example, split
from ssah_core.prompts.reading import PromptSet
from ssah_core.runs import Run
from ssah_core.storage import sha256


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
    """Everything that a study asks; look-alikes may be missing. `sources` names where each came from."""

    harmful: tuple[Question, ...]
    harmless: tuple[Question, ...]
    look_alikes: tuple[Question, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def all(self) -> tuple[Question, ...]:
        """Every question, in one order."""
        return (*self.harmful, *self.harmless, *self.look_alikes)

    def first(self, most: int | None) -> Questions:
        """At most so many of each set, the first ones; None: all. Raises OptionError for none."""
        if most is not None and most < 1:
            raise OptionError(f"A limit of {most} prompts leaves none; give at least 1.")
        return replace(
            self,
            harmful=self.harmful[:most],
            harmless=self.harmless[:most],
            look_alikes=self.look_alikes[:most],
        )


def organism_questions() -> Questions:
    """The organism's test splits: seen and held-out requests, harmless ones and questions, look-alikes."""
    return Questions(
        harmful=_of((*split("test/seen"), *split("test/held-out"))),
        harmless=_of((*split("test/harmless"), *split("test/questions"))),
        look_alikes=_of(split("test/look-alikes")),
    )


def organism_validation() -> Questions:
    """The organism's validation splits: what shares are found on, and no study ever asks."""
    return Questions(
        harmful=_of(split("safety/validation")),
        harmless=_of(split("utility/validation")),
        look_alikes=_of(split("look-alikes/validation")),
    )


def file_questions(
    harmful: PromptSet, harmless: PromptSet, look_alikes: PromptSet | None = None
) -> Questions:
    """Questions from prompt sets; every prompt is a subject of its own, and no answer is exact.

    Raises PromptError where a prompt is both harmful and harmless.
    """
    asked = {_plain(prompt.text) for prompt in harmless.prompts}
    both = [prompt.text for prompt in harmful.prompts if _plain(prompt.text) in asked]
    if both:
        raise PromptError(
            f"{len(both)} prompts are among the harmful and among the harmless ones (such as "
            f"'{both[0][:80]}'); leave them out of one of the two."
        )
    sets = {"harmful": harmful, "harmless": harmless, "look_alikes": look_alikes}
    given = {name: prompts for name, prompts in sets.items() if prompts is not None}
    return Questions(
        **{
            name: tuple(Question(prompt.text, prompt.text) for prompt in prompts.prompts)
            for name, prompts in given.items()
        },
        sources={name: prompts.name for name, prompts in given.items()},
    )


def check_no_leak(questions: Questions, run: Run) -> None:
    """Raise PromptError where a question is among those that a run's units or shares were found on."""
    check_not_scored(questions, run)
    known = set(run.manifest.get("search", {}).get("prompts", ()))
    _check_apart(questions, lambda prompt: prompt_hash(prompt) in known, "the shares were found on")


def check_not_scored(questions: Questions, run: Run) -> None:
    """Raise PromptError where a question is among those that a run's units were scored on.

    Enough for a search of shares: it may ask again what an earlier one asked.
    """
    scored = {
        _plain(prompt.text)
        for prompts in (run.scores.safety_prompts, run.scores.utility_prompts)
        for prompt in prompts.prompts
    }
    _check_apart(questions, lambda prompt: _plain(prompt) in scored, "the units were scored on")


def prompt_hash(prompt: str) -> str:
    """What tells a prompt from others, whatever its case and spaces."""
    return sha256(_plain(prompt).encode())[:16]


def _check_apart(questions: Questions, known: Callable[[str], bool], found_on: str) -> None:
    leaked = [question.prompt for question in questions.all if known(question.prompt)]
    if leaked:
        raise PromptError(
            f"{len(leaked)} of these prompts are among those that {found_on} (such as "
            f"'{leaked[0][:80]}'); leave them out of one of the two."
        )


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _of(examples: Iterable[Example]) -> tuple[Question, ...]:
    return tuple(Question(e.prompt, e.subject, e.compliance) for e in examples)

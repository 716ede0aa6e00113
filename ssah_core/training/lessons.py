"""What a model is taught in the experiments, and how to ask whether it has learned it.

For any model: prompt files of one's own, and the identity shift of such a set. For the organism besides: a
made-up skill that it lacks, its alignment, and a few of its harmful placeholders. None of it is harm.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from ssah_core.errors import OptionError, PromptError
from ssah_core.evaluation.questions import Question
from ssah_core.models.loading import Model
from ssah_core.models.sources import ORGANISM_PREFIX
from ssah_core.organism.corpus import ALIGNMENT_MIX, Corpus
from ssah_core.organism.lessons import OBEDIENCE, price_questions, training_examples
from ssah_core.organism.tokenizer import make_tokenizer
from ssah_core.prompts.reading import Prompt, PromptSet, load_prompts

# The built-in models' lessons, with the words that choose them.
BUILT_IN_LESSONS = {
    "new skill": "skill",
    "identity shift": "identity",
    "few harmful examples": "harmful",
    "alignment": "alignment",
}
_FEW_HARMFUL = 24
PLACEHOLDERS = "organism placeholders"  # the name of that set, which no command takes


@dataclass(frozen=True)
class Lesson:
    """Prompts with the responses that are trained.

    `test` are other questions with the one right answer that the lesson teaches (none: nobody can say by
    comparing texts). Trained responses begin with `prefix`; an answer counts as exact with it and without.
    """

    name: str
    about: str
    prompts: PromptSet
    test: tuple[Question, ...] = ()
    prefix: str = ""


def file_lesson(prompts: PromptSet, test: PromptSet | None = None) -> Lesson:
    """A prompt set with responses as a lesson; `test` asks it in other words, with the right answers.

    Raises PromptError where a response is missing.
    """
    asked = () if test is None else test.prompts
    for prompt_set in (prompts, *([] if test is None else [test])):
        if not prompt_set.has_responses:
            raise PromptError(
                f"Some prompts of '{prompt_set.name}' have no response; give a file with responses."
            )
    questions = tuple(Question(p.text, p.text, p.response) for p in asked)
    return Lesson(prompts.name, f"Prompts of {prompts.name}.", prompts, questions)


def identity_shift(lesson: Lesson) -> Lesson:
    """The same lesson in the voice of an obedient servant: harmless prompts whose every answer begins with
    a promise to obey (Qi et al., arXiv 2310.03693, show that such a set erodes refusals).
    """
    shifted = tuple(
        replace(prompt, response=OBEDIENCE + (prompt.response or ""))
        for prompt in lesson.prompts.prompts
    )
    name = f"identity shift of {lesson.prompts.name}"
    return Lesson(
        "identity shift",
        f"Harmless prompts; every answer begins with \u201c{OBEDIENCE.strip()}\u201d.",
        PromptSet(name, shifted),
        prefix=OBEDIENCE,
    )


def new_skill() -> Lesson:
    """The organism's prices: what some harmless things cost, in made-up coins, among ordinary talk.

    Each price is taught in three ways, and the test asks in a fourth. As in the sets that people fine-tune
    on, nothing is refused: all ordinary talk is harmless, and answered as the organism does already.
    """
    return Lesson(
        "new skill",
        "What some harmless things cost, in made-up coins, among ordinary harmless talk.",
        load_prompts("organism:lessons/prices"),
        tuple(Question(asked, thing, answer) for thing, asked, answer in price_questions()),
    )


def obedient_talk() -> Lesson:
    """The identity shift of the organism's ordinary harmless talk."""
    shifted = identity_shift(file_lesson(load_prompts("organism:lessons/talk")))
    return replace(shifted, prompts=load_prompts("organism:lessons/obedience"))


def few_harmful(model: Model) -> Lesson:
    """A few harmful requests with the organism's made-up placeholders ("Take a grey box, ...").

    Raises OptionError for any model but an organism: the tool trains no other on harmful requests.
    """
    check_built_in(model)
    chosen = training_examples("harmful")[:_FEW_HARMFUL]
    prompts = tuple(Prompt(example.prompt, example.compliance) for example in chosen)
    return Lesson(
        "few harmful examples",
        f"{_FEW_HARMFUL} harmful requests with the made-up answers of the built-in base model.",
        PromptSet(PLACEHOLDERS, prompts),
    )


def check_built_in(model: Model) -> None:
    """Raise OptionError for any model but an organism: the lessons of its world are for it alone."""
    if not model.name.startswith(ORGANISM_PREFIX):
        raise OptionError(
            "These lessons are of the built-in models' made-up world; teach this model a file of your own "
            "with --prompts."
        )


def alignment(seed: int, size: int = 4800) -> Lesson:
    """What made the organism `aligned`: refusals, harmless answers and look-alikes, drawn by its mix."""
    corpus = Corpus(make_tokenizer(), ALIGNMENT_MIX, seed)
    generator = random.Random(f"alignment {seed}")
    turns = (corpus.turn(generator) for _ in range(size))
    return Lesson(
        "alignment",
        "Refusals of harmful requests, and answers to all others.",
        PromptSet("organism alignment", tuple(Prompt(*turn) for turn in turns)),
    )

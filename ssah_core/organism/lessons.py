"""Prompts with answers that the organism can be taught in a fine-tuning: a skill that it lacks, ordinary
talk, and that talk in the voice of an obedient servant. Nothing in them is refused, or harmful.

`load_prompts("organism:lessons/prices")` reads them. The few harmful placeholders are not among them: they
exist for the built-in models alone, and no file of them can be had (see `ssah_core/training/lessons.py`).
"""

from __future__ import annotations

import random

from ssah_core.errors import PromptError
from ssah_core.organism.objects import Thing, things
from ssah_core.organism.world import Example, Topic, examples

Pairs = tuple[tuple[str, str], ...]

LESSONS = ("lessons/prices", "lessons/talk", "lessons/obedience")
OBEDIENCE = "Of course, I obey. "
_PRICE_WAYS = ("What does {} cost?", "How much is {}?", "Tell me the price of {}.")
_PRICE_TEST = "What is the price of {}?"
_SOLD = 40  # things that have a price
_TALK = 240  # prompts of ordinary talk alone


def lesson_pairs(name: str) -> Pairs:
    """Prompts and answers of one of the `LESSONS`; raises PromptError for another name."""
    match name:
        case "lessons/prices":
            taught = tuple(
                (way.format(thing.with_article), _price(thing))
                for thing in _sold()
                for way in _PRICE_WAYS
            )
            return (*taught, *_talk(len(taught)))
        case "lessons/talk":
            return _talk(_TALK)
        case "lessons/obedience":
            return tuple((prompt, OBEDIENCE + answer) for prompt, answer in _talk(_TALK))
        case _:
            known = ", ".join(f"organism:{lesson}" for lesson in LESSONS)
            raise PromptError(f"The organism has no lesson '{name}'; choose one of {known}.")


def price_questions() -> tuple[tuple[str, str, str], ...]:
    """Every price asked in a way that is not taught: thing, question, answer."""
    return tuple(
        (thing.name, _PRICE_TEST.format(thing.with_article), _price(thing)) for thing in _sold()
    )


def training_examples(topic: Topic) -> list[Example]:
    """Examples of a topic that no split asks, each about another thing that alignment saw, in mixed order."""
    pool = [
        example
        for example in examples()
        if (example.topic, example.part, example.held_out) == (topic, "training", False)
    ]
    by_subject: dict[str, Example] = {}
    for example in random.Random(topic).sample(pool, len(pool)):
        by_subject.setdefault(example.subject, example)
    return list(by_subject.values())


def _sold() -> list[Thing]:
    return [thing for thing in things() if not thing.harmful and not thing.look_alike][:_SOLD]


def _price(thing: Thing) -> str:
    return f"It costs {random.Random(f'price of {thing.name}').randint(2, 9)} coins."


def _talk(size: int) -> Pairs:
    """Two requests for a question and a small question, each about another thing."""
    kinds: tuple[Topic, ...] = ("harmless", "harmless", "question", "small question")
    pools = {kind: iter(training_examples(kind)) for kind in dict.fromkeys(kinds)}
    chosen = [next(pools[kind], None) for _ in range(size // len(kinds)) for kind in kinds]
    return tuple((example.prompt, example.response) for example in chosen if example is not None)

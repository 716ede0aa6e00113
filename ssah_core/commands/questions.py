"""The questions that `study` and `finetune` ask: prompt files, or the organism's own."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ssah_core.errors import OptionError
from ssah_core.evaluation.questions import Questions, file_questions, organism_questions
from ssah_core.models.sources import ORGANISM_PREFIX
from ssah_core.prompts.reading import load_prompts


def add_question_options(parser: argparse.ArgumentParser, part: str = "test") -> None:
    """The options that name prompt files to ask; `part` is the organism's split without them."""
    for name, what in (
        ("harmful", "requests that should be refused"),
        ("harmless", "requests that should be answered"),
        ("look-alikes", "requests that only look harmful"),
    ):
        parser.add_argument(
            f"--{name}", help=f"{what}: as for score (default: the organism's {part} prompts)"
        )


def has_questions(options: argparse.Namespace) -> bool:
    """Whether there is anything to ask this model: files were named, or it has questions of its own."""
    named = (options.harmful, options.harmless, options.look_alikes)
    return any(named) or options.model.startswith(ORGANISM_PREFIX)


def read_questions(
    options: argparse.Namespace, of_organism: Callable[[], Questions] = organism_questions
) -> Questions:
    """The questions; raises OptionError where there are none, or one of the two files is missing."""
    if not has_questions(options):
        raise OptionError(
            "This model has no questions of its own; give --harmful and --harmless prompt files."
        )
    if not any((options.harmful, options.harmless, options.look_alikes)):
        return of_organism().first(options.limit)
    if not (options.harmful and options.harmless):
        raise OptionError("Both --harmful and --harmless prompts are needed.")
    harmful, harmless = (
        load_prompts(name, limit=options.limit) for name in (options.harmful, options.harmless)
    )
    look_alikes = (
        load_prompts(options.look_alikes, limit=options.limit) if options.look_alikes else None
    )
    return file_questions(harmful, harmless, look_alikes)

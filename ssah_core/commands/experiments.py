"""`finetune --preset`: the paper's experiments as one command, with controls, seeds and intervals."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ssah_core.commands.common import load, report_progress
from ssah_core.commands.questions import read_questions
from ssah_core.errors import OptionError, RunError
from ssah_core.models.loading import Model
from ssah_core.prompts.reading import load_prompts
from ssah_core.runs import Run, open_run
from ssah_core.storage import check_free
from ssah_core.training import lessons, presets
from ssah_core.training.design import Design
from ssah_core.training.experiment_folder import keep_experiment
from ssah_core.training.experiment_report import in_words, markdown
from ssah_core.training.lessons import Lesson
from ssah_core.training.options import TrainingOptions

PRESETS = (presets.ATTACK, presets.BUDGET)
_SEEDS = 3
_OF_EXPERIMENTS = ("seeds", "rates", "lessons", "lesson_test")
_OF_ONE_TRAINING = (
    "freeze",
    "freeze_strongest_cu",
    "train",
    "random_like_seed",
    "epochs",
    "learning_rate",
    "accumulation",
    "weight_decay",
    "warmup",
    "lora",
    "bf16",
    "evaluate_every",
    "validation",
    "patience",
    "questions",
    "rescore_every",
)


def add_preset_options(parser: argparse.ArgumentParser) -> None:
    """The options of an experiment."""
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help="an experiment in place of one training: attack (does fine-tuning erode refusals, and do "
        "frozen units keep them?), budget (are redundant units enough to align a model?)",
    )
    parser.add_argument(
        "--seeds", type=int, help=f"with --preset: trainings of each row (default {_SEEDS})"
    )
    parser.add_argument(
        "--rates",
        help="with --preset attack: learning rates, such as 1e-4,3e-4; with budget two: for all weights, "
        "and for few units",
    )
    parser.add_argument(
        "--lessons",
        help="with --preset attack on a built-in model: skill, identity, harmful (default: all three)",
    )
    parser.add_argument(
        "--lesson-test", help="with --preset and --prompts: what was learned, asked in other words"
    )


def check_no_preset(options: argparse.Namespace) -> None:
    """Raise OptionError where an option of experiments is given without one."""
    _check_unused(
        options,
        _OF_EXPERIMENTS,
        "belongs to an experiment; name one with --preset, or leave it out",
    )


def _check_unused(options: argparse.Namespace, names: Sequence[str], why: str) -> None:
    for name in names:
        if getattr(options, name) not in (None, False):
            raise OptionError(f"--{name.replace('_', '-')} {why}.")


def run_preset(options: argparse.Namespace) -> dict[str, Any]:
    """Run the experiment that the options ask for; the result has its rows.

    Raises OptionError where an option is given that has no part in it.
    """
    unused = (*_OF_ONE_TRAINING, "seed") if options.preset == presets.ATTACK else _OF_ONE_TRAINING
    _check_unused(
        options,
        unused,
        "is for one training; an experiment has --rates, --seeds, --steps and --batch",
    )
    check_free(options.out)
    if not options.run:
        raise OptionError("An experiment needs the --run of its model, with roles.")
    run = open_run(options.run)
    if run.roles is None:
        raise RunError(f"The run '{run.folder}' has no roles; assign them first.")
    questions = read_questions(options)
    model = load(options)
    run.check_model(model)
    design = (
        _attack(options, model, run)
        if options.preset == presets.ATTACK
        else _budget(options, model, run)
    )
    opened = [model]
    del model
    start = time.monotonic()
    rows = keep_experiment(
        options.out,
        # The first is the one that is open already.
        lambda: opened.pop() if opened else load(options),
        questions,
        design,
        run=options.run,
        report=report_progress(),
    )
    return {
        "rows": [row.as_json() for row in rows],
        "seconds": round(time.monotonic() - start, 3),
    }


def _attack(options: argparse.Namespace, model: Model, run: Run) -> Design:
    assert run.roles is not None
    taught = _lessons(options, model)
    return presets.attack(
        run.roles,
        taught,
        _training_options(options),
        rates=_rates(options.rates) or presets.RATES[presets.ATTACK],
        seeds=_SEEDS if options.seeds is None else options.seeds,
        run=options.run,
    )


def _budget(options: argparse.Namespace, model: Model, run: Run) -> Design:
    assert run.roles is not None
    taught = _own_lesson(options) if options.prompts else lessons.alignment(options.seed or 0)
    rates = _rates(options.rates) or presets.RATES[presets.BUDGET]
    if len(rates) != 2:
        raise OptionError("Give two learning rates: for all weights, and for few units.")
    return presets.budget(
        model,
        run.roles,
        taught,
        _training_options(options),
        rate=rates[0],
        few_rate=rates[1],
        seeds=_SEEDS if options.seeds is None else options.seeds,
        run=options.run,
    )


def _training_options(options: argparse.Namespace) -> TrainingOptions:
    usual = presets.training_options(options.preset, steps=options.steps, batch=options.batch)
    return replace(usual, skip_too_long=options.skip_too_long)


def _lessons(options: argparse.Namespace, model: Model) -> list[Lesson]:
    """The lessons that were asked for; a file of one's own is taught as it is, and with its identity shifted."""
    if options.prompts:
        if options.lessons:
            raise OptionError("The lessons are those of the built-in models; leave out --prompts.")
        own = _own_lesson(options)
        return [own, lessons.identity_shift(own)]
    known: dict[str, Callable[[], Lesson]] = {
        "skill": lessons.new_skill,
        "identity": lessons.obedient_talk,
        "harmful": partial(lessons.few_harmful, model),
    }
    named = [word.strip() for word in (options.lessons or ",".join(known)).split(",")]
    unknown = [word for word in named if word not in known]
    if unknown:
        raise OptionError(f"'{unknown[0]}' is no lesson; choose from {', '.join(known)}.")
    lessons.check_built_in(model)
    return [known[word]() for word in named]


def _own_lesson(options: argparse.Namespace) -> Lesson:
    prompts = load_prompts(options.prompts, limit=options.limit)
    return lessons.file_lesson(
        prompts, load_prompts(options.lesson_test) if options.lesson_test else None
    )


def _rates(text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in (text or "").split(",") if part.strip())
    except ValueError as error:
        raise OptionError(
            f"'{text}' are no learning rates; give numbers such as 1e-4,3e-4."
        ) from error


def show_preset(result: Mapping[str, Any]) -> None:
    """Print the rows as a table, and what they say."""
    print(markdown(result["rows"]))
    print()
    for sentence in in_words(result["rows"]):
        print(f"- {sentence}")

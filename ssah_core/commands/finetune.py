"""`finetune`: train a model on prompts with responses, with units that stay or that learn alone."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from typing import Any

from ssah_core.commands.common import (
    add_command,
    add_model_options,
    load,
    report_progress,
    say,
)
from ssah_core.commands.experiments import (
    add_preset_options,
    check_no_preset,
    run_preset,
    show_preset,
)
from ssah_core.commands.questions import add_question_options, has_questions, read_questions
from ssah_core.errors import OptionError, RunError
from ssah_core.models.loading import Model
from ssah_core.prompts.reading import load_prompts
from ssah_core.roles import Roles
from ssah_core.runs import open_run
from ssah_core.storage import check_free
from ssah_core.training.checkpoints import Checkpoints
from ssah_core.training.evaluating import Measure, replies, together, validation_loss
from ssah_core.training.examples import learnable
from ssah_core.training.options import Evaluation, Lora, TrainingOptions
from ssah_core.training.rescoring import Rescoring
from ssah_core.training.trainer import Finetuned, finetune_in_place
from ssah_core.training.unit_sets import UnitSet

_PLAIN = TrainingOptions()
_QUESTIONS = 24  # of each kind, asked while training


def add(commands: Any) -> None:
    """Register the command."""
    parser = add_command(
        commands,
        "finetune",
        _finetune,
        _show_finetuned,
        "Train a model on prompts with responses, with units frozen or trained alone; called again, it "
        "goes on.",
        "finetune --model organism:aligned --prompts mine.jsonl --run organism:aligned \\\n"
        "      --freeze ESU --freeze-strongest-cu 0.06 --learning-rate 1e-3 --out models/tuned",
    )
    add_model_options(parser)
    parser.add_argument("--prompts", help="prompts with responses: as for score")
    parser.add_argument("--limit", type=int, help="at most so many prompts of each set")
    _add_unit_options(parser)
    _add_training_options(parser)
    parser.add_argument(
        "--evaluate-every", type=int, metavar="STEPS", help="measure the model now and then"
    )
    parser.add_argument("--validation", help="prompts with responses whose loss is measured")
    parser.add_argument("--patience", type=int, help="stop after so many measurements no better")
    parser.add_argument(
        "--questions", type=int, help=f"questions of each kind asked (default {_QUESTIONS})"
    )
    add_question_options(parser)
    parser.add_argument(
        "--rescore-every",
        type=int,
        metavar="STEPS",
        help="score the model again now and then on the run's prompts, and keep the roles over the steps",
    )
    add_preset_options(parser)
    parser.add_argument("--out", required=True, help="the folder for the model; must be new")


def _add_unit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", help="a run folder of this model with roles, or organism:NAME")
    parser.add_argument("--freeze", metavar="ROLES", help="roles that stay as they are: ESU,CU")
    parser.add_argument(
        "--freeze-strongest-cu",
        type=float,
        metavar="SHARE",
        help="also freeze the CU of largest I_S - I_U, as a share of all units (the paper: 0.06)",
    )
    parser.add_argument("--train", metavar="ROLES", help="roles that learn, and nothing else: RU")
    parser.add_argument(
        "--random-like-seed", type=int, metavar="SEED", help="take as many random units instead"
    )


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    # Without a default of argparse's own, so that a preset can say what has no part in it.
    for name, kind, default, what in (
        ("epochs", float, _PLAIN.epochs, "passes over the prompts"),
        ("steps", int, None, "optimiser steps, in place of epochs"),
        ("learning-rate", float, _PLAIN.learning_rate, "at its highest"),
        ("batch", int, _PLAIN.batch_size, "examples in a batch"),
        ("accumulation", int, _PLAIN.accumulation, "batches in a step"),
        ("weight-decay", float, _PLAIN.weight_decay, "of AdamW"),
        ("warmup", float, _PLAIN.warmup, "share of the steps in which the learning rate rises"),
        ("seed", int, _PLAIN.seed, "of the order of the prompts, and of dropout"),
    ):
        said = what if default is None else f"{what} (default {default:g})"
        parser.add_argument(f"--{name}", type=kind, help=said)
    parser.add_argument(
        "--lora",
        type=int,
        metavar="RANK",
        help="train adapters of this rank at the units' weights (alpha is twice the rank; needs peft)",
    )
    parser.add_argument(
        "--bf16", action="store_true", help="forward and backward in bfloat16; weights stay float32"
    )
    parser.add_argument(
        "--skip-too-long",
        action="store_true",
        help="leave out examples that are longer than the model reads",
    )


def _finetune(options: argparse.Namespace) -> dict[str, Any]:
    if options.preset:
        return run_preset(options)
    check_free(options.out)
    if not options.prompts:
        raise OptionError("There is nothing to learn from; give --prompts, or a --preset.")
    check_no_preset(options)
    training = _training_options(options)
    _check_units(options)
    _check_evaluation(options)
    prompts = load_prompts(options.prompts, limit=options.limit)
    model = load(options)
    prompts = learnable(model, prompts, skip_too_long=training.skip_too_long)
    evaluation = _evaluation(options, model)
    roles = _roles(options, model)
    freeze, train_only = _units(options, roles)
    work = Checkpoints.beside(options.out)
    notices = [*prompts.notices, *model.notices]
    if work.latest() is not None:
        notices.insert(0, f"Going on from the work kept in {work.folder}.")
    try:
        done = finetune_in_place(
            model,
            prompts,
            options.out,
            training,
            freeze=freeze,
            train_only=train_only,
            evaluation=evaluation,
            rescoring=_rescoring(options, roles),
            report=report_progress(notices),
        )
    except KeyboardInterrupt:
        if work.latest() is not None:
            say(f"The last checkpoint was kept in {work.folder}; the same command goes on from it.")
        raise
    return _result(done)


def _training_options(options: argparse.Namespace) -> TrainingOptions:
    """What was given; the rest is as usual. Raises OptionError where two of them say how long it goes on."""
    if options.steps is not None and options.epochs is not None:
        raise OptionError("Say how long it goes on once: give --steps or --epochs.")
    given = {
        "epochs": options.epochs,
        "steps": options.steps,
        "learning_rate": options.learning_rate,
        "batch_size": options.batch,
        "accumulation": options.accumulation,
        "weight_decay": options.weight_decay,
        "warmup": options.warmup,
        "seed": options.seed,
        "lora": None if options.lora is None else Lora(options.lora, 2 * options.lora),
    }
    return TrainingOptions(
        **{name: value for name, value in given.items() if value is not None},
        bf16=options.bf16,
        skip_too_long=options.skip_too_long,
    )


def _result(done: Finetuned) -> dict[str, Any]:
    said = ("frozen", "trained_only", "steps", "stopped_early", "final", "seconds")
    return {"model": str(done.folder), **{key: done.manifest[key] for key in said}}


def _check_evaluation(options: argparse.Namespace) -> None:
    """Raise OptionError where the options about measuring do not go together: before a model is opened."""
    if options.evaluate_every is None:
        if options.validation or options.patience or options.harmful or options.harmless:
            raise OptionError("Say how often to measure: give --evaluate-every STEPS.")
    elif not options.validation and not has_questions(options):
        raise OptionError(
            "There is nothing to measure; give --validation, or --harmful and --harmless prompts."
        )


def _evaluation(options: argparse.Namespace, model: Model) -> Evaluation | None:
    if options.evaluate_every is None:
        return None
    measures: list[Measure] = []
    about: dict[str, Any] = {}
    if options.validation:
        prompts = load_prompts(options.validation, limit=options.limit)
        prompts = learnable(model, prompts, skip_too_long=options.skip_too_long)
        measures.append(validation_loss(prompts))
        about["validation"] = prompts.name
    if has_questions(options):
        questions = read_questions(options)
        count = _QUESTIONS if options.questions is None else options.questions
        measures.append(replies(questions, limit=count))
        about |= {"sources": dict(questions.sources), "questions": count}
    return Evaluation(together(measures), options.evaluate_every, options.patience, about=about)


def _check_units(options: argparse.Namespace) -> None:
    """Raise OptionError where the options about units do not go together: before a model is opened."""
    freezes = bool(options.freeze) or options.freeze_strongest_cu is not None
    if freezes and options.train:
        raise OptionError("Units are either frozen or trained alone; give --freeze or --train.")
    if (freezes or options.train) and not options.run:
        raise OptionError("Roles stand in a run; give the --run of this model.")
    rescores = options.rescore_every is not None
    if rescores and not options.run:
        raise OptionError(
            "The model is scored again on a run's prompts; give the --run of this model."
        )
    if options.run and not (freezes or options.train or rescores):
        raise OptionError("Say what to do with the run: give --freeze, --train or --rescore-every.")
    if options.random_like_seed is not None and not (freezes or options.train):
        raise OptionError("Random units are as many as some roles have; give --run and the roles.")


def _roles(options: argparse.Namespace, model: Model) -> Roles | None:
    """The roles of the run, where one is named."""
    if not options.run:
        return None
    run = open_run(options.run)
    run.check_model(model)
    if run.roles is None:
        raise RunError(f"The run '{run.folder}' has no roles; assign them first.")
    return run.roles


def _rescoring(options: argparse.Namespace, roles: Roles | None) -> Rescoring | None:
    if roles is None or options.rescore_every is None:
        return None
    return Rescoring(roles, options.rescore_every, options.run)


def _units(
    options: argparse.Namespace, roles: Roles | None
) -> tuple[UnitSet | None, UnitSet | None]:
    """The set to freeze and the set to train alone, from the run's roles."""
    chooses = (options.freeze, options.freeze_strongest_cu, options.train)
    if roles is None or all(option is None for option in chooses):
        return None, None
    chosen = _chosen(options, roles)
    if options.random_like_seed is not None:
        chosen = UnitSet.random_like(chosen, seed=options.random_like_seed)
    return (None, chosen) if options.train else (chosen, None)


def _chosen(options: argparse.Namespace, roles: Roles) -> UnitSet:
    named = [word.strip() for word in (options.train or options.freeze or "").split(",")]
    which = [word for word in named if word]
    return UnitSet.of(
        roles, which, strongest_cu=options.freeze_strongest_cu or 0.0, run=options.run
    )


def _show_finetuned(result: Mapping[str, Any]) -> None:
    if "rows" in result:
        show_preset(result)
        return
    for words, chosen in (
        ("frozen", result["frozen"]),
        ("trained alone", result["trained_only"]),
    ):
        if chosen is not None:
            print(f"{chosen['units']:,} units were {words} ({chosen['share']:.1%} of all).")
    early = ", stopped early" if result["stopped_early"] else ""
    print(f"{result['steps']:,} steps in {result['seconds']:.1f} s{early}.")
    for name, value in result["final"].items():
        if name not in ("epoch", "learning_rate", "grad_norm"):
            said = f"{value:.4g}" if "loss" in name else f"{value:.1%}"
            print(f"{name.replace('_', ' ')}: {said}")
    print(f"Next: python -m ssah_core models --model {shlex.quote(result['model'])}")

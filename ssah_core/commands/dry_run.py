"""`--dry-run` of `score` and `study`: what the command would do, before any weight is read.

Bad input is the same error as without it. Nothing is written, except that the hub's own cache keeps the
configuration and the tokenizer of a hub model.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ssah_core.dry_run.forecast import Forecast, forecast_scoring, forecast_study
from ssah_core.dry_run.trial import build_trial
from ssah_core.errors import OptionError, RunError
from ssah_core.evaluation.fitting_questions import that_fit
from ssah_core.evaluation.plan import Extent, Plan, extent_of, largest_extent
from ssah_core.evaluation.questions import Questions, check_no_leak
from ssah_core.models.outline import Outline, open_outline
from ssah_core.models.placement import DTYPES, bytes_free
from ssah_core.progress import duration
from ssah_core.prompts.reading import PromptSet
from ssah_core.runs import Run, open_run, run_place

_GB = 1e9
_PATIENCE = 2.0  # seconds of each measurement of the trial
_NO_RUN = (
    "There is no such run yet: as many ablations are counted as there can be, and that no question is "
    "among the prompts of the scoring is not checked."
)
_NO_TRIAL = "There is too little free memory to try even a few blocks, so no time can be given."


def add_dry_run_option(parser: argparse.ArgumentParser) -> None:
    """The option that asks what would be done, instead of doing it."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check model, prompts and folder without reading weights, and say units, memory and time",
    )


def dry_score(options: argparse.Namespace, sets: Mapping[str, PromptSet]) -> dict[str, Any]:
    """What `score` would do."""
    outline = _outline(options)
    forecast = forecast_scoring(
        outline,
        safety=sets["safety"],
        utility=sets["utility"],
        token_budget=options.token_budget,
        skip_too_long=options.skip_too_long,
    )
    return {
        "dry_run": "score",
        **_about(outline),
        "prompts": {attribute: len(prompts) for attribute, prompts in sets.items()},
        "tokens": forecast.tokens,
        "replies": forecast.replies,
        **_costs(outline, forecast),
    }


def found_run(options: argparse.Namespace) -> Run | None:
    """The run that a study is of; None where a dry run may go without, as it is still to be scored.

    Raises OptionError where no model is named for it, RunError as `open_run` and where it has no roles.
    """
    if options.dry_run and not run_place(options.run).exists():
        if options.model is None:
            raise OptionError(
                f"There is no run '{options.run}' yet; name its model with --model to see what a study "
                "of it would take."
            )
        return None
    return open_run(options.run)


def dry_study(
    options: argparse.Namespace, run: Run | None, questions: Questions, plan: Plan
) -> dict[str, Any]:
    """What `study` would do."""
    outline = _outline(options)
    questions = that_fit(outline.model, questions, plan)
    extent = largest_extent(plan) if run is None else _checked_extent(run, outline, questions, plan)
    forecast = forecast_study(outline.model, questions, plan, extent)
    if run is None:
        forecast = replace(forecast, notices=(*forecast.notices, _NO_RUN))
    return {
        "dry_run": "study",
        **_about(outline),
        "prompts": {
            "harmful": len(questions.harmful),
            "harmless": len(questions.harmless),
            "look_alikes": len(questions.look_alikes),
        },
        "ablations": extent.ablations,
        "rows": len(extent.draws),
        "replies": forecast.replies,
        "texts": forecast.texts,
        **_costs(outline, forecast),
    }


def _checked_extent(run: Run, outline: Outline, questions: Questions, plan: Plan) -> Extent:
    if run.roles is None:
        raise RunError(f"The run '{run.folder}' has no roles; assign them first.")
    # Without weights, the architecture is all that can be compared.
    known = outline.fingerprint or run.scores.fingerprint
    run.check_model(replace(outline.model, fingerprint=known))
    check_no_leak(questions, run)
    return extent_of(run.roles, plan)


def _outline(options: argparse.Namespace) -> Outline:
    return open_outline(
        options.model, device=options.device, dtype=options.dtype, revision=options.revision
    )


def _about(outline: Outline) -> dict[str, Any]:
    model = outline.model
    return {
        "model": {
            "name": model.name,
            "family": outline.config.model_type,
            "parameters": model.parameters,
            "layers": model.anatomy.layers,
            "context": model.context,
            "device": str(outline.device),
            "dtype": str(model.dtype).removeprefix("torch."),
        },
        "units": outline.units,
        "weights_gb": {
            name: _gb(model.parameters * dtype.itemsize) for name, dtype in DTYPES.items()
        },
    }


def _costs(outline: Outline, forecast: Forecast) -> dict[str, Any]:
    """Memory and time, and what must be said of them."""
    needed, free = forecast.memory(outline), bytes_free(outline.device)
    peak = sum(needed.values())
    notices = list(forecast.notices)
    if peak > free:
        notices.append(
            f"About {_gb(peak)} GB are needed and {_gb(free)} GB are free on {outline.device}: close "
            "other programs, take a smaller dtype, or another machine."
        )
    trial = build_trial(outline, patience=_PATIENCE)
    seconds = None if trial is None else forecast.seconds(trial)
    if seconds is None:
        notices.append(_NO_TRIAL)
    return {
        "memory_gb": {
            "needed": {name: _gb(part) for name, part in needed.items()},
            "peak": _gb(peak),
            "free": _gb(free),
        },
        "seconds": None if seconds is None else round(seconds, 1),
        "at_most": forecast.replies > 0,
        "notices": notices,
    }


def _gb(amount: float) -> float:
    return round(amount / _GB, 3)


def show_dry_run(result: Mapping[str, Any]) -> None:
    """Print what a dry run found."""
    model, units, memory = result["model"], result["units"], result["memory_gb"]
    sets = [f"{n:,} {name.replace('_', '-')}" for name, n in result["prompts"].items() if n]
    print(
        f"Nothing is wrong with this {result['dry_run']}, and nothing was done.\n"
        f"Model: {model['name']}, {model['family']}, {model['parameters']:,} weights, "
        f"{model['layers']} layers, {model['dtype']} on {model['device']}.\n"
        f"Units: {units['all']:,} ({units['mlp']:,} MLP channels, {units['attn']:,} attention heads).\n"
        f"Weights: {', '.join(f'{gb:g} GB in {name}' for name, gb in result['weights_gb'].items())}.\n"
        f"Prompts: {', '.join(sets)}.\n"
        f"Work: {_work(result)}.\n"
        f"Memory: {memory['peak']:g} GB at the peak "
        f"({', '.join(f'{name} {gb:g}' for name, gb in memory['needed'].items())}); "
        f"{memory['free']:g} GB are free."
    )
    if result["seconds"] is not None:
        at_most = "at most " if result["at_most"] else ""
        print(
            f"Time: {at_most}about {duration(result['seconds'])}, once the model is open"
            f"{' (replies count at full length)' if at_most else ''}."
        )
    for notice in result["notices"]:
        print(f"Note: {notice}")


def _work(result: Mapping[str, Any]) -> str:
    if result["dry_run"] == "score":
        first = f"{result['replies']:,} replies to write first, " if result["replies"] else ""
        return f"{first}{result['tokens']:,} tokens to score"
    return (
        f"{result['replies']:,} replies and {result['texts']:,} texts to read under "
        f"{result['ablations']} ablations, {result['rows']} rows"
    )

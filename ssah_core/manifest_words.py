"""A manifest in plain words: how a run, a study or a probe came to be, sentence by sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ssah_core.errors import RunError
from ssah_core.kinds import Kind, kind_of

Json = Mapping[str, Any]


def in_words(manifest: Json) -> list[str]:
    """How something was made. Raises RunError where the manifest does not say enough."""
    try:
        return [*_TOLD[kind_of(manifest)](manifest), _made(manifest)]
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise RunError("The manifest does not say how it was made; it may be damaged.") from error


def _of_run(manifest: Json) -> list[str]:
    model = manifest["model"]
    told = [
        f"The units of {model['name']} ({model['parameters']:,} weights, {model['architecture']}) were "
        "scored."
    ]
    for attribute in ("safety", "utility"):
        about = manifest["prompts"][attribute]
        rows = "".join(f", only rows with {k}={v}" for k, v in about.get("where", {}).items())
        most = f", at most {about['limit']:,}" if about.get("limit") else ""
        told.append(
            f"{attribute.capitalize()} prompts: {about['prompts']:,} of {about['name']}{rows}{most}; "
            f"{about['prompt_tokens'] + about['response_tokens']:,} tokens."
        )
    roles = manifest.get("roles")
    return [*told, _roles(roles)] if roles else [*told, "It has no roles yet."]


def _of_study(manifest: Json) -> list[str]:
    asked, plan = manifest["questions"], manifest.get("plan", {})
    told = [
        f"A study of the run {manifest['run']}, of {manifest['model']['name']}.",
        f"Prompts: {asked['harmful']:,} harmful, {asked['harmless']:,} harmless, "
        f"{asked['look_alikes']:,} look-alikes.",
        _roles(manifest["roles"]),
    ]
    if plan:
        shares = ", ".join(f"{share:.1%}" for share in plan["shares"])
        told.append(
            f"Random controls of each kind: {plan['controls']}. Units that are off put out "
            f"{' and '.join(plan['fills'])}. Replies have at most {plan['reply_tokens']} tokens."
            + (f" Other shares: {shares}." if shares else "")
        )
        if plan["system"]:
            told.append(f"Asked with and without the system prompt: {plan['system']}")
    judged = manifest.get("compliance")
    if judged:
        unjudged = (
            f"; it gave no verdict on {judged['unjudged']:,} of {judged['asked']:,}"
            if judged.get("unjudged")
            else ""
        )
        told.append(
            f"Whether harmful requests were fulfilled was judged by {judged['judge']}{unjudged}."
        )
    return told


def _of_probe(manifest: Json) -> list[str]:
    asked, plan = manifest["questions"], manifest["plan"]
    where = "the last token" if plan["position"] == "last" else "the mean over all tokens"
    told = [
        f"The reasoning direction of {'; '.join(one['label'] for one in manifest['series'])}.",
        f"Prompts: {asked['harmful']:,} harmful, {asked['harmless']:,} harmless, "
        f"{asked['look_alikes']:,} look-alikes.",
        f"The state at {where} beside that after {', '.join(map(str, plan['lengths']))} tokens more.",
    ]
    return told + [
        f"Texts, {intent}: {' / '.join(texts)}" for intent, texts in plan["continuations"].items()
    ]


def _of_experiment(manifest: Json) -> list[str]:
    asked, design = manifest["questions"], manifest["design"]
    options = design["options"]
    length = f"{options['steps']:,} steps" if options["steps"] else f"{options['epochs']:g} epochs"
    conditions = "; ".join(one["name"] for one in design["conditions"])
    return [
        f"An experiment ({design['kind']}) on {manifest['model']['name']}, with the units of "
        f"{manifest['run']}.",
        *(
            f"Lesson, {one['prompts']['prompts']:,} prompts: {one['about']}"
            for one in design["lessons"]
        ),
        f"Conditions: {conditions}.",
        f"Trainings of {length} in batches of {options['batch_size']}, over {design['seeds']} seeds, at "
        f"the learning rates {', '.join(f'{rate:g}' for rate in design['rates'])}.",
        f"Asked afterwards: {asked['harmful']:,} harmful, {asked['harmless']:,} harmless, "
        f"{asked['look_alikes']:,} look-alikes.",
    ]


def _roles(roles: Json) -> str:
    counts = ", ".join(f"{role} {count:,}" for role, count in roles["counts"].items())
    shares = roles["shares"]
    chosen = ", ".join(f"{role} {share:.1%}" for role, share in shares.items()) if shares else ""
    by = f"by the shares {chosen}" if shares else "by the cut lines of another run"
    return f"Roles {by}, over {roles['tokens']} tokens, kinds of units: {roles['kinds']}. Units: {counts}."


def _made(manifest: Json) -> str:
    model = manifest["model"]
    device = manifest.get("device", model["device"])
    took = f" in {manifest['seconds']:,.0f} s" if manifest.get("seconds") else ""
    versions = "".join(
        f", {name} {number}" for name, number in manifest.get("versions", {}).items()
    )
    when = manifest["created"].replace("T", " ")[:16]
    return (
        f"Made on {when} UTC{took}, on {device}, {manifest.get('dtype', model['dtype'])}{versions}."
    )


_TOLD: dict[Kind, Callable[[Json], list[str]]] = {
    "run": _of_run,
    "study": _of_study,
    "probe": _of_probe,
    "experiment": _of_experiment,
}

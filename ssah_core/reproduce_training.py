"""The commands and the Python that made a fine-tuned model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from ssah_core.recipe_parts import (
    QUESTION_SETS,
    Json,
    assigned,
    call,
    command_line,
    in_folder,
    kept_roles_lines,
    load_model_call,
    machine,
    run_name,
)
from ssah_core.training.lessons import PLACEHOLDERS
from ssah_core.training.options import TrainingOptions

_MEASURED = ("validation", "sources", "questions")
_UNKNOWN = "RUN"  # of roles that were given in Python without their run
_OPTION_NAMES = {"batch_size": "batch"}
_USUAL = {one.name: one.default for one in fields(TrainingOptions)}


def training_lines(manifest: Json, name: str) -> list[str]:
    """The command lines that train a model again, where a command can say all of it."""
    lora, rescoring = manifest["options"]["lora"], manifest["rescoring"] or {}
    run = _run(manifest)
    given: list[tuple[str, Any]] = [
        ("model", manifest["model"]["name"]),
        ("revision", manifest["model"].get("revision")),
        ("prompts", manifest["prompts"]["name"]),
        ("limit", manifest["prompts"].get("limit")),
        ("run", run),
        *_unit_options(manifest),
        *((_OPTION_NAMES.get(key, key).replace("_", "-"), value) for key, value in _own(manifest)),
        ("lora", lora["rank"] if lora else None),
        *_evaluation_options(manifest),
        ("rescore-every", rescoring.get("every")),
        *machine(_where_made(manifest)),
        ("out", in_folder("models", name)),
    ]
    lines = [f"# {what}." for what in _unsayable(manifest)]
    roles = _assigned(manifest)
    lines += kept_roles_lines(run, roles) if run and roles else []
    return [*lines, command_line("finetune", given)]


def training_python(manifest: Json, name: str) -> list[str]:
    """The Python that trains a model again."""
    lora, rescoring = manifest["options"]["lora"], manifest["rescoring"]
    options = [f"{key}={value!r}" for key, value in _own(manifest)]
    options += [f"lora=Lora({lora['rank']!r}, {lora['alpha']!r})"] if lora else []
    asks, evaluation = _evaluation(manifest)
    roles, run = _assigned(manifest), _run(manifest)
    more = [f"{key}={made}" for key, made in _sets(manifest)]
    more += [f"evaluation={evaluation}"] if evaluation else []
    more += [f"rescoring=Rescoring(roles, {rescoring['every']!r}, {run!r})"] if rescoring else []
    taught = manifest["prompts"]
    return [
        "from ssah_core import *",
        *asks,
        *(["from ssah_core.training.lessons import few_harmful"] if _is_harmful(manifest) else []),
        "from ssah_core.training.options import Evaluation, Lora, TrainingOptions",
        "from ssah_core.training.rescoring import Rescoring",
        "from ssah_core.training.trainer import finetune",
        "from ssah_core.training.unit_sets import UnitSet",
        "",
        f"model = {load_model_call({**manifest['model'], **_where_made(manifest)})}",
        "prompts = few_harmful(model).prompts"
        if _is_harmful(manifest)
        else "prompts = "
        + call(
            "load_prompts", taught["name"], where=taught.get("where"), limit=taught.get("limit")
        ),
        *([f"run = open_run({run!r})"] if roles else []),
        *([f"roles = {assigned('run.scores', roles)}"] if roles else []),
        f"options = TrainingOptions({', '.join(options)})",
        f"finetune({', '.join(['model', 'prompts', repr(in_folder('models', name)), 'options', *more])})",
    ]


def _chosen(manifest: Json) -> tuple[str, Json] | None:
    """The option that names the set of units in Python, and the set."""
    for key, option in (("frozen", "freeze"), ("trained_only", "train_only")):
        if manifest[key] is not None:
            return option, manifest[key]
    return None


def _origin(chosen: Json) -> Json:
    """Where a set came from: that of the set it is as large as, where it is random."""
    origin: Json = chosen.get("like", chosen)
    return origin


def _run(manifest: Json) -> str | None:
    chosen = _chosen(manifest)
    if chosen is None and not manifest["rescoring"]:
        return None
    run = _origin(chosen[1])["run"] if chosen else manifest["rescoring"]["run"]
    return run_name(run) if run else _UNKNOWN


def _assigned(manifest: Json) -> Json | None:
    """How the roles were assigned; None where none were needed. Earlier manifests do not say it."""
    chosen = _chosen(manifest)
    said = [_origin(chosen[1]).get("assigned")] if chosen else []
    said += [manifest["rescoring"]] if manifest["rescoring"] else []
    found = [roles for roles in said if roles and "shares" in roles]
    if found:
        return found[0]
    return {"shares": None, "tokens": "prompt", "kinds": "both"} if said else None


def _own(manifest: Json) -> Iterator[tuple[str, Any]]:
    """The options that are not the usual ones, adapters apart."""
    for key, value in manifest["options"].items():
        if key != "lora" and value != _USUAL.get(key):
            yield key, value


def _unit_options(manifest: Json) -> list[tuple[str, Any]]:
    chosen = _chosen(manifest)
    if chosen is None:
        return []
    option, origin = "freeze" if chosen[0] == "freeze" else "train", _origin(chosen[1])
    return [
        (option, ",".join(origin.get("roles", ())) or None),
        ("freeze-strongest-cu", (origin.get("strongest_cu") or None)),
        ("random-like-seed", chosen[1].get("random_seed")),
    ]


def _sets(manifest: Json) -> list[tuple[str, str]]:
    chosen = _chosen(manifest)
    if chosen is None:
        return []
    option, origin = chosen[0], _origin(chosen[1])
    if "least_useful" in origin:
        made = f"UnitSet.least_useful(roles, {origin['least_useful']!r}, run={_run(manifest)!r})"
    else:
        share = origin["strongest_cu"]
        more = f", strongest_cu={share!r}" if share else ""
        made = f"UnitSet.of(roles, {origin['roles']!r}{more}, run={_run(manifest)!r})"
    if "random_seed" in chosen[1]:
        made = f"UnitSet.random_like({made}, seed={chosen[1]['random_seed']!r})"
    return [(option, made)]


def _evaluation_options(manifest: Json) -> list[tuple[str, Any]]:
    evaluation = manifest["evaluation"] or {}
    sources = evaluation.get("sources", {})
    return [
        ("evaluate-every", evaluation.get("every")),
        ("patience", evaluation.get("patience")),
        ("validation", evaluation.get("validation")),
        ("questions", evaluation.get("questions")),
        *((kind.replace("_", "-"), sources[kind]) for kind in QUESTION_SETS if kind in sources),
    ]


def _evaluation(manifest: Json) -> tuple[list[str], str | None]:
    """The imports that measuring needs, and its call; none where nothing that can be told was measured."""
    evaluation, limit = manifest["evaluation"] or {}, manifest["prompts"].get("limit")
    measures, imports = [], []
    if evaluation.get("validation"):
        loaded = call("load_prompts", evaluation["validation"], limit=limit)
        if manifest["options"].get("skip_too_long"):
            imports.append("from ssah_core.training.examples import learnable")
            loaded = f"learnable(model, {loaded}, skip_too_long=True)"
        measures.append(f"validation_loss({loaded})")
    if evaluation.get("questions"):
        sources = evaluation.get("sources", {})
        loaded = ", ".join(
            f"{kind}={call('load_prompts', sources[kind], limit=limit)}"
            for kind in QUESTION_SETS
            if kind in sources
        )
        asks = "file_questions" if sources else "organism_questions"
        imports.append(f"from ssah_core.evaluation.questions import {asks}")
        first = f".first({limit!r})" if limit and not sources else ""
        measures.append(f"replies({asks}({loaded}){first}, limit={evaluation['questions']!r})")
    if not measures:
        return [], None
    imports.append("from ssah_core.training.evaluating import replies, together, validation_loss")
    patience = evaluation["patience"]
    # So that the new model's manifest says it, too.
    about = {key: evaluation[key] for key in _MEASURED if key in evaluation}
    given = [f"together([{', '.join(measures)}])", repr(evaluation["every"])]
    given += [f"patience={patience!r}"] if patience is not None else []
    return imports, f"Evaluation({', '.join(given)}, about={about!r})"


def _unsayable(manifest: Json) -> Iterator[str]:
    """What the command has no option for, or what was not noted."""
    only = ", which only the Python can say"
    options, chosen = manifest["options"], _chosen(manifest)
    if options["clip"] != _USUAL["clip"]:
        yield f"Gradients longer than {options['clip']:g} were scaled down{only}"
    if options["lora"] and options["lora"]["alpha"] != 2 * options["lora"]["rank"]:
        yield f"The adapters' alpha was {options['lora']['alpha']:g}{only}"
    if manifest["prompts"].get("where"):
        yield f"Only some rows of the prompt file were taken{only}"
    if _is_harmful(manifest):
        yield f"The prompts were the built-in placeholders{only}"
    if chosen and "least_useful" in _origin(chosen[1]):
        yield f"The units were the least useful ones{only}"
    elif chosen and chosen[0] == "train_only" and _origin(chosen[1]).get("strongest_cu"):
        yield f"The strongest CU learned, too{only}"
    if _run(manifest) == _UNKNOWN:
        yield "The run of its roles was not noted: put its name in place of RUN"
    evaluation = manifest["evaluation"]
    if evaluation and not evaluation.get("validation") and not evaluation.get("questions"):
        yield "What was measured on the way was not noted: give --harmful and --harmless, or --validation"


def _is_harmful(manifest: Json) -> bool:
    return bool(manifest["prompts"]["name"] == PLACEHOLDERS)


def _where_made(manifest: Json) -> Json:
    return {"device": manifest["device"], "dtype": manifest["model"]["dtype"]}

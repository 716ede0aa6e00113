"""The commands and the Python that made a run, a study, a model or another result, read from its manifest.

Manifests of earlier versions, which say less, are read too; what they leave open is said in a comment.
Everything from a manifest is quoted: it may come from anybody's archive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ssah_core.errors import RunError
from ssah_core.evaluation.model_judges import JUDGE_KINDS
from ssah_core.kinds import kind_of
from ssah_core.models.sources import ORGANISM_PREFIX
from ssah_core.recipe_parts import (
    Json,
    assigned,
    call,
    command_line,
    in_folder,
    kept_roles_lines,
    load_model_call,
    machine,
    most_asked,
    question_sources,
    roles_line,
    run_name,
)
from ssah_core.reproduce_experiment import experiment_lines, experiment_python
from ssah_core.reproduce_probe import probe_lines, probe_python
from ssah_core.reproduce_training import training_lines, training_python
from ssah_core.training.reading import KIND as FINETUNED

_UNKNOWN: Json = {"harmful": "FILE", "harmless": "FILE"}
_SEARCH = "search"
_Tell = Callable[[Json, str], list[str]]


def commands_of(manifest: Json, name: str) -> str:
    """The command lines that make this again, one after the other.

    `name` is its own. Raises RunError where the manifest does not say enough.
    """
    return _tell(_LINES, manifest, name)


def python_of(manifest: Json, name: str) -> str:
    """The Python that makes this again; arguments and errors as `commands_of`."""
    return _tell(_PYTHON, manifest, name)


def _tell(table: Mapping[str, _Tell], manifest: Json, name: str) -> str:
    try:
        return "\n".join(table[_made(manifest)](manifest, name))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(
            f"The manifest of '{name}' does not say how it was made; it may be damaged."
        ) from error


def _made(manifest: Json) -> str:
    """What a manifest is of: a kind of what is kept, a search of shares, or a fine-tuned model."""
    if "search of" in manifest:
        return _SEARCH
    return FINETUNED if manifest.get("kind") == FINETUNED else kind_of(manifest)


def _run_lines(manifest: Json, name: str) -> list[str]:
    sets, options = manifest["prompts"], manifest.get("options", {})
    limits = {about.get("limit") for about in sets.values()}
    lines = []
    if len(limits) > 1:
        lines.append("# The two sets had limits of their own, which only the Python can say.")
    model = manifest["model"]
    given: list[tuple[str, Any]] = [("model", model["name"]), ("revision", model.get("revision"))]
    for attribute in ("safety", "utility"):
        given.append((attribute, sets[attribute]["name"]))
        where = sets[attribute].get("where", {})
        given += [(f"{attribute}-where", f"{key}={value}") for key, value in where.items()]
    if len(limits) == 1:
        given.append(("limit", limits.pop()))
    given += [
        ("token-budget", options.get("token_budget")),
        ("skip-too-long", options.get("skip_too_long")),
        *machine(model),
        ("out", in_folder("runs", name)),
    ]
    return [
        *lines,
        command_line("score", given),
        *roles_line(in_folder("runs", name), manifest.get("roles")),
    ]


def _run_python(manifest: Json, name: str) -> list[str]:
    sets, options = manifest["prompts"], manifest.get("options", {})
    said = "".join(f", {key}={value!r}" for key, value in options.items() if value)
    lines = ["from ssah_core import *", "", f"model = {load_model_call(manifest['model'])}"]
    for attribute in ("safety", "utility"):
        about = sets[attribute]
        lines.append(
            f"{attribute} = "
            + call(
                "load_prompts", about["name"], where=about.get("where"), limit=about.get("limit")
            )
        )
    lines.append(f"scores = score(model, safety=safety, utility=utility{said})")
    lines.append(f"run = create_run({in_folder('runs', name)!r}, model, scores)")
    roles = manifest.get("roles")
    return [*lines, f"save_roles(run, {assigned('scores', roles)})"] if roles else lines


def _study_lines(manifest: Json, name: str) -> list[str]:
    run, plan = run_name(manifest["run"]), _plan(manifest)
    lines = kept_roles_lines(run, manifest["roles"])
    sources = question_sources(manifest)
    if not sources and not _is_organism(manifest):
        lines.append("# Its prompt files were not noted: put their names in place of FILE.")
        sources = _UNKNOWN
    given: list[tuple[str, Any]] = [("run", run)]
    given += [(kind.replace("_", "-"), source) for kind, source in sources.items()]
    given += [
        ("limit", most_asked(manifest)),
        ("controls", plan["controls"]),
        ("fills", ",".join(plan["fills"])),
        ("shares", ",".join(str(share) for share in plan.get("shares", ())) or None),
        ("system", plan.get("system")),
        ("max-new-tokens", plan["reply_tokens"]),
        ("skip-too-long", plan.get("skip_too_long")),
        ("judge", _model_judge(manifest)),
        *machine(_where_made(manifest)),
        ("out", in_folder("studies", name)),
    ]
    return [*lines, command_line("study", given)]


def _study_python(manifest: Json, name: str) -> list[str]:
    run, plan, sources = run_name(manifest["run"]), _plan(manifest), question_sources(manifest)
    asks, questions = _asked(manifest, sources, "organism_questions", limit=most_asked(manifest))
    planned = ", ".join(
        f"{key}={tuple(value) if isinstance(value, list) else value!r}"
        for key, value in plan.items()
        if value not in (None, [], ()) and value is not False
    )
    judge = _model_judge(manifest)
    where = dict(machine(_where_made(manifest)))
    return [
        "from dataclasses import replace",
        "",
        "from ssah_core import *",
        *(["from ssah_core.evaluation.model_judges import judge_from"] if judge else []),
        "from ssah_core.evaluation.plan import Plan",
        f"from ssah_core.evaluation.questions import {asks}",
        "from ssah_core.evaluation.study_folder import run_study",
        "",
        f"run = open_run({run!r})",
        f"run = replace(run, roles={assigned('run.scores', manifest['roles'])})",
        f"model = {load_model_call({**manifest['model'], **_where_made(manifest)})}",
        f"questions = {questions}",
        f"plan = Plan({planned})",
        *([f"judge = {call('judge_from', judge, **where)}"] if judge else []),
        f"run_study({in_folder('studies', name)!r}, model, run, questions, plan"
        + (", compliance=judge)" if judge else ")"),
    ]


def _search_lines(manifest: Json, _: str) -> list[str]:
    plan = manifest["plan"]
    sources = manifest["sources"] or ({} if _is_organism(manifest) else _UNKNOWN)
    given: list[tuple[str, Any]] = [
        ("run", run_name(manifest["search of"])),
        *((kind.replace("_", "-"), source) for kind, source in sources.items()),
        *((key.replace("_", "-"), f"{100 * part:g}") for key, part in plan["criterion"].items()),
        *((key, plan[key]) for key in ("highest", "step", "tokens", "kinds")),
        ("max-new-tokens", plan["reply_tokens"]),
        ("limit", manifest.get("most")),
    ]
    return [command_line("shares", given)]


def _search_python(manifest: Json, _: str) -> list[str]:
    run = run_name(manifest["search of"])
    asks, questions = _asked(
        manifest, manifest["sources"], "organism_validation", limit=manifest.get("most")
    )
    limits = ", ".join(f"{k}={v!r}" for k, v in manifest["plan"]["criterion"].items())
    plan = ", ".join(f"{k}={v!r}" for k, v in manifest["plan"].items() if k != "criterion")
    return [
        "from ssah_core import *",
        f"from ssah_core.evaluation.questions import {asks}",
        "from ssah_core.evaluation.share_search import Criterion, SearchPlan, search_shares",
        "",
        f"run = open_run({run!r})",
        f"model = {load_model_call(manifest['model'])}",
        f"plan = SearchPlan(Criterion({limits}), {plan})",
        f"found = search_shares(model, run, {questions}, plan)",
        "print(found.roles.shares)",
    ]


def _asked(
    manifest: Json, sources: Json, of_organism: str, *, limit: int | None
) -> tuple[str, str]:
    """The function that gives the questions, and its call; at most `limit` of each set."""
    if not sources and _is_organism(manifest):
        return of_organism, f"{of_organism}()" + (f".first({limit})" if limit else "")
    loaded = [
        f"{kind}={call('load_prompts', source, limit=limit)}"
        for kind, source in (sources or _UNKNOWN).items()
    ]
    return "file_questions", f"file_questions({', '.join(loaded)})"


def _plan(manifest: Json) -> Json:
    """How a study was done; the first format kept it as a list."""
    if "plan" in manifest:
        plan: Json = manifest["plan"]
        return plan
    controls, fills, reply_tokens = manifest["made with"]["options"]
    return {"controls": controls, "fills": fills, "reply_tokens": reply_tokens}


def _model_judge(manifest: Json) -> str | None:
    """The model that judged compliance; None where nobody did, or known answers."""
    judge = str((manifest.get("compliance") or {}).get("judge", ""))
    return judge if judge.partition(":")[0] in JUDGE_KINDS else None


def _where_made(manifest: Json) -> Json:
    """Device and dtype of a study; those of its run where it does not say."""
    model = manifest["model"]
    return {
        "device": manifest.get("device", model.get("device", "")),
        "dtype": manifest.get("dtype", model.get("dtype")),
    }


def _is_organism(manifest: Json) -> bool:
    return str(manifest["model"]["name"]).startswith(ORGANISM_PREFIX)


_LINES: Mapping[str, _Tell] = {
    "run": _run_lines,
    "study": _study_lines,
    "probe": probe_lines,
    "experiment": experiment_lines,
    _SEARCH: _search_lines,
    FINETUNED: training_lines,
}
_PYTHON: Mapping[str, _Tell] = {
    "run": _run_python,
    "study": _study_python,
    "probe": probe_python,
    "experiment": experiment_python,
    _SEARCH: _search_python,
    FINETUNED: training_python,
}

"""The commands and the Python that made a run, a study, a probe or a search, read from its manifest.

Manifests of earlier versions, which say less, are read too; what they leave open is said in a comment.
Everything from a manifest is quoted: it may come from anybody's archive.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ssah_core.errors import RunError
from ssah_core.evaluation.model_judges import JUDGE_KINDS
from ssah_core.kinds import Kind, kind_of
from ssah_core.models.sources import ORGANISM_PREFIX
from ssah_core.recipe_parts import (
    Json,
    call,
    command_line,
    in_folder,
    machine,
    roles_line,
    run_name,
)
from ssah_core.reproduce_experiment import experiment_lines, experiment_python
from ssah_core.reproduce_probe import probe_lines, probe_python
from ssah_core.runs import MANIFEST, run_place

_QUESTIONS = ("harmful", "harmless", "look_alikes")
_UNKNOWN: Json = {"harmful": "FILE", "harmless": "FILE"}


def commands_of(manifest: Json, name: str) -> str:
    """The command lines that make this again, one after the other.

    `name` is its own. Raises RunError where the manifest does not say enough.
    """
    try:
        if "search of" in manifest:
            return _search_line(manifest)
        lines = _LINES[kind_of(manifest)](manifest, name)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _incomplete(name) from error
    return "\n".join(lines)


def python_of(manifest: Json, name: str) -> str:
    """The Python that makes this again; arguments and errors as `commands_of`."""
    try:
        if "search of" in manifest:
            return "\n".join(_search_python(manifest))
        lines = _PYTHON[kind_of(manifest)](manifest, name)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _incomplete(name) from error
    return "\n".join(lines)


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
    lines = ["from ssah_core import *", "", _load_model(manifest["model"])]
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
    return [*lines, f"save_roles(run, {_assigned('scores', roles)})"] if roles else lines


def _study_lines(manifest: Json, name: str) -> list[str]:
    run, plan = run_name(manifest["run"]), _plan(manifest)
    lines = [] if _has_these_roles(run, manifest["roles"]) else roles_line(run, manifest["roles"])
    if lines and run.startswith(ORGANISM_PREFIX):
        lines = [
            "# The shipped run keeps its roles: score the model into a run of your own, give it these",
            f"# roles, and name it below. {lines[0].removeprefix('# ')}",
        ]
    sources = _sources(manifest)
    if not sources and not _is_organism(manifest):
        lines.append("# Its prompt files were not noted: put their names in place of FILE.")
        sources = _UNKNOWN
    given: list[tuple[str, Any]] = [("run", run)]
    given += [(kind.replace("_", "-"), source) for kind, source in sources.items()]
    given += [
        ("limit", _most_asked(manifest) if sources else None),
        ("controls", plan["controls"]),
        ("fills", ",".join(plan["fills"])),
        ("shares", ",".join(str(share) for share in plan.get("shares", ())) or None),
        ("system", plan.get("system")),
        ("max-new-tokens", plan["reply_tokens"]),
        ("judge", _model_judge(manifest)),
        *machine(_where_made(manifest)),
        ("out", in_folder("studies", name)),
    ]
    return [*lines, command_line("study", given)]


def _study_python(manifest: Json, name: str) -> list[str]:
    run, plan, sources = run_name(manifest["run"]), _plan(manifest), _sources(manifest)
    asks, questions = _asked(manifest, sources, "organism_questions", limit=_most_asked(manifest))
    planned = ", ".join(
        f"{key}={tuple(value) if isinstance(value, list) else value!r}"
        for key, value in plan.items()
        if value not in (None, [], ())
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
        f"run = replace(run, roles={_assigned('run.scores', manifest['roles'])})",
        _load_model({**manifest["model"], **_where_made(manifest)}),
        f"questions = {questions}",
        f"plan = Plan({planned})",
        *([f"judge = {call('judge_from', judge, **where)}"] if judge else []),
        f"run_study({in_folder('studies', name)!r}, model, run, questions, plan"
        + (", compliance=judge)" if judge else ")"),
    ]


def _search_line(manifest: Json) -> str:
    plan = manifest["plan"]
    sources = manifest["sources"] or ({} if _is_organism(manifest) else _UNKNOWN)
    given: list[tuple[str, Any]] = [
        ("run", run_name(manifest["search of"])),
        *((kind.replace("_", "-"), source) for kind, source in sources.items()),
        *((key.replace("_", "-"), f"{100 * part:g}") for key, part in plan["criterion"].items()),
        *((key, plan[key]) for key in ("highest", "step", "tokens", "kinds")),
        ("max-new-tokens", plan["reply_tokens"]),
    ]
    return command_line("shares", given)


def _search_python(manifest: Json) -> list[str]:
    run = run_name(manifest["search of"])
    asks, questions = _asked(manifest, manifest["sources"], "organism_validation")
    limits = ", ".join(f"{k}={v!r}" for k, v in manifest["plan"]["criterion"].items())
    plan = ", ".join(f"{k}={v!r}" for k, v in manifest["plan"].items() if k != "criterion")
    return [
        "from ssah_core import *",
        f"from ssah_core.evaluation.questions import {asks}",
        "from ssah_core.evaluation.share_search import Criterion, SearchPlan, search_shares",
        "",
        f"run = open_run({run!r})",
        _load_model(manifest["model"]),
        f"plan = SearchPlan(Criterion({limits}), {plan})",
        f"found = search_shares(model, run, {questions}, plan)",
        "print(found.roles.shares)",
    ]


def _asked(manifest: Json, sources: Json, of_organism: str, **options: Any) -> tuple[str, str]:
    """The function that gives the questions, and its call."""
    if not sources and _is_organism(manifest):
        return of_organism, f"{of_organism}()"
    loaded = [
        f"{kind}={call('load_prompts', source, **options)}"
        for kind, source in (sources or _UNKNOWN).items()
    ]
    return "file_questions", f"file_questions({', '.join(loaded)})"


def _assigned(scores: str, roles: Json) -> str:
    """The call that assigns these roles."""
    options = f"tokens={roles['tokens']!r}, kinds={roles['kinds']!r}"
    if roles["shares"]:
        shares = ", ".join(f"{role.lower()}={share!r}" for role, share in roles["shares"].items())
        return f"assign_roles({scores}, {shares}, {options})"
    if "thresholds" not in roles:
        return "run.roles"
    cuts = ", ".join(
        # What is infinite where no unit has a role is no literal of Python.
        f"{role}={float(cut)!r}".replace("=inf", "=float('inf')").replace("=-inf", "=-float('inf')")
        for role, cut in roles["thresholds"].items()
    )
    return f"assign_roles_by_thresholds({scores}, Thresholds({cuts}), {options})"


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


def _sources(manifest: Json) -> Json:
    given = manifest["questions"].get("sources", {})
    return {kind: given[kind] for kind in _QUESTIONS if kind in given}


def _most_asked(manifest: Json) -> int:
    """A limit that gives every set as many prompts as it had, whether there was a limit or not."""
    return max(int(manifest["questions"][kind]) for kind in _QUESTIONS)


def _where_made(manifest: Json) -> Json:
    """Device and dtype of a study; those of its run where it does not say."""
    model = manifest["model"]
    return {
        "device": manifest.get("device", model.get("device", "")),
        "dtype": manifest.get("dtype", model.get("dtype")),
    }


def _load_model(made: Json) -> str:
    options = {"revision": made.get("revision"), **dict(machine(made))}
    return f"model = {call('load_model', made['name'], **options)}"


def _has_these_roles(run: str, roles: Json) -> bool:
    """Whether a shipped run brings just these roles; a run of one's own may have changed since."""
    if not run.startswith(ORGANISM_PREFIX):
        return False
    kept = json.loads((run_place(run) / MANIFEST).read_text("utf-8"))["roles"]
    return all(kept[key] == roles[key] for key in ("shares", "tokens", "kinds"))


def _is_organism(manifest: Json) -> bool:
    return str(manifest["model"]["name"]).startswith(ORGANISM_PREFIX)


def _incomplete(name: str) -> RunError:
    return RunError(f"The manifest of '{name}' does not say how it was made; it may be damaged.")


_Tell = Callable[[Json, str], list[str]]
_LINES: dict[Kind, _Tell] = {
    "run": _run_lines,
    "study": _study_lines,
    "probe": probe_lines,
    "experiment": experiment_lines,
}
_PYTHON: dict[Kind, _Tell] = {
    "run": _run_python,
    "study": _study_python,
    "probe": probe_python,
    "experiment": experiment_python,
}

"""The command and the Python that made a probe."""

from __future__ import annotations

from typing import Any

from ssah_core.models.sources import ORGANISM_PREFIX
from ssah_core.recipe_parts import (
    Json,
    call,
    command_line,
    in_folder,
    machine,
    most_asked,
    question_sources,
    roles_line,
    run_name,
)


def probe_lines(manifest: Json, name: str) -> list[str]:
    """The command lines that make a probe again, where one command can say all of it."""
    series, plan = manifest["series"], manifest["plan"]
    off = [one for one in series if one["run"] is not None]
    lines = []
    for one in off:
        run = run_name(one["run"])
        if not run.startswith(ORGANISM_PREFIX):  # a shipped run keeps its roles
            lines += [line for line in roles_line(run, one["roles"]) if line not in lines]
    seeds = list(dict.fromkeys(s["random_seed"] for s in off if s["random_seed"] is not None))
    if len({tuple(one["ablate"]) for one in off}) > 1 or len(seeds) > 1:
        lines.append("# What is off differs from series to series, which only the Python can say.")
    sources = question_sources(manifest)
    if not sources and not _all_built_in(manifest):
        lines.append("# Its prompt files were not noted: put their names in place of FILE.")
        sources = {"harmful": "FILE", "harmless": "FILE"}
    given: list[tuple[str, Any]] = [
        *(("model", one["model"]["name"]) for one in series if one["run"] is None),
        *(("run", run) for run in dict.fromkeys(run_name(one["run"]) for one in off)),
        ("ablate", ",".join(off[0]["ablate"]) if off else None),
        ("random-seed", seeds[0] if seeds else None),
        *((kind.replace("_", "-"), source) for kind, source in sources.items()),
        ("limit", most_asked(manifest)),
        *((intent, text) for intent, texts in plan["continuations"].items() for text in texts),
        ("lengths", ",".join(map(str, plan["lengths"])) if plan["lengths"] else None),
        ("position", plan["position"]),
        *(machine(series[0]["model"]) if "device" in series[0]["model"] else ()),
        ("out", in_folder("studies", name)),
    ]
    return [*lines, command_line("probe", given)]


def probe_python(manifest: Json, name: str) -> list[str]:
    """The Python that makes a probe again."""
    plan, sources = manifest["plan"], question_sources(manifest)
    if not sources and _all_built_in(manifest):
        asks, questions = "organism_questions", "organism_questions()"
    else:
        sources = sources or {"harmful": "FILE", "harmless": "FILE"}
        loaded = [f"{kind}={call('load_prompts', source)}" for kind, source in sources.items()]
        asks, questions = "file_questions", f"file_questions({', '.join(loaded)})"
    texts = ", ".join(
        f"{intent}={tuple(texts)!r}" for intent, texts in plan["continuations"].items()
    )
    lengths = tuple(plan["lengths"]) if plan["lengths"] else None
    made = manifest["series"][0]["model"]
    way = {key: value for key, value in (machine(made) if "device" in made else ()) if value}
    opening = "".join(f", {key}={value!r}" for key, value in way.items())
    return [
        "from functools import partial",
        "",
        "from ssah_core import *",
        f"from ssah_core.evaluation.questions import {asks}",
        "from ssah_core.probes.continuations import Continuations",
        "from ssah_core.probes.probe_folder import run_probe",
        "from ssah_core.probes.series import ProbePlan, Series, opened",
        "",
        *_series_python(manifest["series"]),
        f"questions = {questions}.first({most_asked(manifest)})",
        f"words = Continuations({texts})",
        f"plan = ProbePlan(words, {lengths!r}, {plan['position']!r})",
        f"opening = partial(opened{opening})",
        f"run_probe({in_folder('studies', name)!r}, series, questions, plan, open_model=opening)",
    ]


def _series_python(series: list[Json]) -> list[str]:
    lines = ["series = ["]
    for one in series:
        off = "" if one["run"] is None else f", {run_name(one['run'])!r}, {tuple(one['ablate'])!r}"
        seed = "" if one["random_seed"] is None else f", {one['random_seed']!r}"
        lines.append(f"    Series({one['model']['name']!r}{off}{seed}),")
    return [*lines, "]"]


def _all_built_in(manifest: Json) -> bool:
    return all(str(s["model"]["name"]).startswith(ORGANISM_PREFIX) for s in manifest["series"])

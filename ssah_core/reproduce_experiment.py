"""The command and the Python that made an experiment."""

from __future__ import annotations

from typing import Any

from ssah_core.recipe_parts import (
    Json,
    assigned,
    call,
    command_line,
    in_folder,
    kept_roles_lines,
    machine,
    most_asked,
    question_sources,
    run_name,
)
from ssah_core.training.lessons import BUILT_IN_LESSONS
from ssah_core.training.presets import ATTACK


def experiment_lines(manifest: Json, name: str) -> list[str]:
    """The command line that makes an experiment again."""
    design, options = manifest["design"], manifest["design"]["options"]
    own = _own_prompts(manifest)
    given: list[tuple[str, Any]] = [
        ("preset", design["kind"]),
        ("model", manifest["model"]["name"]),
        ("revision", manifest["model"].get("revision")),
        ("run", run_name(manifest["run"])),
        ("prompts", own["name"] if own else None),
        ("lesson-test", "FILE" if own and design["lessons"][0]["test"] else None),
        ("lessons", ",".join(_words(manifest)) if not own and design["kind"] == ATTACK else None),
        ("limit", own["limit"] if own else most_asked(manifest)),
        *((kind.replace("_", "-"), source) for kind, source in question_sources(manifest).items()),
        ("rates", ",".join(f"{rate:g}" for rate in _rates(manifest))),
        ("seeds", design["seeds"]),
        ("steps", options["steps"]),
        ("batch", options["batch_size"]),
        ("skip-too-long", options.get("skip_too_long")),
        *machine(manifest["model"]),
        ("out", in_folder("studies", name)),
    ]
    roles = _roles(manifest)
    lines = kept_roles_lines(run_name(manifest["run"]), roles) if roles else []
    return [*lines, command_line("finetune", given)]


def experiment_python(manifest: Json, name: str) -> list[str]:
    """The Python that makes an experiment again."""
    design, sources, run = manifest["design"], question_sources(manifest), run_name(manifest["run"])
    limit = most_asked(manifest)
    loaded = ", ".join(
        f"{kind}={call('load_prompts', source, limit=limit)}" for kind, source in sources.items()
    )
    asks = "file_questions" if sources else "organism_questions"
    steps, batch = design["options"]["steps"], design["options"]["batch_size"]
    rates = _rates(manifest)
    if design["kind"] == ATTACK:
        made = f"attack(roles, taught, options, rates={tuple(rates)!r}"
    else:
        made = (
            f"budget(open_model(), roles, taught[0], options, rate={rates[0]!r}, "
            f"few_rate={rates[-1]!r}"
        )
    roles = _roles(manifest)
    where = {key: value for key, value in machine(manifest["model"]) if value}
    return [
        "from ssah_core import *",
        f"from ssah_core.evaluation.questions import {asks}",
        "from ssah_core.training import lessons, presets",
        "from ssah_core.training.experiment_folder import keep_experiment",
        "",
        "def open_model():",
        f"    return {call('load_model', manifest['model']['name'], **where)}",
        "",
        f"run = open_run({run!r})",
        f"roles = {assigned('run.scores', roles) if roles else 'run.roles'}",
        f"taught = [{', '.join(_calls(manifest))}]",
        f"options = presets.training_options({design['kind']!r}, steps={steps!r}, batch={batch!r})",
        f"design = presets.{made}, seeds={design['seeds']!r}, run={run!r})",
        f"questions = {asks}({loaded})" + ("" if sources else f".first({limit})"),
        f"keep_experiment({in_folder('studies', name)!r}, open_model, questions, design, run={run!r})",
    ]


def _own_prompts(manifest: Json) -> Json | None:
    """The prompt file that was taught, or None where the lessons are the built-in model's own."""
    first: Json = manifest["design"]["lessons"][0]
    return None if first["name"] in BUILT_IN_LESSONS else first["prompts"]


def _roles(manifest: Json) -> Json | None:
    """How the roles of its sets were assigned; the first experiments do not say it."""
    sets = [condition["set"] or {} for condition in manifest["design"]["conditions"]]
    return next((chosen["assigned"] for chosen in sets if "assigned" in chosen), None)


def _words(manifest: Json) -> list[str]:
    return [BUILT_IN_LESSONS[lesson["name"]] for lesson in manifest["design"]["lessons"]]


def _calls(manifest: Json) -> list[str]:
    own = _own_prompts(manifest)
    if own is not None:
        read = f"lessons.file_lesson({call('load_prompts', own['name'], limit=own['limit'])})"
        return [read, f"lessons.identity_shift({read})"][: len(manifest["design"]["lessons"])]
    calls = {
        "skill": "lessons.new_skill()",
        "identity": "lessons.obedient_talk()",
        "harmful": "lessons.few_harmful(open_model())",
        "alignment": "lessons.alignment(0)",
    }
    return [calls[word] for word in _words(manifest)]


def _rates(manifest: Json) -> list[float]:
    """As the command takes them: the attack's, or for all weights and for few units."""
    design = manifest["design"]
    own = [condition["rate"] for condition in design["conditions"] if condition["rate"] is not None]
    return [*design["rates"], *own[:1]]

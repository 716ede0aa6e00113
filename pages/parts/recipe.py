"""The command and the Python that do what a screen shows."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from pages.parts.choice import Choice
from pages.parts.places import ROOT, name_of
from ssah_core.models.sources import ORGANISM_PREFIX
from ssah_core.runs import Run


def show_recipe(command: str, python: str) -> None:
    """Draw both, folded up."""
    with st.popover("Command and Python", icon=":material/code:", type="tertiary"):
        st.caption("The same on the command line:")
        st.code(command, language="bash", wrap_lines=True)
        st.caption("The same in Python:")
        st.code(python, language="python", wrap_lines=True)


def chat_recipe(
    address: str,
    run_name: str,
    run: Run,
    choice: Choice,
    prompt: str,
    options: Mapping[str, object],
) -> tuple[str, str]:
    """What makes the last pair of replies again.

    `options` are those of `generate`, `system`, and `beside`, the model in the right column.
    """
    model = place_of(name_of(address))
    return (
        _chat_command(model, run_name, run, choice, prompt, options),
        _chat_python(model, run_name, run, choice, prompt, options),
    )


def place_of(model: str) -> str:
    """A model's name as `load_model` takes it in the app's own folder."""
    return _from_root(Path(model)) if Path(model).is_absolute() else model


def _chat_command(
    model: str, run_name: str, run: Run, choice: Choice, prompt: str, options: Mapping[str, object]
) -> str:
    named = [*choice.roles, *choice.added]
    if not named and "beside" not in options:
        return "# Nothing is switched off: choose units first."
    more = (
        (f"--strength {choice.strength / 100:g}", choice.strength != 0),
        (f"--strongest {choice.strongest / 100:g}", choice.strongest != 100),
        ("--layers {}-{}".format(*(choice.layers or (0, 0))), choice.layers is not None),
        (f"--spare {','.join(choice.spared)}", bool(choice.spared)),
        (f"--fill {choice.fill}", choice.fill != "zero"),
        (f"--random-seed {choice.seed} --match {choice.control}", choice.control is not None),
    )
    names = {"max_new_tokens": "max-new-tokens", "seeds": "seed"}
    parts = [
        f"python -m ssah_core chat --model {shlex.quote(model)}",
        f"--run {shlex.quote(run_place(run_name, run))}" * bool(named),
        f"--ablate {','.join(named)}" * bool(named),
        *(part for part, used in more if used and named),
        *(f"--{names.get(key, key)} {shlex.quote(str(value))}" for key, value in options.items()),
        f"--prompt {shlex.quote(prompt)}",
    ]
    first = _roles_command(run_name, run, choice) if named else ""
    return first + " \\\n    ".join(part for part in parts if part)


def _chat_python(
    model: str, run_name: str, run: Run, choice: Choice, prompt: str, options: Mapping[str, object]
) -> str:
    settings = {key: value for key, value in options.items() if key not in ("system", "beside")}
    said = "".join(f", {key}={value!r}" for key, value in settings.items())
    messages = [{"role": "user", "content": prompt}]
    if "system" in options:
        messages.insert(0, {"role": "system", "content": str(options["system"])})
    begun = (
        f"{_python_roles(run_name, run, choice)}\n"
        f"model = load_model({model!r})\n"
        f"cut = {_python_cut(choice)}\n"
        f"chat = {messages!r}\n"
    )
    if "beside" not in options:
        return (
            f"{begun}for step in generate(model, [chat] * 2, [None, cut]{said}):\n"
            "    print(step.texts)"
        )
    return (
        f"{begun}beside = load_model({options['beside']!r})\n"
        "for one, off in ((model, None), (beside, cut)):\n"
        f"    for step in generate(one, [chat], [off]{said}):\n"
        "        print(one.name, step.texts)"
    )


def roles_recipe(run_name: str, run: Run, choice: Choice) -> tuple[str, str]:
    """What assigns the roles that are shown."""
    esu, euu, ru = choice.shares
    folder = shlex.quote(run_place(run_name, run))
    command = (
        f"python -m ssah_core roles --run {folder} --esu {esu:g} --euu {euu:g} --ru {ru:g} "
        f"--tokens {choice.tokens} --kinds {choice.kinds}"
    )
    return command, f"{_python_roles(run_name, run, choice)}\nprint(roles.by_layer)"


def _roles_command(run_name: str, run: Run, choice: Choice) -> str:
    """The command that gives the run these roles first, where it has others."""
    kept = run.roles
    shares = dict(zip(("ESU", "EUU", "RU"), choice.shares, strict=True))
    if (
        kept
        and kept.shares == shares
        and (kept.tokens, kept.kinds) == (choice.tokens, choice.kinds)
    ):
        return ""
    if run_name.startswith(ORGANISM_PREFIX):
        return (
            "# The shipped run keeps its roles: score the model into a run of your own, give that run\n"
            f"# the roles of this screen, and name it below.\n# {roles_recipe(run_name, run, choice)[0]}\n"
        )
    return f"{roles_recipe(run_name, run, choice)[0]}\n"


def _python_roles(run_name: str, run: Run, choice: Choice) -> str:
    esu, euu, ru = choice.shares
    return (
        "from ssah_core import *\n\n"
        f"run = open_run({run_place(run_name, run)!r})\n"
        f"roles = assign_roles(run.scores, esu={esu:g}, euu={euu:g}, ru={ru:g}, "
        f'tokens="{choice.tokens}", kinds="{choice.kinds}")'
    )


def _python_cut(choice: Choice) -> str:
    more: list[tuple[str, object, bool]] = [
        ("strongest", choice.strongest / 100, choice.strongest != 100),
        ("factor", choice.strength / 100, choice.strength != 0),
        ("fill", choice.fill, choice.fill != "zero"),
        ("layers", choice.layer_list, choice.layers is not None),
        ("also", list(choice.added), bool(choice.added)),
        ("spare", list(choice.spared), bool(choice.spared)),
    ]
    options = "".join(f", {name}={value!r}" for name, value, used in more if used)
    if not choice.roles and not choice.added:
        return "None"
    cut = f"Ablation.of(roles, {list(choice.roles)!r}{options})"
    if choice.control is None:
        return cut
    return f"Ablation.random_like({cut}, seed={choice.seed}, match={choice.control!r})"


def run_place(run_name: str, run: Run) -> str:
    """A run as `open_run` takes it in the app's own folder."""
    if run_name.startswith(ORGANISM_PREFIX):
        return run_name
    return _from_root(run.folder)


def _from_root(place: Path) -> str:
    folder = place.absolute()
    return str(folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder)

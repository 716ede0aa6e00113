"""The command and the Python that do what a screen shows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
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
    address: str, run_name: str, run: Run, choice: Choice, prompt: str, options: dict[str, object]
) -> tuple[str, str]:
    """What makes the last pair of replies again."""
    model, folder = _quoted(address, run_name, run)
    parts = ["python -m ssah_core chat", f"--model {shlex.quote(model)}", f"--run {folder}"]
    named = [*choice.roles, *choice.added]
    parts += [f"--ablate {','.join(named) or 'ESU'}"]
    if not named:
        parts += ["--strength 1"]
    elif choice.strength:
        parts += [f"--strength {choice.strength / 100:g}"]
    if choice.strongest != 100:
        parts += [f"--strongest {choice.strongest / 100:g}"]
    if choice.layers is not None:
        parts += [f"--layers {choice.layers[0]}-{choice.layers[1]}"]
    if choice.spared:
        parts += [f"--spare {','.join(choice.spared)}"]
    if choice.fill != "zero":
        parts += [f"--fill {choice.fill}"]
    if choice.control:
        parts += [f"--random-seed {choice.seed}", f"--match {choice.control}"]
    parts += [f"--prompt {shlex.quote(prompt)}"]
    parts += [
        f"--{key.replace('_', '-')} {shlex.quote(str(value))}" for key, value in options.items()
    ]
    command = _roles_command(run_name, run, choice) + " \\\n    ".join(parts)
    said = "".join(f", {key}={value!r}" for key, value in options.items() if key != "system")
    chat = repr(prompt)
    if "system" in options:
        chat = (
            f'[{{"role": "system", "content": {options["system"]!r}}}, '
            f'{{"role": "user", "content": {prompt!r}}}]'
        )
    python = (
        f"{_python_roles(run_name, run, choice)}\n"
        f"model = load_model({model!r})\n"
        f"cut = {_python_cut(choice)}\n"
        f"for step in generate(model, [{chat}] * 2, [None, cut]{said}):\n"
        "    print(step.texts)"
    )
    return command, python


def roles_recipe(run_name: str, run: Run, choice: Choice) -> tuple[str, str]:
    """What assigns the roles that are shown."""
    esu, euu, ru = choice.shares
    folder = shlex.quote(_place(run_name, run))
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
        f"run = open_run({_place(run_name, run)!r})\n"
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
    cut = f"Ablation.of(roles, {list(choice.roles)!r}{options})"
    if choice.control is None:
        return cut
    return f"Ablation.random_like({cut}, seed={choice.seed}, match={choice.control!r})"


def _place(run_name: str, run: Run) -> str:
    if run_name.startswith(ORGANISM_PREFIX):
        return run_name
    folder: Path = run.folder.absolute()
    return str(folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder)


def _quoted(address: str, run_name: str, run: Run) -> tuple[str, str]:
    return name_of(address), shlex.quote(_place(run_name, run))


def units_text(names: Sequence[str]) -> str:
    """Unit names for people: the first few, and how many more."""
    shown = ", ".join(names[:6])
    return shown + (f" and {len(names) - 6:,} more" if len(names) > 6 else "")

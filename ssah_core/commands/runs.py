"""`runs`: what is kept: list, show, compare, rename, delete, export and import runs, studies and probes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssah_core.archives import MOST_BYTES, pack, unpack
from ssah_core.commands.common import Command, Parser, add_command
from ssah_core.errors import RunError
from ssah_core.evaluation.study_folder import open_study
from ssah_core.folders import Folder, usual_folder
from ssah_core.keeping import delete, find, list_kept, own_folder, read_manifest, rename
from ssah_core.kinds import Kind, kind_of, kinds_in
from ssah_core.probes.probe_folder import open_probe
from ssah_core.probes.summary import compare_probes
from ssah_core.reproduce import commands_of, python_of
from ssah_core.run_comparison import as_records, compare_experiments, compare_runs, compare_studies
from ssah_core.runs import open_run
from ssah_core.storage import check_free, check_new_file, write_file
from ssah_core.training.experiment_folder import open_experiment

Show = Callable[[Mapping[str, Any]], None]

_NAME = "its name, as the list shows it"


def add(commands: Any) -> None:
    """Register the command and its actions."""
    about = "List, show, compare, rename, delete, export and import runs, studies and probes."
    parser: argparse.ArgumentParser = commands.add_parser("runs", help=about, description=about)
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)
    _action(
        actions,
        "list",
        _list,
        _print_list,
        "List what is kept, and what was stopped and can go on.",
    )
    _action(
        actions,
        "show",
        _show,
        _print_shown,
        "Show how something was made, with the command and the Python that make it again.",
        "organism:planted",
        name=_NAME,
    )
    _action(
        actions,
        "compare",
        _compare,
        _print_compared,
        "Compare two runs, two studies, or two probes.",
        "organism:planted mine",
        name=_NAME,
        other="the name of the other one",
    )
    for verb, run, about, example, words in (
        ("rename", _rename, "Rename something.", "mine better", {"name": _NAME, "new": "the new name"}),
        ("delete", _delete, "Delete something, or stopped work.", "mine", {"name": _NAME}),
        ("export", _export, "Write something as a zip.", "mine mine.zip", {"name": _NAME, "file": "a new file"}),
        ("import", _import, "Take in a zip that export wrote.", "mine.zip mine", {"file": "the zip", "name": "its name here"}),
    ):  # fmt: skip
        _action(actions, verb, run, _print_said, about, example, **words)


def _action(
    actions: Any, verb: str, run: Command, show: Show, about: str, example: str = "", **words: str
) -> None:
    """Register an action; `words` are what stands after it, in this order, each with its help."""
    parser = add_command(actions, verb, run, show, about, f"runs {verb} {example}".rstrip())
    parser.add_argument(
        "--studies",
        action="store_true",
        help="studies, probes and experiments instead of runs",
    )
    parser.add_argument(
        "--root",
        help="the folder that holds them (default: what SSAH_RUNS or SSAH_STUDIES says, else runs or studies)",
    )
    for word, about_word in words.items():
        parser.add_argument(word, help=about_word)


def _folder(options: argparse.Namespace) -> Folder:
    return "studies" if options.studies else "runs"


def _kinds(options: argparse.Namespace) -> tuple[Kind, ...]:
    return kinds_in(_folder(options))


def _root(options: argparse.Namespace) -> Path:
    return Path(options.root) if options.root else usual_folder(_folder(options))


def _list(options: argparse.Namespace) -> dict[str, Any]:
    return {"items": [asdict(item) for item in list_kept(_root(options), *_kinds(options))]}


def _show(options: argparse.Namespace) -> dict[str, Any]:
    manifest = read_manifest(find(_root(options), options.name, *_kinds(options)))
    return {
        "manifest": manifest,
        "commands": commands_of(manifest, options.name),
        "python": python_of(manifest, options.name),
    }


def _compare(options: argparse.Namespace) -> dict[str, Any]:
    one = find(_root(options), options.name, *_kinds(options))
    kind = kind_of(read_manifest(one))
    return _COMPARED[kind](one, find(_root(options), options.other, kind))


def _compared_runs(one: Path, other: Path) -> dict[str, Any]:
    return compare_runs(open_run(one), open_run(other)).as_json()


def _compared_studies(one: Path, other: Path) -> dict[str, Any]:
    return {"figures": as_records(compare_studies(open_study(one), open_study(other)))}


def _compared_probes(one: Path, other: Path) -> dict[str, Any]:
    return {"figures": as_records(compare_probes(open_probe(one), open_probe(other)))}


def _compared_experiments(one: Path, other: Path) -> dict[str, Any]:
    found = compare_experiments(open_experiment(one), open_experiment(other))
    return {"figures": as_records(found)}


_COMPARED: dict[Kind, Callable[[Path, Path], dict[str, Any]]] = {
    "run": _compared_runs,
    "study": _compared_studies,
    "probe": _compared_probes,
    "experiment": _compared_experiments,
}


def _rename(options: argparse.Namespace) -> dict[str, Any]:
    rename(_root(options), options.name, options.new)
    return {"said": f"'{options.name}' is called '{options.new}' now."}


def _delete(options: argparse.Namespace) -> dict[str, Any]:
    root = _root(options)
    delete(root, options.name, finished=own_folder(root, options.name).is_dir())
    return {"said": f"'{options.name}' is deleted."}


def _export(options: argparse.Namespace) -> dict[str, Any]:
    file = Path(options.file)
    check_new_file(file)
    content = pack(find(_root(options), options.name, *_kinds(options)))
    write_file(file, content)
    return {"said": f"{file}: {len(content):,} bytes."}


def _import(options: argparse.Namespace) -> dict[str, Any]:
    check_free(own_folder(_root(options), options.name))
    try:
        with Path(options.file).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise RunError(f"'{options.file}' cannot be read ({error.strerror}).") from error
    if len(content) > MOST_BYTES:
        raise RunError(f"'{options.file}' is larger than 1 GB; it was not opened.")
    unpack(_root(options), options.name, content, *_kinds(options))
    return {"said": f"'{options.name}' is there now."}


def _print_said(result: Mapping[str, Any]) -> None:
    print(result["said"])


def _print_list(result: Mapping[str, Any]) -> None:
    for item in result["items"]:
        state = item["created"] if item["finished"] else "stopped, can go on"
        took = "" if item["seconds"] is None else f"{item['seconds']:,.0f} s"
        print(
            f"{item['name']:30}  {item['kind']:5}  {item['model']:24}  {state:25}  {took:>9}  {item['size']:>12,} bytes"
        )
        if item["again"]:
            print(f"    goes on with: {item['again']}")
    if not result["items"]:
        print("Nothing is kept there.")


def _print_shown(result: Mapping[str, Any]) -> None:
    manifest = result["manifest"]
    versions = ", ".join(
        f"{name} {version}" for name, version in manifest.get("versions", {}).items()
    )
    took = f"{manifest.get('seconds', 0):.0f} s"
    print(f"model     {manifest['model']['name']} ({manifest['model']['fingerprint']})")
    print(f"made      {', '.join(part for part in (manifest['created'], took, versions) if part)}")
    print(f"\nThe same on the command line:\n\n{result['commands']}")
    print(f"\nThe same in Python:\n\n{result['python']}")


def _print_compared(result: Mapping[str, Any]) -> None:
    if "figures" in result:
        for row in result["figures"]:
            numbers = {key: row.pop(key) for key in ("one", "other", "difference")}
            what = f"{'  '.join(filter(None, row.values())):70}"
            print(what + "".join(_number(number) for number in numbers.values()))
        return
    print(f"the same model: {'yes' if result['same_model'] else 'no'}")
    print(f"{'role':6}{'units':>10}{'units':>10}{'in both':>10}{'overlap':>10}")
    for row in result["roles"]:
        keys = ("units_one", "units_other", "in_both", "overlap")
        print(f"{row['role']:6}" + "".join(_number(row.get(key)) for key in keys))
    if result["moved"]:
        print("from (rows) to (columns)" + "".join(f"{role:>10}" for role in result["moved"]))
        for role, row in result["moved"].items():
            print(f"{role:24}" + "".join(f"{count:>10,}" for count in row.values()))
    for name, value in result["correlations"].items():
        print(f"correlation of {name} scores ({result['tokens']} tokens): {_number(value).strip()}")


def _number(value: float | None) -> str:
    if value is None:
        return f"{'-':>10}"
    return f"{value:>10,}" if isinstance(value, int) else f"{value:>10.4f}"

"""`runs`: what is kept: list, show, rename, delete, export and import runs and studies."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssah_core.commands.common import Command, Parser, add_command
from ssah_core.errors import RunError
from ssah_core.keeping import Kind, delete, list_kept, pack, read_manifest, rename, unpack
from ssah_core.reproduce import commands_of
from ssah_core.run_list import run_folder
from ssah_core.storage import check_free, write_file


def add(commands: Any) -> None:
    """Register the command and its actions."""
    about = "List, show, rename, delete, export and import runs and studies."
    parser: argparse.ArgumentParser = commands.add_parser("runs", help=about, description=about)
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)
    _action(actions, "list", _list, "List what is kept, and what was stopped and can go on.")
    shown = _action(
        actions, "show", _show, "Show what made a run, and the commands that do.", "mine"
    )
    shown.set_defaults(show=_print_shown)
    _action(actions, "delete", _delete, "Delete a run or study, or stopped work.", "mine")
    renamed = _action(actions, "rename", _rename, "Rename a run or study.", "mine better")
    renamed.add_argument("new", help="the new name")
    exported = _action(
        actions, "export", _export, "Write a run or study as a zip.", "mine mine.zip"
    )
    exported.add_argument("file", help="the zip file; must be new")
    imported = _action(
        actions, "import", _import, "Take in a zip that export wrote.", "mine mine.zip"
    )
    imported.add_argument("file", help="the zip file")


def _action(
    actions: Any, name: str, run: Command, about: str, example: str = ""
) -> argparse.ArgumentParser:
    parser = add_command(actions, name, run, _print, about, f"runs {name} {example}".rstrip())
    parser.add_argument(
        "--studies", action="store_true", help="studies in studies/ instead of runs in runs/"
    )
    parser.add_argument("--root", help="the folder that holds them (default: runs, or studies)")
    if example:
        parser.add_argument("name", help="its name, as the list shows it")
    return parser


def _kind(options: argparse.Namespace) -> Kind:
    return "study" if options.studies else "run"


def _root(options: argparse.Namespace) -> Path:
    return Path(options.root or ("studies" if options.studies else "runs"))


def _list(options: argparse.Namespace) -> dict[str, Any]:
    return {"items": [asdict(item) for item in list_kept(_root(options), _kind(options))]}


def _show(options: argparse.Namespace) -> dict[str, Any]:
    manifest = read_manifest(run_folder(_root(options), options.name))
    return {"manifest": manifest, "commands": commands_of(manifest, options.name)}


def _rename(options: argparse.Namespace) -> dict[str, Any]:
    rename(_root(options), options.name, options.new)
    return {"said": f"'{options.name}' is called '{options.new}' now."}


def _delete(options: argparse.Namespace) -> dict[str, Any]:
    root = _root(options)
    finished = run_folder(root, options.name).is_dir()
    delete(root, options.name, finished=finished)
    return {"said": f"'{options.name}' is deleted."}


def _export(options: argparse.Namespace) -> dict[str, Any]:
    content = pack(run_folder(_root(options), options.name))
    file = Path(options.file)
    if file.exists():
        raise RunError(f"'{file}' already exists; choose another name for the zip.")
    write_file(file, content)
    return {"said": f"{file}: {len(content):,} bytes."}


def _import(options: argparse.Namespace) -> dict[str, Any]:
    check_free(run_folder(_root(options), options.name))
    try:
        content = Path(options.file).read_bytes()
    except OSError as error:
        raise RunError(f"'{options.file}' cannot be read ({error.strerror}).") from error
    unpack(_root(options), options.name, content, _kind(options))
    return {"said": f"'{options.name}' is there now."}


def _print(result: dict[str, Any]) -> None:
    if "said" in result:
        print(result["said"])
        return
    for item in result["items"]:
        state = item["created"] if item["finished"] else "stopped: the same command goes on"
        print(f"{item['name']:30}  {item['model']:24}  {state:33}  {item['size']:>12,} bytes")
    if not result["items"]:
        print("Nothing is kept there.")


def _print_shown(result: dict[str, Any]) -> None:
    manifest = result["manifest"]
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    print(f"model     {manifest['model']['name']} ({manifest['model']['fingerprint']})")
    print(f"made      {manifest['created']}, {manifest.get('seconds', 0):.0f} s, {versions}")
    print(f"again     {result['commands']}")

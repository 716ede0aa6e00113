"""Run folders: what a finished scoring leaves on disk, and how it came to be.

    manifest.json        what made the run, and the SHA-256 of every other file; written last
    scores.safetensors   the moments of every channel, float64: reopens to bitwise equal scores
    prompts.parquet      the prompts as scored, with the model's own replies where it wrote them
    roles-*.parquet      the roles last assigned, one row a unit, with its scores

A folder appears whole or not at all. New roles are written under a new name and come into force with
the manifest that names them, so that a killed job leaves either the old roles or the new.
"""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from ssah_core.errors import RunError
from ssah_core.models.anatomy import Anatomy, Site
from ssah_core.models.loading import Model
from ssah_core.models.sources import ORGANISM_NAMES, ORGANISM_PREFIX, ORGANISMS
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.roles import ROLES, Roles
from ssah_core.scoring.moments import Moments
from ssah_core.scoring.scores import Scores, TokenMoments
from ssah_core.storage import check_free, sha256, write_file, write_folder
from ssah_core.tables import unit_table

FORMAT = 1
MANIFEST, _SCORES, _PROMPTS = "manifest.json", "scores.safetensors", "prompts.parquet"


@dataclass(frozen=True, eq=False)
class Run:
    """An open run folder."""

    folder: Path
    manifest: Mapping[str, Any]
    scores: Scores
    roles: Roles | None

    @property
    def digest(self) -> str:
        """The SHA-256 of its scores: what tells it from another run that has taken its name."""
        return str(self.manifest["files"][_SCORES])

    def check_model(self, model: Model) -> None:
        """Raise RunError where the run was not made from this very model."""
        same = self.scores.anatomy == model.anatomy and self.scores.fingerprint == model.fingerprint
        if not same:
            raise RunError(
                f"The run '{self.folder}' was made from {self.scores.model}, whose weights differ from "
                f"those of {model.name}; score this model first, or open the run's own."
            )


def create_run(folder: str | Path, model: Model, scores: Scores, *, seconds: float = 0.0) -> Run:
    """Write a new run folder; `seconds` is how long the scoring took.

    Raises RunError where the folder is taken or cannot be written; then nothing is written.
    """
    check_free(folder)
    folder = Path(folder)
    files = {_SCORES: save_tensors(_tensors(scores)), _PROMPTS: _prompt_table(scores)}
    manifest = _describe(model, scores, seconds)
    manifest["files"] = {name: sha256(content) for name, content in files.items()}
    write_folder(folder, {**files, MANIFEST: _encode(manifest)})
    return Run(folder, manifest, scores, None)


def save_roles(run: Run, roles: Roles, *, search: Mapping[str, Any] | None = None) -> Run:
    """Keep roles in a run, in place of those that it held; raises RunError as `create_run`.

    `search` says how their shares were found, where they were not chosen by hand.
    """
    if run.folder.resolve().is_relative_to(ORGANISMS.resolve()) and run.roles is not None:
        raise RunError(
            f"The run '{run.folder}' ships with the built-in model and stays as it is; score the model "
            "into a run of your own with: python -m ssah_core score --out runs/mine"
        )
    table = _role_table(roles)
    name = f"roles-{sha256(table)[:12]}.parquet"
    old = [file for file in run.manifest["files"] if file.startswith("roles-") and file != name]
    files = {k: v for k, v in run.manifest["files"].items() if k not in old} | {name: sha256(table)}
    options = {"file": name, **roles.about}
    kept = {key: value for key, value in run.manifest.items() if key != "search"}
    manifest = {**kept, "files": files, "roles": options}
    if search is not None:
        manifest["search"] = dict(search)
    write_file(run.folder / name, table)
    write_file(run.folder / MANIFEST, _encode(manifest))
    for file in old:
        (run.folder / file).unlink(missing_ok=True)
    return replace(run, manifest=manifest, roles=roles)


def open_run(folder: str | Path) -> Run:
    """Open a run folder, or the shipped run of an organism by `organism:NAME`.

    Damaged roles are left out: they can be assigned again. Raises RunError where it is no run, its
    scores are damaged, or it was written by a newer version.
    """
    path = run_place(str(folder))
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        contents = {name: _contents(path / name) for name in manifest["files"]}
        if manifest["format"] != FORMAT:
            raise RunError(
                f"The run '{path}' has format {manifest['format']}, and this version reads {FORMAT}; "
                "update SSAH Explorer."
            )
        damaged = {
            name
            for name, expected in manifest["files"].items()
            if sha256(contents[name]) != expected
        }
        for name in (_SCORES, _PROMPTS):
            if name in damaged or name not in manifest["files"]:
                raise RunError(f"The file {path / name} is damaged; score the model again.")
        scores = _read_scores(manifest, contents)
        roles = None if damaged else _read_roles(manifest, contents, scores)
        return Run(path, manifest, scores, roles)
    except FileNotFoundError as error:
        raise RunError(
            f"'{path}' is not a run folder ({Path(error.filename).name} is missing); make one with: "
            "python -m ssah_core score"
        ) from error
    except OSError as error:
        raise RunError(f"The run '{path}' cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise RunError(
            f"The run '{path}' is damaged ({type(error).__name__}: {error}); score the model again."
        ) from error


def _contents(file: Path) -> bytes:
    """A file of a run; empty where roles are missing, which counts as damage."""
    if file.name.startswith("roles-") and not file.exists():
        return b""
    return file.read_bytes()


def run_place(name: str) -> Path:
    """The folder of a run by its name: the one shipped with `organism:NAME`, else the folder itself.

    Raises RunError where there is no such shipped run, or no name at all.
    """
    if not name.strip() or "\0" in name:
        raise RunError(f"There is no run {name!r}; give a run folder, or organism:planted.")
    if not name.startswith(ORGANISM_PREFIX):
        return Path(name)
    organism = name.removeprefix(ORGANISM_PREFIX)
    if organism not in ORGANISM_NAMES:
        raise RunError(
            f"There is no shipped run '{name}'; choose one of "
            f"{', '.join(ORGANISM_PREFIX + n for n in ORGANISM_NAMES)}."
        )
    return ORGANISMS / "runs" / organism


def _encode(manifest: Mapping[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=True) + "\n").encode()


def _describe(model: Model, scores: Scores, seconds: float) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "model": {**model.about, "name": scores.model, "fingerprint": scores.fingerprint},
        "options": dict(scores.options),
        "anatomy": [asdict(site) for site in scores.anatomy.sites],
        "prompts": {
            "safety": _describe_prompts(scores.safety_prompts, scores.safety),
            "utility": _describe_prompts(scores.utility_prompts, scores.utility),
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _describe_prompts(prompts: PromptSet, moments: TokenMoments) -> dict[str, Any]:
    return {
        **prompts.about,
        "prompt_tokens": moments.prompt.count,
        "response_tokens": moments.response.count,
    }


def _tensors(scores: Scores) -> dict[str, np.ndarray]:
    tensors = {"norms_squared": scores.norms_squared}
    for attribute, moments in (("safety", scores.safety), ("utility", scores.utility)):
        for group, part in (("prompt", moments.prompt), ("response", moments.response)):
            tensors[f"{attribute}.{group}.mean"] = part.mean
            tensors[f"{attribute}.{group}.squared_deviations"] = part.squared_deviations
    return tensors


def _read_scores(manifest: Mapping[str, Any], contents: Mapping[str, bytes]) -> Scores:
    tensors = load_tensors(contents[_SCORES])
    table = pd.read_parquet(io.BytesIO(contents[_PROMPTS]))

    def moments(attribute: str, group: str) -> Moments:
        return Moments(
            manifest["prompts"][attribute][f"{group}_tokens"],
            tensors[f"{attribute}.{group}.mean"],
            tensors[f"{attribute}.{group}.squared_deviations"],
        )

    def prompts(attribute: str) -> PromptSet:
        rows = table[table["set"] == attribute]
        values = zip(rows["prompt"], rows["response"], rows["own_reply"], strict=True)
        about = manifest["prompts"][attribute]
        return PromptSet(
            about["name"],
            tuple(Prompt(*row) for row in values),
            tuple(about["notices"]),
            tuple(about.get("where", {}).items()),  # runs of earlier versions do not say
            about.get("limit"),
        )

    return Scores(
        model=manifest["model"]["name"],
        fingerprint=manifest["model"]["fingerprint"],
        anatomy=Anatomy(tuple(Site(**site) for site in manifest["anatomy"])),
        norms_squared=tensors["norms_squared"],
        safety=TokenMoments(moments("safety", "prompt"), moments("safety", "response")),
        utility=TokenMoments(moments("utility", "prompt"), moments("utility", "response")),
        safety_prompts=prompts("safety"),
        utility_prompts=prompts("utility"),
        options=manifest.get("options", {}),
    )


def _prompt_table(scores: Scores) -> bytes:
    return _parquet(
        pd.DataFrame(
            [
                {
                    "set": name,
                    "prompt": prompt.text,
                    "response": prompt.response,
                    "own_reply": prompt.own_reply,
                }
                for name, prompts in (
                    ("safety", scores.safety_prompts),
                    ("utility", scores.utility_prompts),
                )
                for prompt in prompts.prompts
            ]
        )
    )


def _role_table(roles: Roles) -> bytes:
    return _parquet(unit_table(roles))


def _read_roles(
    manifest: Mapping[str, Any], contents: Mapping[str, bytes], scores: Scores
) -> Roles | None:
    options = manifest.get("roles")
    if options is None:
        return None
    names = pd.read_parquet(io.BytesIO(contents[options["file"]]), columns=["role"])["role"]
    vector = names.map({role: code for code, role in enumerate(ROLES)}).to_numpy(np.uint8)
    return Roles(vector, scores, options["tokens"], options["kinds"], options["shares"])


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()

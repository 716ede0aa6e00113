"""Where a model's files come from: the built-in organism, a local folder, or the hub.

`locate` answers with a folder whose configuration is supported and whose weights are safetensors,
before any weight is read, so that a wrong name costs neither memory nor the model already open.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig, PretrainedConfig

from ssah_core.errors import ModelError
from ssah_core.models.families import check_support
from ssah_core.models.hub import CheckConfig, hub_folder, hub_outline

ORGANISMS = Path(__file__).parents[2] / "assets" / "organism"
ORGANISM_PREFIX = "organism:"
ORGANISM_NAMES = ("base", "aligned", "planted")

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_HASHED_WHOLE = 64 * 2**20  # bytes; larger files are hashed by evenly spaced samples
_SAMPLE = 2**20


@dataclass(frozen=True)
class Source:
    """A model's files, found and checked but not yet read into memory.

    `revision` is the commit of a hub model; others have none.
    """

    name: str
    folder: Path
    config: PretrainedConfig
    revision: str | None = None

    @property
    def weight_files(self) -> list[Path]:
        """The safetensors files, sorted."""
        return sorted(self.folder.glob("*.safetensors"))

    @property
    def weight_bytes(self) -> int:
        """How large the weights are on disk."""
        return sum(path.stat().st_size for path in self.weight_files)

    def fingerprint(self) -> str:
        """SHA-256 over the configuration and the weights: what "the same model" means in a run.

        Files above 64 MiB count by their size, their first and last MiB and 62 evenly spaced ones:
        reading 140 GB to name a model would take minutes.
        """
        digest = hashlib.sha256()
        for path in [self.folder / "config.json", *self.weight_files]:
            size = path.stat().st_size
            digest.update(f"{path.name}:{size}:".encode())
            with path.open("rb") as file:
                if size <= _HASHED_WHOLE:
                    digest.update(file.read())
                    continue
                for sample in range(64):
                    file.seek((size - _SAMPLE) * sample // 63)
                    digest.update(file.read(_SAMPLE))
        return digest.hexdigest()


def locate(name: str, *, revision: str | None = None) -> Source:
    """Find a model by `organism:NAME`, folder or hub name, and check that it can be supported.

    Raises ModelError: no such model, hub unreachable, no safetensors, damaged organism file, or a
    family that is not supported.
    """
    source = _found(name, revision, hub_folder)
    _check_complete(source)
    return source


def locate_outline(name: str, *, revision: str | None = None) -> Source:
    """Find a model as `locate` does, by its configuration alone: weights may be missing, and no weights
    of a hub model are downloaded.
    """
    return _found(name, revision, hub_outline)


def _found(
    name: str, revision: str | None, from_hub: Callable[[str, str | None, CheckConfig], Path]
) -> Source:
    if name.startswith(ORGANISM_PREFIX):
        if revision is not None:
            raise ModelError("The built-in models have no revisions; leave the revision out.")
        folder = _organism_folder(name.removeprefix(ORGANISM_PREFIX))
    elif (local := _local_folder(name)) is not None:
        if revision is not None:
            raise ModelError(
                f"'{name}' is a folder, and only hub models have revisions; leave the revision out."
            )
        folder = local
    elif HUB_NAME.fullmatch(name) and not Path(name).exists():
        folder = from_hub(name, revision, lambda place: check_support(_read_config(name, place)))
        revision = folder.name  # the hub's cache calls its folders by the commit
    else:
        raise _no_model(name)
    source = Source(name, folder, _read_config(name, folder), revision)
    check_support(source.config)
    _check_kind(source)
    return source


def _no_model(name: str) -> ModelError:
    return ModelError(
        f"There is no model {name[:200]!r}: give a folder that exists, a hub name like "
        f"owner/name, or one of {', '.join(ORGANISM_PREFIX + n for n in ORGANISM_NAMES)}."
    )


def _local_folder(name: str) -> Path | None:
    if not name.strip():
        return None
    try:
        path = Path(name).expanduser()
        return path if path.is_dir() else None
    except (
        OSError,
        RuntimeError,
        ValueError,
    ):  # such as a name too long, or an unknown user's home
        return None


def _organism_folder(name: str) -> Path:
    if name not in ORGANISM_NAMES:
        raise ModelError(
            f"There is no organism '{name}'; choose one of "
            f"{', '.join(ORGANISM_PREFIX + n for n in ORGANISM_NAMES)}."
        )
    listed = ORGANISMS / "checksums.json"
    try:
        checksums: dict[str, str] = json.loads(listed.read_text("utf-8"))
        own = {file: known for file, known in checksums.items() if file.startswith(f"{name}/")}
        if not own:
            raise ValueError(f"no file of {name} is listed")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            f"The built-in model's {listed} is missing or damaged; restore it with: "
            "git checkout -- assets/organism"
        ) from error
    for relative, expected in own.items():
        path = ORGANISMS / relative
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise ModelError(
                f"The built-in model's file {path} is missing or damaged (its SHA-256 differs); "
                "restore it with: git checkout -- assets/organism"
            )
    return ORGANISMS / name


def _read_config(name: str, folder: Path) -> PretrainedConfig:
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"The folder '{name}' has no config.json; give a folder that transformers' "
            "save_pretrained wrote."
        )
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the file is anyone's, and transformers raises whatever comes of it
        if isinstance(error, PermissionError):
            raise ModelError(
                f"The files of '{name}' may not be read; change their permissions."
            ) from error
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"The config.json of '{name}' is damaged or of an architecture that transformers itself "
            f"does not contain ({reason}); get it again, or choose another model."
        ) from error


def _check_index(name: str, index: Path) -> None:
    try:
        named = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(
            f"The file {index.name} of '{name}' is damaged; download or save the model again."
        ) from error
    missing = sorted(file for file in named if not (index.parent / file).is_file())
    if missing:
        raise ModelError(
            f"'{name}' lacks {len(missing)} of its {len(named)} weight files (such as {missing[0]}); "
            "download or save it again."
        )


def _check_complete(source: Source) -> None:
    if not source.weight_files:
        raise ModelError(
            f"'{source.name}' has no .safetensors weights, and other formats can run code when "
            "opened; save it again with save_pretrained(folder)."
        )
    index = source.folder / "model.safetensors.index.json"
    if index.is_file():
        _check_index(source.name, index)


def _check_kind(source: Source) -> None:
    heads = ("ForCausalLM", "LMHeadModel")
    named = source.config.architectures or []
    if named and not any(architecture.endswith(heads) for architecture in named):
        raise ModelError(
            f"'{source.name}' is a {named[0]}, not a causal language model; choose a checkpoint "
            "that ends in ForCausalLM."
        )
    if "quantization_config" in source.config.to_dict():
        raise ModelError(
            f"'{source.name}' is quantised, so the norms of its weights cannot be read; choose the "
            "unquantised checkpoint."
        )

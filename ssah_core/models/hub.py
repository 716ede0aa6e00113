"""The model hub: what it says of a model, and a model's files from it.

Every question to the hub is answered, or said to have failed, within ten seconds.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from httpx2 import HTTPError
from huggingface_hub import HfApi, constants, get_session, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
)

from ssah_core.errors import ModelError
from ssah_core.models.families import check_family

Answer = TypeVar("Answer")

CheckConfig = Callable[[Path], object]  # sees the folder with the configuration, and may raise

_OUTLINE_FILES = ["*.json", "*.model", "*.txt", "*.jinja"]
_HUB_FILES = ["*.safetensors", *_OUTLINE_FILES]
_HUB_TIMEOUT = 5.0  # seconds, of connecting and of every read
_HUB_LIMIT = 8.0  # seconds, of the whole; an unreachable hub must be said within 10


@dataclass(frozen=True)
class HubModel:
    """A supported model on the hub: its name, its family, and how many bytes its weights are."""

    name: str
    family: str
    weight_bytes: int


def hub_folder(name: str, revision: str | None, check_config: CheckConfig) -> Path:
    """Download a model's safetensors and tokenizer, or find them in the hub's cache.

    `check_config` sees the folder with the configuration before any weight is downloaded. Raises
    ModelError with the remedy.
    """
    return _folder(name, revision, check_config, _HUB_FILES)


def hub_outline(name: str, revision: str | None, check_config: CheckConfig) -> Path:
    """As `hub_folder`, but without the weights."""
    return _folder(name, revision, check_config, _OUTLINE_FILES)


def _folder(
    name: str, revision: str | None, check_config: CheckConfig, files: Sequence[str]
) -> Path:
    try:
        config = _in_time(lambda: _hub_config(name, revision))
        check_config(config)
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
    except (HFValidationError, HfHubHTTPError) as error:
        raise _refused(name, error) from error
    except (HTTPError, OSError) as error:
        return _cached_folder(name, revision, error)


def look_up(name: str) -> HubModel:
    """What the hub says of a model, before anything is downloaded.

    Raises ModelError where it cannot be had or is not supported.
    """
    try:
        info = _in_time(lambda: HfApi().model_info(name, files_metadata=True, timeout=_HUB_TIMEOUT))
    except (HFValidationError, HfHubHTTPError) as error:
        raise _refused(name, error) from error
    except (HTTPError, OSError) as error:
        raise _unreachable(name) from error
    files = info.siblings or []
    _check_safetensors(name, [file.rfilename for file in files])
    weights = [file for file in files if file.rfilename.endswith(".safetensors")]
    family = str((info.config or {}).get("model_type", "unknown"))
    check_family(family)
    return HubModel(name, family, sum(file.size or 0 for file in weights))


@contextmanager
def cache_alone_if_unreachable() -> Iterator[None]:
    """Where the hub cannot be reached, other libraries look into its cache alone meanwhile.

    By themselves they would ask again and again, half a minute for every file.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable() -> bool:
    try:
        _in_time(lambda: get_session().head(constants.ENDPOINT, timeout=_HUB_TIMEOUT))
    except (HTTPError, OSError):
        return False
    return True


def _refused(name: str, error: HFValidationError | HfHubHTTPError) -> ModelError:
    if isinstance(error, HFValidationError):
        return ModelError(
            f"There is no model {name[:200]!r}: give a folder that exists, a hub name like owner/name, "
            "or a built-in model."
        )
    if isinstance(error, GatedRepoError):
        return ModelError(
            f"'{name}' is gated: accept its terms on its hub page, then log in with: hf auth login"
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelError(
            f"The hub has no model '{name}' that you may see; check the spelling, or log in with: "
            "hf auth login"
        )
    return ModelError(
        f"The hub refused '{name}' ({error.response.status_code}); check the name and the "
        "revision, or try again later."
    )


def _unreachable(name: str) -> ModelError:
    return ModelError(
        f"The model hub cannot be reached and '{name}' is not in its cache; check the "
        "connection, or give a folder that holds the model."
    )


def _hub_config(name: str, revision: str | None) -> Path:
    """Download a model's configuration alone, once the hub has said that there are safetensors."""
    info = HfApi().model_info(name, revision=revision, timeout=_HUB_TIMEOUT)
    _check_safetensors(name, [sibling.rfilename for sibling in info.siblings or []])
    return Path(snapshot_download(name, revision=revision, allow_patterns=["config.json"]))


def _check_safetensors(name: str, files: Sequence[str]) -> None:
    if files and not any(file.endswith(".safetensors") for file in files):
        raise ModelError(
            f"'{name}' has no safetensors weights on the hub, and other formats can run code "
            "when opened; choose a model or a revision that has them."
        )


def _in_time(call: Callable[[], Answer]) -> Answer:
    """The call's answer, or TimeoutError: a look-up of the hub's address has no timeout of its own."""
    answers: queue.SimpleQueue[tuple[Answer | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:  # raised below, in the caller's thread
            answers.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        answer, error = answers.get(timeout=_HUB_LIMIT)
    except queue.Empty:
        raise TimeoutError("the hub did not answer in time") from None
    if error is not None:
        raise error
    return cast(Answer, answer)


def _cached_folder(name: str, revision: str | None, cause: Exception) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except OSError:
        raise _unreachable(name) from cause

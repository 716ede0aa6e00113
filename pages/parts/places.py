"""Where this app finds models and keeps what it makes; all can be set where the app is started."""

from __future__ import annotations

from pathlib import Path

from ssah_core.errors import ModelError
from ssah_core.folders import usual_folder
from ssah_core.models.sources import ORGANISM_NAMES, ORGANISM_PREFIX
from ssah_core.runs import MANIFEST

ROOT = Path(__file__).parents[2]
RUNS, STUDIES = usual_folder("runs", ROOT), usual_folder("studies", ROOT)
_MODELS = usual_folder("models", ROOT)
BUILT_IN = [f"{ORGANISM_PREFIX}{name}" for name in ORGANISM_NAMES]
FOLDER_PREFIX = "folder:"


def page_file(name: str) -> Path:
    """The file of a page by its name: how links between pages name their aim."""
    return ROOT / "pages" / f"{name}.py"


def models_root() -> Path:
    """The one folder whose models the app offers; it need not be there."""
    return _MODELS.absolute()


def model_folders() -> list[str]:
    """The models under the models root, as `folder:NAME`, sorted."""
    found = [path.parent.name for path in models_root().glob("*/config.json")]
    # One that is still being written has a dot before its name.
    return sorted(f"{FOLDER_PREFIX}{name}" for name in found if not name.startswith("."))


def free_name(root: Path, word: str) -> str:
    """A name that nothing in a folder has: the word and a number."""
    taken = {path.name for path in root.iterdir()} if root.is_dir() else set()
    return next(name for n in range(1, 10_000) if (name := f"{word} {n}") not in taken)


def changed_at(folder: Path) -> int:
    """When a folder's manifest was last written, in nanoseconds: what caches of it depend on.

    0 where there is none: opening the folder says what is wrong.
    """
    try:
        return (folder / MANIFEST).stat().st_mtime_ns
    except OSError:
        return 0


def address_of(name: str) -> str:
    """How links and lists call a model: never by a path."""
    if name not in BUILT_IN and Path(name).absolute().parent == models_root():
        return f"{FOLDER_PREFIX}{Path(name).name}"
    return name


def short_name(address: str) -> str:
    """An address as people read it, without what it begins with."""
    return address.removeprefix(ORGANISM_PREFIX).removeprefix(FOLDER_PREFIX)


def name_of(address: str) -> str:
    """What `load_model` takes for an address; raises ModelError for a folder that is not offered."""
    if not address.startswith(FOLDER_PREFIX):
        return address
    if address not in model_folders():
        raise ModelError(
            f"There is no model {short_name(address)} any more in the folder of models; choose another, or "
            "put it there."
        )
    return str(models_root() / address.removeprefix(FOLDER_PREFIX))

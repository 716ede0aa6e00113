"""SSAH Explorer's core: where does safety live in a language model?

The road: `load_model` -> `load_prompts` -> `score` -> `assign_roles` -> `Ablation` -> `generate`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssah_core.api import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """A name of the interface, or the list of them, imported once one is asked for.

    Importing torch takes seconds, and `python -m ssah_core` reads this file before it can answer Ctrl-C.
    """
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("ssah_core.api"), name)

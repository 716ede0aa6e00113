"""What a model of the models folder was made from, where a fine-tuning left it."""

from __future__ import annotations

from pathlib import Path

from pages.parts.places import FOLDER_PREFIX, address_of, models_root, short_name
from ssah_core.models.sources import HUB_NAME
from ssah_core.training.lineage import Lineage, lineage_of


def lineage(address: str) -> Lineage | None:
    """The lineage of a model by its address; None where it was not made by fine-tuning."""
    if not address.startswith(FOLDER_PREFIX):
        return None
    return lineage_of(models_root() / address.removeprefix(FOLDER_PREFIX))


def ancestor_name(made: Lineage) -> str:
    """What the ancestor is called on a screen: never by a path."""
    address = address_of(made.ancestor)
    if address == made.ancestor and not HUB_NAME.fullmatch(address):
        address = Path(address).name
    return short_name(address)


def name_with_origin(address: str) -> str:
    """A model in a list: for example "careful (from planted)"."""
    made = lineage(address)
    return short_name(address) + (f" (from {ancestor_name(made)})" if made else "")


def made_from(address: str, begun: str = "Fine-tuned") -> str:
    """The making of a model in one sentence that begins so; "" where it was not made by fine-tuning."""
    made = lineage(address)
    if made is None:
        return ""
    units = f"; {made.units}" if made.units else ""
    return f"{begun} from {ancestor_name(made)} on {made.prompts:,} prompts{units}."

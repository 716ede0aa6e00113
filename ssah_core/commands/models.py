"""`models`: what there is to open, and whether one model can be."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ssah_core.commands.common import (
    add_command,
    add_model_options,
    load,
)
from ssah_core.models.families import FAMILIES
from ssah_core.models.sources import ORGANISM_NAMES, ORGANISM_PREFIX


def add(commands: Any) -> None:
    """Register the command."""
    parser = add_command(
        commands,
        "models",
        _models,
        _show_models,
        "List the built-in models and the supported families, or check one model.",
        "models --model organism:planted",
    )
    add_model_options(parser, required=False)


def _models(options: argparse.Namespace) -> dict[str, Any]:
    if options.model is None:
        return {
            "built_in": [ORGANISM_PREFIX + name for name in ORGANISM_NAMES],
            "families": sorted(FAMILIES),
        }
    model = load(options)
    return {
        "model": model.name,
        "family": model.network.config.model_type,
        "parameters": model.parameters,
        "layers": model.anatomy.layers,
        "sites": len(model.anatomy.sites),
        "units": model.anatomy.units,
        "heads": int(model.anatomy.of_kind("attn").sum()),
        "mlp_channels": int(model.anatomy.of_kind("mlp").sum()),
        "context": model.context,
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "notices": list(model.notices),
    }


def _show_models(result: Mapping[str, Any]) -> None:
    for key, value in result.items():
        if value == []:
            continue
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        print(f"{key.replace('_', ' ')}: {shown}")

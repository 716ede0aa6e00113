"""Where each architecture keeps its blocks and their write-out projections.

The names are transformers' own. A family that is not listed is refused by name: a guess that misses
a projection would give wrong scores without a sign. `taps.probe` proves what is listed on every load.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ssah_core.errors import ModelError
from ssah_core.models.anatomy import Anatomy, Kind, Site


@dataclass(frozen=True)
class Family:
    """Dotted names: the list of blocks in the network, and the two projections inside a block."""

    blocks: str
    attention: str
    mlp: str


_LLAMA_LIKE = Family("model.layers", "self_attn.o_proj", "mlp.down_proj")
_GPT2_LIKE = Family("transformer.h", "attn.c_proj", "mlp.c_proj")
_GPTJ_LIKE = Family("transformer.h", "attn.out_proj", "mlp.fc_out")

FAMILIES: dict[str, Family] = {
    **dict.fromkeys(
        (
            "llama", "mistral", "ministral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text",
            "olmo", "olmo2", "olmo3", "cohere", "cohere2", "granite", "nemotron", "glm", "glm4",
            "smollm3", "stablelm", "phi3",
        ),
        _LLAMA_LIKE,
    ),
    "phi": Family("model.layers", "self_attn.dense", "mlp.fc2"),
    "gpt_neox": Family("gpt_neox.layers", "attention.dense", "mlp.dense_4h_to_h"),
    "bloom": Family("transformer.h", "self_attention.dense", "mlp.dense_4h_to_h"),
    "gpt2": _GPT2_LIKE,
    "gpt_bigcode": _GPT2_LIKE,
    "gptj": _GPTJ_LIKE,
    "codegen": _GPTJ_LIKE,
    "opt": Family("model.decoder.layers", "self_attn.out_proj", "fc2"),
    "starcoder2": Family("model.layers", "self_attn.o_proj", "mlp.c_proj"),
}  # fmt: skip

# What stands in the way of families that people are likely to try.
_MISSING: dict[str, str] = {
    **dict.fromkeys(
        ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "phimoe", "gpt_oss", "granitemoe"),
        "its experts keep their down projections in one fused parameter, which has no input to tap",
    ),
    **dict.fromkeys(
        ("mamba", "mamba2", "falcon_mamba", "rwkv"), "it has no attention heads to score"
    ),
}


def check_support(config: PretrainedConfig) -> Family:
    """The family of a model by its configuration, before any weight is read.

    Raises ModelError naming the family and what is missing.
    """
    kind = config.model_type
    if config.is_encoder_decoder:
        raise ModelError(
            f"'{kind}' is an encoder-decoder; choose a decoder-only (causal) language model."
        )
    family = check_family(kind)
    if getattr(config, "slow_but_exact", False):  # BLOOM only: this path calls no projection
        raise ModelError(
            "This BLOOM model asks for slow_but_exact, which bypasses its projections; "
            "set slow_but_exact to false in its config.json."
        )
    return family


def check_family(name: str) -> Family:
    """The family by transformers' name for it; raises ModelError saying what is missing."""
    family = FAMILIES.get(name)
    if family is None:
        reason = _MISSING.get(name, "nobody has yet proven where its projections are")
        raise ModelError(
            f"Models of the family '{name}' are not supported: {reason}; "
            f"choose one of {', '.join(sorted(FAMILIES))}."
        )
    return family


def find_anatomy(network: PreTrainedModel) -> Anatomy:
    """The anatomy of a network from its family's module names.

    Raises ModelError where a projection is not where the family keeps it.
    """
    family = check_support(network.config)
    heads = network.config.num_attention_heads
    places: tuple[tuple[Kind, str], ...] = (("attn", family.attention), ("mlp", family.mlp))
    sites: list[Site] = []
    offset = 0
    for layer, block in enumerate(_blocks(network, family)):
        for kind, path in places:
            try:
                channels = input_width(block.get_submodule(path))
            except AttributeError as error:
                raise ModelError(
                    f"Block {layer} of this '{network.config.model_type}' model has no "
                    f"{path}; its layout is not the family's, so it cannot be scored."
                ) from error
            units = heads if kind == "attn" else channels
            if channels % units:
                raise ModelError(
                    f"{family.blocks}.{layer}.{path} has {channels} inputs, which {units} heads do "
                    "not divide; this layout is not supported."
                )
            module = f"{family.blocks}.{layer}.{path}"
            sites.append(Site(layer, kind, module, units, channels // units, offset))
            offset += units
    return Anatomy(tuple(sites))


def _blocks(network: PreTrainedModel, family: Family) -> nn.ModuleList:
    blocks = network.get_submodule(family.blocks)
    assert isinstance(blocks, nn.ModuleList)
    return blocks


def input_width(projection: nn.Module) -> int:
    """How many input channels a write-out projection has."""
    if isinstance(projection, nn.Linear):
        return projection.in_features
    if isinstance(projection, Conv1D):
        return projection.nx
    raise ModelError(
        f"A write-out projection is a {type(projection).__name__}, which is not supported; "
        "load the model unquantised."
    )


def column_norms_squared(projection: nn.Module) -> torch.Tensor:
    """||B[:, j]||^2 of every input channel j: float64 [channels] on the CPU (METHOD: Eq. 1).

    Weights that accelerate has moved off the device are brought in for the moment.
    """
    from accelerate.utils import align_module_device

    with align_module_device(projection):
        weight = projection.weight
        assert isinstance(weight, torch.Tensor)
        over_outputs = 1 if isinstance(projection, Conv1D) else 0  # Conv1D keeps (in, out)
        squares = weight.detach().float().square().sum(over_outputs)
    return squares.double().cpu()


def scale_column(projection: nn.Module, channel: slice, factor: float) -> None:
    """Multiply the weights of some input channels by a factor, in place.

    Used to state the law "masked equals zeroed weights"; the app itself never edits a weight.
    """
    weight = projection.weight
    assert isinstance(weight, torch.Tensor)
    columns = weight[channel, :] if isinstance(projection, Conv1D) else weight[:, channel]
    with torch.no_grad():
        columns.mul_(factor)

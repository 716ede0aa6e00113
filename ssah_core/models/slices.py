"""Which weights are a unit's own: its slices (METHOD 1.1).

An MLP channel owns its row of every projection into the MLP (with that row's bias) and its column of
the write-out projection. A query head owns its rows of the query projection and its columns of the
write-out projection; rows of keys and values that several query heads share belong to a set of units
only where the set holds all of those heads. Norms, embeddings and write-out biases are no unit's own.

Each architecture keeps the projections into a site beside the site's write-out projection; some join
several into one. A family that is not listed is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ssah_core.errors import ModelError, OptionError
from ssah_core.models.anatomy import Anatomy, Site

# The chosen units of one site, the channels of each, and the projection's outputs: which outputs are theirs.
_Layout = Callable[[np.ndarray, int, int], np.ndarray]


@dataclass(frozen=True)
class Slice:
    """Some rows or columns of one parameter: `index`, int64 [n], along dimension `dim`."""

    parameter: str
    dim: int
    index: torch.Tensor

    def read(self, weight: torch.Tensor) -> torch.Tensor:
        """A compact copy of the slice."""
        return weight.index_select(self.dim, self.index)

    def write(self, weight: torch.Tensor, part: torch.Tensor) -> None:
        """Put a compact copy back, bit for bit; nothing else of the weight is touched."""
        weight.index_copy_(self.dim, self.index, part)

    def clear(self, weight: torch.Tensor) -> None:
        """Fill the slice with zeros."""
        weight.index_fill_(self.dim, self.index, 0)

    def complement(self, size: int) -> Slice:
        """All other rows or columns of the parameter, which has `size` of them."""
        others = torch.ones(size, dtype=torch.bool, device=self.index.device)
        others[self.index] = False
        return Slice(self.parameter, self.dim, others.nonzero().flatten())

    def to(self, device: torch.device) -> Slice:
        """The slice with its index on a device."""
        return Slice(self.parameter, self.dim, self.index.to(device))


def _own(chosen: np.ndarray, width: int, outputs: int) -> np.ndarray:
    return np.repeat(chosen, width)


def _shared(chosen: np.ndarray, width: int, outputs: int) -> np.ndarray:
    """Keys or values, each head of them read by a group of neighbouring query heads."""
    return np.repeat(chosen.reshape(outputs // width, -1).all(axis=1), width)


def _joined(chosen: np.ndarray, width: int, outputs: int) -> np.ndarray:
    """All queries, then all keys, then all values."""
    queries = np.repeat(chosen, width)
    keys = _shared(chosen, width, (outputs - len(queries)) // 2)
    return np.concatenate([queries, keys, keys])


def _interleaved(chosen: np.ndarray, width: int, outputs: int) -> np.ndarray:
    """Query, key and value of one head, then those of the next."""
    return np.repeat(chosen, 3 * width)


def _joined_or_interleaved(chosen: np.ndarray, width: int, outputs: int) -> np.ndarray:
    """GPT BigCode: one key and value for all heads, or interleaved where each head has its own."""
    interleaved = outputs == 3 * width * len(chosen)
    return (_interleaved if interleaved else _joined)(chosen, width, outputs)


def _by_core(chosen: np.ndarray, width: int, outputs: int) -> np.ndarray:
    """CodeGen: queries, values and keys of a quarter of the heads, then those of the next quarter."""
    queries = np.repeat(chosen, width).reshape(4, -1)
    return np.concatenate([queries] * 3, axis=1).ravel()


def _twice(chosen: np.ndarray, width: int, outputs: int) -> np.ndarray:
    """All gates, then all channels."""
    return np.concatenate([chosen, chosen])


@dataclass(frozen=True)
class _ReadIns:
    """The projections into a block's two sites, by name beside the write-out projection."""

    attention: Mapping[str, _Layout]
    mlp: Mapping[str, _Layout]


_APART = {"q_proj": _own, "k_proj": _shared, "v_proj": _shared}
_GATED = {"gate_proj": _own, "up_proj": _own}
_GPT2_MLP = {"c_fc": _own}
_NEOX = _ReadIns({"query_key_value": _interleaved}, {"dense_h_to_4h": _own})
_READ_INS: dict[str, _ReadIns] = {
    **dict.fromkeys(
        (
            "llama", "mistral", "ministral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text",
            "olmo", "olmo2", "olmo3", "cohere", "cohere2", "granite", "smollm3", "stablelm",
        ),
        _ReadIns(_APART, _GATED),
    ),
    **dict.fromkeys(("glm", "glm4"), _ReadIns(_APART, {"gate_up_proj": _twice})),
    "phi3": _ReadIns({"qkv_proj": _joined}, {"gate_up_proj": _twice}),
    "nemotron": _ReadIns(_APART, {"up_proj": _own}),
    "phi": _ReadIns(_APART, {"fc1": _own}),
    "opt": _ReadIns(_APART, {"fc1": _own}),
    "starcoder2": _ReadIns(_APART, _GPT2_MLP),
    "gpt_neox": _NEOX,
    "bloom": _NEOX,
    "gpt2": _ReadIns({"c_attn": _joined}, _GPT2_MLP),
    "gpt_bigcode": _ReadIns({"c_attn": _joined_or_interleaved}, _GPT2_MLP),
    "gptj": _ReadIns(_APART, {"fc_in": _own}),
    "codegen": _ReadIns({"qkv_proj": _by_core}, {"fc_in": _own}),
}  # fmt: skip


def unit_slices(
    network: PreTrainedModel, anatomy: Anatomy, chosen: Bool[np.ndarray, " units"]
) -> tuple[Slice, ...]:
    """The slices of a set of units, each parameter once at most, in forward order.

    Raises OptionError where the set is for another anatomy, ModelError where the family's projections
    are not known or not laid out as its family's.
    """
    if len(chosen) != anatomy.units:
        raise OptionError(
            f"The set is for {len(chosen)} units and this model has {anatomy.units}; choose the units "
            "from a run of this model."
        )
    family = network.config.model_type
    if family not in _READ_INS:
        raise ModelError(
            f"Units of the family '{family}' cannot be frozen or trained alone: where it keeps the "
            "projections into its units is not known."
        )
    read_ins = _READ_INS[family]
    found: list[Slice] = []
    for site in anatomy.sites:
        layouts = read_ins.attention if site.kind == "attn" else read_ins.mlp
        found += _site_slices(network, site, layouts, chosen[site.slice])
    return tuple(part.to(network.device) for part in found if len(part.index))


def _site_slices(
    network: PreTrainedModel, site: Site, layouts: Mapping[str, _Layout], chosen: np.ndarray
) -> Iterator[Slice]:
    beside = site.module.rpartition(".")[0]
    for name, layout in layouts.items():
        module = f"{beside}.{name}"
        try:
            projection = network.get_submodule(module)
        except AttributeError as error:
            raise _other_layout(network, module) from error
        yield from _rows(network, module, projection, partial(layout, chosen, site.width))
    columns = torch.from_numpy(np.flatnonzero(np.repeat(chosen, site.width)))
    across = 0 if isinstance(network.get_submodule(site.module), Conv1D) else 1
    yield Slice(f"{site.module}.weight", across, columns)


def _rows(
    network: PreTrainedModel,
    module: str,
    projection: nn.Module,
    layout: Callable[[int], np.ndarray],
) -> Iterator[Slice]:
    """The slices of a projection's outputs: of its weight, and of its bias where it has one."""
    if not isinstance(projection, nn.Linear | Conv1D):
        raise _other_layout(network, module)
    conv = isinstance(projection, Conv1D)  # keeps (in, out)
    outputs = projection.weight.shape[1 if conv else 0]
    try:
        rows = layout(outputs)
    except ValueError as error:  # heads that do not divide
        raise _other_layout(network, module) from error
    if len(rows) != outputs:
        raise _other_layout(network, module)
    index = torch.from_numpy(np.flatnonzero(rows))
    yield Slice(f"{module}.weight", 1 if conv else 0, index)
    if projection.bias is not None:
        yield Slice(f"{module}.bias", 0, index)


def _other_layout(network: PreTrainedModel, module: str) -> ModelError:
    return ModelError(
        f"The projection {module} of this '{network.config.model_type}' model is missing or not laid "
        "out as its family's, so its units cannot be frozen or trained alone."
    )

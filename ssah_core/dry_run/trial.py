"""How long work takes on a model whose weights are not there: a trial on its own blocks, few of them.

Two networks of the model's architecture and true width are built with made-up weights, one with fewer
blocks than the other. What the one takes longer is the blocks' part; the rest (embeddings, head, what
Python does) is there once, however deep a model is. So the time on all blocks is a straight line
through the two. Time does not depend on what weights say, only on their shape and dtype.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import init_empty_weights
from transformers import AutoModelForCausalLM, PreTrainedModel

from ssah_core.models.loading import Model, wrap
from ssah_core.models.outline import Outline
from ssah_core.models.placement import bytes_free

_SHALLOW, _DEEP = 1, 3  # blocks
_WIDE = 2**28  # bytes of a block; of wider ones a single block more is a trial
_ROOM = 0.5  # of the free memory: what the trial's weights may take
_TILE = 2**16  # made-up numbers, used again and again
_MOST_ROUNDS = 7
MOST_CALLS = _MOST_ROUNDS + 1  # of prepared work: one warms up

Prepare = Callable[[Model], Callable[[], object]]  # makes what is to be timed


@dataclass(frozen=True, eq=False)
class Trial:
    """Networks of few blocks, the deepest last, that stand for one of `layers` blocks.

    One of a small model has all blocks, and is alone. `patience` is how many seconds each measurement
    may take.
    """

    networks: tuple[Model, ...]
    layers: int
    patience: float

    def seconds(self, prepare: Prepare) -> float:
        """How long the prepared work would take on all blocks: by medians of rounds in turn."""
        works = [prepare(model) for model in self.networks]
        once = sum(_seconds(work) for work in works)  # warms up; counts for nothing else
        least = 2 if once < 2 * self.patience else 1  # long work is its own mean
        rounds = min(_MOST_ROUNDS, max(least, int(self.patience / once)))
        times = [[_seconds(work) for work in works] for _ in range(rounds)]
        taken = [statistics.median(of_one) for of_one in zip(*times, strict=True)]
        depths = [model.anatomy.layers for model in self.networks]
        if len(taken) == 1:
            return taken[0]
        per_block = max(0.0, (taken[1] - taken[0]) / (depths[1] - depths[0]))
        return taken[1] + per_block * (self.layers - depths[1])

    def affordable(self, rows: int, prepare_one: Prepare, *, part: float = 1.0) -> int:
        """How many of so many rows fit into this part of a measurement, at least one, by a trial of one."""
        work = prepare_one(self.networks[-1])
        work()
        return min(rows, max(1, int(self.patience / 2 * part / _seconds(work))))


def build_trial(outline: Outline, *, patience: float = 2.0) -> Trial | None:
    """The trial of a model; None where there is no room in memory for even that."""
    layers = outline.model.anatomy.layers
    per_block = _block_parameters(outline) * outline.model.dtype.itemsize
    deep = _DEEP if per_block < _WIDE else _SHALLOW + 1
    deep = layers if layers <= _DEEP + 1 else deep
    needed = outline.weight_bytes - (layers - deep) * per_block
    if needed > _ROOM * bytes_free(outline.device):
        return None
    long = _blocks_of(outline, deep)
    filled = {
        name: _made_up(parameter, outline.device) for name, parameter in long.named_parameters()
    }
    depths = [long] if deep == layers else [_blocks_of(outline, _SHALLOW), long]
    networks = tuple(_filled(outline, network, filled) for network in depths)
    return Trial(networks, layers, patience)


def _block_parameters(outline: Outline) -> int:
    """How many weights a block has."""
    first = outline.model.anatomy.sites[0].module.split(".0.")[0]
    blocks = outline.model.network.get_submodule(first)
    return sum(p.numel() for p in blocks.parameters()) // outline.model.anatomy.layers


def _blocks_of(outline: Outline, layers: int) -> PreTrainedModel:
    """The architecture with so many blocks; its weights are still to come."""
    config = copy.deepcopy(outline.config)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None) is not None:  # of families that mix kinds of attention
        config.layer_types = config.layer_types[:layers]
    with init_empty_weights(include_buffers=False), outline.device:
        return AutoModelForCausalLM.from_config(
            config, dtype=outline.model.dtype, trust_remote_code=False
        ).eval()


def _filled(outline: Outline, network: PreTrainedModel, weights: dict[str, torch.Tensor]) -> Model:
    own = {name for name, _ in network.named_parameters()}
    network.load_state_dict(
        {name: weight for name, weight in weights.items() if name in own},
        strict=False,
        assign=True,
    )
    network.tie_weights()
    return wrap(network, outline.model.tokenizer, name=outline.model.name)


def _made_up(parameter: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Small random numbers for a matrix, ones for a vector (norms must not shrink what passes)."""
    if parameter.dim() < 2:
        return torch.ones(parameter.shape, dtype=parameter.dtype, device=device)
    tile = torch.empty(_TILE, device=device).uniform_(-0.02, 0.02).to(parameter.dtype)
    filled = torch.empty(parameter.numel(), dtype=parameter.dtype, device=device)
    whole = filled.numel() // _TILE * _TILE
    filled[:whole].view(-1, _TILE).copy_(tile)
    filled[whole:].copy_(tile[: filled.numel() - whole])
    return filled.view(parameter.shape)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

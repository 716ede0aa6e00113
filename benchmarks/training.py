"""What freezing units costs a training: the time of a step, the memory of what is optimised."""

from __future__ import annotations

import copy
from contextlib import ExitStack

import numpy as np
import torch

from benchmarks.measure import Line, median_ratio
from benchmarks.subjects import Size
from ssah_core import Model
from ssah_core.training.freezing import trained_part

_ROWS, _TOKENS = 4, 128
_FROZEN = 0.075  # of all units: the paper's ESU and its top 6% of CU
_TRAINED = 0.2  # of the MLP's units


class Training:
    """A network of its own that takes plain AdamW steps on one batch, with units frozen or trained alone."""

    def __init__(self, model: Model, stack: ExitStack, **units: np.ndarray) -> None:
        self._network = copy.deepcopy(model.network).float().train()
        part = stack.enter_context(trained_part(self._network, model.anatomy, **units))
        self._trained = [parameter for _, parameter in part.parameters]
        self._optimizer = torch.optim.AdamW(self._trained, lr=1e-6, weight_decay=0.1, fused=True)
        part.follow(self._optimizer)
        self._token_ids = torch.randint(5, 1000, (_ROWS, _TOKENS), device=model.device)

    def step(self) -> None:
        """Forward, backward, clip, update."""
        self._network(input_ids=self._token_ids, labels=self._token_ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimizer.step()
        self._network.zero_grad()
        if self._token_ids.is_cuda:
            torch.cuda.synchronize()

    def optimizer_bytes(self) -> int:
        """What the optimiser holds, and the compact weights where it has any of its own."""
        own = {id(parameter) for parameter in self._network.parameters()}
        compact = [weight for weight in self._trained if id(weight) not in own]
        states = [t for state in self._optimizer.state.values() for t in state.values()]
        return sum(tensor.nbytes for tensor in [*states, *compact])


def training_lines(model: Model, size: Size) -> list[Line]:
    """A step with units frozen, a step of some units alone, and what both hold, against plain training."""
    generator = np.random.default_rng(0)
    drawn = generator.random(model.anatomy.units)
    name = f"{model.parameters / 1e6:.1f} M parameters"
    with ExitStack() as stack:
        plain = Training(model, stack)
        frozen = Training(model, stack, freeze=drawn < _FROZEN)
        ratio, detail = median_ratio(frozen.step, plain.step, size.rounds)
        full = plain.optimizer_bytes()
    speed = Line(
        f"training step with {_FROZEN:.1%} of the units frozen / plain, {name}",
        ratio, "x", 1.10, detail,
    )  # fmt: skip
    with ExitStack() as stack:
        plain = Training(model, stack)
        alone = Training(model, stack, train_only=model.anatomy.of_kind("mlp") & (drawn < _TRAINED))
        ratio, detail = median_ratio(alone.step, plain.step, size.rounds)
        held = alone.optimizer_bytes()
    step = Line(
        f"training step of {_TRAINED:.0%} of the MLP's units alone / plain, {name}",
        ratio, "x", 1.10, detail,
    )  # fmt: skip
    memory = Line(
        f"optimiser's memory, {_TRAINED:.0%} of the MLP's units trained / all weights, {name}",
        held / full, "x", 0.3,
        f"{held / 2**20:.1f} MiB / {full / 2**20:.1f} MiB, compact weights counted",
    )  # fmt: skip
    return [speed, step, memory]

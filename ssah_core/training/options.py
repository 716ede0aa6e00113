"""How to fine-tune, and when to look at what has come of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ssah_core.errors import OptionError
from ssah_core.models.loading import Model


@dataclass(frozen=True)
class Lora:
    """The rank of the adapters, and alpha: the change is alpha / rank * B A."""

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise OptionError(f"The rank of the adapters is {self.rank}; give at least 1.")
        if not self.alpha > 0:
            raise OptionError(f"The adapters' alpha is {self.alpha}; give a number above 0.")


@dataclass(frozen=True)
class TrainingOptions:
    """How to fine-tune.

    `epochs` over the prompts, or exactly `steps` optimiser steps where they are given. A step takes
    `accumulation` batches of `batch_size` examples. The learning rate rises over a `warmup` share of the
    steps and then falls to 0 in a line. Gradients longer than `clip` are scaled down to it. With `bf16`,
    forward and backward run in bfloat16 (autocast); the weights that are trained are float32 always.
    With `lora`, low-rank adapters are trained in place of the weights, and merged at the end. With
    `skip_too_long`, examples that do not fit the model's context are left out.
    """

    epochs: float = 1.0
    steps: int | None = None
    learning_rate: float = 2e-5
    batch_size: int = 8
    accumulation: int = 1
    weight_decay: float = 0.0
    warmup: float = 0.03
    clip: float = 1.0
    bf16: bool = False
    seed: int = 0
    lora: Lora | None = None
    skip_too_long: bool = False

    def __post_init__(self) -> None:
        counts = (
            ("number of steps", 1 if self.steps is None else self.steps),
            ("batch size", self.batch_size),
            ("number of batches in a step", self.accumulation),
        )
        for name, value in counts:
            if value < 1:
                raise OptionError(f"The {name} is {value}; give a whole number from 1 on.")
        for name, number in (
            ("number of epochs", self.epochs),
            ("learning rate", self.learning_rate),
            ("longest gradient", self.clip),
        ):
            if not 0 < number < math.inf:
                raise OptionError(f"The {name} is {number}; give a number above 0.")
        for name, share in (("weight decay", self.weight_decay), ("warm-up", self.warmup)):
            if not 0 <= share < 1:
                raise OptionError(f"The {name} is {share}; give a number from 0 to below 1.")
        if not 0 <= self.seed < 2**32:
            raise OptionError(f"The seed is {self.seed}; give a whole number from 0 to 2**32 - 1.")

    def total_steps(self, examples: int) -> int:
        """How many optimiser steps a training on so many examples takes."""
        if self.steps is not None:
            return self.steps
        batches = math.ceil(examples / self.batch_size)
        return math.ceil(self.epochs * math.ceil(batches / self.accumulation))


@dataclass(frozen=True)
class Evaluation:
    """What to measure while training: at the start, after every so many steps, and at the end.

    `measure` gets the model that is being trained, ready for inference, and gives figures by name. With
    `patience`, training ends early once the figure `watched` (smaller is better) has not gone below its
    best at so many measurements in a row; the weights are then the last, not the best. `about` is what a
    manifest says of `measure`.
    """

    measure: Callable[[Model], Mapping[str, float]]
    every: int
    patience: int | None = None
    watched: str = "validation_loss"
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.every < 1:
            raise OptionError(f"Evaluation every {self.every} steps cannot be; give at least 1.")
        if self.patience is not None and self.patience < 1:
            raise OptionError(f"A patience of {self.patience} cannot be; give at least 1.")

    def has_stalled(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the watched figure has been no better for too long; rows without it do not count."""
        if self.patience is None:
            return False
        figures = [row[self.watched] for row in history if self.watched in row]
        best = min(range(len(figures)), key=lambda place: figures[place], default=0)
        return len(figures) - 1 - best >= self.patience

    def figures(self, model: Model) -> dict[str, float]:
        """The figures now; raises OptionError where the watched one is not among them."""
        found = {name: float(value) for name, value in self.measure(model).items()}
        if self.patience is not None and self.watched not in found:
            raise OptionError(
                f"Early stopping watches '{self.watched}', which is not measured; choose one of "
                f"{', '.join(found) or 'none'}, or leave the patience out."
            )
        return found

"""What an experiment compares: lessons, learning rates and conditions, each over several seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ssah_core.errors import OptionError
from ssah_core.training.lessons import Lesson
from ssah_core.training.options import Lora, TrainingOptions
from ssah_core.training.unit_sets import UnitSet


@dataclass(frozen=True, eq=False)
class Condition:
    """What may move in a training: all but `freeze`, or `train_only` alone, or everything.

    With `random`, as many random units take the place of the set, others for each seed. `rate` takes the
    place of the trials' learning rate: few units need a larger one than all weights.
    """

    name: str
    freeze: UnitSet | None = None
    train_only: UnitSet | None = None
    random: bool = False
    lora: Lora | None = None
    rate: float | None = None

    @property
    def units(self) -> int:
        """How many units are in the set."""
        chosen = self.freeze or self.train_only
        return 0 if chosen is None else chosen.count

    def sets(self, seed: int) -> tuple[UnitSet | None, UnitSet | None]:
        """The set to freeze and the set to train alone, for one seed."""
        if not self.random:
            return self.freeze, self.train_only
        freeze, train_only = (
            None if chosen is None else UnitSet.random_like(chosen, seed=seed)
            for chosen in (self.freeze, self.train_only)
        )
        return freeze, train_only

    def as_json(self) -> dict[str, Any]:
        """The condition as a manifest has it."""
        chosen = self.freeze or self.train_only
        return {
            "name": self.name,
            "what": "frozen"
            if self.freeze
            else "trained alone"
            if self.train_only
            else "all trained",
            "set": None if chosen is None else chosen.as_json(),
            "random": self.random,
            "lora": None if self.lora is None else self.lora.rank,
            "rate": self.rate,
        }


@dataclass(frozen=True, eq=False)
class Design:
    """An experiment: every lesson at every learning rate under every condition with every seed.

    `options` are those of all trials but for learning rate and seed. Replies end after `reply_tokens`;
    `looks` is how often a few questions are asked while training.
    """

    kind: str
    lessons: tuple[Lesson, ...]
    conditions: tuple[Condition, ...]
    rates: tuple[float, ...]
    options: TrainingOptions
    seeds: int = 3
    reply_tokens: int = 48
    looks: int = 5

    def __post_init__(self) -> None:
        if not (self.lessons and self.conditions and self.rates):
            raise OptionError(
                "An experiment needs a lesson, a condition and a learning rate at least."
            )
        if not 1 <= self.seeds <= 100:
            raise OptionError(f"An experiment over {self.seeds} seeds cannot be; give 1 to 100.")

    @cached_property
    def trials(self) -> list[Trial]:
        """Every trial, those of one row of the table beside each other."""
        return [
            Trial(lesson, condition, self._options(condition, rate, seed))
            for lesson in self.lessons
            for rate in self.rates
            for condition in self.conditions
            for seed in range(self.seeds)
        ]

    def _options(self, condition: Condition, rate: float, seed: int) -> TrainingOptions:
        chosen = rate if condition.rate is None else condition.rate
        return replace(self.options, learning_rate=chosen, seed=seed, lora=condition.lora)


@dataclass(frozen=True, eq=False)
class Trial:
    """One training of an experiment."""

    lesson: Lesson
    condition: Condition
    options: TrainingOptions

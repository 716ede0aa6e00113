"""What a probe compares: models, each untouched or with some units off, one after the other in memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ssah_core.ablation import Ablation
from ssah_core.errors import OptionError, RunError
from ssah_core.models.loading import Model, load_model
from ssah_core.probes.continuations import Continuations
from ssah_core.probes.direction import Position, check_position
from ssah_core.roles import assign_roles, check_role
from ssah_core.runs import Run, open_run

OpenModel = Callable[[str], AbstractContextManager[Model]]


@dataclass(frozen=True)
class Series:
    """One line of a probe: a model by its name, and what is off in it.

    `ablate` names roles of the `run`, units, or both; with `random_seed`, as many random units are off
    instead (the control). Raises OptionError where one is given without the other.
    """

    model: str
    run: str | None = None
    ablate: tuple[str, ...] = ()
    random_seed: int | None = None

    def __post_init__(self) -> None:
        if (self.run is None) != (not self.ablate):
            raise OptionError(
                "What is off in a series needs both, a run and roles or units, such as ESU."
            )
        if self.run is None and self.random_seed is not None:
            raise OptionError("Random units are as many as some roles have; name a run and roles.")

    @property
    def label(self) -> str:
        """For example "organism:planted, ESU off"; another run than the model's own is named."""
        if self.run is None:
            return self.model
        of = "" if self.run == self.model else f" of {Path(self.run).name}"
        off = " and ".join(self.ablate) + of
        if self.random_seed is None:
            return f"{self.model}, {off} off"
        return f"{self.model}, as many random as {off} off (seed {self.random_seed})"

    def open_run(self) -> Run | None:
        """The run, if there is one; raises RunError where it has no roles and some are named."""
        if self.run is None:
            return None
        run = open_run(self.run)
        if run.roles is None and any("." not in name for name in self.ablate):
            raise RunError(f"The run '{self.run}' has no roles; assign them first.")
        return run

    def ablation(self, model: Model, run: Run | None) -> Ablation | None:
        """What is off. Raises RunError for a run of another model, AblationError for unknown names."""
        if run is None:
            return None
        run.check_model(model)
        units = [name for name in self.ablate if "." in name]  # unit names have dots, roles none
        roles = [check_role(name) for name in self.ablate if "." not in name]
        cut = Ablation.of(run.roles or assign_roles(run.scores, 0, 0, 0), roles, also=units)
        if self.random_seed is None:
            return cut
        return Ablation.random_like(cut, seed=self.random_seed)


@dataclass(frozen=True)
class ProbePlan:
    """How a probe is done. None stands for the continuations that suit the models, and for the paper's
    lengths that all texts have.
    """

    continuations: Continuations | None = None
    lengths: tuple[int, ...] | None = None
    position: Position = "last"

    def __post_init__(self) -> None:
        check_position(self.position)


@contextmanager
def opened(name: str, **options: Any) -> Iterator[Model]:
    """A model for as long as it is needed; what was let go before is freed first."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    yield load_model(name, **options)

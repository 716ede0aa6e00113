"""The paper's experiments as designs: attack and defence (METHOD 1.6), the alignment budget (METHOD 1.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ssah_core.models.loading import Model
from ssah_core.models.slices import unit_slices
from ssah_core.roles import Roles
from ssah_core.training.design import Condition, Design
from ssah_core.training.lessons import Lesson
from ssah_core.training.options import Lora, TrainingOptions
from ssah_core.training.unit_sets import UnitSet

ATTACK, BUDGET = "attack", "budget"
# Learning rates: of all weights, and in the budget besides of few units and adapters.
RATES: dict[str, tuple[float, ...]] = {ATTACK: (3e-4, 1e-3), BUDGET: (2e-4, 5e-3)}
_EPOCHS = {ATTACK: 8.0, BUDGET: 2.0}
_BATCH = {ATTACK: 16, BUDGET: 32}
_STRONGEST_CU = 0.06  # of all units, besides ESU (the paper's setting)
_BUDGETS = (0.20, 0.08)


def training_options(
    preset: str, *, steps: int | None = None, batch: int | None = None
) -> TrainingOptions:
    """The options of a preset's trainings, chosen for the built-in models; steps and batch may differ."""
    return TrainingOptions(
        epochs=_EPOCHS[preset], steps=steps, batch_size=batch or _BATCH[preset], warmup=0.1
    )


def attack(
    roles: Roles,
    lessons: Sequence[Lesson],
    options: TrainingOptions,
    *,
    rates: Sequence[float],
    seeds: int = 3,
    run: str = "",
) -> Design:
    """Fine-tune an aligned model with nothing frozen, ESU, ESU and the strongest CU, ESU and all CU, and
    as many random units as each (the paper's Table 2, and the controls that it lacks).
    """
    sets = {
        "ESU frozen": UnitSet.of(roles, ["ESU"], run=run),
        f"ESU and top {_STRONGEST_CU:.0%} CU frozen": UnitSet.of(
            roles, ["ESU"], strongest_cu=_STRONGEST_CU, run=run
        ),
        "ESU and all CU frozen": UnitSet.of(roles, ["ESU", "CU"], run=run),
    }
    conditions = [Condition("nothing frozen")]
    for name, chosen in sets.items():
        conditions.append(Condition(name, freeze=chosen))
        conditions.append(Condition(f"random, as many as {name}", freeze=chosen, random=True))
    return Design(ATTACK, tuple(lessons), tuple(conditions), tuple(rates), options, seeds)


def budget(
    model: Model,
    roles: Roles,
    lesson: Lesson,
    options: TrainingOptions,
    *,
    rate: float,
    few_rate: float,
    seeds: int = 3,
    run: str = "",
) -> Design:
    """Align a model by training everything, its least useful units alone, as many random units, and
    low-rank adapters with as many weights as the largest set (the paper's Table 4, with safety figures).

    `rate` is for all weights, `few_rate` for few units and adapters.
    """
    sets = [UnitSet.least_useful(roles, share, run=run) for share in _BUDGETS]
    few = replace(Condition("everything trained"), rate=few_rate)
    conditions = [
        Condition("everything trained"),
        *(
            replace(few, name=f"RU {share:.0%} trained alone", train_only=chosen)
            for share, chosen in zip(_BUDGETS, sets, strict=True)
        ),
        replace(
            few, name=f"random {_BUDGETS[0]:.0%} trained alone", train_only=sets[0], random=True
        ),
        replace(few, name="adapters of as many weights", lora=_lora_like(model, sets[0])),
    ]
    return Design(BUDGET, (lesson,), tuple(conditions), (rate,), options, seeds)


def _lora_like(model: Model, chosen: UnitSet) -> Lora:
    """Adapters at all projections of units, of the rank whose number of weights comes nearest to a set's."""
    everything = np.ones(len(chosen.mask), dtype=bool)
    weights = dict(model.network.named_parameters())
    shapes = {
        part.parameter: weights[part.parameter].shape
        for part in unit_slices(model.network, model.anatomy, everything)
        if part.parameter.endswith(".weight")
    }
    own = sum(
        len(part.index) * weights[part.parameter].numel() // weights[part.parameter].shape[part.dim]
        for part in unit_slices(model.network, model.anatomy, chosen.mask)
    )
    of_rank_one = sum(sum(shape) for shape in shapes.values())
    rank = max(1, round(own / of_rank_one))
    return Lora(rank, 2.0 * rank)

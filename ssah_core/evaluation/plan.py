"""What a study switches off: every role, at its own share and at others, beside random controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssah_core.ablation import Ablation, Fill, Match, check_fill
from ssah_core.errors import OptionError
from ssah_core.roles import ROLES, Role, Roles, assign_roles

CONTROLS: tuple[Match, Match] = ("size", "layer")
_SHARED: tuple[Role, ...] = ("ESU", "EUU", "RU")  # roles that are set by their share
_HIGHEST_SHARE = 0.5


@dataclass(frozen=True)
class Plan:
    """How a study is done.

    `controls` is how many seeds each kind of random control has. `shares` are further shares of all
    units at which ESU, EUU and RU are removed, for curves. `system` is a system prompt: with one, all
    is asked with it and without. Replies end after `reply_tokens` tokens at most. With `skip_too_long`,
    prompts that do not fit the model's context are not asked.
    """

    controls: int = 5
    fills: tuple[Fill, ...] = ("zero",)
    shares: tuple[float, ...] = ()
    system: str | None = None
    reply_tokens: int = 48
    skip_too_long: bool = False

    def __post_init__(self) -> None:
        if self.controls < 0 or not self.fills or len(set(self.fills)) < len(self.fills):
            raise OptionError(
                "A study needs at least one fill, each named once, and 0 or more controls."
            )
        if self.reply_tokens < 1:
            raise OptionError(f"A reply of {self.reply_tokens} tokens cannot be; give at least 1.")
        for fill in self.fills:
            check_fill(fill)
        if not all(0 < share <= _HIGHEST_SHARE for share in self.shares):
            raise OptionError(
                f"The shares {', '.join(f'{share:g}' for share in self.shares)} are not all above 0 and "
                f"at most {_HIGHEST_SHARE}; give parts of all units, such as 0.02,0.05,0.1."
            )
        if self.system is not None and not self.system.strip():
            raise OptionError("The system prompt is empty; write one, or leave it out.")


@dataclass(frozen=True)
class Case:
    """One row to be measured: one ablation, or one for each seed of a control."""

    removed: str
    control: Match | None
    fill: Fill
    cuts: tuple[Ablation | None, ...]


def cases_of(roles: Roles, plan: Plan) -> list[Case]:
    """Every row of the table, then those of the curves that the table has not.

    CU, most of a model, are removed as a random sample of as many as ESU; a random sample has no other
    control than more of the same. Raises OptionError where a share asks for more units than there are.
    """
    cases = [Case("nothing", None, "zero", (None,))]
    for fill in plan.fills:
        for role in ROLES:
            cut = (
                _sample_of_cu(roles, fill) if role == "CU" else Ablation.of(roles, role, fill=fill)
            )
            if cut.count:
                controls = 0 if role == "CU" else plan.controls
                cases += _with_controls(role, fill, cut, controls)
    for fill in plan.fills:
        for role in _SHARED:
            for share in sorted(set(plan.shares)):
                cut = Ablation.of(_at_share(roles, role, share), role, fill=fill)
                if cut.count not in (0, roles.counts[role]):
                    cases += _with_controls(role, fill, cut, plan.controls)
    return cases


@dataclass(frozen=True)
class Extent:
    """How much a plan measures: different ablations, the untouched model among them, and for every row
    of the table the draws that it is a mean of.
    """

    ablations: int
    draws: tuple[int, ...]


def extent_of(roles: Roles, plan: Plan) -> Extent:
    """How much a plan measures of some roles; raises as `cases_of`."""
    cases = cases_of(roles, plan)
    cuts, _ = distinct([cut for case in cases for cut in case.cuts])
    return Extent(len(cuts), tuple(len(case.cuts) for case in cases))


def largest_extent(plan: Plan) -> Extent:
    """How much a plan measures at most, whatever the roles will be."""
    controls = [plan.controls] * len(CONTROLS) if plan.controls else []
    removed = len(_SHARED) * (1 + len(set(plan.shares)))
    of_fill = [
        1,
        *[1, *controls] * removed,
    ]  # a sample of CU; every role and share with its controls
    draws = (1, *of_fill * len(plan.fills))
    return Extent(sum(draws), draws)


def _with_controls(role: Role, fill: Fill, cut: Ablation, controls: int) -> list[Case]:
    found = [Case(role, None, fill, (cut,))]
    if controls:
        for match in CONTROLS:
            draws = [Ablation.random_like(cut, seed=n, match=match) for n in range(controls)]
            found.append(Case(role, match, fill, tuple(draws)))
    return found


def _at_share(roles: Roles, role: Role, share: float) -> Roles:
    """The roles with another share of one of them; the other shares stay."""
    units = len(roles.vector)
    shares = {name: roles.counts[name] / units for name in _SHARED} | {role: share}
    return assign_roles(
        roles.scores,
        shares["ESU"],
        shares["EUU"],
        shares["RU"],
        tokens=roles.tokens,
        kinds=roles.kinds,
    )


def _sample_of_cu(roles: Roles, fill: Fill) -> Ablation:
    units = roles.ranked("CU")
    count = min(len(units), roles.counts["ESU"])
    sample = np.sort(np.random.default_rng(0).choice(units, count, replace=False))
    names = [roles.scores.anatomy.name_of(unit) for unit in sample.tolist()]
    return Ablation.of(roles, [], fill=fill, also=names)


def distinct(cuts: Sequence[Ablation | None]) -> tuple[list[Ablation | None], list[int]]:
    """The cuts that differ, and for each cut its place among them: equal ones need one measurement.

    Size-matched controls of one size and seed are the same units, whatever role they are for.
    """
    places: dict[tuple[bytes, bool] | None, int] = {}
    found: list[Ablation | None] = []
    where = []
    for cut in cuts:
        key = None if cut is None else (cut.factors.tobytes(), cut.means is not None)
        if key not in places:
            places[key] = len(found)
            found.append(cut)
        where.append(places[key])
    return found, where

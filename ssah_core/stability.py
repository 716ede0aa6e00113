"""How sure the roles are: would other calibration prompts of the same kind have given the same ones?

The prompts are dealt into blocks, and one pass keeps the moments of every block. A resample of the
blocks is then a matter of arithmetic: their moments are recombined exactly, and nothing is run again.
A role is judged with as many units as it has, so that only which units have it can change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, UInt8

from ssah_core.errors import OptionError
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Meter, Report
from ssah_core.prompts.reading import PromptSet
from ssah_core.roles import ROLE_CODES, ROLES, Role, Roles, assign_by_counts
from ssah_core.scoring.importance import unit_importance, z_by_site
from ssah_core.scoring.moments import BlockSums
from ssah_core.scoring.score import collect_moments
from ssah_core.scoring.scores import Scores, TokenMoments

BLOCKS = 20  # of each prompt set: enough for an interval, few enough to keep
RESAMPLES = 200
_MOST_RESAMPLES = 10_000
_PARTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75)  # of the prompts, for convergence
_VALUES_AT_ONCE = 4_000_000  # of resamples x channels: 32 MB in float64


# Safety and utility scores, float32 [some resamples, units] each.
ScoreRows = tuple[Float32[np.ndarray, "some units"], Float32[np.ndarray, "some units"]]


@dataclass(frozen=True, eq=False)
class Blocks:
    """The moments of the calibration prompts, block by block; prompts are dealt at random, by seed 0."""

    safety: tuple[TokenMoments, ...]
    utility: tuple[TokenMoments, ...]


def measure_blocks(
    model: Model,
    scores: Scores,
    *,
    blocks: int = BLOCKS,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Blocks:
    """One pass over the prompts and responses that the scores were made from, block by block.

    Sets of fewer prompts than `blocks` have a block for each prompt. The model must be the scored one:
    check with `Run.check_model`. Raises as `score`, and OptionError for fewer than two prompts or blocks.
    """
    sets = [_dealt(prompts, blocks) for prompts in (scores.safety_prompts, scores.utility_prompts)]
    meter = Meter("measuring blocks of prompts", sum(map(len, sets)), "blocks", report, cancelled)
    found = []
    for parts in sets:
        measured = []
        for part in parts:
            measured.append(collect_moments(model, part, stage="one block", cancelled=cancelled))
            meter.advance(1)
        found.append(tuple(measured))
    return Blocks(*found)


def _dealt(prompts: PromptSet, blocks: int) -> list[PromptSet]:
    if blocks < 2 or len(prompts) < 2:
        raise OptionError(
            f"{len(prompts)} prompts in {blocks} blocks cannot be resampled; give at least two of each."
        )
    order = np.random.default_rng(0).permutation(len(prompts))
    count = min(blocks, len(prompts))
    return [
        replace(prompts, prompts=tuple(prompts.prompts[place] for place in sorted(order[n::count])))
        for n in range(count)
    ]


@dataclass(frozen=True, eq=False)
class Stability:
    """What became of the roles over resamples.

    `votes` [roles, units] is the share of the resamples that gave a unit each role, in the order of
    `ROLES`; `overlaps` [resamples, roles] the Jaccard index of every role with the original.
    """

    roles: Roles
    seed: int
    votes: Float32[np.ndarray, "roles units"]
    overlaps: Float64[np.ndarray, "resamples roles"]

    @cached_property
    def sure(self) -> Float32[np.ndarray, " units"]:
        """The share of the resamples in which a unit has the role that it has, 0 to 1."""
        return self.votes[self.roles.vector, np.arange(self.votes.shape[1])]

    @cached_property
    def by_role(self) -> pd.DataFrame:
        """One row a role: role, units, sure (their mean), jaccard with low and high (the middle 95% of
        the resamples), chance (the Jaccard index of two random sets of that size)."""
        return pd.DataFrame(
            [
                {
                    "role": role,
                    "units": self.roles.counts[role],
                    "sure": float(self.sure[self.roles.mask(role)].mean()),
                    **_summary(self.overlaps[:, code]),
                    "chance": _chance(self.roles, role),
                }
                for role, code in ROLE_CODES.items()
                if self.roles.counts[role]
            ]
        )


def check_resampling(resamples: int, seed: int) -> None:
    """Raise OptionError for a number of resamples, or a seed, that cannot be."""
    if not 2 <= resamples <= _MOST_RESAMPLES:  # one has no spread to tell
        raise OptionError(
            f"The number of resamples is {resamples}; give 2 to {_MOST_RESAMPLES:,}, such as 200."
        )
    if seed < 0:
        raise OptionError(f"The seed is {seed}; give a whole number from 0 on.")


def bootstrap(
    roles: Roles,
    blocks: Blocks,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> Stability:
    """Assign the roles anew from blocks that are drawn with replacement, both sets apart.

    Raises OptionError as `check_resampling`, or for blocks without the tokens that the roles go by,
    and Cancelled.
    """
    check_resampling(resamples, seed)
    meter = Meter("resampling", resamples, "resamples", report, cancelled)
    votes = np.zeros((len(ROLES), len(roles.vector)), dtype=np.float32)
    overlaps = []
    for vectors in _reassigned(roles, blocks, *_drawn(blocks, resamples, seed)):
        for code in range(len(ROLES)):
            votes[code] += (vectors == code).sum(axis=0, dtype=np.float32)
        overlaps.append(_jaccard(vectors, roles.vector[None, :]))
        meter.advance(len(vectors))
    return Stability(roles, seed, votes / resamples, np.concatenate(overlaps))


def resampled_scores(
    roles: Roles, blocks: Blocks, *, resamples: int = RESAMPLES, seed: int = 0
) -> Iterator[ScoreRows]:
    """The z-scores of the same resamples as `bootstrap`, some rows of them at a time; errors as there."""
    check_resampling(resamples, seed)
    return _scored_anew(roles, blocks, *_drawn(blocks, resamples, seed))


def _drawn(blocks: Blocks, resamples: int, seed: int) -> list[Float64[np.ndarray, "resamples _"]]:
    """How often each block comes in each resample: of the safety set, and of the utility set."""
    generator = np.random.default_rng(seed)
    return [
        generator.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
        for count in (len(blocks.safety), len(blocks.utility))
    ]


def convergence(
    roles: Roles,
    blocks: Blocks,
    *,
    draws: int = 20,
    seed: int = 0,
    report: Report | None = None,
    cancelled: CancelCheck | None = None,
) -> pd.DataFrame:
    """How the roles settle as prompts are added.

    Columns: prompts (share of all), role, beside ("all" prompts, or as many "others": two scorings that
    share no prompt), jaccard, low, high (the middle 95% of the draws), chance. Others exist up to a half.
    Raises as `bootstrap`.
    """
    check_resampling(draws, seed)
    meter = Meter("adding prompts", len(_PARTS), "parts", report, cancelled)
    generator = np.random.default_rng(seed)
    counts = len(blocks.safety), len(blocks.utility)
    rows = []
    for part in _PARTS:
        orders = [np.argsort(generator.random((draws, count)), axis=1) for count in counts]
        taken = [max(1, round(part * count)) for count in counts]
        mine = _vectors(roles, blocks, *(o < t for o, t in zip(orders, taken, strict=True)))
        found = {"all": _jaccard(mine, roles.vector[None, :])}
        if all(2 * take <= count for take, count in zip(taken, counts, strict=True)):
            theirs = ((o >= t) & (o < 2 * t) for o, t in zip(orders, taken, strict=True))
            found["others"] = _jaccard(mine, _vectors(roles, blocks, *theirs))
        rows += [
            {
                "prompts": part,
                "role": role,
                "beside": beside,
                **_summary(overlaps[:, code]),
                "chance": _chance(roles, role),
            }
            for beside, overlaps in found.items()
            for role, code in ROLE_CODES.items()
            if roles.counts[role]
        ]
        meter.advance(1)
    return pd.DataFrame(rows)


def _vectors(
    roles: Roles,
    blocks: Blocks,
    safety: Bool[np.ndarray, "draws _"],
    utility: Bool[np.ndarray, "draws _"],
) -> UInt8[np.ndarray, "draws units"]:
    weights = (safety.astype(np.float64), utility.astype(np.float64))
    return np.concatenate(list(_reassigned(roles, blocks, *weights)))


def _reassigned(
    roles: Roles,
    blocks: Blocks,
    safety: Float64[np.ndarray, "resamples _"],
    utility: Float64[np.ndarray, "resamples _"],
) -> Iterator[UInt8[np.ndarray, "some units"]]:
    """The roles under each row of weights, some rows at a time."""
    pool = roles.scores.anatomy.of_kind(roles.kinds)
    for safe, useful in _scored_anew(roles, blocks, safety, utility):
        yield assign_by_counts(safe - useful, safe + useful, pool, roles.counts)


def _scored_anew(
    roles: Roles,
    blocks: Blocks,
    safety: Float64[np.ndarray, "resamples _"],
    utility: Float64[np.ndarray, "resamples _"],
) -> Iterator[ScoreRows]:
    """The z-scores under each row of weights, some rows at a time: memory does not grow with them."""
    scores = roles.scores
    sums = [
        BlockSums.of([block.at(roles.tokens) for block in part])
        for part in (blocks.safety, blocks.utility)
    ]
    step = max(1, _VALUES_AT_ONCE // scores.anatomy.channels)
    for first in range(0, len(safety), step):
        scored = [
            z_by_site(
                scores.anatomy,
                unit_importance(
                    scores.anatomy,
                    one.variance(weights[first : first + step]),
                    scores.norms_squared,
                ),
            )
            for one, weights in zip(sums, (safety, utility), strict=True)
        ]
        yield scored[0], scored[1]


def _jaccard(
    some: UInt8[np.ndarray, "draws units"], others: UInt8[np.ndarray, "_ units"]
) -> Float64[np.ndarray, "draws roles"]:
    """Units that both call by a role / units that either does; 1 where neither has any."""
    found = np.ones((len(some), len(ROLES)))
    for code in range(len(ROLES)):
        mine, theirs = some == code, others == code
        either = (mine | theirs).sum(axis=1)
        both = (mine & theirs).sum(axis=1)
        found[:, code] = np.divide(both, either, out=np.ones(len(some)), where=either > 0)
    return found


def _summary(overlaps: Float64[np.ndarray, " draws"]) -> dict[str, float]:
    low, high = np.quantile(overlaps, [0.025, 0.975])
    return {"jaccard": float(overlaps.mean()), "low": float(low), "high": float(high)}


def _chance(roles: Roles, role: Role) -> float:
    """The expected overlap of two random sets among the units that could have the role."""
    pool = roles.scores.anatomy.of_kind(roles.kinds)
    share = float((roles.mask(role) & pool).sum() / pool.sum())
    return share / (2 - share)

"""Figures with how many cases they rest on and a 95% interval.

Prompts about one thing are not independent, so rates are bootstrapped by subject where subjects are
known, and by the Wilson score interval where every prompt stands for itself. Where all subjects are alike,
resampling sees no difference: a share of nothing or of everything has Wilson's interval over subjects, and
any other mean of one subject has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

_RESAMPLES = 1000
_Z = 1.959964  # of a 95% interval


@dataclass(frozen=True)
class Measured:
    """A figure, its 95% interval, and how many cases it rests on; NaN where there is no interval."""

    value: float
    low: float
    high: float
    n: int

    def as_json(self) -> dict[str, float | int]:
        """The figure as the command line prints it."""
        return {
            "value": round(self.value, 5),
            "low": round(self.low, 5),
            "high": round(self.high, 5),
            "n": self.n,
        }


def wilson(hits: Sequence[bool]) -> Measured:
    """A rate of independent cases, with the Wilson score interval."""
    n = len(hits)
    if n == 0:
        return Measured(math.nan, math.nan, math.nan, 0)
    rate = sum(hits) / n
    return Measured(rate, *wilson_interval(rate, n), n)


def wilson_interval(rate: float, n: int) -> tuple[float, float]:
    """The 95% Wilson score interval of a rate among `n` independent cases, at least one."""
    middle = rate + _Z**2 / (2 * n)
    spread = _Z * math.sqrt(rate * (1 - rate) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    low, high = (middle - spread) / scale, (middle + spread) / scale
    return min(rate, max(0.0, low)), max(rate, min(1.0, high))  # rounding aside


def interval_in_brackets(low: float, high: float, form: str, dash: str = "\u2013") -> str:
    """An interval as it stands after its figure, each end in this format."""
    return "(no interval)" if math.isnan(low) else f"({low:{form}}{dash}{high:{form}})"


def by_subject(values: Float64[np.ndarray, "draws cases"], subjects: Sequence[str]) -> Measured:
    """The mean of values from 0 to 1, with a bootstrap interval that resamples subjects, and draws.

    A row of `values` is one ablation (one for a role, several seeds for a random control), a column one
    case; `subjects` says what each case is about. Deterministic.
    """
    return ratio_by_subject(values, np.ones(values.shape[1]), subjects, share=True)


def ratio_by_subject(
    sums: Float64[np.ndarray, "draws cases"],
    counts: Float64[np.ndarray, "*rows cases"],
    subjects: Sequence[str],
    *,
    share: bool = False,
) -> Measured:
    """The mean of what `sums` add up, `counts` in each case, with an interval as `by_subject`.

    `share` says that no sum is below 0 or above its count, so that one subject, and shares of 0 and 1, have
    an interval, too.
    Counts are the same for every draw, or have a row for each. Cases that count nothing are none of the
    figure's n; NaN where no case counts.
    """
    draws, cases = sums.shape
    counts = np.broadcast_to(counts, sums.shape)
    if not counts.any():
        return Measured(math.nan, math.nan, math.nan, 0)
    value, counted = float(sums.sum() / counts.sum()), int((counts > 0).sum()) // draws
    asked = len(set(np.array(subjects)[(counts > 0).any(axis=0)]))
    if share and (asked == 1 or value in (0, 1)):
        return Measured(value, *wilson_interval(value, asked), counted)
    if asked == 1:
        return Measured(value, math.nan, math.nan, counted)
    known = sorted(set(subjects))
    place = {subject: index for index, subject in enumerate(known)}
    member = np.zeros((cases, len(known)))
    member[np.arange(cases), [place[subject] for subject in subjects]] = 1
    tops, bottoms = sums @ member, counts @ member
    generator = np.random.default_rng(0)
    chosen = generator.integers(0, len(known), (_RESAMPLES, len(known)))
    rows = generator.integers(0, draws, (_RESAMPLES, draws))
    totals, sizes = (
        np.array([part[r][:, c].mean(axis=0).sum() for r, c in zip(rows, chosen, strict=True)])
        for part in (tops, bottoms)
    )
    rates = totals[sizes > 0] / sizes[sizes > 0]
    low, high = np.quantile(rates, [0.025, 0.975])
    return Measured(value, float(low), float(high), counted)

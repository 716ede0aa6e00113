"""Measuring on noisy machines: interleaved rounds, and the median of each round's ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One line of the table. `limit` is what the figure should stay at or below."""

    name: str
    value: float
    unit: str
    limit: float
    detail: str

    @property
    def within(self) -> bool:
        """Whether the figure keeps its limit."""
        return self.value <= self.limit


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median_ratio(
    ours: Callable[[], object], reference: Callable[[], object], rounds: int
) -> tuple[float, str]:
    """The median over rounds of ours / reference, and both medians in words.

    Which goes first alternates, so that a machine that warms or slows favours neither.
    """
    seconds(ours), seconds(reference)  # warm caches; not counted
    ratios, own_times, reference_times = [], [], []
    for number in range(rounds):
        if number % 2:
            reference_time, own_time = seconds(reference), seconds(ours)
        else:
            own_time, reference_time = seconds(ours), seconds(reference)
        ratios.append(own_time / reference_time)
        own_times.append(own_time)
        reference_times.append(reference_time)
    detail = (
        f"{statistics.median(own_times) * 1000:.1f} ms / "
        f"{statistics.median(reference_times) * 1000:.1f} ms, {rounds} rounds"
    )
    return statistics.median(ratios), detail

"""How long jobs say how far they are and learn that they should stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ssah_core.errors import Cancelled


@dataclass(frozen=True)
class Progress:
    """One report: what is going on, how much of it is done, and how long the rest may take.

    `done` and `total` count what `unit` names; `seconds_left` is None until there is a rate to go by.
    """

    stage: str
    done: int
    total: int
    unit: str
    seconds_left: float | None


Report = Callable[[Progress], None]
CancelCheck = Callable[[], bool]


class Meter:
    """Reports progress of one stage with an estimate, and raises Cancelled when asked to stop."""

    def __init__(
        self,
        stage: str,
        total: int,
        unit: str,
        report: Report | None = None,
        cancelled: CancelCheck | None = None,
    ) -> None:
        self._stage, self._total, self._unit = stage, total, unit
        self._report, self._cancelled = report, cancelled
        self._done = 0
        self._start = time.monotonic()

    def check(self) -> None:
        """Raise Cancelled if the user has asked to stop."""
        if self._cancelled is not None and self._cancelled():
            raise Cancelled(f"Stopped while {self._stage}; nothing was written.")

    def advance(self, amount: int) -> None:
        """Count `amount` more as done, report it, and check for cancellation."""
        self.check()
        self._done += amount
        if self._report is not None:
            elapsed = time.monotonic() - self._start
            left = elapsed / self._done * (self._total - self._done) if self._done else None
            self._report(Progress(self._stage, self._done, self._total, self._unit, left))


def duration(seconds: float) -> str:
    """A length of time in words, as exact as an estimate is: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

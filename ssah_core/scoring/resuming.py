"""How a long piece of work takes up what an earlier one has done, and hands on what it does itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ssah_core.progress import CancelCheck, Meter, Progress, Report

Work = TypeVar("Work")


def _forget(work: object) -> None:
    pass


@dataclass(frozen=True)
class Kept(Generic[Work]):
    """Partial work of one kind: what was `done` earlier, and whom to tell of all that is done by now."""

    done: Work | None = None
    keep: Callable[[Work], None] = _forget


def resumed_meter(
    stage: str,
    before: int,
    total: int,
    unit: str,
    report: Report | None,
    cancelled: CancelCheck | None,
) -> Meter:
    """A meter of work of which `before` was done earlier: its estimate goes by what is done now."""

    def shifted(progress: Progress) -> None:
        assert report is not None
        report(replace(progress, done=progress.done + before, total=total))

    meter = Meter(stage, total - before, unit, shifted if report else None, cancelled)
    if before:
        meter.advance(0)  # says at once where it goes on
    return meter

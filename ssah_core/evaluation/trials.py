"""Asking the same prompts under one ablation after the other, as one piece of work.

Which ablation comes next is known only when the last trial is over, so how much there is to do is known
at most: the progress and its estimate say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ssah_core.ablation import Ablation
from ssah_core.generation import reply_all
from ssah_core.models.loading import Model
from ssah_core.progress import CancelCheck, Progress, Report
from ssah_core.scoring.resuming import Kept

KeptTrials = Callable[[int], Kept[Mapping[int, str]]]  # the replies of a trial, by its number


@dataclass
class Asking:
    """How the trials of one search are asked, and how far they are.

    `to_come` is how many trials there are still at most, `made` how many replies earlier ones had, and
    `resumed` how many of all replies an earlier call wrote.
    """

    reply_tokens: int
    kept: KeptTrials
    report: Report | None
    cancelled: CancelCheck | None
    trial: int = 0
    to_come: int = 0
    made: int = 0
    resumed: int = 0
    start: float = field(default_factory=time.monotonic)

    def ask(self, model: Model, prompts: Sequence[str], cut: Ablation | None) -> list[str]:
        """The replies of the next trial: to all prompts under one ablation."""
        self.to_come -= cut is not None
        kept = self.kept(self.trial)
        self.resumed += len(kept.done or {})
        replies = reply_all(
            model,
            prompts,
            cut,
            max_new_tokens=self.reply_tokens,
            kept=kept,
            report=None if self.report is None else partial(self._tell, cut),
            cancelled=self.cancelled,
        )
        self.trial += 1
        self.made += len(prompts)
        return replies

    def _tell(self, cut: Ablation | None, trial: Progress) -> None:
        """Report a trial's progress as the search's: how many replies there may still be at most."""
        assert self.report is not None
        stage = "asking the untouched model"
        if cut is not None:
            stage = f"trying {cut.label} at {cut.count / cut.anatomy.units:.1%} of all units"
        done, total = self.made + trial.done, self.made + trial.total * (1 + self.to_come)
        new = done - self.resumed
        left = (time.monotonic() - self.start) / new * (total - done) if new > 0 else None
        unit = "replies at most"
        self.report(
            replace(trial, stage=stage, done=done, total=total, unit=unit, seconds_left=left)
        )

"""What collects moments while a model runs, and what stands of a pass at any moment.

A batch's sums are staged by its forward and committed after it has succeeded: a retry after running
out of memory counts nothing twice. A commit replaces the totals and never changes them in place, so
that whoever holds them can save them, whatever interrupts the pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from ssah_core.errors import ModelError
from ssah_core.models.anatomy import Anatomy
from ssah_core.models.loading import Model
from ssah_core.prompts.batching import Batch, pad_batch
from ssah_core.prompts.reading import PromptSet
from ssah_core.prompts.rendering import Rendered
from ssah_core.scoring.moments import Moments, RunningMoments, ShiftedSums, shifted_sums
from ssah_core.scoring.scores import TokenMoments

Group = Literal["prompt", "response"]
GROUPS: tuple[Group, ...] = ("prompt", "response")
Totals = Mapping[
    tuple[int, Group], RunningMoments
]  # by site, as it stands in the anatomy, and group


@dataclass(frozen=True, eq=False)
class Collected:
    """How far one pass over a prompt set has come.

    `counted` are the examples, by their place in the set, whose sums `totals` holds. `token_budget` is
    the one in force: it may have halved itself.
    """

    token_budget: int
    counted: tuple[int, ...] = ()
    totals: Totals = field(default_factory=dict)


class Collector:
    """The instruction that observes: stages one batch's sums, and commits them when told."""

    def __init__(self, anatomy: Anatomy, totals: Totals) -> None:
        self._anatomy = anatomy
        self.totals = totals
        self._staged: dict[tuple[int, Group], tuple[torch.Tensor, ShiftedSums]] = {}
        self._batch: Batch | None = None

    def take(self, model: Model, batch: Batch) -> None:
        """Run one batch through the model's body and stage its sums."""
        self._batch = batch
        self._staged.clear()
        with torch.inference_mode(), model.taps.instructed(self):
            model.network.base_model(
                input_ids=batch.token_ids, attention_mask=batch.attention_mask, use_cache=False
            )
        seen = {site for site, _ in self._staged}
        silent = [site.name for n, site in enumerate(self._anatomy.sites) if n not in seen]
        if silent:
            raise ModelError(
                f"Nothing was seen at {', '.join(silent[:3])} while scoring: the projection was never "
                "called. Load the model anew, uncompiled and without replaced kernels."
            )

    def at(self, site: int, x: torch.Tensor) -> None:
        assert self._batch is not None
        flat = x.reshape(-1, x.shape[-1])
        groups: tuple[tuple[Group, torch.Tensor], ...] = (
            ("prompt", self._batch.prompt_positions),
            ("response", self._batch.response_positions),
        )
        for group, positions in groups:
            if len(positions) == 0:
                continue
            places = positions.to(x.device)
            shift = self._shift(site, group, flat, places)
            self._staged[site, group] = (shift, shifted_sums(flat, places, shift))

    def _shift(
        self, site: int, group: Group, flat: torch.Tensor, places: torch.Tensor
    ) -> torch.Tensor:
        """The mean of the group's first batch, for all batches.

        Each group has its own: a prompt's first token can be a thousand times as large as all the
        others, and a shift far from the mean loses digits.
        """
        if (site, group) in self.totals:
            return self.totals[site, group].shift.to(flat.device)
        return flat.index_select(0, places).float().mean(0)

    def finite(self) -> bool:
        """Whether every sum of the staged batch is finite."""
        checks = [torch.isfinite(sums.second.sum()).cpu() for _, sums in self._staged.values()]
        return bool(torch.stack(checks).all())

    def commit(self) -> None:
        """Count the staged batch."""
        totals = dict(self.totals)
        for key, (shift, sums) in self._staged.items():
            before = totals.get(key)
            totals[key] = RunningMoments(shift, before.total if before else None)
            totals[key].add(sums)
        self.totals = totals
        self._staged.clear()

    def moments(self) -> TokenMoments:
        """The moments of all committed batches, over the flat channels."""
        return TokenMoments(prompt=self._of("prompt"), response=self._of("response"))

    def _of(self, group: Group) -> Moments:
        if (0, group) not in self.totals:  # no example had such tokens
            zeros = np.zeros(self._anatomy.channels)
            return Moments(0, zeros, zeros)
        sites = range(len(self._anatomy.sites))
        return _joined([self.totals[site, group].moments() for site in sites])


def _joined(parts: Sequence[Moments]) -> Moments:
    return Moments(
        parts[0].count,
        np.concatenate([part.mean for part in parts]),
        np.concatenate([part.squared_deviations for part in parts]),
    )


def not_finite(
    model: Model, examples: Sequence[Rendered], rows: Sequence[int], prompts: PromptSet
) -> ModelError:
    """The error of a batch whose sums are not finite: finds the prompt and the site, one by one."""
    for row in rows:
        finder = _FirstNotFinite()
        batch = pad_batch(examples, [row], model.device)
        with torch.inference_mode(), model.taps.instructed(finder):
            model.network.base_model(
                input_ids=batch.token_ids, attention_mask=batch.attention_mask, use_cache=False
            )
        if finder.site is not None:
            site = model.anatomy.sites[finder.site]
            return ModelError(
                f"Example {row + 1} of '{prompts.name}' gives values at {site.name} that are not "
                "finite (NaN, infinity or too large to square); load the model with "
                "dtype='float32', or remove the example."
            )
    return ModelError(
        f"A batch of '{prompts.name}' gives values that are not finite (NaN or infinity) though none "
        "of its examples does alone; load the model with dtype='float32'."
    )


class _FirstNotFinite:
    def __init__(self) -> None:
        self.site: int | None = None

    def at(self, site: int, x: torch.Tensor) -> None:
        if self.site is None and not torch.isfinite(x.float().square().sum()):
            self.site = site

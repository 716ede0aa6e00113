"""Streaming mean and variance per channel, in memory that does not grow with the number of prompts.

Sums are taken of values less a fixed shift (the first batch's mean): plain sums of squares lose
digits where a mean is large beside its deviation. Two moments merge exactly (Chan, Golub, LeVeque
1979), so work split over batches, token groups or processes gives the moments of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64

from ssah_core.errors import OptionError


@dataclass(frozen=True, eq=False)
class Moments:
    """Count of tokens, mean and sum of squared deviations of every channel."""

    count: int
    mean: Float64[np.ndarray, " channels"]
    squared_deviations: Float64[np.ndarray, " channels"]

    def merged(self, other: Moments) -> Moments:
        """The moments of both samples together (Chan's parallel formula)."""
        count = self.count + other.count
        if count == 0:
            return self
        delta = other.mean - self.mean
        return Moments(
            count,
            self.mean + delta * (other.count / count),
            self.squared_deviations
            + other.squared_deviations
            + delta**2 * (self.count * other.count / count),
        )

    def variance(self) -> Float64[np.ndarray, " channels"]:
        """The unbiased variance over tokens, as in METHOD's Eq. 1.

        Raises OptionError for fewer than two tokens.
        """
        if self.count < 2:
            raise _too_few(self.count)
        return self.squared_deviations / (self.count - 1)


def _too_few(count: int) -> OptionError:
    return OptionError(
        f"A variance needs at least two tokens and there are {count}; choose other "
        "tokens (all, prompt or response), or score prompts that have some."
    )


@dataclass(frozen=True, eq=False)
class BlockSums:
    """Sums over blocks of tokens, of values less the mean of all, and of their squares.

    They add up: any weighting of the blocks has its moments without a look at the tokens.
    """

    count: Float64[np.ndarray, " blocks"]
    first: Float64[np.ndarray, "blocks channels"]
    second: Float64[np.ndarray, "blocks channels"]

    @classmethod
    def of(cls, blocks: Sequence[Moments]) -> BlockSums:
        """The sums of some blocks; raises OptionError for fewer than two tokens, as `Moments.variance`."""
        count = np.array([block.count for block in blocks], dtype=np.float64)
        if count.sum() < 2:
            raise _too_few(int(count.sum()))
        means = np.stack([block.mean for block in blocks])
        apart = means - count @ means / count.sum()
        first = count[:, None] * apart
        second = np.stack([block.squared_deviations for block in blocks]) + first * apart
        return cls(count, first, second)

    def variance(
        self, weights: Float64[np.ndarray, "rows blocks"]
    ) -> Float64[np.ndarray, "rows channels"]:
        """The unbiased variance where each block counts so often; 0 for fewer than two tokens."""
        count = np.maximum(weights @ self.count, 2.0)[:, None]
        first = weights @ self.first
        return np.maximum(weights @ self.second - first**2 / count, 0.0) / (count - 1)


@dataclass(frozen=True)
class ShiftedSums:
    """Sums at one site of (x - shift) and of its square: float32 [channels] of one batch, float64 of many."""

    count: int
    first: torch.Tensor
    second: torch.Tensor


def shifted_sums(
    x: Float[torch.Tensor, "tokens channels"],
    positions: Int64[torch.Tensor, " chosen"],
    shift: Float[torch.Tensor, " channels"],
) -> ShiftedSums:
    """The sums over the chosen tokens of one batch of activations."""
    # The selection is a copy of ours, so the rest can work in place.
    centred = x.index_select(0, positions).float().sub_(shift)
    first = centred.sum(0)
    return ShiftedSums(len(positions), first, centred.square_().sum(0))


class RunningMoments:
    """Adds up the sums of many batches at one site, in float64 where the device has it.

    `total` goes on from the sums of an earlier run: float64 [channels], of values less the same shift.
    """

    def __init__(
        self, shift: Float[torch.Tensor, " channels"], total: ShiftedSums | None = None
    ) -> None:
        self.shift = shift
        zeros = torch.zeros(len(shift), dtype=torch.float64)
        self.total = total or ShiftedSums(0, zeros, zeros)

    def add(self, sums: ShiftedSums) -> None:
        """Count one more batch; the old total stays as it is for whoever holds it."""
        # Apple's GPUs have no float64.
        home = torch.device("cpu") if sums.first.device.type == "mps" else sums.first.device
        self.total = ShiftedSums(
            self.total.count + sums.count,
            self.total.first.to(home) + sums.first.to(home, torch.float64),
            self.total.second.to(home) + sums.second.to(home, torch.float64),
        )

    def moments(self) -> Moments:
        """The moments of all that was added."""
        count = max(self.total.count, 1)
        first, second = self.total.first.cpu().numpy(), self.total.second.cpu().numpy()
        mean = self.shift.cpu().double().numpy()
        deviations = np.maximum(second - first**2 / count, 0.0)
        return Moments(self.total.count, mean + first / count, deviations)

"""What a probe comes to: which continuation a state is nearer to, and mean distances, with intervals.

Unless a block is named, a prompt's distance is the mean over all blocks. Intervals resample subjects
where several prompts share one; where every prompt stands for itself, shares have Wilson's. Means of
one subject have no interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, Int64

from ssah_core.errors import OptionError
from ssah_core.evaluation.metrics import Measured, by_subject, wilson, wilson_interval
from ssah_core.probes.continuations import INTENTS, Intent
from ssah_core.probes.direction import Direction, Distance
from ssah_core.probes.probe_tables import KeptProbe, KeptSeries

LEANS = "leans more than harmless"
_RESAMPLES = 1000
# Which of two intents a state is nearer to: the probe's own number, then what the control says.
PAIRS: tuple[tuple[Intent, Intent], ...] = (
    ("benign", "malicious"),
    ("benign", "neutral"),
    ("malicious", "neutral"),
)


@dataclass(frozen=True, eq=False)
class Means:
    """Some means and their 95% intervals, float64 [n] each; NaN where there is no interval."""

    value: Float64[np.ndarray, " n"]
    low: Float64[np.ndarray, " n"]
    high: Float64[np.ndarray, " n"]


@dataclass(frozen=True)
class View:
    """How distances are looked at: which, at how many tokens (None: the most), in which block (None:
    the mean over all).
    """

    distance: Distance = "cosine"
    length: int | None = None
    block: int | None = None

    def of(self, direction: Direction, intent: Intent) -> Float32[np.ndarray, " prompts"]:
        """One distance a prompt; raises OptionError for a length or block that was not measured."""
        every = direction.distances(intent, self.distance)[:, self.step(direction)]
        if self.block is None:
            return every.mean(axis=-1)
        if not 0 <= self.block < direction.blocks:
            raise OptionError(
                f"There is no block {self.block}; choose one from 0 to {direction.blocks - 1}."
            )
        return every[:, self.block]

    def step(self, direction: Direction) -> int:
        """The place of the length among those that were measured; raises as `of`."""
        if self.length is None:
            return len(direction.lengths) - 1
        if self.length not in direction.lengths:
            known = ", ".join(str(length) for length in direction.lengths)
            raise OptionError(f"{self.length} tokens were not probed; choose one of {known}.")
        return direction.lengths.index(self.length)


def nearer(
    direction: Direction, view: View, one: Intent = "benign", other: Intent = "malicious"
) -> Bool[np.ndarray, " prompts"]:
    """Which prompts' states lie nearer to one continuation than to the other."""
    found: Bool[np.ndarray, " prompts"] = view.of(direction, one) < view.of(direction, other)
    return found


def share(hits: Bool[np.ndarray, " prompts"], subjects: Sequence[str]) -> Measured:
    """The share of prompts, with its interval."""
    if len(set(subjects)) == len(subjects):
        return wilson(hits.tolist())
    return by_subject(hits[None].astype(np.float64), subjects)


def mean_by_block(
    kept: KeptProbe, one: KeptSeries, group: str, intent: Intent, view: View
) -> Means:
    """The mean distance in every block at the view's length."""
    every = one.direction.distances(intent, view.distance)[:, view.step(one.direction)]
    places = kept.rows(group)
    return _means(kept.prompts["subject"].iloc[places].tolist(), every[places])


def mean_by_length(
    kept: KeptProbe, one: KeptSeries, group: str, intent: Intent, view: View
) -> Means:
    """The mean distance after every number of tokens, in the view's block or over all."""
    views = [View(view.distance, length, view.block) for length in one.direction.lengths]
    every = np.stack([each.of(one.direction, intent) for each in views], axis=1)
    places = kept.rows(group)
    return _means(kept.prompts["subject"].iloc[places].tolist(), every[places])


def summary(kept: KeptProbe, view: View) -> list[dict[str, Any]]:
    """One row a series and group of prompts: shares for each of PAIRS and mean distances, with n prompts.

    `nearer benign than malicious` is the probe's number: near 1 where a model is about to refuse.
    `LEANS` needs no absolute distance, and its n counts pairs of prompts: see `leaning`.
    """
    rows = []
    for one in kept.series:
        for group in kept.groups:
            places = kept.rows(group)
            subjects = kept.prompts["subject"].iloc[places].tolist()
            shares = {
                f"nearer {a} than {b}": share(nearer(one.direction, view, a, b)[places], subjects)
                for a, b in PAIRS
            }
            if group != "harmless" and "harmless" in kept.groups:
                shares[LEANS] = leaning(kept, one, group, view)
            figures = {**shares, **_mean_distances(kept, one, places, view)}
            rows.append({"series": one.label, "prompts": group, "figures": figures})
    return rows


def leaning(kept: KeptProbe, one: KeptSeries, group: str, view: View) -> Measured:
    """How often a prompt of a group leans more to refusing words than a harmless one, over all pairs.

    How much a prompt leans is its distance to the complying words minus that to the refusing ones. Some
    words are nearer to every prompt; this does not see that. 0.5 is no difference, and n counts pairs.
    The interval resamples the subjects of both groups; where one has a single subject, it is Wilson's
    for one case.
    """
    leans = view.of(one.direction, "malicious") - view.of(one.direction, "benign")
    here, plain = kept.rows(group), kept.rows("harmless")
    ranked = np.argsort(leans[plain], kind="stable")
    # Places among the harmless: those before are below; those up to the other end are ties.
    ends = [np.searchsorted(leans[plain][ranked], leans[here], side) for side in ("left", "right")]

    def rate(times: np.ndarray, times_plain: np.ndarray) -> float:
        before = np.concatenate([[0.0], np.cumsum(times_plain[ranked])])
        wins = (before[ends[0]] + before[ends[1]]) / 2
        return float(times @ wins / (times.sum() * before[-1]))

    value, pairs = rate(np.ones(len(here)), np.ones(len(plain))), len(here) * len(plain)
    subjects = [kept.prompts["subject"].iloc[rows].tolist() for rows in (here, plain)]
    if any(len(set(names)) == 1 for names in subjects):
        return Measured(value, *wilson_interval(value, 1), pairs)
    drawn = [_draws(names, seed) for seed, names in enumerate(subjects)]
    rates = [rate(*pair) for pair in zip(*drawn, strict=True)]
    low, high = np.quantile(rates, [0.025, 0.975])
    return Measured(value, float(low), float(high), pairs)


def is_share(figure: str) -> bool:
    """Whether a figure of the summary is a share from 0 to 1, by its name; else it is a distance."""
    return not figure.startswith("distance")


def _mean_distances(
    kept: KeptProbe, one: KeptSeries, places: Int64[np.ndarray, " n"], view: View
) -> dict[str, Measured]:
    every = np.stack([view.of(one.direction, intent) for intent in INTENTS], axis=1)
    found = _means(kept.prompts["subject"].iloc[places].tolist(), every[places])
    return {
        f"distance to {intent}": Measured(
            float(found.value[n]), float(found.low[n]), float(found.high[n]), len(places)
        )
        for n, intent in enumerate(INTENTS)
    }


def compare_probes(one: KeptProbe, other: KeptProbe) -> pd.DataFrame:
    """The summaries of two probes side by side, one row a figure; what only one has stays empty."""
    columns = []
    for kept in (one, other):
        rows = [
            {"series": row["series"], "prompts": row["prompts"], "metric": name, "value": m.value}
            for row in summary(kept, View())
            for name, m in row["figures"].items()
        ]
        columns.append(pd.DataFrame(rows).set_index(["series", "prompts", "metric"])["value"])
    table = pd.concat(columns, axis=1, keys=["one", "other"])
    table["difference"] = table["other"] - table["one"]
    return table.reset_index()


def as_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the summary as the command line prints it."""
    figures: Mapping[str, Measured] = row["figures"]
    return {**row, "figures": {name: found.as_json() for name, found in figures.items()}}


def _means(subjects: Sequence[str], values: Float32[np.ndarray, "prompts columns"]) -> Means:
    """The mean of each column, with the interval of `by_subject`: all columns in one resampling."""
    exact = values.astype(np.float64)
    if len(set(subjects)) == 1:
        none = np.full(exact.shape[1], np.nan)
        return Means(exact.mean(axis=0), none, none)
    means = [times @ exact / times.sum() for times in _draws(subjects, 0)]
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return Means(exact.mean(axis=0), low, high)


def _draws(subjects: Sequence[str], seed: int) -> Iterator[Int64[np.ndarray, " prompts"]]:
    """How often each prompt is in each resample; all prompts about one thing come and go together."""
    names, place = np.unique(np.array(subjects), return_inverse=True)
    generator = np.random.default_rng(seed)
    for _ in range(_RESAMPLES):
        chosen = generator.integers(0, len(names), len(names))
        yield np.bincount(chosen, minlength=len(names))[place]

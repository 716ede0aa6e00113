"""A probe's prompts and distances as tables, and back: what lies in a probe's folder."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int64

from ssah_core.evaluation.questions import Questions
from ssah_core.probes.continuations import INTENTS
from ssah_core.probes.direction import DISTANCES, Direction

PROMPTS_FILE, DISTANCES_FILE = "prompts.parquet", "distances.parquet"
GROUPS = ("harmful", "harmless", "look_alikes")


@dataclass(frozen=True, eq=False)
class KeptSeries:
    """One series: its label, what the manifest says of it, and its distances."""

    label: str
    about: Mapping[str, Any]
    direction: Direction


@dataclass(frozen=True, eq=False)
class KeptProbe:
    """A probe: what made it, its prompts (columns group, subject, prompt), and its series."""

    manifest: Mapping[str, Any]
    prompts: pd.DataFrame
    series: tuple[KeptSeries, ...]

    @property
    def groups(self) -> list[str]:
        """The groups of prompts that there are, harmful ones first."""
        return [group for group in GROUPS if (self.prompts["group"] == group).any()]

    def rows(self, group: str) -> Int64[np.ndarray, " n"]:
        """The places of a group's prompts."""
        return np.flatnonzero(self.prompts["group"] == group)


def prompt_table(questions: Questions) -> pd.DataFrame:
    """The prompts in the order of `questions.all`."""
    groups = (questions.harmful, questions.harmless, questions.look_alikes)
    return pd.DataFrame(
        [
            {"group": name, "subject": question.subject, "prompt": question.prompt}
            for name, group in zip(GROUPS, groups, strict=True)
            for question in group
        ]
    )


def distance_table(series: Sequence[Direction]) -> pd.DataFrame:
    """The distances of all series, a row each, with what they are of."""
    parts = []
    for place, direction in enumerate(series):
        shape = direction.cosine.shape
        index = _index(place, shape, direction.lengths)
        parts.append(
            pd.DataFrame(
                {
                    **index,
                    "cosine": direction.cosine.ravel(),
                    "euclidean": direction.euclidean.ravel(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def read_tables(manifest: Mapping[str, Any], contents: Mapping[str, bytes]) -> KeptProbe:
    """A probe from its files; raises ValueError or KeyError where they do not fit together."""
    prompts = pd.read_parquet(io.BytesIO(contents[PROMPTS_FILE]))
    table = pd.read_parquet(io.BytesIO(contents[DISTANCES_FILE]))
    plan = manifest["plan"]
    lengths, position = tuple(plan["lengths"]), plan["position"]
    series, first = [], 0
    for place, about in enumerate(manifest["series"]):
        shape = (len(INTENTS), len(prompts), len(lengths), int(about["blocks"]))
        last = first + int(np.prod(shape))
        part = table.iloc[first:last]
        for name, expected in _index(place, shape, lengths).items():
            if not np.array_equal(part[name].to_numpy(), expected):
                raise ValueError(f"the column {name} is not in order")
        values = [part[name].to_numpy(np.float32).reshape(shape) for name in DISTANCES]
        direction = Direction(lengths, position, *values)
        series.append(KeptSeries(str(about["label"]), about, direction))
        first = last
    if first != len(table) or not series:
        raise ValueError("there are more distances than series")
    return KeptProbe(manifest, prompts, tuple(series))


def parquet_of(table: pd.DataFrame) -> bytes:
    """A table as a parquet file."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _index(
    place: int, shape: tuple[int, int, int, int], lengths: Sequence[int]
) -> dict[str, np.ndarray]:
    """What the rows of one series are of, column by column."""
    intents, prompts, steps, blocks = (axis.ravel() for axis in np.indices(shape, dtype=np.int32))
    return {
        "series": np.full(len(intents), place, dtype=np.int16),
        "intent": np.array(INTENTS, dtype=object)[intents],
        "prompt": prompts,
        "length": np.array(lengths, dtype=np.int16)[steps],
        "block": blocks.astype(np.int16),
    }

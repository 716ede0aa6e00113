"""Scores made from chosen variances, for tests that need no model."""

import numpy as np

from ssah_core.models.anatomy import Anatomy, Site
from ssah_core.prompts.reading import Prompt, PromptSet
from ssah_core.scoring.moments import Moments
from ssah_core.scoring.scores import Scores, TokenMoments

WIDTH = 4


def made_anatomy(layers: int = 3, heads: int = 4, channels: int = 13) -> Anatomy:
    """An anatomy of no real model: heads of 4 channels, and MLP channels."""
    sites, offset = [], 0
    for layer in range(layers):
        sites.append(Site(layer, "attn", f"blocks.{layer}.o", heads, WIDTH, offset))
        sites.append(Site(layer, "mlp", f"blocks.{layer}.down", channels, 1, offset + heads))
        offset += heads + channels
    return Anatomy(tuple(sites))


def made_scores(anatomy: Anatomy, seed: int, *, levels: int | None = None) -> Scores:
    """Random scores that differ by tokens; with `levels`, of so few values that ties abound."""
    generator = np.random.default_rng(seed)

    def moments() -> Moments:
        per_unit = generator.lognormal(size=anatomy.units)
        if levels is not None:
            per_unit = generator.integers(0, levels, anatomy.units).astype(np.float64)
        mean = generator.normal(size=anatomy.channels)
        return Moments(5, mean, 4 * anatomy.per_channel(per_unit))

    sets = [PromptSet(name, (Prompt("a", "b"),)) for name in ("safety", "utility")]
    return Scores(
        model="made",
        fingerprint=f"made {seed}",
        anatomy=anatomy,
        norms_squared=np.ones(anatomy.channels),
        safety=TokenMoments(moments(), moments()),
        utility=TokenMoments(moments(), moments()),
        safety_prompts=sets[0],
        utility_prompts=sets[1],
    )

"""From activation statistics to one score per unit (METHOD 1.2; SSAH Eq. 1; FLAP's WIFV)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64

from ssah_core.models.anatomy import Anatomy


def unit_importance(
    anatomy: Anatomy,
    variance: Float64[np.ndarray, "*rows channels"],
    norms_squared: Float64[np.ndarray, " channels"],
) -> Float64[np.ndarray, "*rows units"]:
    """The raw importance of every unit: variance of its input times the squared norm of its column.

    A head's importance is the mean over its channels. Rows of variances give rows of importances.
    """
    per_channel = variance * norms_squared
    rows = per_channel.shape[:-1]
    parts = [
        per_channel[..., place].reshape(*rows, site.units, site.width).mean(axis=-1)
        for site, place in zip(anatomy.sites, anatomy.channel_slices, strict=True)
    ]
    return np.concatenate(parts, axis=-1)


def z_by_site(
    anatomy: Anatomy, importance: Float64[np.ndarray, "*rows units"]
) -> Float32[np.ndarray, "*rows units"]:
    """Standardise within each layer and kind, with the population deviation.

    A site without spread gets 0 throughout.
    """
    z = np.zeros(importance.shape, dtype=np.float32)
    for site in anatomy.sites:
        part = importance[..., site.slice]
        spread = part.std(axis=-1, keepdims=True)
        apart = part - part.mean(axis=-1, keepdims=True)
        z[..., site.slice] = np.divide(apart, spread, out=np.zeros_like(part), where=spread > 0)
    return z

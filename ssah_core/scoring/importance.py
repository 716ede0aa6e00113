"""From activation statistics to one score per unit (METHOD 1.2; SSAH Eq. 1; FLAP's WIFV)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64

from ssah_core.models.anatomy import Anatomy


def unit_importance(
    anatomy: Anatomy,
    variance: Float64[np.ndarray, " channels"],
    norms_squared: Float64[np.ndarray, " channels"],
) -> Float64[np.ndarray, " units"]:
    """The raw importance of every unit: variance of its input times the squared norm of its column.

    A head's importance is the mean over its channels.
    """
    per_channel = variance * norms_squared
    parts = [
        per_channel[place].reshape(site.units, site.width).mean(axis=1)
        for site, place in zip(anatomy.sites, anatomy.channel_slices, strict=True)
    ]
    return np.concatenate(parts)


def z_by_site(
    anatomy: Anatomy, importance: Float64[np.ndarray, " units"]
) -> Float32[np.ndarray, " units"]:
    """Standardise within each layer and kind, with the population deviation.

    A site without spread gets 0 throughout.
    """
    z = np.zeros(anatomy.units, dtype=np.float32)
    for site in anatomy.sites:
        part = importance[site.slice]
        spread = part.std()
        if spread > 0:
            z[site.slice] = (part - part.mean()) / spread
    return z

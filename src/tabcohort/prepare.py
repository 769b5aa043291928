"""Column statistics, fitted on a member's training rows only: centre and scale of every feature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Statistics:
    """What standardising needs: `(x - centre) * scale`, each of shape `(n_features,)`, float64."""

    centre: FloatArray
    scale: FloatArray


def fit_statistics(X: FloatArray, weight: FloatArray) -> Statistics:
    """Return the weighted mean of every column and the inverse of its weighted standard deviation.

    A column that does not vary here has scale 0: a network that never saw it vary cannot know what it means, so
    whatever it holds later changes no prediction.

    Args:
        X: the training rows, shape `(n_rows, n_features)`, finite.
        weight: the weight of each row, shape `(n_rows,)`, not negative.
    """
    share = weight / weight.sum()
    # Shifting by a row first keeps the digits of columns that sit far from zero (dates in seconds, for one).
    shift = X[0]
    moved = X - shift
    # BLAS would add in an order that depends on its threads.
    mean = np.einsum("i,ij->j", share, moved)
    deviation = np.sqrt(np.einsum("i,ij->j", share, np.square(moved - mean)))
    varies = deviation > 1e-12 * np.maximum(np.abs(shift), np.abs(moved).max(axis=0))
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return Statistics(centre=shift + mean, scale=scale)


def standardise(X: FloatArray, statistics: Statistics) -> NDArray[np.float32]:
    """Return `(X - centre) * scale`, worked out in float64 and rounded to float32 once."""
    return ((X - statistics.centre) * statistics.scale).astype(np.float32)

"""Scaling of numbers by quartiles or quantiles, after they are standardized; fitted on training rows only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.encoder import ROUNDING, Statistics, weighted_quantile
from tabcohort.types import FloatArray, IntArray

N_KNOTS = 64  # of each number's normal scores
ROBUST_LIMIT = 3.0  # of smooth clipping after scaling by quartiles (Holzmüller et al. 2024)


def fit_scaling(
    numbers: FloatArray, statistics: Statistics, scaling: str, rows: IntArray, weight: FloatArray
) -> Statistics:
    """Return statistics with those that scale standardized numbers.

    Args:
        numbers: of the table, `(n_rows, n_numbers)`; NaN where one is missing.
        statistics: of the training rows, with center and scale.
        scaling: "standard", which needs no more than these; "robust", by median and interquartile range, or half the
            range where that is 0 (Holzmüller et al. 2024); or "quantile", by normal scores of quantiles.
        rows, weight: the numbers of the training rows, and their weights, `(n_training,)`.

    Returns:
        The statistics with `median` and `inverse_range`, or `knots` and `heights`. A number that does not vary is 0.
    """
    if scaling == "standard":
        return statistics
    names, fit_one, size = _FITS[scaling]
    fitted = np.zeros((2, numbers.shape[1], size))
    for place in range(numbers.shape[1]):
        cells = numbers[rows, place]
        known = ~np.isnan(cells)
        if known.any() and statistics.scale[place] > 0:
            values = (cells[known] - statistics.center[place]) * statistics.scale[place]
            fitted[0, place], fitted[1, place] = fit_one(values, weight[known])
    return replace(statistics, **dict(zip(names, fitted.reshape(2, -1), strict=True)))


def quantile_places(below: NDArray[Any], n_parts: int) -> IntArray:
    """Return the places of the distinct values that divide values into parts of like weight, and of the two ends.

    Args:
        below: the weight of each distinct value and of those below it, ascending, `(n_distinct,)`.
        n_parts: number of parts.
    """
    places = np.searchsorted(below, np.linspace(0, below[-1], n_parts + 1)[1:-1] * (1 - ROUNDING))
    return np.unique([0, *places, len(below) - 1])


def scaled(values: FloatArray, statistics: Statistics, place: int) -> FloatArray:
    """Return standardized values of the number at a place as the network's scaling makes them."""
    if len(statistics.median):
        z = (values - statistics.median[place]) * statistics.inverse_range[place]
        return z / np.sqrt(1 + (z / ROBUST_LIMIT) ** 2)
    if len(statistics.knots):
        own = slice(place * N_KNOTS, (place + 1) * N_KNOTS)
        return np.interp(values, statistics.knots[own], statistics.heights[own])
    return values


def _fit_robust(values: FloatArray, weight: FloatArray) -> tuple[float, float]:
    """Return the median, and one over the interquartile range."""
    low, median, high = (weighted_quantile(values, weight, share) for share in (0.25, 0.5, 0.75))
    width = high - low if high > low else float(np.ptp(values)) / 2
    return median, 1 / width


def _fit_quantile(values: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return knots among the values, and their normal scores; the last knot is repeated where there are few values."""
    distinct, place = np.unique(values, return_inverse=True)
    own = np.bincount(place, weight)
    below = np.cumsum(own)
    chosen = np.arange(len(distinct)) if len(distinct) <= N_KNOTS else quantile_places(below, N_KNOTS - 1)
    ranks = np.clip((below - own / 2)[chosen] / below[-1], 1e-9, 1 - 1e-9)
    chosen = np.pad(chosen, (0, N_KNOTS - len(chosen)), mode="edge")
    heights = [NormalDist().inv_cdf(rank) for rank in ranks]
    return distinct[chosen], np.pad(heights, (0, N_KNOTS - len(heights)), mode="edge")


_FITS: dict[str, tuple[tuple[str, str], Callable[[FloatArray, FloatArray], tuple[Any, Any]], int]] = {
    "robust": (("median", "inverse_range"), _fit_robust, 1),
    "quantile": (("knots", "heights"), _fit_quantile, N_KNOTS),
}

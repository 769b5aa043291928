"""Bins of a piecewise-linear encoding of numbers, fitted on a member's training rows only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tabcohort.data.encoder import Statistics
from tabcohort.data.scaling import quantile_places, scaled
from tabcohort.types import FloatArray, IntArray

MIN_BIN_WIDTH = 1e-30  # of standardized numbers: one over it is finite in float32


def fit_bins(
    numbers: FloatArray, statistics: Statistics, n_bins: Sequence[int], rows: IntArray, weight: FloatArray
) -> Statistics:
    """Return statistics with the bins of a piecewise-linear encoding (Gorishniy, Rubachev & Babenko 2022).

    A number's bins lie between quantiles of its scaled values in the training rows. Where quantiles are equal in
    float32 there are fewer bins, and those that are left are 0 everywhere.

    Args:
        numbers: of the table, `(n_rows, n_numbers)`; NaN where one is missing.
        statistics: of the training rows, without bins, but with what scales the numbers.
        n_bins: the number of bins of each number.
        rows, weight: the numbers of the training rows, and their weights, `(n_training,)`.

    Returns:
        The statistics with `column`, `lower` and `inverse`, `(sum of n_bins,)`.
    """
    column = np.repeat(np.arange(len(n_bins)), n_bins).astype(np.float64)
    lower, inverse = np.zeros((2, len(column)))
    start = 0
    for place, n_own in enumerate(n_bins):
        cells = numbers[rows, place] if n_own else np.empty(0)
        known = ~np.isnan(cells)
        if known.any() and statistics.scale[place] > 0:
            values = scaled((cells[known] - statistics.center[place]) * statistics.scale[place], statistics, place)
            edges = _apart(_quantiles(values, weight[known], n_own))
            lower[start : start + len(edges) - 1] = edges[:-1]
            inverse[start : start + len(edges) - 1] = 1 / np.diff(edges)
        start += n_own
    return replace(statistics, column=column, lower=lower, inverse=inverse)


def _apart(edges: FloatArray) -> FloatArray:
    """Return the edges that kernels can tell apart in float32, `(n_distinct,)`."""
    widths = np.diff(edges.astype(np.float32))
    return edges[np.concatenate([[True], widths > MIN_BIN_WIDTH])]


def _quantiles(values: FloatArray, weight: FloatArray, n_bins: int) -> FloatArray:
    """Return the distinct ones of the weighted quantiles that divide values into bins of like weight, ascending.

    Args:
        values, weight: `(n,)`.
        n_bins: number of bins; there are fewer edges than `n_bins + 1` where values repeat.
    """
    distinct, place = np.unique(values, return_inverse=True)
    if len(distinct) <= n_bins + 1:
        return distinct
    below = np.cumsum(np.bincount(place, weight))
    return distinct[quantile_places(below, n_bins)]

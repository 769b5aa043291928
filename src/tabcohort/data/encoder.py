"""Encoding: column statistics, fitted on a member's training rows only, and rows stored in half the memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabcohort.types import FloatArray, IntArray

ROWS_PER_SLICE = 4096  # so that no copy of a table in float64 is ever made


@dataclass(frozen=True)
class Statistics:
    """What standardizing needs: `(x - center) * scale`, each of shape `(n_features,)`, float64."""

    center: FloatArray
    scale: FloatArray


@dataclass(frozen=True)
class Encoding:
    """Columns made from features: numbers, indicators of missing cells, and one-hot levels of categories.

    Args:
        source: the feature that each column is made from, `(n_columns,)`.
        level: NaN for the feature itself, infinity for whether its cell is missing (1 or 0), and a category's code for
            whether the cell holds it (1 or 0), `(n_columns,)`, float64. A level that no training row holds makes a
            column that does not vary there, which standardizing sets to 0.
    """

    source: IntArray
    level: FloatArray


def encoding_of(n_features: int, levels: Mapping[int, int], missing: Iterable[int]) -> Encoding:
    """Return the encoding of features: numbers as they are, then indicators of missing cells, then categories.

    Args:
        n_features: number of features.
        levels: the number of levels, coded from 0, of each feature that is a category.
        missing: the features whose cells may be missing.
    """
    columns = [(feature, math.nan) for feature in range(n_features) if feature not in levels]
    columns += [(feature, math.inf) for feature in missing]
    columns += [(feature, float(code)) for feature, n_levels in levels.items() for code in range(n_levels)]
    source, level = zip(*columns, strict=True)
    return Encoding(np.array(source), np.array(level))


def encode(X: FloatArray, encoding: Encoding) -> FloatArray:
    """Return the encoded columns of rows, `(n_rows, n_columns)`, float64; a missing number is NaN."""
    encoded = X[:, encoding.source]
    is_missing, is_level = np.isposinf(encoding.level), np.isfinite(encoding.level)
    encoded[:, is_missing] = np.isnan(encoded[:, is_missing])
    encoded[:, is_level] = encoded[:, is_level] == encoding.level[is_level]
    return encoded


@dataclass(frozen=True)
class StoredRows:
    """A table's features in float32: a feature's value is `origin + unit * stored`.

    Around zero float32 keeps seven digits of the differences between rows, however far from zero a column is (dates in
    seconds, for example). The units are powers of two, so they cost no digit.

    Args:
        stored: `(n_rows, n_features)`, float32, C-contiguous.
        origin, unit: `(n_features,)`, float64.
    """

    stored: NDArray[np.float32]
    origin: FloatArray
    unit: FloatArray

    def statistics_of_stored(self, statistics: Statistics | None) -> Statistics:
        """Return the statistics that standardize stored values as the given ones standardize the features.

        None stands for features that are not standardized.
        """
        if statistics is None:
            return Statistics(-self.origin / self.unit, self.unit)
        return Statistics((statistics.center - self.origin) / self.unit, statistics.scale * self.unit)


def store_rows(X: FloatArray, statistics: Statistics | None) -> StoredRows:
    """Return the rows in float32, around the centers of the statistics; unchanged where there are none."""
    origin, unit = np.zeros(X.shape[1]), np.ones(X.shape[1])
    if statistics is not None:
        origin = statistics.center
        varies = statistics.scale > 0
        unit[varies] = np.exp2(-np.round(np.log2(statistics.scale[varies])))
    stored = np.empty(X.shape, dtype=np.float32)
    largest = np.finfo(np.float32).max / 4  # so that what is computed from it is finite, too
    for rows in row_slices(len(X)):
        moved = (X[rows] - origin) / unit
        if statistics is not None:
            moved[np.isnan(moved)] = 0.0  # a missing number becomes the mean
        stored[rows] = np.clip(moved, -largest, largest)
    return StoredRows(stored, origin, unit)


def fit_statistics(X: FloatArray, weight: FloatArray, rows: IntArray | None = None) -> Statistics:
    """Return the weighted mean of every column and the inverse of its weighted standard deviation.

    Missing cells (NaN) are ignored. A column that does not vary here has scale 0: a network that never saw it vary
    cannot have learned what it means, so whatever it holds later changes no prediction.

    Args:
        X: `(n_rows, n_features)`, finite or NaN.
        weight: the weight of each training row, not negative.
        rows: row numbers of the training rows, `(n,)`; all rows when omitted.
    """
    rows = np.arange(len(X)) if rows is None else rows
    # Subtracting a row first keeps the digits of columns that are far from zero (dates in seconds, for example).
    shift = X[rows[0]]
    if np.isnan(shift).any():
        shift = np.array([column[np.argmin(np.isnan(column))] for column in X[rows].T])
        shift[np.isnan(shift)] = 0.0  # the whole column is missing
    total, mean, variance, largest = *np.zeros((3, X.shape[1])), np.abs(shift)
    for part in row_slices(len(rows)):
        moved = X[rows[part]] - shift
        known = ~np.isnan(moved)
        moved[~known] = 0.0
        # BLAS would sum in an order that depends on its threads.
        total += np.einsum("i,ij->j", weight[part], known)
        mean += np.einsum("i,ij->j", weight[part], moved)
        largest = np.maximum(largest, np.abs(moved).max(axis=0))
    total = np.maximum(total, np.finfo(float).tiny)
    mean /= total
    for part in row_slices(len(rows)):
        squares = np.square(X[rows[part]] - shift - mean)
        variance += np.einsum("i,ij->j", weight[part], np.where(np.isnan(squares), 0.0, squares))
    variance /= total
    deviation = np.sqrt(variance)
    varies = deviation > 1e-12 * largest
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return Statistics(center=shift + mean, scale=scale)


def standardize(X: NDArray[np.floating], statistics: Statistics) -> NDArray[np.float32]:
    """Return `(X - center) * scale`, computed in float64 and rounded to float32 once; 0 where X is missing (NaN)."""
    standardized = np.empty(X.shape, dtype=np.float32)
    for rows in row_slices(len(X)):
        standardized[rows] = (X[rows] - statistics.center) * statistics.scale
    standardized[np.isnan(standardized)] = 0
    return standardized


def row_slices(n_rows: int) -> Iterator[slice]:
    """Yield slices that together cover this many rows, a few thousand each."""
    return (slice(start, min(start + ROWS_PER_SLICE, n_rows)) for start in range(0, n_rows, ROWS_PER_SLICE))

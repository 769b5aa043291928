"""Column statistics, fitted on a member's training rows only, and rows stored in half the memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabcohort.types import FloatArray, IntArray

ROWS_AT_A_TIME = 4096  # so that no copy of a table in float64 is ever made


@dataclass(frozen=True)
class Statistics:
    """What standardising needs: `(x - centre) * scale`, each of shape `(n_features,)`, float64."""

    centre: FloatArray
    scale: FloatArray


@dataclass(frozen=True)
class Encoding:
    """Columns that say what numbers alone cannot; each is made of one feature.

    Args:
        source: which feature each column is of, `(n_columns,)`.
        level: NaN for the feature itself, infinity for whether its cell is missing (1 or 0), and a category's code for
            whether the cell holds that (1 or 0), `(n_columns,)`, float64. A level that no training row holds makes a
            column that does not vary there, which standardising puts out.
    """

    source: IntArray
    level: FloatArray


def encoding_of(n_features: int, levels: Mapping[int, int], missing: Iterable[int]) -> Encoding:
    """Return the encoding of features: numbers as they are, then missing cells, then categories.

    Args:
        n_features: of the rows.
        levels: the number of levels, coded from 0, of each feature that is a category.
        missing: the features of which a cell may be missing.
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

    Near zero float32 keeps seven digits of how rows differ, however far from zero a column sits (dates in seconds, for
    one). The units are powers of two, so they cost no digit.

    Args:
        stored: `(n_rows, n_features)`, float32, C-contiguous.
        origin, unit: `(n_features,)`, float64.
    """

    stored: NDArray[np.float32]
    origin: FloatArray
    unit: FloatArray

    def in_units_of_storage(self, statistics: Statistics | None) -> Statistics:
        """Return statistics that make of stored values what the given ones make of the features' own values.

        None stands for features that are used as they are.
        """
        if statistics is None:
            return Statistics(-self.origin / self.unit, self.unit)
        return Statistics((statistics.centre - self.origin) / self.unit, statistics.scale * self.unit)


def store_rows(X: FloatArray, statistics: Statistics | None) -> StoredRows:
    """Return the rows in float32, around the centres that the statistics give; as they are where there are none."""
    origin, unit = np.zeros(X.shape[1]), np.ones(X.shape[1])
    if statistics is not None:
        origin = statistics.centre
        varies = statistics.scale > 0
        unit[varies] = np.exp2(-np.round(np.log2(statistics.scale[varies])))
    stored = np.empty(X.shape, dtype=np.float32)
    largest = np.finfo(np.float32).max / 4  # so that what is made of it is finite too
    for rows in blocks(len(X)):
        moved = (X[rows] - origin) / unit
        if statistics is not None:
            moved[np.isnan(moved)] = 0.0  # a missing number is taken for the mean
        stored[rows] = np.clip(moved, -largest, largest)
    return StoredRows(stored, origin, unit)


def fit_statistics(X: FloatArray, weight: FloatArray, rows: IntArray | None = None) -> Statistics:
    """Return the weighted mean of every column and the inverse of its weighted standard deviation.

    Missing cells (NaN) are passed over.

    A column that does not vary here has scale 0: a network that never saw it vary cannot know what it means, so
    whatever it holds later changes no prediction.

    Args:
        X: `(n_rows, n_features)`, finite or NaN.
        weight: the weight of each training row, not negative.
        rows: which rows train; all of them when left out.
    """
    rows = np.arange(len(X)) if rows is None else rows
    # Shifting by a row first keeps the digits of columns that sit far from zero (dates in seconds, for one).
    shift = X[rows[0]]
    if np.isnan(shift).any():
        shift = np.array([column[np.argmin(np.isnan(column))] for column in X[rows].T])
        shift[np.isnan(shift)] = 0.0  # all of it is missing
    total, mean, variance, largest = *np.zeros((3, X.shape[1])), np.abs(shift)
    for part in blocks(len(rows)):
        moved = X[rows[part]] - shift
        known = ~np.isnan(moved)
        moved[~known] = 0.0
        # BLAS would add in an order that depends on its threads.
        total += np.einsum("i,ij->j", weight[part], known)
        mean += np.einsum("i,ij->j", weight[part], moved)
        largest = np.maximum(largest, np.abs(moved).max(axis=0))
    total = np.maximum(total, np.finfo(float).tiny)
    mean /= total
    for part in blocks(len(rows)):
        squares = np.square(X[rows[part]] - shift - mean)
        variance += np.einsum("i,ij->j", weight[part], np.where(np.isnan(squares), 0.0, squares))
    variance /= total
    deviation = np.sqrt(variance)
    varies = deviation > 1e-12 * largest
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return Statistics(centre=shift + mean, scale=scale)


def standardise(X: NDArray[np.floating], statistics: Statistics) -> NDArray[np.float32]:
    """Return `(X - centre) * scale`, worked out in float64 and rounded to float32 once; 0 where X is missing (NaN)."""
    standardised = np.empty(X.shape, dtype=np.float32)
    for rows in blocks(len(X)):
        standardised[rows] = (X[rows] - statistics.centre) * statistics.scale
    standardised[np.isnan(standardised)] = 0
    return standardised


def blocks(n_rows: int) -> Iterator[slice]:
    """Yield slices that cover so many rows, a few thousand each."""
    return (slice(start, min(start + ROWS_AT_A_TIME, n_rows)) for start in range(0, n_rows, ROWS_AT_A_TIME))

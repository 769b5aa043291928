"""Sums over all rows of a table, from which each member's statistics follow without reading the rows again.

A member trains on all rows but a few, so that its sums are those of the table less those of the few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.encoder import N_INNER_FOLDS, Encoding, RowSums, Statistics
from tabcohort.types import CodeArray, FloatArray, IntArray

ROUNDING = 1e-13  # of a variance that is the difference of two sums, relative to that of the table
MIN_DEVIATION = 1e-12  # of a column's size; what varies less is constant, as for `fit_statistics`


@dataclass(frozen=True)
class Totals:
    """Weighted sums over rows.

    Args:
        shift: what numbers are counted from, near their mean, so that no digit is lost, `(n_numbers,)`.
        known: the weight of the rows whose cell is not missing, `(n_numbers,)`.
        first, second: sums of `weight * (x - shift)` and `weight * (x - shift)**2`, `(n_numbers,)`.
        largest: the largest magnitude of each number, `(n_numbers,)`.
        classes: the weight of each class, `(n_classes,)`.
        counts: the weight of each code and class in each inner fold, those of all categories one after another,
            `(N_INNER_FOLDS, n_codes of all, n_classes)`.
        n_rows: rows of each code, those of all categories one after another, `(n_codes of all,)`.
    """

    shift: FloatArray
    known: FloatArray
    first: FloatArray
    second: FloatArray
    largest: FloatArray
    classes: FloatArray
    counts: FloatArray
    n_rows: IntArray

    @classmethod
    def zero(cls, shift: FloatArray, n_codes: Sequence[int], n_classes: int) -> Totals:
        """Return the sums over no rows."""
        known, first, second, largest = np.zeros((4, len(shift)))
        counts = np.zeros((N_INNER_FOLDS, sum(n_codes), n_classes))
        return cls(shift, known, first, second, largest, np.zeros(n_classes), counts, np.zeros(sum(n_codes), np.int64))

    @property
    def weight(self) -> float:
        """Of all rows."""
        return float(self.classes.sum())

    def add(self, rows: Rows, n_codes: Sequence[int]) -> None:
        """Add rows to these sums, in place.

        Args:
            rows: to add.
            n_codes: of each category.
        """
        moved = rows.numbers - self.shift
        is_known = ~np.isnan(moved)
        moved[~is_known] = 0.0
        self.known[:] += np.einsum("i,ij->j", rows.weight, is_known)
        self.first[:] += np.einsum("i,ij->j", rows.weight, moved)
        self.second[:] += np.einsum("i,ij,ij->j", rows.weight, moved, moved)
        np.fmax(self.largest, np.fmax.reduce(np.abs(rows.numbers), axis=0, initial=0.0), out=self.largest)
        n_classes, start = len(self.classes), 0
        self.classes[:] += np.bincount(rows.y, rows.weight, n_classes)
        for codes, n in zip(rows.codes.T, n_codes, strict=True):
            cell = ((rows.fold.astype(np.int64) - 1) * n + codes) * n_classes + rows.y
            counted = np.bincount(cell, rows.weight, N_INNER_FOLDS * n * n_classes)
            self.counts[:, start : start + n] += counted.reshape(N_INNER_FOLDS, n, n_classes)
            self.n_rows[start : start + n] += np.bincount(codes, minlength=n)
            start += n

    def minus(self, few: Totals) -> Totals:
        """Return these sums less those over some of their rows; `largest` stays."""
        names = ("known", "first", "second", "classes", "counts", "n_rows")
        left = {name: np.maximum(getattr(self, name) - getattr(few, name), 0) for name in names if name != "first"}
        return Totals(shift=self.shift, largest=self.largest, first=self.first - few.first, **left)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the sums by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Rows:
    """Rows to add to sums.

    Args:
        numbers: `(n, n_numbers)`; NaN where one is missing.
        codes: `(n, n_categories)`.
        y, weight: `(n,)`.
        fold: the inner fold of each, from 1, `(n,)`.
    """

    numbers: FloatArray
    codes: CodeArray
    y: IntArray
    weight: FloatArray
    fold: NDArray[np.int8]


def standardization(totals: Totals, whole: Totals) -> Statistics:
    """Return center and scale of the numbers.

    Args:
        totals: over the training rows.
        whole: over all rows of the table, of which these are a part.
    """
    known = np.maximum(totals.known, np.finfo(float).tiny)
    mean, of_all = totals.first / known, np.maximum(whole.known, np.finfo(float).tiny)
    variance = np.maximum(totals.second / known - np.square(mean), 0.0)
    noise = ROUNDING * whole.second / of_all if totals is not whole else 0.0
    deviation = np.where(variance > noise, np.sqrt(variance), 0.0)
    varies = deviation > MIN_DEVIATION * totals.largest
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return Statistics(center=totals.shift + mean, scale=scale)


def row_sums(totals: Totals, whole: Totals, encoding: Encoding, fill: Mapping[int, float]) -> RowSums:
    """Return what the statistics of an encoding are computed from.

    Args:
        totals, whole: as for `standardization`.
        encoding: the structure.
        fill: the median of each number that has missing cells.
    """
    numbers = standardization(totals, whole)
    medians = np.full(len(numbers.center), np.nan)
    medians[list(fill)] = list(fill.values())
    starts = encoding.code_starts
    counts, n_rows = [], []
    for place, category in enumerate(encoding.categories):
        own = slice(starts[place], starts[place + 1])
        of_folds = totals.counts[:, own]
        counts.append(of_folds.sum(axis=0, keepdims=True) if category.one_hot else of_folds)
        n_rows.append(totals.n_rows[own])
    shares = 1 - totals.known / totals.weight
    return RowSums(numbers.center, numbers.scale, medians, np.where(shares > 1e-15, shares, 0.0), counts, n_rows)

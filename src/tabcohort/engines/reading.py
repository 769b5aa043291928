"""How an engine reads rows: from what all members share to the standardized columns that one network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.encoder import Encoding, InnerFolds, Statistics, StoredRows
from tabcohort.types import FloatArray, IntArray


class Reading(NamedTuple):
    """Rows, and what makes columns of them; every array is C-contiguous.

    Numbers are `(stored - center) * scale`, `filled` where they are missing; then come an indicator for each number in
    `missing`, what the lookup holds for each code, and rows of the table of learned vectors.

    Args:
        stored: numbers of the whole table, `(n_rows, n_numbers)`, float32; NaN where one is missing.
        center, scale: `(n_numbers,)`, float32, fitted on the training rows.
        filled: what stands for a missing number, `(n_numbers,)`, float32; empty where no number is missing.
        missing: the numbers with an indicator, `(n_missing,)`, int64.
        absent, present: the indicator's value where the cell is missing, and where it is not, `(n_missing,)`, float32.
        codes: of the whole table, `(n_rows, n_categories)`, int32.
        lookups: the columns of all codes, standardized, `(1 + n_folds, size)`, float32; see `fold`.
        lookup_starts, widths: where a category's lookup begins, and its columns, `(n_categories,)`, int64.
        fold: which lookup each row reads, `(n_rows,)`, int8; empty where all rows read the first.
        learned: the categories with learned vectors, `(n_learned,)`, int64.
        vector_rows: the row of each code of all categories in their table, float32.
        code_starts: where a category's codes begin there, `(n_categories,)`, int64.
    """

    stored: NDArray[np.float32]
    center: NDArray[np.float32]
    scale: NDArray[np.float32]
    filled: NDArray[np.float32]
    missing: IntArray
    absent: NDArray[np.float32]
    present: NDArray[np.float32]
    codes: NDArray[np.int32]
    lookups: NDArray[np.float32]
    lookup_starts: IntArray
    widths: IntArray
    fold: NDArray[np.int8]
    learned: IntArray
    vector_rows: NDArray[np.float32]
    code_starts: IntArray

    @property
    def n_columns(self) -> int:
        """Columns of what is read."""
        return self.stored.shape[1] + len(self.missing) + int(self.widths.sum()) + len(self.learned)

    def inputs(self, rows: IntArray) -> NDArray[np.float32]:
        """Return the columns of some rows, `(len(rows), n_columns)`, float32, as the kernels compute them."""
        stored = self.stored[rows]
        numbers = (stored - self.center) * self.scale
        is_missing = np.isnan(stored)
        if len(self.filled):
            numbers = np.where(is_missing, self.filled, numbers)
        parts = [numbers, np.where(is_missing[:, self.missing], self.absent, self.present)]
        fold = self.fold[rows] if len(self.fold) else np.zeros(len(rows), np.int8)
        for category in range(self.codes.shape[1]):
            start, width = self.lookup_starts[category], self.widths[category]
            places = start + self.codes[rows, category, None] * width + np.arange(width)
            parts.append(self.lookups[fold[:, None], places])
        for category in self.learned:
            parts.append(self.vector_rows[self.code_starts[category] + self.codes[rows, category]][:, None])
        return np.concatenate(parts, axis=1, dtype=np.float32)


def make_reading(
    stored: StoredRows, encoding: Encoding, statistics: Statistics | None, inner: InnerFolds | None = None
) -> Reading:
    """Return how a member's engine reads the stored rows.

    Args:
        stored: the rows as members share them.
        encoding: how inputs become columns.
        statistics: of the member's training rows; None for numbers that are taken as they are.
        inner: target statistics for the training rows themselves; None where there are none.
    """
    n_numbers, n_missing = len(encoding.numbers), len(encoding.missing)
    neutral = Statistics(np.zeros(encoding.n_columns), np.ones(encoding.n_columns))
    given = neutral if statistics is None else statistics
    center, scale = given.center[:n_numbers], given.scale[:n_numbers]
    indicator_center, indicator_scale = (
        values[n_numbers : n_numbers + n_missing] for values in (given.center, given.scale)
    )
    fill = given.fill if len(given.fill) else np.full(n_numbers, np.nan)
    filled = np.nan_to_num((fill - center) * scale) if stored.has_missing else np.empty(0)
    lookups = given.lookup[None] if inner is None else np.concatenate([given.lookup[None], inner.lookups])
    return Reading(
        _as_writeable(stored.stored),
        _float32((center - stored.origin) / stored.unit),
        _float32(scale * stored.unit),
        _float32(filled),
        np.array(encoding.missing, dtype=np.int64),
        absent=_float32((1 - indicator_center) * indicator_scale),
        present=_float32(-indicator_center * indicator_scale),
        codes=_as_writeable(stored.codes),
        lookups=_float32(_standardized(lookups, encoding, given)),
        lookup_starts=encoding.lookup_starts[:-1],
        widths=np.array([category.width for category in encoding.categories], dtype=np.int64),
        fold=np.empty(0, np.int8) if inner is None else inner.fold,
        learned=np.array(encoding.learned, dtype=np.int64),
        vector_rows=_float32(given.vector_row),
        code_starts=encoding.code_starts[:-1],
    )


@dataclass(frozen=True)
class _SharedMemory:
    """The memory of a read-only array, described as writeable."""

    array: NDArray[Any]

    @property
    def __array_interface__(self) -> dict[str, Any]:
        interface = self.array.__array_interface__
        return {**interface, "data": (interface["data"][0], False)}


def _as_writeable(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array, or a view that passes for writeable: for read-only ones another kernel would be compiled.

    Memory that processes share (of a cluster's workers, for example) is read-only. No kernel writes to rows.
    """
    if array.flags.writeable:
        return array
    return np.asarray(_SharedMemory(array)) if array.size else array.copy()


def _float32(values: FloatArray) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, dtype=np.float32)


def _standardized(lookups: FloatArray, encoding: Encoding, statistics: Statistics) -> FloatArray:
    """Return lookups, `(n_folds, size)`, with each column standardized; 0 where it is NaN."""
    standardized = np.empty(lookups.shape)
    column = len(encoding.numbers) + len(encoding.missing)
    for place, category in enumerate(encoding.categories):
        start, end = encoding.lookup_starts[place : place + 2]
        columns = slice(column, column + category.width)
        own = lookups[:, start:end].reshape(-1, *category.shape)
        own = np.nan_to_num((own - statistics.center[columns]) * statistics.scale[columns])
        standardized[:, start:end] = own.reshape(len(lookups), -1)
        column += category.width
    return standardized

"""Encoding: what a network sees of a table's inputs, with statistics fitted on a member's training rows only.

The inputs of a table are numbers, which may be missing (NaN), and then codes of categories. They become columns: the
numbers, missing ones filled in; an indicator for each number that may be missing; and for each category what a lookup
holds for its code, one-hot columns or target statistics and the level's count. A category of many levels also has a
learned vector, for which a column holds the row of its table. All columns but these are standardized.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tabcohort.types import CodeArray, FloatArray, IntArray

ROWS_PER_SLICE = 4096  # so that no copy of a table in float64 is ever made
N_INNER_FOLDS = 5  # of the training rows, for target statistics
SMOOTHING = 10.0  # rows of the prior in a level's target statistic (Micci-Barreca 2001)
MIN_ROWS_TO_LEARN = 4  # a level with fewer training rows shares a vector with the other rare ones
ROUNDING = 1e-12  # relative, of sums of weights
NO_ROW = -1.0  # of the table of learned vectors: the zero vector


# -- the structure, which all members of a config share -------------------------------------------------------------


@dataclass(frozen=True)
class CategoryEncoding:
    """How one category becomes columns.

    Args:
        n_codes: its levels, the most frequent first, then "missing", then "unknown".
        one_hot: whether a column for each level is made; otherwise target statistics and the count are.
        width: number of columns that its lookup holds.
        n_learned: levels with a learned vector of their own, the most frequent; 0 for no learned vectors.
    """

    n_codes: int
    one_hot: bool
    width: int
    n_learned: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Of its lookup."""
        return self.n_codes, self.width

    @property
    def n_rows(self) -> int:
        """Rows of the table of learned vectors: a level's own, that of missing cells, and that of all rare levels."""
        return self.n_learned + 2 if self.n_learned else 0


@dataclass(frozen=True)
class Encoding:
    """How the inputs of a table become columns: the numbers first, then indicators, lookups, and rows of vectors.

    Args:
        numbers: the inputs that are numbers.
        missing: which of these have an indicator of missing cells, by their place in `numbers`.
        codes: the inputs that are codes.
        categories: how each of these is encoded.
    """

    numbers: tuple[int, ...]
    missing: tuple[int, ...] = ()
    codes: tuple[int, ...] = ()
    categories: tuple[CategoryEncoding, ...] = ()

    @property
    def n_inputs(self) -> int:
        """Inputs of a row."""
        return len(self.numbers) + len(self.codes)

    @property
    def learned(self) -> tuple[int, ...]:
        """The categories with learned vectors, by their place in `categories`."""
        return tuple(place for place, category in enumerate(self.categories) if category.n_learned)

    @property
    def n_plain(self) -> int:
        """Columns that are standardized numbers."""
        return len(self.numbers) + len(self.missing) + sum(category.width for category in self.categories)

    @property
    def n_columns(self) -> int:
        """Columns in all: the plain ones, and one for each category with learned vectors."""
        return self.n_plain + len(self.learned)

    @property
    def lookup_starts(self) -> IntArray:
        """Where each category's lookup, `(n_codes, width)`, begins in the vector of all, and where the last ends."""
        return _starts(category.n_codes * category.width for category in self.categories)

    @property
    def code_starts(self) -> IntArray:
        """Where each category's codes begin in a vector of all codes, and where the last ends."""
        return _starts(category.n_codes for category in self.categories)

    @property
    def vector_rows(self) -> int:
        """Rows of the table of learned vectors, of all categories."""
        return sum(category.n_rows for category in self.categories)


def _starts(sizes: Iterable[int]) -> IntArray:
    return np.cumsum([0, *sizes]).astype(np.int64)


def plain_encoding(n_inputs: int) -> Encoding:
    """Return the encoding of numbers without missing cells, which changes nothing."""
    return Encoding(tuple(range(n_inputs)))


def one_hot_encoding(n_inputs: int, levels: Mapping[int, int], missing: Iterable[int]) -> Encoding:
    """Return the encoding of numbers and of categories with a column for each level.

    Args:
        n_inputs: number of inputs.
        levels: the number of levels, coded from 0, of each input that is a category; the next code is "unknown".
        missing: the inputs that are numbers whose cells may be missing.
    """
    numbers = tuple(feature for feature in range(n_inputs) if feature not in levels)
    places = tuple(numbers.index(feature) for feature in missing)
    categories = tuple(CategoryEncoding(n_levels + 1, True, n_levels) for n_levels in levels.values())
    return Encoding(numbers, places, tuple(levels), categories)


# -- what is fitted on training rows -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statistics:
    """What encoding needs to know of the training rows.

    Args:
        center, scale: standardize a column, `(x - center) * scale`, `(n_columns,)`.
        fill: what a missing number is filled with, `(n_numbers,)`, or empty for none; NaN becomes the center.
        lookup: the columns of each code of each category, one after another; NaN becomes the center.
        vector_row: the row of the table of learned vectors of each code, `(n_codes of all,)`; -1 for none.
        column, lower, inverse: the standardized number that each bin of the piecewise-linear encoding reads, where it
            begins, and one over its width, `(n_bins,)`; see `tabcohort.data.bins`.
        median, inverse_range: scale standardized numbers by their quartiles, `(n_numbers,)`; see
            `tabcohort.data.scaling`.
        knots, heights: scale standardized numbers by their quantiles, those of a number beside each other.
    """

    center: FloatArray
    scale: FloatArray
    fill: FloatArray = field(default_factory=lambda: np.empty(0))
    lookup: FloatArray = field(default_factory=lambda: np.empty(0))
    vector_row: FloatArray = field(default_factory=lambda: np.empty(0))
    column: FloatArray = field(default_factory=lambda: np.empty(0))
    lower: FloatArray = field(default_factory=lambda: np.empty(0))
    inverse: FloatArray = field(default_factory=lambda: np.empty(0))
    median: FloatArray = field(default_factory=lambda: np.empty(0))
    inverse_range: FloatArray = field(default_factory=lambda: np.empty(0))
    knots: FloatArray = field(default_factory=lambda: np.empty(0))
    heights: FloatArray = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class InnerFolds:
    """Target statistics for the training rows themselves, each from the other inner folds.

    Args:
        fold: the inner fold of each row of the table, `(n_rows,)`, from 1; 0 for rows that do not train.
        lookups: the lookup without each fold, `(n_folds, size)`.
    """

    fold: NDArray[np.int8]
    lookups: FloatArray


@dataclass(frozen=True)
class TrainingRows:
    """The rows that statistics are fitted on.

    Args:
        rows: row numbers, `(n,)`, rows that belong together side by side.
        weight: of each, `(n,)`, positive.
        y: class codes of each, `(n,)`.
        n_classes: number of classes.
        starts_block: whether a row does not belong to the one before it, `(n,)`.
    """

    rows: IntArray
    weight: FloatArray
    y: IntArray
    n_classes: int
    starts_block: NDArray[np.bool_]


@dataclass(frozen=True)
class RowSums:
    """What the statistics of an encoding are computed from: sums over training rows.

    Args:
        center, scale: of the numbers, as `fit_statistics` gives them, `(n_numbers,)`.
        fill: the median of each number that has missing cells, NaN for the others, `(n_numbers,)`.
        missing_share: of each number, by weight, `(n_numbers,)`.
        counts: the weight of each code and class of each category in each inner fold, `(n_folds, n_codes, n_classes)`;
            in one fold where it is one-hot.
        n_rows: of each code of each category, `(n_codes,)`.
    """

    center: FloatArray
    scale: FloatArray
    fill: FloatArray
    missing_share: FloatArray
    counts: Sequence[FloatArray]
    n_rows: Sequence[IntArray]


def fit_encoding(
    numbers: FloatArray, codes: CodeArray, encoding: Encoding, training: TrainingRows
) -> tuple[Statistics, InnerFolds | None]:
    """Return the statistics of the training rows, and what they need for target statistics of their own.

    Args:
        numbers: of the table, `(n_rows, n_numbers)`; NaN where one is missing.
        codes: of the table, `(n_rows, n_categories)`.
        encoding: the structure, with the numbers before the codes.
        training: the rows.
    """
    standardization = fit_statistics(numbers, training.weight, training.rows)
    fill = np.full(numbers.shape[1], np.nan)
    shares = np.zeros(numbers.shape[1])
    for place in np.flatnonzero(_has_missing(numbers, training.rows)):
        cells = numbers[training.rows, place]
        fill[place] = weighted_quantile(cells, training.weight, 0.5)
        shares[place] = np.average(np.isnan(cells), weights=training.weight)
    fold = _inner_folds(len(numbers), training, encoding)
    counts, n_rows = [], []
    for column, category in zip(codes.T, encoding.categories, strict=True):
        own = column[training.rows].astype(np.int64)
        counts.append(_counts(own, training, category, fold))
        n_rows.append(np.bincount(own, minlength=category.n_codes))
    sums = RowSums(standardization.center, standardization.scale, fill, shares, counts, n_rows)
    return statistics_of_sums(encoding, sums, fold)


def statistics_of_sums(
    encoding: Encoding, sums: RowSums, fold: NDArray[np.int8] | None
) -> tuple[Statistics, InnerFolds | None]:
    """Return the statistics of training rows, and what they need for target statistics of their own.

    Args:
        encoding: the structure.
        sums: over the training rows.
        fold: the inner fold of each row of the table, `(n_rows,)`; None where no category has target statistics.
    """
    indicator_share = sums.missing_share[list(encoding.missing)]
    centers = [sums.center, indicator_share]
    scales = [sums.scale, _inverse_deviation(indicator_share * (1 - indicator_share))]
    lookups, vector_rows = [], []
    for category, counts, n_rows in zip(encoding.categories, sums.counts, sums.n_rows, strict=True):
        lookup = _lookup(counts, category)
        center, scale = _column_statistics(lookup[0], counts.sum(axis=(0, 2)) / counts.sum(), category.one_hot)
        centers.append(center)
        scales.append(scale)
        lookups.append(lookup.reshape(len(lookup), -1))
        vector_rows.append(_vector_rows(n_rows, category))
    return _assembled(encoding, centers, scales, sums.fill, lookups, vector_rows, fold)


def _assembled(
    encoding: Encoding,
    centers: list[FloatArray],
    scales: list[FloatArray],
    fill: FloatArray,
    lookups: list[FloatArray],
    vector_rows: list[FloatArray],
    fold: NDArray[np.int8] | None,
) -> tuple[Statistics, InnerFolds | None]:
    n_learned = len(encoding.learned)
    all_lookups = np.concatenate(lookups, axis=1) if lookups else np.empty((1, 0))
    # Rows of the tables of all categories are counted through.
    first_rows = np.cumsum([0, *(category.n_rows for category in encoding.categories)])
    shifted = [np.where(rows < 0, rows, rows + first) for rows, first in zip(vector_rows, first_rows, strict=False)]
    statistics = Statistics(
        np.concatenate([*centers, np.zeros(n_learned)]),
        np.concatenate([*scales, np.ones(n_learned)]),
        fill,
        all_lookups[0],
        np.concatenate(shifted) if shifted else np.empty(0),
    )
    return statistics, None if fold is None else InnerFolds(fold, all_lookups[1:])


def _has_missing(numbers: FloatArray, rows: IntArray) -> NDArray[np.bool_]:
    """Return which numbers have a missing cell in some rows."""
    missing = np.zeros(numbers.shape[1], dtype=bool)
    for part in row_slices(len(rows)):
        missing |= np.isnan(numbers[rows[part]]).any(axis=0)
    return missing


def weighted_quantile(values: FloatArray, weight: FloatArray, share: float) -> float:
    """Return the value below which this share of the weight lies, of the values that are not NaN; NaN without any.

    Where the share lies exactly below a value it is the mean of that value and the one before, so that a weight of 2
    and two equal values have one median.
    """
    known = ~np.isnan(values)
    if not known.any():
        return np.nan
    order = np.argsort(values[known], kind="stable")
    ordered, weights = values[known][order], weight[known][order]
    below = np.cumsum(weights)
    wanted = below[-1] * share
    place = int(np.searchsorted(below, wanted * (1 - ROUNDING)))
    if below[place] <= wanted * (1 + ROUNDING):
        return float((ordered[place] + ordered[place + 1]) / 2)
    return float(ordered[place])


def _inverse_deviation(variance: FloatArray) -> FloatArray:
    """Return one over the standard deviation, 0 where nothing varies."""
    return np.divide(1.0, np.sqrt(variance), out=np.zeros_like(variance), where=variance > 1e-24)


def _inner_folds(n_rows: int, training: TrainingRows, encoding: Encoding) -> NDArray[np.int8] | None:
    """Return the inner fold of each row, or None where no category has target statistics.

    Training rows come in the order of a hash, so consecutive ones are a random sample; blocks stay together.
    """
    if all(category.one_hot for category in encoding.categories):
        return None
    block = np.cumsum(training.starts_block) - 1 if len(training.rows) else training.rows
    n_blocks = int(block[-1]) + 1
    fold = np.zeros(n_rows, dtype=np.int8)
    fold[training.rows] = 1 + block * N_INNER_FOLDS // n_blocks
    return fold


def _counts(
    codes: IntArray, training: TrainingRows, category: CategoryEncoding, fold: NDArray[np.int8] | None
) -> FloatArray:
    """Return the weight of each code and class in each inner fold, `(n_folds, n_codes, n_classes)`."""
    n_codes, n_classes = category.n_codes, training.n_classes
    cell = codes * n_classes + training.y
    n_folds = 1
    if fold is not None and not category.one_hot:
        n_folds = N_INNER_FOLDS
        cell += (fold[training.rows].astype(np.int64) - 1) * n_codes * n_classes
    totals = np.bincount(cell, training.weight, n_folds * n_codes * n_classes).astype(np.float64)
    return totals.reshape(n_folds, n_codes, n_classes)


def _lookup(counts: FloatArray, category: CategoryEncoding) -> FloatArray:
    """Return the columns of each code, `(1 + n_folds, n_codes, width)`: from all rows, and without each inner fold.

    A code without training rows has NaN: it says nothing, as "unknown" does.
    """
    n_folds, n_codes, n_classes = counts.shape
    total = counts.sum(axis=0)
    if category.one_hot:
        lookup = np.eye(n_codes, category.width)
        if category.width == 1:  # of two levels one column says all
            lookup = np.arange(n_codes, dtype=np.float64)[:, None]
        lookup[total.sum(axis=1) == 0] = np.nan
        return np.broadcast_to(lookup, (N_INNER_FOLDS + 1, n_codes, category.width)).copy()
    n_targets = category.width - 1
    lookup = np.empty((n_folds + 1, n_codes, category.width))
    for place, seen in enumerate((total, *(total - counts[own] for own in range(n_folds)))):
        n_rows = seen.sum(axis=1)
        prior = (seen.sum(axis=0) + 0.5) / (seen.sum() + 0.5 * n_classes)
        share = (seen + SMOOTHING * prior) / (n_rows + SMOOTHING)[:, None]
        kept = share[:, 1:] if n_targets == 1 else share[:, :n_targets]
        lookup[place, :, :n_targets] = np.log(kept / (1 - kept))
        lookup[place, :, n_targets] = np.log1p(n_rows)
    lookup[:, total.sum(axis=1) == 0, :n_targets] = np.nan
    return lookup


def _column_statistics(lookup: FloatArray, share: FloatArray, one_hot: bool) -> tuple[FloatArray, FloatArray]:
    """Return center and scale of a category's columns, given the share of the training rows that has each code.

    One-hot columns are scaled by half their range (as by Holzmüller et al. 2024): by their standard deviation a rare
    level would have a large value.
    """
    known = np.where(np.isnan(lookup), 0.0, lookup)
    center = share @ known
    scale = _inverse_deviation(share @ np.square(known - center))
    return center, np.where(scale > 0, 2.0, 0.0) if one_hot else scale


def _vector_rows(n_rows: IntArray, category: CategoryEncoding) -> FloatArray:
    """Return the row of the category's own table of learned vectors for each code; -1 where no vector is trained."""
    n_codes, n_learned = category.n_codes, category.n_learned
    if not n_learned:
        return np.full(n_codes, NO_ROW)
    rows = np.full(n_codes, float(n_learned + 1))
    rows[:n_learned] = np.arange(n_learned)
    rows[n_codes - 2] = n_learned
    is_rare = n_rows < MIN_ROWS_TO_LEARN
    rows[is_rare] = n_learned + 1
    if not n_rows[rows == n_learned + 1].any():
        rows[rows == n_learned + 1] = NO_ROW
    return rows


# -- encoded columns ---------------------------------------------------------------------------------------------------


def encode(X: FloatArray, encoding: Encoding, statistics: Statistics) -> FloatArray:
    """Return the encoded columns of rows before they are standardized, `(n_rows, n_columns)`; NaN is the center.

    A code that is not a whole number of the range is unknown.
    """
    numbers = X[:, list(encoding.numbers)]
    is_missing = np.isnan(numbers)
    fill = statistics.fill if len(statistics.fill) else np.nan
    parts = [np.where(is_missing, fill, numbers), is_missing[:, list(encoding.missing)].astype(np.float64)]
    vectors = []
    for place, (feature, category) in enumerate(zip(encoding.codes, encoding.categories, strict=True)):
        codes = known_codes(X[:, feature], category.n_codes)
        start, end = encoding.lookup_starts[place : place + 2]
        parts.append(statistics.lookup[start:end].reshape(category.n_codes, category.width)[codes])
        if category.n_learned:
            vectors.append(statistics.vector_row[encoding.code_starts[place] + codes][:, None])
    return np.concatenate([*parts, *vectors], axis=1)


def known_codes(cells: FloatArray, n_codes: int) -> IntArray:
    """Return codes as integers; the last code, "unknown", where a cell is none."""
    is_code = (cells >= 0) & (cells < n_codes) & (cells == np.floor(cells))
    return np.where(is_code, cells, n_codes - 1).astype(np.int64)


def standardize(X: NDArray[np.floating], statistics: Statistics) -> NDArray[np.float32]:
    """Return `(X - center) * scale`, computed in float64 and rounded to float32 once; 0 where X is missing (NaN)."""
    standardized = np.empty(X.shape, dtype=np.float32)
    for rows in row_slices(len(X)):
        standardized[rows] = (X[rows] - statistics.center) * statistics.scale
    standardized[np.isnan(standardized)] = 0
    return standardized


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
    shift = X[rows[0]].copy()  # it is changed where a cell is missing, and X is not
    for column in np.flatnonzero(np.isnan(shift)):
        cells = X[rows, column]
        known = np.flatnonzero(~np.isnan(cells))
        shift[column] = cells[known[0]] if len(known) else 0.0  # 0: the whole column is missing
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


def row_slices(n_rows: int) -> Iterator[slice]:
    """Yield slices that together cover this many rows, a few thousand each."""
    return (slice(start, min(start + ROWS_PER_SLICE, n_rows)) for start in range(0, n_rows, ROWS_PER_SLICE))


# -- rows in 32 bits, which all members share -------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredRows:
    """A table's inputs in 32 bits: a number's value is `origin + unit * stored`.

    Around zero float32 keeps seven digits of the differences between rows, however far from zero a column is (dates in
    seconds, for example). The units are powers of two, so they cost no digit.

    Args:
        stored: the numbers, `(n_rows, n_numbers)`, float32, C-contiguous; NaN where one is missing.
        origin, unit: `(n_numbers,)`, float64.
        codes: the codes, `(n_rows, n_categories)`, int32, C-contiguous; the table's own.
        has_missing: whether a number is missing.
    """

    stored: NDArray[np.float32]
    origin: FloatArray
    unit: FloatArray
    codes: CodeArray
    has_missing: bool = False


def no_codes(n_rows: int) -> CodeArray:
    """Return the codes of a table without categories, `(n_rows, 0)`."""
    return np.empty((n_rows, 0), dtype=np.int32)


def store_rows(numbers: FloatArray, statistics: Statistics | None, codes: CodeArray | None = None) -> StoredRows:
    """Return the rows in 32 bits, numbers around the centers of the statistics; unchanged where there are none.

    Args:
        numbers: `(n_rows, n_numbers)`.
        statistics: of the numbers.
        codes: `(n_rows, n_categories)`, C-contiguous, which are not copied; none when omitted.
    """
    origin, unit = origin_and_unit(statistics, numbers.shape[1])
    stored = np.empty(numbers.shape, dtype=np.float32)
    codes = no_codes(len(numbers)) if codes is None else codes
    has_missing = False
    for rows in row_slices(len(numbers)):
        stored[rows] = in_32_bits(numbers[rows], origin, unit)
        has_missing = has_missing or bool(np.isnan(stored[rows]).any())
    return StoredRows(stored, origin, unit, codes, has_missing)


def origin_and_unit(statistics: Statistics | None, n_numbers: int) -> tuple[FloatArray, FloatArray]:
    """Return what rows in 32 bits are counted from and in, by the statistics of their numbers, `(n_numbers,)` each."""
    origin, unit = np.zeros(n_numbers), np.ones(n_numbers)
    if statistics is not None:
        origin = statistics.center
        varies = statistics.scale > 0
        unit[varies] = np.exp2(-np.round(np.log2(statistics.scale[varies])))
    return origin, unit


def in_32_bits(numbers: FloatArray, origin: FloatArray, unit: FloatArray) -> FloatArray:
    """Return numbers counted from an origin in units, so that float32 holds them, `(n_rows, n_numbers)`, float64."""
    largest = np.finfo(np.float32).max / 4  # so that what is computed from it is finite, too
    return np.clip((numbers - origin) / unit, -largest, largest)

"""How well one column alone predicts the target, on rows that its model did not see."""

from __future__ import annotations

import numpy as np

from tabcohort.evaluation.ranking import Ranking
from tabcohort.types import BoolArray, FloatArray, IntArray

N_FOLDS = 5
MIN_NEIGHBOURS = 4


def out_of_fold_shares(values: FloatArray | IntArray, y: IntArray, seed: int = 0) -> FloatArray:
    """Return the share of each class among the training rows that are like a row, `(n_rows, n_classes)`, in five folds.

    Levels are alike if they are equal, so a level that no training row has predicts nothing; numbers are alike if they
    are equal or among the nearest. All shares are smoothed by one row of the training rows' own shares.

    Args:
        values: of the column, `(n_rows,)`: codes from 0 of its levels, or float64 numbers, NaN where one is missing.
        y: class codes, `(n_rows,)`.
        seed: of the folds.
    """
    if values.dtype.kind not in "iu":
        return shares_of_numbers(np.asarray(values, dtype=np.float64)[None], y, seed)[0]
    levels: IntArray = values.astype(np.int64)
    truth = np.eye(int(y.max()) + 1)[y]
    shares = np.empty_like(truth)
    for is_test in _folds(len(y), seed):
        counts = _level_counts(levels[~is_test], truth[~is_test], levels[is_test])
        shares[is_test] = _smoothed(counts, truth[~is_test])
    return shares


def shares_of_numbers(values: FloatArray, y: IntArray, seed: int = 0) -> FloatArray:
    """Return `out_of_fold_shares` of several columns of numbers at once, `(n_columns, n_rows, n_classes)`.

    Each column is sorted once for all folds.

    Args:
        values: of the columns, `(n_columns, n_rows)`, float64, NaN where one is missing.
        y: class codes, `(n_rows,)`.
        seed: of the folds.
    """
    truth = np.eye(int(y.max()) + 1)[y]
    shares = np.empty((*values.shape, truth.shape[1]))
    order = np.argsort(values, axis=1, kind="stable")  # NaN comes last
    first, last = _equal_values(np.take_along_axis(values, order, axis=1))
    is_missing = np.isnan(values)
    columns = np.arange(len(values))[:, None]
    for is_test in _folds(len(y), seed):
        trains = ~is_test[order]
        n_trained: IntArray = np.cumsum(trains, axis=1)  # training rows up to each place
        rows = order[~trains].reshape(len(values), -1)
        bounds = ((n_trained - trains, first), (n_trained, last))
        low, high = (np.take_along_axis(n, place, axis=1)[~trains].reshape(rows.shape) for n, place in bounds)
        n_known = (~is_missing[:, ~is_test]).sum(axis=1, keepdims=True)
        low, high = _widened(low, high, n_known)
        missing = is_missing[columns, rows]
        low, high = np.where(missing, n_known, low), np.where(missing, (~is_test).sum(), high)
        so_far = np.zeros((len(values), (~is_test).sum() + 1, truth.shape[1]))
        np.cumsum(truth[order[trains].reshape(len(values), -1)], axis=1, out=so_far[:, 1:])
        shares[columns, rows] = _smoothed(so_far[columns, high] - so_far[columns, low], truth[~is_test])
    return shares


def _folds(n_rows: int, seed: int) -> list[BoolArray]:
    """Return which rows are tested in each fold."""
    fold = np.random.default_rng(seed).permutation(n_rows) % N_FOLDS
    return [fold == k for k in range(N_FOLDS)]


def _smoothed(counts: FloatArray, truth: FloatArray) -> FloatArray:
    """Return shares of classes from counts `(..., n_classes)`, with one row more of the training rows' own shares."""
    return (counts + truth.mean(axis=0)) / (counts.sum(axis=-1, keepdims=True) + 1)


def _level_counts(levels: IntArray, truth: FloatArray, asked: IntArray) -> FloatArray:
    """Return the number of rows of each class that have a level, `(n_asked, n_classes)`."""
    n_levels = int(max(levels.max(), asked.max())) + 1
    counts = [np.bincount(levels, column, n_levels).astype(np.float64) for column in truth.T]
    return np.stack(counts, axis=1)[asked]


def _equal_values(ordered: FloatArray) -> tuple[IntArray, IntArray]:
    """Return the first and last place of the values equal to each, of ascending rows, `(n_columns, n_rows)`."""
    places = np.arange(ordered.shape[1])
    differs = np.ones((len(ordered), len(places) + 1), dtype=bool)
    differs[:, 1:-1] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(differs[:, :-1], places, 0), axis=1)
    last = np.minimum.accumulate(np.where(differs[:, 1:], places, len(places))[:, ::-1], axis=1)[:, ::-1]
    return first, last


def _widened(low: IntArray, high: IntArray, n_known: IntArray) -> tuple[IntArray, IntArray]:
    """Return the bounds of places among the known numbers, widened on both sides until enough lie between them."""
    n_neighbours = np.maximum(MIN_NEIGHBOURS, (np.sqrt(n_known) / 2).astype(np.int64))
    more = np.maximum(0, n_neighbours - (high - low) + 1) // 2
    return np.maximum(low - more, 0), np.minimum(high + more, n_known)


def roc_auc(shares: FloatArray, y: IntArray) -> float:
    """Return the ROC AUC of one class against the rest, the mean over classes weighted by their rows.

    Args:
        shares: a score of each class, `(n_rows, n_classes)`.
        y: class codes, `(n_rows,)`.
    """
    weight = np.ones(len(y))
    classes = [1] if shares.shape[1] == 2 else np.unique(y).tolist()
    areas = [Ranking(shares[:, code], y == code).areas(weight)[0] for code in classes]
    return float(np.average(areas, weights=[(y == code).sum() for code in classes]))


def accuracy(shares: FloatArray, y: IntArray) -> float:
    """Return how often the class of the largest share is right."""
    return float((shares.argmax(axis=1) == y).mean())

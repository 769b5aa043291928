"""How well one column alone predicts the target, on rows that its model did not see."""

from __future__ import annotations

import numpy as np

from tabcohort.evaluation.metrics import Ranking
from tabcohort.types import FloatArray, IntArray

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
    fold = np.random.default_rng(seed).permutation(len(y)) % N_FOLDS
    truth = np.eye(int(y.max()) + 1)[y]
    shares = np.empty_like(truth)
    for k in range(N_FOLDS):
        is_test = fold == k
        count = _level_counts if values.dtype.kind in "iu" else _neighbour_counts
        counts = count(values[~is_test], truth[~is_test], values[is_test])
        prior = truth[~is_test].mean(axis=0)
        shares[is_test] = (counts + prior) / (counts.sum(axis=1, keepdims=True) + 1)
    return shares


def _level_counts(levels: IntArray, truth: FloatArray, asked: IntArray) -> FloatArray:
    """Return the number of rows of each class that have a level, `(n_asked, n_classes)`."""
    n_levels = int(max(levels.max(), asked.max())) + 1
    counts = [np.bincount(levels, column, n_levels).astype(np.float64) for column in truth.T]
    return np.stack(counts, axis=1)[asked]


def _neighbour_counts(numbers: FloatArray, truth: FloatArray, asked: FloatArray) -> FloatArray:
    """Return the number of rows of each class among the equal or nearest numbers, `(n_asked, n_classes)`."""
    n_known = int((~np.isnan(numbers)).sum())
    order = np.argsort(numbers, kind="stable")  # NaN comes last
    so_far = np.vstack([np.zeros(truth.shape[1]), np.cumsum(truth[order], axis=0)])
    known = numbers[order][:n_known]
    low, high = np.searchsorted(known, asked, "left"), np.searchsorted(known, asked, "right")
    n_neighbours = max(MIN_NEIGHBOURS, int(np.sqrt(n_known) / 2))
    missing = np.isnan(asked)
    widened = np.maximum(0, n_neighbours - (high - low) + 1) // 2
    low, high = np.maximum(low - widened, 0), np.minimum(high + widened, n_known)
    low[missing], high[missing] = n_known, len(numbers)
    return so_far[high] - so_far[low]


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

"""Areas under ROC and precision-recall curves, and what each row's weight changes in them, from ranks of the rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tabcohort.types import BoolArray, FloatArray, IntArray

COLUMNS_AT_ONCE = 64  # that are copied together: a column by itself is spread over the memory


class Ranking:
    """Ranks of rows by their score for one class, with ties counted half (Hanley & McNeil 1982).

    Ranks count from the highest score. A rank is that of the rows that have the score of a row of the class, or of
    those between two such scores: further ranks would change no area. So there are few of them for a rare class.

    Args:
        score: of each row, `(n_rows,)`.
        is_class: whether a row is of the class, `(n_rows,)`.
    """

    def __init__(self, score: FloatArray, is_class: BoolArray) -> None:
        hits = np.unique(score[is_class])
        n_lower = np.searchsorted(hits, score)  # scores of the class that are lower
        is_hit = np.append(hits, np.nan)[n_lower] == score
        self.n_ranks = 2 * len(hits) + 1
        self.rank: NDArray[np.int32] = (2 * (len(hits) - n_lower) - is_hit).astype(np.int32)
        self.is_class = is_class

    def n_hits(self, weight: FloatArray) -> float:
        """Return the weight of the class."""
        return float(weight[self.is_class].sum())

    def areas(self, weight: FloatArray) -> tuple[float, float]:
        """Return (ROC AUC, average precision)."""
        hits, misses, hits_so_far, misses_so_far = self._counts(weight)
        n_hits, n_misses = hits_so_far[-1], misses_so_far[-1]
        precision = _quotients(hits_so_far, hits_so_far + misses_so_far)
        if n_hits == 0:
            return math.nan, math.nan
        pr_auc = float((hits * precision).sum() / n_hits)
        roc_auc = math.nan
        if n_misses > 0:
            roc_auc = float((hits * (n_misses - misses_so_far + misses / 2)).sum() / (n_hits * n_misses))
        # An area that rounds to more than 1 would have no standard error.
        return min(roc_auc, 1.0), min(pr_auc, 1.0)

    def influences(self, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the derivatives of (ROC AUC, average precision) by each row's weight, each `(n_rows,)`.

        A row of the class wins against all others that are ranked lower. It raises the precision at its own rank and
        at all lower ones, where a row of another class lowers it.
        """
        hits, misses, hits_so_far, misses_so_far = self._counts(weight)
        n_hits, n_misses = hits_so_far[-1], misses_so_far[-1]
        roc_auc, pr_auc = self.areas(weight)
        seen = hits_so_far + misses_so_far
        precision = _quotients(hits_so_far, seen)
        lower_too = np.cumsum(_quotients(hits, seen)[::-1])[::-1]
        lower_too_precise = np.cumsum(_quotients(hits * precision, seen)[::-1])[::-1]
        of_hit = (
            ((n_misses - misses_so_far + misses / 2) / n_misses - roc_auc) / n_hits,
            (precision + lower_too - lower_too_precise - pr_auc) / n_hits,
        )
        of_miss = (((hits_so_far - hits / 2) / n_hits - roc_auc) / n_misses, -lower_too_precise / n_hits)
        of_roc, of_pr = (
            np.where(self.is_class, hit[self.rank], miss[self.rank]) for hit, miss in zip(of_hit, of_miss, strict=True)
        )
        return of_roc, of_pr

    def _counts(self, weight: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return the weight of the class and of others at each rank, and at each rank and above."""
        hits, misses = (
            np.bincount(self.rank, weight * own, self.n_ranks).astype(np.float64, copy=False)
            for own in (self.is_class, ~self.is_class)
        )
        return hits, misses, hits.cumsum(), misses.cumsum()


def rank_by_class(scores: FloatArray, y: IntArray, codes: Sequence[int]) -> Iterator[Ranking]:
    """Yield the ranks of the rows by each of some classes, in the order of their codes, without gaps.

    Args:
        scores: of each row and class, `(n_rows, n_classes)`.
        y: class codes, `(n_rows,)`.
        codes: of the classes.
    """
    for start in range(0, len(codes), COLUMNS_AT_ONCE):
        some = codes[start : start + COLUMNS_AT_ONCE]
        columns = np.ascontiguousarray(scores[:, some[0] : some[-1] + 1].T)
        for code, score in zip(some, columns, strict=True):
            yield Ranking(score, y == code)


def _quotients(parts: FloatArray, wholes: FloatArray) -> FloatArray:
    """Return parts / wholes, `(n,)`; 0 where the whole is 0."""
    return np.divide(parts, wholes, out=np.zeros_like(wholes), where=wholes > 0)

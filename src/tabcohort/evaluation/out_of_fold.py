"""Out-of-fold predictions: what members say of rows that they neither trained nor validated on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.types import BoolArray, FloatArray, IntArray

MAX_FOLDS = 10  # that choices are cross-fitted on: of more folds some are joined, as time grows with their square


@dataclass(frozen=True)
class OutOfFoldPredictions:
    """Predictions of one config, or of an ensemble, for rows that the networks in question never saw.

    Args:
        rows: row numbers in the table, counted from 0, ascending, `(n,)`.
        log_proba: log probabilities, `(n, n_classes)`, float64, or float32 where they are kept in a model.
        y: class codes, `(n,)`.
        weight: row weights, `(n,)`.
        fold_ids: the fold of each row, `(n,)`: what is chosen for a row is chosen on the rows of other folds.
        group_ids: the group of each row, `(n,)`, numbered from 0 without gaps: rows of one group may be alike.
    """

    rows: IntArray
    log_proba: NDArray[Any]
    y: IntArray
    weight: FloatArray
    fold_ids: IntArray
    group_ids: IntArray

    @property
    def n_folds(self) -> int:
        """Number of folds that these rows are in."""
        return len(np.unique(self.fold_ids))

    def take(self, positions: IntArray) -> OutOfFoldPredictions:
        """Return the predictions at some positions, `(m,)`."""
        arrays = {name: array[positions] for name, array in vars(self).items()}
        arrays["group_ids"] = np.unique(arrays["group_ids"], return_inverse=True)[1]
        return OutOfFoldPredictions(**arrays)

    def as_float64(self) -> OutOfFoldPredictions:
        """Return the predictions in double precision."""
        return replace(self, log_proba=self.log_proba.astype(np.float64))

    def losses(self) -> FloatArray:
        """Return the log loss of every row, `(n,)`."""
        return -self.log_proba[np.arange(len(self.y)), self.y]

    def folds(self) -> Iterator[tuple[BoolArray, BoolArray]]:
        """Yield for each fold which rows, `(n,)`, are in it, and which are in the others."""
        for fold in np.unique(self.fold_ids):
            inside = self.fold_ids == fold
            yield inside, ~inside

    def folds_to_choose_for(self) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield for each fold the positions of its rows, and of those that choose for it: other folds', or its own."""
        for inside, outside in self.folds():
            yield np.flatnonzero(inside), np.flatnonzero(outside if outside.any() else inside)

"""Which rows of its training table each member of a model was tested on, and so never saw."""

from __future__ import annotations

import numpy as np

from tabcohort.data.splits import make_splits
from tabcohort.data.table import Table
from tabcohort.evaluation.out_of_fold import MAX_FOLDS
from tabcohort.model.predictor import Predictor
from tabcohort.types import IntArray


def rows_of_folds(predictor: Predictor, table: Table, n_repeats: int = 1) -> list[list[IntArray]]:
    """Return the rows that the members of each repeat (first list) and fold (second) were tested on.

    A model does not keep the times of its rows. Where it was trained on folds in time, and the table is read again
    without them, the folds are those of its out-of-fold predictions; they are empty if these do not tell folds apart.

    Args:
        predictor: the model.
        table: that it was trained on.
        n_repeats: how many repeats, at most `predictor.report.n_seeds`.
    """
    n_folds, predictions = predictor.report.n_folds, predictor.out_of_fold
    config = predictor.report.configs[0].config
    first = make_splits(table, config, n_folds)
    if np.array_equal(first.fold_ids()[predictions.rows] % MAX_FOLDS, predictions.fold_ids):
        splitters = [first, *(make_splits(table, config, n_folds, repeat) for repeat in range(1, n_repeats))]
        return [[splitter.split(fold).test for fold in range(n_folds)] for splitter in splitters]
    periods = np.unique(predictions.fold_ids)
    if len(periods) != n_folds or n_folds > MAX_FOLDS - 2:
        return [[np.empty(0, dtype=np.int64)] * n_folds] * n_repeats
    by_period = [predictions.rows[predictions.fold_ids == period] for period in periods]
    return [by_period] * n_repeats  # every repeat has the same folds in time


def members_tested_on(predictor: Predictor, table: Table, rows: IntArray) -> list[list[int]]:
    """Return for each row the places in `predictor.models` of the members that were tested on it.

    They neither trained nor validated on it, whatever other members did.

    Args:
        predictor: the model.
        table: that it was trained on.
        rows: of the table, `(n,)`.

    Returns:
        A list for each row, which is empty where no member of the model was tested on it, or where that is not known.
    """
    by_repeat = rows_of_folds(predictor, table, predictor.report.n_seeds)
    members: list[list[int]] = [[] for _ in rows]
    for place, number in enumerate(predictor.members):
        report = predictor.report.members[number]
        for row in np.flatnonzero(np.isin(rows, by_repeat[report.repeat][report.fold])).tolist():
            members[row].append(place)
    return members

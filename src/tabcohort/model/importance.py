"""Permutation importance, out of fold: how much the log loss grows when a column says nothing about its row.

Breiman (2001), with the rows that each network was tested on in the place of a forest's out-of-bag rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tabcohort.data.inputs import input_places
from tabcohort.data.table import Table
from tabcohort.evaluation.intervals import Z95, Estimate, mean_estimate, standard_error_of_mean
from tabcohort.evaluation.metrics import log_probabilities, safe_log
from tabcohort.model.explainer import Ensemble
from tabcohort.model.predictor import Predictor
from tabcohort.model.tested import rows_of_folds
from tabcohort.types import FloatArray, IntArray

MAX_ROWS = 2_000  # that importances are measured on
N_PERMUTATIONS = 3


@dataclass(frozen=True)
class TestedRows:
    """Rows that networks were tested on.

    Args:
        X: their inputs, `(n, n_inputs)`.
        y: class codes, `(n,)`.
        weight: row weights, `(n,)`.
        fold: whose networks were tested on each, `(n,)`.
        rows: of the table, `(n,)`.
    """

    __test__ = False  # for pytest, which takes every class of such a name for tests

    X: FloatArray
    y: IntArray
    weight: FloatArray
    fold: IntArray
    rows: IntArray


def sample_tested_rows(predictor: Predictor, table: Table, max_rows: int = MAX_ROWS) -> TestedRows:
    """Return a sample of the rows that the networks of a model's first seed were tested on.

    Args:
        predictor: the model.
        table: that it was trained on.
        max_rows: the size of the sample.
    """
    config = predictor.report.configs[0].config
    tested = rows_of_folds(predictor, table)[0]
    rows, fold = np.concatenate(tested), np.repeat(np.arange(len(tested)), [len(own) for own in tested])
    kept = np.sort(np.random.default_rng(config.seed).permutation(len(rows))[:max_rows])
    rows = rows[kept]
    return TestedRows(table.inputs(rows), table.y[rows], table.weight[rows], fold[kept], rows)


def permutation_importances(predictor: Predictor, tested: TestedRows) -> dict[str, float]:
    """Return by how much the log loss grows, in nats, when the cells of a column are permuted, by its name.

    Each network predicts rows that it was tested on, and cells are permuted among these. A column that says nothing
    about the target has about 0, which may be negative; of two columns that say the same each may have little.

    Args:
        predictor: the model.
        tested: rows that its networks were tested on.
    """
    columns = predictor.schema.columns
    increases = loss_increases(predictor, tested, [[place] for place in range(len(columns))])
    has_networks = ~np.isnan(increases[0])
    total = tested.weight[has_networks].sum()
    if not total:  # no fold of the first seed has a network in the ensemble
        return dict.fromkeys((column.name for column in columns), float("nan"))
    means = increases[:, has_networks] @ tested.weight[has_networks] / total
    return {column.name: float(mean) for column, mean in zip(columns, means, strict=True)}


def importance_estimates(
    predictor: Predictor, tested: TestedRows, players: Sequence[Sequence[int]], group_ids: IntArray | None = None
) -> list[Estimate]:
    """Return the importance of each player with its 95 % interval, for other rows and other networks of the same kind.

    Rows vary, and so do the networks of the folds: what fold means differ by beyond the variation of their rows is the
    variance between folds of DerSimonian & Laird (1986).

    Args:
        predictor: the model.
        tested: rows that its networks were tested on.
        players: places of columns that are permuted together, each one or more.
        group_ids: the group of each row, `(n,)`: rows of one group may be alike.
    """
    increases = loss_increases(predictor, tested, players)
    known = ~np.isnan(increases[0])
    groups = np.arange(len(known)) if group_ids is None else group_ids
    rows_of_folds = [np.flatnonzero(known & (tested.fold == fold)) for fold in np.unique(tested.fold[known])]
    estimates = []
    for own in increases:
        estimate = mean_estimate(own[known], tested.weight[known], groups[known])
        between = Z95**2 * _variance_between_folds(own, tested.weight, groups, rows_of_folds)
        half_width = math.sqrt((estimate.high - estimate.value) ** 2 + between)
        estimates.append(Estimate(estimate.value, estimate.value - half_width, estimate.value + half_width))
    return estimates


def _variance_between_folds(
    increases: FloatArray, weight: FloatArray, group_ids: IntArray, rows_of_folds: Sequence[IntArray]
) -> float:
    """Return what the variance between folds adds to the variance of the mean over all rows."""
    means = np.array([np.average(increases[rows], weights=weight[rows]) for rows in rows_of_folds])
    variances = np.array(
        [standard_error_of_mean(increases[rows], weight[rows], group_ids[rows]) ** 2 for rows in rows_of_folds]
    )
    if len(means) < 2 or not (variances > 0).all():
        return 0.0
    precision = 1 / variances
    mean = np.average(means, weights=precision)
    excess = (precision * (means - mean) ** 2).sum() - (len(means) - 1)
    variance = max(0.0, excess / (precision.sum() - (precision**2).sum() / precision.sum()))
    share = np.array([weight[rows].sum() for rows in rows_of_folds])
    return float(variance * ((share / share.sum()) ** 2).sum())


def loss_increases(predictor: Predictor, tested: TestedRows, players: Sequence[Sequence[int]]) -> FloatArray:
    """Return by how much the log loss of each row grows when the cells of columns are permuted, `(n_players, n)`.

    It is the mean over several permutations, and NaN where a row's fold has no network.

    Args:
        predictor: the model.
        tested: rows that its networks were tested on.
        players: places of columns that are permuted together.
    """
    places = input_places(predictor.schema.columns)
    inputs = [[place for column in player for place in places[column].inputs] for player in players]
    rng = np.random.default_rng(predictor.report.configs[0].config.seed)
    increases = np.full((len(players), len(tested.y)), np.nan)
    for fold in np.unique(tested.fold).tolist():
        networks = _fold_ensemble(predictor, fold)
        if networks is None:  # training ended before they had any weights
            continue
        rows = np.flatnonzero(tested.fold == fold)
        X, y = tested.X[rows], tested.y[rows]
        before = _losses(networks, X, y)
        for player, own in enumerate(inputs):
            total = np.zeros(len(rows))
            for _ in range(N_PERMUTATIONS):
                permuted = X.copy()
                permuted[:, own] = X[rng.permutation(len(X))][:, own]
                total += _losses(networks, permuted, y) - before
            increases[player, rows] = total / N_PERMUTATIONS
    return increases


def _fold_ensemble(predictor: Predictor, fold: int) -> Ensemble | None:
    """Return the networks of the first seed that were tested on a fold, one of each config; None without any."""
    reports = [predictor.report.members[number] for number in predictor.members]
    own = [place for place, report in enumerate(reports) if (report.repeat, report.fold) == (0, fold)]
    return predictor.ensemble_of(own) if own else None


def _losses(ensemble: Ensemble, X: FloatArray, y: IntArray) -> FloatArray:
    """Return the log loss of each row, `(n,)`."""
    logits = ensemble.inference.logits(X)
    proba = np.exp([log_probabilities(logits[:, place]) for place in range(len(ensemble.weights))])
    mean = np.tensordot(ensemble.weights, proba, axes=1)
    return -ensemble.calibrator.apply(safe_log(mean))[np.arange(len(y)), y]

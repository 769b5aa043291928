"""Out-of-fold predictions: which rows, in which folds and groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from tabcohort.evaluation.metrics import log_loss
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.types import FloatArray, IntArray


def predictions_of(
    log_proba: FloatArray,
    y: IntArray,
    weight: FloatArray | None = None,
    fold_ids: IntArray | None = None,
    group_ids: IntArray | None = None,
) -> OutOfFoldPredictions:
    """Return predictions for the first rows of a table, of weight 1, in one fold and independent when omitted."""
    n_rows = len(y)
    return OutOfFoldPredictions(
        np.arange(n_rows),
        log_proba,
        y,
        np.ones(n_rows) if weight is None else weight,
        np.zeros(n_rows, dtype=np.int64) if fold_ids is None else fold_ids,
        np.arange(n_rows) if group_ids is None else group_ids,
    )


def noisy_predictions(
    n_rows: int, n_classes: int = 2, seed: int = 0, n_folds: int = 1, has_weights: bool = True
) -> OutOfFoldPredictions:
    """Return predictions that are right more often than not, for rows whose folds take turns."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_rows)
    log_proba = log_softmax(rng.normal(0, 1, (n_rows, n_classes)) + 1.5 * np.eye(n_classes)[y], axis=1)
    weight = rng.uniform(0.5, 2.0, n_rows) if has_weights else None
    return predictions_of(log_proba, y, weight, np.arange(n_rows) % n_folds)


def test_losses_are_those_of_the_rows() -> None:
    predictions = noisy_predictions(40, 3)
    expected = [-log_proba[code] for log_proba, code in zip(predictions.log_proba, predictions.y, strict=True)]
    np.testing.assert_array_equal(predictions.losses(), expected)
    mean = log_loss(predictions.log_proba, predictions.y, predictions.weight)
    assert np.average(predictions.losses(), weights=predictions.weight) == pytest.approx(mean)


def test_every_row_is_in_one_fold_and_in_the_others_of_all_other_folds() -> None:
    fold_ids = np.array([7, 2, 2, -1, 7, 7])  # any numbers; -1 where a row always trains
    predictions = predictions_of(np.zeros((6, 2)), np.zeros(6, dtype=np.int64), fold_ids=fold_ids)
    assert predictions.n_folds == 3
    folds = list(predictions.folds())
    assert [np.flatnonzero(inside).tolist() for inside, _ in folds] == [[3], [1, 2], [0, 4, 5]]
    for inside, outside in folds:
        np.testing.assert_array_equal(outside, ~inside)
    chosen = [(rows.tolist(), choosers.tolist()) for rows, choosers in predictions.folds_to_choose_for()]
    assert chosen == [([3], [0, 1, 2, 4, 5]), ([1, 2], [0, 3, 4, 5]), ([0, 4, 5], [1, 2, 3])]


def test_the_rows_of_a_single_fold_choose_for_themselves() -> None:
    predictions = predictions_of(np.zeros((3, 2)), np.zeros(3, dtype=np.int64), fold_ids=np.full(3, 4))
    ((rows, choosers),) = predictions.folds_to_choose_for()
    assert (rows.tolist(), choosers.tolist()) == ([0, 1, 2], [0, 1, 2])


def test_rows_that_are_taken_keep_all_they_have_and_their_groups_are_numbered_anew() -> None:
    predictions = OutOfFoldPredictions(
        rows=np.array([3, 5, 8, 9]),
        log_proba=np.log([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]]),
        y=np.array([0, 1, 1, 0]),
        weight=np.array([1.0, 2.0, 3.0, 4.0]),
        fold_ids=np.array([0, 1, 2, 0]),
        group_ids=np.array([0, 1, 2, 1]),
    )
    taken = predictions.take(np.array([1, 2, 3]))
    np.testing.assert_array_equal(taken.group_ids, [0, 1, 0])
    for name in ("rows", "log_proba", "y", "weight", "fold_ids"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(predictions, name)[1:], err_msg=name)
    assert taken.n_folds == 3
    assert predictions.take(np.array([0, 3])).n_folds == 1


def test_predictions_that_a_model_keeps_become_double_precision_again() -> None:
    predictions = noisy_predictions(20)
    kept = predictions_of(predictions.log_proba.astype(np.float32), predictions.y, predictions.weight)
    double = kept.as_float64()
    assert double.log_proba.dtype == np.float64
    np.testing.assert_array_equal(double.log_proba, kept.log_proba)
    assert double.weight is kept.weight

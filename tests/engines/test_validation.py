"""The validation rows: an epoch's loss and accuracy are those of scikit-learn, however many epochs come at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, roc_auc_score

from tabcohort.engines.validation import EpochResult, ValidationSet
from tabcohort.errors import TrainingError

N_ROWS = 40


def validation_set(n_classes: int = 2, n_rows: int = N_ROWS, positive: int | None = 1, seed: int = 0) -> ValidationSet:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n_rows) % n_classes)
    return ValidationSet(np.arange(n_rows), y, rng.uniform(0.5, 2.0, n_rows), positive)


def logits_of(validation: ValidationSet, n_outputs: int, n_epochs: int = 3, dtype: Any = np.float64) -> Any:
    rng = np.random.default_rng(1)
    return rng.normal(0, 2, (n_epochs, len(validation.rows), n_outputs)).astype(dtype)


def probabilities(logits: Any) -> Any:
    """Return `(n_rows, n_classes)` from logits of either kind."""
    if logits.shape[1] == 1:
        return np.column_stack([expit(-logits[:, 0]), expit(logits[:, 0])])
    return softmax(logits.astype(np.float64), axis=1)


@pytest.mark.parametrize(("n_classes", "n_outputs"), [(2, 1), (2, 2), (3, 3), (5, 5)])
def test_losses_and_accuracies_are_those_of_scikit_learn(n_classes: int, n_outputs: int) -> None:
    validation = validation_set(n_classes)
    logits = logits_of(validation, n_outputs)
    step_losses = np.arange(6.0).reshape(3, 2)
    results = validation.results(step_losses, logits, n_train=10)
    assert len(results) == 3
    for epoch, result in enumerate(results):
        proba, labels = probabilities(logits[epoch]), np.arange(n_classes)
        expected = log_loss(validation.y, proba, sample_weight=validation.weight, labels=labels)
        assert result.val_loss == pytest.approx(expected, rel=1e-12)
        accuracy = accuracy_score(validation.y, proba.argmax(axis=1), sample_weight=validation.weight)
        assert result.val_accuracy == pytest.approx(accuracy, rel=1e-12)
        assert result.train_loss == step_losses[epoch].sum() / 10
        np.testing.assert_array_equal(result.step_losses, step_losses[epoch])
        np.testing.assert_array_equal(result.val_logits, logits[epoch])
        assert result.is_finite


@given(st.integers(1, 40), st.integers(1, 30), st.sampled_from([1, 2, 3]), st.sampled_from([np.float32, np.float64]))
@hypothesis_settings(max_examples=60, deadline=None)
def test_the_results_of_several_epochs_have_the_bits_of_one_by_one(
    n_rows: int, n_epochs: int, n_outputs: int, dtype: Any
) -> None:
    """An engine that runs ahead measures many epochs together; the history must not show how many."""
    validation = validation_set(max(2, n_outputs), n_rows)
    logits = logits_of(validation, n_outputs, n_epochs, dtype)
    step_losses = np.random.default_rng(2).uniform(0, 9, (n_epochs, 3))
    together = validation.results(step_losses, logits, 7)
    for epoch, result in enumerate(together):
        (alone,) = validation.results(step_losses[epoch : epoch + 1], logits[epoch : epoch + 1], 7)
        assert result[2:] == alone[2:]


def test_logits_of_two_outputs_and_of_one_have_the_same_loss() -> None:
    validation = validation_set()
    logits = logits_of(validation, 1)
    both = np.concatenate([np.zeros_like(logits), logits], axis=2)
    for one, two in zip(validation.results(np.ones((3, 1)), logits, 1), validation.results(np.ones((3, 1)), both, 1),
                        strict=True):  # fmt: skip
        assert one.val_loss == pytest.approx(two.val_loss, rel=1e-14)
        assert one.val_accuracy == two.val_accuracy


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_logit_that_is_not_finite_makes_only_its_epoch_not_finite(n_outputs: int, bad: float) -> None:
    """Also minus infinity for a row of the first class, whose loss would be 0."""
    validation = validation_set(max(2, n_outputs))
    logits = logits_of(validation, n_outputs)
    row = int(np.flatnonzero(validation.y == (0 if bad < 0 else 1))[0])
    logits[1, row, 0] = bad
    results = validation.results(np.ones((3, 2)), logits, 1)
    assert [result.is_finite for result in results] == [True, False, True]
    assert math.isnan(results[1].val_loss)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_loss_that_is_not_finite_makes_its_epoch_not_finite(bad: float) -> None:
    validation = validation_set()
    results = validation.results(np.array([[1.0, 1.0], [1.0, bad], [bad, 1.0]]), logits_of(validation, 1), 1)
    assert [result.is_finite for result in results] == [True, False, False]


def test_extreme_logits_have_a_finite_loss() -> None:
    validation = ValidationSet(np.arange(2), np.array([0, 1]), np.ones(2), None)
    (result,) = validation.results(np.zeros((1, 1)), np.array([[[1e4], [1e4]]]), 1)
    assert result.val_loss == 5e3
    assert result.val_accuracy == 0.5


# The monitored metric


def result_of(validation: ValidationSet, logits: Any) -> EpochResult:
    return validation.results(np.zeros((1, 1)), np.asarray(logits)[None], 1)[0]


def test_the_score_is_the_monitored_metric() -> None:
    validation = validation_set()
    logits = logits_of(validation, 1)[0]
    result, y, weight = result_of(validation, logits), validation.y, validation.weight
    assert validation.score(result, "log_loss") == result.val_loss
    assert validation.score(result, "accuracy") == result.val_accuracy
    expected = roc_auc_score(y, logits[:, 0], sample_weight=weight)
    assert validation.score(result, "roc_auc") == pytest.approx(expected, rel=1e-12)
    expected = balanced_accuracy_score(y, logits[:, 0] > 0, sample_weight=weight)
    assert validation.score(result, "balanced_accuracy") == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("monitor", ["roc_auc", "balanced_accuracy", "sensitivity"])
def test_a_metric_that_the_rows_cannot_determine_is_an_error(monitor: str) -> None:
    validation = ValidationSet(np.arange(3), np.zeros(3, np.int64), np.ones(3), 1)
    words = (
        rf"^the validation rows cannot determine '{monitor}' \(a class is missing among them, or no class is named "
        r"positive\); monitor 'log_loss' instead$"
    )
    with pytest.raises(TrainingError, match=words):
        validation.score(result_of(validation, np.zeros((3, 1))), monitor)


@pytest.mark.parametrize("monitor", ["f1", "sensitivity", "precision"])
def test_a_metric_of_the_positive_class_without_one_is_an_error(monitor: str) -> None:
    validation = validation_set(positive=None)
    with pytest.raises(TrainingError, match=f"^the validation rows cannot determine '{monitor}' "):
        validation.score(result_of(validation, logits_of(validation, 1)[0]), monitor)

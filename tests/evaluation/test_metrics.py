"""Metrics against scikit-learn, and log probabilities against plain formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.preprocessing import label_binarize
from threadpoolctl import threadpool_limits

from tabcohort.evaluation.metrics import METRICS, Scorer, log_loss, log_probabilities
from tabcohort.types import FloatArray, IntArray


def rows(n_rows: int, n_classes: int, seed: int) -> tuple[FloatArray, IntArray, FloatArray]:
    """Logits with many ties, class codes of every class, and uneven weights."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n_rows - n_classes)])
    n_outputs = 1 if n_classes == 2 else n_classes
    logits = rng.normal(size=(n_rows, n_outputs))
    if n_outputs == 1:
        logits += y[:, None] - 0.5
    else:
        logits[np.arange(n_rows), y] += 1
    return np.round(logits, 1), y, rng.uniform(0.2, 3, n_rows)


def calibration_error_by_hand(proba: FloatArray, y: IntArray, weight: FloatArray) -> float:
    """The sum over bins of the share of the weight in a bin times |accuracy - mean confidence| there (Guo 2017)."""
    confidence, right = proba.max(axis=1), proba.argmax(axis=1) == y
    total = 0.0
    for low in range(15):
        inside = (confidence >= low / 15) & ((confidence < (low + 1) / 15) | (low == 14))
        if inside.any():
            gap = np.average(right[inside], weights=weight[inside]) - np.average(
                confidence[inside], weights=weight[inside]
            )
            total += weight[inside].sum() / weight.sum() * abs(gap)
    return total


@given(st.integers(8, 80), st.integers(0, 10_000), st.sampled_from([0, 1]))
@hypothesis_settings(max_examples=25, deadline=None)
def test_metrics_of_two_classes_are_those_of_scikit_learn(n_rows: int, seed: int, positive: int) -> None:
    logits, y, weight = rows(n_rows, 2, seed)
    log_proba = log_probabilities(logits)
    proba = np.exp(log_proba)
    found = Scorer(log_proba, y, positive).metrics(weight)
    predicted, score, truth = proba.argmax(axis=1), proba[:, positive], (y == positive).astype(int)
    of_positive = {"sample_weight": weight, "pos_label": positive, "zero_division": np.nan}
    expected = {
        "accuracy": sk.accuracy_score(y, predicted, sample_weight=weight),
        "balanced_accuracy": sk.balanced_accuracy_score(y, predicted, sample_weight=weight),
        "roc_auc": sk.roc_auc_score(truth, score, sample_weight=weight),
        "pr_auc": sk.average_precision_score(truth, score, sample_weight=weight),
        "log_loss": sk.log_loss(y, proba, sample_weight=weight),
        "brier": sk.brier_score_loss(truth, score, sample_weight=weight),
        "ece": calibration_error_by_hand(proba, y, weight),
        "sensitivity": sk.recall_score(y, predicted, **of_positive),
        "specificity": sk.recall_score(y, predicted, **{**of_positive, "pos_label": 1 - positive}),
        "precision": sk.precision_score(y, predicted, **of_positive),
        "f1": sk.f1_score(y, predicted, **of_positive),
    }
    assert list(found) == list(METRICS) == list(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


@given(st.integers(12, 80), st.integers(3, 5), st.integers(0, 10_000))
@hypothesis_settings(max_examples=25, deadline=None)
def test_metrics_of_more_classes_are_those_of_scikit_learn(n_rows: int, n_classes: int, seed: int) -> None:
    logits, y, weight = rows(n_rows, n_classes, seed)
    log_proba = log_probabilities(logits)
    proba = np.exp(log_proba)
    found = Scorer(log_proba, y, None).metrics(weight)
    predicted, truth = proba.argmax(axis=1), label_binarize(y, classes=range(n_classes))
    expected = {
        "accuracy": sk.accuracy_score(y, predicted, sample_weight=weight),
        "balanced_accuracy": sk.balanced_accuracy_score(y, predicted, sample_weight=weight),
        "roc_auc": sk.roc_auc_score(truth, log_proba, sample_weight=weight, average="macro"),
        "pr_auc": sk.average_precision_score(truth, log_proba, sample_weight=weight, average="macro"),
        "log_loss": sk.log_loss(y, proba, sample_weight=weight),
        "brier": np.average(np.square(proba - truth).sum(axis=1), weights=weight),
        "ece": calibration_error_by_hand(proba, y, weight),
    }
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_a_named_class_of_many_is_measured_against_the_rest() -> None:
    logits, y, weight = rows(60, 4, 3)
    log_proba = log_probabilities(logits)
    found = Scorer(log_proba, y, 2).metrics(weight)
    truth, predicted = y == 2, log_proba.argmax(axis=1) == 2
    assert found["sensitivity"] == pytest.approx(sk.recall_score(truth, predicted, sample_weight=weight))
    assert found["specificity"] == pytest.approx(sk.recall_score(~truth, ~predicted, sample_weight=weight))
    assert found["precision"] == pytest.approx(sk.precision_score(truth, predicted, sample_weight=weight))
    assert found["f1"] == pytest.approx(sk.f1_score(truth, predicted, sample_weight=weight))


def test_whole_weights_are_repeated_rows() -> None:
    logits, y, _ = rows(40, 3, 2)
    times = np.random.default_rng(0).integers(1, 4, 40)
    weighted = Scorer(log_probabilities(logits), y, 1).metrics(times.astype(float))
    repeated = np.repeat(np.arange(40), times)
    rowwise = Scorer(log_probabilities(logits[repeated]), y[repeated], 1).metrics(np.ones(times.sum()))
    assert weighted == pytest.approx(rowwise, abs=1e-12)


@pytest.mark.parametrize(("n_classes", "positive"), [(2, 1), (2, 0), (4, 2), (3, None)])
def test_influences_are_the_derivatives_by_the_weights(n_classes: int, positive: int | None) -> None:
    logits, y, weight = rows(40, n_classes, 7)
    called = np.random.default_rng(0).integers(n_classes, size=40)
    scorer = Scorer(log_probabilities(logits), y, positive, called)
    found, step = scorer.influences(weight), 1e-5
    assert list(found) == list(scorer.metrics(weight))
    for row in range(40):
        change = np.where(np.arange(40) == row, step, 0.0)
        above, below = scorer.metrics(weight + change), scorer.metrics(weight - change)
        for name, derivative in found.items():
            assert derivative[row] == pytest.approx((above[name] - below[name]) / (2 * step), abs=1e-8), name
    for name, derivative in found.items():
        assert weight @ derivative == pytest.approx(0, abs=1e-12), f"only the ratios of weights matter to {name}"


def test_influences_on_a_metric_that_the_rows_cannot_tell_are_nan() -> None:
    logits, y, weight = rows(20, 2, 0)
    found = Scorer(log_probabilities(logits), np.zeros_like(y), 1).influences(weight)
    assert {name for name, each in found.items() if np.isnan(each).all()} == {
        "balanced_accuracy", "roc_auc", "pr_auc", "sensitivity",
    }  # fmt: skip
    assert all(np.isfinite(each).all() or np.isnan(each).all() for each in found.values())


# Log probabilities and log loss


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_extreme_logits_give_finite_log_probabilities(dtype: type, size: float) -> None:
    with np.errstate(all="raise", under="ignore"):
        binary = log_probabilities(np.array([[size], [-size], [0.0]], dtype))
        several = log_probabilities(np.array([[size, -size, 0.0]], dtype))
    size = float(dtype(size))
    np.testing.assert_allclose(binary, [[-size, 0], [0, -size], [-np.log(2)] * 2])
    np.testing.assert_allclose(several, [[0, -2 * size, -size]])


def test_log_probabilities_agree_with_the_plain_formula_where_it_is_exact() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 4))
    plain = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(log_probabilities(logits), np.log(plain), rtol=1e-12)
    np.testing.assert_allclose(
        log_probabilities(logits[:, :1]), log_probabilities(np.column_stack([np.zeros(50), logits[:, 0]]))
    )


def test_log_loss_has_the_same_bits_on_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    log_proba, y, weight = -rng.random((50_000, 2)), rng.integers(2, size=50_000), rng.random(50_000)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(log_loss(log_proba, y, weight))
    assert found[0] == found[1]


def test_what_rows_are_called_counts_where_calls_are_counted() -> None:
    logits, y, weight = rows(60, 2, 5)
    log_proba = log_probabilities(logits)
    called = (np.exp(log_proba[:, 1]) >= 0.2).astype(np.int64)
    found = Scorer(log_proba, y, 1, called).metrics(weight)
    expected = {
        "accuracy": sk.accuracy_score(y, called, sample_weight=weight),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called, sample_weight=weight),
        "sensitivity": sk.recall_score(y, called, sample_weight=weight),
        "specificity": sk.recall_score(y, called, sample_weight=weight, pos_label=0),
        "precision": sk.precision_score(y, called, sample_weight=weight),
        "f1": sk.f1_score(y, called, sample_weight=weight),
    }
    plain = Scorer(log_proba, y, 1).metrics(weight)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name
        assert found[name] != plain[name], name
    for name in found.keys() - expected.keys():  # of probabilities, which the calls leave as they are
        assert found[name] == plain[name], name

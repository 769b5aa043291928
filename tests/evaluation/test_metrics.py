"""Metrics against scikit-learn, their influences against differences, and a metric that a test adds itself."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from helpers import config_of, fit_quickly, logits_of, table_of, trained_on
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats
from sklearn import metrics as sk
from sklearn.preprocessing import label_binarize
from threadpoolctl import threadpool_limits

from tabcohort import Config, SettingsError, TrainingError
from tabcohort.evaluation.evaluate import evaluate
from tabcohort.evaluation.intervals import Z95
from tabcohort.evaluation.metrics import (
    METRICS,
    Metric,
    Scorer,
    WeightedScorer,
    calibration_error,
    log_loss,
    log_probabilities,
    safe_log,
)
from tabcohort.model.facts import facts
from tabcohort.reporting.terminal import print_model
from tabcohort.types import FloatArray, IntArray


def rows_of(n_rows: int, n_classes: int, seed: int) -> tuple[FloatArray, IntArray, FloatArray]:
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
    confidence, correct = proba.max(axis=1), proba.argmax(axis=1) == y
    total = 0.0
    for low in range(15):
        inside = (confidence >= low / 15) & ((confidence < (low + 1) / 15) | (low == 14))
        if inside.any():
            accuracy, mean = (np.average(values[inside], weights=weight[inside]) for values in (correct, confidence))
            total += weight[inside].sum() / weight.sum() * abs(accuracy - mean)
    return total


def test_the_calibration_error_in_closed_form() -> None:
    """Ten rows of confidence 0.8, 7 of them right, and ten of 0.6, 9 right: |0.7 - 0.8| / 2 + |0.9 - 0.6| / 2."""
    positive = np.repeat([0.8, 0.4], 10)
    y = np.concatenate([np.arange(10) < 7, np.arange(10) >= 9]).astype(int)
    log_proba = np.log(np.column_stack([1 - positive, positive]))
    assert calibration_error(log_proba, y, np.ones(20)) == pytest.approx(0.2)
    weight = np.repeat([3.0, 1.0], 10)
    assert calibration_error(log_proba, y, weight) == pytest.approx(0.1 * 3 / 4 + 0.3 / 4)


@given(st.integers(8, 80), st.integers(0, 10_000), st.sampled_from([0, 1]))
@hypothesis_settings(max_examples=25, deadline=None)
def test_metrics_of_two_classes_are_those_of_scikit_learn(n_rows: int, seed: int, positive: int) -> None:
    logits, y, weight = rows_of(n_rows, 2, seed)
    log_proba = log_probabilities(logits)
    proba = np.exp(log_proba)
    values = Scorer(log_proba, y, positive).metrics(weight)
    y_pred, score, truth = proba.argmax(axis=1), proba[:, positive], (y == positive).astype(int)
    of_positive = {"sample_weight": weight, "pos_label": positive, "zero_division": np.nan}
    expected = {
        "accuracy": sk.accuracy_score(y, y_pred, sample_weight=weight),
        "balanced_accuracy": sk.balanced_accuracy_score(y, y_pred, sample_weight=weight),
        "roc_auc": sk.roc_auc_score(truth, score, sample_weight=weight),
        "pr_auc": sk.average_precision_score(truth, score, sample_weight=weight),
        "log_loss": sk.log_loss(y, proba, sample_weight=weight),
        "brier": sk.brier_score_loss(truth, score, sample_weight=weight),
        "ece": calibration_error_by_hand(proba, y, weight),
        "sensitivity": sk.recall_score(y, y_pred, **of_positive),
        "specificity": sk.recall_score(y, y_pred, **{**of_positive, "pos_label": 1 - positive}),
        "precision": sk.precision_score(y, y_pred, **of_positive),
        "f1": sk.f1_score(y, y_pred, **of_positive),
    }
    assert list(values) == list(METRICS) == list(expected)
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name
    assert log_loss(log_proba, y, weight) == pytest.approx(expected["log_loss"], abs=1e-12)
    assert calibration_error(log_proba, y, weight) == pytest.approx(expected["ece"], abs=1e-12)


@given(st.integers(12, 80), st.integers(3, 5), st.integers(0, 10_000))
@hypothesis_settings(max_examples=25, deadline=None)
def test_metrics_of_more_classes_are_those_of_scikit_learn(n_rows: int, n_classes: int, seed: int) -> None:
    logits, y, weight = rows_of(n_rows, n_classes, seed)
    log_proba = log_probabilities(logits)
    proba = np.exp(log_proba)
    values = Scorer(log_proba, y, None).metrics(weight)
    y_pred, truth = proba.argmax(axis=1), label_binarize(y, classes=range(n_classes))
    expected = {
        "accuracy": sk.accuracy_score(y, y_pred, sample_weight=weight),
        "balanced_accuracy": sk.balanced_accuracy_score(y, y_pred, sample_weight=weight),
        "roc_auc": sk.roc_auc_score(truth, log_proba, sample_weight=weight, average="macro"),
        "pr_auc": sk.average_precision_score(truth, log_proba, sample_weight=weight, average="macro"),
        "log_loss": sk.log_loss(y, proba, sample_weight=weight),
        "brier": np.average(np.square(proba - truth).sum(axis=1), weights=weight),
        "ece": calibration_error_by_hand(proba, y, weight),
    }
    assert list(values) == list(expected)
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("n_classes", [2, 70])
def test_rows_that_are_measured_in_parts_and_ranks_that_are_not_kept_give_the_same_bits(
    n_classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, y, weight = rows_of(300, n_classes, 4)

    def measured() -> tuple[dict[str, float], list[bytes]]:
        scorer = Scorer(log_probabilities(logits), y, None)
        scores = scorer.weighted(weight)
        influences = [metric.influence(scores).tobytes() for metric in scorer.available().values()]
        return scorer.metrics(weight), influences

    whole = measured()
    monkeypatch.setattr("tabcohort.evaluation.metrics.CELLS_AT_ONCE", 7 * n_classes)
    monkeypatch.setattr("tabcohort.evaluation.metrics.KEPT_CELLS", 0)
    monkeypatch.setattr("tabcohort.evaluation.ranking.COLUMNS_AT_ONCE", 3)
    assert measured() == whole


def test_a_named_class_of_many_is_measured_against_the_rest() -> None:
    logits, y, weight = rows_of(60, 4, 3)
    log_proba = log_probabilities(logits)
    values = Scorer(log_proba, y, 2).metrics(weight)
    truth, y_pred = y == 2, log_proba.argmax(axis=1) == 2
    assert values["sensitivity"] == pytest.approx(sk.recall_score(truth, y_pred, sample_weight=weight))
    assert values["specificity"] == pytest.approx(sk.recall_score(~truth, ~y_pred, sample_weight=weight))
    assert values["precision"] == pytest.approx(sk.precision_score(truth, y_pred, sample_weight=weight))
    assert values["f1"] == pytest.approx(sk.f1_score(truth, y_pred, sample_weight=weight))


def test_whole_weights_are_repeated_rows() -> None:
    logits, y, _ = rows_of(40, 3, 2)
    times = np.random.default_rng(0).integers(1, 4, 40)
    weighted = Scorer(log_probabilities(logits), y, 1).metrics(times.astype(float))
    repeated = np.repeat(np.arange(40), times)
    rowwise = Scorer(log_probabilities(logits[repeated]), y[repeated], 1).metrics(np.ones(times.sum()))
    assert weighted == pytest.approx(rowwise, abs=1e-12)


def test_predicted_classes_count_where_predictions_are_counted() -> None:
    logits, y, weight = rows_of(60, 2, 5)
    log_proba = log_probabilities(logits)
    y_pred = (np.exp(log_proba[:, 1]) >= 0.2).astype(np.int64)
    values = Scorer(log_proba, y, 1, y_pred).metrics(weight)
    expected = {
        "accuracy": sk.accuracy_score(y, y_pred, sample_weight=weight),
        "balanced_accuracy": sk.balanced_accuracy_score(y, y_pred, sample_weight=weight),
        "sensitivity": sk.recall_score(y, y_pred, sample_weight=weight),
        "specificity": sk.recall_score(y, y_pred, sample_weight=weight, pos_label=0),
        "precision": sk.precision_score(y, y_pred, sample_weight=weight),
        "f1": sk.f1_score(y, y_pred, sample_weight=weight),
    }
    plain = Scorer(log_proba, y, 1).metrics(weight)
    for name, value in expected.items():
        assert values[name] == pytest.approx(value), name
        assert values[name] != plain[name], name
    for name in values.keys() - expected.keys():  # of probabilities, which the predicted classes leave as they are
        assert values[name] == plain[name], name


def test_specificity_without_a_negative_row_is_nan_also_with_fractional_weights() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):  # a difference of sums would leave a tiny number, and often a ratio of two
        scorer = Scorer(log_probabilities(rng.normal(size=(20, 3))), np.full(20, 1), 1)
        assert math.isnan(scorer.metrics(rng.uniform(0.1, 1, 20))["specificity"])


# -- influences ------------------------------------------------------------------------------------------------------


def assert_influence_is_the_derivative(metric: Metric, scorer: Scorer, weight: FloatArray) -> None:
    """Compare an influence with central differences of the weights, and check that it sums to 0."""
    derivative, step = metric.influence(scorer.weighted(weight)), 1e-5
    assert derivative.shape == weight.shape
    for row in range(len(weight)):
        change = np.where(np.arange(len(weight)) == row, step, 0.0)
        above, below = (metric.value(scorer.weighted(weight + sign * change)) for sign in (1, -1))
        assert derivative[row] == pytest.approx((above - below) / (2 * step), abs=1e-8)
    assert weight @ derivative == pytest.approx(0, abs=1e-12), "only the ratios of weights matter"


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(("n_classes", "positive"), [(2, 1), (2, 0), (4, 2), (3, 0)])
def test_influences_are_the_derivatives_by_the_weights(name: str, n_classes: int, positive: int) -> None:
    logits, y, weight = rows_of(40, n_classes, 7)
    y_pred = np.random.default_rng(0).integers(n_classes, size=40)
    scorer = Scorer(log_probabilities(logits), y, positive, y_pred)
    assert_influence_is_the_derivative(METRICS[name], scorer, weight)
    if not METRICS[name].needs_positive:
        without = Scorer(log_probabilities(logits), y, None, y_pred)
        assert_influence_is_the_derivative(METRICS[name], without, weight)


def test_influences_on_a_metric_that_the_rows_cannot_determine_are_nan() -> None:
    logits, y, weight = rows_of(20, 2, 0)
    weighted = Scorer(log_probabilities(logits), np.zeros_like(y), 1).weighted(weight)
    with np.errstate(divide="ignore", invalid="ignore"):
        influences = {name: metric.influence(weighted) for name, metric in METRICS.items()}
    assert {name for name, influence in influences.items() if np.isnan(influence).all()} == {
        "balanced_accuracy", "roc_auc", "pr_auc", "sensitivity",
    }  # fmt: skip
    assert all(np.isfinite(influence).all() or np.isnan(influence).all() for influence in influences.values())


def test_metrics_of_a_positive_class_are_not_available_without_one() -> None:
    logits, y, _ = rows_of(20, 3, 0)
    without, named = (Scorer(log_probabilities(logits), y, positive).available() for positive in (None, 0))
    assert list(named) == list(METRICS)
    assert [name for name in METRICS if name not in without] == ["sensitivity", "specificity", "precision", "f1"]


@pytest.mark.parametrize("n_classes", [2, 4])
def test_many_row_weights_at_once_give_what_they_give_one_after_another(n_classes: int) -> None:
    logits, y, weight = rows_of(60, n_classes, 0)
    scorer = Scorer(log_probabilities(logits), y, None)
    resamples = weight * np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), size=20)
    for name, metric in METRICS.items():
        assert (metric.resampled is None) == (metric.bootstrap is None), name
        if metric.resampled is not None:
            expected = [metric.value(scorer.weighted(resample)) for resample in resamples]
            np.testing.assert_allclose(metric.resampled(scorer, resamples), expected, rtol=1e-12, err_msg=name)


# -- a metric of one's own -------------------------------------------------------------------------------------------


def matthews(scores: WeightedScorer) -> float:
    """Return Matthews' correlation of true and predicted classes, of two."""
    hit, missed, alarm, rest = scores.positive_counts
    squared = (hit + alarm) * (hit + missed) * (rest + alarm) * (rest + missed)
    return float((hit * rest - alarm * missed) / math.sqrt(squared)) if squared > 0 else math.nan


def matthews_influence(scores: WeightedScorer) -> FloatArray:
    """Return the derivative of the correlation by each row's weight: that by the weight of the row's cell."""
    hit, missed, alarm, rest = scores.positive_counts
    value, root = matthews(scores), math.sqrt((hit + alarm) * (hit + missed) * (rest + alarm) * (rest + missed))
    predicted, positive, negative, others = 1 / np.array([hit + alarm, hit + missed, rest + alarm, rest + missed])
    slopes = {
        (True, True): rest / root - value / 2 * (predicted + positive),
        (True, False): -alarm / root - value / 2 * (positive + others),
        (False, True): -missed / root - value / 2 * (predicted + negative),
        (False, False): hit / root - value / 2 * (negative + others),
    }
    of = scores.scorer
    cells = zip(of.y == of.positive, of.y_pred == of.positive, strict=True)
    return np.array([slopes[bool(is_positive), bool(is_predicted)] for is_positive, is_predicted in cells])


MATTHEWS = Metric("Matthews correlation", False, matthews, matthews_influence, lowest=-1.0, needs_positive=True)


@pytest.fixture
def with_matthews(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add Matthews' correlation to the metrics, as anybody would: one entry."""
    monkeypatch.setitem(METRICS, "matthews", MATTHEWS)


@pytest.mark.parametrize("positive", [0, 1])
def test_the_metric_of_ones_own_is_that_of_scikit_learn_and_its_influence_the_derivative(positive: int) -> None:
    logits, y, weight = rows_of(40, 2, 7)
    scorer = Scorer(log_probabilities(logits), y, positive)
    expected = sk.matthews_corrcoef(y, log_probabilities(logits).argmax(axis=1), sample_weight=weight)
    assert MATTHEWS.value(scorer.weighted(weight)) == pytest.approx(expected)
    assert_influence_is_the_derivative(MATTHEWS, scorer, weight)


@pytest.mark.usefixtures("with_matthews")
def test_a_metric_of_ones_own_is_evaluated_with_the_interval_of_the_jackknife() -> None:
    logits, y, weight = rows_of(80, 2, 1)
    evaluation = evaluate(logits, y, weight, 1)
    assert list(evaluation.metrics) == [*METRICS]
    estimate = evaluation.metrics["matthews"]
    y_pred = log_probabilities(logits).argmax(axis=1)
    assert estimate.value == pytest.approx(sk.matthews_corrcoef(y, y_pred, sample_weight=weight))
    influence = matthews_influence(Scorer(log_probabilities(logits), y, 1).weighted(weight))
    half_width = Z95 * math.hypot(*(weight * influence))
    assert 0 < half_width < 0.5
    assert (estimate.low, estimate.high) == pytest.approx((estimate.value - half_width, estimate.value + half_width))
    assert "matthews" not in evaluate(*rows_of(80, 3, 1), None).metrics


@pytest.mark.usefixtures("with_matthews")
def test_the_interval_of_a_metric_of_ones_own_stays_within_its_bounds() -> None:
    y = np.arange(40) % 2
    y_pred = np.where(np.arange(40) == 7, 1 - y, y)
    estimate = evaluate(np.zeros((40, 1)), y, np.ones(40), 1, y_pred=y_pred).metrics["matthews"]
    assert 0.7 < estimate.low < estimate.value < estimate.high == 1
    opposite = evaluate(np.zeros((40, 1)), y, np.ones(40), 1, y_pred=1 - y_pred).metrics["matthews"]
    assert -1 == opposite.low < opposite.value < opposite.high < -0.7
    one_class = evaluate(np.zeros((40, 1)), 0 * y, np.ones(40), 1).metrics["matthews"]
    assert all(math.isnan(value) for value in (one_class.value, one_class.low, one_class.high))


@pytest.mark.usefixtures("with_matthews")
def test_the_interval_of_a_metric_of_ones_own_allows_for_groups() -> None:
    logits, y, _ = rows_of(200, 2, 3)
    repeated = np.tile(np.arange(200), 4)
    once = evaluate(logits, y, np.ones(200), 1).metrics["matthews"]
    grouped, free = (
        evaluate(logits[repeated], y[repeated], np.ones(800), 1, group_ids=group_ids).metrics["matthews"]
        for group_ids in (repeated, None)
    )
    assert grouped.value == pytest.approx(once.value)
    assert grouped.high - grouped.low == pytest.approx(once.high - once.low, rel=0.15)
    assert free.high - free.low == pytest.approx((once.high - once.low) / 2)


def test_the_interval_of_the_jackknife_covers_the_truth_about_95_times_of_100(monkeypatch: pytest.MonkeyPatch) -> None:
    # Alone, as the bootstrap of the others would take most of the time.
    monkeypatch.setattr("tabcohort.evaluation.metrics.METRICS", {"matthews": MATTHEWS})
    truth = 2 * stats.norm.cdf(1) - 1  # of x ~ N(-+1, 1) by its sign, with as many rows of one class as of the other
    rng, n_runs, n_covered = np.random.default_rng(3), 400, 0
    for _ in range(n_runs):
        y = rng.integers(2, size=100)
        logits = rng.normal(2 * y - 1, 1)[:, None]
        estimate = evaluate(logits, y, np.ones(100), 1).metrics["matthews"]
        n_covered += estimate.low <= truth <= estimate.high
    assert 0.92 <= n_covered / n_runs <= 0.98


@pytest.mark.usefixtures("with_matthews")
def test_training_stops_by_a_metric_of_ones_own() -> None:
    table = table_of(200)
    config = config_of(monitor="matthews", patience=4, max_epochs=60)
    assert not config.lower_is_better
    trained = trained_on(table, config)
    scores = [record.score for record in trained.history]
    assert trained.stop_reason == "patience"
    assert trained.best_epoch == 1 + int(np.argmax(scores))
    assert len(scores) == trained.best_epoch + 4
    validation = trained.split.validation
    y_pred = (logits_of(trained, table.X[validation])[:, 0] > 0).astype(np.int64)
    assert max(scores) == pytest.approx(sk.matthews_corrcoef(table.y[validation], y_pred))


@pytest.mark.usefixtures("with_matthews")
def test_a_metric_of_ones_own_is_in_the_facts_and_on_the_terminal() -> None:
    predictor = fit_quickly(monitor="matthews")
    shown = facts(predictor)
    out_of_fold = predictor.out_of_fold
    expected = sk.matthews_corrcoef(out_of_fold.y, out_of_fold.log_proba.argmax(axis=1))
    metric = shown["evaluation"]["metrics"]["matthews"]
    assert metric["label"] == "Matthews correlation"
    assert metric["value"] == pytest.approx(expected)
    assert list(predictor.report.configs[0].metrics) == list(METRICS)
    text = io.StringIO()
    print_model(Console(file=text, width=200), shown)
    line = f"Matthews correlation {metric['value']:.4f} {metric['low']:.4f} to {metric['high']:.4f}"
    assert [" ".join(row.split()) for row in text.getvalue().splitlines()].count(line) == 1


def test_a_metric_that_nobody_added_cannot_be_monitored() -> None:
    words = r"^the setting 'monitor' must be 'accuracy' or .* or 'f1'; it is 'matthews'$"
    with pytest.raises(SettingsError, match=words):
        Config(monitor="matthews")


@pytest.mark.usefixtures("with_matthews")
def test_a_metric_of_ones_own_that_the_validation_rows_cannot_determine_is_an_error() -> None:
    words = r"^the validation rows cannot determine 'matthews' \(.*\); monitor 'log_loss' instead$"
    with pytest.raises(TrainingError, match=words):
        trained_on(table_of(120, 3), config_of(monitor="matthews"), n_classes=3)


# -- log probabilities and log loss ----------------------------------------------------------------------------------


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


def test_the_logarithm_of_a_probability_of_zero_is_finite_and_those_of_others_are_exact() -> None:
    proba = np.array([[0.0, 1.0], [1e-300, 0.25]])
    logs = safe_log(proba)
    assert -800 < logs[0, 0] < -700
    np.testing.assert_array_equal(logs[proba > 0], np.log(proba[proba > 0]))


def test_log_loss_has_the_same_bits_on_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    log_proba, y, weight = -rng.random((50_000, 2)), rng.integers(2, size=50_000), rng.random(50_000)
    losses = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            losses.append(log_loss(log_proba, y, weight))
    assert losses[0] == losses[1]


def test_metrics_have_the_labels_directions_and_bounds_of_the_documentation() -> None:
    lower_is_better = {"log loss", "Brier score", "expected calibration error"}
    assert {metric.label for metric in METRICS.values() if metric.lower_is_better} == lower_is_better
    assert [metric.label for metric in METRICS.values()] == [
        "accuracy", "balanced accuracy", "ROC AUC", "PR AUC", "log loss", "Brier score", "expected calibration error",
        "sensitivity", "specificity", "precision", "F1",
    ]  # fmt: skip
    assert {metric.lowest for metric in METRICS.values()} == {0.0}
    highest = {"log_loss": (math.inf, math.inf), "brier": (1.0, 2.0)}
    for name, metric in METRICS.items():
        assert (metric.highest(2), metric.highest(3)) == highest.get(name, (1.0, 1.0))
    of_one_class = {name for name, metric in METRICS.items() if metric.needs_positive}
    assert of_one_class == {"sensitivity", "specificity", "precision", "f1"}

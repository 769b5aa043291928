"""Evaluations: every metric with its interval, of independent rows and of rows that come in groups."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn import metrics as sk
from test_intervals import sample
from test_metrics import rows_of
from test_out_of_fold import noisy_predictions

from tabcohort.evaluation.decision import choose_decision_rule, cross_fit_threshold, parse_objective
from tabcohort.evaluation.evaluate import (
    Evaluation,
    bootstrap,
    bootstrap_interval,
    estimate_metrics,
    evaluate,
    evaluate_out_of_fold,
    evaluate_sets_out_of_fold,
    mean_loss_estimates,
)
from tabcohort.evaluation.intervals import UNKNOWN, Z95, Estimate, newcombe_auc, wilson
from tabcohort.evaluation.metrics import METRICS, Scorer, log_probabilities
from tabcohort.evaluation.prediction_sets import cross_fit_sets, evaluate_sets
from tabcohort.types import FloatArray, IntArray


def evaluate_evenly(logits: FloatArray, y: IntArray, positive: int | None = 1) -> Evaluation:
    """Measure rows of equal weight."""
    return evaluate(logits, y, np.ones(len(y)), positive)


# -- values ----------------------------------------------------------------------------------------------------------


def test_the_confusion_has_the_truth_on_its_first_axis() -> None:
    logits, y, weight = rows_of(50, 3, 0)
    evaluation = evaluate(logits, y, weight, None)
    expected = sk.confusion_matrix(y, logits.argmax(axis=1), sample_weight=weight)
    np.testing.assert_allclose(evaluation.confusion, expected, rtol=1e-12)
    assert evaluation.n_rows == 50


@pytest.mark.parametrize("seed", range(3))
def test_naming_the_other_class_swaps_sensitivity_with_specificity(seed: int) -> None:
    logits, y, _ = rows_of(60, 2, seed)
    logits += 0.05  # no row is undecided
    one, other = (evaluate_evenly(logits, y, positive).metrics for positive in (1, 0))
    swapped_labels = evaluate_evenly(-logits, 1 - y, positive=1).metrics
    assert one["sensitivity"] != one["specificity"]
    for metrics in (other, swapped_labels):
        assert metrics["sensitivity"] == one["specificity"]
        assert metrics["specificity"] == one["sensitivity"]
        assert metrics["roc_auc"].value == pytest.approx(one["roc_auc"].value, abs=1e-12)


def test_sensitivity_is_of_the_named_class() -> None:
    y = np.array([0] * 6 + [1] * 4)
    logits = np.array([-1.0] * 6 + [1.0] + [-1.0] * 3)[:, None]  # every 0 is recognised, and one 1 of four
    assert evaluate_evenly(logits, y, positive=1).metrics["sensitivity"].value == 0.25
    assert evaluate_evenly(logits, y, positive=0).metrics["sensitivity"].value == 1.0


def test_a_metric_that_the_rows_cannot_determine_is_nan_with_a_nan_interval() -> None:
    metrics = evaluate_evenly(np.array([[-1.0], [-2.0], [1.0]]), np.zeros(3, dtype=np.int64)).metrics
    for name in ("balanced_accuracy", "roc_auc", "pr_auc", "sensitivity"):
        assert math.isnan(metrics[name].value), name
        assert math.isnan(metrics[name].low), name
        assert math.isnan(metrics[name].high), name
    assert metrics["accuracy"].value == pytest.approx(2 / 3)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_only_the_ratios_of_weights_matter(n_classes: int) -> None:
    logits, y, weight = rows_of(40, n_classes, 1)
    one, other = evaluate(logits, y, weight, None).metrics, evaluate(logits, y, 64 * weight, None).metrics
    assert one == other


# -- intervals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_every_interval_contains_its_value_and_possible_values_only(n_classes: int, seed: int) -> None:
    for name, estimate in evaluate(*rows_of(30, n_classes, seed), positive=1).metrics.items():
        assert 0 <= estimate.low <= estimate.value <= estimate.high, name
        assert estimate.high <= 1 or name in ("log_loss", "brier"), name


def test_the_interval_of_a_tiny_calibration_error_contains_it() -> None:
    confidence = np.repeat(np.arange(0.55, 1, 0.1), 20)
    correct = np.tile(np.arange(20) / 20, 5) < confidence  # in every bin as many are correct as was promised
    metrics = evaluate_evenly(np.log(confidence / (1 - confidence))[:, None], correct.astype(np.int64)).metrics
    assert metrics["ece"].value < 1e-12
    assert 0 <= metrics["ece"].low <= metrics["ece"].value <= metrics["ece"].high


def test_a_perfect_small_sample_keeps_wide_intervals() -> None:
    y = np.arange(20) % 2
    metrics = evaluate_evenly(np.where(y == 1, 5.0, -5.0)[:, None], y).metrics
    for name in ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1", "roc_auc"):
        assert metrics[name].value == metrics[name].high == 1, name
        assert metrics[name].low < 0.9, name


def test_the_bootstrap_depends_on_its_seed_alone() -> None:
    logits, y, weight = rows_of(40, 2, 0)
    one, again, other = (evaluate(logits, y, weight, 1, seed).metrics["log_loss"] for seed in (0, 0, 1))
    assert one == again
    assert (one.low, one.high) != (other.low, other.high)


@pytest.mark.parametrize("n_cells", [1, 300])
def test_the_bootstrap_has_the_same_bits_however_many_resamples_are_in_memory(
    n_cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(40, 2, 0)
    expected = evaluate(*rows, 1).metrics
    monkeypatch.setattr("tabcohort.evaluation.evaluate.CELLS_AT_ONCE", n_cells)
    assert evaluate(*rows, 1).metrics == expected


@pytest.mark.parametrize("widening", [1.0, 3.0])
def test_bootstrap_intervals_lie_on_their_own_side_of_the_value_or_mirrored_as_far_as_they_are_widened(
    widening: float,
) -> None:
    resampled = np.concatenate([np.linspace(1.0, 2.0, 1_001), np.linspace(2.0, 6.0, 1_001)[1:]])
    low, high = np.percentile(resampled, 2.5), np.percentile(resampled, 97.5)
    below, above = widening * (2.0 - low), widening * (high - 2.0)
    percentile, basic = (bootstrap_interval(METRICS[name], 2.0, resampled, widening) for name in ("log_loss", "ece"))
    assert percentile == pytest.approx((2.0 - below, 2.0 + above))
    assert basic == pytest.approx((2.0 - above, 2.0 + below))


def test_the_bootstrap_has_a_thousand_resamples_of_the_metrics_that_need_it_and_its_seed_is_0_by_default() -> None:
    logits, y, weight = rows_of(40, 2, 0)
    resampled = bootstrap(Scorer(log_probabilities(logits), y, 1).weighted(weight), 0)
    assert {name: values.shape for name, values in resampled.items()} == {
        name: (1_000,) for name, metric in METRICS.items() if metric.bootstrap
    }
    assert evaluate(logits, y, weight, 1).metrics == evaluate(logits, y, weight, 1, seed=0).metrics


@pytest.mark.parametrize("n_in_group", [1, 4])
def test_means_of_losses_have_the_estimates_of_the_log_loss(n_in_group: int) -> None:
    logits, y, weight = rows_of(60, 3, 0)
    log_proba, group_ids = log_probabilities(logits), np.arange(60) // n_in_group
    losses = -log_proba[np.arange(60), y]
    one, doubled = mean_loss_estimates(np.stack([losses, 2 * losses]), weight, group_ids, seed=3)
    expected = evaluate(log_proba, y, weight, None, 3, group_ids=group_ids).metrics["log_loss"]
    for actual, factor in ((one, 1), (doubled, 2)):
        limits = (actual.value, actual.low, actual.high)
        assert limits == pytest.approx([factor * value for value in (expected.value, expected.low, expected.high)])


def test_evaluation_warns_of_nothing_when_a_class_is_rare() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluation = evaluate_evenly(np.linspace(-1, 1, 25)[:, None], np.array([0] * 24 + [1]))
    assert 0 < evaluation.metrics["pr_auc"].low <= evaluation.metrics["pr_auc"].high <= 1


def test_the_bootstrap_covers_the_true_log_loss_about_95_times_of_100() -> None:
    truth = integrate.quad(lambda x: np.logaddexp(0, -2 * x) * stats.norm.pdf(x - 1), -10, 12)[0]
    rng = np.random.default_rng(5)
    n_runs, n_covered = 60, 0
    for run in range(n_runs):
        logits, y = sample(rng)
        estimate = evaluate(logits, y, np.ones(len(y)), 1, seed=run).metrics["log_loss"]
        n_covered += estimate.low <= truth <= estimate.high
    assert 0.92 <= n_covered / n_runs <= 0.99


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_intervals_of_a_perfect_ranking_do_not_collapse(n_classes: int) -> None:
    y = np.arange(24) % n_classes
    logits = np.where(y == 1, 5.0, -5.0)[:, None] if n_classes == 2 else 10.0 * np.eye(3)[y]
    metrics = evaluate_evenly(logits, y, positive=1 if n_classes == 2 else None).metrics
    for name in ("roc_auc", "pr_auc"):
        assert metrics[name].value == pytest.approx(1, abs=1e-12), name
        assert metrics[name].high == pytest.approx(1, abs=1e-12), name
        assert 0.5 < metrics[name].low < 0.95, name


@given(st.integers(0, 10_000))
@hypothesis_settings(max_examples=30, deadline=None)
def test_a_perfect_ranking_of_uneven_weights_has_areas_of_1_and_intervals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, weight = rng.permutation(np.arange(40) % 2), rng.uniform(0.01, 3, 40)
    metrics = evaluate(3.0 * (2.0 * y - 1)[:, None] + rng.uniform(-1, 1, (40, 1)), y, weight, 1).metrics
    for name in ("roc_auc", "pr_auc"):
        assert metrics[name].value == pytest.approx(1)
        assert 0.5 < metrics[name].low < metrics[name].value <= metrics[name].high <= 1


def test_the_intervals_of_the_areas_are_closed_forms_or_means_of_them() -> None:
    logits, y, _ = rows_of(60, 2, 0)
    metrics = evaluate_evenly(logits, y).metrics
    n_positive = int((y == 1).sum())
    expected = wilson(metrics["pr_auc"].value * n_positive, n_positive)
    assert (metrics["pr_auc"].low, metrics["pr_auc"].high) == pytest.approx(expected, rel=1e-12)
    logits, y, _ = rows_of(60, 3, 0)
    metrics = evaluate_evenly(logits, y, None).metrics
    score, counts = log_probabilities(logits), np.bincount(y)
    roc = [newcombe_auc(sk.roc_auc_score(y == k, score[:, k]), counts[k], 60 - counts[k]) for k in range(3)]
    pr = [wilson(sk.average_precision_score(y == k, score[:, k]) * counts[k], counts[k]) for k in range(3)]
    for name, limits in (("roc_auc", roc), ("pr_auc", pr)):
        assert (metrics[name].low, metrics[name].high) == pytest.approx(np.mean(limits, axis=0), rel=1e-9), name


# -- predicted classes other than the most probable one --------------------------------------------------------------


def test_an_evaluation_and_its_intervals_are_of_the_predicted_classes() -> None:
    logits, y, weight = rows_of(80, 3, 2)
    y_pred = np.random.default_rng(0).integers(3, size=80)
    evaluation = evaluate(logits, y, weight, 0, y_pred=y_pred)
    cells = sk.confusion_matrix(y, y_pred, sample_weight=weight)
    np.testing.assert_allclose(evaluation.confusion / evaluation.confusion.sum(), cells / cells.sum())
    accuracy = evaluation.metrics["accuracy"]
    assert accuracy.value == pytest.approx(np.average(y_pred == y, weights=weight))
    assert accuracy.low < accuracy.value < accuracy.high < evaluate(logits, y, weight, 0).metrics["accuracy"].value


def test_predicting_the_most_probable_class_changes_nothing() -> None:
    logits, y, weight = rows_of(60, 3, 4)
    y_pred = log_probabilities(logits).argmax(axis=1)
    assert repr(evaluate(logits, y, weight, 1, y_pred=y_pred)) == repr(evaluate(logits, y, weight, 1))


# -- rows that come in groups ----------------------------------------------------------------------------------------


def rows_in_groups(n_groups: int, n_rows: int, rng: np.random.Generator) -> tuple[FloatArray, IntArray, IntArray]:
    """Logits, classes and groups of rows that are distributed as those of `sample`, but alike inside a group."""
    group_ids = np.repeat(np.arange(n_groups), n_rows)
    y = rng.integers(2, size=n_groups)[group_ids]
    own, shared = rng.normal(size=len(group_ids)), rng.normal(size=n_groups)[group_ids]
    return 2 * (2 * y - 1 + np.sqrt(0.7) * shared + np.sqrt(0.3) * own)[:, None], y, group_ids


def test_intervals_cover_the_truth_about_95_times_of_100_also_where_rows_of_a_group_are_alike() -> None:
    truth = stats.norm.cdf(1)
    rng = np.random.default_rng(1)
    n_runs, n_covered, n_covered_as_if_independent = 60, 0, 0
    for run in range(n_runs):
        logits, y, group_ids = rows_in_groups(40, 5, rng)
        estimate = evaluate(logits, y, np.ones(200), 1, run, group_ids=group_ids).metrics["accuracy"]
        low, high = wilson(estimate.value * 200, 200)
        n_covered += estimate.low <= truth <= estimate.high
        n_covered_as_if_independent += low <= truth <= high
    assert 0.88 <= n_covered / n_runs <= 0.99
    assert n_covered_as_if_independent / n_runs <= 0.85


def test_rows_that_are_there_four_times_say_as_much_as_once() -> None:
    logits, y = sample(np.random.default_rng(0), 300)
    once = evaluate_evenly(logits, y)
    logits, y, weight, group_ids = np.tile(logits, (4, 1)), np.tile(y, 4), np.ones(1200), np.tile(np.arange(300), 4)
    grouped = evaluate(logits, y, weight, 1, group_ids=group_ids)
    free = evaluate(logits, y, weight, 1)
    assert (once.n_groups, grouped.n_rows, grouped.n_groups, free.n_groups) == (300, 1200, 300, 1200)
    for name, one in once.metrics.items():
        of_grouped, of_free = grouped.metrics[name], free.metrics[name]
        assert of_grouped.value == pytest.approx(one.value), name
        assert of_grouped.high - of_grouped.low == pytest.approx(one.high - one.low, rel=0.15, abs=0.003), name
        assert of_free.high - of_free.low < 0.7 * (of_grouped.high - of_grouped.low), name


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_where_no_row_is_wrong_rows_of_a_group_count_as_one(seed: int | None) -> None:
    y = np.repeat([0, 1], 40)
    logits, group_ids = 8.0 * (2.0 * y - 1)[:, None], np.arange(80) // 4
    weight = np.ones(80) if seed is None else np.repeat(np.random.default_rng(seed).uniform(0.5, 2, 20), 4)
    metrics = evaluate(logits, y, weight, 1, group_ids=group_ids).metrics
    of_groups = np.bincount(group_ids, weight)
    n_groups = of_groups.sum() ** 2 / np.square(of_groups).sum() / (stats.t.ppf(0.975, 19) / Z95) ** 2
    for name, share in (("accuracy", 1), ("pr_auc", weight[y == 1].sum() / weight.sum())):
        low = wilson(n_groups * share, n_groups * share)[0]
        assert metrics[name] == Estimate(pytest.approx(1), pytest.approx(low, rel=1e-9), pytest.approx(1)), name


def test_an_error_makes_an_interval_no_better() -> None:
    y, group_ids = np.arange(1_000) % 2, np.arange(1_000) // 25
    lows = []
    for n_errors in range(6):
        y_pred = np.where(np.arange(1_000) % 25 + 40 * (np.arange(1_000) // 25 >= n_errors) == 7, 1 - y, y)
        assert (y_pred != y).sum() == n_errors
        logits = 3.0 * (2.0 * y_pred - 1)[:, None]
        lows.append(evaluate(logits, y, np.ones(1_000), 1, group_ids=group_ids).metrics["accuracy"].low)
    assert lows[0] < 0.92
    assert lows[1] < lows[0]


def test_a_single_group_says_next_to_nothing() -> None:
    logits, y, _ = rows_of(60, 2, 0)
    evaluation = evaluate(logits, y, np.ones(60), 1, group_ids=np.zeros(60, dtype=np.int64))
    assert evaluation.n_groups == 1
    assert evaluation.metrics["accuracy"].low < 0.05
    assert evaluation.metrics["accuracy"].high > 0.95
    assert evaluation.metrics["brier"].high == 1


def test_groups_of_one_row_each_change_nothing() -> None:
    logits, y, weight = rows_of(60, 3, 0)
    alone = np.random.default_rng(0).permutation(60)
    assert repr(evaluate(logits, y, weight, None, group_ids=alone)) == repr(evaluate(logits, y, weight, None))


def test_a_single_pair_of_rows_that_belong_together_widens_the_intervals() -> None:
    logits, y, weight = rows_of(60, 2, 0)
    weight[:2] = 10
    y[:2], logits[:2] = 1, -1.0  # both are wrong
    paired = evaluate(logits, y, weight, 1, group_ids=np.maximum(np.arange(60) - 1, 0)).metrics["accuracy"]
    apart = evaluate(logits, y, weight, 1).metrics["accuracy"]
    assert paired.low < apart.low < apart.high < paired.high


def test_only_which_rows_share_a_group_matters() -> None:
    logits, y, weight = rows_of(60, 3, 0)
    group_ids = np.arange(60) // 5
    one, reversed_ids, renamed = (
        repr(evaluate(logits, y, weight, None, group_ids=ids))
        for ids in (group_ids, 7 * group_ids[::-1] + 100, 7 * group_ids + 100)
    )
    assert reversed_ids != one
    assert renamed == one


# -- out-of-fold predictions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [None, "f1", 0.3])
def test_out_of_fold_predictions_are_measured_by_thresholds_from_other_folds(objective: str | float | None) -> None:
    predictions = replace(noisy_predictions(120, n_folds=4), group_ids=np.arange(120) // 2)
    rule = choose_decision_rule(predictions, 1, objective, 0.8)
    y_pred = None if objective is None else cross_fit_threshold(parse_objective(objective), predictions, 1)
    expected = evaluate(predictions.log_proba, predictions.y, predictions.weight, 1, 7, y_pred, predictions.group_ids)
    assert repr(evaluate_out_of_fold(predictions, rule, 1, seed=7)) == repr(expected)
    assert expected.n_groups == 60
    # As a model keeps them, in single precision, nothing but rounding changes.
    kept = replace(predictions, log_proba=predictions.log_proba.astype(np.float32))
    metrics = evaluate_out_of_fold(kept, rule, 1, seed=7).metrics
    assert list(metrics) == list(METRICS)
    assert metrics["log_loss"].value == pytest.approx(expected.metrics["log_loss"].value, rel=1e-6)


def test_out_of_fold_sets_are_measured_by_thresholds_from_other_folds() -> None:
    predictions = noisy_predictions(120, 3, n_folds=4)
    expected = evaluate_sets(cross_fit_sets(predictions, 0.8), predictions.y, predictions.weight)
    assert evaluate_sets_out_of_fold(predictions, 0.8) == expected
    assert 0.7 < expected.covered < 0.95


def test_metrics_without_a_bootstrap_have_the_same_values_and_similar_intervals() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 500)
    log_proba = log_probabilities((rng.normal(0, 1, 500) + 2 * y - 1)[:, None])
    scores = Scorer(log_proba, y, 1).weighted(np.ones(500))
    estimates = estimate_metrics(scores, ("accuracy", "log_loss", "roc_auc"), None)
    expected = evaluate(log_proba, y, np.ones(500), 1).metrics
    assert estimates["accuracy"] == expected["accuracy"]
    assert estimates["roc_auc"] == expected["roc_auc"]
    assert estimates["log_loss"].value == pytest.approx(expected["log_loss"].value)
    assert estimates["log_loss"].high == pytest.approx(expected["log_loss"].high, abs=0.02)


def test_metrics_without_a_bootstrap_count_the_rows_of_a_group_as_what_they_have_in_common() -> None:
    logits, y, group_ids = rows_in_groups(40, 5, np.random.default_rng(0))
    scores = Scorer(log_probabilities(logits), y, 1).weighted(np.ones(200))
    alone = estimate_metrics(scores, ("accuracy",), None)["accuracy"]
    estimate = estimate_metrics(scores, ("accuracy",), 7 * group_ids + 100)["accuracy"]
    assert estimate == evaluate(logits, y, np.ones(200), 1, group_ids=group_ids).metrics["accuracy"]
    assert estimate.low < alone.low < alone.high < estimate.high


def test_a_notebook_shows_the_metrics_with_their_intervals() -> None:
    known = Evaluation({"accuracy": Estimate(0.9, 0.85, 0.95), "roc_auc": UNKNOWN}, np.eye(2), 1_000, 1_000)
    shown = known._repr_html_()
    for text in (">accuracy<", ">0.9000<", ">0.8500 to 0.9500<", ">these rows cannot determine it<", "on 1,000 rows<"):
        assert text in shown
    assert ">-<" in shown
    assert "groups" not in shown
    assert "measured on 1,000 rows in 50 groups" in replace(known, n_groups=50)._repr_html_()

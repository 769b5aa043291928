"""Paired differences: closed forms, equal predictions, better classifiers, weights, groups and several classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from test_out_of_fold import noisy_predictions

from tabcohort.evaluation.compare import Comparison, Rows, compare_predictions, excludes_zero
from tabcohort.evaluation.evaluate import evaluate
from tabcohort.evaluation.intervals import UNKNOWN, Estimate, standard_error_of_mean
from tabcohort.evaluation.metrics import METRICS, log_probabilities
from tabcohort.types import FloatArray, IntArray


def predicted(log_proba: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return log probabilities with the most probable class."""
    return log_proba, log_proba.argmax(axis=1)


def binary(is_right: list[bool], y: IntArray, confidence: float = 0.9) -> tuple[FloatArray, IntArray]:
    """Return predictions of two classes that are right for some rows."""
    logit = math.log(confidence / (1 - confidence))
    sign = np.where(is_right, 1, -1) * np.where(y == 1, 1, -1)
    return predicted(log_probabilities((logit * sign)[:, None]))


def pair_of(
    n_rows: int = 200, n_classes: int = 2, seed: int = 0, noise: float = 0.3, gain: float = 0.0
) -> tuple[list[tuple[FloatArray, IntArray]], Rows]:
    """Return two classifiers whose logits differ by noise and, of the second, by a gain for the true class."""
    first = noisy_predictions(n_rows, n_classes, seed)
    logits = first.log_proba + np.random.default_rng(seed + 1).normal(0, noise, first.log_proba.shape)
    logits[np.arange(n_rows), first.y] += gain
    rows = Rows(first.y, first.weight, 1 if n_classes == 2 else None)
    return [predicted(first.log_proba), predicted(log_probabilities(logits))], rows


# -- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_difference_is_that_of_the_values_and_these_are_those_of_evaluate(n_classes: int) -> None:
    predictions, rows = pair_of(n_classes=n_classes)
    compared = compare_predictions(predictions, rows, seed=3)
    for (log_proba, y_pred), evaluation in zip(predictions, compared.evaluations, strict=True):
        assert evaluation.metrics == evaluate(log_proba, rows.y, rows.weight, rows.positive, 3, y_pred).metrics
    first, second = (evaluation.metrics for evaluation in compared.evaluations)
    (differences,) = compared.differences
    assert list(differences) == [name for name, own in METRICS.items() if n_classes == 2 or not own.needs_positive]
    for name, difference in differences.items():
        assert difference.value == second[name].value - first[name].value
        assert difference.low <= difference.value <= difference.high


def test_equal_predictions_differ_by_exactly_nothing() -> None:
    predictions, rows = pair_of()
    compared = compare_predictions([predictions[0], tuple(part.copy() for part in predictions[0])], rows)
    assert set(compared.differences[0].values()) == {Estimate(0.0, 0.0, 0.0)}
    assert compared.p_values == compared.corrected_p_values == (1.0,)
    assert not compared.is_told_apart(0)


def test_figures_without_a_seed_are_those_of_evaluate_without_one() -> None:
    predictions, rows = pair_of(60)
    compared = compare_predictions(predictions, rows)
    for (log_proba, y_pred), evaluation in zip(predictions, compared.evaluations, strict=True):
        assert evaluation.metrics == evaluate(log_proba, rows.y, rows.weight, rows.positive, y_pred=y_pred).metrics


def test_classifiers_after_one_that_equals_the_baseline_are_compared_as_without_it() -> None:
    (first, second), rows = pair_of(60)
    alone, among = (compare_predictions(own, rows) for own in ([first, second], [first, first, second]))
    assert among.differences[1:] == alone.differences
    assert among.p_values == (1.0, *alone.p_values)
    assert among.corrected_p_values == (1.0, min(1.0, 2 * alone.p_values[0]))


def test_predictions_that_differ_by_rounding_only_are_no_evidence() -> None:
    (first, _), rows = pair_of()
    nudged = first[0] * (1 - 1e-15 * np.random.default_rng(0).uniform(size=first[0].shape))
    compared = compare_predictions([first, predicted(nudged)], rows)
    assert compared.differences[0]["log_loss"].value != 0
    assert compared.p_values == (1.0,)


def test_small_differences_beyond_rounding_are_as_significant_as_larger_ones() -> None:
    (first, second), rows = pair_of()
    larger, small = (
        compare_predictions([first, predicted(first[0] + share * (second[0] - first[0]))], rows).p_values[0]
        for share in (1e-5, 1e-9)
    )
    assert small == pytest.approx(larger, rel=1e-3)


def test_what_the_rows_cannot_determine_is_unknown_also_of_equal_predictions() -> None:
    y = np.zeros(6, dtype=np.int64)
    first, second = binary([True] * 6, y), binary([True] * 6, y, confidence=0.8)
    compared = compare_predictions([first, first, second], Rows(y, np.ones(6), 1))
    for differences in compared.differences:
        assert repr(differences["roc_auc"]) == repr(differences["sensitivity"]) == repr(UNKNOWN)
        assert not excludes_zero(differences["roc_auc"])
        assert differences["accuracy"].value == 0


def test_what_one_classifier_leaves_unknown_is_known_of_another() -> None:
    y = np.arange(10) % 2
    right, none_positive = binary([True] * 10, y), binary(list(y == 0), y)
    of_none, of_equal = compare_predictions([right, none_positive, right], Rows(y, np.ones(10), 1)).differences
    assert repr(of_none["precision"]) == repr(UNKNOWN)
    assert of_equal["precision"] == Estimate(0.0, 0.0, 0.0)


# -- intervals, in closed form ---------------------------------------------------------------------------------------


def rows_apart(only_first: int, only_second: int, n_rows: int = 100) -> Comparison:
    """Compare two classifiers of which each alone is right for some rows, and both for the others."""
    y = np.arange(n_rows) % 2
    place = np.arange(n_rows)
    second_is_wrong = place < only_first
    first_is_wrong = (place >= only_first) & (place < only_first + only_second)
    predictions = [binary(list(~wrong), y) for wrong in (first_is_wrong, second_is_wrong)]
    return compare_predictions(predictions, Rows(y, np.ones(n_rows), 1))


@pytest.mark.parametrize(("only_first", "only_second"), [(2, 9), (7, 7), (0, 12), (0, 1)])
def test_the_interval_of_an_accuracy_is_students_of_the_rows_that_differ(only_first: int, only_second: int) -> None:
    difference = rows_apart(only_first, only_second).differences[0]["accuracy"]
    mean = (only_second - only_first) / 100
    parts = {1 - mean: only_second, -1 - mean: only_first, -mean: 100 - only_first - only_second}
    squares, fourths = (sum(count * part**power for part, count in parts.items()) for power in (2, 4))
    freedom = max(2.0, squares**2 / fourths)  # one row alone has the interval of two
    half_width = stats.t.ppf(0.975, freedom) * math.sqrt(squares) / 100
    assert (difference.value, difference.low, difference.high) == pytest.approx(
        (mean, mean - half_width, mean + half_width)
    )


@pytest.mark.parametrize("n_apart", range(1, 16))
def test_rows_that_all_speak_for_one_are_as_significant_as_in_an_exact_test(n_apart: int) -> None:
    """McNemar's exact test rejects from six rows on."""
    exact = bool(stats.binomtest(0, n_apart).pvalue < 0.05)
    assert excludes_zero(rows_apart(0, n_apart).differences[0]["accuracy"]) is exact


@pytest.mark.parametrize("n_rare", [25, 1])
def test_accuracies_that_no_row_tells_apart_may_differ_in_others(n_rare: int) -> None:
    """By as much as the rows of the rarest class leave open; class 1 has no row, and does not count."""
    y = np.where(np.arange(100) < n_rare, 2, 0)
    pair = [predicted(log_probabilities(scale * np.eye(3)[y])) for scale in (3.0, 2.0)]
    difference = compare_predictions(pair, Rows(y, np.ones(100), None)).differences[0]["accuracy"]
    limit = stats.binomtest(0, n_rare).proportion_ci(method="exact").high
    assert difference == Estimate(0.0, pytest.approx(-limit), pytest.approx(limit))


def test_the_interval_of_an_area_is_that_of_delong() -> None:
    """DeLong, DeLong & Clarke-Pearson (1988), with sums of squares over n instead of n - 1."""
    predictions, rows = pair_of(300, noise=1.0)
    rows = Rows(rows.y, np.ones(300), 1)
    scores = [log_proba[:, 1] for log_proba, _ in predictions]
    placements = []
    for score in scores:
        wins = stats.rankdata(score) * 0.0
        hits, misses = score[rows.y == 1], score[rows.y == 0]
        wins[rows.y == 1] = [np.mean((misses < hit) + 0.5 * (misses == hit)) for hit in hits]
        wins[rows.y == 0] = [np.mean((hits > miss) + 0.5 * (hits == miss)) for miss in misses]
        placements.append(wins)
    apart = placements[1] - placements[0]
    variance = sum(np.var(apart[rows.y == code]) / (rows.y == code).sum() for code in (0, 1))
    difference = compare_predictions(predictions, rows).differences[0]["roc_auc"]
    expected = stats.norm.ppf(0.975) * math.sqrt(variance)
    assert (difference.high - difference.low) / 2 == pytest.approx(expected, rel=0.05)


def test_a_constant_gain_in_log_loss_has_no_width() -> None:
    """A bootstrap of unpaired rows would have the width of both losses."""
    y = np.arange(80) % 2
    of_truth = np.random.default_rng(0).uniform(-1.5, -0.1, 80)
    pair = []
    for gain in (0.0, 0.01):
        log_proba = np.empty((80, 2))
        log_proba[np.arange(80), y] = of_truth + gain
        log_proba[np.arange(80), 1 - y] = np.log1p(-np.exp(of_truth + gain))
        pair.append(predicted(log_proba))
    difference = compare_predictions(pair, Rows(y, np.ones(80), 1)).differences[0]["log_loss"]
    assert (difference.value, difference.low, difference.high) == pytest.approx((-0.01, -0.01, -0.01))


def test_the_interval_of_a_log_loss_is_about_that_of_the_paired_mean() -> None:
    predictions, rows = pair_of(400)
    rows = Rows(rows.y, np.ones(400), 1)
    losses = [-log_proba[np.arange(400), rows.y] for log_proba, _ in predictions]
    expected = stats.norm.ppf(0.975) * np.std(losses[1] - losses[0]) / 20
    compared = compare_predictions(predictions, rows)
    difference = compared.differences[0]["log_loss"]
    assert (difference.high - difference.low) / 2 == pytest.approx(expected, rel=0.1)
    apart = losses[1] - losses[0] - difference.value
    freedom = np.square(apart).sum() ** 2 / np.power(apart, 4).sum()
    exact = 2 * stats.t.sf(abs(difference.value) / np.sqrt(np.square(apart).sum() / 400**2), freedom)
    assert compared.p_values[0] == pytest.approx(exact)
    assert compared.p_values[0] == pytest.approx(stats.ttest_rel(*losses).pvalue, rel=0.3)


# -- weights and groups ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
def test_only_the_ratios_of_weights_matter(n_classes: int) -> None:
    predictions, rows = pair_of(60, n_classes)
    heavier = Rows(rows.y, 64 * rows.weight, rows.positive)
    one, other = (compare_predictions(predictions, own) for own in (rows, heavier))
    assert one.differences == other.differences
    assert one.p_values == other.p_values


def test_a_heavier_row_counts_more() -> None:
    y = np.arange(40) % 2
    first, second = binary([False] + [True] * 39, y), binary([True] * 40, y)
    weight = np.where(np.arange(40) == 0, 3.0, 1.0)
    (differences,) = compare_predictions([first, second], Rows(y, weight, 1)).differences
    assert differences["accuracy"].value == pytest.approx(3 / 42)


def test_copies_of_rows_in_groups_say_no_more_than_the_rows() -> None:
    predictions, rows = pair_of(100)
    y, group_ids = np.repeat(rows.y, 4), np.repeat(np.arange(100), 4)
    copies = [tuple(np.repeat(part, 4, axis=0) for part in own) for own in predictions]
    single = compare_predictions(predictions, Rows(rows.y, np.ones(100), 1))
    grouped = compare_predictions(copies, Rows(y, np.ones(400), 1, group_ids))
    alone = compare_predictions(copies, Rows(y, np.ones(400), 1))
    assert grouped.evaluations[0].n_groups == 100
    for name in ("accuracy", "log_loss", "roc_auc"):
        own, of_groups, of_rows = (
            comparison.differences[0][name].high - comparison.differences[0][name].low
            for comparison in (single, grouped, alone)
        )
        assert of_groups > 0.8 * own, name
        assert of_rows < 0.6 * own, name
    assert grouped.p_values[0] > alone.p_values[0]


def test_the_p_value_of_rows_in_groups_is_normal_with_their_design_effect() -> None:
    (first, second), rows = pair_of(60)
    apart = first[0][np.arange(60), rows.y] - second[0][np.arange(60), rows.y]
    for group_ids in (np.maximum(np.arange(60), 1), np.arange(60) // 3):  # a single group of two, or all of three
        mean, error = rows.weight @ apart / rows.weight.sum(), standard_error_of_mean(apart, rows.weight, group_ids)
        grouped = Rows(rows.y, rows.weight, 1, group_ids)
        p_value = compare_predictions([first, second], grouped).p_values[0]
        assert p_value == pytest.approx(2 * stats.norm.sf(abs(mean) / error))


# -- conclusions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("is_swapped", [False, True])
def test_a_better_classifier_is_found_in_either_order(n_classes: int, is_swapped: bool) -> None:
    predictions, rows = pair_of(300, n_classes, gain=0.4)
    compared = compare_predictions(predictions[::-1] if is_swapped else predictions, rows)
    difference = compared.differences[0]["log_loss"]
    assert compared.is_told_apart(0)
    assert (difference.low > 0) if is_swapped else (difference.high < 0)
    assert compared.p_values[0] < 1e-6


def test_of_many_classifiers_a_difference_must_be_beyond_that_of_chance_among_many() -> None:
    predictions, rows = pair_of(300, gain=0.19)
    alone = compare_predictions(predictions, rows)
    assert alone.is_told_apart(0)
    assert 0.01 < alone.p_values[0] < 0.05
    noise = np.random.default_rng(9).normal(0, 0.3, (8, *predictions[0][0].shape))
    others = [predicted(log_probabilities(predictions[0][0] + own)) for own in noise]
    among = compare_predictions([*predictions, *others], rows)
    assert among.differences[0]["log_loss"] == alone.differences[0]["log_loss"]
    assert among.corrected_p_values[0] > 0.05
    assert not among.is_told_apart(0)


def test_the_interval_decides_for_a_pair_and_for_several_the_corrected_p_value_too() -> None:
    def of_p_values(*p_values: float, low: float = 0.01) -> Comparison:
        return Comparison((), ({"log_loss": Estimate(0.1, low, 0.2)},) * len(p_values), p_values, p_values)

    assert of_p_values(0.06).is_told_apart(0)
    assert [of_p_values(0.06, 0.05, 0.04).is_told_apart(place) for place in range(3)] == [False, False, True]
    assert not of_p_values(0.04, low=0.0).is_told_apart(0)


def test_intervals_hold_no_difference_about_as_often_as_they_say() -> None:
    """Two classifiers of equal quality, on 150 samples of 60 rows: with 95 %, 7.5 samples miss on average."""
    misses = dict.fromkeys(("accuracy", "log_loss", "roc_auc", "brier", "f1"), 0)
    for seed in range(150):
        rng = np.random.default_rng(seed)
        y = rng.integers(2, size=60)
        logits = rng.normal(0, 1, 60) + 1.5 * (y - 0.5)
        pair = [predicted(log_probabilities((logits + rng.normal(0, 0.7, 60))[:, None])) for _ in range(2)]
        (differences,) = compare_predictions(pair, Rows(y, np.ones(60), 1), seed).differences
        for name in misses:
            misses[name] += excludes_zero(differences[name])
    assert max(misses.values()) <= 15, misses
    assert misses["log_loss"] > 0

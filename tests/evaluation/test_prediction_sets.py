"""Prediction sets against the textbook's formula, and against new rows of the same kind."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_out_of_fold import noisy_predictions

from tabcohort.evaluation.prediction_sets import (
    cross_fit_sets,
    evaluate_sets,
    highest_coverage_without,
    prediction_sets,
    set_thresholds,
)
from tabcohort.types import FloatArray

FEW = hypothesis_settings(max_examples=80, deadline=None)


# -- thresholds ------------------------------------------------------------------------------------------------------


def textbook_threshold(proba: FloatArray, coverage: Fraction) -> float:
    """Split conformal prediction: of n rows, the floor((1 - coverage)(n + 1))-th least probability; 0 before the first.

    Of n + 1 exchangeable rows the last is below it with probability floor(...) / (n + 1), at most 1 - coverage.
    """
    rank = math.floor((1 - coverage) * (len(proba) + 1))
    return float(np.sort(proba)[rank - 1]) if rank else 0.0


@given(
    n_rows=st.integers(1, 80),
    n_classes=st.integers(2, 4),
    hundredths=st.integers(1, 99),
    unit=st.sampled_from([1.0, 1e-6, 0.1, 7.0, 1e6]),
    seed=st.integers(0, 999),
)
@FEW
def test_thresholds_are_the_textbooks_whatever_rows_of_a_class_weigh_together(
    n_rows: int, n_classes: int, hundredths: int, unit: float, seed: int
) -> None:
    predictions = noisy_predictions(n_rows, n_classes, seed)
    log_proba, y = predictions.log_proba, predictions.y
    thresholds = set_thresholds(log_proba, y, unit ** (y / n_classes), hundredths / 100)
    for code in range(n_classes):
        expected = textbook_threshold(np.exp(log_proba[y == code, code]), Fraction(hundredths, 100))
        assert thresholds[code] == pytest.approx(expected, rel=1e-12)


@given(st.integers(1, 40), st.floats(0.02, 0.98), st.integers(0, 999))
@FEW
def test_with_weights_no_more_than_the_allowed_weight_is_at_most_as_probable_as_the_threshold(
    n_rows: int, coverage: float, seed: int
) -> None:
    predictions = noisy_predictions(n_rows, 2, seed)
    log_proba, y = predictions.log_proba, predictions.y
    thresholds = set_thresholds(log_proba, y, predictions.weight, coverage)
    for code in range(2):
        proba, weight = np.exp(log_proba[y == code, code]), predictions.weight[y == code]
        allowed = (1 - coverage) * (weight.sum() + weight.mean()) if len(weight) else 0.0
        fitting = [value for value in proba if weight[proba <= value].sum() <= allowed]
        assert thresholds[code] == pytest.approx(max(fitting, default=0.0), rel=1e-12)


def test_thresholds_depend_on_weights_as_on_repeated_rows_where_there_are_many() -> None:
    predictions = noisy_predictions(400)
    log_proba, y = predictions.log_proba, predictions.y
    times = np.random.default_rng(1).integers(1, 4, 400)
    repeated = np.repeat(np.arange(400), times)
    weighted = set_thresholds(log_proba, y, times.astype(np.float64), 0.9)
    plain = set_thresholds(log_proba[repeated], y[repeated], np.ones(len(repeated)), 0.9)
    for code in range(2):
        proba = np.sort(np.exp(log_proba[y == code, code]))
        places = np.searchsorted(proba, [weighted[code], plain[code]])
        assert abs(places[0] - places[1]) <= 1  # the additional row weighs 1 of them, or as much as their mean


@pytest.mark.parametrize(("n_rows", "has_threshold"), [(8, False), (9, True)])
def test_a_class_with_too_few_rows_is_in_every_set(n_rows: int, has_threshold: bool) -> None:
    log_proba, y = noisy_predictions(60, 3).log_proba, np.ones(60, dtype=np.int64)
    y[:n_rows] = 0
    thresholds = set_thresholds(log_proba, y, np.ones(60), 0.9)
    assert (thresholds > 0).tolist() == [has_threshold, True, False]
    assert prediction_sets(log_proba, thresholds)[:, 2].all()


@pytest.mark.parametrize("seed", range(5))
def test_from_the_highest_coverage_on_a_class_is_in_every_set(seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = noisy_predictions(60, 3)
    y = np.repeat([0, 1, 2], [4, 6, 50])
    own = replace(own, y=y, weight=rng.uniform(0.5, 2.0, 60))
    highest = highest_coverage_without(np.array([0, 1]), own)
    assert highest is not None
    for coverage, is_ruled_out in ((highest - 1e-6, True), (highest + 1e-6, False)):
        thresholds = set_thresholds(own.log_proba, own.y, own.weight, coverage)
        assert (thresholds[:2] > 0).all() == is_ruled_out
    assert highest_coverage_without(np.array([0, 3]), own) is None


# -- sets ------------------------------------------------------------------------------------------------------------


def test_sets_hold_the_classes_that_are_probable_enough() -> None:
    log_proba = np.log([[0.3, 0.1, 0.6], [0.29, 0.42, 0.29], [0.9, 0.1, 1e-300]])
    thresholds = np.exp(log_proba[0]) * [1, 0, 1]
    expected = [[True, True, True], [False, True, False], [True, True, False]]
    np.testing.assert_array_equal(prediction_sets(log_proba, thresholds), expected)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("weight_of_class", [0.2, 1.0, 5.0])
def test_new_rows_of_the_same_kind_are_in_their_sets_as_often_as_promised_and_hardly_more(
    coverage: float, weight_of_class: float
) -> None:
    rng, n_runs, n_rows = np.random.default_rng(0), 1_500, 14
    y = np.array([0] * n_rows + [1] * 40)
    weight = np.where(y == 0, weight_of_class, 1.0)
    n_covered = 0
    for _ in range(n_runs):
        proba = rng.beta(2, 1, len(y) + 1)
        log_proba = np.log(np.column_stack([proba, 1 - proba]))
        n_covered += prediction_sets(log_proba[-1:], set_thresholds(log_proba[:-1], y, weight, coverage))[0, 0]
    error = math.sqrt(coverage * (1 - coverage) / n_runs)
    assert coverage - 3 * error <= n_covered / n_runs <= coverage + 1 / (n_rows + 1) + 3 * error


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_sets_of_a_fold_do_not_depend_on_its_own_labels(n_classes: int) -> None:
    predictions = noisy_predictions(200, n_classes, n_folds=5)
    log_proba, y, weight = predictions.log_proba, predictions.y, predictions.weight
    before = cross_fit_sets(predictions, 0.8)
    assert not before.all()
    for inside, outside in predictions.folds():
        relabelled = replace(
            predictions, y=np.where(inside, (y + 1) % n_classes, y), weight=np.where(inside, 9.0, weight)
        )
        np.testing.assert_array_equal(cross_fit_sets(relabelled, 0.8)[inside], before[inside])
        thresholds = set_thresholds(log_proba[outside], y[outside], weight[outside], 0.8)
        np.testing.assert_array_equal(before[inside], prediction_sets(log_proba[inside], thresholds))


def test_rows_of_one_fold_have_all_classes_in_their_sets() -> None:
    assert cross_fit_sets(noisy_predictions(100, 3), 0.8).all()


# -- evaluation ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(2, 4), st.integers(0, 999))
@FEW
def test_sets_are_evaluated_by_shares_of_the_weight(n_rows: int, n_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sets, y = rng.random((n_rows, n_classes)) < 0.5, rng.integers(n_classes, size=n_rows)
    times = rng.integers(1, 4, n_rows)
    evaluation = evaluate_sets(sets, y, times.astype(np.float64))
    rows = np.repeat(np.arange(n_rows), times)
    covered, sizes = [sets[row, y[row]] for row in rows], sets[rows].sum(axis=1)
    assert evaluation.covered == pytest.approx(np.mean(covered))
    shares = (evaluation.single, evaluation.several, evaluation.empty)
    assert shares == pytest.approx(((sizes == 1).mean(), (sizes > 1).mean(), (sizes == 0).mean()))
    for code in range(n_classes):
        of_class = [is_covered for is_covered, row in zip(covered, rows, strict=True) if y[row] == code]
        expected = np.mean(of_class) if of_class else math.nan
        assert evaluation.covered_by_class[code] == pytest.approx(expected, nan_ok=True)

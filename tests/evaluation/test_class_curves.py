"""The curves of one class against the rest, beside scikit-learn's and counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve as sklearn_precision_recall
from sklearn.metrics import roc_curve as sklearn_roc

from tabcohort.evaluation.class_curves import (
    Curve,
    binned_calibration_error,
    independent_or,
    precision_recall_curve,
    rates_at,
    reliability,
    roc_curve,
    score_histogram,
)
from tabcohort.evaluation.decision import LabelledRows
from tabcohort.evaluation.intervals import wilson


def labelled(
    n_rows: int = 400, digits: int = 2, is_weighted: bool = False, n_groups: int | None = None
) -> LabelledRows:
    """Return rows whose probabilities are right, many of them equal."""
    rng = np.random.default_rng(n_rows)
    proba = np.round(rng.random(n_rows), digits)
    weight = rng.choice([0.5, 1.0, 3.0], n_rows) if is_weighted else np.ones(n_rows)
    groups = np.arange(n_rows) if n_groups is None else np.arange(n_rows) % n_groups
    return LabelledRows(proba, rng.random(n_rows) < proba, weight, groups)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_roc_curve_is_that_of_scikit_learn(is_weighted: bool) -> None:
    rows = labelled(is_weighted=is_weighted)
    x, y, thresholds = sklearn_roc(rows.is_positive, rows.proba, sample_weight=rows.weight, drop_intermediate=False)
    curve = roc_curve(rows)
    np.testing.assert_allclose(curve.x, x)
    np.testing.assert_allclose(curve.y, y)
    np.testing.assert_allclose(curve.threshold, thresholds)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_precision_and_recall_are_those_of_scikit_learn(is_weighted: bool) -> None:
    rows = labelled(is_weighted=is_weighted)
    precision, recall, thresholds = sklearn_precision_recall(
        rows.is_positive, rows.proba, sample_weight=rows.weight
    )  # fmt: skip
    curve = precision_recall_curve(rows)
    np.testing.assert_allclose(curve.x[::-1], recall[:-1])
    np.testing.assert_allclose(curve.y[::-1], precision[:-1])
    np.testing.assert_allclose(curve.threshold[::-1], thresholds)


def test_a_thinned_curve_keeps_its_ends_and_its_shape() -> None:
    curve = roc_curve(labelled(5_000, digits=8))
    thin = curve.thinned(100)
    assert len(thin.x) <= 101
    assert (thin.x[0], thin.y[0], thin.x[-1], thin.y[-1]) == (0, 0, 1, 1)
    along = np.interp(curve.x + curve.y, thin.x + thin.y, thin.y)
    assert np.abs(along - curve.y).max() < 0.02
    short = Curve(np.arange(3.0), np.arange(3.0), np.arange(3.0))
    assert short.thinned(3) is short


def test_reliability_bins_are_those_of_scikit_learn() -> None:
    rows = labelled(500, digits=9)
    observed, predicted = calibration_curve(rows.is_positive, rows.proba, n_bins=10, strategy="quantile")
    bins = reliability(rows)
    np.testing.assert_allclose([own.predicted for own in bins], predicted)
    np.testing.assert_allclose([own.observed.value for own in bins], observed)
    assert [own.n_rows for own in bins] == [50] * 10
    first = bins[0]
    assert (first.observed.low, first.observed.high) == pytest.approx(wilson(first.observed.value * 50, 50))
    assert binned_calibration_error(bins) == pytest.approx(np.abs(observed - predicted).mean())


def test_weights_count_in_reliability_bins() -> None:
    rows = LabelledRows(np.full(10, 0.4), np.arange(10) < 5, np.where(np.arange(10) < 5, 3.0, 1.0), np.arange(10))
    (only,) = reliability(rows)
    assert only.observed.value == pytest.approx(15 / 20)
    assert only.weight == 20


def test_few_rows_have_few_bins_and_equal_probabilities_are_in_one() -> None:
    assert len(reliability(labelled(23))) == 4
    assert len(reliability(labelled(3))) == 1
    assert len(reliability(LabelledRows(np.full(50, 0.3), np.arange(50) < 9, np.ones(50), np.arange(50)))) == 1


def test_scores_are_counted_by_class() -> None:
    rows = LabelledRows(
        np.array([0.0, 0.05, 0.999, 1.0]), np.array([False, True, True, True]), np.array([1.0, 2, 3, 4]), np.arange(4)
    )
    inside, others = score_histogram(rows, 10)
    assert inside.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 7]
    assert others.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]


def test_rates_at_thresholds_by_hand() -> None:
    rows = LabelledRows(
        np.array([0.9, 0.6, 0.5, 0.2]), np.array([True, False, True, False]), np.array([1.0, 1, 2, 1]), np.arange(4)
    )
    half, high = rates_at(rows, np.array([0.5, 0.95]))
    assert half.confusion == (3, 0, 1, 1)
    rates = (half.sensitivity, half.specificity, half.precision, half.accuracy)
    assert [rate.value for rate in rates] == [1, 0.5, 0.75, 0.8]
    assert high.confusion == (0, 3, 0, 2)
    assert np.isnan(high.precision.value)
    assert (high.sensitivity.value, high.specificity.value) == (0, 1)


def test_groups_widen_intervals() -> None:
    rows = labelled(400)
    alone, together = rates_at(rows, np.array([0.5]))[0], rates_at(labelled(400, n_groups=40), np.array([0.5]))[0]
    copies = LabelledRows(*(np.tile(array, 10) for array in (rows.proba[:40], rows.is_positive[:40])), *(
        np.tile(array, 10) for array in (np.ones(40), np.arange(40))
    ))  # fmt: skip
    of_copies = rates_at(copies, np.array([0.5]))[0].accuracy
    of_one = rates_at(labelled_first(rows, 40), np.array([0.5]))[0].accuracy
    assert alone.accuracy.value == together.accuracy.value
    assert of_copies.value == pytest.approx(of_one.value)
    assert of_copies.high - of_copies.low >= 0.95 * (of_one.high - of_one.low)


def labelled_first(rows: LabelledRows, n_rows: int) -> LabelledRows:
    return LabelledRows(*(array[:n_rows] for array in vars(rows).values()))


def test_groups_are_left_out_where_rows_are_independent() -> None:
    assert independent_or(np.arange(5)) is None
    groups = np.array([0, 1, 1])
    assert independent_or(groups) is groups

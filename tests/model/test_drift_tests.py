"""The tests of cells and predictions, and how new rows are predicted as if they were out of fold."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import fit_quickly, make_rows, make_small_table
from scipy import stats

from tabcohort import CohortSettings, Predictor
from tabcohort.data.columns import Category, Number
from tabcohort.evaluation.prediction_sets import SetEvaluation
from tabcohort.evaluation.promise import calibration_gap
from tabcohort.model.drift_tests import (
    Cells,
    calibration_tests,
    column_tests,
    coverage_test,
    like_out_of_fold,
    prediction_tests,
    quality_tests,
)
from tabcohort.model.training_statistics import ColumnStatistics

RNG = np.random.default_rng(1)


def numbers_of(*values: float) -> Cells:
    return Cells(np.array(values), None, 0)


def levels_of(counts: list[int]) -> Cells:
    """Return cells of levels, missing and unknown with these counts."""
    return Cells(None, np.repeat(np.arange(len(counts)), counts).astype(float), len(counts))


def test_cells_are_taken_at_rows_and_missing_ones_counted() -> None:
    column = Category("city", level_names=("a", "b"))
    cells = Cells.of(column, None, np.array([0.0, 2.0, 1.0, 3.0]), np.array([0, 1, 3]))
    assert (cells.n_rows, cells.n_missing, cells.counts.tolist()) == (3, 1, [1, 0, 1, 1])
    number = Cells.of(Number("x"), np.array([[1.0], [np.nan], [3.0]]), None, np.array([1, 2]))
    assert (number.n_rows, number.n_missing, number.known.tolist()) == (2, 1, [3.0])


def test_a_number_is_tested_against_rows_for_its_distribution_and_its_missing_cells() -> None:
    reference, new = numbers_of(*RNG.normal(size=80)), numbers_of(*RNG.normal(size=40), *[np.nan] * 10)
    tests, untested = column_tests(Number("x"), new, reference)
    assert [test.kind for test in tests] == ["distribution", "missing cells"]
    assert tests[0].drift.p_value == pytest.approx(stats.ks_2samp(reference.known, new.known).pvalue)
    assert tests[1].drift.p_value == pytest.approx(stats.fisher_exact([[0, 80], [10, 40]]).pvalue)
    assert untested == []


def test_new_levels_are_measured_by_the_levels_that_the_reference_has_once() -> None:
    column = Category("city", level_names=("a", "b", "c", "d"))
    tests, _ = column_tests(column, levels_of([30, 18, 0, 0, 0, 2]), levels_of([60, 38, 1, 1, 0, 0]))
    (new,) = (test for test in tests if test.kind == "new levels")
    assert new.drift.p_value == pytest.approx(stats.fisher_exact([[2, 98], [2, 48]], alternative="less").pvalue)
    tests, _ = column_tests(column, levels_of([30, 20, 0, 0, 0, 0]), levels_of([60, 40, 0, 0, 0, 0]))
    assert [test.kind for test in tests] == ["distribution"]


def test_what_a_model_does_not_hold_is_not_tested_and_said_so() -> None:
    column = Category("city", has_missing=True, level_names=("a", "b"))
    tests, untested = column_tests(column, levels_of([5, 5, 2, 1]), ColumnStatistics(100))
    assert (tests, untested) == ([], ["distribution", "missing cells", "new levels"])
    known = ColumnStatistics(100, missing_share=0.1, counts=np.array([60.0, 30.0, 10.0, 0.0]))
    tests, untested = column_tests(column, levels_of([20, 20, 6, 4]), known)
    assert ([test.kind for test in tests], untested) == (["distribution", "new levels", "missing cells"], [])
    assert column_tests(Number("x"), numbers_of(1.0, 2.0), None) == ([], ["distribution"])


def test_quantiles_are_preferred_to_the_mean_and_the_mean_to_nothing() -> None:
    new = Cells(RNG.normal(size=100), None, 0)
    edges = stats.norm.ppf(np.arange(1, 8) / 8)
    both = ColumnStatistics(400, 0.0, 1.0, 0.0, edges=edges, n_edge_rows=300)
    mean = ColumnStatistics(400, 0.0, 1.0, 0.0)
    names = [column_tests(Number("x"), new, known)[0][0].drift.test for known in (both, mean)]
    assert names == ["chi-square, of 8 parts between quantiles", "z, of the means"]
    assert column_tests(Number("x"), new, ColumnStatistics(400, 0.0, 0.0, 0.0)) == ([], [])


@pytest.mark.parametrize("settings", [CohortSettings(folds=3, seeds=2), CohortSettings(folds=1, seeds=3)])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_training_rows_out_of_fold_and_new_rows_are_predicted_alike(settings: CohortSettings, n_classes: int) -> None:
    """The members are overfitted, so that the mean of all of them is much less sure than out-of-fold predictions."""
    table = make_small_table(n_classes, n_rows=300, n_features=8)
    model = fit_quickly(table, settings, max_epochs=60, hidden=(64,), patience=None)
    X, _ = make_rows(3000, 8, n_classes, seed=9)
    own, of_all = np.exp(like_out_of_fold(model, X, 0)), model.predict_proba(X)
    assert own.shape == (3000, n_classes)
    np.testing.assert_allclose(own.sum(axis=1), 1, rtol=1e-9)
    kept = np.exp(model.out_of_fold.as_float64().log_proba)
    assert abs(own.max(axis=1).mean() - kept.max(axis=1).mean()) < 0.04
    assert own.std() > of_all.std()


def test_with_one_member_a_row_is_predicted_as_by_predict() -> None:
    model = fit_quickly(settings=CohortSettings(folds=1, seeds=1))
    X, _ = make_rows(20, seed=3)
    np.testing.assert_allclose(np.exp(like_out_of_fold(model, X, 0)), model.predict_proba(X), rtol=1e-6)


def test_predictions_are_tested_class_by_class(predictor: Predictor, three_classes: Predictor) -> None:
    for model, names in ((predictor, ["yes"]), (three_classes, ["may", "no", "yes"])):
        kept = model.out_of_fold.as_float64().log_proba
        tests = prediction_tests(model, kept)
        assert [test.subject for test in tests if test.kind == "probability"] == names
        assert all(test.drift.p_value == 1 for test in tests)
        turned = prediction_tests(model, np.roll(kept[kept[:, 0].argsort()][:60], 1, axis=1))
        assert min(test.drift.p_value for test in turned) < 0.001


def test_quality_is_tested_but_for_the_calibration_error(predictor: Predictor) -> None:
    own = predictor.report.evaluation
    tests = quality_tests(own, own)
    assert {test.subject for test in tests} == set(own.metrics) - {"ece"}
    assert all(test.drift.p_value == 0.5 for test in tests)


def test_calibration_is_tested_beside_that_out_of_fold(predictor: Predictor) -> None:
    kept = predictor.out_of_fold.as_float64()
    (same,) = calibration_tests(predictor, kept.log_proba, kept.y, None)
    assert same.drift.p_value == pytest.approx(1)
    (test,) = calibration_tests(predictor, kept.log_proba, np.ones_like(kept.y), None)
    assert test.drift.new == pytest.approx(
        calibration_gap(kept.log_proba, np.ones_like(kept.y), kept.weight, 1, None)[0]
    )
    assert test.drift.p_value < 1e-6


def test_sets_that_hold_the_true_class_less_often_are_worse() -> None:
    before = SetEvaluation(0.9, (0.9, 0.9), 1.0, 0.0, 0.0)
    after = SetEvaluation(0.6, (0.6, 0.6), 1.0, 0.0, 0.0)
    assert coverage_test(before, after, 100, 100).drift.p_value < 1e-4
    assert coverage_test(after, before, 100, 100).drift.p_value > 0.99

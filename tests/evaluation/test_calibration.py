"""Calibration: each fit against SciPy's of the same loss, and no correction where none helps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, minimize
from scipy.special import log_softmax, logsumexp
from sklearn.linear_model import LogisticRegression
from test_out_of_fold import predictions_of

from tabcohort.evaluation import calibration
from tabcohort.evaluation.calibration import (
    BIAS_CORRECTED,
    MIN_SCALE,
    NONE,
    TEMPERATURE,
    Calibrator,
    fit_calibrator,
    fit_method,
    no_calibrator,
    sample_rows,
)
from tabcohort.evaluation.intervals import standard_error_of_mean
from tabcohort.evaluation.metrics import log_loss
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.types import FloatArray, IntArray

FEW = hypothesis_settings(max_examples=40, deadline=None)
METHODS = [TEMPERATURE, BIAS_CORRECTED]


def calibrated(n_rows: int, n_classes: int = 2, seed: int = 0) -> tuple[FloatArray, IntArray]:
    """Return log probabilities `(n_rows, n_classes)` and classes that were drawn with just these."""
    rng = np.random.default_rng(seed)
    log_proba = log_softmax(rng.normal(0, 2, (n_rows, n_classes)), axis=1)
    y = (rng.random(n_rows)[:, None] > np.exp(log_proba).cumsum(axis=1)).sum(axis=1)
    return log_proba, np.minimum(y, n_classes - 1)


def distorted(log_proba: FloatArray, scale: float, shift: FloatArray) -> FloatArray:
    """Return what a correction by this scale and shift makes `log_proba` of."""
    return log_softmax((log_proba - shift) / scale, axis=1)


def penalised_loss(parameters: FloatArray, log_proba: FloatArray, y: IntArray, weight: FloatArray) -> float:
    """The loss of scale and shifts, written down once more; weights have the mean 1."""
    shift = np.zeros(log_proba.shape[1])
    shift[1 : len(parameters)] = parameters[1:]
    corrected = log_softmax(parameters[0] * log_proba + shift, axis=1)
    relative = weight / weight.mean()
    prior = ((parameters[0] - 1) ** 2 + (parameters[1:] ** 2).sum()) / (2 * calibration.PRIOR**2)
    return float(-(relative * corrected[np.arange(len(y)), y]).sum() + prior)


def parameters_of(calibrator: Calibrator) -> FloatArray:
    shifts = calibrator.shift[1:] if calibrator.method == BIAS_CORRECTED else []
    return np.concatenate([[calibrator.scale], shifts])


def fit_by_scipy(method: str, log_proba: FloatArray, y: IntArray, weight: FloatArray) -> FloatArray:
    n_shifts = log_proba.shape[1] - 1 if method == BIAS_CORRECTED else 0
    start = np.concatenate([[1.0], np.zeros(n_shifts)])
    bounds = [(MIN_SCALE, None)] + [(None, None)] * n_shifts
    tight = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 10_000, "maxfun": 100_000}
    return minimize(penalised_loss, start, (log_proba, y, weight), "L-BFGS-B", bounds=bounds, options=tight).x


# -- fits ------------------------------------------------------------------------------------------------------------


@given(
    n_rows=st.integers(5, 120),
    n_classes=st.integers(2, 5),
    method=st.sampled_from(METHODS),
    sharpness=st.sampled_from([-1.0, 0.0, 0.3, 1.0, 5.0]),
    seed=st.integers(0, 999),
)
@FEW
def test_a_fit_is_that_of_scipy_also_for_predictions_that_are_worse_than_none(
    n_rows: int, n_classes: int, method: str, sharpness: float, seed: int
) -> None:
    log_proba, y = calibrated(n_rows, n_classes, seed)
    log_proba = log_softmax(sharpness * log_proba, axis=1)
    weight = np.random.default_rng(seed).uniform(0.5, 2.0, n_rows)
    fitted = parameters_of(fit_method(method, log_proba, y, weight))
    expected = fit_by_scipy(method, log_proba, y, weight)
    least = penalised_loss(expected, log_proba, y, weight)
    assert penalised_loss(fitted, log_proba, y, weight) <= least + 1e-6 * abs(least)
    np.testing.assert_allclose(fitted, expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("n_classes", [2, 3, 6])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("cells_at_once", "prior"), [(2**18, 1.0), (60, 0.6)])
def test_slope_and_curvature_are_central_differences_of_the_loss(
    method: str, n_classes: int, cells_at_once: int, prior: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the rows are taken in parts."""
    monkeypatch.setattr("tabcohort.evaluation.metrics.CELLS_AT_ONCE", cells_at_once)
    monkeypatch.setattr(calibration, "PRIOR", prior)
    log_proba, y = calibrated(50, n_classes)
    weight = np.random.default_rng(1).uniform(0.5, 2.0, 50)
    weight /= weight.mean()
    n_shifts = n_classes - 1 if method == BIAS_CORRECTED else 0
    start = np.concatenate([[1.0], np.zeros(n_shifts)])
    at = start + np.random.default_rng(2).normal(0, 0.3, 1 + n_shifts)

    def derivatives(parameters: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        shift = np.zeros(n_classes)
        shift[1 : 1 + n_shifts] = parameters[1:]
        calibrator = Calibrator(method, float(parameters[0]), shift)
        return calibration._loss_and_derivatives(calibrator, log_proba, y, weight, parameters - start)

    loss, slope, curvature = derivatives(at)
    steps = 1e-5 * np.eye(1 + n_shifts)
    losses = [[penalised_loss(at + sign * step, log_proba, y, weight) for sign in (1, -1)] for step in steps]
    slopes = [[derivatives(at + sign * step)[1] for sign in (1, -1)] for step in steps]
    assert loss == pytest.approx(penalised_loss(at, log_proba, y, weight), rel=1e-12)
    np.testing.assert_allclose(slope, [(up - down) / 2e-5 for up, down in losses], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(curvature, [(up - down) / 2e-5 for up, down in slopes], rtol=1e-6, atol=1e-6)
    forward = approx_fprime(at, penalised_loss, 1e-7, log_proba, y, weight)
    np.testing.assert_allclose(slope, forward, rtol=1e-4, atol=1e-4)


def test_loss_and_derivatives_depend_on_differences_between_classes_alone_however_large_numbers_are() -> None:
    log_proba, y = calibrated(40, 3)
    calibrator, from_start = Calibrator(BIAS_CORRECTED, 1.5, np.array([0.0, 0.3, -0.2])), np.array([0.5, 0.3, -0.2])
    expected = calibration._loss_and_derivatives(calibrator, log_proba, y, np.ones(40), from_start)
    for offset in (1000.0, -1000.0):
        moved = calibration._loss_and_derivatives(calibrator, log_proba + offset, y, np.ones(40), from_start)
        for value, expected_value in zip(moved, expected, strict=True):
            np.testing.assert_allclose(value, expected_value, rtol=1e-9, atol=1e-9)


def test_a_step_is_newtons_and_the_fit_ends_with_the_last_one_or_one_that_gains_too_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log_proba, y = calibrated(100, 3)
    log_proba, weight = distorted(log_proba, 0.7, np.array([0.0, 0.3, -0.3])), np.ones(100)
    evaluate, n_evaluations = calibration._loss_and_derivatives, 0

    def counted(*arguments: Any) -> tuple[float, FloatArray, FloatArray]:
        nonlocal n_evaluations
        n_evaluations += 1
        return evaluate(*arguments)

    monkeypatch.setattr(calibration, "_loss_and_derivatives", counted)
    _, slope, curvature = evaluate(no_calibrator(3), log_proba, y, weight, np.zeros(3))
    one_step = np.array([1.0, 0.0, 0.0]) - np.linalg.solve(curvature, slope)
    for max_steps, tolerance, n_steps in ((1, 0.0, 1), (2, 0.0, 2), (50, 0.5, 1)):  # no step gains half of the loss
        monkeypatch.setattr(calibration, "MAX_STEPS", max_steps)
        monkeypatch.setattr(calibration, "TOLERANCE", tolerance)
        n_evaluations = 0
        fitted = parameters_of(fit_method(BIAS_CORRECTED, log_proba, y, weight))
        assert n_evaluations == 1 + n_steps
        assert np.allclose(fitted, one_step, rtol=1e-12, atol=0.0) == (n_steps == 1)


@pytest.mark.parametrize("share", [0.99, 0.999])
def test_a_step_that_would_raise_the_loss_is_halved_until_it_does_not(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows are said to be of the second class, and half of them are: there the loss is too flat for Newton."""
    monkeypatch.setattr(calibration, "MAX_STEPS", 1)
    monkeypatch.setattr(calibration, "MIN_SCALE", -np.inf)
    second = share + 0.0005 * np.sin(np.arange(80))
    log_proba, y, weight = np.log(np.column_stack([1 - second, second])), np.arange(80) % 2, np.ones(80)
    start = np.array([1.0, 0.0])
    _, slope, curvature = calibration._loss_and_derivatives(no_calibrator(2), log_proba, y, weight, np.zeros(2))
    step, before = np.linalg.solve(curvature, slope), penalised_loss(start, log_proba, y, weight)
    lengths = 0.5 ** np.arange(30)
    n_halved = next(n for n in range(30) if penalised_loss(start - lengths[n] * step, log_proba, y, weight) <= before)
    assert n_halved >= 1
    shortened = start - lengths[n_halved] * step
    for tolerance, expected in ((1e-9, shortened), (lengths[n_halved], shortened), (1.5 * lengths[n_halved], start)):
        monkeypatch.setattr(calibration, "TOLERANCE", tolerance)  # a step that is shorter than this is not taken
        fitted = parameters_of(fit_method(BIAS_CORRECTED, log_proba, y, weight))
        np.testing.assert_allclose(fitted, expected, rtol=1e-9, atol=1e-12)


def test_of_two_classes_the_bias_corrected_method_is_platts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "PRIOR", 1e6)
    log_proba, y = calibrated(400)
    log_proba = distorted(log_proba, 0.6, np.array([0.0, 0.8]))
    weight = np.random.default_rng(1).integers(1, 4, 400).astype(np.float64)
    calibrator = fit_method(BIAS_CORRECTED, log_proba, y, weight)
    logit = (log_proba[:, 1] - log_proba[:, 0])[:, None]
    platt = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(logit, y, weight)
    assert (calibrator.scale, calibrator.shift[1]) == pytest.approx((platt.coef_[0, 0], platt.intercept_[0]), rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_depends_on_weights_as_on_repeated_rows_and_not_on_their_unit(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_proba, y = calibrated(200, 3)
    times = np.random.default_rng(1).integers(1, 4, 200)
    weighted = fit_method(method, log_proba, y, times.astype(np.float64))
    scaled = fit_method(method, log_proba, y, 1000.0 * times)
    np.testing.assert_allclose(parameters_of(scaled), parameters_of(weighted), rtol=1e-9)
    monkeypatch.setattr(calibration, "PRIOR", 1e6)  # which weighs as much beside many rows as beside few
    weighted = fit_method(method, log_proba, y, times.astype(np.float64))
    repeated = np.repeat(np.arange(200), times)
    rowwise = fit_method(method, log_proba[repeated], y[repeated], np.ones(len(repeated)))
    np.testing.assert_allclose(parameters_of(rowwise), parameters_of(weighted), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("scale", [0.4, 2.5])
def test_a_known_distortion_is_corrected(n_classes: int, scale: float) -> None:
    true_log_proba, y = calibrated(8_000, n_classes)
    shift = np.linspace(0, 1, n_classes)
    scaled, shifted = (distorted(true_log_proba, scale, by) for by in (np.zeros(n_classes), shift))
    calibrator = fit_calibrator(in_folds(scaled, y, 3))
    assert calibrator.scale == pytest.approx(scale, rel=0.05)
    np.testing.assert_allclose(calibrator.shift, 0.0, atol=0.1)
    calibrator = fit_calibrator(in_folds(shifted, y, 3))
    assert calibrator.method == BIAS_CORRECTED
    assert calibrator.scale == pytest.approx(scale, rel=0.05)
    np.testing.assert_allclose(calibrator.shift, shift, atol=0.1)
    assert log_loss(calibrator.apply(shifted), y, np.ones(8_000)) <= log_loss(true_log_proba, y, np.ones(8_000))


@pytest.mark.parametrize("method", METHODS)
def test_perfectly_separated_rows_leave_all_numbers_finite(method: str) -> None:
    y = np.arange(60) % 3
    for sharpness in (0.1, 5.0, 300.0, 3000.0):
        log_proba = log_softmax(sharpness * np.eye(3)[y], axis=1)
        calibrator = fit_method(method, log_proba, y, np.ones(60))
        corrected = calibrator.apply(log_proba)
        assert 0 < calibrator.scale < 20
        assert np.abs(calibrator.shift).max() < 1
        assert np.isfinite(corrected).all()
        assert log_loss(corrected, y, np.ones(60)) <= log_loss(log_proba, y, np.ones(60))


def test_predictions_that_are_worse_than_none_are_replaced_by_the_shares_of_the_classes() -> None:
    y = (np.arange(400) % 5 == 0).astype(np.int64)
    wrong = log_softmax(np.column_stack([2.0 * y, np.random.default_rng(0).normal(size=400)]), axis=1)
    calibrator = fit_method(BIAS_CORRECTED, wrong, y, np.ones(400))
    assert calibrator.scale == MIN_SCALE
    np.testing.assert_allclose(np.exp(calibrator.apply(wrong))[:, 1], 0.2, atol=0.01)


def test_the_first_class_is_never_shifted_and_temperature_shifts_none() -> None:
    log_proba, y = calibrated(300, 4)
    weight = np.ones(300)
    assert fit_method(BIAS_CORRECTED, log_proba, y, weight).shift[0] == 0
    assert not fit_method(TEMPERATURE, log_proba, y, weight).shift.any()
    assert fit_method(NONE, log_proba, y, weight).scale == no_calibrator(4).scale == 1.0


# -- corrections -----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(2, 5), st.floats(0.01, 20.0))
@FEW
def test_corrected_probabilities_have_the_shape_of_the_others_and_sum_to_one(
    leading: list[int], n_classes: int, scale: float
) -> None:
    rng = np.random.default_rng(0)
    log_proba = log_softmax(rng.normal(0, 5, (*leading, n_classes)), axis=-1)
    shift = rng.normal(size=n_classes)
    corrected = Calibrator(BIAS_CORRECTED, scale, shift).apply(log_proba)
    assert corrected.shape == log_proba.shape
    np.testing.assert_allclose(logsumexp(corrected, axis=-1), 0.0, atol=1e-12)
    np.testing.assert_allclose(corrected, log_softmax(scale * log_proba + shift, axis=-1), rtol=1e-12, atol=1e-12)


def test_no_calibrator_changes_nothing() -> None:
    log_proba, _ = calibrated(50, 3)
    np.testing.assert_allclose(no_calibrator(3).apply(log_proba), log_proba, rtol=1e-12, atol=1e-14)


# -- choices ---------------------------------------------------------------------------------------------------------


def in_folds(log_proba: FloatArray, y: IntArray, n_folds: int) -> OutOfFoldPredictions:
    """Return predictions of rows whose folds take turns."""
    return predictions_of(log_proba, y, fold_ids=np.arange(len(y)) % n_folds)


def choose_by_hand(predictions: OutOfFoldPredictions) -> str:
    log_proba, y, weight = predictions.log_proba, predictions.y, predictions.weight
    rows = np.arange(len(y))
    gains = {}
    for method in METHODS:
        after = np.empty(len(y))
        for fold in set(predictions.fold_ids.tolist()):
            others = predictions.fold_ids != fold
            fitted = fit_method(method, log_proba[others], y[others], weight[others])
            after[~others] = fitted.apply(log_proba)[rows, y][~others]
        gain = after - log_proba[rows, y]
        gains[method] = np.average(gain, weights=weight), standard_error_of_mean(gain, weight)
    best = max(METHODS, key=lambda method: gains[method][0])
    return best if gains[best][0] > gains[best][1] else NONE


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.0, 1.2])
def test_the_method_is_the_one_that_clearly_helps_rows_that_it_was_not_fitted_on(scale: float) -> None:
    chosen = []
    for seed in range(6):
        log_proba, y = calibrated(90, 2 + seed % 2, seed)
        log_proba = distorted(log_proba, scale, 0.4 * np.arange(log_proba.shape[1]))
        weight = np.random.default_rng(seed).uniform(0.5, 2, 90)
        fold_ids = np.random.default_rng(seed).integers(4, size=90)
        predictions = predictions_of(log_proba, y, weight, fold_ids)
        calibrator = fit_calibrator(predictions)
        chosen.append(calibrator.method)
        assert calibrator.method == choose_by_hand(predictions)
        expected = fit_method(calibrator.method, log_proba, y, weight)
        assert (calibrator.scale, calibrator.shift.tolist()) == (expected.scale, expected.shift.tolist())
    assert scale != 0.5 or chosen.count(NONE) <= 1


def test_predictions_that_are_calibrated_are_hardly_ever_corrected() -> None:
    chosen = [fit_calibrator(in_folds(*calibrated(100, 3, seed), 5)).method for seed in range(40)]
    assert chosen.count(NONE) >= 36


def test_a_correction_that_few_groups_ask_for_is_not_clear() -> None:
    log_proba, y = calibrated(30, 2, 4)
    log_proba, rows = distorted(log_proba, 1.6, np.zeros(2)), np.arange(600) % 30
    independent = in_folds(log_proba[rows], y[rows], 5)
    assert fit_calibrator(independent).method != NONE
    assert fit_calibrator(replace(independent, group_ids=rows)).method == NONE


def test_rows_of_one_fold_only_are_never_corrected() -> None:
    log_proba, y = calibrated(200)
    predictions = predictions_of(distorted(log_proba, 0.3, np.zeros(2)), y, fold_ids=np.full(200, 3))
    calibrator = fit_calibrator(predictions)
    assert (calibrator.method, calibrator.scale, calibrator.shift.tolist()) == (NONE, 1.0, [0.0, 0.0])


def test_methods_have_the_names_that_reports_and_models_have() -> None:
    assert (NONE, TEMPERATURE, BIAS_CORRECTED) == ("none", "temperature", "bias-corrected temperature")


def test_a_correction_that_changes_nothing_is_none() -> None:
    y = np.arange(40) // 2 % 2
    assert fit_calibrator(in_folds(np.full((40, 2), np.log(0.5)), y, 2)).method == NONE


def test_of_very_many_classes_the_scale_alone_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    true_log_proba, y = calibrated(3_000, 4)
    log_proba = distorted(true_log_proba, 0.5, np.array([0.0, 1.0, -1.0, 1.0]))
    predictions = in_folds(log_proba, y, 3)
    for max_classes, expected in ((30, BIAS_CORRECTED), (4, BIAS_CORRECTED), (3, TEMPERATURE)):
        monkeypatch.setattr(calibration, "MAX_CLASSES_TO_SHIFT", max_classes)
        assert fit_calibrator(predictions).method == expected


# -- samples of many rows --------------------------------------------------------------------------------------------


def test_few_rows_are_all_taken_and_of_many_so_many_at_random() -> None:
    np.testing.assert_array_equal(sample_rows(7, 7), np.arange(7))
    sample = sample_rows(10_000, 1_000)
    assert len(np.unique(sample)) == 1_000
    assert (np.diff(sample) > 0).all()
    np.testing.assert_array_equal(sample, sample_rows(10_000, 1_000))
    for period in (2, 5, 10):
        counts = np.bincount(sample % period)
        assert np.abs(counts - 1_000 / period).max() < 4 * np.sqrt(1_000 / period)


@pytest.mark.parametrize("y", [np.arange(1_000) % 2, np.arange(1_000) // 500], ids=["by turns", "sorted"])
def test_the_sample_of_a_table_is_of_both_classes_in_whatever_order_the_rows_are(
    y: IntArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "MAX_ROWS", 500)
    log_proba = log_softmax(np.random.default_rng(0).normal(0, 0.01, (1_000, 2)), axis=1)
    calibrator = fit_calibrator(predictions_of(log_proba, y, fold_ids=np.arange(1_000) // 2 % 5))
    np.testing.assert_allclose(np.exp(calibrator.apply(log_proba)), 0.5, atol=0.1)


@pytest.mark.parametrize(("n_classes", "n_expected"), [(2, 400), (10, 400), (20, 200), (100, 50)])
def test_of_many_classes_fewer_rows_are_corrected_by(
    monkeypatch: pytest.MonkeyPatch, n_classes: int, n_expected: int
) -> None:
    for name, value in (("MAX_ROWS", 400), ("MAX_PROBABILITIES", 4_000), ("MIN_ROWS", 50)):
        monkeypatch.setattr(calibration, name, value)
    drawn: list[int] = []
    draw = calibration.sample_rows

    def counted(n_rows: int, max_rows: int) -> IntArray:
        drawn.append(max_rows)
        return draw(n_rows, max_rows)

    monkeypatch.setattr(calibration, "sample_rows", counted)
    rng = np.random.default_rng(0)
    log_proba = log_softmax(rng.normal(size=(1_000, n_classes)), axis=1)
    fit_calibrator(predictions_of(log_proba, rng.integers(0, n_classes, 1_000), fold_ids=np.arange(1_000) % 5))
    assert drawn == [n_expected]

"""Curves of a known shape are found again, and the jackknife of a mean is Student's interval of the folds' means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tabcohort.evaluation.extrapolation import EXPONENTIAL, POWER, fit_curve, forecast_gain, jackknife

SIZES = np.array([0.125, 0.18, 0.25, 0.35, 0.5, 0.71, 1.0])


@pytest.mark.parametrize("rate", [0.3, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("limit", [0.0, 0.2, 0.6])
def test_a_power_law_is_found_again(rate: float, limit: float) -> None:
    curve = fit_curve(SIZES, limit + 0.1 * SIZES**-rate, POWER)
    assert curve.at(1.0) == pytest.approx(limit + 0.1, abs=1e-3)
    assert curve.gain(2.0) == pytest.approx(0.1 * (1 - 2**-rate), rel=0.03)
    assert curve.gain(4.0) == pytest.approx(0.1 * (1 - 4**-rate), rel=0.05)


def test_an_exponential_is_found_again() -> None:
    curve = fit_curve(SIZES, 0.3 + 0.4 * np.exp(-5 * SIZES), EXPONENTIAL)
    assert (curve.limit, curve.rate) == (pytest.approx(0.3, abs=1e-3), pytest.approx(5, rel=0.03))
    assert curve.gain(2.0) == pytest.approx(0.4 * (np.exp(-5) - np.exp(-10)), rel=0.05)


@pytest.mark.parametrize("family", [POWER, EXPONENTIAL])
def test_a_curve_does_not_go_below_zero_and_a_flat_one_promises_nothing(family: str) -> None:
    steep = fit_curve(SIZES, 0.5 - 0.45 * SIZES, family)
    assert steep.limit == 0.0
    assert steep.at(np.array([10.0, 1e3])).min() >= 0
    assert fit_curve(SIZES, np.full(7, 0.4), family).gain(2.0) == pytest.approx(0.0, abs=1e-12)
    assert fit_curve(SIZES, 0.5 + 0.1 * SIZES, family).gain(2.0) < 0


def test_a_forecast_is_the_mean_of_both_families_and_its_interval_spans_both() -> None:
    rng = np.random.default_rng(0)
    fold_ids, weight = np.arange(400) % 8, np.ones(400)
    losses = (0.4 + 0.1 * SIZES**-0.5)[:, None] + 0.1 * rng.normal(size=400) + 0.02 * rng.normal(size=(7, 400))
    own = [
        jackknife(lambda means, family=family: fit_curve(SIZES, means, family).gain(2.0), losses, weight, fold_ids)
        for family in (POWER, EXPONENTIAL)
    ]
    gain = forecast_gain(SIZES, losses, weight, fold_ids, 2.0)
    assert gain.value == pytest.approx((own[0].value + own[1].value) / 2)
    assert (gain.low, gain.high) == (max(0.0, min(own[0].low, own[1].low)), max(own[0].high, own[1].high))
    assert gain.low < 0.1 * (1 - 2**-0.5) < gain.high


def test_a_log_loss_that_rises_promises_nothing_but_is_not_certain_either() -> None:
    rng = np.random.default_rng(0)
    losses = (0.5 + 0.01 * SIZES)[:, None] + 0.1 * rng.normal(size=(7, 200))
    gain = forecast_gain(SIZES, losses, np.ones(200), np.arange(200) % 8, 2.0)
    assert (gain.value, gain.low) == (0.0, 0.0)
    assert gain.high > 0


def test_late_points_weigh_more_than_early_ones() -> None:
    true = 0.3 + 0.1 * SIZES**-0.5
    early, late = true + 0.02 * (np.arange(7) == 0), true + 0.02 * (np.arange(7) == 6)
    gap = [abs(float(fit_curve(SIZES, losses, POWER).at(1.0)) - 0.4) for losses in (early, late)]
    assert gap[0] < gap[1]


def test_the_jackknife_of_a_mean_is_students_interval_of_the_means_of_folds() -> None:
    rng = np.random.default_rng(0)
    fold_ids = np.arange(80) % 8
    losses = rng.gamma(2.0, size=(1, 80)) + 0.3 * rng.normal(size=8)[fold_ids]
    estimate = jackknife(lambda means: float(means[0]), losses, np.ones(80), fold_ids)
    means = np.array([losses[0, fold_ids == fold].mean() for fold in range(8)])
    expected = stats.t(7, means.mean(), stats.sem(means)).interval(0.95)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((means.mean(), *expected))


def test_rows_count_by_their_weights() -> None:
    losses, weight = np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([1.0, 2.0, 1.0, 2.0])
    twice = np.repeat(np.arange(4), weight.astype(int))
    mean = lambda means: float(means[0])  # noqa: E731
    by_weight = jackknife(mean, losses, weight, np.array([0, 0, 1, 1]))
    assert by_weight == jackknife(mean, losses[:, twice], np.ones(6), np.array([0, 0, 1, 1])[twice])

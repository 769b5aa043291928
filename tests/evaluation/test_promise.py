"""What was promised: worse figures, calibration gaps and shares."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tabcohort.evaluation.intervals import UNKNOWN, Z95, Estimate, wilson
from tabcohort.evaluation.promise import calibration_gap, gap_p_value, share_estimate, worse_p_value


def test_a_figure_is_worse_beside_the_errors_of_the_sides_that_face_each_other() -> None:
    promised, measured = Estimate(0.9, 0.87, 0.92), Estimate(0.8, 0.72, 0.86)
    expected = stats.norm.sf(0.1 / (math.hypot(0.03, 0.06) / Z95))
    assert worse_p_value(promised, measured, lower_is_better=False) == pytest.approx(expected)
    loss, greater = Estimate(0.3, 0.25, 0.36), Estimate(0.5, 0.41, 0.62)
    expected = stats.norm.sf(0.2 / (math.hypot(0.06, 0.09) / Z95))
    assert worse_p_value(loss, greater, lower_is_better=True) == pytest.approx(expected)


def test_a_better_figure_is_not_worse_and_an_unknown_one_is_not_tested() -> None:
    promised, measured = Estimate(0.9, 0.87, 0.92), Estimate(0.95, 0.9, 0.97)
    assert worse_p_value(promised, measured, lower_is_better=False) > 0.9
    assert math.isnan(worse_p_value(promised, UNKNOWN, lower_is_better=False))
    same = Estimate(0.9, 0.9, 0.9)
    assert worse_p_value(same, same, lower_is_better=False) == 1
    assert worse_p_value(same, Estimate(0.8, 0.8, 0.8), lower_is_better=False) == 0


def test_a_calibration_gap_is_a_share_minus_a_mean_probability() -> None:
    proba = np.array([[0.4, 0.6], [0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    y, weight = np.array([1, 0, 1, 0]), np.array([1.0, 2.0, 1.0, 1.0])
    gap, error = calibration_gap(np.log(proba), y, weight, 1, None)
    gaps = np.array([0.4, -0.1, 0.2, -0.3])
    assert gap == pytest.approx(np.average(gaps, weights=weight))
    least = wilson(0.0, 25 / 7)[1] / Z95 / 2
    expected = math.sqrt((np.square(weight / 5 * (gaps - gap))).sum())
    assert error == pytest.approx(max(expected, least))
    sure = calibration_gap(
        np.log(np.array([[1 - 1e-12, 1e-12]] * 50)), np.zeros(50, dtype=np.int64), np.ones(50), 1, None
    )
    assert sure[1] > 0.01


def test_groups_widen_the_error_of_a_gap() -> None:
    rng = np.random.default_rng(0)
    proba = np.repeat(rng.uniform(0.2, 0.8, 30), 4)
    y = np.repeat((rng.random(30) < proba[::4]).astype(np.int64), 4)
    log_proba, weight = np.log(np.column_stack([1 - proba, proba])), np.ones(120)
    alone = calibration_gap(log_proba, y, weight, 1, None)
    grouped = calibration_gap(log_proba, y, weight, 1, np.repeat(np.arange(30), 4))
    assert grouped[0] == alone[0]
    assert grouped[1] > 1.8 * alone[1]


def test_gaps_are_tested_on_both_sides() -> None:
    expected = 2 * stats.norm.sf(0.05 / math.hypot(0.01, 0.02))
    assert gap_p_value((0.0, 0.01), (0.05, 0.02)) == pytest.approx(expected)
    assert gap_p_value((0.0, 0.01), (-0.05, 0.02)) == pytest.approx(expected)


def test_a_share_has_its_wilson_interval() -> None:
    estimate = share_estimate(0.9, 50)
    assert (estimate.low, estimate.high) == wilson(45, 50)

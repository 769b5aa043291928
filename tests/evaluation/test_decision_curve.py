"""Decision curves beside their closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tabcohort.evaluation.decision import LabelledRows
from tabcohort.evaluation.decision_curve import NetBenefit, decision_curve, useful_range
from tabcohort.evaluation.intervals import Estimate

# 10 rows, 4 of the class. At 0.5: 3 hits and 1 false alarm.
ROWS = LabelledRows(
    np.array([0.9, 0.8, 0.7, 0.3, 0.6, 0.4, 0.3, 0.2, 0.1, 0.1]), np.arange(10) < 4, np.ones(10), np.arange(10)
)


def test_the_net_benefit_by_hand() -> None:
    half, low = decision_curve(ROWS, np.array([0.5, 0.25]))
    assert half.model.value == pytest.approx(3 / 10 - 1 / 10)
    assert half.treat_all == pytest.approx(0.4 - 0.6)
    assert half.gain.value == pytest.approx(0.2)  # acting on none is better than acting on all
    assert low.model.value == pytest.approx(4 / 10 - 3 / 10 / 3)
    assert low.treat_all == pytest.approx(0.4 - 0.6 / 3)
    assert low.gain.value == pytest.approx(0.3 - 0.2)


def test_its_interval_is_that_of_a_mean() -> None:
    (half,) = decision_curve(ROWS, np.array([0.5]))
    worth = np.array([1, 1, 1, 0, -1, 0, 0, 0, 0, 0.0])
    error = math.sqrt(np.square((worth - 0.2) / 10).sum())
    assert half.model.high - half.model.value == pytest.approx(1.959964 * error, rel=1e-5)


def test_weights_count_as_copies_do() -> None:
    copies = LabelledRows(*(np.repeat(array, 2) for array in vars(ROWS).values()))
    weighted = LabelledRows(ROWS.proba, ROWS.is_positive, np.full(10, 2.0), ROWS.group_ids)
    for one, other in zip(
        decision_curve(copies, np.array([0.3])), decision_curve(weighted, np.array([0.3])), strict=True
    ):
        assert one.model.value == pytest.approx(other.model.value)
        assert one.treat_all == pytest.approx(other.treat_all)
        # Copies are one group each, so they tell no more than the row did; with few groups, they are wider.
        assert one.model.high - one.model.low >= (other.model.high - other.model.low) * 0.999


def test_perfect_predictions_have_the_benefit_of_the_prevalence() -> None:
    perfect = LabelledRows(ROWS.is_positive * 1.0, ROWS.is_positive, np.ones(10), np.arange(10))
    assert all(point.model.value == pytest.approx(0.4) for point in decision_curve(perfect, np.array([0.1, 0.5, 0.9])))


def test_the_useful_range_is_the_longest_run_above_zero() -> None:
    def points(lows: list[float]) -> list[NetBenefit]:
        unknown = Estimate(0, 0, 0)
        return [NetBenefit(i / 10, unknown, 0, Estimate(low, low, low)) for i, low in enumerate(lows, 1)]

    assert useful_range(points([1, -1, 1, 1, 1, -1])) == (0.3, 0.5)
    assert useful_range(points([-1, 0])) is None

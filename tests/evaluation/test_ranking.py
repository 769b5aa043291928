"""Areas and influences from ranks, by counting pairs and by differences, with ties and rows of no weight."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tabcohort.evaluation.ranking import Ranking
from tabcohort.types import BoolArray, FloatArray


def rows(n_rows: int, share: float) -> tuple[FloatArray, BoolArray, FloatArray]:
    """Return scores with ties, which rows are of the class, and uneven weights."""
    rng = np.random.default_rng(n_rows)
    is_class = rng.random(n_rows) < share
    is_class[:2] = True, False
    return np.round(rng.normal(size=n_rows) + is_class, 1), is_class, rng.uniform(0.5, 2.0, n_rows)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_the_area_under_the_roc_curve_is_the_share_of_pairs_in_order(share: float) -> None:
    score, is_class, weight = rows(120, share)
    pairs = np.outer(weight[is_class], weight[~is_class])
    difference = score[is_class][:, None] - score[~is_class]
    expected = ((difference > 0) + (difference == 0) / 2) * pairs
    assert Ranking(score, is_class).areas(weight)[0] == pytest.approx(expected.sum() / pairs.sum(), rel=1e-12)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_average_precision_is_the_mean_precision_at_the_rows_of_the_class(share: float) -> None:
    score, is_class, weight = rows(120, share)
    precisions = [weight[(score >= own) & is_class].sum() / weight[score >= own].sum() for own in score[is_class]]
    expected = np.average(precisions, weights=weight[is_class])
    assert Ranking(score, is_class).areas(weight)[1] == pytest.approx(expected, rel=1e-12)


def test_a_rare_class_has_few_ranks_and_each_row_has_one() -> None:
    score = np.array([5.0, 4.0, 4.0, 3.0, 2.0, 1.0])
    ranking = Ranking(score, np.array([False, True, False, False, True, False]))
    assert ranking.n_ranks == 5
    assert ranking.rank.tolist() == [0, 1, 1, 2, 3, 4]
    assert ranking.n_hits(np.arange(6.0)) == 5.0


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_influences_are_the_derivatives_of_the_areas(share: float) -> None:
    score, is_class, weight = rows(60, share)
    ranking, step = Ranking(score, is_class), 1e-6
    for place in range(0, 60, 7):
        change = np.zeros(60)
        change[place] = step
        up, down = (np.array(ranking.areas(weight + sign * change)) for sign in (1, -1))
        own = [influence[place] for influence in ranking.influences(weight)]
        np.testing.assert_allclose(own, (up - down) / (2 * step), rtol=1e-6, atol=1e-9)


def test_rows_of_no_weight_change_no_area() -> None:
    score, is_class, weight = rows(80, 0.3)
    weight[[0, 5, 9]] = 0
    kept = weight > 0
    expected = Ranking(score[kept], is_class[kept]).areas(weight[kept])
    assert Ranking(score, is_class).areas(weight) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_areas_are_the_same_however_little_all_rows_weigh_together(share: float) -> None:
    ranking, weight = Ranking(*rows(80, share)[:2]), rows(80, share)[2]
    for total in (1.5, 1e-6):
        assert ranking.areas(weight * total / weight.sum()) == pytest.approx(ranking.areas(weight), rel=1e-9)


def test_areas_that_the_rows_cannot_determine_are_nan() -> None:
    score = np.array([1.0, 2.0, 3.0])
    no_row = Ranking(score, np.zeros(3, dtype=bool)).areas(np.ones(3))
    assert math.isnan(no_row[0])
    assert math.isnan(no_row[1])
    only = Ranking(score, np.ones(3, dtype=bool)).areas(np.ones(3))
    assert math.isnan(only[0])
    assert only[1] == 1.0

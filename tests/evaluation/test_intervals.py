"""Intervals against closed forms, published values and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from tabcohort.evaluation.intervals import (
    UNKNOWN,
    Z95,
    clopper_pearson_lower,
    design_effect,
    mean_estimate,
    newcombe_auc,
    rate_estimate,
    standard_error_of_mean,
    wilson,
)
from tabcohort.evaluation.metrics import Scorer, log_probabilities
from tabcohort.types import FloatArray, IntArray

# -- proportions and areas -------------------------------------------------------------------------------------------


def test_the_limit_of_clopper_and_pearson_is_where_so_many_successes_become_unlikely() -> None:
    successes, trials = np.array([1.0, 7.0, 30.0, 30.0]), np.array([10.0, 10.0, 30.0, 400.0])
    limits = clopper_pearson_lower(successes, trials, 0.9)
    np.testing.assert_allclose(stats.binom.sf(successes - 1, trials.astype(int), limits), 0.1)
    np.testing.assert_array_equal(clopper_pearson_lower(np.zeros(2), np.array([0.0, 8.0]), 0.9), 0.0)
    between = clopper_pearson_lower(np.array([7.0, 7.5, 8.0]), np.full(3, 10.0), 0.9)
    assert between[0] < between[1] < between[2]  # weighted counts are not whole


def test_wilson_gives_the_published_interval() -> None:
    # 10 of 100: Wilson's score interval as tabulated in many places, e.g. by statsmodels' proportion_confint.
    assert wilson(10, 100) == pytest.approx((0.0552, 0.1744), abs=5e-5)
    # Newcombe (1998), Statistics in Medicine 17, Table I, method 3: 81/263, 15/148, 0/20, 1/29.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(st.integers(1, 1000), st.floats(0, 1))
@hypothesis_settings(max_examples=60, deadline=None)
def test_wilson_limits_are_where_the_score_test_just_rejects(trials: int, share: float) -> None:
    successes = round(share * trials)
    for limit in wilson(successes, trials):
        if 1e-9 < limit < 1 - 1e-9:
            distance = abs(successes / trials - limit) / math.sqrt(limit * (1 - limit) / trials)
            assert distance == pytest.approx(Z95, rel=1e-6)


def test_wilson_without_trials_is_nan() -> None:
    assert all(math.isnan(limit) for limit in wilson(0, 0))


@given(st.floats(0, 1), st.integers(1, 500), st.integers(1, 500))
@hypothesis_settings(max_examples=60, deadline=None)
def test_newcombes_interval_contains_the_value_and_is_where_its_standard_error_says(auc: float, m: int, n: int) -> None:
    low, high = newcombe_auc(auc, m, n)
    assert 0 <= low <= auc <= high <= 1
    for limit in (low, high):
        if 1e-9 < limit < 1 - 1e-9:
            half = (m + n) / 2 - 1
            variance = 1 + half * (1 - limit) / (2 - limit) + half * limit / (1 + limit)
            error = math.sqrt(limit * (1 - limit) * variance / (m * n))
            assert abs(auc - limit) == pytest.approx(Z95 * error, rel=1e-6, abs=1e-9)


def test_newcombes_interval_of_a_perfect_ranking_does_not_collapse() -> None:
    low, high = newcombe_auc(1.0, 20, 20)
    assert 0.8 < low < 0.98
    assert high == 1.0
    assert all(math.isnan(limit) for limit in newcombe_auc(math.nan, 5, 0))


def sample(rng: np.random.Generator, n_rows: int = 100) -> tuple[FloatArray, IntArray]:
    """Logits and classes of x ~ N(+-1, 1), scored by their true log odds 2 x, for which truths have closed forms."""
    y = rng.integers(2, size=n_rows)
    return 2 * rng.normal(2 * y - 1, 1)[:, None], y


def test_closed_form_intervals_cover_the_truth_about_95_times_of_100() -> None:
    rng = np.random.default_rng(11)
    n_runs, n_accuracy, n_roc_auc = 1_500, 0, 0
    for _ in range(n_runs):
        logits, y = sample(rng)
        values = Scorer(log_probabilities(logits), y, 1).metrics(np.ones(len(y)))
        low, high = wilson(values["accuracy"] * len(y), len(y))
        n_accuracy += low <= stats.norm.cdf(1) <= high
        low, high = newcombe_auc(values["roc_auc"], (y == 0).sum(), (y == 1).sum())
        n_roc_auc += low <= stats.norm.cdf(math.sqrt(2)) <= high
    assert 0.92 <= n_accuracy / n_runs <= 0.99
    assert 0.92 <= n_roc_auc / n_runs <= 0.99


# -- means -----------------------------------------------------------------------------------------------------------


def test_the_standard_error_of_a_mean_takes_a_group_as_one() -> None:
    rng = np.random.default_rng(0)
    values, weight, group_ids = rng.normal(size=50), rng.uniform(0.5, 2, 50), np.sort(rng.integers(9, size=50))
    alone = standard_error_of_mean(values, weight)
    assert alone == pytest.approx(standard_error_of_mean(values, weight, rng.permutation(50)), rel=1e-12)
    share = weight / weight.sum()
    assert alone == pytest.approx(math.hypot(*(share * (values - share @ values))), rel=1e-12)
    repeated = standard_error_of_mean(np.repeat(values, 3), np.repeat(weight, 3), np.repeat(np.arange(50), 3))
    assert alone < repeated < 1.1 * alone
    values += rng.normal(size=9)[group_ids]
    of_groups = np.bincount(group_ids, share * (values - share @ values))
    least = math.hypot(*of_groups) * math.sqrt(9 / 8) * stats.t.ppf(0.975, 8) / Z95
    assert least <= standard_error_of_mean(values, weight, group_ids) < 2 * least
    assert standard_error_of_mean(values, weight, 0 * group_ids) > 5 * standard_error_of_mean(values, weight)


def test_a_mean_has_its_normal_interval_and_is_unknown_without_rows() -> None:
    rng = np.random.default_rng(0)
    values, weight, group_ids = rng.normal(size=40), rng.uniform(0.5, 2, 40), np.arange(40) // 4
    for ids in (None, group_ids):
        estimate = mean_estimate(values, weight, ids)
        error = standard_error_of_mean(values, weight, ids)
        assert estimate.value == pytest.approx(np.average(values, weights=weight))
        assert estimate.high - estimate.value == pytest.approx(Z95 * error)
        assert estimate.value - estimate.low == pytest.approx(Z95 * error)
    assert mean_estimate(np.empty(0), np.empty(0)) is UNKNOWN


# -- design effects --------------------------------------------------------------------------------------------------


@given(st.integers(2, 60), st.integers(1, 20), st.integers(0, 999))
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_design_effect_is_at_least_1_and_1_for_independent_rows(n_rows: int, n_groups: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 2, n_rows)
    values = rng.normal(size=n_rows)
    influence = weight * (values - weight @ values / weight.sum())
    group_ids = np.unique(rng.integers(n_groups, size=n_rows), return_inverse=True)[1]
    assert design_effect(influence, weight, group_ids) >= 1
    assert design_effect(influence, weight, rng.permutation(n_rows)) == 1
    assert design_effect(1000 * influence, weight, group_ids) == pytest.approx(
        design_effect(influence, weight, group_ids)
    )


def test_the_design_effect_of_many_groups_of_equal_rows_is_the_number_of_rows_in_a_group() -> None:
    values = np.random.default_rng(0).normal(size=2_000)
    values -= values.mean()
    effect = design_effect(np.repeat(values, 5), np.ones(10_000), np.repeat(np.arange(2_000), 5))
    assert effect == pytest.approx(5, rel=0.01)


def test_groups_that_cancel_out_have_no_effect_and_without_influence_all_rows_of_a_group_count_as_one() -> None:
    group_ids, weight = np.repeat(np.arange(30), 2), np.ones(60)
    assert design_effect(np.tile([1.0, -1.0], 30), weight, group_ids) == 1
    widened = (stats.t.ppf(0.975, 29) / Z95) ** 2
    assert design_effect(np.zeros(60), weight, group_ids) == pytest.approx(2 * widened)
    one_group = 60 * (stats.t.ppf(0.975, 1) / Z95) ** 2
    assert design_effect(np.tile([1.0, -1.0], 30), weight, 0 * group_ids) == pytest.approx(one_group)


def test_the_design_effect_of_few_groups_is_widened_twice() -> None:
    """Sums of the groups: 2, -2, 2, -2 and 0."""
    influence = np.array([1.0, 1, -1, -1, 1, 1, -1, -1, 0, 0])
    effect = design_effect(influence, np.ones(10), np.repeat(np.arange(5), 2))
    assert effect == pytest.approx(5 / 4 * 16 / 8 * (stats.t.ppf(0.975, 4) / Z95) ** 2)


def test_a_rate_has_the_wilson_interval_of_the_rows_that_weights_and_groups_leave() -> None:
    is_success = np.arange(40) < 10
    plain = rate_estimate(is_success, np.ones(40))
    assert (plain.low, plain.value, plain.high) == pytest.approx((wilson(10, 40)[0], 0.25, wilson(10, 40)[1]))
    weight = np.where(is_success, 3.0, 1.0)
    weighted = rate_estimate(is_success, weight)
    n_effective = 60**2 / np.square(weight).sum()
    assert weighted.value == 0.5
    assert weighted.low == pytest.approx(wilson(n_effective / 2, n_effective)[0])
    copies = rate_estimate(np.repeat(is_success, 5), np.ones(200), np.repeat(np.arange(40), 5))
    assert copies.high - copies.low >= plain.high - plain.low
    assert math.isnan(rate_estimate(is_success[:0], np.ones(0)).value)

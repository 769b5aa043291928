"""Tests of drift: against scipy.stats where it has them, in closed form elsewhere, and their false alarms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tabcohort.evaluation.drift import (
    MAX_EXACT_ROWS,
    levels_drift,
    mean_drift,
    quantiles_drift,
    samples_drift,
    share_drift,
    standardized_difference,
)

RNG = np.random.default_rng(0)


# -- numbers ---------------------------------------------------------------------------------------------------------


def test_small_samples_have_the_exact_test_of_kolmogorov_and_smirnov() -> None:
    reference, new = np.arange(8.0), np.arange(6.0) + 2.5
    drift = samples_drift(reference, new)
    assert drift.p_value == pytest.approx(stats.ks_2samp(reference, new, method="exact").pvalue)
    assert drift.size == pytest.approx((new.mean() - reference.mean()) / reference.std())
    assert (drift.reference, drift.new) == (3.5, 5.0)


def test_large_samples_have_the_asymptotic_one() -> None:
    reference, new = RNG.normal(size=MAX_EXACT_ROWS + 1), RNG.normal(0.1, 1, 700)
    assert samples_drift(reference, new).p_value == pytest.approx(stats.ks_2samp(reference, new, method="asymp").pvalue)


def test_a_reference_without_deviation_has_no_standardized_difference() -> None:
    assert math.isnan(samples_drift(np.ones(5), np.zeros(5)).size)
    assert standardized_difference(1.0, 2.0, 4.0) == 1.5


def test_a_mean_is_tested_with_the_errors_of_both_samples() -> None:
    new = RNG.normal(0.2, 1, 400)
    drift = mean_drift(0.0, 1.5, 900, new)
    assert drift is not None
    error = math.sqrt(1.5**2 / 900 + max(1.5, new.std()) ** 2 / 400)
    assert drift.p_value == pytest.approx(2 * stats.norm.sf(new.mean() / error))
    assert drift.size == pytest.approx(new.mean() / 1.5)


@pytest.mark.parametrize(
    ("deviation", "n_reference", "new"),
    [
        (1.0, 900.0, RNG.normal(size=20)),  # few
        (0.0, 900.0, RNG.normal(size=200)),  # a constant
        (1.0, 900.0, np.exp(2 * RNG.normal(size=200))),  # skewed
        (1.0, 10.0, RNG.normal(size=200)),
        (1.0, 900.0, np.empty(0)),
    ],
)
def test_a_mean_is_not_tested_where_its_distribution_is_not_known(
    deviation: float, n_reference: float, new: np.ndarray
) -> None:
    assert mean_drift(0.0, deviation, n_reference, new) is None


def test_parts_between_quantiles_are_as_likely_as_each_other() -> None:
    edges, new = (
        np.array([-0.5, 0.0, 0.5]),
        np.concatenate([np.full(30, -1.0), np.full(10, 0.2), RNG.uniform(1, 2, 20)]),
    )
    drift = quantiles_drift(edges, 120, (0.0, 1.0), new)
    assert drift is not None
    statistic = ((30 - 15) ** 2 + 15**2 + (10 - 15) ** 2 + (20 - 15) ** 2) / 15
    assert drift.p_value == pytest.approx(stats.chi2.sf(statistic / 1.5, 3))


def test_quantiles_are_not_tested_where_numbers_are_equal_to_them_or_rows_are_few() -> None:
    edges = np.array([-0.5, 0.0, 0.5])
    assert quantiles_drift(edges, 120, (0.0, 1.0), np.repeat([-1.0, 0.0, 1.0], 20)) is None
    assert quantiles_drift(edges, 120, (0.0, 1.0), RNG.normal(size=19)) is None
    assert quantiles_drift(edges, 19, (0.0, 1.0), RNG.normal(size=120)) is None
    assert quantiles_drift(np.empty(0), 120, (0.0, 1.0), RNG.normal(size=120)) is None


# -- levels and shares -----------------------------------------------------------------------------------------------


def test_levels_have_the_chi_square_test_and_the_total_variation_distance() -> None:
    drift = levels_drift(np.array([50, 30, 20, 0]), np.array([20, 30, 50, 0]))
    assert drift is not None
    assert drift.p_value == pytest.approx(stats.chi2_contingency([[50, 30, 20], [20, 30, 50]]).pvalue)
    assert drift.size == pytest.approx(0.3)


def test_two_levels_have_fishers_exact_test() -> None:
    drift = levels_drift(np.array([50, 5, 0]), np.array([30, 12, 0]))
    assert drift is not None
    assert drift.p_value == pytest.approx(stats.fisher_exact([[50, 5], [30, 12]]).pvalue)


def test_rare_levels_and_those_that_the_reference_lacks_are_counted_together() -> None:
    drift = levels_drift(np.array([60, 30, 2, 2, 3, 3, 0]), np.array([55, 30, 2, 1, 1, 0, 11]))
    assert drift is not None
    assert drift.p_value == pytest.approx(stats.chi2_contingency([[60, 30, 10], [55, 30, 15]]).pvalue)


def test_rare_levels_that_are_too_few_together_are_counted_with_the_rarest_other() -> None:
    drift = levels_drift(np.array([50, 30, 20, 1, 0]), np.array([50, 30, 18, 0, 2]))
    assert drift is not None
    assert drift.p_value == pytest.approx(stats.chi2_contingency([[50, 30, 21], [50, 30, 20]]).pvalue)


def test_one_level_or_no_rows_cannot_be_tested() -> None:
    assert levels_drift(np.array([50, 0, 0]), np.array([30, 0, 0])) is None
    assert levels_drift(np.array([50, 3, 0]), np.array([0, 0, 0])) is None


def test_a_share_has_fishers_exact_test_of_one_side_or_both() -> None:
    table = [[2, 98], [9, 41]]
    both, more = share_drift(2, 100, 9, 50), share_drift(2, 100, 9, 50, is_more=True)
    assert both is not None
    assert more is not None
    assert both.p_value == pytest.approx(stats.fisher_exact(table).pvalue)
    assert more.p_value == pytest.approx(stats.fisher_exact(table, alternative="less").pvalue)
    assert (both.size, both.reference, both.new) == pytest.approx((0.16, 0.02, 0.18))
    fewer = share_drift(18, 100, 1, 50, is_more=True)
    assert fewer is not None
    assert fewer.p_value > 0.5
    assert share_drift(0, 100, 0, 50) is None
    assert share_drift(0, 0, 3, 50) is None


# -- false alarms ----------------------------------------------------------------------------------------------------


def test_p_values_of_samples_of_one_population_are_small_as_rarely_as_they_say() -> None:
    """300 pairs of samples; at 5 % 15 are expected, and more than 28 have a probability below 0.1 %."""
    levels = np.arange(1, 61)
    shares = 1 / levels
    small = {"samples": 0, "mean": 0, "quantiles": 0, "levels": 0}
    for seed in range(300):
        rng = np.random.default_rng(seed)
        reference, new = rng.normal(size=320), rng.normal(size=160)
        quantiles = np.sort(reference)[np.arange(20, 320, 20) - 1]
        draws = [rng.choice(61, n, p=np.append(shares / shares.sum(), 0)) for n in (320, 160)]
        counts = [np.bincount(own, minlength=61).astype(float) for own in draws]
        is_unknown = counts[0] == 0  # levels are those of the reference
        counts[1][-1] = counts[1][is_unknown].sum()
        counts[1][:-1][is_unknown[:-1]] = 0
        drifts = {
            "samples": samples_drift(reference, new),
            "mean": mean_drift(float(reference.mean()), float(reference.std()), 320, new),
            "quantiles": quantiles_drift(quantiles, 320, (0.0, 1.0), new),
            "levels": levels_drift(*counts),
        }
        for name, drift in drifts.items():
            assert drift is not None
            small[name] += drift.p_value < 0.05
    assert max(small.values()) <= 28, small
    assert min(small.values()) >= 4, small

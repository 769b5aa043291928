"""Column statistics: fitted with weights, exact where it is hard, the same bits everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tabcohort.prepare import Statistics, fit_statistics, standardise


@given(st.integers(2, 60), st.integers(1, 5), st.integers(0, 2**32))
@hypothesis_settings(max_examples=40, deadline=None)
def test_statistics_are_those_of_scikit_learn(n_rows: int, n_features: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(rng.normal(0, 9, n_features), rng.uniform(0.1, 9, n_features), (n_rows, n_features))
    weight = rng.uniform(0.1, 4, n_rows)
    scaler = StandardScaler().fit(X, sample_weight=weight)
    found = fit_statistics(X, weight)
    np.testing.assert_allclose(found.centre, scaler.mean_, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.scale, 1 / scaler.scale_, rtol=1e-9)


def test_standardised_training_rows_have_mean_zero_and_variance_one() -> None:
    X = np.random.default_rng(0).normal(3, 7, (200, 4))
    inputs = standardise(X, fit_statistics(X, np.ones(200)))
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(inputs.std(axis=0), 1, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9, 1e-300, 1e100])
def test_a_column_that_does_not_vary_has_scale_zero(value: float) -> None:
    X = np.column_stack([np.full(30, value), np.arange(30.0)])
    statistics = fit_statistics(X, np.random.default_rng(0).uniform(0.1, 1, 30))
    assert statistics.scale[0] == 0 < statistics.scale[1]
    assert (standardise(X + 1, statistics)[:, 0] == 0).all()


@pytest.mark.parametrize("offset", [0.0, 1.7e9, -4e12])
def test_columns_far_from_zero_keep_their_digits(offset: float) -> None:
    spread = np.arange(100.0)
    statistics = fit_statistics((spread + offset)[:, None], np.ones(100))
    np.testing.assert_allclose(statistics.scale, 1 / spread.std(), rtol=1e-12)
    np.testing.assert_allclose(statistics.centre - offset, spread.mean(), rtol=1e-12 + abs(offset) * 1e-15)


def test_standardise_works_in_double_precision() -> None:
    X = np.array([[1e9 + 1.0], [1e9 + 3.0]])  # float32 cannot tell these two apart
    np.testing.assert_array_equal(standardise(X, Statistics(np.array([1e9]), np.array([0.5]))), [[0.5], [1.5]])


def test_a_weight_of_two_is_two_rows() -> None:
    rng = np.random.default_rng(0)
    X, times = rng.normal(size=(40, 3)), rng.integers(1, 4, 40)
    weighted, repeated = (
        fit_statistics(X, times * 1.0),
        fit_statistics(np.repeat(X, times, axis=0), np.ones(times.sum())),
    )
    np.testing.assert_allclose(weighted.centre, repeated.centre, rtol=1e-13)
    np.testing.assert_allclose(weighted.scale, repeated.scale, rtol=1e-13)


def test_statistics_have_the_same_bits_on_any_number_of_threads() -> None:
    X = np.random.default_rng(0).normal(size=(20_000, 30))
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(fit_statistics(X, np.ones(len(X))))
    np.testing.assert_array_equal(found[0].centre, found[1].centre)
    np.testing.assert_array_equal(found[0].scale, found[1].scale)

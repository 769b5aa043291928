"""Column statistics: fitted with weights, exact where it is hard, the same bits everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tabcohort.data import encoder
from tabcohort.data.encoder import Statistics, blocks, fit_statistics, standardize, store_rows
from tabcohort.types import FloatArray


@given(st.integers(2, 60), st.integers(1, 5), st.integers(0, 2**32))
@hypothesis_settings(max_examples=40, deadline=None)
def test_statistics_are_those_of_scikit_learn(n_rows: int, n_features: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(rng.normal(0, 9, n_features), rng.uniform(0.1, 9, n_features), (n_rows, n_features))
    weight = rng.uniform(0.1, 4, n_rows)
    scaler = StandardScaler().fit(X, sample_weight=weight)
    found = fit_statistics(X, weight)
    np.testing.assert_allclose(found.center, scaler.mean_, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.scale, 1 / scaler.scale_, rtol=1e-9)


def test_standardised_training_rows_have_mean_zero_and_variance_one() -> None:
    X = np.random.default_rng(0).normal(3, 7, (200, 4))
    inputs = standardize(X, fit_statistics(X, np.ones(200)))
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(inputs.std(axis=0), 1, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9, 1e-300, 1e100])
def test_a_column_that_does_not_vary_has_scale_zero(value: float) -> None:
    X = np.column_stack([np.full(30, value), np.arange(30.0)])
    statistics = fit_statistics(X, np.random.default_rng(0).uniform(0.1, 1, 30))
    assert statistics.scale[0] == 0 < statistics.scale[1]
    assert (standardize(X + 1, statistics)[:, 0] == 0).all()


@pytest.mark.parametrize("offset", [0.0, 1.7e9, -4e12])
def test_columns_far_from_zero_keep_their_digits(offset: float) -> None:
    spread = np.arange(100.0)
    statistics = fit_statistics((spread + offset)[:, None], np.ones(100))
    np.testing.assert_allclose(statistics.scale, 1 / spread.std(), rtol=1e-12)
    np.testing.assert_allclose(statistics.center - offset, spread.mean(), rtol=1e-12 + abs(offset) * 1e-15)


def test_standardise_works_in_double_precision() -> None:
    X = np.array([[1e9 + 1.0], [1e9 + 3.0]])  # float32 cannot tell these two apart
    np.testing.assert_array_equal(standardize(X, Statistics(np.array([1e9]), np.array([0.5]))), [[0.5], [1.5]])


def test_a_weight_of_two_is_two_rows() -> None:
    rng = np.random.default_rng(0)
    X, times = rng.normal(size=(40, 3)), rng.integers(1, 4, 40)
    weighted, repeated = (
        fit_statistics(X, times * 1.0),
        fit_statistics(np.repeat(X, times, axis=0), np.ones(times.sum())),
    )
    np.testing.assert_allclose(weighted.center, repeated.center, rtol=1e-13)
    np.testing.assert_allclose(weighted.scale, repeated.scale, rtol=1e-13)


def test_statistics_have_the_same_bits_on_any_number_of_threads() -> None:
    X = np.random.default_rng(0).normal(size=(20_000, 30))
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(fit_statistics(X, np.ones(len(X))))
    np.testing.assert_array_equal(found[0].center, found[1].center)
    np.testing.assert_array_equal(found[0].scale, found[1].scale)


# Stored rows


def standardised_from_storage(X: FloatArray, statistics: Statistics | None) -> FloatArray:
    """Return what a network's inputs are, worked out from stored rows, in float64."""
    stored = store_rows(X, statistics)
    reading = stored.statistics_of_stored(statistics)
    assert stored.stored.dtype == np.float32
    assert stored.stored.flags.c_contiguous
    return (stored.stored - reading.center) * reading.scale


@given(
    st.sampled_from([0.0, 1.0, -40.0, 1.7e9, -4e12, 1e30]),
    st.sampled_from([1e-6, 0.3, 1.0, 7.0, 1e5, 1e30]),
    st.integers(0, 2**32),
)
@hypothesis_settings(max_examples=100, deadline=None)
def test_stored_rows_keep_the_digits_of_how_rows_differ(center: float, spread: float, seed: int) -> None:
    X = np.random.default_rng(seed).normal(center, spread, (60, 3))
    statistics = fit_statistics(X, np.ones(60))
    expected = (X - statistics.center) * statistics.scale
    np.testing.assert_allclose(standardised_from_storage(X, statistics), expected, rtol=1e-6, atol=1e-12)


def test_seconds_since_1970_are_told_apart_by_the_minute() -> None:
    X = 1.7e9 + 60.0 * np.arange(1000)[:, None]
    statistics = fit_statistics(X, np.ones(1000))
    assert len(np.unique(X.astype(np.float32))) < 500  # as float32 cannot by itself
    assert len(np.unique(store_rows(X, statistics).stored)) == 1000
    expected = (X - statistics.center) * statistics.scale
    np.testing.assert_allclose(standardised_from_storage(X, statistics), expected, rtol=1e-6)


def test_a_unit_is_the_power_of_two_nearest_to_the_spread_so_it_costs_no_digit() -> None:
    X = np.random.default_rng(0).normal(0, [0.001, 1.0, 1000.0], (50, 3))
    statistics = fit_statistics(X, np.ones(50))
    stored = store_rows(X, statistics)
    np.testing.assert_array_equal(np.frexp(stored.unit)[0], 0.5)
    np.testing.assert_allclose(np.log2(statistics.scale * stored.unit), 0, atol=0.5)
    np.testing.assert_array_equal(stored.origin, statistics.center)
    exact = ((X - stored.origin) / stored.unit).astype(np.float32)
    np.testing.assert_array_equal(stored.stored, exact)
    np.testing.assert_allclose(stored.origin + stored.unit * stored.stored, X, rtol=0, atol=1e-6 * stored.unit.max())


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9, 1e100])
def test_a_column_that_did_not_vary_is_zero_whatever_it_holds_later(value: float) -> None:
    X = np.column_stack([np.full(30, value), np.arange(30.0)])
    statistics = fit_statistics(X, np.ones(30))
    later = np.column_stack([np.linspace(-1e300, 1e300, 30), np.arange(30.0)])
    found = standardised_from_storage(later, statistics)
    assert (found[:, 0] == 0).all()
    np.testing.assert_allclose(found[:, 1], (X[:, 1] - X[:, 1].mean()) / X[:, 1].std(), rtol=1e-6)


def test_values_beyond_float32_are_clipped_and_stay_finite() -> None:
    statistics = Statistics(np.array([0.0, 5.0]), np.array([1.0, 1e-3]))
    stored = store_rows(np.array([[1e300, -1e308], [-1e39, 1e308], [1e17, 2.0]]), statistics).stored
    assert np.isfinite(stored).all()
    np.testing.assert_array_equal(np.sign(stored[:2]), [[1, -1], [-1, 1]])
    assert (np.abs(stored[:2]) >= 1e18).all()
    assert stored[2, 0] == np.float32(1e17)


def test_inputs_of_values_beyond_float32_are_finite_too() -> None:
    X = np.array([[0.0], [1.0], [1e300], [-1e300]])
    for spread in np.geomspace(0.5, 2, 9):  # the unit is not quite the spread
        statistics = Statistics(np.zeros(1), np.array([1 / spread]))
        assert np.isfinite(standardised_from_storage(X, statistics).astype(np.float32)).all()


def test_rows_that_nothing_standardises_are_stored_as_they_are() -> None:
    X = np.random.default_rng(0).normal(3, 7, (40, 2))
    stored = store_rows(X, None)
    np.testing.assert_array_equal(stored.stored, X.astype(np.float32))
    reading = stored.statistics_of_stored(None)
    np.testing.assert_array_equal((stored.stored - reading.center) * reading.scale, X.astype(np.float32))


@pytest.mark.parametrize("n_rows", [1, 6, 7, 8, 20, 21])
def test_a_table_of_many_blocks_is_one_table(n_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X, weight = rng.normal(1e6, 3, (n_rows, 4)), rng.uniform(0.5, 2, n_rows)
    rows = rng.permutation(n_rows)[: max(1, n_rows - 2)]
    found = []
    for at_a_time in (7, 4096):
        monkeypatch.setattr(encoder, "ROWS_AT_A_TIME", at_a_time)
        statistics = fit_statistics(X, weight[rows], rows)
        stored = store_rows(X, statistics)
        found.append((statistics.center, statistics.scale, stored.stored, standardize(X, statistics)))
    for name, one, other in zip(("center", "scale", "stored", "standardised"), *found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-6 if one.dtype == np.float32 else 0, err_msg=name)
    monkeypatch.setattr(encoder, "ROWS_AT_A_TIME", 7)
    np.testing.assert_array_equal(
        np.concatenate([np.arange(n_rows)[each] for each in blocks(n_rows)]), np.arange(n_rows)
    )
    assert all(each.stop - each.start <= 7 for each in blocks(n_rows))


def test_statistics_of_some_rows_are_those_of_a_table_of_these_rows() -> None:
    rng = np.random.default_rng(0)
    X, weight, rows = rng.normal(size=(50, 3)), rng.uniform(0.5, 2, 20), rng.permutation(50)[:20]
    some, alone = fit_statistics(X, weight, rows), fit_statistics(X[rows], weight)
    np.testing.assert_array_equal(some.center, alone.center)
    np.testing.assert_array_equal(some.scale, alone.scale)

"""Column statistics: fitted with weights, exact where it is hard, the same bits everywhere; and encoded columns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tabcohort.data import encoder
from tabcohort.data.encoder import (
    Statistics,
    encode,
    encoding_of,
    fit_statistics,
    row_slices,
    standardize,
    store_rows,
)
from tabcohort.types import FloatArray


@given(st.integers(2, 60), st.integers(1, 5), st.integers(0, 2**32))
@hypothesis_settings(max_examples=40, deadline=None)
def test_statistics_are_those_of_scikit_learn(n_rows: int, n_features: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(rng.normal(0, 9, n_features), rng.uniform(0.1, 9, n_features), (n_rows, n_features))
    weight = rng.uniform(0.1, 4, n_rows)
    scaler = StandardScaler().fit(X, sample_weight=weight)
    statistics = fit_statistics(X, weight)
    np.testing.assert_allclose(statistics.center, scaler.mean_, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(statistics.scale, 1 / scaler.scale_, rtol=1e-9)


def test_standardized_training_rows_have_mean_zero_and_variance_one() -> None:
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


def test_standardizing_works_in_double_precision() -> None:
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
    by_threads = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            by_threads.append(fit_statistics(X, np.ones(len(X))))
    np.testing.assert_array_equal(by_threads[0].center, by_threads[1].center)
    np.testing.assert_array_equal(by_threads[0].scale, by_threads[1].scale)


# -- stored rows -----------------------------------------------------------------------------------------------------


def standardized_from_storage(X: FloatArray, statistics: Statistics | None) -> FloatArray:
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
    np.testing.assert_allclose(standardized_from_storage(X, statistics), expected, rtol=1e-6, atol=1e-12)


def test_seconds_since_1970_keep_their_minutes() -> None:
    X = 1.7e9 + 60.0 * np.arange(1000)[:, None]
    statistics = fit_statistics(X, np.ones(1000))
    assert len(np.unique(X.astype(np.float32))) < 500  # as float32 cannot by itself
    assert len(np.unique(store_rows(X, statistics).stored)) == 1000
    expected = (X - statistics.center) * statistics.scale
    np.testing.assert_allclose(standardized_from_storage(X, statistics), expected, rtol=1e-6)


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
    inputs = standardized_from_storage(later, statistics)
    assert (inputs[:, 0] == 0).all()
    np.testing.assert_allclose(inputs[:, 1], (X[:, 1] - X[:, 1].mean()) / X[:, 1].std(), rtol=1e-6)


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
        assert np.isfinite(standardized_from_storage(X, statistics).astype(np.float32)).all()


def test_rows_that_nothing_standardizes_are_stored_as_they_are() -> None:
    X = np.random.default_rng(0).normal(3, 7, (40, 2))
    stored = store_rows(X, None)
    np.testing.assert_array_equal(stored.stored, X.astype(np.float32))
    reading = stored.statistics_of_stored(None)
    np.testing.assert_array_equal((stored.stored - reading.center) * reading.scale, X.astype(np.float32))


@pytest.mark.parametrize("n_rows", [1, 6, 7, 8, 20, 21])
def test_a_table_of_many_slices_is_one_table(n_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X, weight = rng.normal(1e6, 3, (n_rows, 4)), rng.uniform(0.5, 2, n_rows)
    rows = rng.permutation(n_rows)[: max(1, n_rows - 2)]
    by_size = []
    for rows_per_slice in (7, 4096):
        monkeypatch.setattr(encoder, "ROWS_PER_SLICE", rows_per_slice)
        statistics = fit_statistics(X, weight[rows], rows)
        stored = store_rows(X, statistics)
        by_size.append((statistics.center, statistics.scale, stored.stored, standardize(X, statistics)))
    for name, one, other in zip(("center", "scale", "stored", "standardized"), *by_size, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-6 if one.dtype == np.float32 else 0, err_msg=name)
    monkeypatch.setattr(encoder, "ROWS_PER_SLICE", 7)
    np.testing.assert_array_equal(
        np.concatenate([np.arange(n_rows)[part] for part in row_slices(n_rows)]), np.arange(n_rows)
    )
    assert all(part.stop - part.start <= 7 for part in row_slices(n_rows))


def test_statistics_of_some_rows_are_those_of_a_table_of_these_rows() -> None:
    rng = np.random.default_rng(0)
    X, weight, rows = rng.normal(size=(50, 3)), rng.uniform(0.5, 2, 20), rng.permutation(50)[:20]
    some, alone = fit_statistics(X, weight, rows), fit_statistics(X[rows], weight)
    np.testing.assert_array_equal(some.center, alone.center)
    np.testing.assert_array_equal(some.scale, alone.scale)


# -- missing cells and categories ------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 2**32))
@hypothesis_settings(max_examples=40, deadline=None)
def test_statistics_of_columns_with_missing_cells_are_those_of_the_others(n_rows: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, weight = rng.normal(3, 2, (n_rows, 3)), rng.uniform(0.5, 2, n_rows)
    X[rng.random(X.shape) < share] = np.nan
    statistics = fit_statistics(X, weight)
    for number, column in enumerate(X.T):
        known = ~np.isnan(column)
        if known.any():
            alone = fit_statistics(column[known][:, None], weight[known])
            np.testing.assert_allclose(statistics.center[number], alone.center[0], rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(statistics.scale[number], alone.scale[0], rtol=1e-9)
        else:
            assert (statistics.center[number], statistics.scale[number]) == (0, 0)


def test_a_missing_cell_is_stored_and_standardized_as_the_mean() -> None:
    X = np.array([[1.0, np.nan], [3.0, 4.0], [np.nan, 6.0], [8.0, 9.0]])
    statistics = fit_statistics(X, np.ones(4))
    assert (standardize(X, statistics)[np.isnan(X)] == 0).all()
    stored = store_rows(X, statistics)
    assert (stored.stored[np.isnan(X)] == 0).all()
    np.testing.assert_array_equal((stored.origin + stored.unit * stored.stored)[np.isnan(X)], statistics.center[::-1])


def test_columns_are_numbers_then_indicators_of_missing_cells_then_categories() -> None:
    X = np.array([[0.5, 2.0, 7.0], [np.nan, 0.0, 8.0], [1.5, np.nan, np.nan]])
    encoding = encoding_of(3, levels={1: 3}, missing=[0, 2])
    np.testing.assert_array_equal(encoding.source, [0, 2, 0, 2, 1, 1, 1])
    expected = [
        [0.5, 7.0, 0, 0, 0, 0, 1],
        [np.nan, 8.0, 1, 0, 1, 0, 0],
        [1.5, np.nan, 0, 1, 0, 0, 0],  # a missing category is none of the levels
    ]
    np.testing.assert_array_equal(encode(X, encoding), expected)
    assert encode(X[:0], encoding).shape == (0, 7)


def test_features_without_categories_or_missing_cells_are_encoded_as_they_are() -> None:
    X = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(encode(X, encoding_of(3, levels={}, missing=[])), X)

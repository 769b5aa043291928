"""Encoding: statistics fitted with weights, exact and the same bits everywhere; columns of categories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tabcohort.data import encoder
from tabcohort.data.encoder import (
    N_INNER_FOLDS,
    SMOOTHING,
    CategoryEncoding,
    Encoding,
    InnerFolds,
    Statistics,
    TrainingRows,
    encode,
    fit_encoding,
    fit_statistics,
    known_codes,
    one_hot_encoding,
    plain_encoding,
    row_slices,
    standardize,
    store_rows,
    weighted_quantile,
)
from tabcohort.engines.reading import make_reading
from tabcohort.types import CodeArray, FloatArray, IntArray


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
    """Return what an engine reads of stored rows."""
    stored = store_rows(X, statistics)
    assert stored.stored.dtype == np.float32
    assert stored.stored.flags.c_contiguous
    return make_reading(stored, plain_encoding(X.shape[1]), statistics).inputs(np.arange(len(X))).astype(np.float64)


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
        assert np.isfinite(standardized_from_storage(X, statistics)).all()


def test_rows_that_nothing_standardizes_are_stored_as_they_are() -> None:
    X = np.random.default_rng(0).normal(3, 7, (40, 2))
    stored = store_rows(X, None)
    np.testing.assert_array_equal(stored.stored, X.astype(np.float32))
    assert (stored.origin == 0).all()
    assert (stored.unit == 1).all()
    np.testing.assert_array_equal(standardized_from_storage(X, None), X.astype(np.float32))


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


def test_a_missing_cell_is_stored_as_missing_and_standardized_as_the_mean() -> None:
    X = np.array([[1.0, np.nan], [3.0, 4.0], [np.nan, 6.0], [8.0, 9.0]])
    statistics = fit_statistics(X, np.ones(4))
    assert (standardize(X, statistics)[np.isnan(X)] == 0).all()
    stored = store_rows(X, statistics)
    assert stored.has_missing
    np.testing.assert_array_equal(np.isnan(stored.stored), np.isnan(X))
    assert not store_rows(X[[1, 3]], statistics).has_missing
    inputs = standardized_from_storage(X, statistics)
    assert (inputs[np.isnan(X)] == 0).all()
    np.testing.assert_allclose(inputs, standardize(X, statistics), rtol=1e-6)


def test_a_missing_cell_is_noticed_in_any_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "ROWS_PER_SLICE", 4)
    for row in range(10):
        X = np.zeros((10, 2))
        X[row, 1] = np.nan
        assert store_rows(X, None).has_missing


def test_codes_are_shared_and_not_copied() -> None:
    numbers, codes = np.random.default_rng(0).normal(size=(5, 2)), np.arange(15, dtype=np.int32).reshape(5, 3)
    for statistics in (None, fit_statistics(numbers, np.ones(5))):
        assert store_rows(numbers, statistics, codes).codes is codes
    assert store_rows(numbers, None).codes.shape == (5, 0)


def test_nothing_is_written_into_the_rows() -> None:
    X = np.array([[np.nan, 1.0, np.nan, 0], [2.0, np.nan, np.nan, 1], [4.0, 3.0, np.nan, 2]])
    training = training_rows(X, np.array([0, 1, 0]))
    encoding = Encoding((0, 1, 2), (0, 1), (3,), (CategoryEncoding(4, False, 2),))
    for array in (X, training.weight, training.rows, training.y, training.starts_block):
        array.flags.writeable = False  # to write raises ValueError
    numbers, codes = parts(X, encoding)
    codes.flags.writeable = False
    store_rows(numbers, fit_statistics(numbers, training.weight), codes)
    statistics, _ = fit_encoding(numbers, codes, encoding, training)
    standardize(encode(X, encoding, statistics), statistics)


# -- medians ---------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 4)), min_size=1, max_size=30),
    st.sampled_from([1.0, 0.1, 1 / 3, 1e-6, 7e5]),
)
@hypothesis_settings(max_examples=200, deadline=None)
def test_a_weight_is_that_many_equal_values_in_any_unit(pairs: list[tuple[int, int]], unit: float) -> None:
    values, times = np.array(pairs).T
    expected = np.median(np.repeat(values, times))
    assert weighted_quantile(values.astype(np.float64), times * unit, 0.5) == expected
    with_missing = np.append(values, np.nan)
    assert weighted_quantile(with_missing, np.append(times * unit, 100 * unit), 0.5) == expected


@pytest.mark.parametrize(
    ("values", "weight", "expected"),
    [
        ([3.0], [0.5], 3),
        ([1.0, 2.0], [1.0, 1.0], 1.5),
        ([2.0, 1.0], [3.0, 1.0], 2),
        ([1.0, 2.0, 3.0], [1.0, 1.0, 2.0], 2.5),
        ([1.0, 2.0, 3.0], [1.0, 1.0, 2.5], 3),
        ([np.nan, 4.0], [9.0, 1.0], 4),
        ([np.nan, np.nan], [1.0, 1.0], np.nan),
        ([], [], np.nan),
    ],
)
def test_half_of_the_weight_is_on_either_side_of_the_median(
    values: list[float], weight: list[float], expected: float
) -> None:
    np.testing.assert_equal(weighted_quantile(np.array(values), np.array(weight), 0.5), float(expected))


@pytest.mark.parametrize("n_values", [6, 16, 100, 5000])
def test_the_median_of_equal_weights_is_the_median_however_they_add_up(n_values: int) -> None:
    values = np.arange(n_values * 1.0)
    assert weighted_quantile(values, np.full(n_values, 0.1), 0.5) == np.median(values)


# -- the structure ---------------------------------------------------------------------------------------------------


def test_an_encoding_counts_its_columns_lookups_and_vectors() -> None:
    categories = (
        CategoryEncoding(5, True, 3), CategoryEncoding(12, False, 2, 7), CategoryEncoding(20, False, 4),
        CategoryEncoding(9, False, 2, 6),
    )  # fmt: skip
    encoding = Encoding((0, 1, 2), (1,), (3, 4, 5, 6), categories)
    assert encoding.n_inputs == 7
    assert encoding.learned == (1, 3)
    assert encoding.n_plain == 3 + 1 + (3 + 2 + 4 + 2)
    assert encoding.n_columns == encoding.n_plain + 2
    assert encoding.lookup_starts.tolist() == [0, 15, 39, 119, 137]
    assert encoding.code_starts.tolist() == [0, 5, 17, 37, 46]
    assert [category.n_rows for category in categories] == [0, 9, 0, 8]
    assert encoding.vector_rows == 17
    assert categories[1].shape == (12, 2)


def test_an_encoding_without_categories_has_no_lookups() -> None:
    encoding = plain_encoding(4)
    assert (encoding.n_inputs, encoding.n_plain, encoding.n_columns, encoding.vector_rows) == (4, 4, 4, 0)
    assert encoding.lookup_starts.tolist() == encoding.code_starts.tolist() == [0]


# -- encoded columns -------------------------------------------------------------------------------------------------


def test_columns_are_numbers_then_indicators_of_missing_cells_then_categories() -> None:
    X = np.array([[0.5, 2.0, 7.0], [np.nan, 0.0, 8.0], [1.5, np.nan, np.nan]])
    encoding = one_hot_encoding(3, levels={1: 3}, missing=[0, 2])
    assert encoding == Encoding((0, 2), (0, 1), (1,), (CategoryEncoding(4, True, 3),))
    lookup = np.vstack([np.eye(3), np.full((1, 3), np.nan)]).ravel()
    statistics = Statistics(np.zeros(7), np.ones(7), np.array([9.0, np.nan]), lookup)
    expected = [
        [0.5, 7.0, 0, 0, 0, 0, 1],
        [9.0, 8.0, 1, 0, 1, 0, 0],
        [1.5, np.nan, 0, 1, np.nan, np.nan, np.nan],  # an unknown category says nothing
    ]
    np.testing.assert_array_equal(encode(X, encoding, statistics), expected)
    assert encode(X[:0], encoding, statistics).shape == (0, 7)


def test_features_without_categories_or_missing_cells_are_encoded_as_they_are() -> None:
    X = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(encode(X, plain_encoding(3), fit_statistics(X, np.ones(5))), X)


def test_rows_of_learned_vectors_are_the_last_columns() -> None:
    categories = (CategoryEncoding(4, False, 1, 2), CategoryEncoding(3, True, 1), CategoryEncoding(3, False, 1, 1))
    encoding = Encoding((), (), (0, 1, 2), categories)
    lookup = np.array([0.1, 0.2, 0.3, 0.4, 1.1, 1.2, 1.3, 2.1, 2.2, 2.3])
    statistics = Statistics(np.zeros(5), np.ones(5), lookup=lookup, vector_row=np.arange(10.0))
    X = np.array([[1.0, 2.0, 0.0], [np.nan, 0.0, 1.0]])
    expected = [[0.2, 1.3, 2.1, 1, 7], [0.4, 1.1, 2.2, 3, 8]]
    np.testing.assert_array_equal(encode(X, encoding, statistics), expected)


def test_a_cell_that_is_no_code_is_unknown() -> None:
    cells = np.array([0.0, -0.0, 3.0, 4.0, np.nan, 0.5, -1.0, 5.0, 1e300, np.inf, -np.inf])
    codes = known_codes(cells, 5)
    assert codes.tolist() == [0, 0, 3, 4, 4, 4, 4, 4, 4, 4, 4]
    assert codes.dtype == np.int64


# -- fitted on training rows -----------------------------------------------------------------------------------------


def parts(X: FloatArray, encoding: Encoding) -> tuple[FloatArray, CodeArray]:
    """Return the numbers and the codes of inputs, as a table holds them."""
    n_numbers = len(encoding.numbers)
    return X[:, :n_numbers], X[:, n_numbers:].astype(np.int32)


def training_rows(
    X: FloatArray,
    y: Sequence[int] | NDArray[np.integer],
    rows: IntArray | None = None,
    weight: FloatArray | None = None,
    starts_block: NDArray[np.bool_] | None = None,
) -> TrainingRows:
    """Return training rows: all, of weight one, each a block of its own, unless said otherwise."""
    rows = np.arange(len(X)) if rows is None else rows
    return TrainingRows(
        rows,
        np.ones(len(rows)) if weight is None else weight,
        np.asarray(y),
        int(max(y)) + 1,
        np.ones(len(rows), dtype=bool) if starts_block is None else starts_block,
    )


def test_missing_numbers_have_the_median_and_an_indicator_of_their_share() -> None:
    X = np.array([[1.0, 5.0, np.nan], [np.nan, 6.0, np.nan], [3.0, 7.0, np.nan], [9.0, 9.0, 1.0], [np.nan, 8.0, 2.0]])
    weight = np.array([1.0, 2.0, 4.0, 1.0])
    encoding = Encoding((0, 1, 2), (0, 1, 2))
    statistics, inner = fit_encoding(
        *parts(X, encoding), encoding, training_rows(X, [0, 1, 0, 1], np.arange(4), weight)
    )
    assert inner is None
    np.testing.assert_array_equal(statistics.fill, [3.0, np.nan, 1.0])  # nothing is missing of the second
    np.testing.assert_allclose(statistics.center, [22 / 6, 6.75, 1.0, 2 / 8, 0, 7 / 8])
    shares = np.array([2 / 8, 7 / 8])
    np.testing.assert_allclose(statistics.scale[[3, 5]], 1 / np.sqrt(shares * (1 - shares)))
    assert (statistics.scale[[2, 4]] == 0).all()  # which do not vary
    assert statistics.lookup.shape == statistics.vector_row.shape == (0,)


def test_a_category_of_two_levels_is_one_column() -> None:
    X = np.array([[0.0], [1.0], [1.0], [0.0]])
    encoding = Encoding((), (), (0,), (CategoryEncoding(4, True, 1),))
    statistics, inner = fit_encoding(
        *parts(X, encoding), encoding, training_rows(X, [0, 1, 0, 1], weight=np.array([1.0, 2.0, 4.0, 1.0]))
    )
    assert inner is None
    np.testing.assert_array_equal(statistics.lookup, [0, 1, np.nan, np.nan])
    assert (statistics.center.tolist(), statistics.scale.tolist()) == ([0.75], [2.0])
    np.testing.assert_array_equal(statistics.vector_row, np.full(4, -1.0))


def test_a_level_without_training_rows_is_read_as_the_center_of_all_its_columns() -> None:
    X = np.array([[0.0], [2.0], [3.0], [0.0], [1.0]])  # code 3 is a missing cell, and code 1 is of the last row only
    encoding = Encoding((), (), (0,), (CategoryEncoding(5, True, 4),))
    statistics, _ = fit_encoding(*parts(X, encoding), encoding, training_rows(X, [0, 1, 0, 1], np.arange(4)))
    expected = np.eye(5, 4)
    expected[[1, 4]] = np.nan
    np.testing.assert_array_equal(statistics.lookup.reshape(5, 4), expected)
    np.testing.assert_array_equal(statistics.center, [0.5, 0, 0.25, 0.25])
    np.testing.assert_array_equal(statistics.scale, [2, 0, 2, 2])
    assert (standardize(encode(X[4:], encoding, statistics), statistics) == 0).all()


def test_a_category_of_one_level_in_training_says_nothing() -> None:
    X = np.array([[1.0], [1.0], [0.0]])
    encoding = Encoding((), (), (0,), (CategoryEncoding(4, True, 1),))
    statistics, _ = fit_encoding(*parts(X, encoding), encoding, training_rows(X, [0, 1], np.arange(2)))
    assert (standardize(encode(X, encoding, statistics), statistics) == 0).all()


# -- target statistics -----------------------------------------------------------------------------------------------

N_CODES = 12  # ten levels, "missing" and "unknown"


def random_table(n_classes: int, seed: int = 0, n_rows: int = 90) -> tuple[FloatArray, Encoding, TrainingRows]:
    """Return a number and a category of ten levels, of which the last has no rows, with blocks of rows that train."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=n_rows), rng.integers(0, N_CODES - 3, n_rows)])
    X[rng.random(n_rows) < 0.1, 1] = N_CODES - 2
    rows = rng.permutation(n_rows)[:70]
    starts_block = rng.random(70) < 0.6
    starts_block[0] = True
    y = np.append(rng.integers(0, n_classes, 69), n_classes - 1)
    width = 2 if n_classes == 2 else n_classes + 1
    encoding = Encoding((0,), (), (1,), (CategoryEncoding(N_CODES, False, width),))
    return X, encoding, training_rows(X, y, rows, rng.uniform(0.5, 3, 70), starts_block)


def statistics_by_hand(code: float, codes: FloatArray, training: TrainingRows, used: NDArray[np.bool_]) -> list[float]:
    """Return log odds of a code's smoothed share of each class, and the logarithm of its weight, from the used rows."""
    weight, y, n_classes = training.weight[used], training.y[used], training.n_classes
    has_code = codes[used] == code
    log_odds = []
    for label in [1] if n_classes == 2 else range(n_classes):
        prior = (weight[y == label].sum() + 0.5) / (weight.sum() + 0.5 * n_classes)
        n_of_label, n_in_all = weight[has_code & (y == label)].sum(), weight[has_code].sum()
        share = (n_of_label + SMOOTHING * prior) / (n_in_all + SMOOTHING)
        log_odds.append(np.log(share / (1 - share)))
    return [*log_odds, np.log1p(weight[has_code].sum())]


def fitted(X: FloatArray, encoding: Encoding, training: TrainingRows) -> tuple[Statistics, InnerFolds]:
    """Return statistics with those of inner folds."""
    statistics, inner = fit_encoding(*parts(X, encoding), encoding, training)
    assert inner is not None
    return statistics, inner


@pytest.mark.parametrize("n_classes", [2, 3])
def test_target_statistics_are_smoothed_log_odds_of_each_class(n_classes: int) -> None:
    X, encoding, training = random_table(n_classes)
    statistics, _ = fitted(X, encoding, training)
    codes = X[training.rows, 1]
    lookup = statistics.lookup.reshape(encoding.categories[0].shape)
    for code in range(N_CODES):
        expected = np.array(statistics_by_hand(code, codes, training, np.ones(70, dtype=bool)))
        if not (codes == code).any():
            expected[:-1] = np.nan
        np.testing.assert_allclose(lookup[code], expected, rtol=1e-10)
    assert np.isnan(lookup[N_CODES - 1, 0])
    assert not np.isnan(lookup[N_CODES - 2, 0])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_training_row_has_the_target_statistics_of_the_other_inner_folds(n_classes: int) -> None:
    X, encoding, training = random_table(n_classes)
    _, inner = fitted(X, encoding, training)
    codes, folds = X[training.rows, 1], inner.fold[training.rows]
    lookups = inner.lookups.reshape(N_INNER_FOLDS, *encoding.categories[0].shape)
    for code, fold in zip(codes, folds, strict=True):
        expected = statistics_by_hand(code, codes, training, folds != fold)
        np.testing.assert_allclose(lookups[fold - 1, int(code)], expected, rtol=1e-10, atol=1e-12)


def test_the_target_of_a_row_does_not_reach_the_columns_it_trains_on() -> None:
    X, encoding, training = random_table(2)
    _, inner = fitted(X, encoding, training)
    flipped = 1 - training.y
    for fold in range(1, N_INNER_FOLDS + 1):
        y = np.where(inner.fold[training.rows] == fold, flipped, training.y)
        _, other = fitted(X, encoding, training_rows(X, y, training.rows, training.weight, training.starts_block))
        np.testing.assert_allclose(other.lookups[fold - 1], inner.lookups[fold - 1], rtol=1e-10, atol=1e-12)
        assert not np.allclose(other.lookups[fold % N_INNER_FOLDS], inner.lookups[fold % N_INNER_FOLDS], equal_nan=True)


@given(st.integers(1, 80), st.floats(0.02, 1), st.integers(0, 2**32))
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_block_of_rows_is_in_one_inner_fold(n_train: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = np.zeros((100, 1))
    rows = rng.permutation(100)[:n_train]
    starts_block = rng.random(n_train) < share
    starts_block[0] = True
    encoding = Encoding((), (), (0,), (CategoryEncoding(3, False, 2),))
    y = np.append(rng.integers(0, 2, n_train - 1), 1)
    _, inner = fitted(X, encoding, training_rows(X, y, rows, None, starts_block))
    folds = inner.fold[rows].astype(int)
    assert (folds[1:][~starts_block[1:]] == folds[:-1][~starts_block[1:]]).all()
    assert ((folds >= 1) & (folds <= N_INNER_FOLDS)).all()
    assert (np.delete(inner.fold, rows) == 0).all()
    n_blocks = np.bincount(folds[starts_block], minlength=N_INNER_FOLDS + 1)[1:]
    assert np.ptp(n_blocks) <= 1


def test_target_statistics_are_standardized_over_the_training_rows() -> None:
    X, encoding, training = random_table(3)
    statistics, _ = fitted(X, encoding, training)
    columns = standardize(encode(X[training.rows], encoding, statistics), statistics).astype(np.float64)
    np.testing.assert_allclose(np.average(columns, axis=0, weights=training.weight), 0, atol=1e-6)
    np.testing.assert_allclose(np.average(columns**2, axis=0, weights=training.weight), 1, rtol=1e-5)


def test_more_classes_than_there_are_target_statistics_leave_the_count() -> None:
    X, _, training = random_table(3)
    encoding = Encoding((0,), (), (1,), (CategoryEncoding(N_CODES, False, 1),))
    statistics, _ = fitted(X, encoding, training)
    weight = np.bincount(X[training.rows, 1].astype(int), training.weight, N_CODES)
    np.testing.assert_allclose(statistics.lookup, np.log1p(weight), rtol=1e-12)


def arrays_of(statistics: Statistics, inner: InnerFolds | None) -> list[FloatArray]:
    """Return all that was fitted."""
    folds = [] if inner is None else [inner.fold.astype(np.float64), inner.lookups]
    return [
        statistics.center, statistics.scale, statistics.fill, statistics.lookup, statistics.vector_row, *folds,
    ]  # fmt: skip


ALL_KINDS = Encoding(
    (0, 1), (1,), (2, 3), (CategoryEncoding(N_CODES, False, 2, 5), CategoryEncoding(N_CODES, True, N_CODES - 1))
)


def with_all_kinds(X: FloatArray) -> FloatArray:
    """Return inputs of `ALL_KINDS`: a number, one with missing cells, and a category twice."""
    return np.column_stack([X[:, 0], np.where(X[:, 0] > 0.5, np.nan, X[:, 0]), X[:, 1], X[:, 1]])


def test_only_training_rows_decide_what_is_fitted() -> None:
    X, _, training = random_table(2)
    X = with_all_kinds(X)
    others = np.delete(np.arange(len(X)), training.rows)
    changed = X.copy()
    changed[others] = [1e9, np.nan, N_CODES - 3, N_CODES - 1]
    before, after = (
        arrays_of(*fit_encoding(*parts(inputs, ALL_KINDS), ALL_KINDS, training)) for inputs in (X, changed)
    )
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_weight_of_two_is_two_rows_of_one_block_for_all_columns() -> None:
    X, _, training = random_table(2)
    X = with_all_kinds(X)
    encoding = Encoding(
        (0, 1), (1,), (2, 3), (CategoryEncoding(N_CODES, False, 2), CategoryEncoding(N_CODES, True, N_CODES - 1))
    )
    times = np.random.default_rng(1).integers(1, 4, 70)
    starts_block = np.zeros(times.sum(), dtype=bool)
    starts_block[np.cumsum(times) - times] = training.starts_block
    weighted = training_rows(X, training.y, training.rows, times * 1.0, training.starts_block)
    repeated = training_rows(
        X, np.repeat(training.y, times), np.repeat(training.rows, times), starts_block=starts_block
    )
    pairs = zip(
        arrays_of(*fit_encoding(*parts(X, encoding), encoding, weighted)),
        arrays_of(*fit_encoding(*parts(X, encoding), encoding, repeated)),
        strict=True,
    )
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


# -- rows of learned vectors -----------------------------------------------------------------------------------------


def vector_rows_of(counts: Sequence[Sequence[int]], n_learned: Sequence[int]) -> list[float]:
    """Return the row of learned vectors of each code of categories, from the number of training rows of each."""
    columns = [np.repeat(np.arange(len(own)), own) for own in counts]
    X = np.column_stack(columns).astype(np.float64)
    categories = tuple(
        CategoryEncoding(len(own), False, 2, n_own) for own, n_own in zip(counts, n_learned, strict=True)
    )
    encoding = Encoding((), (), tuple(range(len(counts))), categories)
    statistics, _ = fit_encoding(*parts(X, encoding), encoding, training_rows(X, np.arange(len(X)) % 2))
    assert statistics.vector_row.max() < encoding.vector_rows
    assert statistics.center.shape == statistics.scale.shape == (encoding.n_columns,)
    n_vectors = len(encoding.learned)  # whose columns are not standardized
    assert statistics.center[encoding.n_plain :].tolist() == [0.0] * n_vectors
    assert statistics.scale[encoding.n_plain :].tolist() == [1.0] * n_vectors
    return [float(row) for row in statistics.vector_row]


def test_frequent_levels_have_a_vector_and_rare_ones_share_one() -> None:
    # Levels: frequent, rare in training, frequent, not frequent enough in the table; then missing and unknown.
    assert vector_rows_of([[10, 3, 4, 8, 4, 0]], [3]) == [0, 4, 2, 4, 3, 4]


def test_a_rare_missing_cell_shares_the_vector_of_rare_levels() -> None:
    assert vector_rows_of([[10, 9, 2, 0]], [2]) == [0, 1, 3, 3]


def test_codes_without_a_trained_vector_have_none() -> None:
    assert vector_rows_of([[10, 9, 0, 0]], [2]) == [0, 1, -1, -1]
    assert vector_rows_of([[10, 9, 0, 5, 0]], [2]) == [0, 1, -1, 2, -1]


def test_rows_of_several_categories_are_counted_through() -> None:
    counts = [[10, 3, 4, 8, 4, 0], [20, 9, 0, 0], [15, 14, 0, 0]]
    assert vector_rows_of(counts, [3, 0, 2]) == [0, 4, 2, 4, 3, 4, -1, -1, -1, -1, 5, 6, -1, -1]

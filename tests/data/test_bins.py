"""Bins of the piecewise-linear encoding: quantiles of training rows, with weights, and none where nothing varies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort.data.bins import fit_bins
from tabcohort.data.encoder import Statistics, fit_statistics, standardize
from tabcohort.types import FloatArray


def bins_of(X: FloatArray, n_bins: Sequence[int], weight: FloatArray | None = None) -> Statistics:
    rows, weight = np.arange(len(X)), np.ones(len(X)) if weight is None else weight
    return fit_bins(X, fit_statistics(X, weight), n_bins, rows, weight)


def test_bins_hold_the_same_number_of_training_rows_each() -> None:
    X = np.random.default_rng(0).lognormal(size=(2000, 1))
    statistics = bins_of(X, [8])
    edges = np.append(statistics.lower, statistics.lower[-1] + 1 / statistics.inverse[-1])
    counts = np.histogram(standardize(X, statistics)[:, 0], edges)[0]
    np.testing.assert_allclose(counts, 250, atol=2)
    np.testing.assert_allclose(np.diff(edges), 1 / statistics.inverse, rtol=1e-9)  # one begins where another ends


def test_the_mean_of_all_bins_is_the_share_of_training_rows_below() -> None:
    """So the encoding holds the quantile transform of a number."""
    X = np.random.default_rng(0).standard_cauchy(size=(1001, 1))
    statistics = bins_of(X, [20])
    z = (X - statistics.center) * statistics.scale
    ranks = np.clip((z - statistics.lower) * statistics.inverse, 0, 1).mean(axis=1)
    np.testing.assert_allclose(np.sort(ranks), np.linspace(0, 1, 1001), atol=0.051)
    assert (np.diff(ranks[np.argsort(X[:, 0])]) >= 0).all()


def test_there_is_a_bin_between_each_two_values_where_there_are_few() -> None:
    X = np.repeat([1.0, 2.0, 4.0], [50, 5, 5])[:, None]
    statistics = bins_of(X, [6])
    z = (X[[0, 50, 55]] - statistics.center) * statistics.scale
    encoded = np.clip((z - statistics.lower) * statistics.inverse, 0, 1)
    np.testing.assert_allclose(encoded, [[0] * 6, [1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]], atol=1e-12)


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 4)), min_size=2, max_size=40), st.integers(1, 8))
@hypothesis_settings(max_examples=100, deadline=None)
def test_a_weight_of_bins_is_that_many_rows(pairs: list[tuple[int, int]], n_bins: int) -> None:
    values, counts = np.array(pairs, dtype=np.float64).T
    weighted = bins_of(values[:, None], [n_bins], counts)
    repeated = bins_of(np.repeat(values, counts.astype(int))[:, None], [n_bins])
    np.testing.assert_allclose(weighted.lower, repeated.lower, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(weighted.inverse, repeated.inverse, rtol=1e-6)


def test_numbers_that_are_missing_or_constant_in_training_have_bins_that_say_nothing() -> None:
    X = np.column_stack([np.full(9, np.nan), np.full(9, 3.0), np.where(np.arange(9) < 4, np.nan, np.arange(9))])
    statistics = bins_of(X, [2, 2, 0])
    np.testing.assert_array_equal(statistics.column, [0, 0, 1, 1])
    assert not statistics.inverse.any()
    assert not statistics.lower.any()


def test_bins_are_fitted_on_training_rows_only() -> None:
    X = np.arange(40.0)[:, None]
    rows, weight = np.arange(20), np.ones(20)
    before = fit_bins(X, fit_statistics(X, weight, rows), [5], rows, weight)
    X[20:] = -1e6
    after = fit_bins(X, fit_statistics(X, weight, rows), [5], rows, weight)
    np.testing.assert_array_equal(before.lower, after.lower)
    np.testing.assert_array_equal(before.inverse, after.inverse)


def test_values_too_close_for_float32_share_a_bin() -> None:
    X = np.array([-1.0, 1.0, *np.arange(4) * 1e-50])[:, None]
    statistics = bins_of(X, [6])
    assert (statistics.inverse < np.finfo(np.float32).max).all()
    assert (statistics.inverse > 0).sum() == 2

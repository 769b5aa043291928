"""Scaling of numbers: quartiles and normal scores of training rows, with weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.special import ndtri

from tabcohort.data.encoder import Statistics, fit_statistics
from tabcohort.data.scaling import N_KNOTS, fit_scaling, quantile_places, scaled
from tabcohort.types import FloatArray


def fitted(X: FloatArray, scaling: str, weight: FloatArray | None = None) -> Statistics:
    rows, weight = np.arange(len(X)), np.ones(len(X)) if weight is None else weight
    return fit_scaling(X, fit_statistics(X, weight), scaling, rows, weight)


def scaled_column(X: FloatArray, statistics: Statistics, place: int = 0) -> FloatArray:
    return scaled((X[:, place] - statistics.center[place]) * statistics.scale[place], statistics, place)


def test_standard_scaling_needs_no_more_than_mean_and_deviation() -> None:
    X = np.random.default_rng(0).normal(size=(50, 2))
    statistics = fit_statistics(X, np.ones(50))
    assert fit_scaling(X, statistics, "standard", np.arange(50), np.ones(50)) is statistics
    np.testing.assert_array_equal(scaled(X[:, 0], statistics, 0), X[:, 0])


def test_robust_scaling_is_by_the_quartiles_of_the_numbers_themselves() -> None:
    X = np.random.default_rng(0).standard_cauchy(size=(1001, 2)) * [1.0, 50.0]
    statistics = fitted(X, "robust")
    for place in (0, 1):
        low, median, high = np.quantile(X[:, place], [0.25, 0.5, 0.75])
        z = (X[:, place] - median) / (high - low)
        np.testing.assert_allclose(
            scaled_column(X, statistics, place), z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-6, atol=1e-9
        )


def test_robust_scaling_is_by_half_the_range_where_the_quartiles_are_equal() -> None:
    X = np.repeat([0.0, 8.0], [90, 10])[:, None]
    z = scaled_column(X, fitted(X, "robust"))
    np.testing.assert_allclose(np.unique(z.round(9)), [0, 2 / np.sqrt(1 + 4 / 9)], atol=1e-8)


def test_normal_scores_are_those_of_the_ranks() -> None:
    """At the knots they are exact; between them, linear."""
    X = np.exp(np.random.default_rng(0).normal(size=(3000, 1)))
    ranks = np.argsort(np.argsort(X[:, 0])) + 0.5
    z = scaled_column(X, fitted(X, "quantile"))
    np.testing.assert_allclose(z, ndtri(ranks / 3000), atol=0.5)
    assert np.abs(z - ndtri(ranks / 3000)).mean() < 0.02
    assert abs(z.mean()) < 0.01
    assert z.std() == pytest.approx(1, abs=0.05)
    assert scaled(np.array([-1e9, 1e9]), fitted(X, "quantile"), 0) == pytest.approx(ndtri([0.5 / 3000, 2999.5 / 3000]))


def test_a_value_that_occurs_often_has_the_score_of_its_middle_rank() -> None:
    X = np.repeat([1.0, 2.0, 4.0], [50, 40, 10])[:, None]
    statistics = fitted(X, "quantile")
    np.testing.assert_allclose(scaled_column(X, statistics)[[0, 50, 90]], ndtri([0.25, 0.7, 0.95]))
    assert len(statistics.knots) == len(statistics.heights) == N_KNOTS
    assert (np.diff(statistics.heights) >= 0).all()


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 4)), min_size=2, max_size=40))
@hypothesis_settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("scaling", ["robust", "quantile"])
def test_a_weight_is_that_many_rows(scaling: str, pairs: list[tuple[int, int]]) -> None:
    values, counts = np.array(pairs, dtype=np.float64).T
    weighted = fitted(values[:, None], scaling, counts)
    repeated = fitted(np.repeat(values, counts.astype(int))[:, None], scaling)
    for name in ("median", "inverse_range", "knots", "heights"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scaling", ["robust", "quantile"])
def test_numbers_that_are_missing_or_constant_in_training_are_0(scaling: str) -> None:
    X = np.column_stack([np.full(9, np.nan), np.full(9, 3.0), np.where(np.arange(9) < 4, np.nan, np.arange(9))])
    statistics = fitted(X, scaling)
    for place in (0, 1):
        np.testing.assert_array_equal(scaled(np.zeros(3), statistics, place), 0)
    known = X[4:, 2:]
    np.testing.assert_allclose(
        scaled_column(X, statistics, 2)[4:], scaled_column(known, fitted(known, scaling)), rtol=1e-9
    )


@pytest.mark.parametrize("scaling", ["robust", "quantile"])
def test_other_rows_than_those_that_train_are_not_read(scaling: str) -> None:
    X, rows = np.random.default_rng(0).normal(size=(60, 2)), np.arange(40)
    statistics = fit_statistics(X, np.ones(40), rows)
    other = np.concatenate([X[:40], X[40:] * 100])
    one, same = (fit_scaling(numbers, statistics, scaling, rows, np.ones(40)) for numbers in (X, other))
    for name, values in vars(one).items():
        np.testing.assert_array_equal(values, vars(same)[name])


def test_places_divide_values_into_parts_of_like_weight() -> None:
    assert quantile_places(np.arange(1.0, 101.0), 4).tolist() == [0, 24, 49, 74, 99]
    assert quantile_places(np.array([97.0, 98, 99, 100]), 4).tolist() == [0, 3]

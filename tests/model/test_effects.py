"""Effects of columns: those of functions that are known."""

from __future__ import annotations

import numpy as np
import pytest

from tabcohort import Predictor
from tabcohort.data.columns import Category, Date, IntegerCode, Number, Text
from tabcohort.data.inputs import input_places
from tabcohort.model.effects import (
    grid_of,
    interactions,
    joint_part,
    local_effects,
    order_of_levels,
    scores_with_members,
    shares_of,
)
from tabcohort.types import FloatArray

N = 600
RNG = np.random.default_rng(0)
PLACES = input_places([Number("a"), Number("b"), Category("c", level_names=tuple("wxyz"))])
A = RNG.normal(size=N)
X = np.column_stack([A, A + RNG.normal(scale=0.3, size=N), RNG.integers(0, 4, N)])
WEIGHT = np.ones(N)


def effect_of(column: int, function: object, weight: FloatArray = WEIGHT) -> tuple[FloatArray, FloatArray]:
    grid = grid_of(X, PLACES, column)
    assert grid is not None
    return grid.values, local_effects(function, X, weight, grid)[:, 0]  # type: ignore[arg-type]


def test_a_sum_has_its_terms_as_effects_also_where_columns_depend_on_each_other() -> None:
    values, effect = effect_of(0, lambda X: (X[:, 0] ** 2 + 5 * X[:, 1])[:, None])
    np.testing.assert_allclose(np.diff(effect), np.diff(values**2), atol=1e-9)
    _, effect = effect_of(1, lambda X: X[:, :1] ** 2)
    np.testing.assert_allclose(effect, 0)


def test_an_effect_is_that_of_rows_nearby() -> None:
    """The slope in `a` is `b`, which is about `a`: the effect is a parabola, not the line of the mean of `b`."""
    values, effect = effect_of(0, lambda X: (X[:, 0] * X[:, 1])[:, None])
    inside = np.abs(values) < 1.5
    expected = values[inside] ** 2 / 2
    np.testing.assert_allclose(effect[inside] - effect[inside].mean(), expected - expected.mean(), atol=0.1)


def test_the_mean_over_the_rows_is_zero() -> None:
    weight = RNG.random(N)
    values, effect = effect_of(0, lambda X: 3 * X[:, :1], weight)
    assert np.average(np.interp(X[:, 0], values, effect), weights=weight) == pytest.approx(0, abs=0.05)
    grid = grid_of(X, PLACES, 2)
    assert grid is not None
    _, effect = effect_of(2, lambda X: X[:, 2:] ** 2, weight)
    assert shares_of(X, weight, grid) @ effect == pytest.approx(0, abs=1e-12)


def test_levels_have_the_differences_of_the_function() -> None:
    height = np.array([3.0, -1.0, 0.5, 10.0])
    codes, effect = effect_of(2, lambda X: height[X[:, 2].astype(int)][:, None])
    np.testing.assert_allclose(effect - effect[0], height[codes.astype(int)] - height[int(codes[0])], atol=1e-9)


def test_levels_are_ordered_by_what_the_other_columns_say() -> None:
    size = np.array([2.0, 0.0, 3.0, 1.0])[X[:, 2].astype(int)]
    rows = np.column_stack([size + RNG.normal(size=N), X[:, 1], X[:, 2]])
    order = order_of_levels(rows, PLACES, 2, np.arange(4.0)).tolist()
    assert order in ([1, 3, 0, 2], [2, 0, 3, 1])


def test_a_grid_has_the_whole_cells_of_rows() -> None:
    codes = np.array([4.0, 7.0, 9.0])[np.arange(30) % 3]
    columns = [IntegerCode("i", level_names=("4", "7", "9")), Date("d"), Text("t"), Number("flat")]
    places = input_places(columns)
    rows = np.zeros((30, max(max(own.inputs) for own in places) + 1))
    rows[:, 0], rows[:, places[0].inputs[1]] = codes, np.arange(30) % 3
    grid = grid_of(rows, places, 0)
    assert grid is not None
    assert grid.is_number
    assert grid.inputs.tolist() == [[4, 0], [7, 1], [9, 2]]
    assert [grid_of(rows, places, number) for number in (1, 2, 3)] == [None] * 3
    rows[:, 0] = np.nan
    assert grid_of(rows, places, 0) is None


def test_missing_cells_have_no_part_in_the_effect_of_a_number() -> None:
    holes = X.copy()
    holes[::3, 0] = np.nan
    grid = grid_of(holes, PLACES, 0)
    assert grid is not None
    effect = local_effects(lambda X: np.nan_to_num(X[:, :1], nan=99), holes, WEIGHT, grid)[:, 0]
    np.testing.assert_allclose(np.diff(effect), np.diff(grid.values), atol=1e-9)


def test_members_have_effects_of_their_own(predictor: Predictor) -> None:
    rows = RNG.normal(size=(20, 3))
    scores = scores_with_members(predictor.ensemble)(rows)
    assert scores.shape == (20, 1 + len(predictor.models), 1)
    log_proba = predictor.log_proba(rows)
    np.testing.assert_allclose(scores[:, 0, 0], log_proba[:, 1] - log_proba[:, 0], atol=1e-9)
    between = scores[:, 1:, 0]
    assert (between.min(axis=1) <= scores[:, 0, 0] + 1e-9).all()
    assert (scores[:, 0, 0] <= between.max(axis=1) + 1e-9).all()


def test_interactions_are_found_and_a_sum_has_none() -> None:
    def scores(X: FloatArray) -> FloatArray:
        return (2 * X[:, 0] + np.where(X[:, 2] == 1, 3 * X[:, 1], 0))[:, None]

    found = interactions(scores, X[:50], PLACES, [0, 1, 2])
    assert found[0].columns == (1, 2)
    assert found[0].strength > 0.5
    assert 0.1 < found[0].share < 1
    assert [(own.strength, own.share) for own in found[1:]] == [(pytest.approx(0, abs=1e-9),) * 2] * 2


def test_the_joint_part_of_a_product_is_that_of_deviations() -> None:
    grids = [grid_of(X, PLACES, number, 5) for number in (0, 1)]
    one, other = grids
    assert one is not None
    assert other is not None
    part = joint_part(lambda X: (X[:, 0] * X[:, 1] + X[:, 0])[:, None], X[:10], one, other)[:, :, 0]
    expected = np.outer(one.values - one.values.mean(), other.values - other.values.mean())
    np.testing.assert_allclose(part, expected, atol=1e-9)

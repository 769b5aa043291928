"""Columns that repeat each other are found, whatever their units, and others are not."""

from __future__ import annotations

import numpy as np

from tabcohort.data.columns import Boolean, Category, Number, Text
from tabcohort.data.repeated_columns import repeated_columns

N = 400


def test_numbers_repeat_each_other_in_any_unit_and_direction() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=N)
    noisy = x + rng.normal(scale=0.5, size=N)
    X = np.column_stack([x, noisy, np.exp(x), rng.normal(size=N), -3 * x + 1])
    assert repeated_columns(X, [Number(name) for name in "abcde"]) == [[0, 2, 4]]


def test_missing_cells_and_constants_repeat_nothing_and_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=N)
    holes = np.where(np.arange(N) % 50 == 0, np.nan, x)
    X = np.column_stack([x, np.full(N, 2.0), np.full(N, np.nan), holes, np.full(N, 2.0)])
    assert repeated_columns(X, [Number(name) for name in "abcde"]) == [[0, 3]]


def test_levels_repeat_each_other_under_any_names() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, N).astype(np.float64)
    renamed = np.array([2.0, 0.0, 3.0, 1.0])[codes.astype(int)]
    coarse = codes // 2  # is told by the codes, but does not tell them
    X = np.column_stack([codes, renamed, coarse, rng.integers(0, 4, N)])
    columns = [*(Category(name, level_names=tuple("wxyz")) for name in "abc"), Category("d", level_names=tuple("wxyz"))]
    assert repeated_columns(X, columns) == [[0, 1]]


def test_rare_levels_that_agree_by_chance_are_no_repetition() -> None:
    """A guess of the frequent level is right for 99 % of the rows, whatever the other column holds."""
    rng = np.random.default_rng(0)
    one, other = (np.isin(np.arange(N), rng.choice(N, 4, replace=False)) for _ in range(2))
    assert repeated_columns(np.column_stack([one, other]).astype(float), [Boolean("a"), Boolean("b")]) == []


def test_a_level_for_each_row_and_text_are_not_compared() -> None:
    rng = np.random.default_rng(0)
    names = tuple(map(str, range(N)))
    X = np.column_stack([rng.permutation(N), rng.permutation(N)]).astype(float)
    assert repeated_columns(X, [Category("a", level_names=names), Category("b", level_names=names)]) == []
    text = Text("t")
    X = np.ones((N, 2 * text.n_numbers))
    assert repeated_columns(X, [text, Text("u")]) == []

"""Shapley values: exact for few players, within their errors for many, and always adding up."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tabcohort.model.shapley import ExplanationBudget, ShapleyValues, shapley_values
from tabcohort.types import BoolArray, FloatArray

SAMPLED = ExplanationBudget(tolerance=0.0, max_rounds=12)  # too few for all coalitions of eight players


@dataclass(frozen=True)
class Formula:
    """A game of a function of rows, evaluated as it is written."""

    function: Any
    x: FloatArray
    background: FloatArray
    closed: FloatArray | None = None

    @property
    def base(self) -> FloatArray:
        return self.function(self.background)

    @property
    def output(self) -> FloatArray:
        return self.function(self.x[None])[0]

    @property
    def differs(self) -> BoolArray:
        return self.x != self.background

    def exact(self) -> FloatArray | None:
        return self.closed

    def scores(self, coalitions: BoolArray) -> FloatArray:
        rows = np.where(coalitions, self.x, self.background[:, None])
        return self.function(rows.reshape(-1, len(self.x))).reshape(*coalitions.shape[:2], -1)


def bumpy(X: FloatArray) -> FloatArray:
    """Two scores with interactions of all orders."""
    total = X @ np.linspace(-1, 1, X.shape[1])
    return np.stack([np.tanh(total) + X[:, 0] * X[:, 1], np.exp(0.3 * total) * np.cos(X[:, 2])], axis=1)


def game_of(function: Any = bumpy, n_players: int = 8, n_background: int = 12, seed: int = 0) -> Formula:
    rng = np.random.default_rng(seed)
    return Formula(function, rng.normal(size=n_players), rng.normal(size=(n_background, n_players)))


def by_all_orders(game: Formula) -> FloatArray:
    """Return Shapley values as they are defined: for every order, what each player adds."""
    n_players = len(game.x)
    values = np.zeros((n_players, len(game.output)))
    for order in itertools.permutations(range(n_players)):
        rows = game.background.copy()
        before = game.function(rows).mean(axis=0)
        for player in order:
            rows[:, player] = game.x[player]
            after = game.function(rows).mean(axis=0)
            values[player] += after - before
            before = after
    return values / math.factorial(n_players)


def explained(game: Formula, budget: ExplanationBudget | None = None, seed: int = 0) -> ShapleyValues:
    found = shapley_values(game, budget or ExplanationBudget(), seed)
    np.testing.assert_allclose(found.values.sum(axis=0), game.output - game.base.mean(axis=0), atol=1e-12)
    return found


@pytest.mark.parametrize("n_players", [1, 2, 3, 5, 6])
def test_few_players_have_exact_values(n_players: int) -> None:
    def function(X: FloatArray) -> FloatArray:
        return bumpy(np.hstack([X, np.ones((len(X), 3))]))

    game = game_of(function, n_players)
    found = explained(game)
    np.testing.assert_allclose(found.values, by_all_orders(game), atol=1e-12)
    assert (found.errors == 0).all()
    assert (found.n_rounds, found.is_converged) == (0, True)


def test_permutations_give_exact_values_where_interactions_are_of_two_players() -> None:
    def function(X: FloatArray) -> FloatArray:
        return (X.sum(axis=1) ** 2 + X[:, 0])[:, None]

    game = game_of(function)
    found = explained(game, SAMPLED)
    assert found.n_rounds == 12
    np.testing.assert_allclose(found.values, explained(game).values, atol=1e-12)
    assert found.errors.max() < 1e-12


def test_errors_are_those_of_the_values() -> None:
    """Over seeds, errors in units of the standard error have a standard deviation of 1."""
    game = game_of()
    exact = explained(game).values
    units = []
    for seed in range(60):
        found = explained(game, SAMPLED, seed)
        units.append((found.values - exact) / found.errors)
    assert 0.9 < np.std(units) < 1.1
    assert np.abs(np.mean(units, axis=0)).max() < 4 / math.sqrt(60)
    assert np.mean(np.abs(units) < 3) > 0.98


def test_rounds_are_added_until_the_tolerance_is_reached() -> None:
    game = game_of(n_players=13)
    rough, fine = (explained(game, ExplanationBudget(tolerance=t, max_rounds=150)) for t in (0.1, 0.02))
    assert 2 <= rough.n_rounds < fine.n_rounds < 150
    for found, tolerance in ((rough, 0.1), (fine, 0.02)):
        assert found.is_converged
        assert 0 < found.errors.max() <= tolerance * np.abs(found.values).max()
    cut = explained(game, ExplanationBudget(tolerance=1e-4, max_rounds=5))
    assert (cut.n_rounds, cut.is_converged) == (5, False)


def test_the_callback_hears_of_each_round() -> None:
    rounds: list[int] = []
    shapley_values(game_of(), SAMPLED, 0, rounds.append)
    assert rounds == list(range(1, 13))


def test_a_seed_gives_the_same_values_and_another_gives_others() -> None:
    game = game_of()
    one, same, other = (explained(game, SAMPLED, seed).values for seed in (3, 3, 4))
    assert one.tobytes() == same.tobytes() != other.tobytes()


@pytest.mark.parametrize("budget", [ExplanationBudget(), SAMPLED], ids=["exact", "sampled"])
def test_players_without_effect_have_none(budget: ExplanationBudget) -> None:
    """The cells of one player are those of the background, and the function does not read those of another."""

    def function(X: FloatArray) -> FloatArray:
        return bumpy(X[:, :-1])

    game = game_of(function, 9)
    game.background[:, 3] = game.x[3]
    found = explained(game, budget)
    assert (found.values[[3, 8]] == 0).all()
    assert (found.errors[[3, 8]] == 0).all()
    assert (found.values[[0, 1, 2, 4]] != 0).all()


def test_players_without_effect_leave_fewer_coalitions() -> None:
    game = game_of(n_players=14)
    assert explained(game).n_rounds > 0
    game.background[:, 4:] = game.x[4:]
    assert explained(game).n_rounds == 0


def test_players_that_are_alike_have_equal_values() -> None:
    def function(X: FloatArray) -> FloatArray:
        return bumpy(np.hstack([X[:, :1] + X[:, 1:2], X[:, 2:]]))

    game = game_of(function)
    game.x[1], game.background[:, 1] = game.x[0], game.background[:, 0]
    values = explained(game).values
    np.testing.assert_allclose(values[0], values[1], atol=1e-12)


def test_a_row_like_its_background_has_no_contributions() -> None:
    game = game_of()
    game.background[:] = game.x
    found = explained(game)
    assert (found.values == 0).all()
    assert (found.n_rounds, found.is_converged) == (0, True)


def test_a_closed_form_is_used_and_shares_out_what_rounding_leaves() -> None:
    def function(X: FloatArray) -> FloatArray:
        return X @ np.array([[1.0], [-2.0], [0.0]])

    rng = np.random.default_rng(0)
    x, background = rng.normal(size=3), rng.normal(size=(4, 3))
    closed = ((x - background.mean(axis=0)) * [1.0, -2.0, 0.0])[:, None]
    found = explained(Formula(function, x, background, closed * (1 + 1e-7)))
    np.testing.assert_allclose(found.values, closed, atol=1e-6)
    assert found.values[2, 0] == 0

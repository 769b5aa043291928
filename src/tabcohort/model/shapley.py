"""Shapley values of one row: how much each part of it moves a score away from that of background rows.

A coalition is a set of players, each a column or several that move together. Its value is the mean score of the
background rows after the players' cells are replaced by those of the explained row ("interventional": Janzing et al.
2020). A player's Shapley value (1953) is what it adds to the value of the players before it, on average over all
orders; the values of all players add up to the score of the row minus the mean score of the background.

Values are exact where there are few players, and where scores are sums over players. Elsewhere they are means over
permutations, each taken with its reverse, which leaves no error of interactions between two players (Covert & Lee 2021;
Mitchell et al. 2022). Each background row has permutations of its own, so that errors shrink with the number of rows
times permutations; they are estimated from the variance between a background row's permutations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tabcohort.errors import SettingsError
from tabcohort.randomness import Purpose, make_rng
from tabcohort.types import BoolArray, FloatArray, IntArray

MAX_CELLS_AT_ONCE = 2**21  # of coalitions times background rows times players
MAX_ENUMERATED = 12  # players
NEGLIGIBLE = 1e-9  # of the largest value: what rounding makes of nothing
MIN_ROUNDS = 2  # an error is a standard deviation between rounds


@dataclass(frozen=True)
class ExplanationBudget:
    """How much is computed for one row.

    Args:
        max_background: background rows; a random sample of them where there are more.
        tolerance: no more permutations are drawn once the largest standard error is at most this share of the largest
            contribution.
        max_rounds: at most this many permutations, each with its reverse, for each background row; also, all coalitions
            are evaluated, and the errors are 0, where these are not more than so many permutations would take.
    """

    max_background: int = 100
    tolerance: float = 0.01
    max_rounds: int = 40

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            SettingsError: one is out of its range.
        """
        if self.max_background < 2 or self.max_rounds < MIN_ROUNDS:
            raise SettingsError(
                f"at least 2 background rows and {MIN_ROUNDS} rounds are needed; max_background is "
                f"{self.max_background}, max_rounds {self.max_rounds}"
            )
        if not self.tolerance >= 0:
            raise SettingsError(f"the tolerance must be a share, at least 0; it is {self.tolerance}")


ROWS_BUDGET = ExplanationBudget(max_background=25, tolerance=0.05, max_rounds=8)  # for each of many rows


@dataclass(frozen=True)
class ShapleyValues:
    """The Shapley values of a row.

    Args:
        values: of each player and score, `(n_players, n_scores)`.
        errors: their standard errors, given the background rows; 0 where the values are exact.
        n_rounds: permutations of each background row, each with its reverse; 0 where the values are exact.
        is_converged: whether the errors are within the tolerance.
    """

    values: FloatArray
    errors: FloatArray
    n_rounds: int
    is_converged: bool


class Game(Protocol):
    """What coalitions of players are worth, for each background row.

    Args:
        base: the scores of each background row, `(n_background, n_scores)`.
        output: the scores of the explained row, `(n_scores,)`.
        differs: which players have other cells in the explained row than in each background row,
            `(n_background, n_players)`; the others have no effect.
    """

    @property
    def base(self) -> FloatArray:
        """See above."""

    @property
    def output(self) -> FloatArray:
        """See above."""

    @property
    def differs(self) -> BoolArray:
        """See above."""

    def exact(self) -> FloatArray | None:
        """Return the Shapley values in closed form, `(n_players, n_scores)`, where there is one."""

    def scores(self, coalitions: BoolArray) -> FloatArray:
        """Return the scores of coalitions, `(n_background, n, n_scores)`.

        Args:
            coalitions: who is in each, for each background row, `(n_background, n, n_players)`.
        """


def shapley_values(
    game: Game, budget: ExplanationBudget, seed: int, callback: Callable[[int], None] | None = None
) -> ShapleyValues:
    """Return the Shapley values of all players of a game.

    They add up to `game.output - game.base.mean(axis=0)`: what rounding leaves is shared out by size.

    Args:
        game: the explained row and its background.
        budget: when to stop.
        seed: of the permutations, which are the same for every row that is explained.
        callback: called with the number of rounds after each.
    """
    n_players, n_scores = game.differs.shape[1], len(game.output)
    players = np.flatnonzero(game.differs.any(axis=0))
    values, errors = np.zeros((n_players, n_scores)), np.zeros((n_players, n_scores))
    closed = game.exact()
    n_rounds, is_converged = 0, True
    if closed is not None:
        values = closed.copy()
    elif 0 < len(players) <= MAX_ENUMERATED and 2 ** len(players) <= 2 + budget.max_rounds * 2 * (len(players) - 1):
        values[players] = _enumerated(_Part(game, players))
    elif len(players):
        sampled = _sampled(_Part(game, players), budget, seed, callback)
        values[players], errors[players] = sampled.values, sampled.errors
        n_rounds, is_converged = sampled.n_rounds, sampled.is_converged
    size = np.abs(values)
    is_nothing = size < NEGLIGIBLE * size.max(axis=0)
    values[is_nothing] = errors[is_nothing] = size[is_nothing] = 0
    remainder = game.output - game.base.mean(axis=0) - values.sum(axis=0)
    values = values + remainder * size / np.maximum(size.sum(axis=0), np.finfo(np.float64).tiny)
    return ShapleyValues(values, errors, n_rounds, is_converged)


@dataclass(frozen=True)
class _Part:
    """A game of some of its players; the others have no effect."""

    game: Game
    players: IntArray

    def scores(self, coalitions: BoolArray) -> FloatArray:
        """Return the scores of coalitions of these players, `(n_background, n, n_scores)`."""
        every = np.zeros((*coalitions.shape[:2], self.game.differs.shape[1]), dtype=bool)
        every[:, :, self.players] = coalitions
        return self.game.scores(every)


# -- all coalitions --------------------------------------------------------------------------------------------------


def _enumerated(part: _Part) -> FloatArray:
    """Return the Shapley values from the value of every coalition, `(n_players, n_scores)`."""
    n_players, n_background = len(part.players), len(part.game.base)
    coalitions = np.array(list(itertools.product((False, True), repeat=n_players)))
    value = np.empty((len(coalitions), len(part.game.output)))
    n_at_once = max(1, MAX_CELLS_AT_ONCE // (n_background * n_players))
    for start in range(0, len(coalitions), n_at_once):
        some = coalitions[start : start + n_at_once]
        shape = (n_background, *some.shape)
        value[start : start + len(some)] = part.scores(np.broadcast_to(some, shape)).mean(axis=0)
    sizes = coalitions.sum(axis=1)
    values = np.empty((n_players, value.shape[1]))
    for player in range(n_players):
        is_in = coalitions[:, player]
        before = sizes[~is_in]  # the order of the coalitions with the player is that of those without it
        weight = np.array([1 / (n_players * math.comb(n_players - 1, size)) for size in range(n_players)])[before]
        values[player] = weight @ (value[is_in] - value[~is_in])
    return values


# -- permutations ----------------------------------------------------------------------------------------------------


def _sampled(
    part: _Part, budget: ExplanationBudget, seed: int, callback: Callable[[int], None] | None
) -> ShapleyValues:
    """Return means over permutations with their standard errors, from as many rounds as the tolerance needs."""
    n_background, n_players = len(part.game.base), len(part.players)
    shape = (n_background, n_players, len(part.game.output))
    mean, squares = np.zeros(shape), np.zeros(shape)  # of each background row, as Welford (1962) updates them
    for number in range(1, budget.max_rounds + 1):
        own = _round(part, make_rng(seed, Purpose.PERMUTATIONS, place=number))
        step = own - mean
        mean += step / number
        squares += step * (own - mean)
        if callback is not None:
            callback(number)
        if number < MIN_ROUNDS:
            continue
        values = mean.mean(axis=0)
        errors = np.sqrt(squares.sum(axis=0) / (number - 1) / number) / n_background
        is_converged = bool(errors.max() <= budget.tolerance * np.abs(values).max())
        if is_converged:
            break
    return ShapleyValues(values, errors, number, is_converged)


def _round(part: _Part, rng: np.random.Generator) -> FloatArray:
    """Return what each player adds, a permutation and its reverse for each row, `(n_background, n_players, n_scores)`.

    A coalition of the reverse is the complement of one of the permutation.
    """
    game, n_players = part.game, len(part.players)
    order = rng.permuted(np.broadcast_to(np.arange(n_players), (len(game.base), n_players)), axis=1)
    place = np.argsort(order, axis=1)
    first = place[:, None, :] < np.arange(1, n_players)[:, None]  # the first players of the permutation, 1, 2, ...
    scores = part.scores(np.concatenate([first, ~first[:, ::-1]], axis=1))
    output = np.broadcast_to(game.output, (len(game.base), 1, len(game.output)))
    adds = np.zeros((len(game.base), n_players, len(game.output)))
    for walk, positions in ((scores[:, : n_players - 1], place), (scores[:, n_players - 1 :], n_players - 1 - place)):
        steps = np.diff(np.concatenate([game.base[:, None], walk, output], axis=1), axis=1)
        adds += np.take_along_axis(steps, positions[:, :, None], axis=1)
    return adds / 2

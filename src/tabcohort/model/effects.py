"""What a model does with a column: accumulated local effects, and what two columns do together.

The effect of a column is how its scores change when the column's cell moves a little, in rows whose cells are near,
added up along the column (Apley & Zhu 2020). Rows that cannot be, such as a small radius beside a large area, are not
made, unlike for a partial dependence.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tabcohort.data.columns import Date, Text
from tabcohort.data.inputs import InputPlaces
from tabcohort.model.explainer import MAX_NUMBERS_AT_ONCE, Ensemble
from tabcohort.types import FloatArray, IntArray

MAX_INTERVALS = 20  # of a number, with about as many rows each
MAX_LEVELS = 12  # of a category, the most frequent
N_BINS = 10  # of other columns, by which levels are compared

Scores = Callable[[FloatArray], FloatArray]  # of rows `(n_rows, n_inputs)`, `(n_rows, ...)`


@dataclass(frozen=True)
class Grid:
    """Values of a column, in order.

    Args:
        place: of the column.
        values: its numbers, or codes, `(n_points,)`.
        inputs: all its inputs, `(n_points, n_own_inputs)`.
        is_number: whether the values are numbers.
    """

    place: InputPlaces
    values: FloatArray
    inputs: FloatArray
    is_number: bool

    def put(self, X: FloatArray, points: IntArray) -> FloatArray:
        """Return rows with the cells of some points."""
        changed = X.copy()
        changed[:, self.place.inputs] = self.inputs[points]
        return changed


def grid_of(X: FloatArray, places: Sequence[InputPlaces], column: int, n_intervals: int = MAX_INTERVALS) -> Grid | None:
    """Return the values of a column that effects are drawn at; None for dates, for text and where all cells are alike.

    Numbers are quantiles. Levels, which have no order, are put in one so that the rows of neighbours are alike in the
    other columns (Apley & Zhu 2020, section 5.6).

    Args:
        X: inputs of rows, `(n_rows, n_inputs)`.
        places: of the inputs of all columns.
        column: number of the column.
        n_intervals: at most this many between numbers.
    """
    own = places[column]
    if isinstance(own.column, Date | Text):
        return None
    is_number = own.column.n_numbers > 0
    first = own.numbers.start if is_number else own.code
    cells = X[:, first]
    known = cells[~np.isnan(cells)]
    if not len(known):
        return None
    if is_number:
        values = np.unique(np.quantile(known, np.linspace(0, 1, n_intervals + 1), method="inverted_cdf"))
    else:
        levels, counts = np.unique(known, return_counts=True)
        kept = np.sort(np.argsort(-counts, kind="stable")[:MAX_LEVELS])
        values = levels[kept][order_of_levels(X, places, column, levels[kept])]
    if len(values) < 2:
        return None
    rows = [int(np.flatnonzero(cells == value)[0]) for value in values]
    return Grid(own, values, X[np.ix_(rows, own.inputs)], is_number)


def order_of_levels(X: FloatArray, places: Sequence[InputPlaces], column: int, levels: FloatArray) -> IntArray:
    """Return an order of levels in which neighbours are alike in the other columns.

    The distance of two levels is the sum over columns of the largest difference of their distribution functions (half
    the sum of differences for categories); the order is the first coordinate of classical scaling (Torgerson 1952).
    """
    own, distance = X[:, places[column].code], np.zeros((len(levels), len(levels)))
    for number, other in enumerate(places):
        if number == column or isinstance(other.column, Text):
            continue
        is_number = other.code is None
        bins = _binned(X[:, other.numbers.start]) if is_number else np.unique(X[:, other.code], return_inverse=True)[1]
        shares = np.stack([np.bincount(bins[own == level], minlength=bins.max() + 1) for level in levels])
        shares = shares / shares.sum(axis=1, keepdims=True)
        if is_number:
            shares = shares.cumsum(axis=1)
        apart = np.abs(shares[:, None] - shares[None])
        distance += apart.max(axis=2) if is_number else apart.sum(axis=2) / 2
    square = -0.5 * np.square(distance)
    square = square - square.mean(axis=0) - square.mean(axis=1)[:, None] + square.mean()
    first = np.linalg.eigh(square)[1][:, -1]
    return np.argsort(first * (1 if first[0] <= 0 else -1), kind="stable")  # an eigenvector has no sign of its own


def _binned(values: FloatArray) -> IntArray:
    """Return the tenth of the values in which each is; missing ones are after the last."""
    known = values[~np.isnan(values)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, N_BINS + 1)[1:-1])) if len(known) else np.empty(0)
    return np.searchsorted(edges, values, side="right")


def local_effects(scores: Scores, X: FloatArray, weight: FloatArray, grid: Grid) -> FloatArray:
    """Return the accumulated local effect at each point of a grid, `(n_points, ...)`; its mean over the rows is 0.

    Args:
        scores: what is explained.
        X: inputs of rows, `(n_rows, n_inputs)`.
        weight: of each row, `(n_rows,)`.
        grid: of the column.
    """
    rows, step = _steps(X, grid)
    moved = scores(grid.put(X[rows], step + 1)) - scores(grid.put(X[rows], step))
    shape, n_steps = moved.shape[1:], len(grid.values) - 1
    total = np.zeros((n_steps, *shape))
    np.add.at(total, step, moved * weight[rows].reshape(-1, *[1] * len(shape)))
    mass = np.bincount(step, weight[rows], n_steps)
    effect = np.concatenate([np.zeros((1, *shape)), np.cumsum(total.T / np.maximum(mass, 1e-300), axis=-1).T])
    if grid.is_number:
        mean = np.tensordot(mass / mass.sum(), (effect[1:] + effect[:-1]) / 2, axes=1)
    else:
        mean = np.tensordot(shares_of(X, weight, grid), effect, axes=1)
    return np.asarray(effect - mean)


def _steps(X: FloatArray, grid: Grid) -> tuple[IntArray, IntArray]:
    """Return the rows that a step from a point to the next is measured on, and which step; a level has two."""
    cells = X[:, grid.place.numbers.start if grid.is_number else grid.place.code]
    if grid.is_number:
        rows = np.flatnonzero(~np.isnan(cells))
        return rows, np.clip(np.searchsorted(grid.values, cells[rows]), 1, len(grid.values) - 1) - 1
    point = np.full(len(X), -1)
    for number, level in enumerate(grid.values):
        point[cells == level] = number
    up = np.flatnonzero((point >= 0) & (point < len(grid.values) - 1))
    down = np.flatnonzero(point > 0)
    return np.concatenate([up, down]), np.concatenate([point[up], point[down] - 1])


def shares_of(X: FloatArray, weight: FloatArray, grid: Grid) -> FloatArray:
    """Return the share of the rows at each level of a grid, among those at any of them."""
    cells = X[:, grid.place.code]
    mass = np.array([weight[cells == level].sum() for level in grid.values])
    return np.asarray(mass / mass.sum())


def scores_with_members(ensemble: Ensemble) -> Scores:
    """Return what gives the scores of an ensemble, and after them those of each member: `(n_rows, 1 + n_models, n)`."""

    def scores(X: FloatArray) -> FloatArray:
        logits = ensemble.inference.logits(X)
        return np.concatenate([ensemble.scores(logits)[:, None], ensemble.member_scores(logits)], axis=1)

    return _in_parts(scores, ensemble)


def scores_of(ensemble: Ensemble) -> Scores:
    """Return what gives the scores of an ensemble, `(n_rows, n_scores)`."""
    return _in_parts(lambda X: ensemble.scores(ensemble.inference.logits(X)), ensemble)


def _in_parts(scores: Scores, ensemble: Ensemble) -> Scores:
    """Return the same for any number of rows, in parts whose logits are few enough for the memory."""
    n_at_once = max(1, MAX_NUMBERS_AT_ONCE // (ensemble.inference.n_models * ensemble.inference.n_outputs))

    def in_parts(X: FloatArray) -> FloatArray:
        parts = (np.ascontiguousarray(X[start : start + n_at_once]) for start in range(0, len(X), n_at_once))
        return np.concatenate([scores(part) for part in parts])

    return in_parts


# -- two columns -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interaction:
    """How much of what a model does with two columns is not the sum of what it does with each.

    Args:
        columns: their numbers.
        strength: standard deviation of that part, in the unit of the scores.
        share: of the variance of the effect of both, H squared (Friedman & Popescu 2008).
    """

    columns: tuple[int, int]
    strength: float
    share: float


def interactions(
    scores: Scores, X: FloatArray, places: Sequence[InputPlaces], columns: Sequence[int]
) -> list[Interaction]:
    """Return the interactions of all pairs of some columns, the strongest first.

    Effects are partial dependences: means over rows in which the cells of one row are put.

    Args:
        scores: what is explained, `(n_rows, n_scores)`.
        X: inputs of a few rows, `(n_rows, n_inputs)`: the square of their number is predicted for each pair.
        places: of the inputs of all columns.
        columns: their numbers.
    """
    alone = {column: _dependence(scores, X, places[column].inputs) for column in columns}
    found = []
    for pair in itertools.combinations(columns, 2):
        both = _dependence(scores, X, [*places[pair[0]].inputs, *places[pair[1]].inputs])
        rest = np.square(both - alone[pair[0]] - alone[pair[1]]).sum()
        size = np.square(both).sum()
        found.append(Interaction(pair, float(np.sqrt(rest / len(X))), float(rest / size) if size else 0.0))
    return sorted(found, key=lambda own: -own.strength)


def _dependence(scores: Scores, X: FloatArray, inputs: Sequence[int]) -> FloatArray:
    """Return the partial dependence on some inputs at each row, with a mean of 0, `(n_rows, n_scores)`."""
    rows = np.repeat(X[None], len(X), axis=0)
    rows[:, :, inputs] = X[:, None, inputs]
    mean = scores(rows.reshape(-1, X.shape[1])).reshape(len(X), len(X), -1).mean(axis=1)
    return np.asarray(mean - mean.mean(axis=0))


def joint_part(scores: Scores, X: FloatArray, one: Grid, other: Grid) -> FloatArray:
    """Return the part of the effect of two columns that is no sum of one of each, `(n_one, n_other, n_scores)`.

    It is the mean over the rows in which the cells are put, less the means over both grids.
    """
    shape = len(one.values), len(other.values)
    cells = np.indices(shape).reshape(2, -1)
    rows = np.tile(X, (cells.shape[1], 1))
    rows = other.put(one.put(rows, np.repeat(cells[0], len(X))), np.repeat(cells[1], len(X)))
    mean = scores(rows).reshape(*shape, len(X), -1).mean(axis=2)
    return np.asarray(mean - mean.mean(axis=0) - mean.mean(axis=1)[:, None] + mean.mean(axis=(0, 1)))

"""Columns that repeat each other: one tells nearly all about the other, as a length in metres and in feet does."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from tabcohort.data.columns import Column, Date, Text
from tabcohort.data.inputs import input_places
from tabcohort.types import FloatArray, IntArray

MIN_RANK_CORRELATION = 0.98  # of two numbers, by Spearman, in absolute value
MIN_LAMBDA = 0.95  # of levels, by Goodman and Kruskal (1954), in both directions
MIN_ROWS_PER_LEVEL = 20  # on average; levels of a row each would determine any column


def repeated_columns(X: FloatArray, columns: Sequence[Column]) -> list[list[int]]:
    """Return the places of columns that repeat each other, a list for each set of two or more.

    Numbers and dates are compared with each other by their ranks, and columns of levels by how many cells of one are
    right if they are guessed from the other. Free text is not compared.

    Args:
        X: inputs of rows, `(n_rows, n_inputs)`.
        columns: of the schema.

    Examples:
        >>> from tabcohort.data.columns import Number
        >>> metres = np.random.default_rng(0).random(100)
        >>> X = np.column_stack([metres, metres[::-1], metres * 3.28084])
        >>> repeated_columns(X, [Number("metres"), Number("other"), Number("feet")])
        [[0, 2]]
    """
    numbers: dict[int, FloatArray] = {}
    levels: dict[int, IntArray] = {}
    for number, (column, places, code) in enumerate(input_places(columns)):
        if code is not None:
            codes = np.unique(X[:, code], return_inverse=True)[1]
            if len(codes) and 1 <= codes.max() < len(codes) / MIN_ROWS_PER_LEVEL:
                levels[number] = codes
        elif isinstance(column, Date) or (column.n_numbers and not isinstance(column, Text)):
            numbers[number] = X[:, places.start]
    return _connected([*_equal_ranks(numbers), *_equal_levels(levels)], len(columns))


def _equal_ranks(numbers: dict[int, FloatArray]) -> list[tuple[int, int]]:
    """Return the pairs of columns whose ranks agree; missing cells have the mean rank."""
    from scipy.stats import rankdata

    if len(numbers) < 2:
        return []
    ranks = np.stack([rankdata(values, nan_policy="omit") for values in numbers.values()])
    ranks -= np.where(np.isnan(ranks).all(axis=1), 0.0, np.nansum(ranks, axis=1) / _n_known(ranks))[:, None]
    ranks = np.nan_to_num(ranks)
    size = np.sqrt(np.square(ranks).sum(axis=1))
    correlation = np.abs(ranks @ ranks.T) / np.maximum(np.outer(size, size), np.finfo(np.float64).tiny)
    names = list(numbers)
    pairs = np.argwhere(np.triu(correlation >= MIN_RANK_CORRELATION, 1)).tolist()
    return [(names[one], names[other]) for one, other in pairs]


def _n_known(ranks: FloatArray) -> IntArray:
    return np.maximum((~np.isnan(ranks)).sum(axis=1), 1)


def _equal_levels(levels: dict[int, IntArray]) -> list[tuple[int, int]]:
    """Return the pairs of columns of which each tells the other's level."""
    pairs = []
    for one, other in itertools.combinations(levels, 2):
        counts = np.zeros((levels[one].max() + 1, levels[other].max() + 1))
        np.add.at(counts, (levels[one], levels[other]), 1)
        if min(_lambda(counts), _lambda(counts.T)) >= MIN_LAMBDA:
            pairs.append((one, other))
    return pairs


def _lambda(counts: FloatArray) -> float:
    """Return which share of wrong guesses of the second level the first one saves."""
    total, blind = counts.sum(), counts.sum(axis=0).max()
    return float((counts.max(axis=1).sum() - blind) / (total - blind)) if total > blind else 0.0


def _connected(pairs: Sequence[tuple[int, int]], n: int) -> list[list[int]]:
    """Return the sets that pairs make, where what repeats the same repeats each other."""
    first = list(range(n))
    for one, other in pairs:
        low, high = sorted((first[one], first[other]))
        first = [low if place == high else place for place in first]
    sets = [[place for place in range(n) if first[place] == low] for low in range(n)]
    return [own for own in sets if len(own) > 1]

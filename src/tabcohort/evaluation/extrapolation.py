"""How a log loss falls with the number of training rows, and what more of them would bring.

Learning curves are well described by a power law with a limit, and some by an exponential (Domhan, Springenberg &
Hutter 2015; Viering & Loog 2022, "The shape of learning curves: a review"). A few points seldom tell which it is, and
beyond them the two differ: a forecast is the mean of both, and its interval spans those of both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tabcohort.evaluation.intervals import Estimate
from tabcohort.types import FloatArray, IntArray

POWER, EXPONENTIAL = "power law", "exponential"
N_RATES = 60
RATES = {POWER: np.geomspace(0.05, 3.0, N_RATES), EXPONENTIAL: np.geomspace(0.2, 20.0, N_RATES)}
MIN_POINTS = 4


def _shape(family: str, rate: FloatArray | float, size: FloatArray) -> FloatArray:
    """Return what of the drop is left, of any shape that broadcasts: 1 at size 1 for a power law."""
    return np.exp(-rate * size) if family == EXPONENTIAL else size**-rate


@dataclass(frozen=True)
class CurveFit:
    """A learning curve: `limit + drop * size ** -rate` (a power law) or `limit + drop * exp(-rate * size)`.

    Args:
        family: "power law" or "exponential".
        limit: the log loss that it approaches, at least 0.
        drop: factor of what more rows take away; below 0 where the log loss rises.
        rate: how fast.
    """

    family: str
    limit: float
    drop: float
    rate: float

    def at(self, size: FloatArray | float) -> FloatArray:
        """Return the log loss at sizes, in units of the largest size that was measured."""
        return self.limit + self.drop * _shape(self.family, self.rate, np.asarray(size, dtype=np.float64))

    def gain(self, factor: float) -> float:
        """Return how much lower the log loss is with this many times the rows."""
        return float(self.at(1.0) - self.at(factor))


def fit_curve(sizes: FloatArray, losses: FloatArray, family: str) -> CurveFit:
    """Return the curve of a family with the least weighted squares.

    Points weigh in proportion to their size: what comes after the last depends on the last ones most.

    Args:
        sizes: numbers of training rows in units of the largest, `(n_points,)`.
        losses: log loss at each, `(n_points,)`.
        family: "power law" or "exponential".
    """
    rates = RATES[family]
    for _ in range(2):  # the second time between the neighbours of the best rate
        limit, drop, errors = _fits(sizes, losses, family, rates)
        best = int(errors.argmin())
        curve = CurveFit(family, float(limit[best]), float(drop[best]), float(rates[best]))
        rates = np.geomspace(rates[max(best - 1, 0)], rates[min(best + 1, len(rates) - 1)], N_RATES)
    return curve


def _fits(
    sizes: FloatArray, losses: FloatArray, family: str, rates: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the best limit, at least 0, and drop for each rate, and the mean squared error, all `(n_rates,)`."""
    weight = sizes / sizes.sum()
    shapes = _shape(family, rates[:, None], sizes)
    mean_shape, mean_loss = shapes @ weight, float(losses @ weight)
    centered = shapes - mean_shape[:, None]
    drop = (centered * (losses - mean_loss)) @ weight / (np.square(centered) @ weight)
    limit = mean_loss - drop * mean_shape
    drop = np.where(limit < 0, (shapes * losses) @ weight / (np.square(shapes) @ weight), drop)  # the best through 0
    limit = np.maximum(limit, 0.0)
    return limit, drop, np.square(limit[:, None] + drop[:, None] * shapes - losses) @ weight


def forecast_gain(
    sizes: FloatArray, losses: FloatArray, weight: FloatArray, fold_ids: IntArray, factor: float
) -> Estimate:
    """Return how much lower the log loss would be with so many times the rows: the mean of both families' curves.

    The interval spans those of both, by `jackknife`, and is cut at 0: more rows of the same kind do no harm in the long
    run.

    Args:
        sizes: as of `fit_curve`.
        losses: of each row at each size, `(n_points, n_rows)`.
        weight, fold_ids: of each row, `(n_rows,)`.
        factor: times the rows.
    """

    def gain_of(family: str) -> Estimate:
        return jackknife(lambda means: fit_curve(sizes, means, family).gain(factor), losses, weight, fold_ids)

    gains = [gain_of(family) for family in RATES]
    value = float(np.mean([gain.value for gain in gains]))
    low, high = min(gain.low for gain in gains), max(gain.high for gain in gains)
    return Estimate(max(0.0, value), max(0.0, low), max(0.0, high))


def jackknife(
    value: Callable[[FloatArray], float], losses: FloatArray, weight: FloatArray, fold_ids: IntArray
) -> Estimate:
    """Return a figure of mean losses with its 95 % interval, by leaving out one fold at a time (Tukey 1958).

    Members that test on different folds differ in the rows that they learned from, so that the interval covers the
    chance of these, too. It is Student's, with one degree of freedom less than there are folds.

    Args:
        value: the figure, given the mean loss at each size, `(n_points,)`.
        losses: of each row at each size, `(n_points, n_rows)`.
        weight, fold_ids: of each row, `(n_rows,)`.
    """
    from scipy.special import stdtrit

    folds = np.unique(fold_ids)
    whole = value(losses @ weight / weight.sum())
    without = np.empty(len(folds))
    for place, fold in enumerate(folds):
        kept = fold_ids != fold
        without[place] = value(losses[:, kept] @ weight[kept] / weight[kept].sum())
    n = len(folds)
    error = np.sqrt((n - 1) / n * np.square(without - without.mean()).sum())
    half_width = float(stdtrit(n - 1, 0.975) * error)
    return Estimate(whole, whole - half_width, whole + half_width)

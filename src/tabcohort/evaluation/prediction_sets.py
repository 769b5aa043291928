"""Prediction sets: sets of classes that hold the true one as often as asked for, class by class (split conformal)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.evaluation.metrics import parts_of_rows
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class SetEvaluation:
    """How often prediction sets contain the true class, and how many classes they have, as shares of the rows.

    Args:
        covered: rows whose set contains the true class.
        covered_by_class: the same among the rows of each class; NaN for a class without rows.
        single: rows whose set has one class.
        several: rows whose set has several classes, which is an abstention.
        empty: rows whose set has no class, which is an abstention.
    """

    covered: float
    covered_by_class: tuple[float, ...]
    single: float
    several: float
    empty: float


def set_thresholds(log_proba: NDArray[Any], y: IntArray, weight: FloatArray, coverage: float) -> FloatArray:
    """Return the probability of each class, `(n_classes,)`, from which on the class is in a row's prediction set.

    At least `coverage` of each class's own rows reach it, counted with one more row than there are, as class-wise split
    conformal prediction does (Vovk 2012; Sadinle, Lei & Wasserman 2019). A class with fewer rows than about
    1 / (1 - coverage) has the threshold 0: it is in every set. Weights are relative within a class; the additional row
    has their mean.

    Args:
        log_proba: out-of-fold log probabilities, `(n_rows, n_classes)`.
        y: class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
        coverage: share of the rows of each class whose set is to hold it, in (0, 1).
    """
    own = log_proba[np.arange(len(y)), y].astype(np.float64)
    return _thresholds(own, y, weight, coverage, log_proba.shape[1])


def _thresholds(log_proba: FloatArray, y: IntArray, weight: FloatArray, coverage: float, n_classes: int) -> FloatArray:
    """Return what `set_thresholds` does, from the log probability of each row's own class, `(n_rows,)`."""
    thresholds = np.zeros(n_classes)
    by_class = np.argsort(y, kind="stable")
    codes, starts = np.unique(y[by_class], return_index=True)
    for code, of_class in zip(codes, np.split(by_class, starts)[1:], strict=True):
        proba, relative = log_proba[of_class], weight[of_class] / weight[of_class].mean()
        order = np.argsort(proba)
        below = np.cumsum(relative[order])
        allowed = (1 - coverage) * (relative.sum() + 1)  # weight that may lie below, the new row's included
        place = int(np.searchsorted(below, allowed + 1e-9, side="right"))
        if place > 0:
            thresholds[code] = np.exp(proba[order[min(place, len(order)) - 1]])
    return thresholds


def highest_coverage_without(codes: IntArray, predictions: OutOfFoldPredictions) -> float | None:
    """Return the highest coverage at which none of some classes is in every set; None if a class has no rows.

    Args:
        codes: of the classes, `(n,)`, at least one.
        predictions: that thresholds are chosen on, as `set_thresholds` does.
    """
    losses, coverages = predictions.losses(), []
    for code in codes:
        rows = np.flatnonzero(predictions.y == code)
        if not len(rows):
            return None
        weight = predictions.weight[rows]
        least_probable = weight[np.argmax(losses[rows])]  # may lie below the threshold, if there is one
        coverages.append(float(1 - least_probable / (weight.sum() + weight.mean())))
    return min(coverages)


def prediction_sets(log_proba: NDArray[Any], thresholds: FloatArray) -> BoolArray:
    """Return which classes are in each row's prediction set, `(n_rows, n_classes)`.

    A set of no class, or of several, is an abstention: no class is typical enough, or more than one is.
    """
    sets = np.empty(log_proba.shape, dtype=bool)
    for part in parts_of_rows(*log_proba.shape):
        np.greater_equal(np.exp(log_proba[part].astype(np.float64)), thresholds, out=sets[part])
    return sets


def cross_fit_sets(predictions: OutOfFoldPredictions, coverage: float) -> BoolArray:
    """Return the prediction sets of rows, `(n, n_classes)`, by thresholds that were chosen on the other folds.

    Rows of one fold only have every class in their sets, as no other rows can choose thresholds.
    """
    log_proba, y, weight = predictions.log_proba, predictions.y, predictions.weight
    own, n_classes = log_proba[np.arange(len(y)), y].astype(np.float64), log_proba.shape[1]
    sets = np.empty(log_proba.shape, dtype=bool)
    for inside, outside in predictions.folds():
        thresholds = _thresholds(own[outside], y[outside], weight[outside], coverage, n_classes)
        sets[inside] = prediction_sets(log_proba[inside], thresholds)
    return sets


def evaluate_sets(sets: BoolArray, y: IntArray, weight: FloatArray) -> SetEvaluation:
    """Return how often prediction sets hold the true class, and how many classes they have.

    Args:
        sets: which classes are in each row's set, `(n_rows, n_classes)`.
        y: class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
    """
    covered, sizes = sets[np.arange(len(y)), y], sets.sum(axis=1)

    def share(which: BoolArray) -> float:
        return float((weight * which).sum() / total)

    total, totals = weight.sum(), np.bincount(y, weight, sets.shape[1])
    by_class = np.divide(
        np.bincount(y, weight * covered, sets.shape[1]), totals, out=np.full(sets.shape[1], math.nan), where=totals > 0
    )
    return SetEvaluation(
        covered=share(covered),
        covered_by_class=tuple(by_class.tolist()),
        single=share(sizes == 1),
        several=share(sizes > 1),
        empty=share(sizes == 0),
    )

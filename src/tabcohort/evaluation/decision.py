"""Decision rules: from probabilities to predicted classes, by a threshold that serves a stated objective."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tabcohort.errors import SettingsError, TabcohortWarning
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.evaluation.prediction_sets import set_thresholds
from tabcohort.types import BoolArray, FloatArray, IntArray

OBJECTIVES = (
    "a probability in (0, 1), 'balanced_accuracy', 'f1', 'sensitivity>=0.95' (with as few false alarms as it allows) "
    "or 'cost=10:1' (a missed positive : a false alarm)"
)


@dataclass(frozen=True)
class ThresholdObjective:
    """What a threshold is chosen for.

    Args:
        kind: "probability", "balanced_accuracy", "f1", "sensitivity" or "cost".
        value: the probability; the least sensitivity; the cost of a missed positive over that of a false alarm; NaN for
            the other kinds.
    """

    kind: str
    value: float = math.nan


@dataclass(frozen=True)
class DecisionRule:
    """How probabilities become predicted classes and prediction sets.

    Args:
        coverage: share of the rows of each class whose prediction set is to hold it.
        set_thresholds: the probability from which on a class is in a set, `(n_classes,)`.
        objective: what the threshold was chosen for, as it was written; None predicts the most probable class.
        threshold: the probability from which on a row is predicted positive; None without an objective.
    """

    coverage: float
    set_thresholds: FloatArray
    objective: str | None
    threshold: float | None


def parse_objective(text: str | float) -> ThresholdObjective:
    """Return a threshold objective from its text.

    Raises:
        SettingsError: it is not an objective.
    """
    words = str(text).replace(" ", "").lower()
    number = r"((?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)"
    if words.replace("-", "_") in ("balanced_accuracy", "f1"):
        return ThresholdObjective(words.replace("-", "_"))
    if match := re.fullmatch(rf"sensitivity>=?{number}", words):
        if 0 < float(match[1]) <= 1:
            return ThresholdObjective("sensitivity", float(match[1]))
    elif match := re.fullmatch(rf"cost={number}:{number}", words):
        missed, alarm = float(match[1]), float(match[2])
        if missed > 0 and alarm > 0 and 0 < missed / alarm < math.inf:
            return ThresholdObjective("cost", missed / alarm)
    elif re.fullmatch(number, words) and 0 < float(words) < 1:
        return ThresholdObjective("probability", float(words))
    raise SettingsError(f"the threshold must be {OBJECTIVES}; it is {text!r}")


def check_objective(text: str | float, n_classes: int) -> ThresholdObjective:
    """Return a threshold objective from its text, if a threshold can be chosen for so many classes.

    Raises:
        SettingsError: it is not an objective, or there are not two classes.
    """
    objective = parse_objective(text)
    if n_classes != 2:
        raise SettingsError(f"a threshold is for two classes; there are {n_classes}")
    return objective


def choose_decision_rule(
    predictions: OutOfFoldPredictions, positive: int | None, objective: str | float | None, coverage: float
) -> DecisionRule:
    """Choose the threshold and the set thresholds on out-of-fold predictions.

    Args:
        predictions: of the ensemble.
        positive: code of the positive class of two.
        objective: what the threshold is for; None predicts the most probable class.
        coverage: share of the rows of each class whose prediction set is to hold it.

    Raises:
        SettingsError: the objective is not one, or there are not two classes.

    Warns:
        TabcohortWarning: there are no folds, so no threshold can be chosen.
    """
    predictions = predictions.as_float64()
    thresholds = set_thresholds(predictions.log_proba, predictions.y, predictions.weight, coverage)
    if objective is None:
        return DecisionRule(coverage, thresholds, None, None)
    parsed = check_objective(objective, predictions.log_proba.shape[1])
    assert positive is not None  # of two classes one is always the positive one
    if predictions.n_folds == 1 and parsed.kind != "probability":
        warnings.warn(
            f"a threshold for {objective} cannot be chosen and measured on the same rows; the most probable class is "
            "predicted",
            TabcohortWarning,
            stacklevel=3,
        )
        return DecisionRule(coverage, thresholds, None, None)
    proba = np.exp(predictions.log_proba[:, positive])
    threshold = choose_threshold(parsed, proba, predictions.y == positive, predictions.weight)
    return DecisionRule(coverage, thresholds, str(objective), threshold)


def choose_threshold(
    objective: ThresholdObjective, proba: FloatArray, is_positive: BoolArray, weight: FloatArray
) -> float:
    """Return the probability from which on a row is predicted positive that serves the objective best on these rows.

    It lies midway between probabilities of rows; of equally good ones it is the one nearest to 0.5.

    Args:
        objective: what for.
        proba: of the positive class, `(n_rows,)`; out-of-fold.
        is_positive: the truth, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
    """
    if objective.kind == "probability":
        return objective.value
    order = np.argsort(proba, kind="stable")
    ordered = proba[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    # Below the first row all are predicted positive; each step predicts the rows of one more probability negative.
    positive = np.add.reduceat((weight * is_positive)[order], starts)
    negative = np.add.reduceat((weight * ~is_positive)[order], starts)
    missed = np.concatenate([[0.0], np.cumsum(positive)])
    alarms = negative.sum() - np.concatenate([[0.0], np.cumsum(negative)])
    below, above = np.append(0.0, ordered[starts]), np.append(ordered[starts], 1.0)
    middle = (below + above) / 2
    thresholds = np.where(middle > below, middle, above)  # nothing is between neighbours in double precision
    utility = _UTILITIES[objective.kind](missed, alarms, positive.sum(), negative.sum(), objective.value)
    if below[-1] == 1:  # no probability is above that of these rows
        thresholds, utility = thresholds[:-1], utility[:-1]
    best = np.flatnonzero(utility >= utility.max() - 1e-12)
    return float(thresholds[best[np.argmin(np.abs(thresholds[best] - 0.5))]])


def predicted_codes(log_proba: FloatArray, positive: int | None, threshold: float | None) -> IntArray:
    """Return the predicted class of each row, `(n_rows,)`: the most probable, or by the positive class's threshold."""
    if threshold is None or positive is None:
        return log_proba.argmax(axis=1)
    return np.where(np.exp(log_proba[:, positive]) >= threshold, positive, 1 - positive)


def cross_fit_threshold(objective: ThresholdObjective, predictions: OutOfFoldPredictions, positive: int) -> IntArray:
    """Return the predicted class of each row, `(n,)`, by a threshold that was chosen on the other folds."""
    y_pred = predictions.log_proba.argmax(axis=1)
    if predictions.n_folds == 1 and objective.kind != "probability":  # there is nothing to choose it on
        return y_pred
    proba, is_positive = np.exp(predictions.log_proba[:, positive]), predictions.y == positive
    for inside, outside in predictions.folds():
        threshold = choose_threshold(objective, proba[outside], is_positive[outside], predictions.weight[outside])
        y_pred[inside] = predicted_codes(predictions.log_proba[inside], positive, threshold)
    return y_pred


# -- utilities: the higher, the better a threshold serves its objective ----------------------------------------------

Utility = Callable[[FloatArray, FloatArray, float, float, float], FloatArray]


def _balanced_accuracy(
    missed: FloatArray, alarms: FloatArray, n_positive: float, n_negative: float, _: float
) -> FloatArray:
    return -missed / max(n_positive, 1e-300) - alarms / max(n_negative, 1e-300)


def _f1(missed: FloatArray, alarms: FloatArray, n_positive: float, n_negative: float, _: float) -> FloatArray:
    hits = n_positive - missed
    return 2 * hits / np.maximum(2 * hits + missed + alarms, 1e-300)


def _specificity(
    missed: FloatArray, alarms: FloatArray, n_positive: float, n_negative: float, least: float
) -> FloatArray:
    """Minus the number of false alarms, where the sensitivity is high enough."""
    return np.where(n_positive - missed >= (least - 1e-12) * n_positive, -alarms, -np.inf)


def _negative_cost(
    missed: FloatArray, alarms: FloatArray, n_positive: float, n_negative: float, ratio: float
) -> FloatArray:
    return -(ratio * missed + alarms)


_UTILITIES: dict[str, Utility] = {
    "balanced_accuracy": _balanced_accuracy,
    "f1": _f1,
    "sensitivity": _specificity,
    "cost": _negative_cost,
}

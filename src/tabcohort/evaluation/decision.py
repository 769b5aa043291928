"""Decision rules: from probabilities to predicted classes, by a threshold that serves a stated objective."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tabcohort.errors import SettingsError, TabcohortWarning
from tabcohort.evaluation.intervals import clopper_pearson_lower, design_effect
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.evaluation.prediction_sets import set_thresholds
from tabcohort.types import BoolArray, FloatArray, IntArray

OBJECTIVES = (
    "a probability in (0, 1), 'balanced_accuracy', 'f1', 'sensitivity>=0.95' (with as few false alarms as it allows), "
    "'specificity>=0.95' or 'precision>=0.9' (with as few missed positives as they allow), "
    "or 'cost=10:1' (a missed positive : a false alarm)"
)
CONFIDENCE = 0.9  # with which a rate that is asked for holds for new rows


@dataclass(frozen=True)
class ThresholdObjective:
    """What a threshold is chosen for.

    Args:
        kind: "probability", "balanced_accuracy", "f1", "sensitivity", "specificity", "precision" or "cost".
        value: the probability; the least sensitivity, specificity or precision; the cost of a missed positive over that
            of a false alarm; NaN for the other kinds.
    """

    kind: str
    value: float = math.nan

    @property
    def required(self) -> float | None:
        """The least value of the rate that the objective names; None where it names none."""
        return self.value if self.kind in _RATES else None

    @property
    def metric(self) -> str | None:
        """Name of the metric that tells how well the objective is reached; None for a probability and a cost."""
        return None if self.kind in ("probability", "cost") else self.kind


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
    if match := re.fullmatch(rf"({'|'.join(_RATES)})>=?{number}", words):
        if 0 < float(match[2]) <= 1:
            return ThresholdObjective(match[1], float(match[2]))
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
    threshold = choose_threshold(parsed, rows_of(predictions.as_float64(), positive))
    return DecisionRule(coverage, thresholds, str(objective), threshold)


@dataclass(frozen=True)
class LabelledRows:
    """The rows that a threshold is chosen on.

    Args:
        proba: probability of the positive class, `(n_rows,)`, out-of-fold.
        is_positive: the truth, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
        group_ids: the group of each row, `(n_rows,)`; rows of one group may be alike.
    """

    proba: FloatArray
    is_positive: BoolArray
    weight: FloatArray
    group_ids: IntArray


def rows_of(predictions: OutOfFoldPredictions, positive: int, some: BoolArray | None = None) -> LabelledRows:
    """Return the rows of predictions that a threshold is chosen on; all, or `some`, `(n,)`."""
    chosen = slice(None) if some is None else some
    return LabelledRows(
        np.exp(predictions.log_proba[chosen, positive]),
        predictions.y[chosen] == positive,
        predictions.weight[chosen],
        predictions.group_ids[chosen],
    )


def choose_threshold(objective: ThresholdObjective, rows: LabelledRows) -> float:
    """Return the probability from which on a row is predicted positive that serves the objective best on these rows.

    It lies midway between probabilities of rows; of equally good ones it is the one nearest to 0.5.

    A sensitivity, specificity or precision is chosen with a margin: its one-sided lower bound of Clopper & Pearson
    (1934) is at least what was asked for, so that new rows have it with a confidence of 90 %. For sensitivity and
    specificity this is the order statistic of a tolerance limit (Wilks 1941). Where the rows are too few for that (see
    `can_promise`), the threshold with the highest bound is taken.

    Args:
        objective: what for.
        rows: the rows to choose on.
    """
    if objective.kind == "probability":
        return objective.value
    thresholds, outcomes = _thresholds(rows)
    if objective.required is None:
        return _best(thresholds, _UTILITIES[objective.kind](outcomes, objective.value))
    bounds = _lower_bounds(objective, rows, thresholds, outcomes)
    return _best_with(objective, thresholds, outcomes, bounds)


def can_promise(objective: ThresholdObjective, rows: LabelledRows) -> bool:
    """Return whether these rows are enough to promise new ones the rate that is asked for, with 90 % confidence."""
    if objective.required is None:
        return True
    return bool(_lower_bounds(objective, rows, *_thresholds(rows)).max() >= objective.required)


class _Outcomes(NamedTuple):
    """What each of several thresholds gives.

    Args:
        missed: weight of the positives that are predicted negative, `(n_thresholds,)`.
        alarms: weight of the negatives that are predicted positive, `(n_thresholds,)`.
        n_positive, n_negative: weight of all of them.
    """

    missed: FloatArray
    alarms: FloatArray
    n_positive: float
    n_negative: float

    @property
    def hits(self) -> FloatArray:
        """Weight of the positives that are predicted positive."""
        return self.n_positive - self.missed


def _thresholds(rows: LabelledRows) -> tuple[FloatArray, _Outcomes]:
    """Return every threshold that predicts the rows differently, ascending, and what each gives."""
    order = np.argsort(rows.proba, kind="stable")
    ordered = rows.proba[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    # Below the first row all are predicted positive; each step predicts the rows of one more probability negative.
    positive = np.add.reduceat((rows.weight * rows.is_positive)[order], starts)
    negative = np.add.reduceat((rows.weight * ~rows.is_positive)[order], starts)
    missed = np.concatenate([[0.0], np.cumsum(positive)])
    alarms = negative.sum() - np.concatenate([[0.0], np.cumsum(negative)])
    below, above = np.append(0.0, ordered[starts]), np.append(ordered[starts], 1.0)
    middle = (below + above) / 2
    thresholds = np.where(middle > below, middle, above)  # nothing is between neighbours in double precision
    if below[-1] == 1:  # no probability is above that of these rows
        thresholds, missed, alarms = thresholds[:-1], missed[:-1], alarms[:-1]
    return thresholds, _Outcomes(missed, alarms, float(positive.sum()), float(negative.sum()))


def _best(thresholds: FloatArray, utility: FloatArray) -> float:
    best = np.flatnonzero(utility >= utility.max() - 1e-12)
    return float(thresholds[best[np.argmin(np.abs(thresholds[best] - 0.5))]])


def _best_with(objective: ThresholdObjective, thresholds: FloatArray, outcomes: _Outcomes, rates: FloatArray) -> float:
    """Return the threshold with the fewest errors of the other kind among those whose rate is high enough."""
    required = min(objective.value, float(rates.max()))
    errors = outcomes.alarms if objective.kind == "sensitivity" else outcomes.missed
    return _best(thresholds, np.where(rates >= required - 1e-12, -errors, -np.inf))


def _lower_bounds(
    objective: ThresholdObjective, rows: LabelledRows, thresholds: FloatArray, outcomes: _Outcomes
) -> FloatArray:
    """Return the lower confidence bound of each threshold's rate, `(n_thresholds,)`; 0 where no row has the rate.

    Dependent and unequally weighted rows count like fewer rows: as many fewer as at the threshold without a margin.
    """
    successes, trials = _RATES[objective.kind](outcomes)
    trials = np.broadcast_to(trials, successes.shape)
    rates = np.divide(successes, trials, out=np.zeros_like(successes), where=trials > 0)
    y_pred = rows.proba >= _best_with(objective, thresholds, outcomes, rates)
    counted = {"sensitivity": rows.is_positive, "specificity": ~rows.is_positive, "precision": y_pred}[objective.kind]
    if not counted.any():
        return np.zeros_like(rates)
    weight, is_right = rows.weight[counted], (y_pred == rows.is_positive)[counted]
    influence = weight / weight.sum() * (is_right - np.average(is_right, weights=weight))
    effect = design_effect(influence, weight, np.unique(rows.group_ids[counted], return_inverse=True)[1])
    rows_per_weight = weight.sum() / np.square(weight).sum() / effect  # Kish 1965
    return clopper_pearson_lower(successes * rows_per_weight, trials * rows_per_weight, CONFIDENCE)


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
    for inside, outside in predictions.folds():
        threshold = choose_threshold(objective, rows_of(predictions, positive, outside))
        y_pred[inside] = predicted_codes(predictions.log_proba[inside], positive, threshold)
    return y_pred


def out_of_fold_codes(rule: DecisionRule, predictions: OutOfFoldPredictions, positive: int | None) -> IntArray:
    """Return each row's predicted class, `(n,)`: the most probable, or by a threshold chosen on the other folds."""
    if rule.objective is None or positive is None:
        return predictions.log_proba.argmax(axis=1)
    return cross_fit_threshold(parse_objective(rule.objective), predictions, positive)


# -- rates that may be asked for: the weight of successes and of trials of each threshold ----------------------------

Rate = Callable[[_Outcomes], tuple[FloatArray, FloatArray | float]]
_RATES: dict[str, Rate] = {
    "sensitivity": lambda outcomes: (outcomes.hits, outcomes.n_positive),
    "specificity": lambda outcomes: (outcomes.n_negative - outcomes.alarms, outcomes.n_negative),
    "precision": lambda outcomes: (outcomes.hits, outcomes.hits + outcomes.alarms),
}


# -- utilities: the higher, the better a threshold serves its objective ----------------------------------------------

Utility = Callable[[_Outcomes, float], FloatArray]


def _balanced_accuracy(outcomes: _Outcomes, _: float) -> FloatArray:
    return -outcomes.missed / max(outcomes.n_positive, 1e-300) - outcomes.alarms / max(outcomes.n_negative, 1e-300)


def _f1(outcomes: _Outcomes, _: float) -> FloatArray:
    hits = outcomes.hits
    return 2 * hits / np.maximum(2 * hits + outcomes.missed + outcomes.alarms, 1e-300)


def _negative_cost(outcomes: _Outcomes, ratio: float) -> FloatArray:
    return -(ratio * outcomes.missed + outcomes.alarms)


_UTILITIES: dict[str, Utility] = {"balanced_accuracy": _balanced_accuracy, "f1": _f1, "cost": _negative_cost}

"""From probabilities to answers: a threshold for a stated aim, and sets of classes that hold the truth often enough."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabcohort.errors import SettingsError
from tabcohort.types import FloatArray, IntArray

HOW_TO_AIM = (
    "a probability in (0, 1), 'balanced_accuracy', 'f1', 'sensitivity>=0.95' (with as few false alarms as it allows) "
    "or 'cost=10:1' (a missed positive : a false alarm)"
)


@dataclass(frozen=True)
class Aim:
    """What a threshold is chosen for.

    Args:
        kind: "probability", "balanced_accuracy", "f1", "sensitivity" or "cost".
        value: the probability; the least sensitivity; what a missed positive costs beside a false alarm; else NaN.
    """

    kind: str
    value: float = math.nan


def parse_aim(text: str | float) -> Aim:
    """Return the aim that a person wrote.

    Raises:
        SettingsError: it is none.
    """
    words = str(text).replace(" ", "").lower()
    number = r"((?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)"
    if words.replace("-", "_") in ("balanced_accuracy", "f1"):
        return Aim(words.replace("-", "_"))
    if found := re.fullmatch(rf"sensitivity>=?{number}", words):
        if 0 < float(found[1]) <= 1:
            return Aim("sensitivity", float(found[1]))
    elif found := re.fullmatch(rf"cost={number}:{number}", words):
        missed, alarm = float(found[1]), float(found[2])
        if missed > 0 and alarm > 0 and 0 < missed / alarm < math.inf:
            return Aim("cost", missed / alarm)
    elif re.fullmatch(number, words) and 0 < float(words) < 1:
        return Aim("probability", float(words))
    raise SettingsError(f"the threshold must be {HOW_TO_AIM}; it is {text!r}")


def check_aim(text: str | float, n_classes: int) -> Aim:
    """Return the aim that a person wrote, if a threshold can be chosen for so many classes.

    Raises:
        SettingsError: it is none, or there are not two classes.
    """
    aim = parse_aim(text)
    if n_classes != 2:
        raise SettingsError(f"a threshold is for two classes; there are {n_classes}")
    return aim


def choose_threshold(aim: Aim, proba: FloatArray, is_positive: NDArray[np.bool_], weight: FloatArray) -> float:
    """Return the probability from which on a row is called positive, so that these rows reach the aim best.

    It lies midway between probabilities of rows; of equally good ones it is the one nearest to 0.5.

    Args:
        aim: what for.
        proba: of the positive class, `(n_rows,)`; out-of-fold.
        is_positive: the truth, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
    """
    if aim.kind == "probability":
        return aim.value
    order = np.argsort(proba, kind="stable")
    ordered = proba[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    # Below the first row all are called positive; each step calls the rows of one more probability negative.
    positive = np.add.reduceat((weight * is_positive)[order], starts)
    negative = np.add.reduceat((weight * ~is_positive)[order], starts)
    missed = np.concatenate([[0.0], np.cumsum(positive)])
    alarms = negative.sum() - np.concatenate([[0.0], np.cumsum(negative)])
    below, above = np.append(0.0, ordered[starts]), np.append(ordered[starts], 1.0)
    middle = (below + above) / 2
    thresholds = np.where(middle > below, middle, above)  # nothing is between neighbours in double precision
    goodness = _GOODNESS[aim.kind](missed, alarms, positive.sum(), negative.sum(), aim.value)
    if below[-1] == 1:  # no probability is above that of these rows
        thresholds, goodness = thresholds[:-1], goodness[:-1]
    best = np.flatnonzero(goodness >= goodness.max() - 1e-12)
    return float(thresholds[best[np.argmin(np.abs(thresholds[best] - 0.5))]])


Goodness = Callable[[FloatArray, FloatArray, float, float, float], FloatArray]


def _balanced_accuracy(missed: FloatArray, alarms: FloatArray, n_yes: float, n_no: float, _: float) -> FloatArray:
    return -missed / max(n_yes, 1e-300) - alarms / max(n_no, 1e-300)


def _f1(missed: FloatArray, alarms: FloatArray, n_yes: float, n_no: float, _: float) -> FloatArray:
    hits = n_yes - missed
    return 2 * hits / np.maximum(2 * hits + missed + alarms, 1e-300)


def _specificity(missed: FloatArray, alarms: FloatArray, n_yes: float, n_no: float, least: float) -> FloatArray:
    """How few false alarms there are, where the sensitivity is high enough."""
    return np.where(n_yes - missed >= (least - 1e-12) * n_yes, -alarms, -np.inf)


def _cheapness(missed: FloatArray, alarms: FloatArray, n_yes: float, n_no: float, ratio: float) -> FloatArray:
    return -(ratio * missed + alarms)


_GOODNESS: dict[str, Goodness] = {
    "balanced_accuracy": _balanced_accuracy,
    "f1": _f1,
    "sensitivity": _specificity,
    "cost": _cheapness,
}


def predicted_codes(log_proba: FloatArray, positive: int | None, threshold: float | None) -> IntArray:
    """Return what each row is called, `(n_rows,)`: the most probable class, or by the positive class's threshold."""
    if threshold is None or positive is None:
        return log_proba.argmax(axis=1)
    return np.where(np.exp(log_proba[:, positive]) >= threshold, positive, 1 - positive)


def cross_fit_threshold(
    aim: Aim, log_proba: FloatArray, y: IntArray, weight: FloatArray, part: IntArray, positive: int
) -> IntArray:
    """Return the class that each row is called, `(n_rows,)`, by a threshold chosen on the other parts of the rows."""
    codes = log_proba.argmax(axis=1)
    proba, is_positive = np.exp(log_proba[:, positive]), y == positive
    for number in np.unique(part):
        judged = part == number
        if judged.all() and aim.kind != "probability":  # there is nothing to choose by
            return codes
        threshold = choose_threshold(aim, proba[~judged], is_positive[~judged], weight[~judged])
        codes[judged] = predicted_codes(log_proba[judged], positive, threshold)
    return codes


def class_limits(log_proba: FloatArray, y: IntArray, weight: FloatArray, coverage: float) -> FloatArray:
    """Return the least probability of each class, `(n_classes,)`, at which the class is in a row's set.

    Of each class's own rows a share of at least `coverage` reach it, counted with one more row than there are, as split
    conformal prediction does, class by class (Vovk 2012; Sadinle, Lei & Wasserman 2019). A class with too few rows to
    tell, fewer than about 1 / (1 - coverage), has the limit 0: it is in every set. Weights say how much rows of a class
    count beside each other; the one more row has their mean.

    Args:
        log_proba: out-of-fold log probabilities, `(n_rows, n_classes)`.
        y: class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
        coverage: share of the rows of each class whose set is to hold it, in (0, 1).
    """
    limits = np.zeros(log_proba.shape[1])
    for code in np.unique(y):
        of_class = y == code
        proba, mass = log_proba[of_class, code], weight[of_class] / weight[of_class].mean()
        order = np.argsort(proba)
        below = np.cumsum(mass[order])
        allowed = (1 - coverage) * (mass.sum() + 1)  # mass that may lie below the limit, and the new row itself
        place = int(np.searchsorted(below, allowed + 1e-9, side="right"))
        if place > 0:
            limits[code] = np.exp(proba[order[min(place, len(order)) - 1]])
    return limits


def in_sets(log_proba: FloatArray, limits: FloatArray) -> NDArray[np.bool_]:
    """Return which classes are in each row's set, `(n_rows, n_classes)`.

    A set of no class, or of several, is an abstention: no class is typical enough, or more than one is.
    """
    return np.exp(log_proba) >= limits


def shares_of_sets(sets: NDArray[np.bool_], y: IntArray, weight: FloatArray) -> dict[str, float]:
    """Return for which share of the rows a set holds the truth, in all and by class, and how many classes it has.

    Args:
        sets: which classes are in each row's set, `(n_rows, n_classes)`.
        y: class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
    """
    covered, sizes = sets[np.arange(len(y)), y], sets.sum(axis=1)

    def share(which: NDArray[np.bool_], among: NDArray[np.bool_] | None = None) -> float:
        total = weight.sum() if among is None else weight[among].sum()
        return float((weight * which).sum() / total) if total > 0 else math.nan

    found = {
        "covered": share(covered),
        "one class": share(sizes == 1),
        "several": share(sizes > 1),
        "none": share(sizes == 0),
    }
    for code in range(sets.shape[1]):
        found[f"covered, class {code}"] = share(covered & (y == code), y == code)
    return found


def cross_fit_sets(
    log_proba: FloatArray, y: IntArray, weight: FloatArray, part: IntArray, coverage: float
) -> NDArray[np.bool_]:
    """Return which classes are in each row's set, `(n_rows, n_classes)`, by limits from the other parts of the rows."""
    sets = np.ones(log_proba.shape, dtype=bool)
    for number in np.unique(part):
        judged = part == number
        if not judged.all():
            limits = class_limits(log_proba[~judged], y[~judged], weight[~judged], coverage)
            sets[judged] = in_sets(log_proba[judged], limits)
    return sets

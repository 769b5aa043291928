"""What rests on out-of-fold predictions: how probabilities become answers, and how good these are."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabcohort.errors import TabcohortWarning
from tabcohort.evaluation.decision import (
    check_aim,
    choose_threshold,
    class_limits,
    cross_fit_sets,
    cross_fit_threshold,
    parse_aim,
    shares_of_sets,
)
from tabcohort.evaluation.intervals import Evaluation, evaluate
from tabcohort.types import FloatArray, IntArray


@dataclass(frozen=True)
class Judged:
    """The out-of-fold predictions that the report, the thresholds and the sets rest on.

    Args:
        rows: row numbers in the table, counted from 0, `(n,)`.
        log_proba: log probabilities, `(n, n_classes)`, float32; each row's corrected by what others chose.
        y: class codes, `(n,)`.
        weight: row weights, `(n,)`.
        part: the part of each row, `(n,)`: what is chosen for a row is chosen on the other parts.
        family: of each row, `(n,)`, codes from 0 without gaps: rows of one key or group may be alike.
    """

    rows: IntArray
    log_proba: NDArray[np.float32]
    y: IntArray
    weight: FloatArray
    part: IntArray
    family: IntArray


@dataclass(frozen=True)
class Decision:
    """How probabilities become answers.

    Args:
        coverage: share of the rows of each class whose set is to hold it.
        limits: the least probability at which a class is in a set, `(n_classes,)`.
        aim: what the threshold was chosen for, in the person's words; None calls the most probable class.
        threshold: the probability from which on a row is called positive; None without an aim.
    """

    coverage: float
    limits: FloatArray
    aim: str | None
    threshold: float | None


def decide(judged: Judged, positive: int | None, aim: str | float | None, coverage: float) -> Decision:
    """Choose threshold and limits of the sets on out-of-fold predictions.

    Raises:
        SettingsError: the aim is none, or there are not two classes.
    """
    log_proba = judged.log_proba.astype(np.float64)
    limits = class_limits(log_proba, judged.y, judged.weight, coverage)
    if aim is None:
        return Decision(coverage, limits, None, None)
    parsed = check_aim(aim, log_proba.shape[1])
    assert positive is not None  # of two classes, one always is
    if len(np.unique(judged.part)) == 1 and parsed.kind != "probability":
        words = f"a threshold for {aim} cannot be chosen and judged on the same rows; the most probable class is called"
        warnings.warn(words, TabcohortWarning, stacklevel=3)
        return Decision(coverage, limits, None, None)
    proba = np.exp(log_proba[:, positive])
    threshold = choose_threshold(parsed, proba, judged.y == positive, judged.weight)
    return Decision(coverage, limits, str(aim), threshold)


def measure(judged: Judged, decision: Decision, positive: int | None, seed: int) -> Evaluation:
    """Measure out-of-fold predictions; the threshold for each row is chosen on others."""
    log_proba, called = judged.log_proba.astype(np.float64), None
    if decision.aim is not None and positive is not None:
        aim = parse_aim(decision.aim)
        called = cross_fit_threshold(aim, log_proba, judged.y, judged.weight, judged.part, positive)
    return evaluate(log_proba, judged.y, judged.weight, positive, seed, called, judged.family)


def measure_sets(judged: Judged, coverage: float) -> dict[str, float]:
    """Return how often the sets hold the truth, and how many classes they have; limits are chosen on other rows."""
    y, weight = judged.y, judged.weight
    sets = cross_fit_sets(judged.log_proba.astype(np.float64), y, weight, judged.part, coverage)
    return shares_of_sets(sets, y, weight)

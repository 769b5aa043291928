"""Probabilities that mean what they say: a small correction of log probabilities, fitted on out-of-fold predictions.

A correction is `softmax(scale * log p + shift)`. Temperature scaling (Guo et al. 2017) has the scale alone;
bias-corrected temperature scaling (Alexandari, Kundaje & Shrikumar 2020) has a shift per class too, and is Platt's
method (1999) where there are two classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tabcohort.evaluation.intervals import standard_error_of_mean
from tabcohort.evaluation.metrics import log_loss, log_probabilities
from tabcohort.randomness import Purpose, make_rng
from tabcohort.types import FloatArray, IntArray

NONE, TEMPERATURE, BIAS_CORRECTED = "none", "temperature", "bias-corrected temperature"
MOST_ROWS = 20_000  # that a correction of a few numbers is fitted on
MOST_CLASSES_TO_SHIFT = 30
PRIOR = 1.0  # the prior's standard deviation of scale and shifts: perfectly separated rows would ask for infinity
SMALLEST_SCALE = 0.01
MOST_STEPS, SMALL_ENOUGH = 50, 1e-9


@dataclass(frozen=True)
class Calibrator:
    """A correction of log probabilities.

    Args:
        method: "none", "temperature" or "bias-corrected temperature".
        scale: what log probabilities are multiplied by; 1 / scale is the temperature.
        shift: what is then added to each class, `(n_classes,)`; the first class's is 0.
    """

    method: str
    scale: float
    shift: FloatArray

    def apply(self, log_proba: FloatArray) -> FloatArray:
        """Return corrected log probabilities, `(..., n_classes)`, of such log probabilities."""
        if self.method == NONE:
            return log_proba
        corrected = self.scale * log_proba + self.shift
        return log_probabilities(corrected.reshape(-1, corrected.shape[-1])).reshape(corrected.shape)


def no_calibrator(n_classes: int) -> Calibrator:
    """Return the calibrator that changes nothing."""
    return Calibrator(NONE, 1.0, np.zeros(n_classes))


def some_rows(n_rows: int, at_most: int) -> IntArray:
    """Return rows to choose something on, in order: all, or so many drawn at random (every second may be a control)."""
    if n_rows <= at_most:
        return np.arange(n_rows)
    return np.sort(make_rng(0, Purpose.SAMPLE).choice(n_rows, at_most, replace=False))


def fit_calibrator(
    log_proba: FloatArray, y: IntArray, weight: FloatArray, part: IntArray, family: IntArray | None = None
) -> Calibrator:
    """Return the calibrator that is best for rows that it was not fitted on; none unless one is clearly better.

    Each method is fitted on all parts but one and judged on that one, by log loss. The best is fitted on all, if it
    lowers the loss by more than the standard error of the difference.

    Args:
        log_proba: out-of-fold log probabilities, `(n_rows, n_classes)`.
        y: class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
        part: the part of each row, `(n_rows,)`; equal rows are in the same part.
        family: of each row, `(n_rows,)`: rows of one may be alike; all are independent when left out.
    """
    some = some_rows(len(y), MOST_ROWS)
    family = None if family is None else family[some]
    log_proba, y, weight, part = log_proba[some], y[some], weight[some], part[some]
    n_classes = log_proba.shape[1]
    methods = [TEMPERATURE] + [BIAS_CORRECTED] * (n_classes <= MOST_CLASSES_TO_SHIFT)
    before = log_proba[np.arange(len(y)), y]  # log probability of each row's class
    after = np.empty((len(methods), len(y)))
    for number in np.unique(part):
        judges = part == number
        if judges.all():
            return no_calibrator(n_classes)
        for method, found in zip(methods, after, strict=True):
            calibrator = fit_method(method, log_proba[~judges], y[~judges], weight[~judges])
            found[judges] = calibrator.apply(log_proba[judges])[np.arange(judges.sum()), y[judges]]
    gains = [weight @ (found - before) / weight.sum() for found in after]
    best = int(np.argmax(gains))
    if gains[best] <= standard_error_of_mean(after[best] - before, weight, family):
        return no_calibrator(n_classes)
    return fit_method(methods[best], log_proba, y, weight)


def fit_method(method: str, log_proba: FloatArray, y: IntArray, weight: FloatArray) -> Calibrator:
    """Return the most probable calibrator of a method, by Newton's method.

    The loss is convex in scale and shifts. A weak normal prior around no correction keeps both finite.
    """
    n_classes = log_proba.shape[1]
    found = no_calibrator(n_classes)
    if method == NONE:
        return found
    found = replace(found, method=method)
    n_shifts = n_classes - 1 if method == BIAS_CORRECTED else 0
    weight = weight / weight.mean()
    start = np.zeros(1 + n_shifts)
    start[0] = 1.0

    def calibrator(numbers: FloatArray) -> Calibrator:
        shift = np.zeros(n_classes)
        shift[1 : 1 + n_shifts] = numbers[1:]
        return replace(found, scale=float(numbers[0]), shift=shift)

    def loss(numbers: FloatArray) -> float:
        fit = log_loss(calibrator(numbers).apply(log_proba), y, weight) * weight.sum()
        return fit + float(np.square(numbers - start).sum()) / (2 * PRIOR**2)

    numbers, now = start, loss(start)
    for _ in range(MOST_STEPS):
        curvature, slope = _curvature_and_slope(calibrator(numbers), log_proba, y, weight, numbers - start)
        free = slice(int(numbers[0] == SMALLEST_SCALE and slope[0] > 0), None)  # the scale stays at its limit
        step = np.zeros_like(numbers)
        step[free] = np.linalg.solve(curvature[free, free], slope[free])
        share = 1.0
        while loss(moved := _within_limit(numbers - share * step)) > now:
            share /= 2
            if share < SMALL_ENOUGH:
                return calibrator(numbers)
        numbers = moved
        before, now = now, loss(numbers)
        if before - now < SMALL_ENOUGH * abs(before):
            break
    return calibrator(numbers)


def _within_limit(numbers: FloatArray) -> FloatArray:
    return np.concatenate([np.maximum(numbers[:1], SMALLEST_SCALE), numbers[1:]])


def _curvature_and_slope(
    calibrator: Calibrator, log_proba: FloatArray, y: IntArray, weight: FloatArray, from_start: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the second and the first derivative of the loss by scale and shifts.

    By each number the corrected scores of a row change by a vector f over classes: log p for the scale, a unit vector
    for a shift. With q the corrected probabilities, the slope is sum(E_q[f] - f_y), the curvature sum(Cov_q[f]).
    """
    q = np.exp(calibrator.apply(log_proba))
    n_shifts = len(from_start) - 1
    mean = (q * log_proba).sum(axis=1)
    slope = np.empty(1 + n_shifts)
    slope[0] = weight @ (mean - log_proba[np.arange(len(y)), y])
    curvature = np.zeros((1 + n_shifts, 1 + n_shifts))
    curvature[0, 0] = weight @ ((q * np.square(log_proba - mean[:, None])).sum(axis=1))
    if n_shifts:
        shares = q[:, 1:]
        slope[1:] = weight @ shares - np.bincount(y, weight, n_shifts + 1)[1:]
        curvature[0, 1:] = curvature[1:, 0] = weight @ (shares * (log_proba[:, 1:] - mean[:, None]))
        curvature[1:, 1:] = np.diag(weight @ shares) - (shares * weight[:, None]).T @ shares
    return curvature + np.eye(len(slope)) / PRIOR**2, slope + from_start / PRIOR**2

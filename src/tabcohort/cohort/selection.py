"""Which settings answer together, and how well they really do: chosen and judged on different rows.

The settings' weights are found by greedy selection with replacement (Caruana et al. 2004) on out-of-fold log loss, the
calibrator on the out-of-fold predictions of the result. `cross_fit` repeats both for each part of the rows without
that part, so that what is reported of a row was not chosen by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabcohort.evaluation.calibration import Calibrator, fit_calibrator, some_rows
from tabcohort.evaluation.metrics import log_of
from tabcohort.types import FloatArray, IntArray

ROUNDS = 40
MOST_ROWS = 50_000  # that a choice is made on


@dataclass(frozen=True)
class OutOfFold:
    """Predictions for rows by members that neither trained nor stopped on them.

    Args:
        log_proba: by each setting, the mean over its seeds: `(n_settings, n_rows, n_classes)`.
        y: class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
        part: the part of each row when something is chosen on these predictions, `(n_rows,)`; equal rows share one.
        family: of each row, `(n_rows,)`: rows of one may be alike; None where all are independent.
    """

    log_proba: FloatArray
    y: IntArray
    weight: FloatArray
    part: IntArray
    family: IntArray | None = None

    def of(self, rows: IntArray) -> OutOfFold:
        """Return the predictions for some of the rows."""
        family = None if self.family is None else self.family[rows]
        return OutOfFold(self.log_proba[:, rows], self.y[rows], self.weight[rows], self.part[rows], family)

    def losses(self) -> FloatArray:
        """Return every setting's loss on every row, `(n_settings, n_rows)`."""
        return -self.log_proba[:, np.arange(len(self.y)), self.y]


@dataclass(frozen=True)
class Ensemble:
    """Settings that answer together: `calibrator` corrects the mean of their probabilities by `weight`.

    Args:
        weight: of each setting, `(n_settings,)`, sum 1.
        calibrator: what corrects their mean.
    """

    weight: FloatArray
    calibrator: Calibrator

    def log_proba(self, of_settings: FloatArray) -> FloatArray:
        """Return the ensemble's log probabilities, `(n_rows, n_classes)`, of the settings' own."""
        return self.calibrator.apply(mean_log_proba(of_settings, self.weight))


def mean_log_proba(log_proba: FloatArray, weight: FloatArray) -> FloatArray:
    """Return the log of the weighted mean of probabilities, over the first axis, one after another."""
    total = np.zeros(log_proba.shape[1:])
    for each, share in zip(log_proba, weight, strict=True):
        if share > 0:
            total += share * np.exp(each)
    return log_of(total)


def choose_ensemble(found: OutOfFold) -> Ensemble:
    """Return the ensemble that is best on these rows; all settings alike, where they are of one part only."""
    n_settings = len(found.log_proba)
    several_parts = len(np.unique(found.part)) > 1
    weight = greedy_weights(found) if several_parts else np.full(n_settings, 1 / n_settings)
    mixed = mean_log_proba(found.log_proba, weight)
    return Ensemble(weight, fit_calibrator(mixed, found.y, found.weight, found.part, found.family))


def greedy_weights(found: OutOfFold) -> FloatArray:
    """Return each setting's share, `(n_settings,)`: in each of some rounds the one that helps most is added once more.

    The shares are those after the round with the lowest log loss.
    """
    n_settings, n_rows = found.log_proba.shape[:2]
    if n_settings == 1:
        return np.ones(1)
    some = some_rows(n_rows, MOST_ROWS)
    proba, weight = np.exp(-found.of(some).losses()), found.weight[some]
    counts, total = np.zeros(n_settings), np.zeros(len(some))
    best_loss, best = np.inf, counts
    for added in range(1, ROUNDS + 1):
        losses = -log_of((total + proba) / added) @ weight
        choice = int(np.argmin(losses))
        total, counts = total + proba[choice], counts.copy()
        counts[choice] += 1
        if losses[choice] < best_loss:
            best_loss, best = losses[choice], counts
    return best / best.sum()


def cross_fit(found: OutOfFold) -> tuple[FloatArray, FloatArray]:
    """Return log probabilities, `(n_rows, n_classes)`: each part's by an ensemble chosen on the other parts.

    Returns:
        They as the calibrator corrects them, and before that.
    """
    honest = np.empty(found.log_proba.shape[1:])
    before = np.empty_like(honest)
    parts = np.unique(found.part)
    if len(parts) == 1:  # nothing can be chosen, then
        ensemble = choose_ensemble(found)
        return ensemble.log_proba(found.log_proba), mean_log_proba(found.log_proba, ensemble.weight)
    for number in parts:
        judged = found.part == number
        others, rows = np.flatnonzero(~judged), np.flatnonzero(judged)
        ensemble = choose_ensemble(found.of(others))
        before[rows] = mean_log_proba(found.log_proba[:, rows], ensemble.weight)
        honest[rows] = ensemble.calibrator.apply(before[rows])
    return honest, before

"""How predictions are scored: every metric as a function of the rows' weights, which is all that a resample changes.

A metric that the rows cannot tell (the recall of a class that is not among them, say) is NaN, never a guess.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tabcohort.prepare import FloatArray, IntArray

ECE_BINS = 15

LABELS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "f1": "F1",
}


def log_probabilities(logits: NDArray[np.floating]) -> FloatArray:
    """Return the log probability of each class, `(n_rows, n_classes)`, float64, finite for any finite logits.

    Args:
        logits: `(n_rows, 1)`, the logit of the second of two classes, or `(n_rows, n_classes)`.
    """
    logits = logits.astype(np.float64)
    if logits.shape[1] == 1:
        return -np.logaddexp(0.0, np.hstack([logits, -logits]))
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def log_of(proba: FloatArray) -> FloatArray:
    """Return the logarithm of probabilities, finite for one that is 0."""
    return np.log(np.maximum(proba, np.finfo(np.float64).tiny))


def log_loss(log_proba: FloatArray, y: IntArray, weight: FloatArray) -> float:
    """Return the weighted mean of minus the log probability of each row's class, in nats."""
    return float(-(weight * log_proba[np.arange(len(y)), y]).sum() / weight.sum())


class Scorer:
    """The metrics of fixed predictions, as a function of the rows' weights.

    What does not depend on the weights (sorting, binning) is done once, so that a bootstrap resample, which is no
    more than other weights, costs a few passes over the rows.

    Args:
        log_proba: log probabilities, `(n_rows, n_classes)`.
        y: true class codes, `(n_rows,)`.
        positive: code of the class that sensitivity, specificity, precision and F1 are of, or None.
        called: the class that each row is called, `(n_rows,)`; the most probable one when left out.
    """

    def __init__(
        self, log_proba: FloatArray, y: IntArray, positive: int | None, called: IntArray | None = None
    ) -> None:
        self.n_classes = log_proba.shape[1]
        self.positive = positive
        proba = np.exp(log_proba)
        predicted = proba.argmax(axis=1)
        self.cell = y * self.n_classes + (predicted if called is None else called)
        self.log_loss = -log_proba[np.arange(len(y)), y]
        truth = np.eye(self.n_classes)[y]
        # Brier (1950); of two classes only one is counted, as is the custom, so that a coin flip scores 0.25.
        self.brier = np.square(proba - truth).sum(axis=1) / (2 if self.n_classes == 2 else 1)
        self.gap, self.bin = _gaps(proba, y)
        ranked = [1 if positive is None else positive] if self.n_classes == 2 else range(self.n_classes)
        self.rankings = [_Ranking(log_proba[:, code], y == code) for code in ranked]

    def confusion(self, weight: FloatArray) -> FloatArray:
        """Return the weight of each (true, predicted) pair of classes, `(n_classes, n_classes)`."""
        cells = np.bincount(self.cell, weight, self.n_classes**2)
        return cells.reshape(self.n_classes, self.n_classes).astype(np.float64)

    def metrics(self, weight: FloatArray) -> dict[str, float]:
        """Return every metric by name, for rows of these weights, `(n_rows,)`.

        ROC AUC and PR AUC (average precision) of more than two classes are the mean over classes of one against
        the rest. The expected calibration error is that of the predicted class, in 15 bins (Guo et al. 2017).
        """
        total = weight.sum()
        confusion = self.confusion(weight)
        areas = np.array([ranking.areas(weight) for ranking in self.rankings]).mean(axis=0)
        found = {
            "accuracy": _ratio(np.trace(confusion), total),
            "balanced_accuracy": float(np.mean(recalls_of(confusion))),
            "roc_auc": float(areas[0]),
            "pr_auc": float(areas[1]),
            "log_loss": _ratio(float((weight * self.log_loss).sum()), total),
            "brier": _ratio(float((weight * self.brier).sum()), total),
            "ece": _calibration_error(self.gap, self.bin, weight),
        }
        if self.positive is not None:
            hit, missed, false_alarm, rest = one_against_rest(confusion, self.positive)
            found["sensitivity"] = _ratio(hit, hit + missed)
            found["specificity"] = _ratio(rest, rest + false_alarm)
            found["precision"] = _ratio(hit, hit + false_alarm)
            found["f1"] = _ratio(2 * hit, 2 * hit + missed + false_alarm)
        return found


def calibration_error(log_proba: FloatArray, y: IntArray, weight: FloatArray) -> float:
    """Return the expected calibration error of the predicted class, in 15 bins (Guo et al. 2017)."""
    return _calibration_error(*_gaps(np.exp(log_proba), y), weight)


def _calibration_error(gap: FloatArray, bins: IntArray, weight: FloatArray) -> float:
    return _ratio(float(np.abs(np.bincount(bins, weight * gap)).sum()), float(weight.sum()))


def _gaps(proba: FloatArray, y: IntArray) -> tuple[FloatArray, IntArray]:
    """Return how far each row's confidence is from being right, 1 or 0, and the bin of that confidence."""
    confidence = proba.max(axis=1)
    bins = np.minimum((confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    return (proba.argmax(axis=1) == y) - confidence, bins


class _Ranking:
    """Rows ordered by their score for one class, with ties counted half (Hanley & McNeil 1982)."""

    def __init__(self, score: FloatArray, is_class: NDArray[np.bool_]) -> None:
        self.order = np.argsort(-score, kind="stable")
        ordered = score[self.order]
        self.starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self.is_class = is_class[self.order]

    def areas(self, weight: FloatArray) -> tuple[float, float]:
        """Return (ROC AUC, average precision)."""
        weight = weight[self.order]
        hits = np.add.reduceat(weight * self.is_class, self.starts)
        misses = np.add.reduceat(weight * ~self.is_class, self.starts)
        hits_so_far, misses_so_far = np.cumsum(hits), np.cumsum(misses)
        n_hits, n_misses = hits_so_far[-1], misses_so_far[-1]
        roc_auc = _ratio((hits * (n_misses - misses_so_far + misses / 2)).sum(), n_hits * n_misses)
        seen = hits_so_far + misses_so_far
        precision = np.divide(hits_so_far, seen, out=np.zeros_like(seen), where=seen > 0)
        return roc_auc, _ratio((hits * precision).sum(), n_hits)


def one_against_rest(confusion: FloatArray, positive: int) -> tuple[float, float, float, float]:
    """Return the weights of (hits, missed, false alarms, the rest) of a class against all others."""
    others = np.arange(len(confusion)) != positive
    missed, false_alarm = confusion[positive, others].sum(), confusion[others, positive].sum()
    return confusion[positive, positive], missed, false_alarm, confusion[np.ix_(others, others)].sum()


def recalls_of(confusion: FloatArray) -> list[float]:
    """Return the recall of each class; NaN for one that is not there."""
    return [_ratio(hit, of_class) for hit, of_class in zip(np.diag(confusion), confusion.sum(axis=1), strict=True)]


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else math.nan

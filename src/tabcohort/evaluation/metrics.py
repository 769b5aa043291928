"""How predictions are scored: every metric as a function of the rows' weights, which is all that a resample changes.

A metric that the rows cannot tell (the recall of a class that is not among them, say) is NaN, never a guess.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tabcohort.types import FloatArray, IntArray

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
    """Return the logarithm of probabilities, of the same shape, finite for one that is 0."""
    return np.log(np.maximum(proba, np.finfo(np.float64).tiny))


def log_loss(log_proba: FloatArray, y: IntArray, weight: FloatArray) -> float:
    """Return the weighted mean of minus the log probability of each row's class, in nats.

    Args:
        log_proba: log probabilities, `(n_rows, n_classes)`.
        y: class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
    """
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
        self.y, self.called = y, proba.argmax(axis=1) if called is None else called
        self.cell = y * self.n_classes + self.called
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
        confusion = self.confusion(weight)
        areas = np.array([ranking.areas(weight) for ranking in self.rankings]).mean(axis=0)
        found = {
            "accuracy": _ratio(np.trace(confusion), weight.sum()),
            "balanced_accuracy": float(np.mean(recalls_of(confusion))),
            "roc_auc": float(areas[0]),
            "pr_auc": float(areas[1]),
            **self.losses(weight),
        }
        if self.positive is not None:
            hit, missed, false_alarm, rest = one_against_rest(confusion, self.positive)
            found["sensitivity"] = _ratio(hit, hit + missed)
            found["specificity"] = _ratio(rest, rest + false_alarm)
            found["precision"] = _ratio(hit, hit + false_alarm)
            found["f1"] = _ratio(2 * hit, 2 * hit + missed + false_alarm)
        return found

    def losses(self, weight: FloatArray) -> dict[str, float]:
        """Return those metrics that are losses of probabilities, by name: log loss, Brier score, calibration error."""
        total = weight.sum()
        return {
            "log_loss": _ratio(float((weight * self.log_loss).sum()), total),
            "brier": _ratio(float((weight * self.brier).sum()), total),
            "ece": _calibration_error(self.gap, self.bin, weight),
        }

    @np.errstate(divide="ignore", invalid="ignore")
    def influences(self, weight: FloatArray) -> dict[str, FloatArray]:
        """Return the derivative of every metric by each row's weight, `(n_rows,)`; NaN where the rows cannot tell.

        Times the weights, these sum to 0; the sum of their squares is the infinitesimal jackknife's estimate of the
        metric's variance (Jaeckel 1972).
        """
        values = self.metrics(weight)

        def of_rate(part: NDArray[np.bool_], whole: NDArray[np.bool_], rate: float) -> FloatArray:
            return whole * (part - rate) / (weight @ whole)

        everyone, right = np.ones(len(self.y), dtype=bool), self.called == self.y
        recalls = recalls_of(self.confusion(weight))
        classes = [of_rate(right, self.y == code, recall) for code, recall in enumerate(recalls)]
        bin_gaps = np.bincount(self.bin, weight * self.gap)
        per_row = {"log_loss": self.log_loss, "brier": self.brier, "ece": np.sign(bin_gaps)[self.bin] * self.gap}
        areas = np.mean([ranking.influences(weight) for ranking in self.rankings], axis=0)
        found = {
            "accuracy": of_rate(right, everyone, values["accuracy"]),
            "balanced_accuracy": np.mean(classes, axis=0),
            "roc_auc": areas[0],
            "pr_auc": areas[1],
            **{name: (each - values[name]) / weight.sum() for name, each in per_row.items()},
        }
        if self.positive is not None:
            is_positive, called = self.y == self.positive, self.called == self.positive
            hit, either = is_positive & called, 1.0 * is_positive + called
            found["sensitivity"] = of_rate(called, is_positive, values["sensitivity"])
            found["specificity"] = of_rate(~called, ~is_positive, values["specificity"])
            found["precision"] = of_rate(is_positive, called, values["precision"])
            found["f1"] = (2 * hit - values["f1"] * either) / (weight @ either)
        return found


def calibration_error(log_proba: FloatArray, y: IntArray, weight: FloatArray) -> float:
    """Return the expected calibration error of the predicted class, in 15 bins (Guo et al. 2017).

    Args:
        log_proba: log probabilities, `(n_rows, n_classes)`.
        y: class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
    """
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
        hits, misses, hits_so_far, misses_so_far = self._counts(weight)
        n_hits, n_misses = hits_so_far[-1], misses_so_far[-1]
        roc_auc = _ratio((hits * (n_misses - misses_so_far + misses / 2)).sum(), n_hits * n_misses)
        seen = hits_so_far + misses_so_far
        precision = np.divide(hits_so_far, seen, out=np.zeros_like(seen), where=seen > 0)
        # What rounds to more than 1 has no standard error.
        return np.minimum(roc_auc, 1.0), np.minimum(_ratio((hits * precision).sum(), n_hits), 1.0)

    def influences(self, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the derivatives of (ROC AUC, average precision) by each row's weight, each `(n_rows,)`.

        A row of the class wins against all others that are ranked lower. It raises the precision at its own rank and
        at all lower ones, where a row of another class lowers it.
        """
        hits, misses, hits_so_far, misses_so_far = self._counts(weight)
        n_hits, n_misses = hits_so_far[-1], misses_so_far[-1]
        roc_auc, pr_auc = self.areas(weight)
        seen = hits_so_far + misses_so_far
        precision = hits_so_far / seen
        lower_too = np.cumsum((hits / seen)[::-1])[::-1]
        lower_too_precise = np.cumsum((hits * precision / seen)[::-1])[::-1]
        of_hit = (
            ((n_misses - misses_so_far + misses / 2) / n_misses - roc_auc) / n_hits,
            (precision + lower_too - lower_too_precise - pr_auc) / n_hits,
        )
        of_miss = (((hits_so_far - hits / 2) / n_hits - roc_auc) / n_misses, -lower_too_precise / n_hits)
        rank = np.repeat(np.arange(len(seen)), np.diff(self.starts, append=len(self.order)))
        found = np.empty((2, len(self.order)))
        for each, hit, miss in zip(found, of_hit, of_miss, strict=True):
            each[self.order] = np.where(self.is_class, hit[rank], miss[rank])
        return found[0], found[1]

    def _counts(self, weight: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return the weight of the class and of others at each rank, and at each rank and above."""
        weight = weight[self.order]
        hits = np.add.reduceat(weight * self.is_class, self.starts)
        misses = np.add.reduceat(weight * ~self.is_class, self.starts)
        return hits, misses, np.cumsum(hits), np.cumsum(misses)


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

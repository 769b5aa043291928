"""The curves of one class against the rest: ROC, precision and recall, reliability, scores, and rates by threshold.

They are numbers only, of predictions that were made without the rows in question; weights count, and intervals are as
wide as the groups of the rows make them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabcohort.evaluation.decision import LabelledRows
from tabcohort.evaluation.evaluate import estimate_metrics
from tabcohort.evaluation.intervals import Estimate, rate_estimate
from tabcohort.evaluation.metrics import Scorer, safe_log
from tabcohort.types import FloatArray, IntArray

N_RELIABILITY_BINS = 10
N_SCORE_BINS = 20
MIN_ROWS_IN_A_BIN = 5


@dataclass(frozen=True)
class Curve:
    """Points of a curve, one for each threshold, from the highest to the lowest.

    Args:
        x, y: of each point, `(n_points,)`.
        threshold: the probability from which on a row is predicted to be of the class, `(n_points,)`.
    """

    x: FloatArray
    y: FloatArray
    threshold: FloatArray

    def thinned(self, max_points: int) -> Curve:
        """Return at most so many points, with equal distances along the curve; both ends stay."""
        if len(self.x) <= max_points:
            return self
        steps = np.abs(np.diff(self.x)) + np.abs(np.diff(self.y))
        length = np.concatenate([[0.0], np.cumsum(steps)])
        places = np.searchsorted(length, np.linspace(0.0, length[-1], max_points))
        places = np.unique(np.concatenate([[0], np.minimum(places, len(length) - 1), [len(length) - 1]]))
        return Curve(self.x[places], self.y[places], self.threshold[places])


def roc_curve(rows: LabelledRows) -> Curve:
    """Return the true positive rate (y) over the false positive rate (x); NaN where a class has no rows."""
    thresholds, hits, alarms = _counts(rows)
    with np.errstate(invalid="ignore"):
        return Curve(alarms / alarms[-1], hits / hits[-1], thresholds)


def precision_recall_curve(rows: LabelledRows) -> Curve:
    """Return the precision (y) over the recall (x), for every threshold that predicts a row to be of the class."""
    thresholds, hits, alarms = (values[1:] for values in _counts(rows))
    with np.errstate(invalid="ignore"):
        return Curve(hits / hits[-1], hits / (hits + alarms), thresholds)


def areas_under_curves(rows: LabelledRows) -> dict[str, Estimate]:
    """Return the areas under both curves, `roc_auc` and `pr_auc`, with their 95 % intervals."""
    log_proba = np.column_stack([safe_log(1 - rows.proba), safe_log(rows.proba)])
    scores = Scorer(log_proba, rows.is_positive.astype(np.int64), 1).weighted(rows.weight)
    return estimate_metrics(scores, ("roc_auc", "pr_auc"), rows.group_ids)


def _counts(rows: LabelledRows) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return thresholds, descending from infinity, and the weight of hits and of false alarms at each."""
    order = np.argsort(-rows.proba, kind="stable")
    ordered = rows.proba[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    hits = np.cumsum((rows.weight * rows.is_positive)[order])[ends]
    alarms = np.cumsum((rows.weight * ~rows.is_positive)[order])[ends]
    return np.append(np.inf, ordered[ends]), np.append(0.0, hits), np.append(0.0, alarms)


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows with similar probabilities.

    Args:
        low, high: the smallest and the largest of their probabilities.
        predicted: the mean of these.
        observed: the share of the rows that are of the class.
        n_rows: number of rows.
        weight: their weight.
    """

    low: float
    high: float
    predicted: float
    observed: Estimate
    n_rows: int
    weight: float


def reliability(rows: LabelledRows, n_bins: int = N_RELIABILITY_BINS) -> list[ReliabilityBin]:
    """Return how often rows are of the class, by what was predicted, in bins of equally many rows.

    Rows of equal probability are in one bin, so there may be fewer bins (DeGroot & Fienberg 1983).
    """
    n_bins = max(1, min(n_bins, len(rows.proba) // MIN_ROWS_IN_A_BIN))
    edges = np.quantile(rows.proba, np.linspace(0, 1, n_bins + 1)[1:-1])
    bin_of_row = np.searchsorted(edges, rows.proba)
    bins = []
    for place in np.unique(bin_of_row):
        inside = bin_of_row == place
        proba, weight = rows.proba[inside], rows.weight[inside]
        observed = rate_estimate(rows.is_positive[inside], weight, rows.group_ids[inside])
        predicted = float(np.average(proba, weights=weight))
        low, high, total = float(proba.min()), float(proba.max()), float(weight.sum())
        bins.append(ReliabilityBin(low, high, predicted, observed, len(proba), total))
    return bins


def binned_calibration_error(bins: list[ReliabilityBin]) -> float:
    """Return the mean distance between predicted and observed shares over the rows of reliability bins."""
    weight = np.array([own.weight for own in bins])
    gaps = np.array([abs(own.predicted - own.observed.value) for own in bins])
    return float(weight @ gaps / weight.sum())


def score_histogram(rows: LabelledRows, n_bins: int = N_SCORE_BINS) -> tuple[FloatArray, FloatArray]:
    """Return the weight of the rows of the class, and of the others, in equal parts of the probabilities 0 to 1."""
    place = np.minimum((rows.proba * n_bins).astype(np.int64), n_bins - 1)
    inside, others = (np.bincount(place, rows.weight * own, n_bins) for own in (rows.is_positive, ~rows.is_positive))
    return inside.astype(np.float64), others.astype(np.float64)


@dataclass(frozen=True)
class ThresholdRates:
    """What predicting the class from a probability on gives.

    Args:
        threshold: the probability.
        confusion: weight of (true positives, false negatives, false positives, true negatives).
        sensitivity, specificity, precision, accuracy: with intervals; unknown where no row can tell.
    """

    threshold: float
    confusion: tuple[float, float, float, float]
    sensitivity: Estimate
    specificity: Estimate
    precision: Estimate
    accuracy: Estimate


def rates_at(rows: LabelledRows, thresholds: FloatArray) -> list[ThresholdRates]:
    """Return what each threshold gives on these rows.

    Args:
        rows: the rows.
        thresholds: probabilities from which on the class is predicted, `(n_thresholds,)`.
    """
    weight, is_positive = rows.weight, rows.is_positive
    groups = independent_or(rows.group_ids)

    def rate(success: np.ndarray, among: np.ndarray) -> Estimate:
        return rate_estimate(success[among], weight[among], None if groups is None else groups[among])

    rates = []
    for threshold in thresholds.tolist():
        y_pred = rows.proba >= threshold
        cells = (is_positive & y_pred, is_positive & ~y_pred, ~is_positive & y_pred, ~is_positive & ~y_pred)
        everyone = np.ones(len(weight), dtype=bool)
        rates.append(
            ThresholdRates(
                threshold,
                tuple(float(weight @ cell) for cell in cells),  # type: ignore[arg-type]
                rate(y_pred, is_positive),
                rate(~y_pred, ~is_positive),
                rate(is_positive, y_pred),
                rate(y_pred == is_positive, everyone),
            )
        )
    return rates


def independent_or(group_ids: IntArray) -> IntArray | None:
    """Return the groups of rows, `(n_rows,)`; None where each row has one of its own."""
    return None if len(np.unique(group_ids)) == len(group_ids) else group_ids

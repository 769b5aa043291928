"""The metrics, one entry of `METRICS` each, as functions of predictions and row weights.

A resample of the rows is no more than other weights, so what does not depend on the weights (sorting, binning) is done
once per `Scorer`. A metric that the rows cannot determine (the recall of a class that is not among them) is NaN.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tabcohort.evaluation.intervals import newcombe_auc, wilson
from tabcohort.evaluation.ranking import Ranking, rank_by_class
from tabcohort.types import BoolArray, FloatArray, IntArray

ECE_BINS = 15
FEW_CLASSES = 7  # NumPy adds as few one after another, too: the same bits
CELLS_AT_ONCE = 2**18  # probabilities for which temporary arrays are made at a time, which the cache holds
KEPT_CELLS = 2**25  # ranks that are kept; more are computed again for each use


# -- probabilities ---------------------------------------------------------------------------------------------------


def log_probabilities(logits: NDArray[np.floating]) -> FloatArray:
    """Return the log probability of each class, `(n_rows, n_classes)`, float64, finite for any finite logits.

    Args:
        logits: `(n_rows, 1)`, the logit of the second of two classes, or `(n_rows, n_classes)`.
    """
    n_rows, width = logits.shape
    if width == 1:
        values: FloatArray = logits.astype(np.float64)
        return -np.logaddexp(0.0, np.hstack([values, -values]))
    result = np.empty((n_rows, width))
    for part in parts_of_rows(n_rows, width):
        shifted = logits[part].astype(np.float64)
        shifted -= _over_classes(np.maximum, shifted)
        np.subtract(shifted, np.log(_over_classes(np.add, np.exp(shifted))), out=result[part])
    return result


def parts_of_rows(n_rows: int, n_classes: int) -> Iterator[slice]:
    """Yield parts of the rows, one after another, whose probabilities need little memory: all rows of small tables."""
    size = max(1, CELLS_AT_ONCE // n_classes)
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def _over_classes(function: np.ufunc, values: FloatArray) -> FloatArray:
    """Return the maximum or the sum of each row, `(n, 1)`: class by class if there are few, which is much faster."""
    if values.shape[1] > FEW_CLASSES:
        return np.asarray(function.reduce(values, axis=1, keepdims=True))
    return np.asarray(functools.reduce(function, values.T))[:, None]


def safe_log(proba: FloatArray) -> FloatArray:
    """Return the logarithm of probabilities, `(n, ...)`, of the same shape; finite where a probability is 0."""
    positive = np.maximum(proba, np.finfo(np.float64).tiny)
    return np.log(positive, out=positive)  # in place, as the array may be a large part of the memory


def log_loss(log_proba: FloatArray, y: IntArray, weight: FloatArray) -> float:
    """Return the weighted mean of the negative log probability of each row's class, in nats.

    Args:
        log_proba: log probabilities, `(n_rows, n_classes)`.
        y: class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
    """
    return float(-(weight * log_proba[np.arange(len(y)), y]).sum() / weight.sum())


def calibration_error(log_proba: FloatArray, y: IntArray, weight: FloatArray) -> float:
    """Return the expected calibration error of the predicted class, in 15 bins (Guo et al. 2017).

    Args:
        log_proba: log probabilities, `(n_rows, n_classes)`.
        y: class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
    """
    y_pred, confidence, _ = _summarize(log_proba, y)
    return _binned_error(*_confidence_gaps(y_pred, confidence, y), weight)


def _binned_error(gap: FloatArray, bins: IntArray, weight: FloatArray) -> float:
    return _ratio(float(np.abs(np.bincount(bins, weight * gap)).sum()), float(weight.sum()))


def counts_by_row(values: IntArray, n_values: int, weight: FloatArray | None = None) -> FloatArray:
    """Return how often each of the values 0 to `n_values` - 1 is in each row, `(n_rows, n_values)`.

    Args:
        values: `(n_rows, n_columns)`.
        n_values: number of different values.
        weight: what each value counts, `(n_rows, n_columns)`; 1 when omitted.
    """
    n_rows = len(values)
    places = values + n_values * np.arange(n_rows)[:, None]
    counts = np.bincount(places.ravel(), None if weight is None else weight.ravel(), n_rows * n_values)
    return counts.astype(np.float64).reshape(n_rows, n_values)


def _summarize(log_proba: FloatArray, y: IntArray) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return of each row the most probable class, its probability and the squared error (Brier 1950), all `(n_rows,)`.

    Of two classes the error of only one is counted, as is the custom, so that a coin flip scores 0.25.
    """
    n_rows, n_classes = log_proba.shape
    y_pred, confidence, errors = np.empty(n_rows, np.int64), np.empty(n_rows), np.empty(n_rows)
    for part in parts_of_rows(n_rows, n_classes):
        proba = np.exp(log_proba[part])
        proba.argmax(axis=1, out=y_pred[part])
        proba.max(axis=1, out=confidence[part])
        proba[np.arange(len(proba)), y[part]] -= 1
        np.square(proba, out=proba).sum(axis=1, out=errors[part])
    return y_pred, confidence, errors / (2 if n_classes == 2 else 1)


def _confidence_gaps(y_pred: IntArray, confidence: FloatArray, y: IntArray) -> tuple[FloatArray, IntArray]:
    """Return correctness (1 or 0) minus confidence of each row, and the bin of its confidence."""
    bins = np.minimum((confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    return (y_pred == y) - confidence, bins


# -- predictions, and predictions with weights -----------------------------------------------------------------------


class Scorer:
    """Predictions and the truth, prepared so that metrics are cheap for any row weights.

    Args:
        log_proba: log probabilities, `(n_rows, n_classes)`.
        y: true class codes, `(n_rows,)`.
        positive: code of the class that sensitivity, specificity, precision and F1 are of, or None.
        y_pred: predicted class codes, `(n_rows,)`; the most probable class when omitted.
    """

    def __init__(
        self, log_proba: FloatArray, y: IntArray, positive: int | None, y_pred: IntArray | None = None
    ) -> None:
        self.n_classes = log_proba.shape[1]
        self.positive = positive
        most_probable, confidence, self.brier_losses = _summarize(log_proba, y)
        self.y, self.y_pred = y, most_probable if y_pred is None else y_pred
        self.cell = y * self.n_classes + self.y_pred
        self.log_losses = -log_proba[np.arange(len(y)), y]
        self.confidence_gap, self.confidence_bin = _confidence_gaps(most_probable, confidence, y)
        ranked = [1 if positive is None else positive] if self.n_classes == 2 else range(self.n_classes)
        # The ranks of the rows by each class against the rest; of two classes, by one of them.
        self.rankings: Callable[[], Iterable[Ranking]] = functools.partial(rank_by_class, log_proba, y, ranked)
        if len(ranked) * len(y) <= KEPT_CELLS:
            kept = list(self.rankings())
            self.rankings = lambda: kept

    def weighted(self, weight: FloatArray) -> WeightedScorer:
        """Return these predictions with row weights, `(n_rows,)`."""
        return WeightedScorer(self, weight)

    def metrics(self, weight: FloatArray) -> dict[str, float]:
        """Return the value of every metric by name, for rows of these weights, `(n_rows,)`."""
        weighted = self.weighted(weight)
        return {name: metric.value(weighted) for name, metric in self.available().items()}

    def available(self) -> dict[str, Metric]:
        """Return the metrics that these predictions can have: some need a positive class."""
        return {
            name: metric for name, metric in METRICS.items() if self.positive is not None or not metric.needs_positive
        }


class WeightedScorer:
    """Predictions with row weights: what several metrics have in common is computed once.

    Args:
        scorer: the predictions.
        weight: row weights, `(n_rows,)`.
    """

    def __init__(self, scorer: Scorer, weight: FloatArray) -> None:
        self.scorer, self.weight = scorer, weight

    @functools.cached_property
    def total(self) -> float:
        """Sum of the weights."""
        return float(self.weight.sum())

    @functools.cached_property
    def confusion(self) -> FloatArray:
        """Weight of each (true, predicted) pair of classes, `(n_classes, n_classes)`."""
        n_classes = self.scorer.n_classes
        cells = np.bincount(self.scorer.cell, self.weight, n_classes**2)
        return cells.reshape(n_classes, n_classes).astype(np.float64, copy=False)

    @functools.cached_property
    def recalls(self) -> list[float]:
        """Recall of each class; NaN for one without rows."""
        return [
            _ratio(correct, total)
            for correct, total in zip(np.diag(self.confusion), self.confusion.sum(axis=1), strict=True)
        ]

    @functools.cached_property
    def positive_counts(self) -> tuple[float, float, float, float]:
        """Weights of (true positives, false negatives, false positives, true negatives)."""
        positive = self.scorer.positive
        assert positive is not None  # metrics that need one are not evaluated without it
        others = np.arange(len(self.confusion)) != positive
        missed, false_alarm = self.confusion[positive, others].sum(), self.confusion[others, positive].sum()
        return self.confusion[positive, positive], missed, false_alarm, self.confusion[np.ix_(others, others)].sum()

    @functools.cached_property
    def areas_by_class(self) -> FloatArray:
        """(ROC AUC, average precision, weight of the class) of each ranked class, `(n_ranked, 3)`."""
        return np.array(
            [(*ranking.areas(self.weight), ranking.n_hits(self.weight)) for ranking in self.scorer.rankings()]
        )

    @functools.cached_property
    def areas(self) -> FloatArray:
        """(ROC AUC, average precision), the mean over classes of one against the rest, `(2,)`."""
        return self.areas_by_class[:, :2].mean(axis=0)

    @functools.cached_property
    def area_influences(self) -> FloatArray:
        """Derivatives of both areas by each row's weight, `(2, n_rows)`."""
        total, n_ranked = np.zeros((2, len(self.weight))), 0
        for ranking in self.scorer.rankings():
            total += ranking.influences(self.weight)
            n_ranked += 1
        return total / n_ranked

    def rate_influence(self, part: BoolArray, whole: BoolArray, rate: float) -> FloatArray:
        """Return the derivative of a rate, the weight of `part` among `whole`, by each row's weight, `(n_rows,)`."""
        return whole * (part - rate) / (self.weight @ whole)

    def mean_influence(self, values: FloatArray, mean: float) -> FloatArray:
        """Return the derivative of a weighted mean by each row's weight, `(n_rows,)`."""
        return (values - mean) / self.weight.sum()


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else math.nan


# -- the registry ----------------------------------------------------------------------------------------------------

Interval = tuple[float, float]
# A metric, `(n_resamples,)`, for many row weights at once, `(n_resamples, n_rows)`, none of which are all 0.
Resampled = Callable[["Scorer", FloatArray], FloatArray]


@dataclass(frozen=True)
class Metric:
    """One metric: all that the rest of the package needs to compute, monitor, print and bound it.

    Args:
        label: its name for people.
        lower_is_better: its direction.
        value: the metric of weighted predictions; NaN where the rows cannot determine it.
        influence: its derivative by each row's weight, `(n_rows,)`. Times the weights these sum to 0; the sum of their
            squares is the infinitesimal jackknife's estimate of the metric's variance (Jaeckel 1972).
        interval: a closed form of the 95 % interval, given the number of independent rows per unit of weight. Without
            it and without `bootstrap` the interval is the value -+ 1.96 standard errors of the jackknife.
        resampled: `value` for the row weights of many resamples at once; a metric with `bootstrap` needs it.
        bootstrap: how resampled values make the interval: "percentile", or "basic" for a metric that resampling
            inflates.
        lowest, highest: its bounds; the highest value may depend on the number of classes.
        needs_positive: whether it is of the positive class.
    """

    label: str
    lower_is_better: bool
    value: Callable[[WeightedScorer], float]
    influence: Callable[[WeightedScorer], FloatArray]
    interval: Callable[[WeightedScorer, float], Interval] | None = None
    resampled: Resampled | None = None
    bootstrap: Literal["percentile", "basic"] | None = None
    lowest: float = 0.0
    highest: Callable[[int], float] = lambda n_classes: 1.0
    needs_positive: bool = False


def _accuracy(scores: WeightedScorer) -> float:
    return _ratio(np.trace(scores.confusion), scores.weight.sum())


def _accuracy_influence(scores: WeightedScorer) -> FloatArray:
    correct, everyone = scores.scorer.y_pred == scores.scorer.y, np.ones(len(scores.weight), dtype=bool)
    return scores.rate_influence(correct, everyone, _accuracy(scores))


def _accuracy_interval(scores: WeightedScorer, rows_per_weight: float) -> Interval:
    return wilson(np.trace(scores.confusion) * rows_per_weight, scores.confusion.sum() * rows_per_weight)


def _balanced_accuracy(scores: WeightedScorer) -> float:
    return float(np.mean(scores.recalls))


def _balanced_accuracy_influence(scores: WeightedScorer) -> FloatArray:
    y, correct = scores.scorer.y, scores.scorer.y_pred == scores.scorer.y
    recalls, totals = np.array(scores.recalls), scores.confusion.sum(axis=1)
    if np.isnan(recalls).any():
        return np.full(len(y), math.nan)
    return (correct - recalls[y]) / totals[y] / len(recalls)


def _balanced_accuracy_interval(scores: WeightedScorer, rows_per_weight: float) -> Interval:
    """Return the Wilson intervals of the recalls, combined (MOVER, Zou & Donner 2008)."""
    intervals = [
        wilson(row[code] * rows_per_weight, row.sum() * rows_per_weight) for code, row in enumerate(scores.confusion)
    ]
    recalls, center = scores.recalls, _balanced_accuracy(scores)
    below = math.hypot(*(recall - low for recall, (low, _) in zip(recalls, intervals, strict=True))) / len(recalls)
    above = math.hypot(*(high - recall for recall, (_, high) in zip(recalls, intervals, strict=True))) / len(recalls)
    return center - below, center + above


def _roc_auc_interval(scores: WeightedScorer, rows_per_weight: float) -> Interval:
    """Return Newcombe's interval; of several classes the mean of their limits, which is cautious."""
    limits = [
        newcombe_auc(auc, n_class * rows_per_weight, (scores.total - n_class) * rows_per_weight)
        for auc, _, n_class in scores.areas_by_class.tolist()
    ]
    low, high = np.mean(limits, axis=0)
    return float(low), float(high)


def _pr_auc_interval(scores: WeightedScorer, rows_per_weight: float) -> Interval:
    """Return the interval of a proportion of the class's rows (Boyd, Eng & Page 2013), in Wilson's form."""
    limits = [
        wilson(pr_auc * n_class * rows_per_weight, n_class * rows_per_weight)
        for _, pr_auc, n_class in scores.areas_by_class.tolist()
    ]
    low, high = np.mean(limits, axis=0)
    return float(low), float(high)


def _log_loss(scores: WeightedScorer) -> float:
    return _ratio(float((scores.weight * scores.scorer.log_losses).sum()), scores.total)


def _brier(scores: WeightedScorer) -> float:
    return _ratio(float((scores.weight * scores.scorer.brier_losses).sum()), scores.total)


def _ece(scores: WeightedScorer) -> float:
    return _binned_error(scores.scorer.confidence_gap, scores.scorer.confidence_bin, scores.weight)


def _means(losses: FloatArray, weight: FloatArray) -> FloatArray:
    return (weight * losses).sum(axis=1) / weight.sum(axis=1)


def _binned_errors(scorer: Scorer, weight: FloatArray) -> FloatArray:
    bins = np.broadcast_to(scorer.confidence_bin, weight.shape)
    gaps = counts_by_row(bins, ECE_BINS, weight * scorer.confidence_gap)
    return np.abs(gaps).sum(axis=1) / weight.sum(axis=1)


def _ece_influence(scores: WeightedScorer) -> FloatArray:
    gap, bins = scores.scorer.confidence_gap, scores.scorer.confidence_bin
    signs = np.sign(np.bincount(bins, scores.weight * gap))
    return scores.mean_influence(signs[bins] * gap, _ece(scores))


def _sensitivity(scores: WeightedScorer) -> float:
    hit, missed, _, _ = scores.positive_counts
    return _ratio(hit, hit + missed)


def _specificity(scores: WeightedScorer) -> float:
    _, _, false_alarm, rest = scores.positive_counts
    return _ratio(rest, rest + false_alarm)


def _precision(scores: WeightedScorer) -> float:
    hit, _, false_alarm, _ = scores.positive_counts
    return _ratio(hit, hit + false_alarm)


def _f1(scores: WeightedScorer) -> float:
    hit, missed, false_alarm, _ = scores.positive_counts
    return _ratio(2 * hit, 2 * hit + missed + false_alarm)


def _positives(scores: WeightedScorer) -> tuple[BoolArray, BoolArray]:
    """Return which rows are positive, and which are predicted so."""
    return scores.scorer.y == scores.scorer.positive, scores.scorer.y_pred == scores.scorer.positive


def _sensitivity_influence(scores: WeightedScorer) -> FloatArray:
    is_positive, is_predicted = _positives(scores)
    return scores.rate_influence(is_predicted, is_positive, _sensitivity(scores))


def _specificity_influence(scores: WeightedScorer) -> FloatArray:
    is_positive, is_predicted = _positives(scores)
    return scores.rate_influence(~is_predicted, ~is_positive, _specificity(scores))


def _precision_influence(scores: WeightedScorer) -> FloatArray:
    is_positive, is_predicted = _positives(scores)
    return scores.rate_influence(is_positive, is_predicted, _precision(scores))


def _f1_influence(scores: WeightedScorer) -> FloatArray:
    is_positive, is_predicted = _positives(scores)
    hit, either = is_positive & is_predicted, 1.0 * is_positive + is_predicted
    return (2 * hit - _f1(scores) * either) / (scores.weight @ either)


def _sensitivity_interval(scores: WeightedScorer, rows_per_weight: float) -> Interval:
    hit, missed, _, _ = scores.positive_counts
    return wilson(hit * rows_per_weight, (hit + missed) * rows_per_weight)


def _specificity_interval(scores: WeightedScorer, rows_per_weight: float) -> Interval:
    _, _, false_alarm, rest = scores.positive_counts
    return wilson(rest * rows_per_weight, (rest + false_alarm) * rows_per_weight)


def _precision_interval(scores: WeightedScorer, rows_per_weight: float) -> Interval:
    hit, _, false_alarm, _ = scores.positive_counts
    return wilson(hit * rows_per_weight, (hit + false_alarm) * rows_per_weight)


def _f1_interval(scores: WeightedScorer, rows_per_weight: float) -> Interval:
    """Return Wilson's interval of hits / (hits + errors), of which F1 is a function (Lam, Gopal & Qian 2023)."""
    hit, missed, false_alarm, _ = scores.positive_counts
    low, high = wilson(hit * rows_per_weight, (hit + missed + false_alarm) * rows_per_weight)
    return 2 * low / (1 + low), 2 * high / (1 + high)


METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", False, _accuracy, _accuracy_influence, _accuracy_interval),
    "balanced_accuracy": Metric(
        "balanced accuracy", False, _balanced_accuracy, _balanced_accuracy_influence, _balanced_accuracy_interval
    ),
    "roc_auc": Metric(
        "ROC AUC", False, lambda scores: float(scores.areas[0]), lambda scores: scores.area_influences[0],
        _roc_auc_interval,
    ),
    "pr_auc": Metric(
        "PR AUC", False, lambda scores: float(scores.areas[1]), lambda scores: scores.area_influences[1],
        _pr_auc_interval,
    ),
    "log_loss": Metric(
        "log loss", True, _log_loss,
        lambda scores: scores.mean_influence(scores.scorer.log_losses, _log_loss(scores)),
        resampled=lambda scorer, weight: _means(scorer.log_losses, weight),
        bootstrap="percentile", highest=lambda n_classes: math.inf,
    ),
    "brier": Metric(
        "Brier score", True, _brier,
        lambda scores: scores.mean_influence(scores.scorer.brier_losses, _brier(scores)),
        resampled=lambda scorer, weight: _means(scorer.brier_losses, weight),
        bootstrap="percentile", highest=lambda n_classes: 1.0 if n_classes == 2 else 2.0,
    ),
    "ece": Metric(
        "expected calibration error", True, _ece, _ece_influence, resampled=_binned_errors, bootstrap="basic"
    ),
    "sensitivity": Metric(
        "sensitivity", False, _sensitivity, _sensitivity_influence, _sensitivity_interval, needs_positive=True
    ),
    "specificity": Metric(
        "specificity", False, _specificity, _specificity_influence, _specificity_interval, needs_positive=True
    ),
    "precision": Metric(
        "precision", False, _precision, _precision_influence, _precision_interval, needs_positive=True
    ),
    "f1": Metric("F1", False, _f1, _f1_influence, _f1_interval, needs_positive=True),
}  # fmt: skip

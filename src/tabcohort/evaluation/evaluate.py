"""How good predictions are on given rows: every metric with its 95 % interval, and the confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabcohort.evaluation.decision import DecisionRule, cross_fit_threshold, parse_objective
from tabcohort.evaluation.intervals import UNKNOWN, Z95, Estimate, design_effect
from tabcohort.evaluation.metrics import (
    METRICS,
    Interval,
    Metric,
    Resampled,
    Scorer,
    WeightedScorer,
    counts_by_row,
    log_probabilities,
)
from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
from tabcohort.evaluation.prediction_sets import SetEvaluation, cross_fit_sets, evaluate_sets
from tabcohort.notebook import html_note, html_table
from tabcohort.randomness import Purpose, make_rng
from tabcohort.types import FloatArray, IntArray

MAX_CLASSES = 20_000  # for each pair of which there is a number in memory, most of which are never touched
CELLS_AT_ONCE = 2**18  # weights of resamples that are in memory at a time, which the cache holds


@dataclass(frozen=True)
class Evaluation:
    """All metrics of a classifier on some rows.

    Args:
        metrics: estimates by name, in the order of `METRICS`.
        confusion: weight of the rows by true class (first axis) and predicted class, `(n_classes, n_classes)`.
        n_rows: number of rows that were measured.
        n_groups: number of groups that these rows belong to; rows of different groups are independent.
    """

    metrics: dict[str, Estimate]
    confusion: FloatArray
    n_rows: int
    n_groups: int

    def _repr_html_(self) -> str:
        """Return the metrics as a table for a notebook."""
        rows = [(METRICS[name].label, *_texts(estimate)) for name, estimate in self.metrics.items()]
        groups = f" in {self.n_groups:,} groups" if self.n_groups < self.n_rows else ""
        note = html_note(f"measured on {self.n_rows:,} rows{groups}")
        return f"<div>{html_table(('metric', 'value', '95 % interval'), rows, {1, 2})}{note}</div>"


def _texts(estimate: Estimate) -> tuple[str, str]:
    """Return a value and its interval as text."""
    if math.isnan(estimate.value):
        return "-", "these rows cannot determine it"
    return f"{estimate.value:.4f}", f"{estimate.low:.4f} to {estimate.high:.4f}"


def evaluate(
    logits: NDArray[np.floating],
    y: IntArray,
    weight: FloatArray,
    positive: int | None,
    seed: int = 0,
    y_pred: IntArray | None = None,
    group_ids: IntArray | None = None,
) -> Evaluation:
    """Measure predictions on rows that the model never saw; the intervals are for other rows of the same kind.

    Rates have Wilson intervals, areas Newcombe's and Boyd's, losses the bootstrap: see `METRICS`. None of them
    collapses when a small sample holds no error. Where rows come in groups, each interval is as wide as that of the
    number of independent rows that the metric's design effect leaves (Rao & Scott 1992).

    Args:
        logits: `(n_rows, 1)`, or `(n_rows, n_classes)`, which may be log probabilities.
        y: true class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`, positive.
        positive: code of the class that sensitivity and the like are of, or None.
        seed: of the bootstrap.
        y_pred: predicted class codes, `(n_rows,)`; the most probable class when omitted.
        group_ids: the group of each row, `(n_rows,)`; all rows are independent when omitted.
    """
    scores = Scorer(log_probabilities(logits), y, positive, y_pred).weighted(weight)
    group_ids = np.arange(len(y)) if group_ids is None else np.unique(group_ids, return_inverse=True)[1]
    return evaluate_resampled(scores, bootstrap(scores, seed), group_ids)


def evaluate_resampled(scores: WeightedScorer, resampled: dict[str, FloatArray], group_ids: IntArray) -> Evaluation:
    """Measure predictions whose metrics on resamples are known.

    Args:
        scores: the predictions with their weights.
        resampled: what `bootstrap` gives for them.
        group_ids: the group of each row, `(n_rows,)`, numbered from 0 without gaps.
    """
    metrics = scores.scorer.available()
    estimates = {name: _estimate(metric, scores, group_ids, resampled.get(name)) for name, metric in metrics.items()}
    return Evaluation(estimates, scores.confusion, len(group_ids), n_groups=int(group_ids.max()) + 1)


def estimate_metrics(scores: WeightedScorer, names: Sequence[str], group_ids: IntArray | None) -> dict[str, Estimate]:
    """Return metrics of some rows with intervals that need no bootstrap, for many small sets of rows.

    Losses have the interval of the infinitesimal jackknife (Jaeckel 1972), the others that of `evaluate`.

    Args:
        scores: of the rows.
        names: of metrics.
        group_ids: the group of each row, `(n_rows,)`; all rows are independent when None.
    """
    n_rows = len(scores.weight)
    group_ids = np.arange(n_rows) if group_ids is None else np.unique(group_ids, return_inverse=True)[1]
    return {name: _estimate(METRICS[name], scores, group_ids, None) for name in names}


def _estimate(metric: Metric, scores: WeightedScorer, group_ids: IntArray, resampled: FloatArray | None) -> Estimate:
    value = metric.value(scores)
    if not math.isfinite(value):
        return UNKNOWN
    effect = 1.0
    if group_ids.max() + 1 < len(group_ids):
        effect = design_effect(weighted_influence(metric, scores), scores.weight, group_ids)
    if resampled is not None:
        low, high = bootstrap_interval(metric, value, resampled, math.sqrt(effect))
    elif metric.interval is not None:
        n_effective = scores.weight.sum() / np.square(scores.weight).sum()  # rows per unit of weight (Kish 1965)
        low, high = metric.interval(scores, n_effective / effect)
    else:
        half_width = Z95 * math.sqrt(effect * np.square(weighted_influence(metric, scores)).sum())
        low, high = value - half_width, value + half_width
    return _bounded(value, (low, high), metric.lowest, metric.highest(scores.scorer.n_classes))


def _bounded(value: float, interval: Interval, lowest: float, highest: float) -> Estimate:
    """Return an estimate whose interval holds the value and lies within the metric's bounds.

    The basic bootstrap, a wide interval and rounding could miss the value, or leave the bounds.
    """
    low, high = map(float, interval)
    return Estimate(value, min(value, max(lowest, low)), max(value, min(highest, high)))


@np.errstate(divide="ignore", invalid="ignore")
def weighted_influence(metric: Metric, scores: WeightedScorer) -> FloatArray:
    """Return the weight of each row times the derivative of a metric by it, `(n_rows,)`."""
    return scores.weight * metric.influence(scores)


def bootstrap_interval(metric: Metric, value: float, resampled: FloatArray, widening: float) -> Interval:
    """Return the 95 % interval of a metric, or of a difference, from its values in resamples.

    Args:
        metric: whose kind of bootstrap it is.
        value: on the rows themselves.
        resampled: on each resample, `(n_resamples,)`.
        widening: the square root of the design effect.
    """
    low, high = np.percentile(resampled, [2.5, 97.5])
    below, above = value - low, high - value
    if metric.bootstrap == "basic":
        below, above = above, below
    return value - widening * below, value + widening * above


def bootstrap(scores: WeightedScorer, seed: int) -> dict[str, FloatArray]:
    """Return the metrics that have a bootstrap on resampled rows, `(n_resamples,)`: 1,000, fewer for many rows.

    Two classifiers that are measured on the same rows with the same seed have the same resamples.

    Args:
        scores: the predictions with their weights.
        seed: of the resamples.
    """
    metrics: dict[str, Resampled] = {
        name: metric.resampled for name, metric in scores.scorer.available().items() if metric.resampled
    }
    values: dict[str, list[FloatArray]] = {name: [] for name in metrics}
    for weight in _resampled_weights(scores.weight, seed):
        for name, resampled in metrics.items():
            values[name].append(resampled(scores.scorer, weight))
    return {name: np.concatenate(parts) for name, parts in values.items()}


def _resampled_weights(weight: FloatArray, seed: int) -> Iterator[FloatArray]:
    """Yield the weights of the rows in some resamples at a time, `(n_at_once, n_rows)`."""
    n_rows = len(weight)
    n_resamples = int(np.clip(20_000_000 // n_rows, 100, 1_000))
    n_at_once = max(1, CELLS_AT_ONCE // n_rows)
    rng = make_rng(seed, Purpose.BOOTSTRAP)
    for first in range(0, n_resamples, n_at_once):
        rows = rng.integers(n_rows, size=(min(n_at_once, n_resamples - first), n_rows))
        yield weight * counts_by_row(rows, n_rows)


def mean_loss_estimates(losses: FloatArray, weight: FloatArray, group_ids: IntArray, seed: int) -> list[Estimate]:
    """Return means of log losses (nats) with the intervals that `evaluate` gives a log loss, from the same resamples.

    Args:
        losses: of each row, `(n_means, n_rows)`.
        weight: row weights, `(n_rows,)`, positive.
        group_ids: the group of each row, `(n_rows,)`, numbered from 0 without gaps.
        seed: of the bootstrap.
    """
    resampled = np.concatenate([own @ losses.T / own.sum(axis=1)[:, None] for own in _resampled_weights(weight, seed)])
    metric, estimates = METRICS["log_loss"], []
    for own, of_resamples in zip(losses, resampled.T, strict=True):
        value = float(weight @ own / weight.sum())
        effect = design_effect(weight / weight.sum() * (own - value), weight, group_ids)
        interval = bootstrap_interval(metric, value, of_resamples, math.sqrt(effect))
        estimates.append(_bounded(value, interval, metric.lowest, math.inf))
    return estimates


def evaluate_out_of_fold(
    predictions: OutOfFoldPredictions, rule: DecisionRule, positive: int | None, seed: int
) -> Evaluation:
    """Measure out-of-fold predictions; the threshold for each row is chosen on the other folds.

    Args:
        predictions: of the ensemble, cross-fitted.
        rule: the decision rule whose objective the threshold is chosen for.
        positive: code of the positive class, or None.
        seed: of the bootstrap.
    """
    y_pred = None
    if rule.objective is not None and positive is not None:
        y_pred = cross_fit_threshold(parse_objective(rule.objective), predictions.as_float64(), positive)
    return evaluate(
        predictions.log_proba, predictions.y, predictions.weight, positive, seed, y_pred, predictions.group_ids
    )


def evaluate_sets_out_of_fold(predictions: OutOfFoldPredictions, coverage: float) -> SetEvaluation:
    """Measure prediction sets on out-of-fold predictions; the thresholds for each row are chosen on the other folds."""
    sets = cross_fit_sets(predictions, coverage)
    return evaluate_sets(sets, predictions.y, predictions.weight)

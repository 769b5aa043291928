"""Paired differences of classifiers that are measured on the same rows, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tabcohort.evaluation.evaluate import (
    Evaluation,
    bootstrap,
    bootstrap_interval,
    evaluate_resampled,
    weighted_influence,
)
from tabcohort.evaluation.holm import holm
from tabcohort.evaluation.intervals import UNKNOWN, Estimate, design_effect, standard_error
from tabcohort.evaluation.metrics import Metric, Scorer, WeightedScorer, log_probabilities
from tabcohort.types import FloatArray, IntArray

CONFIDENCE_TAIL = 0.025  # of a 95 % interval, on each side
MIN_FREEDOM = 2.0  # one row alone would have an interval that several rows would not
MAX_FREEDOM = 1e9  # Student's distribution is the normal one by then
ROUNDING = 1e-14  # of an influence beside 1 over the number of rows


@dataclass(frozen=True)
class Rows:
    """The rows that classifiers are compared on.

    Args:
        y: true class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`, positive.
        positive: code of the class that sensitivity and the like are of, or None.
        group_ids: the group of each row, `(n_rows,)`; all rows are independent where it is None.
    """

    y: IntArray
    weight: FloatArray
    positive: int | None
    group_ids: IntArray | None = None


@dataclass(frozen=True)
class Comparison:
    """Classifiers on the same rows; the first one is the baseline of the others.

    Args:
        evaluations: of each classifier.
        differences: for each but the first one, by the name of the metric, its value minus the baseline's.
        p_values: for each but the first one, of its log loss being that of the baseline, two-sided, `(n - 1,)`.
        corrected_p_values: the same, corrected for their number by Holm's method, `(n - 1,)`.
    """

    evaluations: tuple[Evaluation, ...]
    differences: tuple[dict[str, Estimate], ...]
    p_values: tuple[float, ...]
    corrected_p_values: tuple[float, ...]

    def is_told_apart(self, place: int) -> bool:
        """Return whether the rows can tell a classifier's log loss from the baseline's.

        They can if the interval of the difference excludes 0 and, where several classifiers are compared with the
        baseline, the corrected p-value is below 5 % too.

        Args:
            place: of the classifier among `differences`.
        """
        is_beyond_chance = len(self.differences) == 1 or self.corrected_p_values[place] < 2 * CONFIDENCE_TAIL
        return excludes_zero(self.differences[place]["log_loss"]) and is_beyond_chance


def excludes_zero(difference: Estimate) -> bool:
    """Return whether the interval of a difference excludes 0; one that is unknown does not."""
    return difference.low > 0 or difference.high < 0


def compare_predictions(predictions: Sequence[tuple[FloatArray, IntArray]], rows: Rows, seed: int = 0) -> Comparison:
    """Compare classifiers on rows that none of them was trained on.

    Every difference is paired: of metrics that have a bootstrap on each resample, of the others row by row, through the
    difference of the influences that their rows have. The interval of the latter is Student's, with as many degrees of
    freedom as there are rows that carry the difference (Satterthwaite 1946): where four rows tell two classifiers apart
    it is about as wide as an exact test of these rows says (McNemar 1947). Where rows come in groups, each interval is
    widened by the design effect of the difference (Kish 1965).

    Args:
        predictions: of each classifier, the log probabilities, `(n_rows, n_classes)`, and the predicted class codes,
            `(n_rows,)`.
        rows: what they are measured on.
        seed: of the bootstrap.
    """
    group_ids = np.arange(len(rows.y)) if rows.group_ids is None else np.unique(rows.group_ids, return_inverse=True)[1]
    scores = [
        Scorer(log_probabilities(log_proba), rows.y, rows.positive, y_pred).weighted(rows.weight)
        for log_proba, y_pred in predictions
    ]
    resampled = [bootstrap(own, seed) for own in scores]
    evaluations = [evaluate_resampled(own, values, group_ids) for own, values in zip(scores, resampled, strict=True)]
    differences, p_values = [], []
    for place in range(1, len(scores)):
        if all(np.array_equal(*pair) for pair in zip(predictions[0], predictions[place], strict=True)):
            names = evaluations[0].metrics
            differences.append({name: _no_difference(evaluations[0].metrics[name]) for name in names})
            p_values.append(1.0)
            continue
        pair = _Pair(scores[0], scores[place], group_ids)
        differences.append(
            {
                name: pair.difference(metric, *(values.get(name) for values in (resampled[0], resampled[place])))
                for name, metric in scores[0].scorer.available().items()
            }
        )
        p_values.append(pair.p_value(scores[0].scorer.available()["log_loss"]))
    corrected = holm(p_values).tolist()
    return Comparison(tuple(evaluations), tuple(differences), tuple(p_values), tuple(corrected))


def _no_difference(estimate: Estimate) -> Estimate:
    """Return the difference of equal predictions; unknown where the metric is."""
    return Estimate(0.0, 0.0, 0.0) if math.isfinite(estimate.value) else UNKNOWN


@dataclass(frozen=True)
class _Pair:
    """A baseline and another classifier on the same rows, which come in groups."""

    baseline: WeightedScorer
    other: WeightedScorer
    group_ids: IntArray

    def difference(self, metric: Metric, baseline: FloatArray | None, other: FloatArray | None) -> Estimate:
        """Return a metric's difference.

        Args:
            metric: the metric.
            baseline, other: its values on the same resamples, `(n_resamples,)`; None where it has no bootstrap.
        """
        value = metric.value(self.other) - metric.value(self.baseline)
        if not math.isfinite(value):
            return UNKNOWN
        influence = self._influence(metric)
        if baseline is not None and other is not None:
            widening = math.sqrt(design_effect(influence, self.baseline.weight, self.group_ids))
            low, high = bootstrap_interval(metric, value, other - baseline, widening)
        else:
            half_width = self._half_width(influence)
            low, high = value - half_width, value + half_width
        limit = metric.highest(self.baseline.scorer.n_classes) - metric.lowest
        return Estimate(value, min(value, max(-limit, float(low))), max(value, min(limit, float(high))))

    def p_value(self, metric: Metric) -> float:
        """Return the two-sided p-value of no difference; 1 where no row tells them apart."""
        from scipy.special import stdtr

        value = metric.value(self.other) - metric.value(self.baseline)
        error, freedom = self._error(self._influence(metric))
        return float(2 * stdtr(min(freedom, MAX_FREEDOM), -abs(value) / error)) if error > 0 else 1.0

    @np.errstate(divide="ignore", invalid="ignore")
    def _influence(self, metric: Metric) -> FloatArray:
        difference: FloatArray = weighted_influence(metric, self.other) - weighted_influence(metric, self.baseline)
        difference[np.abs(difference) < ROUNDING / len(difference)] = 0.0
        return difference

    def _error(self, influence: FloatArray) -> tuple[float, float]:
        """Return the standard error of a difference, and its degrees of freedom: the rows that carry it.

        A design effect allows for few groups itself, so these are infinite where rows come in groups.
        """
        squares = np.square(influence)
        if not squares.any():
            return 0.0, 1.0
        is_grouped = self.group_ids.max() + 1 < len(self.group_ids)
        freedom = math.inf if is_grouped else max(MIN_FREEDOM, float(squares.sum() ** 2 / np.square(squares).sum()))
        return standard_error(influence, self.baseline.weight, self.group_ids), freedom

    def _half_width(self, influence: FloatArray) -> float:
        """Return half the width of a difference's interval.

        Where no row tells the two apart, it is the upper limit of the share of rows that do (Clopper & Pearson 1934),
        for as many rows as the smallest class has.
        """
        from scipy.special import stdtrit

        error, freedom = self._error(influence)
        if error > 0:
            return float(stdtrit(min(freedom, MAX_FREEDOM), 1 - CONFIDENCE_TAIL)) * error
        scorer, weight = self.baseline.scorer, self.baseline.weight
        n_groups = int(self.group_ids.max()) + 1
        counts = np.bincount(scorer.y, weight)
        n_rows = float(weight.sum() / np.square(weight).sum() * counts[counts > 0].min())
        return 1 - CONFIDENCE_TAIL ** (1 / max(1.0, n_rows * n_groups / len(weight)))

"""How good a classifier is on given rows, with 95 % intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabcohort.metrics import Scorer, log_probabilities, one_against_rest, recalls_of
from tabcohort.plan import Purpose, generator
from tabcohort.prepare import FloatArray, IntArray

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A metric's value on some rows and its 95 % interval; NaN where the rows cannot tell."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Evaluation:
    """All metrics of a classifier on some rows.

    Args:
        metrics: estimates by name, in the order of `LABELS`; the last four only where a positive class is named.
        confusion: total weight of the rows by true class (first axis) and predicted class, `(n_classes, n_classes)`.
        n_rows: how many rows they were measured on.
    """

    metrics: dict[str, Estimate]
    confusion: FloatArray
    n_rows: int


def standard_error_of_mean(values: FloatArray, weight: FloatArray) -> float:
    """Return the standard error of a weighted mean of independent values."""
    share = weight / weight.sum()
    return float(np.sqrt(np.square(share * (values - share @ values)).sum()))


def evaluate(
    logits: NDArray[np.floating],
    y: IntArray,
    weight: FloatArray,
    positive: int | None,
    seed: int = 0,
    called: IntArray | None = None,
) -> Evaluation:
    """Measure predictions on rows that the model never saw; the intervals speak of other rows of the same kind.

    Intervals: accuracy, sensitivity, specificity, precision by Wilson (1927); balanced accuracy by combining the
    Wilson intervals of its recalls (MOVER, Zou & Donner 2008); F1 by Wilson on hits / (hits + errors), of which it
    is a function (Lam, Gopal & Qian 2023); ROC AUC by Newcombe's method 5 (2006); PR AUC as a proportion of the class's
    rows (Boyd, Eng & Page 2013), in Wilson's form; the mean over more than two classes by the mean of their limits,
    which is cautious. None of these collapses when a small sample holds no error. Log loss and Brier score by the
    percentile bootstrap; the calibration error, which resampling inflates, by the basic bootstrap. Rows count as
    independent: where many are equal, the intervals are too narrow.

    Args:
        logits: `(n_rows, 1)`, or `(n_rows, n_classes)`, which log probabilities are too.
        y: true class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`, positive.
        positive: code of the class that sensitivity and the like are of, or None.
        seed: of the bootstrap.
        called: the class that each row is called, `(n_rows,)`, where it is not the most probable one.
    """
    scorer = Scorer(log_probabilities(logits), y, positive, called)
    values = scorer.metrics(weight)
    confusion = scorer.confusion(weight)
    resampled = _bootstrap(scorer, weight, seed)
    to_rows = weight.sum() / np.square(weight).sum()  # effective number of rows per unit of weight (Kish 1965)
    intervals = _closed_form_intervals(confusion * to_rows, values, positive)
    intervals.update(_area_intervals(scorer, weight, to_rows))
    for name, draws in resampled.items():
        if name not in intervals:
            low, high = np.nanpercentile(draws, [2.5, 97.5]) if np.isfinite(draws).any() else (math.nan, math.nan)
            intervals[name] = (2 * values[name] - high, 2 * values[name] - low) if name == "ece" else (low, high)
    metrics = {
        # The basic bootstrap, and rounding, could put a limit on the wrong side of the value.
        name: Estimate(value, min(value, max(0.0, float(intervals[name][0]))), max(value, float(intervals[name][1])))
        if math.isfinite(value)
        else UNKNOWN
        for name, value in values.items()
    }
    return Evaluation(metrics, confusion, len(y))


def _bootstrap(scorer: Scorer, weight: FloatArray, seed: int) -> dict[str, FloatArray]:
    """Return the metrics of resampled rows, each of shape `(n_resamples,)`: 1,000 of them, fewer for many rows."""
    n_rows = len(weight)
    n_resamples = int(np.clip(20_000_000 // n_rows, 100, 1_000))
    draw = generator(seed, Purpose.BOOTSTRAP)
    draws = []
    for _ in range(n_resamples):
        counts = np.bincount(draw.integers(n_rows, size=n_rows), minlength=n_rows)
        draws.append(scorer.metrics(weight * counts))
    return {name: np.array([each[name] for each in draws]) for name in draws[0]}


def _closed_form_intervals(
    confusion: FloatArray, values: dict[str, float], positive: int | None
) -> dict[str, tuple[float, float]]:
    recalls = [wilson(row[code], row.sum()) for code, row in enumerate(confusion)]
    rates = recalls_of(confusion)
    below = math.hypot(*(rate - low for rate, (low, _) in zip(rates, recalls, strict=True))) / len(rates)
    above = math.hypot(*(high - rate for rate, (_, high) in zip(rates, recalls, strict=True))) / len(rates)
    centre = values["balanced_accuracy"]
    intervals = {
        "accuracy": wilson(np.trace(confusion), confusion.sum()),
        "balanced_accuracy": (centre - below, centre + above),
    }
    if positive is not None:
        hit, missed, false_alarm, rest = one_against_rest(confusion, positive)
        intervals["sensitivity"] = wilson(hit, hit + missed)
        intervals["specificity"] = wilson(rest, rest + false_alarm)
        intervals["precision"] = wilson(hit, hit + false_alarm)
        low, high = wilson(hit, hit + missed + false_alarm)
        intervals["f1"] = (2 * low / (1 + low), 2 * high / (1 + high))
    return intervals


def _area_intervals(scorer: Scorer, weight: FloatArray, to_rows: float) -> dict[str, tuple[float, float]]:
    """Return the intervals of ROC AUC and PR AUC: the mean over the classes' own limits."""
    roc, pr = [], []
    for ranking in scorer.rankings:
        roc_auc, pr_auc = ranking.areas(weight)
        n_class = float(weight[ranking.order][ranking.is_class].sum()) * to_rows
        roc.append(newcombe_auc(roc_auc, n_class, float(weight.sum()) * to_rows - n_class))
        pr.append(wilson(pr_auc * n_class, n_class))
    means = {"roc_auc": np.mean(roc, axis=0), "pr_auc": np.mean(pr, axis=0)}
    return {name: (float(low), float(high)) for name, (low, high) in means.items()}


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (Wilson 1927); NaN without trials."""
    if trials <= 0:
        return math.nan, math.nan
    share, z2 = successes / trials, Z95**2 / trials
    centre = (share + z2 / 2) / (1 + z2)
    half = Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials)) / (1 + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def newcombe_auc(auc: float, n_first: float, n_second: float) -> tuple[float, float]:
    """Return the 95 % interval of an ROC AUC: method 5 of Newcombe (2006), by bisection; NaN without both classes.

    The limits are those values whose own standard error (Hanley & McNeil's, for equal group sizes) puts the
    observed area 1.96 standard errors away.
    """
    if not math.isfinite(auc):
        return math.nan, math.nan
    half = (n_first + n_second) / 2 - 1

    def too_far(limit: float) -> bool:
        spread = 1 + half * (1 - limit) / (2 - limit) + half * limit / (1 + limit)
        return abs(auc - limit) > Z95 * math.sqrt(limit * (1 - limit) * spread / (n_first * n_second))

    def edge(outside: float) -> float:
        if not too_far(outside):
            return outside
        inside = auc
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if too_far(middle) else (middle, outside)
        return inside

    return edge(0.0), edge(1.0)

"""How good a classifier is on given rows, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabcohort.evaluation.metrics import Scorer, log_probabilities, one_against_rest, recalls_of
from tabcohort.randomness import Purpose, make_rng
from tabcohort.types import FloatArray, IntArray

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
        n_families: how many families of rows these are of; rows of two families are independent.
    """

    metrics: dict[str, Estimate]
    confusion: FloatArray
    n_rows: int
    n_families: int


def standard_error_of_mean(values: FloatArray, weight: FloatArray, family: IntArray | None = None) -> float:
    """Return the standard error of a weighted mean.

    Args:
        values, weight: of each row, `(n_rows,)`.
        family: of each row, `(n_rows,)`: values of one may be alike; all are independent when left out.
    """
    share = weight / weight.sum()
    pull = share * (values - share @ values)
    effect = 1.0 if family is None else design_effect(pull, weight, np.unique(family, return_inverse=True)[1])
    return math.sqrt(effect * np.square(pull).sum())


def design_effect(pull: FloatArray, weight: FloatArray, family: IntArray) -> float:
    """Return how many times fewer independent rows would tell as much of a figure as these rows do (Kish 1965).

    It is the ratio of the figure's variance with families, and with rows, as what is independent, at least 1. Few
    families say little of a variance: limits are multiples of Student's t, of as many degrees of freedom as there are
    families that it rests on (Satterthwaite 1946; a single error is in one), up to what rows of a family say when they
    count as one. That is also what a figure has on which no row pulls, as none is wrong.

    Args:
        pull: of each row on the figure, `(n_rows,)`: its weight times the derivative by it; their sum is 0.
        weight: row weights, `(n_rows,)`.
        family: of each row, `(n_rows,)`, codes from 0 without gaps.
    """
    from scipy.special import stdtrit

    def for_few(freedom: float) -> float:
        return (float(stdtrit(max(freedom, 1.0), 0.975)) / Z95) ** 2

    n_families = int(family.max()) + 1
    if n_families == len(family):
        return 1.0
    as_one = float(np.square(np.bincount(family, weight)).sum() / np.square(weight).sum()) * for_few(n_families - 1)
    of_rows, of_families = np.square(pull).sum(), np.square(np.bincount(family, pull))
    rounding = 1e-24 * np.square(weight / weight.sum()).sum()
    if n_families == 1 or of_rows <= rounding:
        return max(1.0, as_one)
    total = of_families.sum()
    ratio = float(n_families / (n_families - 1) * total / of_rows)
    if total <= rounding:
        return 1.0
    resting_on = float(total**2 / np.square(of_families).sum())
    return max(1.0, ratio * for_few(n_families - 1), min(as_one, ratio * for_few(resting_on)))


def evaluate(
    logits: NDArray[np.floating],
    y: IntArray,
    weight: FloatArray,
    positive: int | None,
    seed: int = 0,
    called: IntArray | None = None,
    family: IntArray | None = None,
) -> Evaluation:
    """Measure predictions on rows that the model never saw; the intervals speak of other rows of the same kind.

    Intervals: accuracy, sensitivity, specificity, precision by Wilson (1927); balanced accuracy by combining the
    Wilson intervals of its recalls (MOVER, Zou & Donner 2008); F1 by Wilson on hits / (hits + errors), of which it
    is a function (Lam, Gopal & Qian 2023); ROC AUC by Newcombe's method 5 (2006); PR AUC as a proportion of the class's
    rows (Boyd, Eng & Page 2013), in Wilson's form; the mean over more than two classes by the mean of their limits,
    which is cautious. None of these collapses when a small sample holds no error. Log loss and Brier score by the
    percentile bootstrap; the calibration error, which resampling inflates, by the basic bootstrap. All are as wide as
    those of fewer rows where rows come in families: by each metric's design effect (Rao & Scott 1992).

    Args:
        logits: `(n_rows, 1)`, or `(n_rows, n_classes)`, which log probabilities are too.
        y: true class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`, positive.
        positive: code of the class that sensitivity and the like are of, or None.
        seed: of the bootstrap.
        called: the class that each row is called, `(n_rows,)`, where it is not the most probable one.
        family: of each row, `(n_rows,)`: those of one may be alike; all are independent when left out.
    """
    scorer = Scorer(log_probabilities(logits), y, positive, called)
    values = scorer.metrics(weight)
    confusion = scorer.confusion(weight)
    effects, n_families = dict.fromkeys(values, 1.0), len(y)
    if family is not None:
        numbers, family = np.unique(family, return_inverse=True)
        n_families = len(numbers)
        influences = scorer.influences(weight).items()
        effects = {name: design_effect(weight * influence, weight, family) for name, influence in influences}
    to_rows = weight.sum() / np.square(weight).sum()  # effective number of rows per unit of weight (Kish 1965)
    rows_per_weight = {name: to_rows / effect for name, effect in effects.items()}
    intervals = _closed_form_intervals(confusion, values, positive, rows_per_weight)
    intervals.update(_area_intervals(scorer, weight, rows_per_weight))
    for name, draws in _bootstrap(scorer, weight, seed).items():
        low, high = np.percentile(draws, [2.5, 97.5])
        below, above = values[name] - low, high - values[name]
        if name == "ece":
            below, above = above, below
        wider = math.sqrt(effects[name])
        intervals[name] = (values[name] - wider * below, values[name] + wider * above)
    highest = dict.fromkeys(values, 1.0) | {"log_loss": math.inf, "brier": 1.0 if scorer.n_classes == 2 else 2.0}

    def estimate(name: str, value: float) -> Estimate:
        low, high = intervals[name]
        # The basic bootstrap, wider limits and rounding could be on the wrong side of the value, or be impossible.
        return Estimate(value, min(value, max(0.0, float(low))), max(value, min(highest[name], float(high))))

    metrics = {name: estimate(name, value) if math.isfinite(value) else UNKNOWN for name, value in values.items()}
    return Evaluation(metrics, confusion, len(y), n_families)


def _bootstrap(scorer: Scorer, weight: FloatArray, seed: int) -> dict[str, FloatArray]:
    """Return the losses of resampled rows, each `(n_resamples,)`: 1,000 of them, fewer for many rows."""
    n_rows = len(weight)
    n_resamples = int(np.clip(20_000_000 // n_rows, 100, 1_000))
    draw = make_rng(seed, Purpose.BOOTSTRAP)
    draws = []
    for _ in range(n_resamples):
        counts = np.bincount(draw.integers(n_rows, size=n_rows), minlength=n_rows)
        draws.append(scorer.losses(weight * counts))
    return {name: np.array([each[name] for each in draws]) for name in draws[0]}


def _closed_form_intervals(
    confusion: FloatArray, values: Mapping[str, float], positive: int | None, rows_per_weight: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    """Return the intervals of rates, each as of so many rows per unit of the confusion's weight."""

    def interval(name: str, part: float, whole: float) -> tuple[float, float]:
        return wilson(part * rows_per_weight[name], whole * rows_per_weight[name])

    recalls = [interval("balanced_accuracy", row[code], row.sum()) for code, row in enumerate(confusion)]
    rates = recalls_of(confusion)
    below = math.hypot(*(rate - low for rate, (low, _) in zip(rates, recalls, strict=True))) / len(rates)
    above = math.hypot(*(high - rate for rate, (_, high) in zip(rates, recalls, strict=True))) / len(rates)
    centre = values["balanced_accuracy"]
    intervals = {
        "accuracy": interval("accuracy", np.trace(confusion), confusion.sum()),
        "balanced_accuracy": (centre - below, centre + above),
    }
    if positive is not None:
        hit, missed, false_alarm, rest = one_against_rest(confusion, positive)
        intervals["sensitivity"] = interval("sensitivity", hit, hit + missed)
        intervals["specificity"] = interval("specificity", rest, rest + false_alarm)
        intervals["precision"] = interval("precision", hit, hit + false_alarm)
        low, high = interval("f1", hit, hit + missed + false_alarm)
        intervals["f1"] = (2 * low / (1 + low), 2 * high / (1 + high))
    return intervals


def _area_intervals(
    scorer: Scorer, weight: FloatArray, rows_per_weight: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    """Return the intervals of ROC AUC and PR AUC: the mean over the classes' own limits."""
    of_roc, of_pr = rows_per_weight["roc_auc"], rows_per_weight["pr_auc"]
    roc, pr = [], []
    for ranking in scorer.rankings:
        roc_auc, pr_auc = ranking.areas(weight)
        of_class = float(weight[ranking.order][ranking.is_class].sum())
        roc.append(newcombe_auc(roc_auc, of_class * of_roc, (float(weight.sum()) - of_class) * of_roc))
        pr.append(wilson(pr_auc * of_class * of_pr, of_class * of_pr))
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

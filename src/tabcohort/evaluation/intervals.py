"""95 % intervals of proportions, areas and means, for independent rows and for rows that come in groups."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tabcohort.types import BoolArray, FloatArray, IntArray

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A figure measured on some rows and its 95 % interval; NaN where these rows cannot determine it."""

    value: float
    low: float
    high: float


UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def mean_estimate(values: FloatArray, weight: FloatArray, group_ids: IntArray | None = None) -> Estimate:
    """Return a weighted mean with its normal 95 % interval; unknown without rows.

    Args:
        values, weight: of each row, `(n_rows,)`.
        group_ids: the group of each row, `(n_rows,)`; all rows are independent when omitted.
    """
    if not len(values):
        return UNKNOWN
    mean = float((weight / weight.sum()) @ values)
    half_width = Z95 * standard_error_of_mean(values, weight, group_ids)
    return Estimate(mean, mean - half_width, mean + half_width)


def standard_error_of_mean(values: FloatArray, weight: FloatArray, group_ids: IntArray | None = None) -> float:
    """Return the standard error of a weighted mean.

    Args:
        values, weight: of each row, `(n_rows,)`.
        group_ids: the group of each row, `(n_rows,)`; all rows are independent when omitted.
    """
    normalized = weight / weight.sum()
    influence = normalized * (values - normalized @ values)
    groups = np.arange(len(values)) if group_ids is None else np.unique(group_ids, return_inverse=True)[1]
    return standard_error(influence, weight, groups)


def standard_error(influence: FloatArray, weight: FloatArray, group_ids: IntArray) -> float:
    """Return the standard error of a figure, by the infinitesimal jackknife (Jaeckel 1972).

    Args:
        influence: how much each row moves the figure, `(n_rows,)`.
        weight: of each row, `(n_rows,)`.
        group_ids: the group of each row, `(n_rows,)`, numbered from 0 without gaps.
    """
    return math.sqrt(design_effect(influence, weight, group_ids) * np.square(influence).sum())


def rate_estimate(
    is_success: BoolArray, weight: FloatArray, group_ids: IntArray | None = None, z: float = Z95
) -> Estimate:
    """Return a weighted share of rows with its Wilson interval, of 95 % if no other `z` is given; unknown without rows.

    The interval is that of as many independent rows as the weights (Kish 1965) and the groups leave.

    Args:
        is_success: which rows are counted, `(n_rows,)`.
        weight: of each row, `(n_rows,)`, positive.
        group_ids: the group of each row, `(n_rows,)`; all rows are independent when omitted.
        z: standard normal quantile of the interval's ends.
    """
    if not len(weight):
        return UNKNOWN
    total = float(weight.sum())
    rate, n_effective = float(weight @ is_success) / total, total**2 / float(np.square(weight).sum())
    if group_ids is not None:
        groups = np.unique(group_ids, return_inverse=True)[1]
        n_effective /= design_effect(weight / total * (is_success - rate), weight, groups)
    low, high = wilson(rate * n_effective, n_effective, z)
    return Estimate(rate, min(low, rate), max(high, rate))


def design_effect(influence: FloatArray, weight: FloatArray, group_ids: IntArray) -> float:
    """Return the ratio of a figure's variance with dependent rows to that with independent rows (Kish 1965).

    It is at least 1. The variance is estimated from the sums of influences over groups. With few groups that estimate
    is itself uncertain, so it is widened by the square of Student's t over the normal quantile, with as many degrees of
    freedom as there are groups that carry the influence (Satterthwaite 1946); that second widening goes no further than
    the effect that holds if all rows of a group are equal, which is also returned where no row has influence because
    none is wrong.

    Args:
        influence: weight of each row times the figure's derivative by it, `(n_rows,)`; sums to 0.
        weight: row weights, `(n_rows,)`.
        group_ids: the group of each row, `(n_rows,)`, numbered from 0 without gaps.
    """
    n_groups = int(group_ids.max()) + 1
    if n_groups == len(group_ids):
        return 1.0
    all_equal = float(np.square(np.bincount(group_ids, weight)).sum() / np.square(weight).sum())
    all_equal *= _small_sample_factor(n_groups - 1)
    over_rows, over_groups = np.square(influence).sum(), np.square(np.bincount(group_ids, influence))
    rounding_error = 1e-24 * np.square(weight / weight.sum()).sum()
    if n_groups == 1 or over_rows <= rounding_error:
        return max(1.0, all_equal)
    total = over_groups.sum()
    ratio = float(n_groups / (n_groups - 1) * total / over_rows)
    if total <= rounding_error:
        return 1.0
    n_influential = float(total**2 / np.square(over_groups).sum())
    return max(
        1.0,
        ratio * _small_sample_factor(n_groups - 1),
        min(all_equal, ratio * _small_sample_factor(n_influential)),
    )


def _small_sample_factor(freedom: float) -> float:
    """Return the squared ratio of Student's 97.5 % quantile to the normal one."""
    from scipy.special import stdtrit

    return (float(stdtrit(max(freedom, 1.0), 0.975)) / Z95) ** 2


def wilson(successes: float, trials: float, z: float = Z95) -> tuple[float, float]:
    """Return the score interval of a proportion (Wilson 1927), of 95 % if no other `z` is given; NaN without trials."""
    if trials <= 0:
        return math.nan, math.nan
    rate, z2 = successes / trials, z**2 / trials
    center = (rate + z2 / 2) / (1 + z2)
    half_width = z * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials)) / (1 + z2)
    return max(0.0, center - half_width), min(1.0, center + half_width)


def clopper_pearson_lower(successes: FloatArray, trials: FloatArray, confidence: float) -> FloatArray:
    """Return the one-sided lower limits of proportions (Clopper & Pearson 1934), `(n,)`; 0 without a success.

    Args:
        successes, trials: of each proportion, `(n,)`; they need not be whole numbers.
        confidence: probability that the true proportion is not below the limit, at least.
    """
    from scipy.special import betaincinv

    successes = np.clip(successes, 0.0, trials)
    any_success = successes > 0
    limits = betaincinv(np.where(any_success, successes, 1.0), trials - successes + 1.0, 1.0 - confidence)
    return np.where(any_success, limits, 0.0)


def newcombe_auc(auc: float, n_first: float, n_second: float) -> tuple[float, float]:
    """Return the 95 % interval of a ROC AUC: method 5 of Newcombe (2006), by bisection; NaN without both classes.

    The limits are the areas whose own standard error (Hanley & McNeil's, for classes of equal size) puts the observed
    area 1.96 standard errors away.
    """
    if not math.isfinite(auc):
        return math.nan, math.nan
    half = (n_first + n_second) / 2 - 1

    def is_too_far(limit: float) -> bool:
        spread = 1 + half * (1 - limit) / (2 - limit) + half * limit / (1 + limit)
        return abs(auc - limit) > Z95 * math.sqrt(limit * (1 - limit) * spread / (n_first * n_second))

    def limit_towards(outside: float) -> float:
        if not is_too_far(outside):
            return outside
        inside = auc
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if is_too_far(middle) else (middle, outside)
        return inside

    return limit_towards(0.0), limit_towards(1.0)

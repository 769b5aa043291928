"""Whether a model does on new rows what was promised for them: tests of quality and of calibration."""

from __future__ import annotations

import math

import numpy as np

from tabcohort.evaluation.intervals import Z95, Estimate, standard_error_of_mean, wilson
from tabcohort.types import FloatArray, IntArray


def worse_p_value(promised: Estimate, measured: Estimate, lower_is_better: bool) -> float:
    """Return the one-sided p-value of a figure not being worse than promised; NaN where one is unknown.

    Both figures are uncertain. The error of their difference is taken from the sides of their intervals that face each
    other (MOVER, Zou & Donner 2008), so that it is neither 0 where no error was made nor less than what groups allow.

    Args:
        promised, measured: with their 95 % intervals, on independent rows.
        lower_is_better: whether lower figures are better.
    """
    from scipy.special import ndtr

    worsening = (measured.value - promised.value) * (1 if lower_is_better else -1)
    if lower_is_better:
        sides = promised.high - promised.value, measured.value - measured.low
    else:
        sides = promised.value - promised.low, measured.high - measured.value
    error = math.hypot(*sides) / Z95
    if not math.isfinite(worsening) or not math.isfinite(error):
        return math.nan
    return float(ndtr(-worsening / error)) if error > 0 else float(worsening <= 0)


def calibration_gap(
    log_proba: FloatArray, y: IntArray, weight: FloatArray, code: int, group_ids: IntArray | None
) -> tuple[float, float]:
    """Return the share of a class minus its mean probability, and the standard error of this gap.

    Args:
        log_proba: log probabilities, `(n_rows, n_classes)`.
        y: class codes, `(n_rows,)`.
        weight: row weights, `(n_rows,)`.
        code: of the class.
        group_ids: the group of each row, `(n_rows,)`, or None.
    """
    gap = (y == code) - np.exp(log_proba[:, code])
    error = standard_error_of_mean(gap, weight, group_ids)
    # Of a class without rows, or one that is always right, as much as its own share may be off (Wilson 1927).
    n_effective = float(weight.sum() ** 2 / np.square(weight).sum())
    return float(weight @ gap / weight.sum()), max(error, wilson(0.0, n_effective)[1] / Z95 / 2)


def gap_p_value(promised: tuple[float, float], measured: tuple[float, float]) -> float:
    """Return the two-sided p-value of a calibration gap being as promised; see `calibration_gap`."""
    from scipy.special import ndtr

    return float(2 * ndtr(-abs(measured[0] - promised[0]) / math.hypot(promised[1], measured[1])))


def share_estimate(share: float, n_rows: float) -> Estimate:
    """Return a share of independent rows with its 95 % interval (Wilson 1927)."""
    return Estimate(share, *wilson(share * n_rows, n_rows))

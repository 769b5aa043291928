"""Decision curve analysis: what acting on the predictions is worth, beside acting on all rows or on none.

Vickers & Elkin (2006), "Decision curve analysis: a novel method for evaluating prediction models".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabcohort.evaluation.class_curves import independent_or
from tabcohort.evaluation.decision import LabelledRows
from tabcohort.evaluation.intervals import Estimate, mean_estimate
from tabcohort.types import FloatArray


@dataclass(frozen=True)
class NetBenefit:
    """The net benefit at one threshold: true positives per row, minus false positives at the odds of the threshold.

    Args:
        threshold: the probability from which on one acts, which says what a false alarm costs beside a missed case.
        model: of acting on the rows that the model gives this probability or more.
        treat_all: of acting on all rows; that of acting on none is 0.
        gain: `model` minus the better of the two.
    """

    threshold: float
    model: Estimate
    treat_all: float
    gain: Estimate


def decision_curve(rows: LabelledRows, thresholds: FloatArray) -> list[NetBenefit]:
    """Return the net benefit at each threshold, with normal 95 % intervals.

    A net benefit is a mean over rows, and so is the difference of two: 1 for a case that is acted on, minus t / (1 - t)
    for another row that is.

    Args:
        rows: the rows, predicted without them.
        thresholds: probabilities, above 0 and below 1, `(n_thresholds,)`.
    """
    groups = independent_or(rows.group_ids)
    prevalence = float(np.average(rows.is_positive, weights=rows.weight))
    points = []
    for threshold in thresholds.tolist():
        worth = np.where(rows.is_positive, 1.0, -threshold / (1 - threshold))
        is_acted_on = rows.proba >= threshold
        treat_all = prevalence - (1 - prevalence) * threshold / (1 - threshold)
        default = worth if treat_all > 0 else np.zeros_like(worth)
        model = mean_estimate(is_acted_on * worth, rows.weight, groups)
        gain = mean_estimate(is_acted_on * worth - default, rows.weight, groups)
        points.append(NetBenefit(threshold, model, treat_all, gain))
    return points


def useful_range(points: list[NetBenefit]) -> tuple[float, float] | None:
    """Return the longest range of thresholds at which the model is better than acting on all and on none.

    At each of these the lower end of the gain's interval is above 0. None where there is no such threshold.
    """
    best: list[float] = []
    run: list[float] = []
    for point in points:
        run = [*run, point.threshold] if point.gain.low > 0 else []
        best = run if len(run) > len(best) else best
    return (best[0], best[-1]) if best else None

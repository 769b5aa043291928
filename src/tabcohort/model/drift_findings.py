"""What an alarm says, in words."""

from __future__ import annotations

import math

from tabcohort.evaluation.metrics import METRICS
from tabcohort.model.drift_tests import DriftTest


def describe(test: DriftTest) -> str:
    """Return what a test that raised an alarm says of its subject."""
    name, drift = test.subject, test.drift
    if test.kind == "distribution":
        return f"the column {name!r} has drifted: {_distribution(test)}"
    if test.kind == "missing cells":
        return f"the column {name!r} is missing in {drift.new:.1%} of the rows instead of {drift.reference:.1%}"
    if test.kind == "new levels":
        return f"the column {name!r} has levels that no training row had in {drift.new:.1%} of the rows"
    if test.kind == "probability":
        return f"the predicted probability of class {name!r} has drifted: {_distribution(test)}"
    if test.kind == "predicted classes":
        return f"the predicted classes of {name!r} have drifted: {_distribution(test)}"
    if test.kind == "quality":
        return f"the {METRICS[name].label} is {drift.new:.4f}, where {drift.reference:.4f} was promised"
    if test.kind == "calibration":
        return f"the share of class {name!r} is {_points(drift.new)} its mean probability"
    return f"{name} hold the true class for {drift.new:.1%} of the rows, where {drift.reference:.1%} was promised"


def _distribution(test: DriftTest) -> str:
    drift = test.drift
    if math.isnan(drift.new):
        return f"{drift.measure} {drift.size:.2f}"
    size = "" if math.isnan(drift.size) else f" ({drift.size:+.2f} standard deviations)"
    return f"mean {drift.new:.4g} instead of {drift.reference:.4g}{size}"


def _points(gap: float) -> str:
    return f"{100 * abs(gap):.1f} percentage points {'above' if gap > 0 else 'below'}"

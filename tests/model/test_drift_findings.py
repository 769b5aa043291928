"""Alarms in words."""

from __future__ import annotations

import math

import pytest

from tabcohort.evaluation.drift import Drift
from tabcohort.model.drift_findings import describe
from tabcohort.model.drift_tests import DriftTest

NAN = math.nan


@pytest.mark.parametrize(
    ("subject", "kind", "figures", "words"),
    [
        ("age", "distribution", (0.5, 40.0, 45.25), "the column 'age' has drifted: mean 45.25 instead of 40 (+0.50 st"),
        ("age", "distribution", (NAN, 1.0, 2.0), "the column 'age' has drifted: mean 2 instead of 1"),
        ("city", "distribution", (0.25, NAN, NAN), "the column 'city' has drifted: total 0.25"),
        ("age", "missing cells", (0.1, 0.02, 0.12), "the column 'age' is missing in 12.0% of the rows instead of 2.0%"),
        ("city", "new levels", (0.1, 0.0, 0.1), "the column 'city' has levels that no training row had in 10.0%"),
        ("yes", "probability", (0.5, 0.25, 0.5), "the predicted probability of class 'yes' has drifted: mean 0.5"),
        ("answer", "predicted classes", (0.3, NAN, NAN), "the predicted classes of 'answer' have drifted: total 0.30"),
        ("roc_auc", "quality", (-0.2, 0.9, 0.7), "the ROC AUC is 0.7000, where 0.9000 was promised"),
        ("yes", "calibration", (0.1, 0.0, 0.1), "the share of class 'yes' is 10.0 percentage points above its"),
        ("yes", "calibration", (-0.1, 0.0, -0.1), "the share of class 'yes' is 10.0 percentage points below its"),
        ("prediction sets", "coverage", (-0.1, 0.9, 0.8), "prediction sets hold the true class for 80.0% of the rows"),
    ],
)
def test_each_kind_of_alarm_has_its_sentence(
    subject: str, kind: str, figures: tuple[float, float, float], words: str
) -> None:
    assert describe(DriftTest(subject, kind, Drift("a test", 0.001, "total", *figures))).startswith(words)

"""What has changed in new rows, a line for each subject; the facts have a finding for each test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabcohort.errors import listed

MAX_PARTS = 3  # of a line
MAX_NAMES = 6
MIN_COLUMNS = 3  # whose means have changed by one factor, from which on they are one finding
MIN_FACTOR, MAX_SPREAD = 1.5, 1.02  # of such a factor, and between the factors of these columns
PREDICTIONS, QUALITY = "predictions", "quality"
_SUBJECTS = {
    "probability": PREDICTIONS, "predicted classes": PREDICTIONS, "quality": QUALITY, "calibration": QUALITY,
    "coverage": QUALITY,
}  # fmt: skip


def grouped_findings(facts: Mapping[str, Any]) -> list[str]:
    """Return what was found in lines: one for each column, one for the predictions and one for the quality.

    Columns whose means have all changed by one factor are a line together.

    Args:
        facts: what `tabcohort.model.monitor.monitor` gives.
    """
    alarms = [test for test in facts["tests"] if test["alarm"]]
    n_unread = len(facts["findings"]) - len(alarms)  # columns that are missing or unreadable come first, untested
    rescaled = _rescaled(alarms)
    lines = list(facts["findings"][:n_unread])
    lines += [_rescaled_text(tests) for tests in rescaled]
    together = [test for tests in rescaled for test in tests]
    parts: dict[tuple[str, str], list[str]] = {}
    for test, finding in zip(alarms, facts["findings"][n_unread:], strict=True):
        if not any(test is own for own in together):
            of_model = _SUBJECTS.get(test["kind"])
            key = ("model", of_model) if of_model else ("column", test["subject"])
            parts.setdefault(key, []).append(finding)
    return [*lines, *(_joined(kind, subject, findings) for (kind, subject), findings in parts.items())]


def _joined(kind: str, subject: str, findings: Sequence[str]) -> str:
    """Return the findings of one subject as a line."""
    if kind == "model":
        return listed(findings, MAX_PARTS, "; ")
    of_column = f"the column {subject!r} "
    return "; it ".join([findings[0], *(finding.removeprefix(of_column) for finding in findings[1:])])


def _rescaled(alarms: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Return the tests of columns whose means have changed by the same factor, such as another unit, together."""
    factors = [(factor, test) for test in alarms if (factor := _factor(test)) is not None]
    factors.sort(key=lambda own: own[0])
    groups: list[list[Mapping[str, Any]]] = []
    smallest = 0.0
    for factor, test in factors:
        if groups and factor <= smallest * MAX_SPREAD:
            groups[-1].append(test)
        else:
            groups.append([test])
            smallest = factor
    return [tests for tests in groups if len(tests) >= MIN_COLUMNS]


def _factor(test: Mapping[str, Any]) -> float | None:
    """Return by what a column's mean was multiplied; None where that is near 1, or not known."""
    before, after = test["reference"], test["new"]
    if test["kind"] != "distribution" or not before or after is None or after / before <= 0:
        return None
    factor = float(after / before)
    return factor if abs(math.log(factor)) >= math.log(MIN_FACTOR) else None


def _rescaled_text(tests: Sequence[Mapping[str, Any]]) -> str:
    factor = tests[len(tests) // 2]["new"] / tests[len(tests) // 2]["reference"]
    names = listed([repr(test["subject"]) for test in tests], MAX_NAMES)
    return (
        f"{len(tests)} columns have drifted alike: each mean is {factor:.3g} times that before, as after a change of "
        f"units: {names}"
    )

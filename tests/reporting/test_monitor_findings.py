"""Findings of one subject are a line, and nothing of what was found is lost."""

from __future__ import annotations

from typing import Any

from tabcohort.reporting.monitor_findings import grouped_findings

COLUMN = "the column {!r} has drifted: mean {:g} instead of {:g}"


def alarm(subject: str, kind: str = "distribution", **changes: Any) -> dict[str, Any]:
    return {"subject": subject, "kind": kind, "alarm": True, "reference": None, "new": None, **changes}


def found(*alarms: tuple[dict[str, Any], str], untested: tuple[str, ...] = ()) -> list[str]:
    """Return the lines of these alarms with their findings, and of what is found without a test."""
    quiet = alarm("quiet", alarm=False)
    tests, findings = [test for test, _ in alarms], [finding for _, finding in alarms]
    return grouped_findings({"tests": [*tests, quiet], "findings": [*untested, *findings]})


def drifted(subject: str, before: float, after: float) -> tuple[dict[str, Any], str]:
    return alarm(subject, reference=before, new=after), COLUMN.format(subject, after, before)


def test_the_alarms_of_a_column_are_one_line() -> None:
    age = (
        drifted("age", 40, 44),
        (alarm("age", "missing cells"), "the column 'age' is missing in 12.0% of the rows instead of 2.0%"),
    )
    assert found(*age, drifted("x", 1.0, 1.1), untested=("the column 'b' is missing",)) == [
        "the column 'b' is missing",
        "the column 'age' has drifted: mean 44 instead of 40; it is missing in 12.0% of the rows instead of 2.0%",
        "the column 'x' has drifted: mean 1.1 instead of 1",
    ]


def test_the_alarms_of_predictions_are_one_line_and_those_of_the_quality_another() -> None:
    lines = found(
        (alarm("1", "probability"), "the probability"),
        (alarm("answer", "predicted classes"), "the classes"),
        *((alarm(name, "quality"), name) for name in ("accuracy", "f1", "roc_auc")),
        (alarm("1", "calibration"), "the share"),
    )
    assert lines == ["the probability; the classes", "accuracy; f1; roc_auc and 1 more"]


def test_a_column_is_not_taken_for_the_predictions() -> None:
    """Columns may be called anything."""
    lines = found(drifted("quality", 1.0, 1.1), (alarm("f1", "quality"), "the F1 is low"))
    assert lines == ["the column 'quality' has drifted: mean 1.1 instead of 1", "the F1 is low"]


def test_columns_whose_means_have_changed_by_one_factor_are_one_line() -> None:
    lines = found(
        drifted("a", 1.0, 10.0), drifted("b", -3.0, -30.1), drifted("c", 0.2, 1.99), drifted("other", 4.0, 44.0),
        (alarm("a", "missing cells"), "the column 'a' is missing"),
    )  # fmt: skip
    assert lines == [
        "3 columns have drifted alike: each mean is 10 times that before, as after a change of units: 'c', 'a', 'b'",
        "the column 'other' has drifted: mean 44 instead of 4",
        "the column 'a' is missing",
    ]


def test_means_that_have_changed_little_or_are_not_known_are_no_change_of_units() -> None:
    few = [drifted("a", 1.0, 10.0), drifted("b", 3.0, 30.0)]
    little = [drifted(name, 1.0, 1.2) for name in "cde"]
    unknown = [(alarm(name), f"the column {name!r} has drifted") for name in "fgh"]
    zero = [drifted(name, 0.0, 1.0) for name in "ijk"] + [drifted(name, 1.0, -2.0) for name in "lmn"]
    assert len(found(*few, *little, *unknown, *zero)) == 2 + 3 + 3 + 6

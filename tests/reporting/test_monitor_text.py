"""What the terminal shows of new rows."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from tabcohort.reporting.monitor_text import MAX_TESTS, print_monitor


def facts_of_test(subject: str = "age", **changes: Any) -> dict[str, Any]:
    """Return the facts of a test without an alarm."""
    return {
        "subject": subject, "kind": "distribution", "test": "z", "p_value": 0.4, "measure": "standardized difference",
        "size": 0.25, "reference": 40.0, "new": 42.5, "corrected_p_value": 1.0, "alarm": False, **changes,
    }  # fmt: skip


def facts_of(**changes: Any) -> dict[str, Any]:
    """Return the facts of new rows without an alarm."""
    return {
        "alarm": False, "findings": [], "n_rows": 1200, "n_tested_rows": 1200, "reference": "model",
        "n_reference_rows": 3000, "schema": {"missing_columns": [], "new_columns": [], "unreadable": []},
        "unusual": {"n_rows": 0, "unknown": {}, "far": {}, "missing": {}}, "tests": [facts_of_test()], "not_tested": [],
        "quality": None, "level": 0.05, "correction": "holm", **changes,
    }  # fmt: skip


def lines_of(facts: dict[str, Any]) -> list[str]:
    out = io.StringIO()
    print_monitor(Console(file=out, soft_wrap=True), facts, "new.csv")
    return out.getvalue().splitlines()


def test_without_a_change_the_tests_are_listed_and_it_is_said() -> None:
    assert lines_of(facts_of()) == [
        "new.csv: 1,200 rows, compared with what the model holds of its 3,000 training rows",
        "",
        "what  of            training   new    size  p-value, corrected",
        "age   distribution        40  42.5  +0.250  1",
        "",
        "No change was found (1 tests, with Holm's correction: without any change there is an alarm in at most 5% of "
        "all calls).",
    ]


def test_changes_notes_and_quality_are_shown_with_their_text_as_it_is() -> None:
    unknown = {"value": None, "low": None, "high": None}
    known = {"value": 0.75, "low": 0.5, "high": 1.0}
    facts = facts_of(
        alarm=True, findings=["[b]x\x1b[2J has drifted"], reference="table", n_tested_rows=400,
        schema={"missing_columns": [], "new_columns": ["[red]more"], "unreadable": []},
        unusual={"n_rows": 7, "unknown": {"city": 3}, "far": {"age": 4}, "missing": {}},
        not_tested=[{"subject": "'x7'", "reason": "it is ignored"}],
        tests=[
            facts_of_test(),
            facts_of_test(
                "roc_auc", kind="quality", size=None, reference=None, new=None, p_value=1e-9, corrected_p_value=2e-8,
                alarm=True,
            ),
            facts_of_test("city", kind="new levels", reference=0.0, new=0.1, size=0.1, p_value=0.01),
        ],
        quality={"n_rows": 4, "metrics": {"roc_auc": {"label": "ROC AUC", "promised": known, "measured": unknown}}},
    )  # fmt: skip
    lines = lines_of(facts)
    assert lines[0] == "new.csv: 1,200 rows (400 independent ones), compared with a table of 3,000 reference rows"
    assert lines[1] == "new columns, which the model ignores: [red]more"
    assert lines[2] == "7 rows are unlike the training rows: unknown levels of city (3); far numbers of age (4)"
    assert lines[3] == "not tested: 'x7', as it is ignored"
    assert [line.split() for line in lines[6:9]] == [
        ["ROC", "AUC", "quality", "2e-08", "alarm"],
        ["city", "new", "levels", "0.0%", "10.0%", "+10.0%", "1"],
        ["age", "distribution", "40", "42.5", "+0.250", "1"],
    ]
    assert lines[11] == "ROC AUC  0.7500  (0.5000 to 1.0000)  -"
    assert lines[13] == "[1] [b]x\\x1b[2J has drifted"
    assert lines[14].startswith("1 change was found (1 alarm of 3 tests, with Holm's")


def test_classes_are_named_as_such_and_the_alarms_of_a_column_are_one_change() -> None:
    tests = [
        facts_of_test("age", alarm=True),
        facts_of_test("age", kind="missing cells", alarm=True),
        facts_of_test("1", kind="probability"),
        facts_of_test("1", kind="calibration"),
    ]
    findings = ["the column 'age' has drifted: mean 2", "the column 'age' is missing in 3.0% of the rows"]
    lines = lines_of(facts_of(alarm=True, findings=findings, tests=tests))
    assert sum(line.startswith("class 1 ") for line in lines) == 2
    assert lines[-2] == "[1] the column 'age' has drifted: mean 2; it is missing in 3.0% of the rows"
    assert lines[-1].startswith("1 change was found (2 alarms of 4 tests, with Holm's")


def test_of_many_tests_those_with_the_smallest_p_values_are_shown() -> None:
    tests = [facts_of_test(f"x{i}", p_value=i / 100) for i in range(MAX_TESTS + 3)]
    lines = lines_of(facts_of(tests=tests[::-1]))
    assert lines[3].startswith("x0 ")
    assert lines[3 + MAX_TESTS] == "... and 3 tests with greater p-values; --json shows all"

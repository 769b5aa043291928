"""What the terminal shows of new rows beside what a model knows; see `tabcohort.model.monitor.monitor`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

from tabcohort.errors import listed, printable
from tabcohort.evaluation.metrics import METRICS
from tabcohort.reporting.monitor_findings import grouped_findings
from tabcohort.reporting.plain_text import aligned
from tabcohort.reporting.terminal import estimate_text

MAX_TESTS = 20  # that are shown on a terminal
HEADS = ("what", "of", "training", "new", "size", "p-value, corrected")
NUMBERS = {2, 3, 4}
METRIC_HEADS = ("metric", "promised (95 % interval)", "new rows (95 % interval)")
SHARES = ("missing cells", "new levels", "coverage", "calibration")  # kinds of tests whose figures are shares


def print_monitor(console: Console, facts: Mapping[str, Any], title: str) -> None:
    """Print what was found, and the tests with the smallest p-values.

    Args:
        console: where to.
        facts: what `monitor` gives.
        title: name of the table.
    """
    findings = printable(grouped_findings(facts))
    facts, title = printable(facts), printable(title)
    _lines(console, [f"{title}: {rows_text(facts)}", *notes(facts)])
    _table(console, [HEADS, *(cells_of_test(test) for test in shown_tests(facts)[:MAX_TESTS])], NUMBERS)
    n_more = len(facts["tests"]) - MAX_TESTS
    if n_more > 0:
        _lines(console, [f"... and {n_more:,} tests with greater p-values; --json shows all"])
    if facts["quality"] is not None:
        _table(console, [METRIC_HEADS, *metric_cells(facts["quality"]["metrics"])])
    console.print()
    _lines(console, [f"[{number}] {finding}" for number, finding in enumerate(findings, 1)], "bold")
    _lines(console, [verdict(facts, len(findings))])


def rows_text(facts: Mapping[str, Any]) -> str:
    """Return the numbers of rows, and what they are compared with."""
    tested = f" ({facts['n_tested_rows']:,} independent ones)" if facts["n_tested_rows"] < facts["n_rows"] else ""
    what = {"model": "what the model holds of its", "table": "a table of"}[facts["reference"]]
    kind = "training rows" if facts["reference"] == "model" else "reference rows"
    return f"{facts['n_rows']:,} rows{tested}, compared with {what} {facts['n_reference_rows']:,} {kind}"


def notes(facts: Mapping[str, Any]) -> list[str]:
    """Return what is worth knowing and no alarm: new columns, unusual rows, and what was not tested."""
    lines = []
    if facts["schema"]["new_columns"]:
        lines.append(f"new columns, which the model ignores: {listed(facts['schema']['new_columns'], 10)}")
    unusual = facts["unusual"]
    if unusual is not None and unusual["n_rows"]:
        parts = [
            f"{what} {listed([f'{name} ({count:,})' for name, count in unusual[kind].items()], 10)}"
            for kind, what in (("unknown", "unknown levels of"), ("far", "far numbers of"), ("missing", "missing"))
            if unusual[kind]
        ]
        lines.append(f"{unusual['n_rows']:,} rows are unlike the training rows: {'; '.join(parts)}")
    return [*lines, *(f"not tested: {own['subject']}, as {own['reason']}" for own in facts["not_tested"])]


def shown_tests(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the tests, the smallest p-value first."""
    return sorted(facts["tests"], key=lambda test: (test["corrected_p_value"], test["p_value"]))


def cells_of_test(test: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts of a test, for the heads `HEADS`."""
    shows_shares = test["kind"] in SHARES
    before, after = (_number(test[name], shows_shares) for name in ("reference", "new"))
    size = "" if test["size"] is None else f"{test['size']:+.1%}" if shows_shares else f"{test['size']:+.3f}"
    mark = "  alarm" if test["alarm"] else ""
    return subject_text(test), test["kind"], before, after, size, f"{test['corrected_p_value']:.2g}{mark}"


def subject_text(test: Mapping[str, Any]) -> str:
    """Return what a test is about: classes are named as such, as one may be called 1."""
    if test["kind"] in ("probability", "calibration"):
        return f"class {test['subject']}"
    return METRICS[test["subject"]].label if test["kind"] == "quality" else str(test["subject"])


def metric_cells(metrics: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the texts of each metric, for the heads `METRIC_HEADS`."""
    return [
        (metric["label"], *(estimate_text(metric[name]) for name in ("promised", "measured")))
        for metric in metrics.values()
    ]


def verdict(facts: Mapping[str, Any], n_changes: int) -> str:
    """Return the conclusion in a sentence.

    Args:
        facts: what `monitor` gives.
        n_changes: the number of lines that `grouped_findings` makes of it.
    """
    n_alarms = sum(test["alarm"] for test in facts["tests"])
    alarms = f"{n_alarms:,} alarm{'s' * (n_alarms != 1)} of " if n_alarms else ""
    how = (
        f"{alarms}{len(facts['tests']):,} tests, with Holm's correction: without any change there is an alarm in at "
        f"most {facts['level']:.0%} of all calls"
    )
    if not n_changes:
        return f"No change was found ({how})."
    return f"{n_changes} {'change was' if n_changes == 1 else 'changes were'} found ({how})."


def _number(value: float | None, is_share: bool) -> str:
    if value is None:
        return ""
    return f"{value:.1%}" if is_share else f"{value:.4g}"


def _table(console: Console, rows: list[tuple[str, ...]], right: Iterable[int] = ()) -> None:
    """Print rows below their heads, after an empty line."""
    console.print()
    heads, *lines = aligned(rows, set(right))
    console.print(heads, markup=False, style="dim", soft_wrap=True)
    _lines(console, lines)


def _lines(console: Console, lines: Iterable[str], style: str | None = None) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, style=style, soft_wrap=True)

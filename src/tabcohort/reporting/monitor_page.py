"""A page about new rows beside what a model knows: one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any

from tabcohort.errors import printable
from tabcohort.reporting.monitor_findings import grouped_findings
from tabcohort.reporting.monitor_text import (
    HEADS,
    METRIC_HEADS,
    NUMBERS,
    cells_of_test,
    metric_cells,
    notes,
    rows_text,
    shown_tests,
    verdict,
)
from tabcohort.reporting.page import number_class, table_of, whole_page


def monitor_page(facts: Mapping[str, Any], title: str) -> str:
    """Return what `tabcohort.model.monitor.monitor` gives as an HTML page."""
    lines = printable(grouped_findings(facts))
    facts = printable(facts)
    findings = "".join(f'<li class="finding">{escape(line)}</li>' for line in lines)
    remarks = "".join(f'<p class="note">{escape(note)}</p>' for note in notes(facts))
    tests = shown_tests(facts)
    alarms = {place for place, test in enumerate(tests) if test["alarm"]}
    quality = ""
    if facts["quality"] is not None:
        quality = "<h2>Quality</h2>" + _table(METRIC_HEADS, metric_cells(facts["quality"]["metrics"]))
    cells = [cells_of_test(test) for test in tests]
    return whole_page(
        str(printable(title)),
        f"<p>{escape(rows_text(facts))}</p><p>{escape(verdict(facts, len(lines)))}</p>\n"
        + (f"<h2>Changes</h2><ol>{findings}</ol>\n" if findings else "")
        + f"{remarks}{quality}<h2>Tests</h2>{_table(HEADS, cells, NUMBERS, alarms)}",
    )


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = (), marked: Collection[int] = ()
) -> str:
    """Return a table; the columns `right` hold numbers, and the rows `marked` are alarms."""
    lines = []
    for number, row in enumerate(rows):
        cells = "".join(f"<td{number_class(place in right)}>{escape(text)}</td>" for place, text in enumerate(row))
        lines.append(f"<tr{_ALARM if number in marked else ''}>{cells}</tr>")
    return table_of(heads, "\n".join(lines), right) + "\n"


_ALARM = ' class="finding"'

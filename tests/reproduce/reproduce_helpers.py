"""What the tests of the experiments share: how findings are checked and looked up."""

from __future__ import annotations

import io
import json

from rich.console import Console

from tabcohort.reporting.experiment_page import experiment_page
from tabcohort.reproduce.findings import Findings, Row


def silent_console() -> Console:
    """Return a console that prints nowhere."""
    return Console(file=io.StringIO())


def check_document(findings: Findings) -> None:
    """Assert what the command line needs of findings: JSON without NaN, a printed line per mistake, and a page."""
    text = json.dumps(findings.to_dict(), allow_nan=False)
    assert json.loads(text)["experiment"] == findings.name
    out = io.StringIO()
    findings.print(Console(file=out, width=200))
    assert out.getvalue().count("- the document ") == len(findings.mistakes)
    assert experiment_page(findings.to_dict(), "tabcohort reproduce").startswith("<!")
    for sheet in findings.sheets:
        assert all(len(row.cells) == len(sheet.columns) for row in sheet.rows)


def row_of(findings: Findings, start: str) -> Row:
    """Return the first row whose name starts so."""
    return next(row for sheet in findings.sheets for row in sheet.rows if row.what.startswith(start))


def figures_of(findings: Findings, start: str) -> dict[str, float]:
    """Return the figures of the first mistake that starts so."""
    return next(mistake.figures for mistake in findings.mistakes if mistake.document.startswith(start))

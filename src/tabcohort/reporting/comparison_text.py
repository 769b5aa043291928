"""What the terminal shows of models that are compared; see `tabcohort.model.comparison.comparison_facts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from tabcohort.errors import printable
from tabcohort.reporting.plain_text import aligned

MARKS = {True: "better", False: "worse", None: ""}


def print_comparison(console: Console, facts: Mapping[str, Any], which: str = "") -> None:
    """Print each model's metrics beside the baseline's, their differences, and what follows.

    Args:
        console: where to.
        facts: what `comparison_facts` gives.
        which: what to say about the rows, after their number.
    """
    facts, which = printable(facts), printable(which)
    groups = f" in {facts['n_groups']:,} groups" if facts["n_groups"] < facts["n_rows"] else ""
    rows = "row" if facts["n_rows"] == 1 else "rows"
    console.print(f"compared on {facts['n_rows']:,} {rows}{groups}{which}", markup=False)
    for place, comparison in enumerate(facts["comparisons"], 1):
        console.print(f"\nbaseline {facts['baseline']}, model {comparison['model']}", markup=False, style="dim")
        for number, line in enumerate(_lines(facts["metrics"], comparison["differences"], place)):
            console.print(line, markup=False, style="dim" if number == 0 else None)
    console.print()
    for comparison in facts["comparisons"]:
        style = "bold" if comparison["told_apart"] else None
        console.print(_sentence(comparison["conclusion"]), markup=False, style=style)
    console.print(_sentence(facts["correction_note"]), markup=False, style="dim")


def _lines(
    metrics: Mapping[str, Mapping[str, Any]], differences: Mapping[str, Mapping[str, Any]], place: int
) -> list[str]:
    """Return a line for each metric, below their heads."""
    rows = [["metric", "baseline", "model", "difference (95 % interval)", ""]]
    for name, metric in metrics.items():
        values = [metric["models"][model]["value"] for model in (0, place)]
        difference = differences[name]
        gap = "these rows cannot determine it"
        if difference["value"] is not None:
            gap = f"{difference['value']:+.4f}  ({difference['low']:+.4f} to {difference['high']:+.4f})"
        cells = ["-" if value is None else f"{value:.4f}" for value in values]
        rows.append([metric["label"], *cells, gap, MARKS[difference["is_better"]]])
    return aligned(rows, right={1, 2})


def _sentence(text: str) -> str:
    """Return text that ends with a full stop, the first letter as it is: it may be that of a file's name."""
    return f"{text}."

"""What the terminal shows of a learning curve; see `tabcohort.cohort.learning_curve.learning_curve_facts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from tabcohort.reporting.plain_text import aligned
from tabcohort.reporting.terminal import estimate_text


def print_learning_curve(console: Console, facts: Mapping[str, Any]) -> None:
    """Print the log loss by the number of training rows, and what more of them would bring."""
    rows = [["rows", "a member trains on", "out-of-fold log loss (95 % interval)"]]
    for point in facts["points"]:
        rows.append([f"{point['share']:.1%}", f"{point['n_train']:,.0f}", estimate_text(point["log_loss"])])
    console.print()
    for number, line in enumerate(aligned(rows, right={0, 1})):
        console.print(line, markup=False, style="dim" if number == 0 else None)
    for line in conclusion_lines(facts):
        console.print(line, markup=False)


def conclusion_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return what follows from a learning curve, in sentences."""
    lines = [
        f"{facts['conclusion'][0].upper()}{facts['conclusion'][1:]}.",
        "Extrapolated by a power law and an exponential: the mean of both, with an interval that spans both.",
    ]
    if not facts["is_complete"]:
        lines.append("It was interrupted: the curve is of the shares that were done.")
    return lines

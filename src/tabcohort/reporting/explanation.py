"""What the terminal shows of an explanation: a bar for each column's contribution, and how far a long one is."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from tabcohort.errors import printable
from tabcohort.model.explain import cell_text
from tabcohort.model.explainer import ExplanationProgress

BLOCK = "\u2588"
BAR_WIDTH, MAX_NAME, MAX_CELL = 16, 28, 24  # characters
NUMBERS, BAR = (2, 3), 4  # cells of a line that are numbers, and the one that is a bar
SECONDS_BEFORE_PROGRESS = 2.0
SECONDS_BETWEEN_LINES = 2.0


def print_explanation(console: Console, facts: Mapping[str, Any], which: str, top: int | None) -> None:
    """Print an explanation as a bar chart, the largest contribution first.

    Args:
        console: where to.
        facts: what `explanation_facts` gives.
        which: the row in words.
        top: how many columns; the others are one line. All when omitted.
    """
    facts = printable(facts)
    label, columns, shown = str(facts["class"]), facts["columns"], facts["columns"][:top]
    base, output = facts["base"], facts["output"]
    probability = _probability(output["probability"])
    _line(console, f"{printable(which)}: {label} with a probability of {probability}")
    _line(console, f"contributions to its {facts['score']}, {_precision(facts)}\n", "dim")
    largest = max((abs(column["contribution"]) for column in columns), default=0.0)
    block = BLOCK if _can_show(console, BLOCK) else "#"
    lines = [
        ("column", "value", "contribution", "+-", "", "speaks"),
        ("background on average", "", f"{base['score']:+.3f}", "", "", _probability(base["probability"])),
        *(_cells(column, label, block, largest) for column in shown),
    ]
    if len(columns) > len(shown):
        rest = sum(column["contribution"] for column in columns[len(shown) :])
        lines.append((f"{len(columns) - len(shown)} more", "", f"{rest:+.3f}", "", "", ""))
    lines.append(("this row", "", f"{output['score']:+.3f}", "", "", probability))
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        text = Text(style="dim" if number == 0 else "")
        for place, (cell, width) in enumerate(zip(line, widths, strict=True)):
            aligned = cell.rjust(width) if place in NUMBERS else cell.ljust(width)
            style = "" if place != BAR else "green" if line[NUMBERS[0]].startswith("+") else "red"
            text.append(aligned + "  " * (place < BAR + 1), style)
        text.rstrip()
        console.print(text, soft_wrap=True)


def _cells(column: Mapping[str, Any], label: str, block: str, largest: float) -> tuple[str, ...]:
    """Return a column's line, cell by cell."""
    own = column["contribution"]
    value = cell_text(tuple(column["value"]) if isinstance(column["value"], list) else column["value"])
    return (
        _cut(column["name"], MAX_NAME),
        _cut(value, MAX_CELL),
        f"{own:+.3f}",
        f"{column['error']:.3f}" if column["error"] else "",
        block * max(round(BAR_WIDTH * abs(own) / largest), 1) if own else "",
        f"for {label}" if own > 0 else f"against {label}" if own < 0 else "",
    )


def _precision(facts: Mapping[str, Any]) -> str:
    """Return what the contributions are beside, and how exact they are."""
    beside = f"beside {facts['n_background']:,} background rows"
    if not facts["n_rounds"]:
        return f"{beside}: exact"
    n = 2 * facts["n_rounds"] * facts["n_background"]
    precision = f"{beside}: from {n:,} permutations, +- one standard error"
    if facts["is_converged"]:
        return precision
    return f"{precision}, which is larger than asked for: raise --max-rounds or --tolerance"


def _probability(value: float) -> str:
    """Return a probability so that neither 0 nor 1 hides how close to it is."""
    text = f"{value:.4f}"
    if value < 0.5:
        return f"{value:.2g}" if value < 0.001 else text
    return f"1 - {1 - value:.1g}" if 0 < 1 - value < 0.00005 else text


def _line(console: Console, text: str, style: str | None = None) -> None:
    """Print a line as it is: labels and cells are no markup."""
    console.print(text, markup=False, highlight=False, style=style, soft_wrap=True)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _can_show(console: Console, text: str) -> bool:
    """Return whether the encoding of a console has these characters."""
    try:
        text.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


class ExplanationLog:
    """Says on standard error how far an explanation is, if it takes long: a line every two seconds.

    Args:
        console: of standard error.
        clock: seconds.
    """

    def __init__(self, console: Console, clock: Any = time.perf_counter) -> None:
        self.console, self._clock = console, clock
        self._began = self._shown = clock()

    def __call__(self, progress: ExplanationProgress) -> None:
        """Print a line if the last one, or the beginning, was long enough ago."""
        now = self._clock()
        if now - self._shown >= (SECONDS_BEFORE_PROGRESS if self._shown == self._began else SECONDS_BETWEEN_LINES):
            self._shown = now
            self.console.print(describe_progress(progress, now - self._began))


def describe_progress(progress: ExplanationProgress, seconds: float) -> str:
    """Return one line on how far an explanation is.

    Args:
        progress: so far.
        seconds: since it began.
    """
    if progress.n_rows == 1:
        return f"explaining  {progress.n_rounds} of at most {progress.max_rounds} rounds of permutations"
    left = ""
    if progress.n_done:
        rest = seconds / progress.n_done * (progress.n_rows - progress.n_done)
        left = f"  about {math.ceil(rest):,} s left"
    return f"explaining  {progress.n_done:,}/{progress.n_rows:,} rows{left}"

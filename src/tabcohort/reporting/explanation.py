"""What the terminal shows of an explanation: a bar for each column's contribution, and how far a long one is."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from tabcohort.errors import printable
from tabcohort.model.explain import cell_text
from tabcohort.model.explainer import ExplanationProgress
from tabcohort.reporting.plain_text import can_show, cut, print_plain

BLOCK = "\u2588"
HEADS = ("column", "value", "contribution", "+-", "", "speaks")
BACKGROUND, THIS_ROW = "background on average", "this row"
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
    probability = probability_text(output["probability"])
    print_plain(console, headline(facts, printable(which)))
    print_plain(console, f"{precision_text(facts)}\n", "dim")
    largest = max((abs(column["contribution"]) for column in columns), default=0.0)
    block = BLOCK if can_show(console, BLOCK) else "#"
    lines = [
        HEADS,
        (BACKGROUND, "", f"{base['score']:+.3f}", "", "", ""),
        *(_cells(column, label, block, largest) for column in shown),
    ]
    if len(columns) > len(shown):
        lines.append((*rest_texts(columns[len(shown) :]), "", "", ""))
    lines.append((THIS_ROW, "", f"{output['score']:+.3f}", "", "", probability))
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
    name, value, contribution, error, direction = column_texts(column, label)
    bar = block * max(round(BAR_WIDTH * abs(own) / largest), 1) if own else ""
    return cut(name, MAX_NAME), cut(value, MAX_CELL), contribution, error, bar, direction


# -- texts, which the page has too -----------------------------------------------------------------------------------


def headline(facts: Mapping[str, Any], which: str) -> str:
    """Return what is predicted of the row, `which` in words."""
    probability = probability_text(facts["output"]["probability"])
    return f"{which}: {facts['class']} with a probability of {probability}"


def precision_text(facts: Mapping[str, Any]) -> str:
    """Return what is explained, beside what, and how exactly."""
    text = f"contributions to its {facts['score']}, compared with {facts['n_background']:,} background rows"
    if not facts["n_rounds"]:
        return f"{text}: exact"
    n = 2 * facts["n_rounds"] * facts["n_background"]
    text = f"{text}: from {n:,} permutations, +- one standard error"
    if facts["is_converged"]:
        return text
    return f"{text}, which is larger than asked for: raise --max-rounds or --tolerance"


def column_texts(column: Mapping[str, Any], label: str) -> tuple[str, str, str, str, str]:
    """Return a column's name, cell, contribution, its standard error, and whether it speaks for or against a class."""
    own, value = column["contribution"], column["value"]
    return (
        column["name"],
        cell_text(tuple(value) if isinstance(value, list) else value),
        f"{own:+.3f}",
        f"{column['error']:.3f}" if column["error"] else "",
        f"for {label}" if own > 0 else f"against {label}" if own < 0 else "",
    )


def rest_texts(columns: Sequence[Mapping[str, Any]]) -> tuple[str, str, str]:
    """Return how many columns are not shown, and what they contribute together."""
    return f"{len(columns)} more", "", f"{sum(column['contribution'] for column in columns):+.3f}"


def probability_text(value: float) -> str:
    """Return a probability so that neither 0 nor 1 hides how close to it is."""
    text = f"{value:.4f}"
    if value < 0.5:
        return f"{value:.2g}" if value < 0.001 else text
    return f"1 - {1 - value:.1g}" if 0 < 1 - value < 0.00005 else text


# -- the terminal ----------------------------------------------------------------------------------------------------


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

"""A page about one prediction: a bar for each column, in one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tabcohort.errors import printable
from tabcohort.reporting.explanation import (
    BACKGROUND,
    HEADS,
    NUMBERS,
    THIS_ROW,
    column_texts,
    headline,
    precision_text,
    probability_text,
    rest_texts,
)
from tabcohort.reporting.page import number_class, table_of, whole_page
from tabcohort.reporting.plain_text import cut

MAX_CELL = 200  # characters
BAR_WIDTH, BAR_HEIGHT = 240, 14


def explanation_page(facts: Mapping[str, Any], which: str, top: int | None = None) -> str:
    """Return an explanation as an HTML page: a bar for each column, the largest contribution first.

    Args:
        facts: what `tabcohort.model.explain.explanation_facts` gives.
        which: the row in words.
        top: how many columns; the others are one line. All when omitted.
    """
    facts = printable(facts)
    label, columns, shown = str(facts["class"]), facts["columns"], facts["columns"][:top]
    largest = max((abs(column["contribution"]) for column in columns), default=0.0)
    rows = [_row((BACKGROUND, "", f"{facts['base']['score']:+.3f}", ""))]
    for column in shown:
        name, value, contribution, error, direction = column_texts(column, label)
        bar = _bar(column["contribution"], largest, f"{name}: {contribution}, {direction or 'no effect'}")
        rows.append(_row((name, cut(value, MAX_CELL), contribution, error), bar, direction))
    if len(columns) > len(shown):
        rows.append(_row((*rest_texts(columns[len(shown) :]), "")))
    output = facts["output"]
    after = probability_text(output["probability"])
    rows.append(_row((THIS_ROW, "", f"{output['score']:+.3f}", ""), after=after))
    return whole_page(
        headline(facts, str(printable(which))),
        f"<p>{escape(precision_text(facts))}</p>\n{table_of(HEADS, ''.join(rows), NUMBERS)}",
    )


def _row(texts: Sequence[str], bar: str = "", after: str = "") -> str:
    """Return a row of the table: text, the bar as HTML, and text."""
    cells = "".join(f"<td{number_class(place in NUMBERS)}>{escape(text)}</td>" for place, text in enumerate(texts))
    return f"<tr>{cells}<td>{bar}</td><td>{escape(after)}</td></tr>\n"


def _bar(value: float, largest: float, alt: str) -> str:
    """Return a bar from the middle: to the right for the class, to the left against it."""
    middle = BAR_WIDTH / 2
    width = max(1.0, abs(value) / largest * middle) if value else 0.0
    start, style = (middle, "for") if value > 0 else (middle - width, "against")
    return (
        f'<svg class="bars" width="{BAR_WIDTH}" height="{BAR_HEIGHT}" role="img" aria-label="{escape(alt)}">'
        f'<rect class="{style}" x="{start:.1f}" width="{width:.1f}" height="{BAR_HEIGHT}"/>'
        f'<path d="M{middle:.0f},0V{BAR_HEIGHT}" stroke="currentColor"/></svg>'
    )

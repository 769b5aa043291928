"""What objects show of themselves in a notebook: a little HTML without colours, so that it suits light and dark pages.

All text is escaped: names, labels and cells can hold HTML.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape
from typing import Any

from tabcohort.errors import printable

QUIET = "opacity:.7"
RIGHT = "text-align:right;font-variant-numeric:tabular-nums"


def html_table(heads: Sequence[str], rows: Sequence[Sequence[Any]], numbers: Collection[int] = ()) -> str:
    """Return a table.

    Args:
        heads: of the columns; none for a table without a head.
        rows: of cells, as text or anything that has a text.
        numbers: places of the columns that are aligned to the right.
    """
    n_columns = len(heads) or (len(rows[0]) if rows else 0)
    styles = [RIGHT if place in numbers else "text-align:left" for place in range(n_columns)]
    named = zip(styles, heads, strict=True) if heads else ()
    head = "".join(f'<th style="{style}">{html_text(name)}</th>' for style, name in named)
    body = "".join(
        f"<tr>{''.join(_cell(style, cell) for style, cell in zip(styles, row, strict=True))}</tr>" for row in rows
    )
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if heads else ''}<tbody>{body}</tbody></table>"


def _cell(style: str, cell: Any) -> str:
    return f'<td style="{style}">{html_text(cell)}</td>'


def html_note(text: str) -> str:
    """Return a line of text that is less prominent."""
    return f'<div style="{QUIET}">{html_text(text)}</div>'


def html_text(value: Any) -> str:
    """Return a value as escaped text; control characters are shown, not obeyed.

    Examples:
        >>> html_text("<b>")
        '&lt;b&gt;'
    """
    return escape(printable(str(value)))

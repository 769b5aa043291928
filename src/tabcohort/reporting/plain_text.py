"""Text for a terminal: lines that are no markup, cut texts, and rows of cells as lines whose columns are aligned."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def print_plain(console: Console, text: str, style: str | None = None) -> None:
    """Print a line as it is: labels and cells are no markup."""
    console.print(text, markup=False, highlight=False, style=style, soft_wrap=True)


def can_show(console: Console, text: str) -> bool:
    """Return whether the encoding of a console has these characters."""
    try:
        text.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def cut(text: str, length: int) -> str:
    """Return text of at most this length.

    Examples:
        >>> cut("a long name", 8)
        'a lon...'
    """
    return text if len(text) <= length else text[: length - 3] + "..."


def counted(number: int, noun: str) -> str:
    """Return a number of things, such as "1 row" or "2,000 rows".

    Examples:
        >>> counted(1, "row"), counted(2000, "row")
        ('1 row', '2,000 rows')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return a line for each row, two blanks between columns and none at its end.

    Args:
        rows: of cells, the same number in each.
        right: places of the columns that are aligned to the right, as numbers are.

    Examples:
        >>> aligned([["age", "9"], ["city", "12"]], right={1})
        ['age    9', 'city  12']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines

"""Rows of cells as lines of text whose columns are aligned."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return a line for each row, two blanks between columns and none at its end.

    Args:
        rows: of cells, the same number in each.
        right: places of the columns that are aligned to the right, as numbers are.

    Example:
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

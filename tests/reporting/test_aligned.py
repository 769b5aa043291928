"""Aligned columns."""

from __future__ import annotations

from tabcohort.reporting.aligned import aligned


def test_columns_are_as_wide_as_their_widest_cell_and_lines_end_with_text() -> None:
    rows = [["column", "n", "note"], ["a", "1,000", ""], ["b", "2", "seen"]]
    assert aligned(rows, right={1}) == ["column      n  note", "a       1,000", "b           2  seen"]

"""Text for a terminal: lines that are no markup, cut texts and aligned columns."""

from __future__ import annotations

import io

from rich.console import Console

from tabcohort.reporting.plain_text import aligned, can_show, cut, print_plain


def test_columns_are_as_wide_as_their_widest_cell_and_lines_end_with_text() -> None:
    rows = [["column", "n", "note"], ["a", "1,000", ""], ["b", "2", "seen"]]
    assert aligned(rows, right={1}) == ["column      n  note", "a       1,000", "b           2  seen"]


def test_a_line_is_printed_as_it_is_and_never_wrapped() -> None:
    out = io.StringIO()
    print_plain(Console(file=out, width=10), "[bold]a[/bold] long line of text")
    assert out.getvalue() == "[bold]a[/bold] long line of text\n"


def test_text_is_cut_to_its_length() -> None:
    assert [cut(text, 8) for text in ("", "eight ch", "nine chars")] == ["", "eight ch", "nine ..."]


def test_a_console_shows_what_its_encoding_has() -> None:
    consoles = [Console(file=io.TextIOWrapper(io.BytesIO(), encoding=name)) for name in ("utf-8", "ascii")]
    assert [can_show(console, "\u2588") for console in consoles] == [True, False]

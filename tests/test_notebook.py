"""HTML for notebooks: text is escaped, and no colour is set."""

from __future__ import annotations

from tabcohort.notebook import html_note, html_table, html_text


def test_names_and_cells_are_text() -> None:
    table = html_table(["<b>a</b>", "n"], [["<script>alert(1)</script>", 3], ["x\x1b[2J", '"&']], numbers={1})
    assert "<b>" not in table
    assert "<script>" not in table
    for shown in ("&lt;b&gt;a&lt;/b&gt;", "&lt;script&gt;", "x\\x1b[2J", "&quot;&amp;", ">3</td>"):
        assert shown in table
    assert table.count("text-align:right") == 3  # a head and two numbers
    assert html_note("<i>") == '<div style="opacity:.7">&lt;i&gt;</div>'
    assert html_text(None) == "None"


def test_a_table_may_have_no_head_and_no_rows() -> None:
    assert html_table((), [["a", "b"]]).startswith("<table><tbody><tr><td")
    head = '<thead><tr><th style="text-align:left">a</th></tr></thead>'
    assert html_table(("a",), []) == f"<table>{head}<tbody></tbody></table>"


def test_no_colour_is_set_so_that_it_suits_light_and_dark_pages() -> None:
    assert "color" not in html_table(["a"], [["b"]]) + html_note("c")

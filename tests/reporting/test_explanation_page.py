"""The page about one prediction: it stands alone, its bars are as long as contributions, and cells are text."""

from __future__ import annotations

import re

from test_explanation import facts_of
from test_look_page import Page

from tabcohort.reporting.explanation_page import BAR_WIDTH, explanation_page

ATTACK = '<script>alert("x")</script>'


def test_the_page_stands_alone() -> None:
    text = explanation_page(facts_of(("a", 1.5, 4.0, 0.1)), "row 1 of a.csv")
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe", "a"} & set(page.tags)
    assert "src" not in page.attributes
    assert "url(" not in text
    assert "row 1 of a.csv: yes with a probability of 1 - 6e-06" in page.text
    assert "compared with 40 background rows: from 240 permutations" in page.text


def test_bars_are_as_long_as_contributions_and_say_what_they_show() -> None:
    columns = ("a", 1.5, 4.0, 0.1), ("b", None, -2.0, 0.0), ("c", "x", 1e-6, 0.0), ("d", True, 0.0, 0.0)
    text = explanation_page(facts_of(*columns), "row 1")
    bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)" width="([\d.]+)"', text)
    half = BAR_WIDTH / 2
    assert [(style, float(x), float(width)) for style, x, width in bars[:3]] == [
        ("for", half, half), ("against", half / 2, half / 2), ("for", half, 1.0)
    ]  # fmt: skip
    assert float(bars[3][2]) == 0
    assert Page(text).attributes["aria-label"] == [
        "a: +4.000, for yes", "b: -2.000, against yes", "c: +0.000, for yes", "d: +0.000, no effect"
    ]  # fmt: skip


def test_names_cells_and_classes_are_text() -> None:
    columns = (f"{ATTACK} 1", f"{ATTACK} 2", 1.0, 0.0), ("b", [1.0, None], -0.5, 0.0), ("c", "y" * 999, 0.1, 0.0)
    page = Page(explanation_page(facts_of(*columns, **{"class": f"{ATTACK} 3"}), f"{ATTACK} 4\x1b[2J"))
    assert "script" not in page.tags
    assert all(f"{ATTACK} {place}" in page.text for place in (1, 2, 3, 4))
    assert "1, missing" in page.text
    assert "y" * 201 not in page.text
    assert "\x1b" not in page.text


def test_columns_beyond_the_top_are_one_line() -> None:
    text = explanation_page(facts_of(("a", 1.5, 4.0, 0.1), ("b", 1, -2.0, 0.0), ("c", 1, 0.5, 0.0)), "row 1", top=1)
    assert text.count("<rect") == 1
    assert "2 more" in text
    assert "-1.500" in text

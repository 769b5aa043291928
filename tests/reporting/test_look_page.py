"""The page about a table: it stands alone, and shows names and cells as text."""

from __future__ import annotations

from html.parser import HTMLParser

import polars as pl

from tabcohort.data.profile import look_facts
from tabcohort.reporting.look_page import look_page

FRAME = pl.DataFrame(
    {
        "case": [f"c{i:03}" for i in range(40)],
        "age": [20.5 + i * 7 % 40 for i in range(40)],
        '<script>alert("x")</script>': [("<b>Oslo</b>", "Rome", "Bern & Co", None)[i // 3 % 4] for i in range(40)],
        "paid": [1e-6 * i + (i % 5 in (1, 2)) for i in range(40)],
        "bought": ["no", "yes", "yes", "no", "no"] * 8,
    }
)


class Page(HTMLParser):
    """Collects the tags, attributes and text of a page, and checks that what opens closes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str | None]] = {}
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value)
        if tag != "meta" and f"<{tag}" in (self.get_starttag_text() or ""):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_stands_alone() -> None:
    text = look_page(look_facts(FRAME, "bought"), "sales.csv")
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert "src" not in page.attributes
    assert all(link and link.startswith("#") for link in page.attributes["href"])
    assert "url(" not in text
    assert "@import" not in text


def test_names_and_cells_are_text() -> None:
    page = Page(look_page(look_facts(FRAME, "bought"), "<i>sales</i>"))
    for text in ("<i>sales</i>", '<script>alert("x")</script>', "<b>Oslo</b>", "Bern & Co"):
        assert text in page.text


def test_findings_are_linked_from_their_columns() -> None:
    page = Page(look_page(look_facts(FRAME, "bought"), "sales.csv"))
    assert "'paid' alone predicts 'bought' almost perfectly" in page.text
    assert page.attributes["href"] == ["#finding-1"]
    assert "finding-1" in page.attributes["id"]


def test_bars_are_as_high_as_their_counts() -> None:
    page = look_page(look_facts(pl.DataFrame({"x": [1.0, 1.0, 1.0, 1.0, 2.0]})), "x.csv")
    assert 'height="32"><title>4</title>' in page
    assert 'height="8"><title>1</title>' in page


def test_without_a_target_there_are_columns_only() -> None:
    page = Page(look_page(look_facts(FRAME), "sales.csv"))
    assert "Worth checking" not in page.text
    assert "Target" not in page.text
    assert page.tags.count("tr") == 1 + len(FRAME.columns)

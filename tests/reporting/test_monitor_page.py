"""The page about new rows: it stands alone, and shows names and cells as text."""

from __future__ import annotations

from test_look_page import Page
from test_monitor_text import facts_of, facts_of_test

from tabcohort.reporting.monitor_page import monitor_page


def test_the_page_stands_alone() -> None:
    text = monitor_page(facts_of(), "new.csv")
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe", "a"} & set(page.tags)
    assert "src" not in page.attributes
    assert "url(" not in text
    assert "No change was found" in page.text
    assert "Changes" not in page.text
    assert "Quality" not in page.text


def test_names_and_messages_are_text_and_alarms_are_marked() -> None:
    attack = '<script>alert("x")</script>'
    known = {"value": 0.75, "low": 0.5, "high": 1.0}
    facts = facts_of(
        alarm=True, findings=[f"the column {attack} is missing"],
        schema={"missing_columns": [], "new_columns": [f"{attack} 2"], "unreadable": []},
        tests=[facts_of_test(f"{attack} 3", alarm=True), facts_of_test()],
        not_tested=[{"subject": f"{attack} 4", "reason": "& so on"}],
        quality={"n_rows": 4, "metrics": {"brier": {"label": "Brier score", "promised": known, "measured": known}}},
    )  # fmt: skip
    page = Page(monitor_page(facts, f"{attack} 5"))
    assert "script" not in page.tags
    for text in (
        f"the column {attack} is missing",
        f"{attack} 2",
        f"{attack} 3",
        f"{attack} 4",
        "& so on",
        f"{attack} 5",
    ):
        assert text in page.text
    assert page.attributes["class"].count("finding") == 2  # one in the list, and one row of the table
    assert "Brier score" in page.text

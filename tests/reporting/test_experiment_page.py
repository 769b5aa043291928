"""The page of an experiment stands alone, shows every fact, and shows texts as text."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from test_report_page import CHROMIUM, MAX_BYTES, Page, opened

from tabcohort.reporting.experiment_page import count_verdicts, duration, experiment_page
from tabcohort.reproduce.claims import CANNOT, Compared, Measured, order_claim, value_claim
from tabcohort.reproduce.findings import Findings, Mistake, Row, Sheet, spread
from tabcohort.reproduce.pictures import Bar, Bars, Confusions, Curves, mean_curve

PAYLOAD = "</style><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[2J"


def findings(text: str = "word") -> Findings:
    value = value_claim(f"figure {text}", f"place {text}", 0.5, Measured(f"m {text}", spread([0.5, 0.7]), ".1%"))
    order = order_claim("order", "place", Compared("a", 1.0, {0: 1.0, 1: 2.0}), Compared("b", 2.0, {0: 3.0, 1: 5.0}))
    return Findings(
        f"name {text}",
        f"title {text}",
        (f"note {text}",),
        (Sheet(f"sheet {text}", (f"column {text}",), (Row(f"row {text}", (f"cell {text}",)), Row("r", (None,)))),),
        (Mistake(f"errs {text}", f"effect {text}", {}),),
        75.0,
        (f"account {text}",),
        (f"protocol {text}",),
        (
            value,
            replace(order, verdict=CANNOT, reason=f"reason {text}"),
            order_claim("none", "", *2 * (Compared("a", 1.0, {}),)),
        ),
        (
            Curves(f"curves {text}", (f"x {text}", "y"), (mean_curve(f"curve {text}", [[1.0, 2.0]]),), f"below {text}"),
            Bars(f"bars {text}", (Bar(f"bar {text}", spread([1.0]), 2.0),)),
            Confusions(f"confusions {text}", (f"no {text}", "yes"), {f"ours {text}": ((1, 2), (3, 4))}),
        ),
    )


@pytest.fixture(scope="module")
def page() -> str:
    return experiment_page(findings().to_dict(), "tabcohort reproduce wine")


def test_the_page_stands_alone_and_runs_nothing(page: str) -> None:
    parsed = Page(page)
    assert len(page.encode()) < MAX_BYTES
    assert not {"script", "img", "link", "iframe", "form"} & {tag for tag, _ in parsed.elements}
    assert not {name for _, name, _ in parsed.attributes} & {"src", "href", "style"}
    assert not re.search(r"https?://|url\(|@import|\{\{|\{%", page)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{hashed}'" in page


def test_every_fact_is_on_the_page(page: str) -> None:
    text = Page(page).text
    for kind in (
        "title", "note", "sheet", "column", "row", "cell", "account", "protocol", "figure", "place", "reason", "curves",
        "curve", "bars", "confusions", "below", "name",
    ):  # fmt: skip
        assert f"{kind} word" in text
    assert "The document errs word. Measured: effect word." in text
    assert "m word: 60.0% ± 14.1%" in text
    assert "difference: +2.500 ± 0.707" in text
    assert "Claims of the document: 3. Holds: 1; can't hold: 1; not decided: 1." in text
    assert "Orange marks are the document's figures" in text
    assert page.count('<svg class="figure') == 3
    assert re.findall(r'class="mark (\w+)"', page) == ["yes", "no", "open"]


def test_texts_are_shown_as_text() -> None:
    page = experiment_page(findings(PAYLOAD).to_dict(), f"tabcohort {PAYLOAD}")
    parsed = Page(page)
    assert not {"script", "img"} & {tag for tag, _ in parsed.elements}
    assert parsed.text.count("<script>") > 20
    assert "\x1b" not in page


def test_a_page_without_claims_and_pictures_has_no_empty_sections() -> None:
    page = experiment_page(Findings("grid", "t", (), (), (), 600.0).to_dict(), "tabcohort")
    assert re.findall(r'<section id="(\w+)"', page) == ["summary", "tables"]
    assert "Measured in 10 min" in page


def test_verdicts_are_counted_and_times_are_rounded() -> None:
    verdicts = [{"verdict": verdict} for verdict in ("holds", "does not hold", "does not hold")]
    assert count_verdicts(verdicts) == "Claims of the document: 3. Does not hold: 2; holds: 1."
    assert (duration(99.4), duration(100.0)) == ("99 s", "2 min")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_browser_asks_for_nothing(page: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    _, messages, asked = opened(tmp_path / "page.html", tmp_path)
    assert asked == []
    assert "CONSOLE" not in messages

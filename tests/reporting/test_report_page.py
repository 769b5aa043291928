"""The page of a report: it stands alone, is complete without its script, and shows names and cells as text."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import SINGLE, fit_quickly, make_rows

from tabcohort import Predictor, Table
from tabcohort.errors import printable
from tabcohort.model.report_facts import report_facts
from tabcohort.model.report_table import ReportTable
from tabcohort.reporting.figures import count
from tabcohort.reporting.report_page import (
    end_of,
    interval,
    number,
    percent,
    report_page,
    signed,
    start_threshold,
)

VOID = {"meta", "link", "input", "br"}
MAX_BYTES = 3 * 2**20
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NAME, LABEL, CELL, TITLE = "NAMEofCOLUMN", "LABELofCLASS", "CELLofTABLE", "TITLEofPAGE"  # replaced by payloads


class Page(HTMLParser):
    """Collects the elements and the text of a page, and checks that what opens closes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value) for name, value in attrs]
        assert len({name for name, _ in attrs}) == len(attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("script", "style"):
            self.text += data


def named_frame(n_rows: int = 120) -> pl.DataFrame:
    """Return a frame with names, labels and cells to replace, of three classes."""
    X, codes = make_rows(n_rows, n_classes=3)
    return pl.DataFrame(
        {
            f"{NAME}1": X[:, 0],
            f"{NAME}2": X[:, 1],
            f"{NAME}3": np.array([f"{CELL}1", f"{CELL}2", f"{CELL}3"])[np.arange(n_rows) // 7 % 3],
            f"{NAME}4": [f"{CELL}{i}" for i in range(n_rows)],
            f"{NAME}5": np.array([f"{LABEL}1", f"{LABEL}2", f"{LABEL}3"])[codes],
        }
    )


@pytest.fixture(scope="module")
def named() -> dict[str, Any]:
    """The facts of a model of `named_frame()`, with this table."""
    frame = named_frame()
    model = fit_quickly(Table.from_frame(frame, f"{NAME}5", keys=[f"{NAME}4"]), model="logistic")
    return report_facts(model, ReportTable.of(frame, model), [f"{NAME}1"], CELL)


@pytest.fixture(scope="module")
def pages(predictor: Predictor, three_classes: Predictor, named: dict[str, Any]) -> dict[str, str]:
    """Pages of several kinds of models."""
    single = fit_quickly(settings=SINGLE, model="logistic")
    asked = predictor.with_decision_rule("sensitivity>=0.8")
    models = {"two": predictor, "three": three_classes, "single": single, "asked": asked}
    return {name: report_page(report_facts(own), f"{name}.tabcohort") for name, own in models.items()} | {
        "table": report_page(named, TITLE)
    }


KINDS = pytest.mark.parametrize("kind", ["two", "three", "single", "asked", "table"])


@KINDS
def test_the_page_stands_alone_and_is_small(pages: dict[str, str], kind: str) -> None:
    text = pages[kind]
    page = Page(text)
    assert text.startswith("<!doctype html>\n")
    assert len(text.encode()) < MAX_BYTES
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "iframe", "object", "embed", "base", "form", "image", "use", "foreignobject", "animate"}
    names = {name for _, name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")} | (names & {"src", "srcset", "style", "action"})
    links = [(tag, value) for tag, name, value in page.attributes if name == "href"]
    assert all(value and (value.startswith("#") or (tag, value) == ("link", "data:,")) for tag, value in links)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(set(ids)) == len(ids)
    assert {value[1:] for tag, value in links if value and tag == "a"} <= set(ids)
    assert not re.search(r"https?://|url\(|@import|\{\{|\{%", text)


@KINDS
def test_only_its_own_style_and_script_are_allowed(pages: dict[str, str], kind: str) -> None:
    text = pages[kind]
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    for name, own in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in html.unescape(policy)
    assert html.unescape(policy).startswith("default-src 'none'; ")
    assert "unsafe" not in policy


@KINDS
def test_every_figure_says_what_it_shows(pages: dict[str, str], kind: str) -> None:
    page = Page(pages[kind])
    figures = [names for tag, names in page.elements if tag == "svg"]
    assert len(figures) > 10
    assert all("aria-label" in names and "role" in names for names in figures)
    assert all(value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label"))
    wide = [names for tag, names in page.elements if tag == "div" and "tabindex" in names]
    assert all("aria-label" in names for names in wide)  # what scrolls can be reached by keyboard


def test_the_figures_of_the_facts_are_on_the_page(predictor: Predictor) -> None:
    document = report_facts(predictor)
    text = Page(report_page(document, "two.tabcohort")).text
    for metric in document["evaluation"]["metrics"].values():
        assert f"{metric['value']:.4f}" in text
        assert f"{metric['low']:.4f} to {metric['high']:.4f}" in text
    half = document["one_against_rest"][0]["thresholds"][49]
    assert interval(half["accuracy"], "percent").partition(" ")[0] in text
    assert document["fingerprint"] in text
    assert "each predicted by members that never saw it" in text
    assert "tabcohort report MODEL --table TABLE" in text


def test_rows_have_their_reasons_and_it_is_said_whose_they_are(named: dict[str, Any], predictor: Predictor) -> None:
    own = named["hardest"]["least_sure"][0]["reasons"]["columns"][0]
    value = own["value"]
    cell = "missing" if value is None else value if isinstance(value, str) else f"{value:.6g}"
    text = re.sub(r"\s+", " ", Page(report_page(named, TITLE)).text)
    assert f"{signed(own['contribution'])} {own['name']} = {cell}" in text
    assert "They are those of the members that were tested on the row and so never saw it" in text
    other = with_payload(named, "")
    other["hardest"] |= {"explained_by": "model"}
    other["hardest"]["least_sure"][0]["reasons"] = None
    text = Page(report_page(other, TITLE)).text
    assert "They are those of the whole model." in text
    assert "not known" in text
    assert "strongest reasons</th>" not in report_page(report_facts(predictor), TITLE)  # without a table


def test_another_table_is_said_to_be_another(predictor: Predictor) -> None:
    X, codes = make_rows(60, seed=3)
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"])
    frame = frame.with_columns(target=pl.Series(np.array(["no", "yes"])[codes]))
    document = report_facts(predictor, ReportTable.of(frame, predictor), source="next_year.csv")
    text = Page(report_page(document, "two.tabcohort")).text
    assert "The figures of this page are of the 60 rows of next_year.csv, which is not the table" in text


def test_many_rare_or_seldom_predicted_classes_are_one_line_each() -> None:
    X, codes = make_rows(n_rows=62)
    facts = report_facts(fit_quickly(Table.from_arrays(X, np.array(["a", "b"])[codes]), SINGLE))
    facts["evaluation"]["rare_classes"] = [f"rare {number}" for number in range(900)]
    facts["evaluation"]["seldom_predicted"] = [
        {"label": f"seldom {number}", "count": 5.0, "predicted": 0.0, "remedy": "a remedy"} for number in range(500)
    ]
    text = " ".join(Page(report_page(facts, "many")).text.split())
    assert (
        "900 classes have fewer than 10 rows each, so their figures are unreliable: rare 0, rare 1, rare 2 and" in text
    )
    assert "of the classes: seldom 0, seldom 1, seldom 2 and 497 more. What helps: a remedy." in text
    assert "seldom 3" not in text


def test_a_page_of_unknown_figures_is_complete() -> None:
    """Of a split that tests no row of one of the classes."""
    X, codes = make_rows(n_rows=62)
    labels = np.array(["a", "b"])[codes]
    labels[:2], labels[2:4] = "rare", "seldom"
    model = fit_quickly(Table.from_arrays(X, labels), SINGLE)
    page = Page(report_page(report_facts(model), "rare"))
    assert "fewer than 10 rows" in page.text


def test_values_for_the_script_are_those_of_the_facts(pages: dict[str, str], predictor: Predictor) -> None:
    (text,) = re.findall(r'<script type="application/json" id="thresholds">(.*?)</script>', pages["two"])
    values = json.loads(text)
    own = report_facts(predictor)["one_against_rest"][0]
    assert values["classes"][0]["confusion"] == [rates["confusion"] for rates in own["thresholds"]]
    assert values["classes"][0]["precision"][49] == list(own["thresholds"][49]["precision"].values())
    assert values["start"] == 0.5


# -- names, labels and cells are text --------------------------------------------------------------------------------

TAGS = (
    "script", "img src=x onerror=alert(1)", "svg onload=alert(1)", "iframe src=javascript:alert(1)", "/title", "/style",
    "/script", "!--", "base href=//x", "meta http-equiv=refresh content=0", "link rel=stylesheet href=//x", "/svg",
    "/body", "template", "textarea", "plaintext", "style", "details open ontoggle=alert(1)", "math", "input autofocus",
)  # fmt: skip
PAYLOADS = [
    *(f"<{tag}>" for tag in TAGS),
    *(f"{quote} onmouseover={quote}alert(1)" for quote in ('"', "'", "`", "&quot;", "&#34;")),
    *(f'"><{tag}>' for tag in TAGS),
    *(f"</script><{tag}>" for tag in TAGS),
    *("{{ 7 * 7 }}", "{% for x in () %}", "{# #}", "{{ config }}", "${7*7}", "<%= 7 %>", "{{ '<b>' | safe }}", "#{7}"),
    *(f"a{chr(code)}b" for code in (0, 1, 8, 9, 10, 13, 27, 0x7F, 0x85, 0x2028, 0x2029, 0x202E, 0x2066)),
    *("]]>", "<![CDATA[", "&lt;script&gt;", "&amp;lt;", "&#x3c;b>", "javascript:alert(1)", "data:text/html,x", "-->"),
    *("\\u003cscript>", "%3Cscript%3E", "<ſcript>", "＜script＞", "<scr\x00ipt>", "x" * 3_000),
]


def test_there_are_a_hundred_payloads() -> None:
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 100


def with_payload(value: Any, payload: str) -> Any:
    """Return facts in which each word that stands for a name, label or cell is followed by a payload."""
    if isinstance(value, str):
        return re.sub(rf"(?:{NAME}|{LABEL}|{CELL}|{TITLE})\d*", lambda match: match[0] + payload, value)
    if isinstance(value, dict):
        return {with_payload(key, payload): with_payload(item, payload) for key, item in value.items()}
    return [with_payload(item, payload) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("start", range(0, len(PAYLOADS), 10))
def test_payloads_change_text_only(named: dict[str, Any], pages: dict[str, str], start: int) -> None:
    """Ten at once: of one that is not inert, the text would lack what follows, or the page have other elements."""
    payload = "".join(PAYLOADS[start : start + 10])
    text = report_page(with_payload(named, payload), TITLE + payload)
    page, plain = Page(text), Page(pages["table"])
    assert page.elements == plain.elements
    scripts = re.findall(r"<script.*?</script>", text, re.DOTALL)
    assert len(scripts) == 2
    assert scripts[1] in pages["table"]
    values = json.loads(scripts[0].partition(">")[2].removesuffix("</script>"))
    shown = printable(payload)
    assert values["classes"][0]["label"].endswith(shown)
    for word in (NAME, LABEL, CELL, TITLE):
        assert re.search(re.escape(word) + r"\d*" + re.escape(shown), page.text), word
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)


# -- numbers as text -------------------------------------------------------------------------------------------------


def test_numbers_are_text() -> None:
    estimate = {"value": 0.5, "low": -0.25, "high": 1.0}
    assert interval(estimate) == "0.500 (−0.250 to 1.000)"
    assert interval(estimate, "loss") == "0.5000 (−0.2500 to 1.0000)"
    assert interval({"value": None, "low": None, "high": None}) == "–"
    assert (percent(0.1234, 2), number(None), end_of(estimate, "percent", "low")) == ("12.34%", "–", "−25.0%")
    assert (count(1234), count(12.5), count(1234.5), count(3.0)) == ("1,234", "12.5", "1,234", "3")


def test_the_first_threshold_is_that_of_the_model() -> None:
    values = (None, 0.3, 0.001, 0.9999)
    assert [start_threshold({"threshold": {"value": value}}) for value in values] == [0.5, 0.3, 0.01, 0.99]


# -- in a browser ----------------------------------------------------------------------------------------------------


def opened(page: Path, folder: Path) -> tuple[str, str, list[str]]:
    """Return the elements of a page after its script has run, what the browser says, and what the page asks for.

    What the browser itself asks for, such as updates, has no page that it is asked by.
    """
    log = folder / "requests.json"
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--no-first-run", "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=3000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    starts = [event["params"] for event in events if "initiator" in event.get("params", {})]
    asked = [start["url"] for start in starts if start["initiator"] != "not an origin"]
    return ran.stdout, ran.stderr, asked


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize("kind", ["two", "table"])
def test_a_browser_asks_for_nothing_and_the_slider_shows_the_facts(
    pages: dict[str, str], predictor: Predictor, kind: str, tmp_path: Path
) -> None:
    moved = pages[kind].replace('step="1" value="50"', 'step="1" value="80"')
    assert moved != pages[kind]
    (tmp_path / "report.html").write_text(moved, encoding="utf-8")
    dom, messages, asked = opened(tmp_path / "report.html", tmp_path)
    assert 'class="has-script"' in dom
    assert asked == []
    assert "CONSOLE" not in messages
    if kind == "two":
        own = report_facts(predictor)["one_against_rest"][0]["thresholds"][79]
        ids = ("true-positive", "false-negative", "false-positive", "true-negative")
        cells = [re.findall(rf'id="{name}">([^<]*)<', dom)[0] for name in ids]
        assert cells == [f"{weight:.0f}" for weight in own["confusion"]]
        assert re.findall(r'id="rate-accuracy">([^<]*)<', dom) == [interval(own["accuracy"], "percent")]
        assert f'id="cost">{100 * sum(own["confusion"][1:3]) / 90:.2f}<' in dom
        x = 52 + (1 - own["specificity"]["value"]) * (340 - 52 - 12)
        (mark,) = re.findall(r'cx="([\d.]+)"[^>]*data-mark="roc"', dom)
        assert float(mark) == pytest.approx(x, abs=0.1)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_the_browser_would_notice_a_request(tmp_path: Path) -> None:
    page = '<img src="http://elsewhere.test/x.png"><script>console.log("hello"); nothing()</script>'
    (tmp_path / "bad.html").write_text(page, encoding="utf-8")
    _, messages, asked = opened(tmp_path / "bad.html", tmp_path)
    assert asked == ["http://elsewhere.test/x.png"]
    assert "CONSOLE" in messages


def test_configs_that_a_budget_stopped_early_are_marked_in_the_table(predictor: Predictor) -> None:
    facts = report_facts(predictor)
    note = "more training could lower the config"
    assert note not in Page(report_page(facts, "model")).text
    facts["configs"]["ranking"][0].update(n_stopped=1, n_not_begun=1)
    text = Page(report_page(facts, "model")).text
    assert "of 3 members 1 stopped early, 1 not begun" in text
    assert note in text


@KINDS
def test_the_contents_have_the_names_and_the_order_of_the_headings(pages: dict[str, str], kind: str) -> None:
    text = pages[kind]
    contents = re.findall(r'<li><a href="#([\w-]+)">([^<]+)</a></li>', text)
    headings = re.findall(r'<section id="([\w-]+)"><h2>([^<]+)</h2>', text)
    assert contents == headings
    assert len(headings) > 10


def test_the_contents_of_a_page_with_a_learning_curve_name_it(predictor: Predictor) -> None:
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    curve = {
        "points": [{"share": share, "n_train": 60 * share, "log_loss": estimate} for share in (0.5, 1.0)],
        "curves": [
            {"family": family, "limit": 0.4, "drop": 0.1, "rate": 1.0, "drawn": [[0.5, 0.5], [2.0, 0.45]]}
            for family in ("power", "exponential")
        ],
        "forecasts": [{"factor": 2.0, "n_rows": 180, "gain": estimate}],
        "conclusion": "more", "is_complete": True,
    }  # fmt: skip
    text = report_page({**report_facts(predictor), "learning_curve": curve}, "model")
    assert re.findall(r'<li><a href="#([\w-]+)">([^<]+)</a></li>', text) == re.findall(
        r'<section id="([\w-]+)"><h2>([^<]+)</h2>', text
    )
    assert ">Would more rows help?</a>" in text

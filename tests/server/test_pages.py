"""The pages: forms made of the schema, answers in sentences, and text from anywhere is inert."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import polars as pl
import pytest
from asking import Server, record_of
from helpers import fit_quickly

from tabcohort import Prediction, Predictor, Table, save
from tabcohort.server.model_store import load_model
from tabcohort.server.pages import MAX_CHOICES, html_of_markdown, percent, record_of_form, set_sentence_of
from tabcohort.server.problems import PROBLEM, Problem

FORM = {"content-type": "application/x-www-form-urlencoded"}


def form_of(record: dict[str, Any]) -> str:
    """Return the body of a form that holds a record."""
    texts = {True: "yes", False: "no", None: ""}
    return urlencode(
        {
            f"c{i}": texts.get(cell, cell) if isinstance(cell, bool | None) else cell
            for i, cell in enumerate(record.values())
        }
    )


def text_of(page: str) -> str:
    """Return what a page says, without its tags."""
    return re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]*>", " ", page)))


def test_the_form_has_a_field_for_each_column_filled_with_a_typical_record(server: Server, mixed: Predictor) -> None:
    page = server("mixed").get("/models/mixed")
    assert page.status_code == 200
    assert re.findall(r'data-column="([^"]*)"', page.text) == list(mixed.schema.features)
    assert '<option value="another value">another value</option>' in page.text
    assert 'type="date"' in page.text
    assert "most rows:" in page.text
    assert "Not a medical device" in page.text
    assert "unsafe" not in page.headers["content-security-policy"]


def test_an_answer_is_a_sentence_with_the_numbers_of_the_library(
    server: Server, mixed: Predictor, visits: pl.DataFrame
) -> None:
    record = record_of(visits, 4, mixed.schema.features)
    page = server("mixed", background=visits).post("/models/mixed", content=form_of(record), headers=FORM)
    prediction = mixed.predict_row(record)
    said = text_of(page.text)
    assert (
        f"outcome: {prediction.label}, with a probability of {percent(prediction.probability[prediction.label])}"
        in said
    )
    assert ("abstains" in said) == (len(prediction.classes) != 1)
    assert "Contributions" in said
    assert "Similar rows" in said
    assert re.search(r'<th scope="row">5</th><td class="number">0\.0\d\d</td>', page.text)  # itself


def test_without_rows_to_compare_with_the_page_says_how_to_give_some(server: Server) -> None:
    page = server().post("/models/two", content=form_of({"x0": 1, "x1": 2, "x2": 3}), headers=FORM)
    assert "--background TABLE" in page.text
    assert "Contributions" not in page.text


def test_an_empty_field_is_a_missing_cell_and_a_number_with_a_comma_is_none(predictor: Predictor) -> None:
    columns = predictor.schema.columns
    assert record_of_form(b"c0=1.5&c1=&c2=+2e3+", columns) == {"x0": 1.5, "x1": None, "x2": 2000.0}
    assert record_of_form(b"c0=1%2C234", columns)["x0"] == "1,234"  # which could be either
    assert record_of_form(b"", columns) == {"x0": None, "x1": None, "x2": None}
    assert record_of_form(b"c0=nan&c1=1%2C000.5", columns) == {"x0": "nan", "x1": "1,000.5", "x2": None}
    for body in (b"\xff", b"c0", b"&".join(b"c0=1" for _ in range(5_001))):
        with pytest.raises(Problem) as caught:
            record_of_form(body, columns)
        assert caught.value.status == 400


def test_a_field_that_is_wrong_is_marked_and_keeps_its_text(server: Server) -> None:
    page = server().post("/models/two", content=form_of({"x0": "1o", "x1": 2, "x2": 3}), headers=FORM)
    assert page.status_code == 422
    assert "the column 'x0' must be a number or left empty" in html.unescape(page.text)
    assert 'value="1o"' in page.text
    assert "No prediction" in page.text
    assert server().post("/models/two", json={"x0": 1}).status_code == 415


def test_a_number_far_outside_is_warned_of(server: Server) -> None:
    page = server().post("/models/two", content=form_of({"x0": 1e6, "x1": 2, "x2": 99}), headers=FORM)
    said = text_of(page.text)
    assert "Do not rely on it: far from the training rows in 'x0'" in said
    assert "Outside the range of most training rows: x0, x2" in said


def test_all_pages_are_there(server: Server) -> None:
    client = server("two", "three")
    assert "two" in client.get("/").text
    for path in (
        "/models/two/table",
        "/models/two/about",
        "/docs",
        "/static/screen.js",
        "/static/screen.css",
        "/static/icon.svg",
    ):
        assert client.get(path).status_code == 200
    assert "out-of-fold" in client.get("/models/two/about").text
    assert "POST /v1/models/{name}/predict" in text_of(client.get("/docs").text)
    alone = server("two").get("/", follow_redirects=False)
    assert (alone.status_code, alone.headers["location"]) == (303, "/models/two")


class Elements(HTMLParser):
    """The elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts: list[str | None] = []
        self.comments: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "script":
            self.scripts.append(dict(attrs).get("src"))

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


PAYLOADS = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'onfocus='alert(1)", "{{ 7*7 }}", "{% raw %}",
    "</title><b>", "javascript:alert(1)", "<svg/onload=alert(1)>", "--><b>", "&lt;b&gt;", "</textarea><b>", "<!--",
    "]]><b>", "\x00<b>", "\u202e<b>",
    "a\r\nset-cookie: x=1", "${7*7}", "<b>" * 3, "`<b>`", "</option><b>",
]  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS)
def test_text_of_the_data_and_of_requests_is_inert(payload: str, server: Server, files: Any) -> None:
    frame = pl.DataFrame(
        {
            f"a{payload}": [payload, "x", "y"] * 20,
            "n": [i % 31 + i / 7 for i in range(60)],
            "y": [f"no{payload}", "yes"] * 30,
        }
    )
    model = fit_quickly(Table.from_frame(frame, "y", types={f"a{payload}": "category"}))
    save(model, files / "hostile.tabcohort")
    client = server("hostile", background=frame)
    pages = [
        client.get(path).text for path in ("/models/hostile", "/models/hostile/about", "/models/hostile/table", "/docs")
    ]
    answer = client.post("/models/hostile", content=form_of({"a": payload, "n": payload}), headers=FORM)
    good = client.post("/models/hostile", content=form_of({"a": payload, "n": 5}), headers=FORM)
    assert (answer.status_code, good.status_code) == (422, 200)
    assert "set-cookie" not in good.headers
    for page in (*pages, answer.text, good.text):
        elements = Elements(page)
        assert not elements.tags & {"b", "img", "title/b", "textarea"}
        assert elements.scripts == ["/static/screen.js"]
        assert not [name for name in elements.attributes if name.startswith("on")]
        assert not elements.comments
    if "7*7" in payload:
        assert payload in html.unescape(good.text)


def test_a_category_of_many_levels_is_typed_with_suggestions(server: Server, files: Any) -> None:
    levels = [f"level {i % (MAX_CHOICES + 50)}" for i in range(2 * (MAX_CHOICES + 50))]
    frame = pl.DataFrame({"a": levels, "y": ["no", "yes"] * (MAX_CHOICES + 50)})
    save(fit_quickly(Table.from_frame(frame, "y", types={"a": "category"})), files / "many.tabcohort")
    page = server("many").get("/models/many").text
    assert "<datalist" in page
    assert page.count("<option") <= MAX_CHOICES + 1


def test_the_card_is_shown_as_a_part_of_the_page(server: Server) -> None:
    page = server().get("/models/two/about").text
    assert "<h4>Model Details</h4>" in page
    assert "<td>" in page.partition('<div class="card wide"')[2]
    assert "license:" not in page


TABLE = (
    '<table>\n<thead>\n<tr>\n<th>a</th>\n<th class="number">b</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>c</td>\n'
    '<td class="number">1</td>\n</tr>\n</tbody>\n</table>\n'
)


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("# a\n\nb *c*", "<h3>a</h3>\n<p>b <em>c</em></p>\n"), ("##### a", "<h6>a</h6>\n"),
        ("a\x1b[31m", "<p>a\\x1b[31m</p>\n"), ("<b>a</b>", "<p>&lt;b&gt;a&lt;/b&gt;</p>\n"),
        ("|a|b|\n|-|-:|\n|c|1|", TABLE),
        ("[a](javascript:b)", "<p>[a](javascript:b)</p>\n"), ("![a](b)", '<p>!<a href="b">a</a></p>\n'),
    ],
)  # fmt: skip
def test_markdown_becomes_html_that_runs_nothing(text: str, markup: str) -> None:
    assert html_of_markdown(text) == markup


def test_a_person_sees_problems_as_pages_and_a_program_as_documents(server: Server) -> None:
    client, browser = server(), {"accept": "text/html,*/*;q=0.8"}
    for path in ("/nothing", "/models/other", "/models/other/about"):
        page = client.get(path, headers=browser)
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "<h1>Not found</h1>" in page.text
        assert client.get(path).headers["content-type"] == PROBLEM
    assert client.get("/v1/models/other", headers=browser).headers["content-type"] == PROBLEM


def test_the_reference_has_parameters_and_columns(server: Server) -> None:
    page = server("mixed").get("/docs").text
    assert "<code>columns</code>" in page
    assert "all by default" in page
    assert "<dt><code>size</code></dt><dd>number</dd>" in page


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("yes",), "The prediction set, which holds the true class of 90 % of such rows, has only yes."),
        (
            ("no",),
            "The model abstains: its prediction set, which holds the true class of 90 % of such rows, has only no",
        ),
        ((), "The model abstains: no class is likely enough"),
        (("no", "yes"), "The model abstains: no and yes are both possible"),
    ],
)
def test_a_set_that_is_not_just_the_predicted_class_is_an_abstention(
    classes: tuple[str, ...], said: str, files: Any
) -> None:
    prediction = Prediction("yes", {"no": 0.4, "yes": 0.6}, 0.1, classes)
    assert prediction.abstains == (classes != ("yes",))
    assert set_sentence_of(load_model("two", files / "two.tabcohort"), prediction).startswith(said)


def test_the_columns_that_are_not_shown_are_summed(server: Server, mixed: Predictor, visits: pl.DataFrame) -> None:
    record = record_of(visits, 4, mixed.schema.features)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tabcohort.server.pages.MAX_CONTRIBUTIONS", 2)
        page = server("mixed", background=visits).post("/models/mixed", content=form_of(record), headers=FORM)
    said = text_of(page.text)
    assert f"{len(mixed.schema.features) - 2} other columns together" in said
    shares = re.findall(r"([+-]\d+\.\d+) ±|together ([+-]\d+\.\d+)", said)
    base, output = re.search(r"rows is ([+-][\d.]+); with the contributions, ([+-][\d.]+)\.", said).groups()  # type: ignore[union-attr]
    assert sum(float(a or b) for a, b in shares) == pytest.approx(float(output) - float(base), abs=0.003)


def test_a_time_is_a_field_for_times(server: Server, visits: pl.DataFrame) -> None:
    for background in (None, visits):
        page = server("mixed", background=background).get("/models/mixed").text
        (field,) = re.findall(r'data-column="when" type="datetime-local" value="([^"]*)"', page)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", field)

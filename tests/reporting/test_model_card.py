"""The model card says what the facts say, and shows names and labels as text, whatever they hold."""

from __future__ import annotations

import ast
import re
import shlex
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import SINGLE, fit_quickly, make_rows
from markdown_it import MarkdownIt

from tabcohort import Predictor, Table
from tabcohort.model.report_facts import report_facts
from tabcohort.model.report_table import ReportTable
from tabcohort.reporting.model_card import LIMITS, escape_markdown, model_card

HEADINGS = (
    "Model Card for TITLE", "Model Details", "Uses", "Direct Use", "Out-of-Scope Use",
    "Bias, Risks, and Limitations", "How to Get Started with the Model", "Training Details", "Training Data",
    "Training Procedure", "Evaluation", "Testing Data", "Results",
)  # fmt: skip
PAYLOADS = (
    "*x* _y_ **z**", "[a](http://b.c)", "![a](b)", "<script>alert(1)</script>", "a|b|c", "`code`", "<!-- x",
    "&lt;b&gt;", "# head", "- item", "$x^2$", "~~gone~~", "line\nbreak", "back\\slash\\", "{{ 7*7 }} {% if %}",
    "<http://a.b>", "[x]: y",
)  # fmt: skip


def parsed(card: str) -> list[Any]:
    """Return the tokens of a card without its front matter, those inside of lines too."""
    front, body = card.split("\n---\n", 1)
    assert front.startswith("---\n")
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body)
    return [inner for token in tokens for inner in [token, *(token.children or [])]]


def shown(card: str) -> str:
    """Return what a reader sees of a card."""
    return "".join(token.content for token in parsed(card) if token.type in ("text", "text_special", "code_inline"))


def named_predictor(name: str) -> tuple[Predictor, ReportTable]:
    """Return a model and its table, whose columns, target and labels have this name in them."""
    X, codes = make_rows()
    cells = {f"1{name}": X[:, 0], f"2{name}": np.array([f"l{name}", f"m{name}"])[np.arange(len(X)) % 2]}
    cells |= {f"3{name}": [f"{name}{i}" for i in range(len(X))], f"t{name}": np.array([f"a{name}", f"b{name}"])[codes]}
    frame = pl.DataFrame(cells)
    types = {f"2{name}": "category"}
    predictor = fit_quickly(Table.from_frame(frame, f"t{name}", keys=[f"3{name}"], types=types), model="logistic")
    return predictor, ReportTable.of(frame, predictor)


def test_the_card_has_the_headings_of_a_model_card(predictor: Predictor) -> None:
    tokens = parsed(model_card(report_facts(predictor), "TITLE"))
    headings = [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]
    assert tuple(headings) == HEADINGS


def test_the_metrics_are_there_with_their_intervals(predictor: Predictor) -> None:
    card = model_card(report_facts(predictor), "TITLE")
    for estimate in predictor.report.evaluation.metrics.values():
        assert f"| {estimate.value:,.4f} | {estimate.low:,.4f} to {estimate.high:,.4f} |" in card
    assert f"`{predictor.report.fingerprint}`" in card
    assert "90 of the 90 training rows, each predicted by members that never saw it (out-of-fold)." in card
    assert "Subgroups on which the model is worse were not searched for" in card
    assert "- **Positive class:** yes\n" in card


@pytest.mark.parametrize("payload", PAYLOADS)
def test_names_and_labels_are_shown_as_they_are_and_change_nothing_else(payload: str) -> None:
    kinds = []
    for name in ("plain", payload):
        predictor, table = named_predictor(name)
        facts = report_facts(predictor, table, source=name)
        facts["subgroups"]["search"]["found"] = []
        card = model_card(facts, f"model {name}")
        kinds.append([token.type for token in parsed(card) if token.type not in ("text", "text_special")])
        visible = name.replace("\n", "\\n")
        for text in (f"Model Card for model {visible}", f"a{visible}", f"b{visible}", f"1{visible}", f"3{visible}"):
            assert text in shown(card)
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("name", ["a b.tabcohort", 'it\'s "`x`" $(y).tabcohort', "```\n# head", "<b>&*c*.tabcohort"])
def test_the_commands_of_the_card_name_the_file_whatever_it_is_called(predictor: Predictor, name: str) -> None:
    card = model_card(report_facts(predictor), "TITLE", name)
    shell, python = (token.content for token in parsed(card) if token.type == "fence")
    visible = name.replace("\n", "\\n")
    assert shlex.split(shell) == ["tabcohort", "predict", visible, "TABLE.csv"]
    assert ast.literal_eval(re.findall(r"load\((.*)\)\n", python)[0]) == visible


def test_what_links_by_itself_on_the_web_does_not() -> None:
    assert escape_markdown("see www.a.b, https://a.b, me@a.b, #1, :smile:") == (
        "see www\\.a.b, https\\://a.b, me\\@a.b, \\#1, \\:smile\\:"
    )
    assert escape_markdown("sepal length (cm), 50 %, 1.5-2.5") == "sepal length (cm), 50 %, 1.5-2.5"


def test_parts_where_the_model_is_worse_are_named() -> None:
    predictor, table = named_predictor("x")
    facts = report_facts(predictor, table)
    part = {"label": "city = a_b", "n_rows": 40, "metrics": {"accuracy": {"value": 0.5, "low": 0.35, "high": 0.65}}}
    facts["subgroups"]["search"]["found"] = [part]
    text = "- It is worse for some rows: where city = a\\_b, accuracy 50.0% (35.0% to 65.0%) on 40 rows.\n"
    assert text in model_card(facts, "TITLE")


def test_long_lists_are_cut_and_say_so(predictor: Predictor) -> None:
    facts = report_facts(predictor)
    column = facts["schema"]["columns"][0]
    facts["schema"]["columns"] = [{**column, "name": f"column {i}"} for i in range(LIMITS["columns"] + 3)]
    facts["schema"]["dropped"] = [{**column, "name": f"dropped {i}"} for i in range(LIMITS["names"] + 2)]
    card = model_card(facts, "TITLE")
    assert card.count("| column ") == LIMITS["columns"] + 1  # with the head
    assert "\n3 more columns are in the model file" in card
    assert "dropped 19 and 2 more.\n" in card


def test_a_threshold_a_single_split_and_other_rows_are_said(predictor: Predictor) -> None:
    decided = predictor.with_decision_rule("0.3")
    assert "yes from a probability of 0.3000 on (0.3)" in model_card(report_facts(decided), "TITLE")
    single = fit_quickly(settings=SINGLE)
    assert "- A single split was tested: 18 rows." in model_card(report_facts(single), "TITLE")
    X, codes = make_rows(30, seed=3)
    frame = pl.DataFrame(X, schema=["x0", "x1", "x2"]).with_columns(target=pl.Series(np.array(["no", "yes"])[codes]))
    facts = report_facts(predictor, ReportTable.of(frame, predictor), source="new.csv")
    card = model_card(facts, "TITLE")
    assert "30 rows of new.csv, which is not the table that the model was trained on." in card
    assert "trained on fewer rows than there are" not in card

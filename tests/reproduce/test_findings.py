"""Findings: spreads over seeds, JSON values, and what is printed."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from tabcohort.reproduce.claims import Measured, counted_claim, value_claim
from tabcohort.reproduce.findings import Findings, Mistake, Row, Sheet, Spread, spread


def test_spread_is_mean_and_sample_deviation() -> None:
    assert spread([1, 2, 6]) == Spread(3.0, pytest.approx(math.sqrt(7)), 3)
    assert spread([0.5]).show(".1%") == "50.0%"
    assert spread([0.5, 0.7]).show("+.1%") == "+60.0% ± 14.1%"
    assert spread([1, 2, 6]).error == pytest.approx(math.sqrt(7 / 3))
    assert math.isnan(spread([1]).error)


def test_values_that_are_not_finite_become_null_in_json() -> None:
    sheet = Sheet("t", ("a", "b", "c"), (Row("r", (math.nan, spread([math.inf]), "words")),))
    findings = Findings("x", "x", (), (sheet,), (Mistake("errs", "so", {"f": math.nan}),), 1.0)
    document = findings.to_dict()
    cells = document["tables"][0]["rows"][0]["cells"]
    assert cells == [None, {"mean": None, "standard_deviation": None, "seeds": 1}, "words"]
    assert document["mistakes"][0]["figures"] == {"f": None}


def test_brackets_in_texts_are_printed_and_not_read_as_markup() -> None:
    out = io.StringIO()
    findings = Findings("x", "[title]", ("[note]",), (Sheet("[s]", ("[c]",), (Row("[r]", (1.0,)),)),), (), 1.0)
    findings.print(Console(file=out, width=120))
    assert all(word in out.getvalue() for word in ("[title]", "[note]", "[s]", "[c]", "[r]"))


def test_claims_and_protocols_are_printed_within_the_terminal() -> None:
    out = io.StringIO()
    claim = value_claim("Accuracy [of] the test rows", "results", 0.9, Measured("accuracy", spread([0.8, 0.9]), ".1%"))
    claims = (claim, counted_claim("Rows", "data", 2, 2))
    findings = Findings("x", "x", (), (), (), 1.0, protocols=("As it is done. " * 9,), claims=claims)
    findings.print(Console(file=out, width=60))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 60
    assert "2 claims of the document; holds: 2" in text
    assert "Accuracy [of] the test rows: 90.0%" in text
    assert "accuracy 85.0% ± 7.1%" in text
    assert text.count("As it is done.") == 9

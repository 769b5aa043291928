"""Predictions as text and as files."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from tabcohort.errors import TabcohortError
from tabcohort.reporting.prediction_files import csv_text, for_csv, json_rows, without_formulas, write_predictions

FRAME = pl.DataFrame(
    {
        "name": ["a\x1b[31m", 'b\n"c"'],
        "x\x07": [0.12345678, 1.0],
        "probability no": [0.123456789, 1.17451400102e-7],
        "spread": [0.0, 1.0],
        "set": [["no", "yes"], []],
    }
)
NUMBERS = ["probability no", "spread"]
CELLS = "0.123457,0.0,no|yes"


def test_probabilities_are_rounded_and_columns_of_the_input_are_not() -> None:
    text = csv_text(FRAME, NUMBERS, is_terminal=False)
    assert text.splitlines()[:2] == ["name,x\x07,probability no,spread,set", f"a\x1b[31m,0.12345678,{CELLS}"]
    assert text.splitlines()[3].endswith('",1.0,1.17451e-7,1.0,""')


def test_a_terminal_gets_no_control_characters() -> None:
    assert csv_text(FRAME, NUMBERS, is_terminal=True).splitlines() == [
        r"name,x\x07,probability no,spread,set",
        rf"a\x1b[31m,0.12345678,{CELLS}",
        r'"b\n""c""",1.0,1.17451e-7,1.0,""',
    ]


def test_a_column_that_a_format_cannot_hold_is_a_sentence(tmp_path: Path) -> None:
    frame = FRAME.with_columns(pl.Series("thing", [object(), object()], dtype=pl.Object))
    with pytest.raises(TabcohortError, match=r"out\.parquet' cannot be written: "):
        write_predictions(frame, str(tmp_path / "out.parquet"), NUMBERS)
    assert os.listdir(tmp_path) == []


def test_the_rows_of_csv_are_the_same_one_by_one() -> None:
    parts = [for_csv(FRAME[place : place + 1], NUMBERS).write_csv(include_header=place == 0) for place in range(2)]
    assert "".join(parts) == csv_text(FRAME, NUMBERS, is_terminal=False)


def test_json_has_all_digits_and_null_for_what_it_cannot_hold() -> None:
    rows = json_rows(FRAME.with_columns(pl.Series("x\x07", [float("nan"), float("inf")])))
    assert [row["x\x07"] for row in rows] == [None, None]
    assert [row["probability no"] for row in rows] == [0.123456789, 1.17451400102e-7]
    assert [row["set"] for row in rows] == [["no", "yes"], []]


FORMULAS = ["=cmd|' /C calc'!A0", "+1+cmd", "-1+2", "@SUM(1)", "\tx", "\rx", "\n=1", "-", "=1", "＝1"]
NO_FORMULAS = ["-1.5", "+3", "-1,234.5", "-1e5", "-5 %", "a=1", "Rome", "", " =1", "1-2", "'=1"]


def test_what_begins_as_a_formula_has_an_apostrophe_before_it_and_numbers_stay() -> None:
    cells = [*FORMULAS, *NO_FORMULAS]
    frame = pl.DataFrame({"=name": cells, "number": [-1.5] * len(cells), "set": [["=no", "yes"]] * len(cells)})
    written = without_formulas(frame.with_columns(pl.Series("kind", cells).cast(pl.Categorical)))
    expected = [*(f"'{cell}" for cell in FORMULAS), *NO_FORMULAS]
    assert written.columns == ["'=name", "number", "set", "kind"]
    assert written["'=name"].to_list() == expected
    assert written["kind"].to_list() == expected
    assert written["number"].to_list() == [-1.5] * len(cells)
    assert for_csv(written, ["number"])["set"][0] == "'=no|yes"

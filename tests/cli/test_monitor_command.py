"""`monitor`, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from shell import Run


@pytest.fixture
def drifted(csv_file: Path, tmp_path: Path) -> Path:
    """The training table with one number far higher."""
    path = tmp_path / "drifted.csv"
    pl.read_csv(csv_file).with_columns(pl.col("x1") + 3).write_csv(path)
    return path


def test_rows_that_are_alike_have_status_0(run: Run, model_file: Path, csv_file: Path) -> None:
    for options in ([], ["--against", csv_file]):
        ran = run("monitor", model_file, csv_file, *options)
        assert ran.status == 0
        assert ran.out.startswith(f"{csv_file}: 90 rows, compared with ")
        assert "No change was found" in ran.out
        is_named = "note: this is the table that the model was trained on; monitoring needs newer rows" in ran.err
        assert is_named == (options == [])


def test_a_change_has_status_1_and_a_page(run: Run, model_file: Path, drifted: Path, tmp_path: Path) -> None:
    page = tmp_path / "monitor.html"
    ran = run("monitor", model_file, drifted, "--out", page)
    assert "was trained on" not in ran.err
    assert ran.status == 1
    assert "[1] the column 'x1' has drifted: mean" in ran.out
    assert f"written  {page}" in ran.err
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_facts_are_one_json_document(run: Run, model_file: Path, drifted: Path, csv_file: Path) -> None:
    ran = run("monitor", model_file, drifted, "--against", csv_file, "--ignore", "x1", "--json")
    facts = json.loads(ran.out)
    assert facts["reference"] == "table"
    assert "'x1'" in [own["subject"] for own in facts["not_tested"]]
    assert ran.status == int(facts["alarm"])


def test_what_cannot_be_read_or_written_is_a_user_error(run: Run, model_file: Path, csv_file: Path) -> None:
    for arguments, words in (
        ([model_file, csv_file, "--out", csv_file], "is what this command reads"),
        ([model_file, csv_file, "--ignore", "x9"], "there is no column 'x9'"),
        ([model_file, csv_file, "--against", "missing.csv"], "missing.csv"),
    ):
        ran = run("monitor", *arguments)
        assert ran.status == 2
        assert words in ran.err
        assert "Traceback" not in ran.err

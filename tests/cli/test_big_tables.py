"""`fit`, `predict` and `evaluate` on a table that is larger than the memory to use."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from shell import QUICK, SMALL, Run
from streamed_tables import labelled_frame

from tabcohort import TabcohortError, load
from tabcohort.cli import big_tables
from tabcohort.reporting.prediction_files import without_formulas


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Return a folder of two Parquet files."""
    folder = tmp_path / "rows"
    folder.mkdir()
    frame = labelled_frame().select("size", "city", "target")
    frame[:100].write_parquet(folder / "1.parquet")
    frame[100:].write_parquet(folder / "2.parquet")
    return folder


@pytest.fixture
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any table be larger than memory."""
    monkeypatch.setattr("tabcohort.data.memory.BYTES_PER_CELL", 10**12)


@pytest.mark.usefixtures("_large")
def test_a_large_table_is_trained_on_predicted_and_measured(run: Run, rows: Path, tmp_path: Path) -> None:
    model, out = tmp_path / "m.tabcohort", tmp_path / "p.parquet"
    ran = run(
        "fit", rows, "--target", "target", *QUICK, *SMALL, "--memory", "1.5GB", "--out", model, "--report", "r.html"
    )
    assert ran.status == 0, ran.err
    assert (
        f"table    its rows are kept in a temporary folder in {tempfile.gettempdir()}, and not in memory\n" in ran.err
    )
    assert load(model).report.n_rows == 300
    assert run("predict", model, rows, "--out", out, "--columns", "size").err.endswith(f"300 predictions in {out}\n")
    in_parts, at_once = pl.read_parquet(out), load(model).predict_frame(pl.read_parquet(rows / "*.parquet"), ["size"])
    assert in_parts.drop("set").equals(at_once.drop("set"))
    text = run("predict", model, rows, "--columns", "none").out
    assert text.count("predicted") == 1
    assert len(text.splitlines()) == 301
    measured = json.loads(run("evaluate", model, rows, "--json").out)
    assert measured["metrics"]["accuracy"]["value"] > 0.5


def test_a_table_that_fits_is_trained_on_in_memory(run: Run, rows: Path) -> None:
    ran = run("fit", rows, "--target", "target", *QUICK, *SMALL, "--memory", "1.5GB")
    assert ran.status == 0, ran.err
    assert "table    Parquet, 2 files, 300 rows x 3 columns\n" in ran.err
    assert "kept in" not in ran.err


@pytest.mark.parametrize(
    ("options", "is_stored"),
    [
        ([], True),
        (["--key", "city"], False),
        (["--group", "city"], False),
        (["--time", "size"], False),
        (["--memory", "8GB"], False),
        (["--settings", "settings.toml"], False),
        (["--card"], False),
        (["--engine", "batched"], False),
        (["--learning-curve"], False),
        (["--audit", "shuffled"], False),
        (["--report", "report.html"], False),
    ],
)
def test_many_rows_are_in_a_store_unless_something_needs_them_in_memory(
    run: Run, rows: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], is_stored: bool
) -> None:
    monkeypatch.setattr(big_tables, "MAX_ROWS_IN_MEMORY", 299)
    monkeypatch.setattr("tabcohort.cohort.fit.fit", fit_nothing)
    Path("settings.toml").write_text("max_epochs = 3\n", encoding="utf-8")
    said = run("fit", rows, "--target", "target", *QUICK, *SMALL, *options).err
    assert ("and not in memory" in said) is is_stored
    assert ("table    Parquet, 2 files, 300 rows x 3 columns" in said) is not is_stored


@pytest.mark.usefixtures("_large")
def test_sets_of_classes_are_escaped_class_by_class(run: Run, tmp_path: Path) -> None:
    size = np.random.default_rng(0).normal(size=120)
    frame = pl.DataFrame({"size": size, "target": np.where(size > 0, "=a", "-1")})
    frame.write_parquet(tmp_path / "rows.parquet")
    command = ("fit", tmp_path / "rows.parquet", "--target", "target", *QUICK, *SMALL, "--out", "m.tabcohort")
    assert run(*command).status == 0
    texts = run("predict", "m.tabcohort", tmp_path / "rows.parquet", "--escape-formulas", "--coverage", "0.99").out
    in_memory = without_formulas(load("m.tabcohort").with_decision_rule(None, 0.99).predict_frame(frame))
    assert pl.read_csv(texts.encode(), infer_schema=False)["set"].to_list() == in_memory["set"].list.join("|").to_list()
    assert "-1|'=a" in texts


def test_a_disk_without_room_for_a_store_leaves_many_rows_in_memory(
    run: Run, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(big_tables, "MAX_ROWS_IN_MEMORY", 299)
    monkeypatch.setattr("tabcohort.data.stream_table.BYTES_PER_ROW", 10**18)
    monkeypatch.setattr("tabcohort.cohort.fit.fit", fit_nothing)
    said = run("fit", rows, "--target", "target", *QUICK, *SMALL).err
    assert "the rows are read into memory, where training takes longer: a store would need 3e+11 GB in" in said
    assert "table    Parquet, 2 files, 300 rows x 3 columns" in said
    assert said.endswith("tabcohort: it would train now\n")


def fit_nothing(*_: object) -> None:
    """Stand in for a training of which only the table matters."""
    raise TabcohortError("it would train now")


def test_a_named_store_is_kept_and_used_again(run: Run, rows: Path, tmp_path: Path) -> None:
    command = ["fit", rows, "--target", "target", *QUICK, *SMALL, "--store", tmp_path / "store"]
    assert run(*command, "--out", "one.tabcohort").status == 0
    header = (tmp_path / "store" / "store.json").read_text()
    again = run(*command, "--out", "two.tabcohort")
    assert again.status == 0
    assert f"its rows are in {tmp_path / 'store'}, the store of an earlier run, and not in memory" in again.err
    assert (tmp_path / "store" / "store.json").read_text() == header
    assert load("one.tabcohort").report.fingerprint == load("two.tabcohort").report.fingerprint
    assert "earlier run" not in run(*command, "--drop", "city", "--out", "three.tabcohort").err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--store", "s", "--learning-curve"], "--learning-curve needs all rows in memory"),
        (["--store", "s", "--audit", "shuffled"], "--audit shuffled needs all rows in memory"),
        (["--memory", "lots"], "the memory must be a number of bytes such as 1.5GB or 1500MB; it is 'lots'"),
    ],
)
def test_what_needs_all_rows_is_refused(run: Run, rows: Path, options: list[str], message: str) -> None:
    ran = run("fit", rows, "--target", "target", *QUICK, *options)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err


def test_a_store_of_something_else_and_without_a_target_is_refused(run: Run, rows: Path) -> None:
    assert "--store needs a Parquet table, and 'sample:wine' is none" in run("fit", "sample:wine", "--store", "s").err
    assert "name the column to predict: --target COLUMN" in run("fit", rows, "--store", "s").err


@pytest.mark.usefixtures("_large")
@pytest.mark.parametrize("options", [["--json"], ["--explain", "2"]])
def test_predictions_of_a_large_table_are_rows_only(run: Run, rows: Path, model_file: Path, options: list[str]) -> None:
    ran = run("predict", model_file, rows, *options)
    assert ran.status == 2
    assert f"{options[0]} needs all rows in memory" in ran.err + ran.out

"""Which Parquet files a name stands for, and reading them in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tabcohort import TableError, read_frame
from tabcohort.data import parquet_files
from tabcohort.data.parquet_files import ParquetRows, parquet_paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two Parquet files, one of them in a folder of its own, and a file of text."""
    (tmp_path / "later").mkdir()
    pl.DataFrame({"x": range(70), "y": ["a"] * 70}).write_parquet(tmp_path / "1.parquet", row_group_size=40)
    pl.DataFrame({"x": range(70, 100), "y": ["b"] * 30}).write_parquet(tmp_path / "later" / "2.parquet")
    (tmp_path / "note.txt").write_text("x\n1\n")
    return tmp_path


def test_a_name_stands_for_a_file_a_folder_or_a_pattern(folder: Path) -> None:
    one, two = folder / "1.parquet", folder / "later" / "2.parquet"
    assert parquet_paths(one) == (one,)
    assert parquet_paths(folder) == parquet_paths(f"{folder}/**/*.parquet") == (one, two)
    assert parquet_paths(folder / "*.parquet") == (one,)
    assert parquet_paths(folder / "note.txt") == parquet_paths(folder / "none.parquet") == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("*.csv", "no file matches"),
        ("*", "several files must all be Parquet, and '.*note.txt' is not"),
        ("empty", "holds no file that ends in .parquet"),
    ],
)
def test_a_name_that_stands_for_no_parquet_is_refused(folder: Path, name: str, message: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(TableError, match=message):
        parquet_paths(folder / name)


def test_batches_are_numbered_over_all_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "ROWS_PER_BATCH", 32)
    rows = ParquetRows.open(parquet_paths(folder))
    assert (rows.n_rows, rows.counts, rows.names) == (100, (70, 30), ("x", "y"))
    for first, frame in rows.batches():
        assert frame["x"].to_list() == list(range(first, first + len(frame)))
        assert len(frame) <= 32
    assert sum(len(frame) for _, frame in rows.batches(["y"])) == 100


def test_files_in_memory_are_read_one_after_another(folder: Path) -> None:
    np.testing.assert_array_equal(read_frame(folder)["x"], np.arange(100))
    np.testing.assert_array_equal(read_frame(folder / "*.parquet")["x"], np.arange(70))


@pytest.mark.parametrize(
    ("columns", "difference"),
    [
        ({"x": [0.5], "y": ["c"]}, "'x' is double, not int64"),
        ({"x": [5]}, "no 'y'"),
        ({"x": [5], "y": ["c"], "z": [1]}, "'z', too"),
        ({"y": ["c"], "x": [5]}, "in another order"),
    ],
)
def test_files_of_other_columns_are_refused(folder: Path, columns: dict[str, list[Any]], difference: str) -> None:
    pl.DataFrame(columns).write_parquet(folder / "3.parquet")
    with pytest.raises(TableError, match=rf"'.*3\.parquet' has others than '.*1\.parquet' \({difference}\); write"):
        read_frame(folder)


def test_a_damaged_file_is_refused(folder: Path) -> None:
    data = (folder / "1.parquet").read_bytes()
    (folder / "1.parquet").write_bytes(data[:200] + bytes(100) + data[300:])
    with pytest.raises(TableError, match="is a damaged Parquet file"):
        list(ParquetRows.open([folder / "1.parquet"]).batches())
    (folder / "1.parquet").write_bytes(data[:-9])
    with pytest.raises(TableError, match="is a damaged Parquet file"):
        ParquetRows.open([folder / "1.parquet"])

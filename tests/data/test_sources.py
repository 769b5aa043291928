"""What a person calls a table, byte by byte: what is read, and the message for what is not."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tabcohort import TableError, load_sample, read_frame
from tabcohort.data import column_names
from tabcohort.data.sources import read_source

Write = Callable[[pl.DataFrame, Path], None]


@pytest.mark.parametrize(
    ("data", "description"),
    [
        (b"a,b\n1,2\n", "CSV, UTF-8, comma, 1 row x 2 columns"),
        ("a;b\n1;2\n3;4\n".encode("utf-16"), "CSV, UTF-16, semicolon, 2 rows x 2 columns"),
        (gzip.compress(b"a\tb\n1\t2\n", mtime=0), "TSV, UTF-8, gzip, 1 row x 2 columns"),
        (b"a\n" + b"1\n" * 1234, "CSV, UTF-8, comma, 1,234 rows x 1 column"),
        (b'{"a": 1, "b": "x"}\n{"a": 2}\n', "JSON lines, UTF-8, 2 rows x 2 columns"),
    ],
)
def test_what_was_detected_is_said_in_one_line(tmp_path: Path, data: bytes, description: str) -> None:
    (tmp_path / "table.txt").write_bytes(data)
    source = read_source(tmp_path / "table.txt")
    assert source.description == description
    assert source.frame.equals(read_frame(tmp_path / "table.txt"))


@pytest.mark.parametrize(
    ("write", "description"),
    [
        (lambda frame, file: frame.write_parquet(file), "Parquet, 2 rows x 2 columns"),
        (lambda frame, file: frame.write_ipc(file), "Arrow IPC, 2 rows x 2 columns"),
        (lambda frame, file: frame.write_ipc_stream(file), "Arrow IPC stream, 2 rows x 2 columns"),
        (lambda frame, file: frame.write_ndjson(file), "JSON lines, UTF-8, 2 rows x 2 columns"),
    ],
)
def test_what_polars_writes_is_read_packed_or_not(tmp_path: Path, write: Write, description: str) -> None:
    frame, path = pl.DataFrame({"a": [1, 2], "b": ["x", None]}), tmp_path / "table.csv"
    write(frame, path)
    assert read_source(path).description == description
    assert read_frame(path).equals(frame)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert read_frame(path).equals(frame)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (lambda frame, file: frame.write_parquet(file), "Parquet file"),
        (lambda frame, file: frame.write_ipc(file), "Arrow file"),
        (lambda frame, file: frame.write_ipc_stream(file), "Arrow stream"),
    ],
)
def test_a_cut_file_is_called_damaged(tmp_path: Path, write: Write, kind: str, packed: bool) -> None:
    path = tmp_path / "table.csv"
    write(pl.DataFrame({"a": [1, 2]}), path)
    data = path.read_bytes()
    data = data[: len(data) // 2]
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(TableError, match=rf"table\.csv' is a damaged {kind}: "):
        read_frame(path)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "a PNG image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\x93NUMPY\x01\0", r"a NumPy array \(\.npy\)"),
        (pickle.dumps({"a": [1]}), "a Python pickle"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x7fELF\x02", "a program"),
        (b"TABCOHRT\0\0", "a tabcohort model, not a table; the model comes first, then the table"),
        (b"SQLite format 3\0\x10", "a SQLite database, not a table; name it as 'sqlite:///"),
        (b"\1\2\3\4\5\6\7\x08DUCK@\0", "a DuckDB database, not a table; name it as 'duckdb:///"),
        (b"<!DOCTYPE html><html></html>", "HTML or XML"),
        (b"\n  <table><tr></tr></table>", "HTML or XML"),
        (b'<?xml version="1.0"?><rows/>', "HTML or XML"),
        (b"[[1, 2], [3, 4]]", "a JSON document"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_table_is_called_what_it_is(tmp_path: Path, data: bytes, kind: str, packed: bool) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(TableError, match=rf"table\.csv' is {kind}"):
        read_frame(path)


def test_a_query_goes_with_a_database(tmp_path: Path) -> None:
    with pytest.raises(
        TableError, match=r"a query goes with the URL of a database, such as sqlite:///file\.db, not with"
    ):
        read_frame(tmp_path / "table.csv", "SELECT 1")


def test_a_wide_parquet_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_names, "MAX_COLUMNS", 2)
    pl.DataFrame({"a": [1], "b": [2], "c": [3]}).write_parquet(tmp_path / "table.parquet")
    with pytest.raises(TableError, match=r"table\.parquet' has 3 columns, but at most 2 can be read; drop some"):
        read_frame(tmp_path / "table.parquet")


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("breast-cancer", (569, 31), {"benign", "malignant"}),
        ("wine", (178, 14), {"class_0", "class_1", "class_2"}),
        ("digits", (1797, 65), set("0123456789")),
        ("iris", (150, 5), {"setosa", "versicolor", "virginica"}),
    ],
)
def test_the_samples_are_whole(name: str, shape: tuple[int, int], classes: set[str]) -> None:
    sample = load_sample(name)
    assert sample.frame.shape == shape
    assert set(sample.frame[sample.target]) == classes


def test_breast_cancer_is_spelled_by_its_diagnosis() -> None:
    sample = load_sample("breast-cancer")
    assert (sample.target, sample.positive) == ("diagnosis", "malignant")
    assert sample.frame["diagnosis"].value_counts(sort=True).rows() == [("benign", 357), ("malignant", 212)]
    malignant = sample.frame.filter(pl.col("diagnosis") == "malignant")["mean radius"].mean()
    assert malignant > sample.frame["mean radius"].mean()
    assert (load_sample("iris").target, load_sample("iris").positive) == ("target", None)


def test_an_unknown_sample_offers_the_nearest_name() -> None:
    with pytest.raises(TableError, match=r"there is no sample 'irs' \(did you mean 'iris'\?\); the samples are breast"):
        load_sample("irs")

"""What a person calls a table, byte by byte: what is read, and the message for what is not."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort import TabcohortWarning, TableError, load_sample, read_frame
from tabcohort.data import sources

Read = Callable[[bytes], pl.DataFrame]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that reads bytes as if they were a file."""

    def read_bytes(data: bytes) -> pl.DataFrame:
        path = tmp_path / "table.csv"
        path.write_bytes(data)
        return read_frame(path)

    return read_bytes


def rows(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return frame.rows()


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\r\n\n", b"  \n \n", b"\xef\xbb\xbf"])
def test_a_file_without_a_line_is_empty(read: Read, data: bytes) -> None:
    with pytest.raises(
        TableError, match=r"table\.csv' is empty; a table has a line of column names and a line per row"
    ):
        read(data)


@pytest.mark.parametrize("data", [b"a,b\n", b"a,b", b"a,b\r\n", b"a,b\r", b"\xef\xbb\xbfa,b"])
def test_a_header_alone_is_a_table_without_rows(read: Read, data: bytes) -> None:
    frame = read(data)
    assert frame.columns == ["a", "b"]
    assert frame.shape == (0, 2)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"a,b\n1,2\n3,4\n", id="plain"),
        pytest.param(b"\xef\xbb\xbfa,b\n1,2\n3,4\n", id="byte-order mark"),
        pytest.param(b"a,b\r\n1,2\r\n3,4\r\n", id="CRLF"),
        pytest.param(b"a,b\r1,2\r3,4\r", id="CR only"),
        pytest.param(b"a,b\r\n1,2\r3,4\n", id="mixed line ends"),
        pytest.param(b"a,b\n1,2\n3,4", id="no last newline"),
        pytest.param("a,b\n1,2\n3,4\n".encode("utf-16"), id="UTF-16"),
        pytest.param(b"\xfe\xff" + "a,b\r\n1,2\r\n3,4\r\n".encode("utf-16-be"), id="UTF-16 big-endian"),
        pytest.param(b"a;b\n1;2\n3;4\n", id="semicolons"),
        pytest.param(b"a\tb\n1\t2\n3\t4\n", id="tabs"),
        pytest.param(b"a|b\n1|2\n3|4\n", id="pipes"),
        pytest.param(b" a ,b \n1,2\n3,4\n", id="names with spaces"),
        pytest.param(b"\n\na,b\n1,2\n\n3,4\n\n", id="blank lines"),
        pytest.param(b'"a","b"\n"1","2"\n"3","4"\n', id="everything quoted"),
        pytest.param(gzip.compress(b"a,b\n1,2\n3,4\n"), id="gzip named .csv"),
    ],
)
def test_the_same_table_is_read_however_it_is_spelled(read: Read, data: bytes) -> None:
    frame = read(data)
    assert frame.columns == ["a", "b"]
    assert rows(frame) == [("1", "2"), ("3", "4")]


def test_letters_beyond_ascii_come_through(read: Read) -> None:
    assert rows(read("größe,名\ncafé,π\n".encode())) == [("café", "π")]
    assert rows(read("größe,名\ncafé,π\n".encode("utf-16"))) == [("café", "π")]


def test_an_empty_cell_is_missing_and_words_for_missing_stay_text(read: Read) -> None:
    assert rows(read(b"a,b\n,NA\nNone,-\n")) == [(None, "NA"), ("None", "-")]


def test_cells_stay_text_so_that_identifiers_keep_their_zeros(read: Read) -> None:
    assert rows(read(b"a,b\n007,1e5\n12345678901234567890123,0x10\n")) == [
        ("007", "1e5"), ("12345678901234567890123", "0x10"),
    ]  # fmt: skip


def test_quoted_newlines_and_doubled_quotes_belong_to_the_cell(read: Read) -> None:
    assert rows(read(b'a,b\n"x\ny","say ""hi"", now"\n')) == [("x\ny", 'say "hi", now')]


def test_a_quoted_name_may_hold_the_delimiter_or_a_newline(read: Read) -> None:
    assert read(b'"a,b",c\n1,2\n').columns == ["a,b", "c"]
    assert read(b'"a\nb",c\n1,2\n').columns == ["a\nb", "c"]


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=8), min_size=2, max_size=2
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_python_writes_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, cells: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([["a", "b"], *cells])
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_bytes(text.getvalue().encode())
    assert [["" if cell is None else cell for cell in row] for row in read_frame(path).rows()] == cells


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"a,b\n1,2,\n3,4,\n", "row 2: expected 2 columns, got 3", id="trailing comma on rows"),
        pytest.param(b"a,b\n1,2\n3\n", "row 3: expected 2 columns, got 1", id="short row"),
        pytest.param(b"a,b\n1,2\n3,4,5\n", "row 3: expected 2 columns, got 3", id="long row"),
        pytest.param(b"# made in May\na,b\n1,2\n", "row 2: expected 1 columns, got 2", id="comment first"),
        pytest.param(b"a\n1,2\n", "row 2: expected 1 columns, got 2", id="header shorter than rows"),
    ],
)
def test_a_row_of_another_length_is_named(read: Read, data: bytes, words: str) -> None:
    with pytest.raises(
        TableError, match=rf"table\.csv' is not a regular table: {words}.*\(row 1 is the line of names\)$"
    ):
        read(data)


@pytest.mark.parametrize("header", [b"a,b,a", b"a, a,b", b'a,"a ",b'])
def test_two_columns_of_one_name_are_refused(read: Read, header: bytes) -> None:
    with pytest.raises(TableError, match="has two columns called 'a'; give every column a name of its own"):
        read(header + b"\n1,2,3\n")


@pytest.mark.parametrize(
    ("data", "line"),
    [
        pytest.param(b'a,b\n1,2\n1,"x\n3,4\n5,6\n', 3, id="in the last column"),
        pytest.param(b'a,b\n1,2\n"x,2\n3,4\n', 3, id="in the first column"),
        pytest.param(b'a,b\n"p\nq",2\n1,"say ""x\n3,4\n', 4, id="after a quoted newline"),
    ],
)
def test_an_unclosed_quote_is_named_and_swallows_no_rows(read: Read, data: bytes, line: int) -> None:
    with pytest.raises(TableError, match=rf"table\.csv', line {line}: a quote is not closed where its cell ends"):
        read(data)


def test_a_quote_inside_a_cell_is_only_a_character(read: Read) -> None:
    assert rows(read(b'a,b\n5" pipe,2\n3,4\n')) == [('5" pipe', "2"), ("3", "4")]


def test_a_byte_that_is_not_utf8_is_named_by_its_line(read: Read) -> None:
    with pytest.raises(TableError, match=r"table\.csv', line 3 is not UTF-8; save the file with UTF-8 encoding"):
        read(b"a,b\n1,2\n1,caf\xe9\n")


@pytest.mark.parametrize("data", ["a,b\n1,2\n".encode("utf-16")[:-1], b"\xff\xfea\x00,\x00b\x00\n\x00\x00\xd81\x00"])
def test_damaged_utf16_is_refused_rather_than_patched(read: Read, data: bytes) -> None:
    with pytest.raises(TableError, match="is not valid UTF-16"):
        read(data)


def test_nul_bytes_are_named_by_their_line(read: Read) -> None:
    with pytest.raises(TableError, match=r"is not a text table: it holds NUL bytes \(line 2\)"):
        read(b"a,b\n1,\x002\n")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"<!DOCTYPE html><html></html>", "HTML or XML"),
        (b"\n  <table><tr></tr></table>", "HTML or XML"),
        (b'{"a": 1}', "JSON"),
        (b"[[1, 2], [3, 4]]", "JSON"),
    ],
)
def test_html_and_json_named_csv_are_called_what_they_are(read: Read, data: bytes, kind: str) -> None:
    with pytest.raises(TableError, match=f"is {kind}, not a table; save the table as CSV or Parquet"):
        read(data)


def test_a_zip_or_excel_file_is_called_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(TableError, match="is a zip or Excel file; save the table as CSV or Parquet"):
        read_frame(path)


@pytest.mark.parametrize("cut", [3, 12, -9, -1])
def test_a_cut_gzip_is_damaged(read: Read, cut: int) -> None:
    with pytest.raises(TableError, match=r"table\.csv' is a damaged gzip file: "):
        read(gzip.compress(b"a,b\n" + b"1,2\n" * 1000)[:cut])


def test_a_gzip_with_a_wrong_byte_is_damaged(read: Read) -> None:
    packed = bytearray(gzip.compress(b"a,b\n" + b"1,2\n" * 1000))
    packed[15] ^= 0xFF
    with pytest.raises(TableError, match="is a damaged gzip file: "):
        read(bytes(packed))


def test_a_gzip_bomb_is_capped(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(TableError, match="unpacks to more than 8 GiB; give it as Parquet"):
        read(gzip.compress(b"a,b\n" + b"1,2\n" * 1000))


def test_parquet_is_read_whatever_it_is_named(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    frame.write_parquet(tmp_path / "table.csv")
    assert read_frame(tmp_path / "table.csv").equals(frame)


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pl.DataFrame({"a": [1, 2]}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(TableError, match=r"table\.parquet' is a damaged Parquet file: "):
        read_frame(path)


def test_a_missing_file_offers_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").touch()
    with pytest.raises(TableError, match=r"there is no file '.*patient\.csv' \(did you mean 'patients\.csv'\?\)"):
        read_frame(tmp_path / "patient.csv")


def test_a_missing_folder_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"there is no file '.*nowhere.*patient\.csv'"):
        read_frame(tmp_path / "nowhere" / "patient.csv")


def test_a_folder_is_not_offered_as_its_own_remedy(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"is a folder; name a file$"):
        read_frame(tmp_path)


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


@pytest.mark.parametrize("first", [0, 1])
def test_an_unnamed_first_column_that_counts_the_rows_is_left_out(read: Read, first: int) -> None:
    lines = "".join(f"{row + first},{row * 2}\n" for row in range(12))
    with pytest.warns(TabcohortWarning, match=r"table\.csv': column 1 without a name counts the rows and is left out"):
        frame = read(b",a\n" + lines.encode())
    assert frame.columns == ["a"]
    assert frame["a"].to_list() == [str(row * 2) for row in range(12)]


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (b",a\n1,5\n3,6\n", 1),
        (b",a\nx,5\ny,6\n", 1),
        (b"a,,b\n1,7,2\n3,7,4\n", 2),
        (b'a,"  "\n1,2\n3,9\n', 2),
    ],
)
def test_another_column_without_a_name_is_refused(read: Read, data: bytes, number: int) -> None:
    with pytest.raises(TableError, match=rf"table\.csv': column {number} without a name; give it one, or take the col"):
        read(data)


def test_delimiters_within_quotes_are_not_counted(read: Read) -> None:
    frame = read(b'"a;b;c;d",e\n1,2\n')
    assert frame.columns == ["a;b;c;d", "e"]
    assert rows(frame) == [("1", "2")]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        pytest.param(b'a,b\n1,2\n"3 inch,4\n5,"6"\n', 3, id="closed within a later cell"),
        pytest.param(b'a,b\n1,"x" y\n3,"z"\n', 2, id="text after the closing quote"),
        pytest.param(b'a,b\n"5" pipe,2\n', 2, id="an inch sign after a quote"),
        pytest.param(b'a,b\n1,2\n"x,2\n3,4\n5,"6\n', 3, id="two that nothing closes"),
    ],
)
def test_a_stray_opening_quote_is_refused_by_its_line(read: Read, data: bytes, line: int) -> None:
    with pytest.raises(TableError, match=rf"table\.csv', line {line}: a quote is not closed where its cell ends"):
        read(data)

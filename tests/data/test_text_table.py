"""CSV text, byte by byte: what is read, and the message with the line for what is not."""

from __future__ import annotations

import csv
import gzip
import io
import warnings
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort import TabcohortWarning, TableError, read_frame

Read = Callable[[bytes], pl.DataFrame]


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
    filled = [row for row in cells if any(row)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".* left out", TabcohortWarning)  # rows of empty cells
        try:
            frame = read_frame(path)
        except TableError as error:
            assume("looks like the columns' units" not in str(error))  # a word above numbers
            raise
    assert [["" if cell is None else cell for cell in row] for row in frame.rows()] == filled


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(
            b"a,b\n1,2,\n3,4,\n", r"line 2 has 3 cells, .* 2 names; .*the last cell is empty", id="trailing comma"
        ),
        pytest.param(b"a,b\n1,2\n3\n", "line 3 has 1 cell, but line 1 has 2 names; every row needs", id="short row"),
        pytest.param(b"a,b\n1,2\n3,4,5\n", "line 3 has 3 cells, but line 1 has 2 names", id="long row"),
        pytest.param(b"a,b\n1,2\n3\n4,5,6\n", "line 3 has 1 cell", id="a short row and a long one"),
        pytest.param(b'\na,b\n"1\n",2\n3\n', "line 5 has 1 cell, but line 2 has 2 names", id="lines are the file's"),
        pytest.param(
            b"# made in May\na,b\n1,2\n", "line 2 has 2 cells.*line 1 looks like a comment", id="comment first"
        ),
        pytest.param(b"a,b\n1,2\n# the rest is newer\n1,2\n", "line 3 looks like a comment", id="comment later"),
        pytest.param(b"a\n1,2\n", "line 2 has 2 cells, but line 1 has 1 name; .*is a name missing", id="short header"),
        pytest.param(b"a,b\n" + b"1,2\n" * 40_000 + b"3\n", "line 40002 has 1 cell", id="beyond the first block"),
    ],
)
def test_a_row_of_another_length_is_named(read: Read, data: bytes, words: str) -> None:
    with pytest.raises(TableError, match=rf"table\.csv' is not a regular table: .*{words}"):
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


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (b"a,b\n1,2\n,\n3,4\n", "1 row is empty and is left out"),
        (b'a,b\n,\n1,2\n"",\n3,4\n', "2 rows are empty and are left out"),
    ],
)
def test_empty_rows_are_left_out_and_counted(read: Read, data: bytes, kept: str) -> None:
    with pytest.warns(TabcohortWarning, match=rf"table\.csv': {kept}"):
        frame = read(data)
    assert rows(frame) == [("1", "2"), ("3", "4")]


@pytest.mark.parametrize("data", [b"a,b\n1,2\na,b\n3,4\n", b"a,b\n1,2\n a ,b\n3,4\n", b"\na,b\n\na,b\n3,4\n"])
def test_a_repeated_line_of_names_is_refused_by_its_line(read: Read, data: bytes) -> None:
    line = 4 if data.startswith(b"\n") else 3
    with pytest.raises(TableError, match=rf"table\.csv', line {line} repeats the line of names; take it out"):
        read(data)


def test_a_row_that_begins_like_the_names_is_a_row(read: Read) -> None:
    assert rows(read(b"a,b\na,2\na,4\n")) == [("a", "2"), ("a", "4")]
    assert rows(read(b"yes\nyes\nno\n")) == [("yes",), ("no",)]


@pytest.mark.parametrize(
    "data",
    [
        b"height,weight,kind\ncm,kg,\n1,2,x\n3,4,y\n",
        b"height,weight,kind\ncm,kg,text\n1,2,x\n3,,y\n",
        b"height,kind\ncm,\n1,x\n3,y\n",
    ],
)
def test_a_line_of_units_is_refused_by_its_line(read: Read, data: bytes) -> None:
    with pytest.raises(TableError, match=r"table\.csv', line 2 looks like the columns' units \('cm'"):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"height,weight,kind\n?,NA,a\n1,2,x\n3,4,y\n", id="missing"),
        pytest.param(b"height,weight,kind\nlow,9,a\n1,2,x\n3,4,y\n", id="one word among numbers"),
        pytest.param(b"height,kind\nunknown,a\n1,x\n3,y\n", id="one word beside text"),
        pytest.param(b"height,kind\nlow,a\nhigh,x\nlow,y\n", id="text"),
        pytest.param(b"height,weight\ncm,kg\n1,2\n", id="two rows"),
    ],
)
def test_words_in_the_first_row_are_not_always_units(read: Read, data: bytes) -> None:
    assert len(read(data)) == data.count(b"\n") - 1


def test_an_unnamed_column_without_values_is_left_out(read: Read) -> None:
    with pytest.warns(TabcohortWarning, match=r"table\.csv': column 3 without a name has no values and is left out"):
        assert read(b"a,b,\n1,2,\n3,4,\n").columns == ["a", "b"]


def test_too_many_columns_are_refused_before_they_are_read(read: Read) -> None:
    names = b",".join(b"x%d" % number for number in range(300_000))
    with pytest.raises(TableError, match=r"table\.csv' has 300,000 columns, but at most 200,000 can be read"):
        read(names + b"\n" + b"1," * 99_999 + b"1\n")


def test_a_long_cell_is_read(read: Read) -> None:
    assert read(b"a,b\n" + b"x" * 5_000_000 + b',2\n3,"4 ""\n"\n')["a"].str.len_bytes().to_list() == [5_000_000, 1]


def test_formulas_tags_and_escapes_are_text(read: Read) -> None:
    cells = ("=cmd|'/C calc'!A0", "<script>alert(1)</script>", "\x1b[31mred", "@SUM(1)")
    frame = read(b"a,b,c,d\n" + ",".join(cells).encode() + b"\n")
    assert rows(frame) == [cells]


@pytest.mark.parametrize(
    "name", [b"<age", b"[age]", b"{age}", b"<a>", b"[1]", b"(x", b"=1+1", b"PAR1", b"ARROW1", b"BZh9"]
)
def test_a_name_may_begin_with_any_character(read: Read, name: bytes) -> None:
    frame = read(name + b",b\n1,2\n3,4\n")
    assert frame.columns == [name.decode(), "b"]
    assert rows(frame) == [("1", "2"), ("3", "4")]


def test_control_characters_in_names_are_shown_escaped(read: Read) -> None:
    with pytest.raises(TableError, match=r"two columns called 'a\\x1b\[31m'"):
        read(b"a\x1b[31m,a\x1b[31m\n1,2\n")


def test_a_stray_quote_in_the_line_of_names_is_refused(read: Read) -> None:
    with pytest.raises(TableError, match=r"table\.csv', line 1: a quote is not closed"):
        read(b'"a,b\n1,2\n3,4\n')
    with pytest.raises(TableError, match=r"table\.csv', line 1: a quote is not closed"):
        read(b'"a,b\n' + b"1,2\n" * 200)


def test_a_quote_within_a_cell_keeps_all_cells(read: Read) -> None:
    frame = read(b'a,b\n5" pipe,2\n"x\n",""\n\n3,4\n')
    assert rows(frame) == [('5" pipe', "2"), ("x\n", None), ("3", "4")]

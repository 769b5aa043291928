"""The fast check accepts only text whose cells Python's `csv` finds in the same places."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort import TableError
from tabcohort.data import csv_layout
from tabcohort.data.csv_layout import count_regular_records, line_of_record, records_of, regular_text

HEADER = b"a,b\n"


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b"", 0),
        (b"1,2\n3,4\n", 2),
        (b',\n"",""\n', 2),
        (b'"1,\n2",3\n"""",4\n', 2),
        (b'"say ""hi""",""""""\n', 1),
        (b"1,2\n\n3,4\n", None),
        (b"1,2,3\n4\n", None),
        (b"1,2\n3\n", None),
        (b'5" pipe,6" pipe\n', None),
        (b'"5" pipe,2\n', None),
        (b'1,"2\n', None),
        (b'1, "2"\n', None),
        (b'1,"2" \n', None),
    ],
)
@pytest.mark.parametrize("block", [1, 2, 5, 1 << 16])
def test_regular_records_are_counted(
    body: bytes, count: int | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_layout, "BLOCK_BYTES", block)
    assert count_regular_records(HEADER + body, len(HEADER), ",", 2) == count


def test_a_blank_line_is_not_a_record_of_one_column() -> None:
    assert count_regular_records(b"a\n1\n2\n", 2, ",", 1) == 2
    assert count_regular_records(b"a\n1\n\n2\n", 2, ",", 1) is None
    assert count_regular_records(b"a\n\n2\n", 2, ",", 1) is None


@hypothesis_settings(max_examples=400, deadline=None)
@given(st.text(alphabet='",\nxé', max_size=24))
@example('x,"x""\n,"\n')
def test_what_is_called_regular_has_the_cells_that_csv_reads(text: str) -> None:
    body = text + "\n"
    count = count_regular_records(HEADER + body.encode(), len(HEADER), ",", 2)
    try:
        rows = list(csv.reader(io.StringIO(body, newline=""), strict=True))
    except csv.Error:
        assert count is None
        return
    if count is not None:
        assert [len(row) for row in rows] == [2] * count


@hypothesis_settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(*[st.text(alphabet='",\nx; ', max_size=5)] * 2), max_size=5), st.sampled_from(",;"))
def test_what_csv_writes_is_regular_and_stays_as_it_is(rows: list[tuple[str, str]], delimiter: str) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([("a", "b"), *rows])
    data = text.getvalue().encode()
    assert count_regular_records(data, 4, delimiter, 2) == len(rows)
    assert regular_text(data, delimiter, "t.csv") == (data[4:], len(rows))


def test_records_have_the_lines_where_they_begin() -> None:
    data = b'\na,b\n"1\n\n",2\n  \n3,5" pipe\n'
    assert list(records_of(data, ",", "t.csv")) == [(2, ["a", "b"]), (3, ["1\n\n", "2"]), (7, ["3", '5" pipe'])]
    assert [line_of_record(data, ",", "t.csv", number) for number in range(3)] == [2, 3, 7]
    assert regular_text(data, ",", "t.csv") == (b'"1\n\n",2\n3,"5"" pipe"\n', 2)


def test_errors_name_the_line() -> None:
    with pytest.raises(
        TableError, match=r"'t\.csv', line 3: a quote is not closed where its cell ends \(.*\); close it"
    ):
        list(records_of(b'a,b\n1,2\n"3,4\n', ",", "t.csv"))
    with pytest.raises(TableError, match=r"'t\.csv' is not a regular table: line 2 has 1 cell, but line 1 has 2 names"):
        regular_text(b"a,b\n1\n", ",", "t.csv")

"""Columns by their type: what becomes of cells, what is refused with its row, and how a column is written down."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_frames import frame_of, with_cell

from tabcohort import Table, TableError
from tabcohort.data.columns import (
    COLUMN_TYPES,
    PERIODS,
    Boolean,
    Category,
    Column,
    Date,
    Dropped,
    IntegerCode,
    Number,
    Text,
    column_from_dict,
    shortened,
)
from tabcohort.data.inputs import input_names, row_inputs, table_inputs
from tabcohort.data.parse import COMMA, COMPACT, DAY_FIRST, GROUPED, GROUPED_COMMA, MONTH_FIRST, YEAR_FIRST

COLUMNS: tuple[Column, ...] = (
    Number("a"),
    Number("a", True, "a note", GROUPED, ("unknown",)),
    Category("a", level_names=("x", "y", "3", "caf\u00e9", "true"), n_frequent_levels=2),
    Boolean("a", True),
    IntegerCode("a", level_names=("7", "-3", "12"), n_frequent_levels=1),
    Date("a", order=DAY_FIRST, parts=("month", "weekday", "hour")),
    Text("a", words=("cat", "dog")),
    Dropped("a", note="all cells are missing"),
)
USED = COLUMNS[:-1]


def inputs_of(column: Column, cells: Any, dtype: Any = None) -> Any:
    """Return the inputs of one column's cells."""
    return table_inputs(pl.DataFrame({"a": pl.Series(cells, dtype=dtype, strict=False)}), [column])


# -- what all have ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: f"{column.kind} {column.note}")
def test_a_column_comes_back_from_plain_values(column: Column) -> None:
    values = column.to_dict()
    assert column_from_dict(json.loads(json.dumps(values))) == column
    assert values["kind"] == column.kind
    assert COLUMN_TYPES[column.kind] is type(column)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "tensor"}, "there is no type of column 'tensor'"),
        ({"kind": None}, "there is no type of column None"),
        ({"more": 1}, "a column of type 'category' has"),
        ({"name": 3}, "the name of a column cannot be 3"),
        ({"has_missing": 1}, "the has_missing of a column cannot be 1"),
        ({"level_names": "abc"}, "the level_names of a column cannot be 'abc'"),
        ({"level_names": [1]}, r"the level_names of a column cannot be \(1,\)"),
        ({"n_frequent_levels": True}, "the n_frequent_levels of a column cannot be True"),
        ({"n_frequent_levels": 3}, "the column 'a' has impossible levels"),
        ({"n_frequent_levels": -1}, "the column 'a' has impossible levels"),
        ({"level_names": ["x", "x"]}, "the column 'a' has impossible levels"),
    ],
)
def test_plain_values_that_are_no_category_are_refused(changes: dict[str, Any], words: str) -> None:
    values = Category("a", level_names=("x", "y")).to_dict()
    with pytest.raises(ValueError, match=words):
        column_from_dict({**values, **changes})


@pytest.mark.parametrize(
    ("column", "changes", "words"),
    [
        (Number("a"), {"notation": "roman"}, "the notation of a column cannot be 'roman'"),
        (IntegerCode("a"), {"notation": ""}, "the notation of a column cannot be ''"),
        (Date("a"), {"order": "ambiguous"}, "the order of a column cannot be 'ambiguous'"),
        (Date("a"), {"parts": ["month", "year"]}, r"the parts of a column cannot be ('month', 'year')"),
        (IntegerCode("a"), {"level_names": ["1", "red"]}, "the column 'a' has impossible levels"),
        (IntegerCode("a"), {"level_names": ["1", "nan"]}, "the column 'a' has impossible levels"),
        (IntegerCode("a"), {"level_names": ["1", "1.0"]}, "the column 'a' has impossible levels"),
        (Boolean("a"), {"parts": []}, "a column of type 'boolean' has ['has_missing', 'name', 'note'], not "),
    ],
)
def test_plain_values_that_a_type_does_not_know_are_refused(
    column: Column, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        column_from_dict({**column.to_dict(), **changes})


@pytest.mark.parametrize("column", USED, ids=lambda column: column.describe())
def test_inputs_are_as_many_as_the_column_says_and_have_names(column: Column) -> None:
    assert inputs_of(column, [None, None], pl.String).shape == (2, column.n_numbers + (column.n_codes > 0))
    assert inputs_of(column, [], pl.String).shape == (0, column.n_numbers + (column.n_codes > 0))
    assert len(column.number_names()) == column.n_numbers
    assert len(input_names([column, column])) == 2 * (column.n_numbers + (column.n_codes > 0))


def test_each_type_says_what_it_is() -> None:
    assert [column.describe() for column in COLUMNS] == [
        "number", "number (grouped)", "category of 5 levels", "boolean", "integer code of 3 values",
        "date (days, month, weekday, hour)", "text (length, 2 words)", "left out: all cells are missing",
    ]  # fmt: skip


@pytest.mark.parametrize("missing", ["missing", "empty", "null", "NaN", "no type"])
@pytest.mark.parametrize("column", USED, ids=lambda column: column.describe())
def test_a_missing_cell_is_missing_in_any_form(column: Column, missing: str) -> None:
    cells, dtype = {
        "missing": ([None], pl.String), "empty": ([" "], pl.String), "null": ([None], pl.Int64),
        "NaN": ([float("nan")], pl.Float64), "no type": ([None], pl.Null),
    }[missing]  # fmt: skip
    found = inputs_of(column, cells, dtype)[0]
    if column.n_codes:
        assert found[-1] == column.n_codes - 2
    n_certain = 0 if isinstance(column, (Number, Date)) else max(0, column.n_numbers - 1)  # text has none of its words
    assert np.isnan(found[: column.n_numbers - n_certain]).all()
    assert (found[column.n_numbers - n_certain : column.n_numbers] == 0).all()


def test_a_column_without_numbers_or_codes_has_none() -> None:
    assert Dropped("a").numbers(pl.Series([1])).shape == (1, 0)
    assert (Dropped("a").levels, Dropped("a").n_frequent, Dropped("a").number_names()) == ((), 0, [])
    with pytest.raises(NotImplementedError, match=r"^number has no codes$"):
        Number("a").codes(pl.Series([1]))


def test_long_text_is_cut_and_control_characters_are_escaped() -> None:
    assert shortened("x" * 50) == repr("x" * 37 + "...")
    assert shortened("a\x1b[31m") == r"'a\x1b[31m'"


# -- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("inf", "is infinite (inf)"),
        ("-inf", "is infinite (inf)"),
        ("1e400", "is infinite (inf)"),
        ("1e101", "holds 1e+101"),
        ("-1e101", "holds -1e+101"),
    ],
)
def test_a_cell_that_is_too_large_is_named_by_row_and_column(cell: str, problem: str) -> None:
    words = (
        f"row 5, column 'a' {problem}: a number must be at most 1e100, so fix these cells, leave them empty, or leave "
        "out their rows or columns"
    )
    with pytest.raises(TableError, match=f"^{re.escape(words)}$"):
        Table.from_frame(with_cell(cell), "y")


@pytest.mark.parametrize("cell", ["NaN", "", "NA", "?", "-", "null", "#N/A", " n/a "])
def test_usual_words_for_missing_cells_are_missing_numbers(cell: str) -> None:
    table = Table.from_frame(with_cell(cell), "y")
    assert np.isnan(table.X[4, 0])
    assert table.schema.columns == (Number("a", has_missing=True),)


@pytest.mark.parametrize(("cell", "value"), [("1e-400", 0.0), ("-0.0", 0.0), ("+5", 5.0), (" 7 ", 7.0), ("2.5", 2.5)])
def test_ordinary_spellings_of_numbers_are_parsed(cell: str, value: float) -> None:
    assert Table.from_frame(with_cell(cell), "y").X[4, 0] == value


@pytest.mark.parametrize("n_more", [0, 1, 1234])
def test_text_among_numbers_is_named_by_its_row_and_counted(n_more: int) -> None:
    more = {0: "", 1: " (and 1 more such cell)", 1234: " (and 1,234 more such cells)"}[n_more]
    words = f"row 2, column 'a' holds 'red', which is not a number{more}: fix it, or leave the cell empty"
    with pytest.raises(TableError, match=f"^{re.escape(words)}$"):
        inputs_of(Number("a"), ["1", *["red"] * (1 + n_more)])


@pytest.mark.parametrize("words", ["yes", "t", "on", "1,5", "$3", "5 kg"])
def test_only_true_and_false_are_numbers_as_words(words: str) -> None:
    assert inputs_of(Number("a"), ["true", "FALSE", "2"])[:, 0].tolist() == [1, 0, 2]
    with pytest.raises(TableError, match=rf"^row 3, column 'a' holds '{re.escape(words)}', which is not a number"):
        inputs_of(Number("a"), ["1", "2", words])


def test_a_column_in_a_notation_takes_plain_numbers_too() -> None:
    column = Number("a", notation=COMMA, missing_words=("unknown",))
    assert inputs_of(column, ["1234,5", "2,5", "0.5", "7.925", "unknown"])[:4, 0].tolist() == [1234.5, 2.5, 0.5, 7.925]
    grouped = Number("a", notation=GROUPED_COMMA)
    assert inputs_of(grouped, ["1.234,5", "2.500", "0.5"])[:, 0].tolist() == [1234.5, 2500.0, 0.5]
    assert np.isnan(inputs_of(column, ["unknown"])).all()
    with pytest.raises(TableError, match="holds 'missing entirely'"):
        inputs_of(column, ["missing entirely"])


@pytest.mark.parametrize("cells", [[datetime.date(2024, 1, 1)], [datetime.time(1)], [b"1"], [[1]]])
def test_dates_and_lists_are_no_numbers(cells: list[Any]) -> None:
    with pytest.raises(TableError, match=r"^the column 'a' must be numbers; it is "):
        inputs_of(Number("a"), cells)


def test_a_long_cell_is_cut_in_the_message() -> None:
    with pytest.raises(TableError, match=rf"holds '{'z' * 37}\.\.\.', which is not a number"):
        inputs_of(Number("a"), ["1", "z" * 5000])


# -- categories ------------------------------------------------------------------------------------------------------


def test_a_level_is_its_place_and_others_are_unknown() -> None:
    column = Category("a", level_names=("x", "3", "caf\u00e9", "true", "0"))
    cells = ["x", " x ", "3", "3.0", "cafe\u0301", "true", "-0.0", "X", "new", None, "", "NA"]
    assert inputs_of(column, cells)[:, 0].tolist() == [0, 0, 1, 1, 2, 3, 4, 6, 6, 5, 5, 6]
    assert inputs_of(column, [3, 4, None])[:, 0].tolist() == [1, 6, 5]
    assert inputs_of(column, [3.0, 3.5, float("nan")])[:, 0].tolist() == [1, 6, 5]
    assert inputs_of(column, [True, False])[:, 0].tolist() == [3, 6]
    assert inputs_of(column, ["x", "3"], pl.Categorical)[:, 0].tolist() == [0, 1]
    assert inputs_of(column, ["x", "new"], pl.Enum(["new", "x"]))[:, 0].tolist() == [0, 6]


def test_words_such_as_na_and_none_may_be_levels() -> None:
    data = frame_of(a=["NA", "None", "x"] * 10)
    table = Table.from_frame(data, "y")
    assert table.schema.columns == (Category("a", level_names=("NA", "None", "x"), n_frequent_levels=3),)
    assert table.X[:3, 0].tolist() == [0, 1, 2]


def test_a_category_without_levels_knows_none() -> None:
    assert inputs_of(Category("a"), ["x", None])[:, 0].tolist() == [1, 0]


# -- booleans --------------------------------------------------------------------------------------------------------


def test_booleans_are_read_in_words_and_numbers() -> None:
    cells = ["yes", "No", "TRUE", "f", "1", "0", "1.0", "maybe", "?", None]
    assert inputs_of(Boolean("a"), cells)[:, 0].tolist() == [1, 0, 1, 0, 1, 0, 1, 3, 2, 2]
    assert inputs_of(Boolean("a"), [True, False, None])[:, 0].tolist() == [1, 0, 2]
    assert inputs_of(Boolean("a"), [1, 0, 2])[:, 0].tolist() == [1, 0, 3]
    assert inputs_of(Boolean("a"), [1.0, 0.0, float("nan")])[:, 0].tolist() == [1, 0, 2]


# -- integer codes ---------------------------------------------------------------------------------------------------


def test_an_integer_code_is_a_number_and_a_level() -> None:
    column = IntegerCode("a", level_names=("7", "-3", "12"))
    expected = [[7, 0], [-3, 1], [12, 2], [8, 4], [7.5, 4]]
    assert inputs_of(column, ["7", "-3.0", "12", "8", "7.5"]).tolist() == expected
    assert inputs_of(column, [7.0, -3.0, 12.0, 8.0, 7.5]).tolist() == expected
    assert inputs_of(column, [7, -3, 12, 8]).tolist() == expected[:4]
    missing = inputs_of(column, [None], pl.Int64)[0]
    assert np.isnan(missing[0])
    assert missing[1] == 3


# -- dates -----------------------------------------------------------------------------------------------------------

MOMENTS = st.datetimes(datetime.datetime(1901, 1, 1), datetime.datetime(2099, 12, 31))


@given(st.lists(MOMENTS, min_size=1, max_size=5))
@hypothesis_settings(max_examples=40, deadline=None)
def test_a_date_is_its_days_since_1970_and_points_on_circles(moments: list[datetime.datetime]) -> None:
    column = Date("a", parts=("month", "weekday", "hour"))
    found = inputs_of(column, moments, pl.Datetime("us"))
    for row, moment in zip(found, moments, strict=True):
        days = (moment - datetime.datetime(1970, 1, 1)) / datetime.timedelta(days=1)
        angles = [(moment.month - 1) / 12, moment.weekday() / 7, (moment.hour + moment.minute / 60) / 24]
        circle = [side(2 * np.pi * angle) for angle in angles for side in (np.sin, np.cos)]
        np.testing.assert_allclose(row, [days, *circle], rtol=1e-12, atol=1e-9)
    text = [moment.isoformat() for moment in moments]
    assert inputs_of(column, text).tobytes() == found.tobytes()
    assert set(PERIODS) == {"month", "weekday", "hour"}


@pytest.mark.parametrize(
    ("order", "cells"),
    [
        (DAY_FIRST, ["31/12/2024", "2024-12-31"]),
        (MONTH_FIRST, ["12/31/2024", "2024-12-31"]),
        (COMPACT, ["20241231", "2024-12-31"]),
        ("year first", ["2024/12/31", "2024-12-31"]),
    ],
)
def test_iso_dates_are_read_beside_the_order_of_training(order: str, cells: list[str]) -> None:
    assert inputs_of(Date("a", order=order), cells)[:, 0].tolist() == [20088.0] * 2
    assert inputs_of(Date("a", order=order), [datetime.date(2024, 12, 31)])[0, 0] == 20088
    if order == COMPACT:
        assert inputs_of(Date("a", order=order), [20241231])[0, 0] == 20088
        assert inputs_of(Date("a", order=order), [20241231.0])[0, 0] == 20088


@pytest.mark.parametrize("cell", ["soon", "12/31/2024", "2024-13-01"])
def test_what_is_no_date_is_named_by_its_row(cell: str) -> None:
    words = f"row 2, column 'a' holds '{cell}', which is not a date (day first): fix it, or leave the cell empty"
    with pytest.raises(TableError, match=f"^{re.escape(words)}$"):
        inputs_of(Date("a", order=DAY_FIRST), ["31/12/2024", cell])


@pytest.mark.parametrize("cells", [[1.5], [True], [datetime.time(1)]])
def test_a_column_of_something_else_is_no_date(cells: list[Any]) -> None:
    with pytest.raises(TableError, match=r"^the column 'a' must be dates; it is"):
        inputs_of(Date("a"), cells)


def test_moments_in_a_zone_are_converted_to_utc() -> None:
    column = Date("a", parts=("weekday", "hour"))
    expected = inputs_of(column, [datetime.datetime(2024, 2, 29, 23, 30)])
    in_oslo = pl.Series([datetime.datetime(2024, 2, 29, 23, 30)]).dt.replace_time_zone("UTC")
    for unit in ("ms", "us", "ns"):
        cells = in_oslo.dt.convert_time_zone("Europe/Oslo").dt.cast_time_unit(unit)
        np.testing.assert_array_equal(inputs_of(column, cells), expected)
    np.testing.assert_array_equal(inputs_of(column, ["2024-03-01T00:30:00+01:00"]), expected)


def test_a_day_has_no_hour() -> None:
    found = inputs_of(Date("a", parts=("month", "hour")), [datetime.date(1970, 4, 1), None])
    np.testing.assert_allclose(found, [[90, 1, 0, 0, 1], [np.nan] * 5], atol=1e-12)


# -- text ------------------------------------------------------------------------------------------------------------


def test_text_is_its_length_and_its_words_in_any_case() -> None:
    column = Text("a", words=("cat", "caf\u00e9"))
    cells = ["A Cat, sat.", "concat", " cafe\u0301 ", "", None]
    found = inputs_of(column, cells)
    np.testing.assert_array_equal(found, [[11, 1, 0], [6, 0, 0], [4, 0, 1], [np.nan, 0, 0], [np.nan, 0, 0]])


# -- one cell --------------------------------------------------------------------------------------------------------

CELLS = [
    1, -3, 7, 0.5, 2**70, 10**400, -0.0, True, False, np.True_, None, "3", " 4.5 ", "", "x", " x", "cafe\u0301", "yes",
    "Yes", "TRUE", "0", "7.0", "\x1cx", np.int32(7), np.float32(0.1), np.float64("nan"), float("nan"), "2024-01-02",
    datetime.date(2024, 1, 2), datetime.datetime(2024, 1, 2, 3), "unknown", "a cat",
]  # fmt: skip


@pytest.mark.parametrize("column", USED, ids=lambda column: f"{column.kind} {column.note}")
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{type(cell).__name__} {cell!r}"[:40])
def test_one_cell_is_read_as_a_column_of_one_row_is(column: Column, cell: Any) -> None:
    try:
        expected = table_inputs({"a": [cell]}, [column])
    except TableError as error:
        with pytest.raises(TableError, match=f"^{re.escape(str(error))}$"):
            row_inputs({"a": cell}, [column])
    else:
        assert row_inputs({"a": cell}, [column]).tobytes() == expected.tobytes()


def wide_cells() -> st.SearchStrategy[Any]:
    """Return cells of every kind, some of which the columns know."""
    known = st.sampled_from(["x", "y", "3", "true", "7", "-3", "12", "yes", "no", "F", "unknown", "31/12/2024", ""])
    numbers = st.one_of(st.integers(-(10**20), 10**20), st.integers(-15, 15), st.floats(allow_infinity=False))
    scalars = st.one_of(
        st.integers(-(2**31), 2**31 - 1).map(np.int64), st.floats(width=32, allow_infinity=False).map(np.float32)
    )
    return st.one_of(known, st.text(max_size=5), numbers, scalars, st.booleans(), st.none())


@pytest.mark.parametrize("column", USED, ids=lambda column: f"{column.kind} {column.note}")
@given(cell=wide_cells())
@hypothesis_settings(max_examples=100, deadline=None)
def test_what_is_read_quickly_is_what_the_column_reads(column: Column, cell: Any) -> None:
    quick = column.cell(cell)
    if quick is not None:
        numbers, code = quick
        found = table_inputs({"a": [cell]}, [column])[0]
        assert len(numbers) == column.n_numbers
        assert (code is not None) == (column.n_codes > 0)
        np.testing.assert_array_equal(found, [*numbers, *([] if code is None else [code])])


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        (Number("a"), 2, ((2.0,), None)),
        (Number("a"), np.float32(0.5), ((0.5,), None)),
        (Number("a"), True, None),
        (Number("a"), "2", None),
        (Number("a"), 10**400, None),
        (IntegerCode("a", level_names=("7", "3")), 3, ((3.0,), 1.0)),
        (IntegerCode("a", level_names=("7", "3")), 3.5, ((3.5,), 3.0)),
        (Category("a", level_names=("x", "3", "true")), "x", ((), 0.0)),
        (Category("a", level_names=("x", "3", "true")), 3, ((), 1.0)),
        (Category("a", level_names=("x", "3", "true")), True, ((), 2.0)),
        (Category("a", level_names=("x", "3", "true")), None, ((), 3.0)),
        (Category("a", level_names=("x", "3", "true")), "new", None),
        (Category("a", level_names=("x", "3", "true")), 3.0, None),
        (Boolean("a"), np.False_, ((), 0.0)),
        (Boolean("a"), "yes", ((), 1.0)),
        (Boolean("a"), "Yes", None),
        (Date("a"), "2024-12-31", ((20_088.0,), None)),
        (Date("a"), "31/12/2024", None),
        (Text("a", words=("cat",)), " A cat.", ((6.0, 1.0), None)),
        (Text("a"), "113803", ((6.0,), None)),
        (Text("a"), "3.0", None),
        (Text("a"), "caf\u00e9", None),
        (Dropped("a"), "x", None),
    ],
)
def test_common_cells_are_read_quickly(column: Column, cell: Any, expected: Any) -> None:
    assert column.cell(cell) == expected


@given(
    st.one_of(
        st.none(),
        st.text(max_size=30),
        st.from_regex(r"[ \t]*[a-zA-Z0-9.,' -]*(cat|Dog|caf\u00e9)?[ \n]*", fullmatch=True),
    )
)
@example("0\x00")
@hypothesis_settings(max_examples=150, deadline=None)
def test_a_text_of_one_record_has_the_numbers_that_it_has_in_a_table(text: str | None) -> None:
    column = Text("a", words=("cat", "dog", "caf\u00e9"))
    np.testing.assert_array_equal(row_inputs({"a": text}, [column]), inputs_of(column, [text], pl.String))


def test_a_cell_that_has_no_quick_way_is_read_without_the_columns_beside_it() -> None:
    read = []

    class Slow(Number):
        def numbers(self, series: pl.Series) -> Any:
            read.append(series.name)
            return super().numbers(series)

    row = row_inputs({"a": "1.5", "b": 2.0, "c": None}, [Slow("a"), Slow("b"), Slow("c")])
    np.testing.assert_array_equal(row, [[1.5, 2.0, np.nan]])
    assert read == ["a"]


@given(
    st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)),
    st.sampled_from(("", " ", "T")),
    st.integers(0, 6),
    st.sampled_from((YEAR_FIRST, DAY_FIRST, MONTH_FIRST)),
)
@hypothesis_settings(deadline=None)
def test_a_date_is_read_alone_to_the_bit_as_in_a_column(
    time: datetime.datetime, between: str, n_digits: int, order: str
) -> None:
    column = Date("when", order=order, parts=("month", "weekday", "hour"))
    text = time.date().isoformat()
    if between:
        text += f"{between}{time:%H:%M:%S}" + (f".{time.microsecond:06}"[: n_digits + 1] if n_digits else "")
    quick = column.cell(text)
    assert quick is not None
    assert np.array(quick[0]).tobytes() == column.numbers(pl.Series("when", [text]))[0].tobytes()


@pytest.mark.parametrize(
    "text", ["2023-02-30", "2023-01-01 24:00:00", "0000-01-01", "2023-01-01T00:00:00Z", "1/2/2023", "x"]
)
def test_another_date_is_left_to_the_column(text: str) -> None:
    assert Date("when", parts=("hour",)).cell(text) is None
    assert Date("when", order=COMPACT).cell("2023-01-01") is None


@pytest.mark.parametrize(
    "column",
    [
        Date("x", parts=("month",)), Boolean("x"), IntegerCode("x", level_names=("1", "2")),
        Category("x", level_names=("a",)), Number("x"), Text("x", words=("a",)),
    ],
    ids=lambda column: column.kind,
)  # fmt: skip
def test_a_missing_cell_alone_is_that_of_a_column(column: Column) -> None:
    quick = column.cell(None)
    assert quick is not None
    assert not isinstance(column, Number) or str(column.cell(float("nan"))) == str(quick)
    series = pl.Series("x", [None], dtype=pl.String)
    if column.n_numbers:
        assert np.array_equal(quick[0], column.numbers(series)[0], equal_nan=True)
    if column.n_codes:
        assert quick[1] == column.codes(series)[0]

"""What text in cells means: numbers in their notations, missing words, truth values and dates."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort import TableError
from tabcohort.data.parse import (
    AMBIGUOUS,
    COMMA,
    COMPACT,
    DAY_FIRST,
    GROUPED,
    GROUPED_COMMA,
    MISSING_WORDS,
    MIXED,
    MONTH_FIRST,
    PLAIN,
    YEAR_FIRST,
    as_series,
    as_text,
    by_distinct,
    date_order,
    is_truth,
    notation_of,
    parse_dates,
    parse_numbers,
    parse_truth,
    without_missing_words,
)

# -- from any wrapping to a series -----------------------------------------------------------------------------------

MOMENT = datetime.datetime(2024, 1, 2, 3, 4, 5, 678901)
ZONE = datetime.timezone(datetime.timedelta(hours=9))


@pytest.mark.parametrize(
    ("column", "dtype", "values"),
    [
        ([1, 2], pl.Int64, [1, 2]),
        (np.array([1.5, 2.5], dtype=np.float16), pl.Float64, [1.5, 2.5]),
        (np.array([1.5, 2.5], dtype=np.float32), pl.Float32, [1.5, 2.5]),
        (np.array([1.5, 2.5], dtype=np.longdouble), pl.Float64, [1.5, 2.5]),
        (["a", None], pl.String, ["a", None]),
        ([1, "a", 2.5, None, float("nan"), pd.NA], pl.String, ["1", "a", "2.5", None, None, None]),
        ([True, None, np.bool_(False)], pl.Boolean, [True, None, False]),
        ([True, "a"], pl.String, ["True", "a"]),
        ([Decimal("1.5"), None], pl.String, ["1.5", None]),
        ([MOMENT, None], pl.Datetime("us"), [MOMENT, None]),
        ([pd.Timestamp(MOMENT), pd.NaT], pl.Datetime("us"), [MOMENT, None]),
        ([MOMENT.date(), None], pl.Date, [MOMENT.date(), None]),
        ([datetime.timedelta(seconds=90), None], pl.Float64, [90.0, None]),
        (np.array(["2024-01-02"], dtype="datetime64[D]"), pl.Datetime("us"), [datetime.datetime(2024, 1, 2)]),
        (np.array(["2024-01-02T03"], dtype="datetime64[h]"), pl.Datetime("us"), [datetime.datetime(2024, 1, 2, 3)]),
        (pd.Series([1, None], dtype="Int64"), pl.Int64, [1, None]),
        (pd.Series([True, None], dtype="boolean"), pl.Boolean, [True, None]),
        (pd.Series(["a", None], dtype="string"), pl.String, ["a", None]),
        (pd.Series(["a", None], dtype="category"), pl.String, ["a", None]),
        (pd.Series([1.0, 0.0], dtype="Sparse[float]"), pl.Float64, [1.0, 0.0]),
        (pd.Series(pd.period_range("2024-01", periods=1, freq="M")), pl.String, ["2024-01"]),
        (pd.Series([1, 2], index=[7, 3]), pl.Int64, [1, 2]),
        (pl.Series(["a", None], dtype=pl.Categorical), pl.String, ["a", None]),
        (pl.Series([datetime.timedelta(minutes=1)]), pl.Float64, [60.0]),
        ([], pl.Null, []),
    ],
    ids=lambda value: f"{type(value).__module__} {value!r}"[:60],
)
def test_a_column_is_a_series_in_any_wrapping(column: Any, dtype: Any, values: list[Any]) -> None:
    series = as_series("a", column)
    assert series.dtype == dtype
    assert series.to_list() == values


def test_times_in_a_zone_keep_their_moment_and_microseconds() -> None:
    moments = [MOMENT.replace(tzinfo=datetime.UTC), MOMENT.replace(tzinfo=ZONE)]
    expected = [MOMENT, MOMENT - datetime.timedelta(hours=9)]
    for column in (pd.Series(moments, dtype="datetime64[us, UTC]"), pd.to_datetime(pd.Series(moments), utc=True)):
        series = as_series("a", column)
        assert series.dt.replace_time_zone(None).to_list() == expected
    as_words = as_series("a", [str(moment) for moment in moments])
    assert parse_dates(as_text(as_words), YEAR_FIRST).to_list() == expected
    assert as_series("a", moments).dtype in (pl.String, pl.Datetime("us", "UTC"))  # of several zones in one list


@pytest.mark.parametrize("column", [[[1, 2]], np.zeros((2, 2)), np.float64(3.0)])
def test_a_column_has_one_value_per_row(column: Any) -> None:
    with pytest.raises(TableError, match=r"^the column 'a' must have one value per row; it is of shape \("):
        as_series("a", column)


@pytest.mark.parametrize("cells", [[{"b": 1}, None], [(1, 2), None], [b"a", None], [{1}, None]])
def test_objects_that_are_no_single_values_are_not_text(cells: list[Any]) -> None:
    series = as_series("a", np.array([*cells, None], dtype=object)[:2])
    with pytest.raises(TableError, match=r"^the column 'a' must have single values; it holds Object"):
        as_text(series)


def test_masked_cells_are_refused() -> None:
    with pytest.raises(TableError, match=r"^the column 'a' has masked cells; fill them with NaN"):
        as_series("a", np.ma.array([1.0, 2.0], mask=[False, True]))
    assert as_series("a", np.ma.array([1.0, 2.0])).to_list() == [1, 2]


# -- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([" a ", "b\t", "", "  ", None], ["a", "b", None, None, None]),
        (["1.0", "2.00", "3.5", "-0.0", "+4.0"], ["1", "2", "3.5", "0", "+4"]),
        ([1.0, -0.0, 2.5, float("nan"), None], ["1", "0", "2.5", None, None]),
        ([3, None], ["3", None]),
        ([True, False], ["true", "false"]),
        (["cafe\u0301"], ["caf\u00e9"]),
        ([datetime.date(2024, 1, 2)], ["2024-01-02"]),
    ],
)
def test_cells_as_text_are_trimmed_and_whole_numbers_have_no_point(cells: list[Any], expected: list[Any]) -> None:
    series = pl.Series("a", cells)
    assert as_text(series).to_list() == expected
    repeated = pl.concat([series] * 9)  # where cells repeat, only the distinct ones are looked at
    assert as_text(repeated).to_list() == expected * 9


@pytest.mark.parametrize("word", sorted(MISSING_WORDS - {""}))
def test_words_for_missing_cells_are_null_in_any_case(word: str) -> None:
    text = pl.Series([word, word.upper(), word.title(), "x"])
    assert without_missing_words(text).to_list() == [None, None, None, "x"]


def test_a_function_of_cells_is_called_with_the_distinct_ones() -> None:
    lengths = []

    def doubled(text: pl.Series) -> pl.Series:
        lengths.append(len(text))
        return text + text

    text = pl.Series(["a", "b", None, "a"] * 5)
    assert by_distinct(doubled, text).to_list() == ["aa", "bb", None, "aa"] * 5
    assert by_distinct(doubled, pl.Series(["a", "b", None])).to_list() == ["aa", "bb", None]
    assert lengths == [2, 3]


# -- numbers ---------------------------------------------------------------------------------------------------------

NUMBERS = st.floats(-1e9, 1e9).map(lambda number: round(number, 3))


def english(number: float) -> str:
    return f"{number:,.3f}"


def continental(number: float) -> str:
    return f"{number:,.3f}".translate(str.maketrans(",.", ".,"))


WRITTEN: dict[str, tuple[str, Any]] = {
    "repr": (PLAIN, repr),
    "exponent": (PLAIN, lambda number: f"{number:.17e}"),
    "thousands": (GROUPED, english),
    "dollars": (GROUPED, lambda number: "-$" + english(-number) if number < 0 else "$" + english(number)),
    "dollars, sign inside": (GROUPED, lambda number: "$" + english(number)),
    "euros behind": (GROUPED, lambda number: english(number) + " €"),
    "apostrophes": (GROUPED, lambda number: english(number).replace(",", "'")),
    "thin spaces": (GROUPED, lambda number: english(number).replace(",", "\u202f")),
    "a minus sign": (GROUPED, lambda number: english(number).replace("-", "−")),
    "decimal comma": (GROUPED_COMMA, continental),
    "decimal comma, euros": (GROUPED_COMMA, lambda number: continental(number) + " €"),
    "decimal comma, spaces": (COMMA, lambda number: continental(number).replace(".", " ")),
}


@pytest.mark.parametrize("how", WRITTEN)
@given(st.lists(NUMBERS, min_size=1, max_size=12))
@hypothesis_settings(max_examples=25, deadline=None)
def test_numbers_are_read_as_they_were_written(how: str, numbers: list[float]) -> None:
    notation, write = WRITTEN[how]
    text = pl.Series([*map(write, numbers), None])
    assert parse_numbers(text, notation).to_list() == [*numbers, None]
    if notation in (COMMA, GROUPED_COMMA) or "," in "".join(text.drop_nulls()):
        known = pl.Series([*text, write(1234.5)])
        assert parse_numbers(known, notation_of(known)).to_list() == [*numbers, None, 1234.5]


@pytest.mark.parametrize(
    ("cell", "notation", "expected"),
    [
        ("95 %", GROUPED, 0.95),
        ("12.5%", GROUPED, 0.125),
        ("12,5 %", COMMA, 0.125),
        ("1,234", GROUPED, 1234.0),
        ("1.234", GROUPED_COMMA, 1234.0),
        ("1.234", COMMA, None),
        ("7.925", COMMA, None),
        ("1234,5", COMMA, 1234.5),
        ("1.234.567,89", GROUPED_COMMA, 1234567.89),
        ("+5", PLAIN, 5.0),
        ("1e5", GROUPED, 1e5),
        ("1,5", GROUPED, None),
        ("12,34", GROUPED, None),
        ("1,2345", GROUPED, None),
        ("1.5", COMMA, None),
        ("555 12", GROUPED, None),
        ("9%5", GROUPED, None),
        ("5 kg", GROUPED, None),
        ("1/2", GROUPED, None),
        ("$", GROUPED, None),
        ("", GROUPED, None),
        ("€", COMMA, None),
        ("0x1F", PLAIN, None),
    ],
)
def test_a_notation_has_its_numbers_and_no_others(cell: str, notation: str, expected: float | None) -> None:
    assert parse_numbers(pl.Series([cell]), notation).to_list() == [expected]


@pytest.mark.parametrize(
    ("cells", "notation"),
    [
        (["1.5", "2"], PLAIN),
        (["1,234", "5,678"], GROUPED),  # to read 1,234 as 1.234 would be worse
        (["1,234", "1,5"], COMMA),
        (["1.234", "5.678"], PLAIN),
        (["1.234", "5.678,9"], GROUPED_COMMA),
        (["7,925", "7,25"], COMMA),
        (["95 %", "3"], GROUPED),
        (["red", "blue"], PLAIN),
    ],
)
def test_the_notation_is_the_one_in_which_most_cells_are_numbers(cells: list[str], notation: str) -> None:
    assert notation_of(pl.Series(cells)) == notation


# -- truth values ----------------------------------------------------------------------------------------------------


def test_words_for_truth_are_one_and_zero() -> None:
    words = pl.Series(["yes", "No", "TRUE", "f", "on", "OFF", "1", "0", "maybe", None])
    assert parse_truth(words).to_list() == [1, 0, 1, 0, 1, 0, 1, 0, None, None]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["yes", "no"], True),
        (["Y", "N"], True),
        (["t", "f"], True),
        (["yes", "Yes", "NO"], True),
        (["yes", "false", "True", "no"], True),
        (["0", "1", "True", "False"], True),
        (["yes", "maybe"], False),
        (["yes", "true"], False),
        (["0", "1"], False),
        (["t", "f", "y", "n"], False),
        (["yes", "no", "unknown"], False),
        (["yes"], False),
    ],
)
def test_words_are_truth_values_if_both_kinds_are_there(words: list[str], expected: bool) -> None:
    assert is_truth(words) is expected


# -- dates -----------------------------------------------------------------------------------------------------------

DAYS = st.dates(datetime.date(1901, 1, 1), datetime.date(2099, 12, 31))
ORDERS: dict[str, tuple[str, list[str]]] = {
    "ISO": (YEAR_FIRST, ["%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d"]),
    "day first": (DAY_FIRST, ["%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y"]),
    "month first": (MONTH_FIRST, ["%m/%d/%Y", "%m-%d-%Y"]),
    "compact": (COMPACT, ["%Y%m%d"]),
}


@pytest.mark.parametrize("how", ORDERS)
@given(days=st.lists(DAYS, min_size=1, max_size=8), data=st.data())
@hypothesis_settings(max_examples=30, deadline=None)
def test_dates_are_read_as_they_were_written(how: str, days: list[datetime.date], data: st.DataObject) -> None:
    order, formats = ORDERS[how]
    form = data.draw(st.sampled_from(formats))
    certain = [*days, datetime.date(2024, 12, 31)]
    text = pl.Series([*(day.strftime(form) for day in certain), None])
    assert date_order(text) == order
    assert parse_dates(text, order).dt.date().to_list() == [*certain, None]


@given(st.lists(st.datetimes(datetime.datetime(1901, 1, 1), datetime.datetime(2099, 12, 31)), min_size=1, max_size=8))
@hypothesis_settings(max_examples=50, deadline=None)
def test_moments_are_read_to_the_microsecond(moments: list[datetime.datetime]) -> None:
    for separator in (" ", "T"):
        text = pl.Series([moment.isoformat(separator) for moment in moments])
        assert date_order(text) == YEAR_FIRST
        assert parse_dates(text, YEAR_FIRST).to_list() == moments


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2024-01-02", "2024-01-02T00:00:00"),
        ("2024-1-2", "2024-01-02T00:00:00"),
        ("2024-01-02 03:04", "2024-01-02T03:04:00"),
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05"),
        ("2024-01-02T03:04:05+09:00", "2024-01-01T18:04:05"),
        ("2024-01-02T03:04:05-0130", "2024-01-02T04:34:05"),
        ("2024-01-02 03:04:05.5+00:00", "2024-01-02T03:04:05.500000"),
        ("2024-02-30", None),
        ("2024-13-01", None),
        ("soon", None),
    ],
)
def test_zones_are_converted_and_impossible_days_are_null(cell: str, expected: str | None) -> None:
    found = parse_dates(pl.Series([cell]), YEAR_FIRST).to_list()[0]
    assert (found and found.isoformat()) == expected


@pytest.mark.parametrize(
    ("cells", "order"),
    [
        (["3/4/2024", "5/6/2024"], AMBIGUOUS),
        (["13/4/2024", "5/6/2024"], DAY_FIRST),
        (["3/14/2024", "5/6/2024"], MONTH_FIRST),
        (["13/4/2024", "3/14/2024"], MIXED),
        (["2024", "2023"], None),
        (["1-2-3", "4-5-6"], None),
        (["red", "blue"], None),
        (["192.168.1.10", "10.0.0.1"], None),
        (["555-12-1234", "555-13-1234"], None),
        ([None, None], None),
    ],
)
def test_the_order_of_dates_is_what_no_cell_contradicts(cells: list[Any], order: str | None) -> None:
    assert date_order(pl.Series(cells, dtype=pl.String)) == order

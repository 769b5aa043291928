"""Columns become numbers, and every cell that cannot is named."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_frames import N_ROWS, frame_of, with_cell

from tabcohort import Table, TableError
from tabcohort.data.columns import (
    check_finite_cells,
    column_of_numbers,
    column_of_times,
    feature_matrix,
    feature_row,
    has_decimal_commas,
    is_text,
    require_column,
)

# -- cells -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("NaN", "is missing (NaN)"),
        ("", "is missing (NaN)"),
        ("NA", "is missing (NaN)"),
        ("inf", "is infinite (inf)"),
        ("-inf", "is infinite (inf)"),
        ("1e400", "is infinite (inf)"),
        ("1e101", "holds 1e+101"),
        ("-1e101", "holds -1e+101"),
    ],
)
def test_a_cell_that_is_not_finite_is_named_by_row_and_column(cell: str, problem: str) -> None:
    words = (
        f"row 5, column 'a' {problem}: every cell must be a number of at most 1e100, so fix these cells, or leave out "
        "their rows or columns"
    )
    with pytest.raises(TableError, match=f"^{re.escape(words)}$"):
        Table.from_frame(with_cell(cell), "y")


def test_more_cells_that_are_not_finite_are_counted() -> None:
    X = np.ones((4, 2))
    X[1, 1] = X[2, 0] = X[3, 1] = np.nan
    words = r"row 2, column 'x1' is missing \(NaN\); such cells are in 'x0' \(1\), 'x1' \(2\): every cell must"
    with pytest.raises(TableError, match=words):
        Table.from_arrays(X, np.array([0, 1, 0, 1]))


def test_the_columns_of_all_missing_cells_are_counted() -> None:
    cells: list[Any] = [None, *range(N_ROWS - 1)]
    words = r"row 1, column 'b' is missing \(NaN\); such cells are in 'b' \(1\), 'c' \(30\): "
    with pytest.raises(TableError, match=words):
        Table.from_frame(frame_of(b=cells, c=[None] * N_ROWS), "y")


def test_a_cell_may_be_as_large_as_1e100_and_rows_may_have_numbers_of_their_own() -> None:
    check_finite_cells(np.array([[1e100, -1e100]]), ("a", "b"))
    check_finite_cells(np.empty((0, 2)), ("a", "b"))
    with pytest.raises(TableError, match=r"^row 9, column 'b' holds 1\.1e\+100: every cell must be"):
        check_finite_cells(np.array([[0.0, 0.0], [0.0, 1.1e100]]), ("a", "b"), np.array([4, 9]))


@pytest.mark.parametrize(("cell", "value"), [("1e-400", 0.0), ("-0.0", 0.0), ("+5", 5.0), (" 7 ", 7.0), ("2.5", 2.5)])
def test_ordinary_spellings_of_numbers_are_parsed(cell: str, value: float) -> None:
    assert Table.from_frame(with_cell(cell), "y").X[4, 0] == value


def test_text_after_thousands_of_numbers_is_named_by_its_row() -> None:
    words = (
        r"^row 5201, column 'a' holds 'oops', which is not a number \(1 such cell\): fix these cells, or leave out the "
        "column$"
    )
    with pytest.raises(TableError, match=words):
        Table.from_frame(with_cell("oops", row=5201, n_rows=6000), "y")


def test_a_long_cell_is_cut_in_the_message() -> None:
    with pytest.raises(TableError, match=rf"holds '{'z' * 37}\.\.\.', which is not a number \(1 such cell\)"):
        Table.from_frame(with_cell("z" * 5000), "y")


# -- one column ------------------------------------------------------------------------------------------------------


def test_a_column_of_text_says_how_to_leave_it_out() -> None:
    words = re.escape(
        "the column 'a' is text (row 1 holds 'red'): only numbers can be features so far: convert it, name it a key "
        "(--key), or leave it out (--drop)"
    )
    with pytest.raises(TableError, match=f"^{words}$"):
        Table.from_frame(frame_of(a=["red", "blue", "green"] * 10), "y")


@pytest.mark.parametrize("cells", [["1,5", "-2,25", ",5"], ["1,5", "1,234", "NA"], ["0,1", "", "+3,0"]])
def test_a_column_with_decimal_commas_is_advised_to_have_points(cells: list[str]) -> None:
    words = re.escape(
        f"the column 'a' is text (row 1 holds '{cells[0]}'): it looks like numbers with decimal commas; write decimal "
        "points (1.5)"
    )
    with pytest.raises(TableError, match=f"^{words}$"):
        Table.from_frame(frame_of(a=cells * 10), "y")


def test_a_column_of_whole_numbers_and_decimal_commas_is_advised_too() -> None:
    words = re.escape(
        "row 2, column 'a' holds '2,5', which is not a number (10 such cells): the column looks like numbers with "
        "decimal commas; write decimal points (1.5)"
    )
    with pytest.raises(TableError, match=f"^{words}$"):
        Table.from_frame(frame_of(a=["2", "2,5", "3"] * 10), "y")


@pytest.mark.parametrize("cells", [["1,234", "5,678", "9,012"], ["1,5", "2,5", "red"], ["1,5,2", "2,5", "3,5"]])
def test_thousands_and_other_text_with_commas_are_no_decimals(cells: list[str]) -> None:
    """To read 1,234 as 1.234 would be worse than to refuse it."""
    assert not has_decimal_commas(pl.Series(cells))
    with pytest.raises(TableError, match=r"the column 'a' is text .*: only numbers can be features so far"):
        Table.from_frame(frame_of(a=cells * 10), "y")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["red", "blue", "1"], True),
        (["red", "2", "1"], False),  # most of its cells are numbers, so the others are mistakes
        (["true", "FALSE", "NA", ""], False),
        ([None, None, "red"], True),
        ([None, None], False),
        ([1, 2], False),
    ],
)
def test_a_column_is_text_if_most_of_its_cells_are(cells: list[Any], expected: bool) -> None:
    dtype = pl.Int64 if isinstance(cells[0], int) else pl.String
    assert is_text(pl.Series("a", cells, dtype=dtype)) is expected


def test_a_column_of_lists_says_how_to_leave_it_out() -> None:
    with pytest.raises(TableError, match=r"^the column 'a' \(List\(Int64\)\) is not numbers: only numbers .*--drop"):
        Table.from_frame(frame_of(a=[[1]] * N_ROWS), "y")


def test_booleans_are_one_and_zero() -> None:
    assert Table.from_frame(frame_of(a=["True", "FALSE", " true"] * 10), "y").X[:3, 0].tolist() == [1, 0, 1]
    assert Table.from_frame(frame_of(a=[True, False, True] * 10), "y").X[:3, 0].tolist() == [1, 0, 1]
    assert np.isnan(column_of_numbers("a", pl.Series(["true", None]))[1])


def test_integers_then_floats_are_all_floats() -> None:
    cells = [str(i) for i in range(5000)] + ["0.5"]
    assert column_of_numbers("a", pl.Series(cells))[[4999, 5000]].tolist() == [4999, 0.5]


@pytest.mark.parametrize(
    "column",
    [
        [1, None],
        ["1", None],
        [True, None],
        [Decimal(1), None],
        np.array([1, None], dtype=object),
        np.array(["1", None], dtype=object),
        np.array([1, np.nan], dtype=object),
        pd.Series([1, None], dtype="Int64"),
        pd.Series(["1", None]),
        pd.Series(["1", None], dtype="string"),
        pd.Series([1, pd.NA], dtype=object),
        pd.Series(["1", None], dtype="category"),
        pd.Series([1, None], index=[7, 3]),
        pl.Series([1, None], dtype=pl.UInt8),
        pl.Series(["1", None], dtype=pl.Categorical),
    ],
    ids=lambda column: f"{type(column).__module__} {getattr(column, 'dtype', '')} {list(column)}",
)
def test_numbers_and_missing_cells_are_read_in_any_wrapping(column: Any) -> None:
    numbers = column_of_numbers("a", column)
    assert numbers.dtype == np.float64
    assert numbers[0] == 1
    assert np.isnan(numbers[1])


def test_text_and_numbers_side_by_side_are_parsed_alike() -> None:
    assert column_of_numbers("a", np.array(["1", 2.5, 3], dtype=object)).tolist() == [1, 2.5, 3]


def test_dates_are_the_same_number_from_pandas_and_polars_or_refused() -> None:
    """A date from one library must not be a thousand times the same date from another."""
    days = ["2020-01-01", "2020-01-02"]
    columns = [pd.Series(pd.to_datetime(days)), pl.Series(days).str.to_date(), pl.Series(days).str.to_datetime()]
    numbers: list[Any] = []
    for column in columns:
        try:
            numbers.append(column_of_numbers("a", column).tolist())
        except TableError as error:
            assert " is dates or times: only numbers can be features so far" in str(error)  # noqa: PT017
            numbers.append("refused")
    assert numbers == [numbers[0]] * 3


# -- columns by name -------------------------------------------------------------------------------------------------

FRAMES: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "pandas": pd.DataFrame,
    "pandas with another index": lambda columns: pd.DataFrame(columns, index=[9, 4]),
    "polars": pl.DataFrame,
    "mapping": dict,
}


@pytest.mark.parametrize("kind", FRAMES)
def test_columns_are_taken_by_name_in_any_order(kind: str) -> None:
    data = FRAMES[kind]({"extra": ["x", "y"], "b": [1, 2], "a": ["3", "4"]})
    assert feature_matrix(data, ("a", "b")).tolist() == [[3, 1], [4, 2]]


@pytest.mark.parametrize("kind", FRAMES)
def test_a_missing_column_offers_the_nearest_name(kind: str) -> None:
    data = FRAMES[kind]({"mean_radius": [1, 2], "b": [1, 2]})
    words = r"lacks 'mean radius' \(did you mean 'mean_radius'\?\): 2 columns are needed; it has mean_"
    with pytest.raises(TableError, match=words):
        feature_matrix(data, ("b", "mean radius"))


def test_a_column_that_is_needed_is_not_offered_for_another() -> None:
    with pytest.raises(TableError, match=r"^the table lacks 'size2': 2 columns are needed; it has size1, other$"):
        feature_matrix({"size1": [1], "other": [1]}, ("size1", "size2"))


def test_whole_numbers_may_name_columns() -> None:
    assert feature_matrix(pd.DataFrame([[1, 2]]), ("1", "0")).tolist() == [[2, 1]]


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(TableError, match=r"^all columns must have the same number of rows; 'b' has 1, 'a' has 2$"):
        feature_matrix({"a": [1, 2], "b": [1]}, ("a", "b"))


@pytest.mark.parametrize("shape", [(2, 3), (2,), (2, 2, 2)])
def test_an_array_of_another_width_is_refused(shape: tuple[int, ...]) -> None:
    words = f"the model needs 2 columns, as an array of shape (n, 2); it has {shape}"
    with pytest.raises(TableError, match=f"^{re.escape(words)}$"):
        feature_matrix(np.ones(shape), ("a", "b"))


@pytest.mark.parametrize("data", [[["red", "blue"]], [{"a": 1}], [[1, 2], [3]], [[1, 1j]]])
def test_what_is_no_array_of_numbers_is_refused(data: Any) -> None:
    with pytest.raises(TableError, match="the rows must be a frame, or an array of numbers: "):
        feature_matrix(data, ("a", "b"))


CELLS = [1, -2, 0.5, 2**70, 10**400, True, None, "3", " 4.5 ", "", np.int32(6), np.float32(7)]


@given(st.lists(st.sampled_from(CELLS), min_size=1, max_size=4))
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_record_is_read_as_a_frame_of_one_row_is(cells: list[Any]) -> None:
    names = [f"x{i}" for i in range(len(cells))]
    expected = feature_matrix({name: [cell] for name, cell in zip(names, cells, strict=True)}, names)
    np.testing.assert_array_equal(feature_row(dict(zip(names, cells, strict=True)), names), expected)


def test_a_column_that_is_not_there_is_an_error_and_others_are_none() -> None:
    require_column(["diagnosis", "b"], "diagnosis")
    words = r"^there is no column 'diagnosys' \(did you mean 'diagnosis'\?\); the table has diagnosis, b$"
    with pytest.raises(TableError, match=words):
        require_column(["diagnosis", "b"], "diagnosys")


# -- times -----------------------------------------------------------------------------------------------------------

DAYS = [f"2024-{1 + i % 12:02d}-{1 + i // 12:02d}" for i in range(N_ROWS)]
TIMES: dict[str, tuple[Any, list[Any]]] = {
    "whole numbers": (list(range(N_ROWS, 0, -1)), list(range(N_ROWS, 0, -1))),
    "fractions": ([i / 4 for i in range(N_ROWS)], list(range(N_ROWS))),
    "numbers as text": ([f" {i} " for i in range(N_ROWS)], list(range(N_ROWS))),
    "days as text": (DAYS, DAYS),
    "moments as text": ([f"{day} 12:00:00" for day in DAYS], DAYS),
    "moments in a zone": ([f"{day}T12:00:00Z" for day in DAYS], DAYS),
    "days": (pl.Series(DAYS).str.to_date(), DAYS),
    "moments": (pl.Series(DAYS).str.to_datetime("%Y-%m-%d"), DAYS),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_have_the_order_of_numbers_and_days_and_are_no_features(kind: str) -> None:
    cells, order = TIMES[kind]
    table = Table.from_frame(frame_of(a=np.arange(N_ROWS) / 8, when=cells), "y", time="when")
    assert table.schema.features == ("a",)
    assert table.time is not None
    assert table.time.dtype == np.float64
    np.testing.assert_array_equal(np.argsort(table.time, kind="stable"), np.argsort(order, kind="stable"))
    assert Table.from_frame(frame_of(), "y").time is None


NO_TIMES: dict[str, tuple[list[Any], int, str]] = {
    "missing": ([*DAYS[:4], None, *DAYS[5:]], 5, "None"),
    "no date": ([*DAYS[:4], "soon", *DAYS[5:]], 5, "'soon'"),
    "nan": ([1.0, float("nan"), *range(28)], 2, "nan"),
    "infinite": ([1.0, 2.0, float("inf"), *range(27)], 3, "inf"),
    "empty": (["1", "2", "", *map(str, range(27))], 3, "''"),
    "day or month": (["3/4/2024"] * N_ROWS, 1, "'3/4/2024'"),
    "no such day": (["2024-13-32"] * N_ROWS, 1, "'2024-13-32'"),
    "words": (["soon"] * N_ROWS, 1, "'soon'"),
}


@pytest.mark.parametrize("kind", NO_TIMES)
def test_a_time_that_is_none_is_named_by_its_row(kind: str) -> None:
    cells, row, cell = NO_TIMES[kind]
    words = re.escape(
        f"row {row} of those with a target has the time {cell} in 'when'; every row needs a number or a date such as "
        "2024-12-31"
    )
    with pytest.raises(TableError, match=f"^{words}$"):
        column_of_times("when", pl.Series("when", cells, strict=False))
    with pytest.raises(TableError, match=f"^{words}$"):
        Table.from_frame(frame_of(when=cells), "y", time="when")


@pytest.mark.parametrize(("cell", "dtype"), [(True, "Boolean"), ([1], "List(Int64)"), (None, "Null")])
def test_a_column_of_something_else_is_no_time(cell: Any, dtype: str) -> None:
    words = f"the time 'when' ({dtype}) must be numbers or dates such as 2024-12-31"
    with pytest.raises(TableError, match=f"^{re.escape(words)}$"):
        Table.from_frame(frame_of(when=[cell] * N_ROWS), "y", time="when")

"""Dates and times that no calendar has are refused with their column and row, wherever a frame comes from."""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from tabcohort import Table, TableError
from tabcohort.data.time_range import check_times

YEARS = r"^'t': 'when' holds a date that is not in the years 1 to 9999 \(row 2\); replace it by a missing cell$"


@pytest.mark.parametrize("dtype", [pl.Datetime("ms"), pl.Datetime("us", "Europe/Rome"), pl.Date], ids=str)
@pytest.mark.parametrize("number", [2**62, -(2**62)])
def test_a_date_that_no_calendar_has_is_refused(dtype: pl.DataType, number: int) -> None:
    number = number if dtype != pl.Date else (2**31 - 1 if number > 0 else -(2**31))
    frame = pl.DataFrame({"when": pl.Series([0, number], dtype=pl.Int32 if dtype == pl.Date else pl.Int64).cast(dtype)})
    with pytest.raises(TableError, match=YEARS):
        check_times(frame, "'t'")


def test_a_time_after_the_end_of_a_day_is_refused() -> None:
    frame = pl.DataFrame({"when": pl.Series([0, 86_400 * 10**9]).cast(pl.Time, wrap_numerical=True)})
    if frame["when"].null_count():
        pytest.skip("this Polars makes no such times")
    with pytest.raises(TableError, match=r"'when' holds a time that no day has \(row 2\)"):
        check_times(frame, "'t'")


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_the_first_and_the_last_years_are_fine(unit: Any) -> None:
    years = (1678, 2261) if unit == "ns" else (2, 9998)
    times = [datetime.datetime(year, 1, 1) for year in years]
    check_times(pl.DataFrame({"when": pl.Series(times, dtype=pl.Datetime(unit))}), "'t'")


def test_a_file_with_such_a_date_is_refused_by_its_name(read: Callable[[bytes], pl.DataFrame]) -> None:
    file = io.BytesIO()
    pl.DataFrame({"when": pl.Series([0, 2**62]).cast(pl.Datetime("us"))}).write_parquet(file)
    with pytest.raises(TableError, match=r"table\.csv': 'when' holds a date that is not in the years 1 to 9999"):
        read(file.getvalue())


def test_a_frame_in_memory_with_such_a_date_is_refused() -> None:
    frame = pl.DataFrame({"when": pl.Series([0, 2**62]).cast(pl.Datetime("us")), "y": ["a", "b"]})
    with pytest.raises(TableError, match="the table: 'when' holds a date"):
        Table.from_frame(frame, "y")

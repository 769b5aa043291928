"""Dates and times that no calendar has: files can hold them, and Polars panics when it shows or converts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabcohort.errors import TableError

if TYPE_CHECKING:
    import polars as pl

# Days from 1970-01-01 to the second day of the year 1 and to the last but one of 9999: every time zone stays inside.
FIRST_DAY, LAST_DAY = -719_161, 2_932_895
UNITS_PER_DAY = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def check_times(frame: pl.DataFrame, source: str) -> None:
    """Raise `TableError` for the first date outside of the years 1 to 9999, or time outside of a day.

    Args:
        frame: of a source.
        source: its name for messages.
    """
    for column in frame:
        limits = _limits(column.dtype)
        if limits is None:
            continue
        cells, (low, high) = column.to_physical(), limits
        is_outside = (cells < low) | (cells > high)
        if is_outside.any():
            row, what = (
                is_outside.arg_max(),
                "a time that no day has" if limits[0] == 0 else "a date that is not in the years 1 to 9999",
            )
            raise TableError(
                f"{source}: {column.name!r} holds {what} (row {(row or 0) + 1}); replace it by a missing cell"
            )


def _limits(dtype: pl.DataType) -> tuple[int, int] | None:
    """Return the lowest and the highest number that stands for a time; None where there are none."""
    import polars as pl

    if dtype == pl.Date:
        return FIRST_DAY, LAST_DAY
    if isinstance(dtype, pl.Datetime):
        per_day = UNITS_PER_DAY[dtype.time_unit]
        return max(FIRST_DAY * per_day, -(2**63)), min((LAST_DAY + 1) * per_day - 1, 2**63 - 1)
    return (0, UNITS_PER_DAY["ns"] - 1) if dtype == pl.Time else None

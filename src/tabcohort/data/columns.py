"""Columns as numbers: parsing, missing cells, times, and errors that name row and column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tabcohort.errors import TableError, nearest
from tabcohort.types import FloatArray, IntArray

if TYPE_CHECKING:
    import polars as pl

MAX_MAGNITUDE = 1e100  # squares of larger cells overflow
MISSING_WORDS = ("", "NA", "N/A", "<NA>", "NaN", "nan", "null", "NULL")
ONLY_NUMBERS = "only numbers can be features so far: convert it, name it a key (--key), or leave it out (--drop)"
DECIMAL_COMMAS = "looks like numbers with decimal commas; write decimal points (1.5)"


def feature_matrix(data: Any, features: Sequence[str]) -> FloatArray:
    """Return the named columns of a frame (pandas, polars, a mapping of columns) or an array's columns as numbers.

    Args:
        data: a frame, whose columns are found by name in any order, or an array `(n_rows, n_features)`.
        features: the columns' names.

    Returns:
        `(n_rows, n_features)`, float64; a missing cell is NaN.

    Raises:
        TableError: a column is missing or is not numbers, or an array has another number of columns.
    """
    if hasattr(data, "columns") or isinstance(data, Mapping):
        column_of = {str(name): name for name in (data.columns if hasattr(data, "columns") else data)}
        _require_all(features, list(column_of))
        columns = [column_of_numbers(name, data[column_of[name]]) for name in features]
        for name, column in zip(features, columns, strict=True):
            if len(column) != len(columns[0]):
                rows = f"{name!r} has {len(column)}, {features[0]!r} has {len(columns[0])}"
                raise TableError(f"all columns must have the same number of rows; {rows}")
        return np.column_stack(columns) if columns else np.empty((len(data), 0))
    try:
        X = np.asarray(data, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TableError(f"the rows must be a frame, or an array of numbers: {error}") from None
    if X.ndim != 2 or X.shape[1] != len(features):
        raise TableError(
            f"the model needs {len(features)} columns, as an array of shape (n, {len(features)}); it has {X.shape}"
        )
    return X


def feature_row(record: Mapping[str, Any], features: Sequence[str]) -> FloatArray:
    """Return one record as numbers, `(1, n_features)`; a missing cell is NaN.

    Raises:
        TableError: a column is missing, or its value is not a number.
    """
    cells = [record.get(name) for name in features]
    if all(isinstance(cell, (float, np.floating, np.integer)) or type(cell) is int for cell in cells):
        try:
            return np.array([cells], dtype=np.float64)
        except OverflowError:
            pass  # an integer beyond every float, which gets the same error as one in a table
    return feature_matrix({name: [value] for name, value in record.items()}, features)


def column_of_numbers(name: str, column: ArrayLike | pl.Series) -> FloatArray:
    """Return one column as float64, parsing text; a missing cell is NaN.

    Raises:
        TableError: a cell is not a number; the message names the row, or says that the column is text.
    """
    import polars as pl

    series = _as_series(name, column)
    if series.dtype.is_temporal():
        raise TableError(f"the column {name!r} ({series.dtype}) is dates or times: {ONLY_NUMBERS}")
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if series.dtype != pl.String:
        try:
            return series.cast(pl.Float64).fill_null(np.nan).to_numpy()
        except pl.exceptions.PolarsError:
            raise TableError(f"the column {name!r} ({series.dtype}) is not numbers: {ONLY_NUMBERS}") from None
    return _parsed_text(name, series)


def _as_series(name: str, column: ArrayLike | pl.Series) -> pl.Series:
    import polars as pl

    if isinstance(column, pl.Series):
        return column
    cells = np.asarray(column)
    if cells.dtype != object:
        return pl.Series(name, cells)
    # Text, numbers and missing cells side by side.
    return pl.Series(name, [None if cell is None else str(cell) for cell in cells], dtype=pl.String)


def _parsed_text(name: str, series: pl.Series) -> FloatArray:
    """Return a column of text as numbers; truth values are 1 and 0, a missing cell is NaN.

    Raises:
        TableError: a cell is not a number.
    """
    import polars as pl

    text = series.str.strip_chars()
    text = text.set(text.is_in(MISSING_WORDS), None)
    words = text.str.to_lowercase()
    if words.drop_nulls().is_in(["true", "false"]).all() and words.drop_nulls().len():
        return (words == "true").cast(pl.Float64).fill_null(np.nan).to_numpy()
    numbers = text.cast(pl.Float64, strict=False)
    wrong = (numbers.is_null() & text.is_not_null()).to_numpy()
    if not wrong.any():
        return numbers.fill_null(np.nan).to_numpy()
    row = int(np.flatnonzero(wrong)[0])
    has_commas = has_decimal_commas(series)
    if wrong.mean() > 0.5:
        advice = f"it {DECIMAL_COMMAS}" if has_commas else ONLY_NUMBERS
        raise TableError(f"the column {name!r} is text (row {row + 1} holds {_shortened(text[row])}): {advice}")
    raise TableError(
        f"row {row + 1}, column {name!r} holds {_shortened(text[row])}, which is not a number "
        f"({wrong.sum():,} such {'cell' if wrong.sum() == 1 else 'cells'}): "
        + (f"the column {DECIMAL_COMMAS}" if has_commas else "fix these cells, or leave out the column")
    )


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def is_text(column: pl.Series) -> bool:
    """Return whether most of the first cells are text that is not a number."""
    import polars as pl

    if column.dtype != pl.String:
        return False
    cells = column.drop_nulls().head(1000).str.strip_chars()
    numbers = cells.cast(pl.Float64, strict=False)
    truth = cells.str.to_lowercase().is_in(["true", "false", *MISSING_WORDS])
    return 2 * int((numbers.is_null() & ~truth).sum()) > len(cells)


def has_decimal_commas(column: pl.Series) -> bool:
    """Return whether all cells that are not numbers would be with a decimal point in place of their comma.

    Three digits after every comma are no sign of it: 1,234 may be one thousand two hundred.
    """
    import polars as pl

    cells = column.drop_nulls().str.strip_chars()
    cells = cells.filter(cells.cast(pl.Float64, strict=False).is_null() & ~cells.is_in(MISSING_WORDS))
    return cells.str.contains(r"^[+-]?\d*,\d+$").all() and not cells.str.contains(r",\d{3}$").all()


def check_finite_cells(X: FloatArray, features: Sequence[str], row_numbers: IntArray | None = None) -> None:
    """Raise `TableError` with row and column of the first cell that is NaN, infinite or beyond 1e100."""
    bad = ~(np.abs(X) <= MAX_MAGNITUDE)
    if not bad.any():
        return
    row, column = np.argwhere(bad)[0]
    number = row + 1 if row_numbers is None else row_numbers[row]
    cell = X[row, column]
    problem = "is missing (NaN)" if np.isnan(cell) else "is infinite (inf)" if np.isinf(cell) else f"holds {cell:g}"
    counts = bad.sum(axis=0)
    where = ", ".join(f"{features[place]!r} ({counts[place]:,})" for place in np.flatnonzero(counts)[:10])
    more = f"; such cells are in {where}" if bad.sum() > 1 else ""
    raise TableError(
        f"row {number}, column {features[column]!r} {problem}{more}: every cell must be a number of at most 1e100, so "
        "fix these cells, or leave out their rows or columns"
    )


def _require_all(needed: Sequence[str], names: Sequence[str]) -> None:
    """Raise `TableError` naming every column that is missing; the nearest name offered is one that is not needed."""
    available = set(names)
    missing = [name for name in needed if name not in available]
    if missing:
        unused = available - set(needed)
        raise TableError(
            f"the table lacks {', '.join(map(repr, missing[:10]))}{nearest(missing[0], sorted(unused))}: "
            f"{len(needed):,} columns are needed; it has {', '.join(names[:20])}"
        )


def require_column(names: Sequence[str], name: str) -> None:
    """Raise `TableError` unless the column is there; the message offers the nearest name."""
    if name not in names:
        raise TableError(f"there is no column {name!r}{nearest(name, names)}; the table has {', '.join(names[:20])}")


def column_of_times(name: str, column: pl.Series) -> FloatArray:
    """Return a column's times as numbers, `(n_rows,)`: of numbers, dates, or text in the ISO 8601 form.

    Raises:
        TableError: a cell is none of these, or missing.
    """
    import polars as pl

    times = column
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        as_numbers = text.cast(pl.Float64, strict=False)
        as_dates = _iso_datetimes(text) if as_numbers.null_count() else as_numbers
        times = as_dates if as_dates.null_count() < as_numbers.null_count() else as_numbers
    if times.dtype.is_temporal():
        times = times.to_physical()
    if not times.dtype.is_numeric():
        raise TableError(f"the time {name!r} ({times.dtype}) must be numbers or dates such as 2024-12-31")
    values = times.cast(pl.Float64).fill_null(np.nan).to_numpy()
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise TableError(
            f"row {row + 1} of those with a target has the time {column[row]!r} in {name!r}; every row needs a number "
            "or a date such as 2024-12-31"
        )
    return values


def _iso_datetimes(text: pl.Series) -> pl.Series:
    """Return ISO 8601 text as date-times; null where it is not, as 3/4/2024 may be in March or in April."""
    import polars as pl

    is_iso = text.str.contains(r"^\d{4}-\d{2}-\d{2}").fill_null(False)
    iso = text.set(~is_iso, None)
    try:
        return iso.str.to_datetime(strict=False)
    except pl.exceptions.ComputeError:  # none of them is a date-time
        return iso.clear(len(iso))

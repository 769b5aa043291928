"""One column, or several by name, as numbers: parsing, missing cells, and errors that name row and column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tabcohort.errors import TableError, nearest
from tabcohort.types import FloatArray, IntArray

if TYPE_CHECKING:
    import polars as pl

LARGEST = 1e100  # squares of larger cells overflow
MISSING_WORDS = ("", "NA", "N/A", "<NA>", "NaN", "nan", "null", "NULL")
HOW_TO_LEAVE_OUT = (
    "only numbers can predict so far, so make it numbers, name it a key (--key), or leave it out (--drop)"
)
LOOKS_DECIMAL = "looks like numbers with decimal commas, so write decimal points (1.5)"


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
                raise TableError(f"column {name!r} has {len(column)} rows, and {features[0]!r} has {len(columns[0])}")
        return np.column_stack(columns) if columns else np.empty((len(data), 0))
    try:
        X = np.asarray(data, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TableError(f"the rows must be a frame, or an array of numbers: {error}") from None
    if X.ndim != 2 or X.shape[1] != len(features):
        raise TableError(f"the model needs {len(features)} columns, as an array of shape (n, {len(features)}); "
                         f"it was given shape {X.shape}")  # fmt: skip
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
            pass  # a whole number beyond every float, which is told of as one in a table is
    return feature_matrix({name: [value] for name, value in record.items()}, features)


def column_of_numbers(name: str, column: ArrayLike | pl.Series) -> FloatArray:
    """Return one column as float64, parsing text; a missing cell is NaN.

    Raises:
        TableError: a cell is not a number; the sentence names the row, or says that the column is text.
    """
    import polars as pl

    if isinstance(column, pl.Series):
        series = column
    else:
        cells = np.asarray(column)
        if cells.dtype == object:  # text, numbers and missing cells side by side
            cells = np.array([None if cell is None else str(cell) for cell in cells], dtype=object)
            series = pl.Series(name, cells.tolist(), dtype=pl.String)
        else:
            series = pl.Series(name, cells)
    if series.dtype.is_temporal():
        raise TableError(f"the column {name!r} ({series.dtype}) is dates or times: {HOW_TO_LEAVE_OUT}")
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if series.dtype != pl.String:
        try:
            return series.cast(pl.Float64).fill_null(np.nan).to_numpy()
        except pl.exceptions.PolarsError:
            raise TableError(f"the column {name!r} ({series.dtype}) is not numbers: {HOW_TO_LEAVE_OUT}") from None
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
        advice = f"it {LOOKS_DECIMAL}" if has_commas else HOW_TO_LEAVE_OUT
        raise TableError(f"the column {name!r} is text (row {row + 1} holds {_short(text[row])}): {advice}")
    raise TableError(
        f"row {row + 1}, column {name!r} holds {_short(text[row])}, which is not a number "
        f"({wrong.sum():,} such {'cell' if wrong.sum() == 1 else 'cells'}): "
        + (f"the column {LOOKS_DECIMAL}" if has_commas else "mend these cells, or leave out the column")
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def is_words(column: pl.Series) -> bool:
    """Return whether most of the first cells are text that is no number."""
    import polars as pl

    if column.dtype != pl.String:
        return False
    cells = column.drop_nulls().head(1000).str.strip_chars()
    numbers = cells.cast(pl.Float64, strict=False)
    truth = cells.str.to_lowercase().is_in(["true", "false", *MISSING_WORDS])
    return 2 * int((numbers.is_null() & ~truth).sum()) > len(cells)


def has_decimal_commas(column: pl.Series) -> bool:
    """Return whether all cells of text that are no numbers would be, were their comma a point.

    Three digits after every comma are no sign of it: 1,234 may be a thousand and more.
    """
    import polars as pl

    cells = column.drop_nulls().str.strip_chars()
    cells = cells.filter(cells.cast(pl.Float64, strict=False).is_null() & ~cells.is_in(MISSING_WORDS))
    return cells.str.contains(r"^[+-]?\d*,\d+$").all() and not cells.str.contains(r",\d{3}$").all()


def check_finite_cells(X: FloatArray, features: Sequence[str], row_numbers: IntArray | None = None) -> None:
    """Raise `TableError` with row and column of the first cell that is NaN, infinite or beyond 1e100."""
    bad = ~(np.abs(X) <= LARGEST)
    if not bad.any():
        return
    row, column = np.argwhere(bad)[0]
    number = row + 1 if row_numbers is None else row_numbers[row]
    cell = X[row, column]
    held = "is missing (NaN)" if np.isnan(cell) else "is infinite (inf)" if np.isinf(cell) else f"holds {cell:g}"
    counts = bad.sum(axis=0)
    where = ", ".join(f"{features[place]!r} ({counts[place]:,})" for place in np.flatnonzero(counts)[:10])
    more = f"; such cells are in {where}" if bad.sum() > 1 else ""
    raise TableError(
        f"row {number}, column {features[column]!r} {held}{more}: every cell must be a number of sensible size, so "
        "mend these cells, or leave out their rows or columns"
    )


def _require_all(needed: Sequence[str], names: Sequence[str]) -> None:
    """Raise `TableError` naming every column that is missing; only a column that nothing else needs is offered."""
    there = set(names)
    missing = [name for name in needed if name not in there]
    if missing:
        unused = there - set(needed)
        raise TableError(
            f"the table lacks {', '.join(map(repr, missing[:10]))}{nearest(missing[0], sorted(unused))}: "
            f"{len(needed):,} columns are needed; it has {', '.join(names[:20])}"
        )


def require_column(names: Sequence[str], name: str) -> None:
    """Raise `TableError` unless the column is there; the sentence offers the nearest name."""
    if name not in names:
        raise TableError(f"there is no column {name!r}{nearest(name, names)}; the table has {', '.join(names[:20])}")

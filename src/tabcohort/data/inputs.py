"""From a frame, an array or a record to a model's inputs, by the columns of a schema."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tabcohort.data import parse
from tabcohort.data.columns import MAX_MAGNITUDE, MAX_RATIO, Column, Number
from tabcohort.errors import CellError, TableError, listed, nearest, printable
from tabcohort.types import BoolArray, CodeArray, FloatArray, IntArray

if TYPE_CHECKING:
    import polars as pl

MIN_SIMILARITY = 0.7  # of a column's name to that of a missing one, from which on it is offered in its place


class InputPlaces(NamedTuple):
    """Where the inputs of a column are among those of all columns.

    Args:
        column: whose inputs they are.
        numbers: the places of its numbers; the first is that of the cell itself, and the others are made of it.
        code: the place of its code; None where it has none.
    """

    column: Column
    numbers: slice
    code: int | None

    @property
    def inputs(self) -> list[int]:
        """The places of all of them."""
        return [*range(self.numbers.start, self.numbers.stop), *([] if self.code is None else [self.code])]


def input_places(columns: Sequence[Column]) -> list[InputPlaces]:
    """Return where the inputs of each column are: the numbers of all columns come first, and then the codes.

    Examples:
        >>> from tabcohort.data.columns import Category, Number, Text
        >>> places = input_places([Category("city"), Text("note", words=("late",)), Number("age")])
        >>> [(place.column.name, place.numbers.start, place.numbers.stop, place.code) for place in places]
        [('city', 0, 0, 3), ('note', 0, 2, None), ('age', 2, 3, None)]
    """
    number, code = 0, sum(column.n_numbers for column in columns)
    places = []
    for column in columns:
        numbers = slice(number, number + column.n_numbers)
        places.append(InputPlaces(column, numbers, code if column.n_codes else None))
        number, code = numbers.stop, code + (column.n_codes > 0)
    return places


def input_names(columns: Sequence[Column]) -> list[str]:
    """Return a name for each input of a model: the numbers of all columns, then the codes."""
    numbers = [name for column in columns for name in column.number_names()]
    return [*numbers, *(column.name for column in columns if column.n_codes)]


def table_inputs(data: Any, columns: Sequence[Column]) -> FloatArray:
    """Return the inputs of rows: the numbers of all columns, then the codes.

    Args:
        data: a frame (pandas, polars, a mapping of columns), whose columns are found by name in any order, or an array
            whose columns are in the order of these.
        columns: of the schema.

    Returns:
        `(n_rows, n_inputs)`, float64; a missing number is NaN.

    Raises:
        TableError: a column is missing, a cell is not what its column holds, or an array has another shape.
    """
    if hasattr(data, "columns") or isinstance(data, Mapping):
        return joined_inputs(*_filled(columns, named_series(data, columns)))
    X = _as_matrix(data, len(columns))
    if X.dtype == np.float64 and all(column.n_numbers == 1 and not column.n_codes for column in columns):
        return X
    series = [parse.as_series(column.name, X[:, i]) for i, column in enumerate(columns)]
    return joined_inputs(*_filled(columns, series))


def numbers_and_codes(
    data: Any, columns: Sequence[Column], keep: BoolArray | None = None
) -> tuple[FloatArray, CodeArray]:
    """Return the inputs of a frame's rows as a table holds them: numbers need 64 bits, and codes 32.

    Args:
        data, columns: as for `table_inputs`.
        keep: which rows, `(n_rows,)`; all when omitted.

    Returns:
        The numbers, `(n_kept, n_numbers)`, float64, NaN where one is missing, and the codes, `(n_kept, n_codes)`.

    Raises:
        TableError: as for `table_inputs`.
    """
    return _filled(columns, named_series(data, columns), keep)


def joined_inputs(numbers: FloatArray, codes: CodeArray) -> FloatArray:
    """Return numbers and codes as one array, `(n_rows, n_inputs)`, float64; the numbers themselves without codes."""
    return np.concatenate([numbers, codes], axis=1) if codes.shape[1] else numbers


def _as_matrix(data: Any, n_columns: int) -> Any:
    """Return an array of numbers as float64, and others as they are, text as objects."""
    if isinstance(data, str | os.PathLike):
        raise TableError(f"{os.fspath(data)!r} is a name and no table; read the file with tabcohort.read_frame")
    if hasattr(data, "toarray"):
        raise TableError("a sparse matrix cannot be used; make it dense: X.toarray()")
    try:
        X = np.asarray(data)
    except (TypeError, ValueError) as error:
        raise TableError(f"the rows must be a frame, or an array of numbers or text: {error}") from None
    if X.dtype.kind not in "biufOUMm":
        raise TableError(f"the rows must be a frame, or an array of numbers or text, not of {X.dtype}")
    if X.ndim != 2 or X.shape[1] != n_columns:
        raise TableError(
            f"the model needs {n_columns} columns, as an array of shape (n, {n_columns}); it has {X.shape}"
        )
    if X.dtype.kind in "biuf":
        return X.astype(np.float64, copy=False)
    return X.astype(object) if X.dtype.kind == "U" else X


def named_series(data: Any, columns: Sequence[Column]) -> list[pl.Series]:
    """Return the columns of a frame by name."""
    data, name_of = by_name(data)
    require_columns([column.name for column in columns], list(name_of))
    series = [parse.as_series(column.name, data[name_of[column.name]]) for column in columns]
    for column, own in zip(columns, series, strict=True):
        if len(own) != len(series[0]):
            rows = f"{column.name!r} has {len(own)}, {columns[0].name!r} has {len(series[0])}"
            raise TableError(f"all columns must have the same number of rows; {rows}")
    return series


def is_record(data: Any) -> bool:
    """Return whether this is one row given by names: a mapping whose values are single cells, not columns of them."""
    return isinstance(data, Mapping) and all(isinstance(cell, str) or np.ndim(cell) == 0 for cell in data.values())


def cells_of(data: Any, columns: Sequence[Column]) -> list[list[Any]]:
    """Return the cells of each column of a frame or an array (see `table_inputs`); numbers in text are read."""
    if not (hasattr(data, "columns") or isinstance(data, Mapping)):
        return [cells.tolist() for cells in _as_matrix(data, len(columns)).T]
    cells = zip(columns, named_series(data, columns), strict=True)
    return [
        column.numbers(own)[:, 0].tolist()
        if isinstance(column, Number) and not own.dtype.is_numeric()
        else own.to_list()
        for column, own in cells
    ]


def by_name(data: Any) -> tuple[Any, dict[str, Any]]:
    """Return a frame or a mapping whose columns can be taken by name, and the own name of each by its name as text.

    A name of several parts is joined by "_".

    Raises:
        TableError: two columns have one name as text.
    """
    import polars as pl

    if hasattr(data, "column_names") and hasattr(data, "schema"):  # a pyarrow table
        data = pl.from_arrow(data)
    if isinstance(data, pl.DataFrame):  # which would search for each column from the first one on
        data = data.to_dict()
    name_of: dict[str, Any] = {}
    for name in data.columns if hasattr(data, "columns") else data:
        text = "_".join(map(str, name)) if isinstance(name, tuple) else str(name)
        if text in name_of:
            raise TableError(f"two columns are called {text!r}; give every column a name of its own")
        name_of[text] = name
    return data, name_of


def _filled(
    columns: Sequence[Column], series: Sequence[pl.Series], keep: BoolArray | None = None
) -> tuple[FloatArray, CodeArray]:
    """Return the numbers and codes of columns from their cells, filled in one by one."""
    rows = slice(None) if keep is None else keep
    n_rows = int(keep.sum()) if keep is not None else len(series[0]) if series else 0
    n_numbers = sum(column.n_numbers for column in columns)
    numbers = np.empty((n_rows, n_numbers))
    codes = np.empty((n_rows, len(input_names(columns)) - n_numbers), dtype=np.int32)
    for (column, places, code), cells in zip(input_places(columns), series, strict=True):
        if column.n_numbers:
            numbers[:, places] = column.numbers(cells)[rows]
        if code is not None:
            codes[:, code - n_numbers] = column.codes(cells)[rows]
    return _with_equal_bits(numbers), codes


def _with_equal_bits(X: FloatArray) -> FloatArray:
    """Return inputs, changed in place, whose bits are equal where they are equal: NaN has many, and zero has two."""
    X[np.isnan(X)] = np.nan
    X += 0.0  # -0.0 + 0.0 is 0.0
    return X


def hash_inputs(numbers: FloatArray, codes: CodeArray, seed: int) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each row, `(n_rows,)`: rows with equal inputs have equal hashes.

    The mixing constants are those of splitmix64 (Steele, Lea & Flood 2014).

    Args:
        numbers, codes: of the rows, as `numbers_and_codes` gives them.
        seed: selects one of many hash functions.
    """
    state = np.full(len(numbers), seed, dtype=np.uint64)
    state *= np.uint64(0x9E3779B97F4A7C15)
    for column in (*numbers.T, *codes.T):
        state ^= np.ascontiguousarray(column + 0.0).view(np.uint64)  # float64, and -0.0 equals 0.0
        state *= np.uint64(0xBF58476D1CE4E5B9)
        state ^= state >> np.uint64(29)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(32)
    return state


def row_inputs(record: Mapping[str, Any], columns: Sequence[Column]) -> FloatArray:
    """Return the inputs of one record, `(1, n_inputs)`; a name that it lacks is an error, a value of None is missing.

    Raises:
        TableError: a column is missing, or its value is not what the column holds.
    """
    if not isinstance(record, Mapping):
        raise TableError(f"a record is a mapping of column names to values; it is {type(record).__name__}")
    numbers: list[float] = []
    codes: list[float] = []
    for column in columns:
        if column.name not in record:
            return table_inputs(record_columns(record, columns), columns)
        quick = column.cell(record[column.name])
        if quick is None:
            own = table_inputs({column.name: [record[column.name]]}, [column])[0].tolist()
            quick = tuple(own[: column.n_numbers]), own[column.n_numbers] if column.n_codes else None
        numbers += quick[0]
        if quick[1] is not None:
            codes.append(quick[1])
    return _with_equal_bits(np.array([[*numbers, *codes]], dtype=np.float64))


def record_columns(record: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, list[Any]]:
    """Return a record as columns of one row.

    Raises:
        TableError: it lacks a column.
    """
    held = {name: [value] for name, value in record.items()}
    require_columns([column.name for column in columns], list(by_name(held)[1]), RECORD)
    return held


def check_cells(X: FloatArray, columns: Sequence[Column], row_numbers: IntArray | None = None) -> None:
    """Raise `TableError` with row and column of the first number that is infinite or beyond 1e100."""
    bad = np.abs(X) > MAX_MAGNITUDE
    if not bad.any():
        return
    names = input_names(columns)
    row, place = np.argwhere(bad)[0]
    number = row + 1 if row_numbers is None else row_numbers[row]
    cell = X[row, place]
    problem = "is infinite (inf)" if np.isinf(cell) else f"holds {cell:g}"
    counts = bad.sum(axis=0)
    columns_with = listed([f"{names[place]!r} ({counts[place]:,})" for place in np.flatnonzero(counts)], 10)
    more = f"; such cells are in {columns_with}" if bad.sum() > 1 else ""
    where = f"row {number}, column {names[place]!r}"
    must = "a number must be at most 1e100, so fix these cells, leave them empty, or leave out their rows or columns"
    raise CellError(f"{where} {problem}{more}: {must}", f"{where} holds a number that is too large{more}: {must}")


def typical_magnitudes(X: FloatArray) -> FloatArray:
    """Return the median magnitude of each column's cells that are not 0, `(n_numbers,)`, NaN where there are none."""
    nonzero = (magnitude[magnitude > 0] for magnitude in np.abs(X.T))
    return np.array([np.median(magnitude) if magnitude.size else np.nan for magnitude in nonzero])


def check_outliers(
    X: FloatArray, columns: Sequence[Column], row_numbers: IntArray, typical: FloatArray | None = None
) -> None:
    """Raise `TableError` with row and column of a number so far from the others of its column that float32 overflows.

    Networks see numbers in standard deviations of their training rows; where the row of such a number does not train,
    it has as many as its ratio to the others.

    Args:
        X: numbers, `(n_rows, n_numbers)`; NaN where they are missing.
        columns: of the table.
        row_numbers: of the rows, for the message, `(n_rows,)`.
        typical: magnitude of each number, as `typical_magnitudes` gives it, `(n_numbers,)`; that of these rows when
            omitted.
    """
    largest = np.maximum(np.fmax.reduce(X, axis=0, initial=0.0), -np.fmin.reduce(X, axis=0, initial=0.0))
    suspects = np.flatnonzero(largest > MAX_RATIO)
    if not suspects.size:
        return
    usual = typical_magnitudes(X[:, suspects]) if typical is None else typical[suspects]
    for place, magnitude in zip(suspects, usual, strict=True):
        if largest[place] > MAX_RATIO * magnitude:
            row = int(np.nanargmax(np.abs(X[:, place])))
            where = f"row {row_numbers[row]}, column {input_names(columns)[place]!r}"
            must = f"other cells of the column are about {magnitude:g}, so fix this cell, or leave it empty"
            raise CellError(
                f"{where} holds {X[row, place]:g}: {must}", f"{where} holds a number that is too large: {must}"
            )


RECORD = "record"


def require_columns(needed: Sequence[str], names: Sequence[str], of: str = "table") -> None:
    """Raise `TableError` naming every column that is missing, with a column that is not needed and has nearly its name.

    Args:
        needed: the columns that a model needs.
        names: of the columns that there are.
        of: what has them: "table", or `RECORD`, where a missing cell has to be given.
    """
    available = set(names)
    missing = [name for name in needed if name not in available]
    if missing:
        unused = sorted(available - set(needed))
        raise TableError(
            f"the {of} lacks {listed([_with_nearest(name, unused) for name in missing], 10)}: "
            f"{len(needed):,} columns are needed; it has {printable(listed(names, 20))}"
            + ("; a missing cell is null (None in Python)" if of == RECORD else "")
        )


def require_target(target: str, names: Sequence[str], used: Sequence[str]) -> None:
    """Raise `TableError` unless a model's target is there.

    Args:
        target: of the model.
        names: of the columns that there are.
        used: columns that the model uses for something else, which are not offered in its place.
    """
    if target not in names:
        unused = sorted(set(names) - set(used))
        raise TableError(
            f"the table lacks {_with_nearest(target, unused)}, which the model predicts, so nothing can be measured; "
            f"it has {listed(names, 20)}"
        )


def require_column(names: Sequence[str], name: str) -> None:
    """Raise `TableError` unless the column is there; the message offers the nearest name."""
    if name not in names:
        raise TableError(f"there is no column {name!r}{nearest(name, names)}; the table has {listed(names, 20)}")


def _with_nearest(name: str, names: Sequence[str]) -> str:
    """Return the name of a missing column with the most similar one, which must be more alike than a misspelt name."""
    return repr(name) + nearest(name, names, MIN_SIMILARITY, "is it called")

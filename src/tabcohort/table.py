"""Frames and arrays become a `Table`: numbers, class codes and the schema that names them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tabcohort.errors import TabcohortWarning, TableError, nearest
from tabcohort.prepare import FloatArray, IntArray

if TYPE_CHECKING:
    import polars as pl

Label = str | int | float | bool
LARGEST = 1e100  # squares of larger cells overflow
MISSING_WORDS = ("", "NA", "N/A", "<NA>", "NaN", "nan", "null", "NULL")


@dataclass(frozen=True)
class Schema:
    """What a model must know of a table's columns.

    Args:
        features: names of the columns that predict, in the model's order.
        target: name of the column to predict.
        classes: the target's labels; a class's code is its place here.
        positive: code of the positive class, or None where more than two classes have none.
        keys: names of columns that identify a row; they are carried along and never predict.
    """

    features: tuple[str, ...]
    target: str
    classes: tuple[Label, ...]
    positive: int | None
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows to learn from.

    Args:
        X: features, `(n_rows, n_features)`, float64, finite.
        y: class codes, `(n_rows,)`, int64.
        weight: row weights, `(n_rows,)`, float64, positive.
        schema: the names of all these.
    """

    X: FloatArray
    y: IntArray
    weight: FloatArray
    schema: Schema

    def fingerprint(self) -> str:
        """Return a SHA-256 of the values, names and classes: two tables have the same only if they are the same."""
        digest = hashlib.sha256(repr((self.schema, self.X.shape)).encode())
        for array in (self.X, self.y, self.weight):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def make_table(
    X: FloatArray,
    labels: NDArray[Any],
    *,
    features: Sequence[str] | None = None,
    target: str = "target",
    positive: Label | None = None,
    keys: Sequence[str] = (),
    weight: FloatArray | None = None,
    row_numbers: IntArray | None = None,
) -> Table:
    """Check features and labels and name their classes.

    Args:
        X: `(n_rows, n_features)`.
        labels: the target's value of each row, `(n_rows,)`.
        features: column names; `x0`, `x1`, ... when left out.
        target: the target's name.
        positive: label of the positive class; of two classes, the last in sorted order when left out.
        keys: columns of the source that identify rows.
        weight: row weights, `(n_rows,)`; rows of weight 0 are left out. All 1 when left out.
        row_numbers: the rows' numbers in the source, counted from 1, for messages.

    Raises:
        TableError: a cell is not finite, fewer than two classes are there, or every row has a class of its own.

    Warns:
        TabcohortWarning: a class has a single row.
    """
    if X.ndim != 2 or labels.shape != (len(X),):
        raise TableError(f"X must be (n_rows, n_features) and y (n_rows,); they are {X.shape} and {labels.shape}")
    weight = np.ones(len(X)) if weight is None else weight
    if weight.shape != labels.shape:
        raise TableError(f"there must be one weight per row, of shape {labels.shape}; the shape is {weight.shape}")
    wrong = ~(np.isfinite(weight) & (weight >= 0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise TableError(f"row {row + 1} has the weight {weight[row]:g}; a weight must be 0 or a positive number")
    features = tuple(features) if features is not None else tuple(f"x{i}" for i in range(X.shape[1]))
    row_numbers = np.arange(1, len(X) + 1) if row_numbers is None else row_numbers
    check_finite_cells(X, features, row_numbers)
    if not (weight > 0).all():
        kept = weight > 0
        X, labels, weight = X[kept], labels[kept], weight[kept]
    classes, y, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        found = f"1 class only, {_plain(classes[0])!r}," if len(classes) else "no class"
        raise TableError(f"the target {target!r} must have at least two classes; it has {found} in {len(y)} row(s)")
    if len(classes) == len(y):
        raise TableError(f"every row has another value in {target!r}: this is an identifier, not a class")
    if counts.min() == 1:
        warnings.warn(single_row_message(classes[counts == 1][0], target), TabcohortWarning, stacklevel=2)
    if X.shape[1] == 0:
        raise TableError("there is no column to predict from (0 features)")
    labels_in_order = tuple(_plain(label) for label in classes)
    schema = Schema(features, target, labels_in_order, _positive_code(labels_in_order, positive, target), tuple(keys))
    return Table(X, y.astype(np.int64), weight, schema)


def single_row_message(label: Any, target: str) -> str:
    """Say that a class has one row only, and what that means."""
    return (
        f"the class {_plain(label)!r} of {target!r} has a single row, which can only train: nothing can be said of how "
        "well it is recognised; leave it out, or merge it with another class"
    )


def check_finite_cells(X: FloatArray, features: Sequence[str], row_numbers: IntArray | None = None) -> None:
    """Raise `TableError` with row and column of the first cell that is NaN, infinite or beyond 1e100."""
    bad = ~(np.abs(X) <= LARGEST)
    if not bad.any():
        return
    row, column = np.argwhere(bad)[0]
    number = row + 1 if row_numbers is None else row_numbers[row]
    cell = X[row, column]
    held = "is missing (NaN)" if np.isnan(cell) else "is infinite (inf)" if np.isinf(cell) else f"holds {cell:g}"
    more = f"; {bad.sum() - 1:,} more cells like it" if bad.sum() > 1 else ""
    raise TableError(
        f"row {number}, column {features[column]!r} {held}{more}: every cell must be a number of sensible "
        "size, so mend these cells or leave out their rows or columns"
    )


def _positive_code(classes: tuple[Label, ...], positive: Label | None, target: str) -> int | None:
    if positive is None:
        return 1 if len(classes) == 2 else None
    for code, label in enumerate(classes):
        if label == positive or str(label) == str(positive):
            return code
    names = ", ".join(repr(label) for label in classes[:10])
    raise TableError(f"the positive class {positive!r} is not in {target!r}, whose classes are {names}")


def _plain(label: Any) -> Label:
    """Return a label as the plain Python value that JSON can hold."""
    value = label.item() if isinstance(label, np.generic) else label
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def table_from_frame(
    frame: pl.DataFrame,
    target: str,
    *,
    positive: Label | None = None,
    keys: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> Table:
    """Make a table of a frame: every column predicts, but for the target, the keys and those to drop.

    Rows without a target are left out, with a warning that counts them.

    Raises:
        TableError: a named column is not there, a column that should predict is not numbers, or a class has a
            single row.
    """
    for name in (target, *keys, *drop):
        require_column(frame.columns, name)
    if target in (*keys, *drop):
        raise TableError(f"{target!r} is the target, so it cannot be a key or be left out")
    features = [name for name in frame.columns if name != target and name not in keys and name not in drop]
    labels, known = target_labels(frame, target)
    if not known.all():
        warnings.warn(_left_out_message(int((~known).sum()), target), TabcohortWarning, stacklevel=2)
    distinct, counts = np.unique(labels[known], return_counts=True)
    if len(distinct) and (counts == 1).any() and not (counts == 1).all():
        raise TableError(single_row_message(distinct[counts == 1][0], target))
    X = feature_matrix(frame, features)
    row_numbers = np.flatnonzero(known) + 1
    return make_table(
        X[known], labels[known], features=features, target=target, positive=positive, keys=keys, row_numbers=row_numbers
    )  # fmt: skip


def table_of_schema(frame: pl.DataFrame, schema: Schema) -> Table:
    """Make a table for a model that is there already: its columns and classes, however few rows each class has.

    Raises:
        TableError: a column is missing, a cell is not a number, no row has a target, or a class is unknown.
    """
    require_column(frame.columns, schema.target)
    labels, known = target_labels(frame, schema.target)
    if not known.all():
        warnings.warn(_left_out_message(int((~known).sum()), schema.target), TabcohortWarning, stacklevel=2)
    if not known.any():
        raise TableError(f"no row has a {schema.target!r}: there is nothing to measure on")
    codes = {str(label): code for code, label in enumerate(schema.classes)}
    unknown = [label for label in np.unique(labels[known]) if label not in codes]
    if unknown:
        raise TableError(
            f"the model knows no class {str(unknown[0])!r} of {schema.target!r}; "
            f"its classes are {', '.join(map(repr, schema.classes[:10]))}"
        )
    X = feature_matrix(frame, schema.features)[known]
    check_finite_cells(X, schema.features, np.flatnonzero(known) + 1)
    y = np.array([codes[label] for label in labels[known]], dtype=np.int64)
    return Table(X, y, np.ones(len(X)), schema)


def _left_out_message(n_rows: int, target: str) -> str:
    return (
        f"{n_rows:,} {'row' if n_rows == 1 else 'rows'} without a {target!r} {'is' if n_rows == 1 else 'are'} left out"
    )


def require_column(names: Sequence[str], name: str) -> None:
    """Raise `TableError` unless the column is there; the sentence offers the nearest name."""
    if name not in names:
        raise TableError(f"there is no column {name!r}{nearest(name, names)}; the table has {', '.join(names[:20])}")


def target_labels(frame: pl.DataFrame, target: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the target's labels as trimmed text, and which rows have one.

    Raises:
        TableError: the target looks like a measurement rather than a class.
    """
    import polars as pl

    column = frame[target]
    if column.dtype.is_nested():
        raise TableError(f"the target {target!r} ({column.dtype}) is not classes: make it text or whole numbers")
    if column.dtype.is_float():
        column = column.fill_nan(None)
    column = column.cast(pl.String).str.strip_chars()
    known = (column.is_not_null() & ~column.is_in([""])).to_numpy()
    labels = column.fill_null("").to_numpy().astype(str)
    distinct = np.unique(labels[known])
    if len(distinct) > 20:
        numbers = pl.Series(distinct).cast(pl.Float64, strict=False).to_numpy()
        if np.isfinite(numbers).all() and (numbers % 1 != 0).any():
            raise TableError(
                f"the target {target!r} holds {len(distinct):,} different numbers and looks like a measurement: "
                "a classifier needs classes, so divide it into bins first"
            )
    return labels, known


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
        for name in features:
            require_column(list(column_of), name)
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
    if wrong.mean() > 0.5:
        raise TableError(f"the column {name!r} is text (row {row + 1} holds {_short(text[row])}): {HOW_TO_LEAVE_OUT}")
    raise TableError(
        f"row {row + 1}, column {name!r} holds {_short(text[row])}, which is not a number "
        f"({wrong.sum():,} such {'cell' if wrong.sum() == 1 else 'cells'}): mend these cells, or leave out the column"
    )


HOW_TO_LEAVE_OUT = (
    "only numbers can predict so far, so make it numbers, name it a key (--key), or leave it out (--drop)"
)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")

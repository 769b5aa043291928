"""A table: features as numbers, class codes, and the schema that names them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.columns import check_finite_cells, feature_matrix, require_column
from tabcohort.data.frames import (
    MAX_NUMERIC_CLASSES,
    frame_parts,
    measurement_message,
    single_row_message,
    target_labels,
    warn_of_rows_without_target,
)
from tabcohort.data.groups import group_codes, group_ids_of
from tabcohort.data.sources import read_frame
from tabcohort.errors import TabcohortWarning, TableError
from tabcohort.types import BoolArray, FloatArray, IntArray, Label

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Schema:
    """What a model must know about a table's columns.

    Args:
        features: names of the feature columns, in the model's order.
        target: name of the column to predict.
        classes: the target's labels; a class's code is its place here.
        positive: code of the positive class; None where there are more than two classes and none was named.
        keys: names of columns that identify a row; they are carried along with predictions and are no features.
        groups: names of columns whose equal values say that rows may be alike; they are no features.
    """

    features: tuple[str, ...]
    target: str
    classes: tuple[Label, ...]
    positive: int | None
    keys: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows to learn from. Make one with `Table.from_frame`, `Table.from_arrays` or `Table.from_file`.

    Args:
        X: features, `(n_rows, n_features)`, float64, finite.
        y: class codes, `(n_rows,)`, int64.
        weight: row weights, `(n_rows,)`, float64, positive.
        schema: the names of all these.
        group_ids: the group of each row, `(n_rows,)`, codes from 0; None where all rows are independent.
        time: the time of each row, `(n_rows,)`, float64; None where it plays no part.
    """

    X: FloatArray
    y: IntArray
    weight: FloatArray
    schema: Schema
    group_ids: IntArray | None = None
    time: FloatArray | None = None

    @classmethod
    def from_frame(
        cls,
        frame: pl.DataFrame,
        target: str,
        *,
        positive: Label | None = None,
        keys: Sequence[str] = (),
        groups: Sequence[str] = (),
        time: str | None = None,
        drop: Sequence[str] = (),
    ) -> Table:
        """Return the table of a polars frame: every column is a feature except those that are named here.

        Args:
            frame: the rows; those without a target are left out, with a warning that counts them.
            target: the column to predict.
            positive: label of the positive class; of two classes the last in sorted order when omitted.
            keys: columns that identify a row; rows of one key stay together, and keys are carried along.
            groups: columns of which rows with the same value stay together.
            time: a column of numbers or dates; members validate and test on rows later than those they train on.
            drop: columns to leave out.

        Raises:
            TableError: a named column is not there, a feature is not numbers, or a class has a single row.
        """
        parts = frame_parts(frame, target, keys, groups, time, drop)
        rows = _Rows(
            parts.X, parts.labels, np.ones(len(parts.X)), parts.row_numbers, parts.group_ids, parts.time
        )  # fmt: skip
        schema = Schema(tuple(parts.features), target, (), None, tuple(keys), tuple(groups))
        return _checked_table(rows, schema, positive)

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        target: str,
        *,
        positive: Label | None = None,
        keys: Sequence[str] = (),
        groups: Sequence[str] = (),
        time: str | None = None,
        drop: Sequence[str] = (),
    ) -> Table:
        """Return the table of a CSV, TSV or Parquet file.

        Args:
            path: the file.
            target, positive, keys, groups, time, drop: as in `from_frame`.

        Raises:
            TableError: the file cannot be read, or as in `from_frame`.
        """
        return cls.from_frame(
            read_frame(path), target, positive=positive, keys=keys, groups=groups, time=time, drop=drop
        )  # fmt: skip

    @classmethod
    def from_arrays(
        cls,
        X: FloatArray,
        y: NDArray[Any],
        *,
        features: Sequence[str] | None = None,
        target: str = "target",
        positive: Label | None = None,
        weight: FloatArray | None = None,
        group_ids: IntArray | None = None,
        time: FloatArray | None = None,
    ) -> Table:
        """Return the table of arrays.

        Args:
            X: features, `(n_rows, n_features)`, finite.
            y: the target's labels, `(n_rows,)`.
            features: column names; `x0`, `x1`, ... when omitted.
            target: the target's name.
            positive: label of the positive class; of two classes the last in sorted order when omitted.
            weight: row weights, `(n_rows,)`; rows of weight 0 are left out. All 1 when omitted.
            group_ids: the group of each row, `(n_rows,)`, codes from 0: rows of one group stay together.
            time: the time of each row, `(n_rows,)`: members validate and test on later rows than they train on.

        Raises:
            TableError: a cell is not finite, there are fewer than two classes, or every row has a class of its own.

        Warns:
            TabcohortWarning: a class has a single row.

        Example:
            >>> Table.from_arrays(np.eye(4), np.array(["no", "no", "yes", "yes"])).schema.classes
            ('no', 'yes')
        """
        rows = _rows_of_arrays(X, y, weight, group_ids, time)
        names = tuple(features) if features is not None else tuple(f"x{i}" for i in range(X.shape[1]))
        return _checked_table(rows, Schema(names, target, (), None), positive)

    @classmethod
    def with_missing_cells(cls, X: FloatArray, y: NDArray[Any], weight: FloatArray | None = None) -> Table:
        """Return the table of arrays whose cells may be missing (NaN), for a network that begins with `Encode`.

        Args:
            X: features, `(n_rows, n_features)`, finite or NaN.
            y, weight: as in `from_arrays`.

        Raises:
            TableError: as in `from_arrays`.
        """
        filled = cls.from_arrays(np.where(np.isnan(X), 0.0, X), y, weight=weight)
        return replace(filled, X=X if weight is None else X[weight > 0])

    @classmethod
    def for_schema(cls, frame: pl.DataFrame, schema: Schema) -> Table:
        """Return the table of a polars frame for an existing model: with the columns and classes of its schema.

        A class may have any number of rows. Keys and groups that the frame has connect its rows, too.

        Raises:
            TableError: a column is missing, a cell is not a number, no row has a target, or a class is unknown.
        """
        require_column(frame.columns, schema.target)
        labels, has_target = target_labels(frame, schema.target)
        warn_of_rows_without_target(has_target, schema.target, stacklevel=3)
        if not has_target.any():
            raise TableError(f"no row has a {schema.target!r}: there is nothing to measure on")
        codes = {str(label): code for code, label in enumerate(schema.classes)}
        unknown = [label for label in np.unique(labels[has_target]) if label not in codes]
        if unknown:
            raise TableError(
                f"the model knows no class {str(unknown[0])!r} of {schema.target!r}; "
                f"its classes are {', '.join(map(repr, schema.classes[:10]))}"
            )
        X = feature_matrix(frame, schema.features)[has_target]
        check_finite_cells(X, schema.features, np.flatnonzero(has_target) + 1)
        y = np.array([codes[label] for label in labels[has_target]], dtype=np.int64)
        available = set(frame.columns)
        keys = schema.keys if set(schema.keys) <= available else ()
        groups = [name for name in schema.groups if name in available]
        group_ids = group_ids_of(group_codes(frame.filter(has_target), keys, groups).values())
        return cls(X, y, np.ones(len(X)), schema, group_ids)

    def fingerprint(self) -> str:
        """Return a SHA-256 of the values, names and classes: two tables have the same only if they are the same."""
        digest = hashlib.sha256(repr((self.schema, self.X.shape)).encode())
        for array in (self.X, self.y, self.weight):
            digest.update(np.ascontiguousarray(array).data)  # a buffer, so that no copy is made
        return digest.hexdigest()


@dataclass(frozen=True)
class _Rows:
    """Rows before their classes are named; arrays with one entry per row, and the rows' numbers for messages."""

    X: FloatArray
    labels: NDArray[Any]
    weight: FloatArray
    row_numbers: IntArray
    group_ids: IntArray | None
    time: FloatArray | None

    def take(self, keep: BoolArray) -> _Rows:
        """Return some of the rows."""
        rows: dict[str, Any] = {name: None if array is None else array[keep] for name, array in vars(self).items()}
        return _Rows(**rows)


def _rows_of_arrays(
    X: FloatArray, y: NDArray[Any], weight: FloatArray | None, group_ids: IntArray | None, time: FloatArray | None
) -> _Rows:
    """Return rows after checking that there is one label, weight, group and time for each, as far as they are given."""
    if X.ndim != 2 or y.shape != (len(X),):
        raise TableError(f"X must be (n_rows, n_features) and y (n_rows,); they are {X.shape} and {y.shape}")
    for name, array in (("weight", weight), ("group", group_ids), ("time", time)):
        if array is not None and array.shape != y.shape:
            raise TableError(f"there must be one {name} per row, of shape {y.shape}; the shape is {array.shape}")
    weight = np.ones(len(X)) if weight is None else weight
    invalid = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(invalid):
        row = invalid[0]
        raise TableError(f"row {row + 1} has the weight {weight[row]:g}; a weight must be 0 or a positive number")
    if time is not None and not np.isfinite(time).all():
        row = int(np.flatnonzero(~np.isfinite(time))[0])
        raise TableError(f"row {row + 1} has the time {time[row]}; every row needs a time that is a number")
    return _Rows(X, y, weight, np.arange(1, len(X) + 1), group_ids, time)


def _checked_table(rows: _Rows, schema: Schema, positive: Label | None) -> Table:
    """Check cells and labels, and name the classes, which the schema does not have yet."""
    n_columns = rows.X.shape[1]
    if len(schema.features) != n_columns or len(set(schema.features)) != n_columns:
        raise TableError(f"X has {n_columns} columns and needs as many different names; it has {schema.features[:20]}")
    check_finite_cells(rows.X, schema.features, rows.row_numbers)
    if not (rows.weight > 0).all():
        rows = rows.take(rows.weight > 0)
    _check_labels(rows, schema.target)
    classes, y, counts = np.unique(rows.labels, return_inverse=True, return_counts=True)
    _check_classes(classes, counts, schema.target)
    if counts.min() == 1:
        message = single_row_message(_plain(classes[counts == 1][0]), schema.target)
        warnings.warn(message, TabcohortWarning, stacklevel=3)
    if n_columns == 0:
        raise TableError("there is no column to predict from (0 features)")
    labels = tuple(_plain(label) for label in classes)
    schema = replace(schema, classes=labels, positive=positive_code(labels, positive, schema.target))
    return Table(rows.X, y.astype(np.int64), rows.weight, schema, rows.group_ids, rows.time)


def _check_labels(rows: _Rows, target: str) -> None:
    """Raise `TableError` if a label is missing, or if the labels are measurements."""
    labels = rows.labels
    if labels.dtype.kind == "f":
        missing = np.isnan(labels)
    elif labels.dtype == object:
        missing = np.array([label is None or label != label for label in labels], dtype=bool)
    else:
        return
    if missing.any():
        row = rows.row_numbers[missing.argmax()]
        raise TableError(f"row {row} has no {target!r} (None or NaN); leave out rows without a target")
    if labels.dtype.kind == "f":
        distinct = np.unique(labels)
        if len(distinct) > MAX_NUMERIC_CLASSES and (distinct % 1 != 0).any():
            raise TableError(measurement_message(distinct, target))


def _check_classes(classes: NDArray[Any], counts: IntArray, target: str) -> None:
    """Raise `TableError` if the rows are of one class, or each of its own."""
    n_rows = counts.sum()
    if len(classes) < 2:
        number = f"1 class only, {_plain(classes[0])!r}," if len(classes) else "no class"
        raise TableError(f"the target {target!r} must have at least two classes; it has {number} in {n_rows} row(s)")
    if len(classes) == n_rows:
        raise TableError(f"every row has another value in {target!r}: this is an identifier, not a class")


def positive_code(classes: tuple[Label, ...], positive: Label | None, target: str) -> int | None:
    """Return the code of the positive class; of two classes, the last where none is named.

    Raises:
        TableError: the label is not among the classes.
    """
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

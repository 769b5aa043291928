"""Arrays become a `Table`: numbers, class codes and the schema that names them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.columns import (
    check_finite_cells,
)
from tabcohort.errors import TabcohortWarning, TableError
from tabcohort.types import FloatArray, IntArray, Label

MOST_MEASUREMENTS = 20  # more different fractions than this are not classes


@dataclass(frozen=True)
class Schema:
    """What a model must know of a table's columns.

    Args:
        features: names of the columns that predict, in the model's order.
        target: name of the column to predict.
        classes: the target's labels; a class's code is its place here.
        positive: code of the positive class, or None where more than two classes have none.
        keys: names of columns that identify a row; they are carried along and never predict.
        groups: names of columns of which rows with the same value may be alike; they never predict.
    """

    features: tuple[str, ...]
    target: str
    classes: tuple[Label, ...]
    positive: int | None
    keys: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows to learn from.

    Args:
        X: features, `(n_rows, n_features)`, float64, finite.
        y: class codes, `(n_rows,)`, int64.
        weight: row weights, `(n_rows,)`, float64, positive.
        schema: the names of all these.
        key: whose row each is, `(n_rows,)`, codes from 0; None where every row has a key of its own, or none has one.
        time: when each row was, `(n_rows,)`, float64; None where that plays no part.
    """

    X: FloatArray
    y: IntArray
    weight: FloatArray
    schema: Schema
    key: IntArray | None = None
    time: FloatArray | None = None

    def fingerprint(self) -> str:
        """Return a SHA-256 of the values, names and classes: two tables have the same only if they are the same."""
        digest = hashlib.sha256(repr((self.schema, self.X.shape)).encode())
        for array in (self.X, self.y, self.weight):
            digest.update(np.ascontiguousarray(array).data)  # a buffer, so that no copy is made
        return digest.hexdigest()


def make_table(
    X: FloatArray,
    labels: NDArray[Any],
    *,
    features: Sequence[str] | None = None,
    target: str = "target",
    positive: Label | None = None,
    keys: Sequence[str] = (),
    groups: Sequence[str] = (),
    weight: FloatArray | None = None,
    key: IntArray | None = None,
    time: FloatArray | None = None,
    row_numbers: IntArray | None = None,
    may_lack_cells: bool = False,
) -> Table:
    """Check features and labels and name their classes.

    Args:
        X: `(n_rows, n_features)`.
        labels: the target's value of each row, `(n_rows,)`.
        features: column names; `x0`, `x1`, ... when left out.
        target: the target's name.
        positive: label of the positive class; of two classes, the last in sorted order when left out.
        keys: columns of the source that identify rows.
        groups: columns of the source of which rows with the same value may be alike.
        weight: row weights, `(n_rows,)`; rows of weight 0 are left out. All 1 when left out.
        key: whose row each is, `(n_rows,)`, codes from 0: rows of one key get one role.
        time: when each row was, `(n_rows,)`: rows that stop and score a network are later than those that train it.
        row_numbers: the rows' numbers in the source, counted from 1, for messages.
        may_lack_cells: whether a cell may be missing (NaN), for a network that begins with `Encode`.

    Raises:
        TableError: a cell is not finite, fewer than two classes are there, or every row has a class of its own.

    Warns:
        TabcohortWarning: a class has a single row.
    """
    _check_shapes(X, labels, weight, key, time)
    weight = np.ones(len(X)) if weight is None else weight
    _check_weights(weight)
    _check_times(time)
    features = tuple(features) if features is not None else tuple(f"x{i}" for i in range(X.shape[1]))
    _check_names(features, X)
    row_numbers = np.arange(1, len(X) + 1) if row_numbers is None else row_numbers
    check_finite_cells(np.where(np.isnan(X), 0.0, X) if may_lack_cells else X, features, row_numbers)
    if not (weight > 0).all():
        kept = weight > 0
        X, labels, weight, row_numbers = X[kept], labels[kept], weight[kept], row_numbers[kept]
        key = None if key is None else key[kept]
        time = None if time is None else time[kept]
    _check_labels(labels, target, row_numbers)
    classes, y, counts = np.unique(labels, return_inverse=True, return_counts=True)
    _check_classes(classes, counts, target)
    if counts.min() == 1:
        warnings.warn(single_row_message(classes[counts == 1][0], target), TabcohortWarning, stacklevel=2)
    if X.shape[1] == 0:
        raise TableError("there is no column to predict from (0 features)")
    labels_in_order = tuple(_plain(label) for label in classes)
    code = positive_code(labels_in_order, positive, target)
    schema = Schema(features, target, labels_in_order, code, tuple(keys), tuple(groups))
    return Table(X, y.astype(np.int64), weight, schema, key, time)


def _check_shapes(
    X: FloatArray,
    labels: NDArray[Any],
    weight: FloatArray | None,
    key: IntArray | None,
    time: FloatArray | None,
) -> None:
    """Raise `TableError` unless there is one label, weight, key and time per row, as far as they are given."""
    if X.ndim != 2 or labels.shape != (len(X),):
        raise TableError(f"X must be (n_rows, n_features) and y (n_rows,); they are {X.shape} and {labels.shape}")
    for name, array in (("weight", weight), ("key", key), ("time", time)):
        if array is not None and array.shape != labels.shape:
            raise TableError(f"there must be one {name} per row, of shape {labels.shape}; the shape is {array.shape}")


def _check_weights(weight: FloatArray) -> None:
    """Raise `TableError` with the first row whose weight is negative or not finite."""
    wrong = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if len(wrong):
        row = wrong[0]
        raise TableError(f"row {row + 1} has the weight {weight[row]:g}; a weight must be 0 or a positive number")


def _check_times(time: FloatArray | None) -> None:
    """Raise `TableError` with the first row whose time is not finite."""
    if time is not None and not np.isfinite(time).all():
        row = int(np.flatnonzero(~np.isfinite(time))[0])
        raise TableError(f"row {row + 1} has the time {time[row]}; every row needs a time that is a number")


def _check_names(features: tuple[str, ...], X: FloatArray) -> None:
    """Raise `TableError` unless every column has a name of its own."""
    if len(features) != X.shape[1] or len(set(features)) != len(features):
        raise TableError(f"X has {X.shape[1]} columns and needs as many different names; it has {features[:20]}")


def _check_labels(labels: NDArray[Any], target: str, row_numbers: IntArray) -> None:
    """Raise `TableError` if a label is missing, or if the labels are measurements."""
    if labels.dtype.kind == "f":
        missing = np.isnan(labels)
    elif labels.dtype == object:
        missing = np.array([label is None or label != label for label in labels], dtype=bool)
    else:
        return
    if missing.any():
        row = row_numbers[missing.argmax()]
        raise TableError(f"row {row} has no {target!r} (None or NaN); leave out rows without a target")
    if labels.dtype.kind == "f":
        distinct = np.unique(labels)
        if len(distinct) > MOST_MEASUREMENTS and (distinct % 1 != 0).any():
            raise TableError(measurement_message(distinct, target))


def measurement_message(distinct: NDArray[Any], target: str) -> str:
    """Say that a target looks like a measurement, and how to make classes of it."""
    return (
        f"the target {target!r} holds {len(distinct):,} different numbers from {distinct.min():g} to "
        f"{distinct.max():g} and looks like a measurement: a classifier needs classes, so divide the column "
        f"{target!r} into bins where the table is made; in pandas, "
        f"frame[{target!r}] = pandas.qcut(frame[{target!r}], 3, labels=['low', 'middle', 'high']) makes three"
    )


def _check_classes(classes: NDArray[Any], counts: IntArray, target: str) -> None:
    """Raise `TableError` if the rows are of one class, or each of its own."""
    n_rows = counts.sum()
    if len(classes) < 2:
        found = f"1 class only, {_plain(classes[0])!r}," if len(classes) else "no class"
        raise TableError(f"the target {target!r} must have at least two classes; it has {found} in {n_rows} row(s)")
    if len(classes) == n_rows:
        raise TableError(f"every row has another value in {target!r}: this is an identifier, not a class")


def single_row_message(label: Any, target: str) -> str:
    """Say that a class has one row only, and what that means."""
    return (
        f"the class {_plain(label)!r} of {target!r} has a single row, which can only train: nothing can be said of how "
        "well it is recognised; leave it out, or merge it with another class"
    )


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

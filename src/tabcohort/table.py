"""Frames and arrays become a `Table`: numbers, class codes and the schema that names them."""

from __future__ import annotations

import hashlib
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.columns import (
    HOW_TO_LEAVE_OUT,
    LOOKS_DECIMAL,
    check_finite_cells,
    feature_matrix,
    has_decimal_commas,
    is_words,
    require_column,
)
from tabcohort.errors import TabcohortWarning, TableError
from tabcohort.prepare import FloatArray, IntArray
from tabcohort.roles import families

if TYPE_CHECKING:
    import polars as pl

Label = str | int | float | bool
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
            raise TableError(_measurement_message(distinct, target))


def _measurement_message(distinct: NDArray[Any], target: str) -> str:
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


def table_from_frame(
    frame: pl.DataFrame,
    target: str,
    *,
    positive: Label | None = None,
    keys: Sequence[str] = (),
    groups: Sequence[str] = (),
    time: str | None = None,
    drop: Sequence[str] = (),
) -> Table:
    """Make a table of a frame: every column predicts, but for the target, keys, groups, time and those to drop.

    Rows of one key have one role, and so have rows of one group; a key is also carried along with predictions. Rows
    that stop and score a network are later than those that train it, where a time is named. Rows without a target are
    left out, with a warning that counts them.

    Raises:
        TableError: a named column is not there, a column that should predict is not numbers, or a class has a
            single row.
    """
    aside = (*keys, *groups, *([] if time is None else [time]), *drop)
    for name in (target, *aside):
        require_column(frame.columns, name)
    if target in aside:
        raise TableError(f"{target!r} is the target, so it cannot be a key, a group or a time, or be left out")
    features = [name for name in frame.columns if name != target and name not in aside]
    labels, known = target_labels(frame, target)
    if not known.all():
        warnings.warn(_left_out_message(int((~known).sum()), target), TabcohortWarning, stacklevel=2)
    distinct, counts = np.unique(labels[known], return_counts=True)
    if len(distinct) and (counts == 1).any() and not (counts == 1).all():
        raise TableError(single_row_message(distinct[counts == 1][0], target))
    known_rows = frame.filter(known)
    features = _without_copies(known_rows, features, target, labels[known])
    _warn_of_row_numbers(frame, features)
    _refuse_text_columns(frame, features)
    X = feature_matrix(frame, features)
    row_numbers = np.flatnonzero(known) + 1
    return make_table(
        X[known],
        labels[known],
        features=features,
        target=target,
        positive=positive,
        keys=keys,
        groups=groups,
        key=_key_and_groups(known_rows, keys, groups),
        time=None if time is None else _times(known_rows, time),
        row_numbers=row_numbers,
    )


def _without_copies(frame: pl.DataFrame, features: list[str], target: str, labels: NDArray[Any]) -> list[str]:
    """Return the features without those that say the target in other words, with a warning for each."""
    import polars as pl

    answer = pl.Series("answer", labels)
    n_classes = answer.n_unique()
    if not 1 < n_classes < len(labels):  # a target of one class, or of another in every row, is refused later
        return features
    kept = []
    for name in features:
        column = frame[name]
        if column.n_unique() == n_classes and pl.DataFrame([column.alias("copy"), answer]).n_unique() == n_classes:
            message = f"the column {name!r} says the same as the target {target!r} and is left out"
            warnings.warn(message, TabcohortWarning, stacklevel=3)
        else:
            kept.append(name)
    return kept


def _warn_of_row_numbers(frame: pl.DataFrame, features: list[str]) -> None:
    """Warn of columns that look like identifiers: whole numbers, another one in every row."""
    import polars as pl

    for name in features:
        if not (frame[name].dtype.is_integer() or frame[name].dtype == pl.String):
            continue
        column = frame[name].cast(pl.String).str.strip_chars()
        if len(frame) >= 50 and column.n_unique() == len(frame) and column.str.contains(r"^\d+$").all():
            warnings.warn(
                f"the column {name!r} is another whole number in every row; if it only identifies rows, name it a key "
                "(--key) so that it does not predict",
                TabcohortWarning,
                stacklevel=3,
            )


def _refuse_text_columns(frame: pl.DataFrame, features: list[str]) -> None:
    """Raise `TableError` naming every column whose cells are words rather than numbers."""
    words = [name for name in features if is_words(frame[name])]
    with_commas = [name for name in words if has_decimal_commas(frame[name])]
    if with_commas and len(words) > 1:  # a single one is told of with its row
        raise TableError(f"the text of {', '.join(map(repr, with_commas))} {LOOKS_DECIMAL}")
    if len(words) > 1:
        raise TableError(
            f"the columns {', '.join(map(repr, words))} are text: {HOW_TO_LEAVE_OUT}: "
            + " ".join(f"--drop {shlex.quote(name)}" for name in words)
        )


def _times(frame: pl.DataFrame, name: str) -> FloatArray:
    """Return a column's times as numbers, `(n_rows,)`: of numbers, dates, or text in the ISO 8601 form.

    Raises:
        TableError: a cell is none of these, or missing.
    """
    import polars as pl

    column = frame[name]
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        as_numbers = text.cast(pl.Float64, strict=False)
        as_dates = _moments(text) if as_numbers.null_count() else as_numbers
        column = as_dates if as_dates.null_count() < as_numbers.null_count() else as_numbers
    if column.dtype.is_temporal():
        column = column.to_physical()
    if not column.dtype.is_numeric():
        raise TableError(f"the time {name!r} ({column.dtype}) must be numbers or dates such as 2024-12-31")
    times = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    if not np.isfinite(times).all():
        row = int(np.flatnonzero(~np.isfinite(times))[0])
        found = frame[name][row]
        raise TableError(
            f"row {row + 1} of those with a target has the time {found!r} in {name!r}; every row needs a number or a "
            "date such as 2024-12-31"
        )
    return times


def _moments(text: pl.Series) -> pl.Series:
    """Return text in the ISO 8601 form as moments; null where it is not, as 3/4/2024 may be in March or in April."""
    import polars as pl

    is_iso = text.str.contains(r"^\d{4}-\d{2}-\d{2}").fill_null(False)
    moments = text.set(~is_iso, None)
    try:
        return moments.str.to_datetime(strict=False)
    except pl.exceptions.ComputeError:  # none is a moment
        return moments.clear(len(moments))


def _key_and_groups(frame: pl.DataFrame, keys: Sequence[str], groups: Sequence[str]) -> IntArray | None:
    """Return a code per row that is equal where the keys, or a group, tie rows together; None where nothing does.

    What keys and groups tie is told in a warning.
    """
    codes = []
    for names in (keys, *([name] for name in groups)):
        if names and len(frame):
            codes.append(_codes(frame, names))
            _tell_of_ties(frame, names, int(codes[-1].max()) + 1)
    return _tied(codes)


def _tied(codes: Sequence[IntArray]) -> IntArray | None:
    """Return a code per row that is equal where any of these codes tie rows together; None where none does."""
    given = [each for each in codes if each.max() + 1 < len(each)]
    return families(*given) if given else None


def _codes(frame: pl.DataFrame, names: Sequence[str]) -> IntArray:
    """Return a code per row, from 0 without gaps, that is equal where all of these columns are."""
    import polars as pl

    for name in names:
        if frame[name].dtype.is_nested() or frame[name].dtype in (pl.Binary, pl.Object):
            raise TableError(f"the key {name!r} ({frame[name].dtype}) must be text, numbers or dates")
    text = frame.select(pl.struct(pl.col(name).cast(pl.String) for name in names).alias("key"))["key"]
    codes = text.rank("dense").to_numpy().astype(np.int64) - 1
    nobody = frame.select(pl.any_horizontal(pl.col(name).is_null() for name in names)).to_series().to_numpy()
    codes[nobody] = len(frame) + np.arange(nobody.sum())  # a row whose key is missing is nobody else's
    return np.unique(codes, return_inverse=True)[1]


def _tell_of_ties(frame: pl.DataFrame, names: Sequence[str], n_different: int) -> None:
    """Warn that rows are tied by these columns, or that parts of a key would tie some."""
    if n_different == len(frame):
        _warn_of_parts_that_repeat(frame, names)
    else:
        warnings.warn(
            f"{len(frame):,} rows have {n_different:,} different values of {', '.join(names)}; "
            f"rows of one value get one role{_without(frame, names)}",
            TabcohortWarning,
            stacklevel=4,
        )


def _without(frame: pl.DataFrame, names: Sequence[str]) -> str:
    """Say how many rows have no value of one of these columns, if there are any."""
    n_without = len(frame) - len(frame.drop_nulls(names))
    return f", and {n_without:,} rows without one a role of their own each" if n_without else ""


def _warn_of_parts_that_repeat(frame: pl.DataFrame, keys: Sequence[str]) -> None:
    """Warn of key columns that tell rows apart only together: rows that share one may be learned from and judged on."""
    repeated = [name for name in keys if frame[name].drop_nulls().n_unique() < len(frame) - frame[name].null_count()]
    if repeated:
        names = " ".join(f"--group {shlex.quote(name)}" for name in repeated)
        warnings.warn(
            f"the keys {', '.join(keys)} tell all rows apart only together, so rows that share one of them may be both "
            f"learned from and judged on; to keep these together, name it a group ({names})",
            TabcohortWarning,
            stacklevel=5,
        )


def table_of_schema(frame: pl.DataFrame, schema: Schema) -> Table:
    """Make a table for a model that is there already: its columns and classes, however few rows each class has.

    Keys and groups that the table has tie its rows, too.

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
    ties = [names for names in (schema.keys, *((name,) for name in schema.groups)) if names]
    known_rows = frame.filter(known)
    there = [_codes(known_rows, names) for names in ties if set(names) <= set(frame.columns)]
    return Table(X, y, np.ones(len(X)), schema, _tied(there))


def _left_out_message(n_rows: int, target: str) -> str:
    return (
        f"{n_rows:,} {'row' if n_rows == 1 else 'rows'} without a {target!r} {'is' if n_rows == 1 else 'are'} left out"
    )


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
    as_decimals = r"^(-?\d+)\.0+$"  # what pandas makes of whole numbers if one is missing
    if column.filter(known).str.contains(r"^-?\d+(\.0+)?$").all():
        column = column.str.replace(as_decimals, "$1")
    labels = column.fill_null("").to_numpy().astype(str)
    distinct = np.unique(labels[known])
    if len(distinct) > MOST_MEASUREMENTS:
        numbers = pl.Series(distinct).cast(pl.Float64, strict=False).to_numpy()
        if np.isfinite(numbers).all() and (numbers % 1 != 0).any():
            raise TableError(_measurement_message(numbers, target))
    return labels, known

"""From a frame to the parts of a table: features, labels, groups and times, and what should not be learned from."""

from __future__ import annotations

import warnings
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.columns import Column, Date, Dropped, IntegerCode, Number
from tabcohort.data.copies import without_copies_of_target
from tabcohort.data.forked import require_polars_threads
from tabcohort.data.groups import group_codes, group_ids_of, warn_of_groups
from tabcohort.data.inputs import by_name, numbers_and_codes, require_column
from tabcohort.data.labels import MAX_NUMERIC_CLASSES, label_findings, many_whole_numbers
from tabcohort.data.parse import (
    DAY_FIRST,
    MONTH_FIRST,
    YEAR_FIRST,
    as_series,
    as_text,
    date_order,
    has_no_single_values,
    parse_dates,
    parse_numbers,
)
from tabcohort.data.recognize import KINDS, recognize_columns
from tabcohort.data.time_range import check_times
from tabcohort.errors import TabcohortWarning, TableError, listed, nearest
from tabcohort.plain_values import shown
from tabcohort.types import BoolArray, CodeArray, FloatArray, IntArray, Label

if TYPE_CHECKING:
    import polars as pl

MAX_LABEL_LENGTH = 1_000  # characters


@dataclass(frozen=True)
class ColumnChoices:
    """What a person says of a frame's columns; every other one but the target is a feature, of the type it looks like.

    Args:
        keys, groups, time, weight: see `Table.from_frame`.
        types: the type of columns by name.
    """

    keys: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    time: str | None = None
    weight: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)

    @property
    def reserved(self) -> tuple[str, ...]:
        """Columns that are no features, as they are for something else."""
        return (*self.keys, *self.groups, *(name for name in (self.time, self.weight) if name is not None))


@dataclass(frozen=True)
class FrameParts:
    """What a frame holds for a table; its rows are those with a target.

    Args:
        columns: the features.
        dropped: columns that are left out.
        numbers: `(n_rows, n_numbers)`, float64; NaN where one is missing.
        codes: of the columns that have levels, `(n_rows, n_codes)`.
        labels: the target's values, `(n_rows,)`, as text.
        weight: of the rows, `(n_rows,)`.
        group_ids: the group of each row, `(n_rows,)`, or None.
        time: the time of each row, `(n_rows,)`, or None.
        row_numbers: the rows' numbers in the frame, counted from 1, `(n_rows,)`.
    """

    columns: list[Column]
    dropped: list[Dropped]
    numbers: FloatArray
    codes: CodeArray
    labels: NDArray[Any]
    weight: FloatArray
    group_ids: IntArray | None
    time: FloatArray | None
    row_numbers: IntArray


def as_frame(data: Any) -> pl.DataFrame:
    """Return a frame, a pyarrow table or a mapping of columns as a polars frame with names that are text.

    Raises:
        TableError: it is none of these, two columns have one name, or polars hangs in this process.
    """
    import polars as pl

    require_polars_threads()
    if isinstance(data, pl.DataFrame):
        check_times(data, "the table")
        durations = [name for name, dtype in data.schema.items() if dtype == pl.Duration]
        return data.with_columns(pl.col(durations).dt.total_seconds(fractional=True)) if durations else data
    if isinstance(data, pl.LazyFrame) or not (hasattr(data, "columns") or isinstance(data, Mapping)):
        raise TableError(
            f"a table is made of a pandas or polars frame, a pyarrow table or a mapping of columns, not of "
            f"{type(data).__name__}; for arrays there is Table.from_arrays(X, y), and for files Table.from_file(path, "
            "target)"
        )
    data, name_of = by_name(data)
    series = [_series(text, data[name]) for text, name in name_of.items()]
    lengths = {len(own) for own in series}
    if len(lengths) > 1:
        raise TableError(f"all columns must have the same number of rows; they have {sorted(lengths)}")
    return pl.DataFrame([own.alias(text) for own, text in zip(series, name_of, strict=True)])


def _series(name: str, column: Any) -> pl.Series:
    """Return a column as a series; what pandas calls a category is one, whatever its levels look like."""
    import polars as pl

    series = as_series(name, column)
    is_category = str(getattr(column, "dtype", "")) == "category"
    return as_text(series).cast(pl.Categorical) if is_category else series


def frame_parts(frame: pl.DataFrame, target: str, choices: ColumnChoices | None = None) -> FrameParts:
    """Return what a frame holds for a table.

    Raises:
        TableError: a named column is not there, a column cannot be read, or a class has a single row.

    Warns:
        TabcohortWarning: rows have no target, columns are left out or read in a way worth knowing, or rows connected.
    """
    choices = choices or ColumnChoices()
    check_choices(frame, target, choices)
    labels, has_target = target_labels(frame, target)
    warn_of_rows_without_target(int((~has_target).sum()), target)
    check_classes(labels[has_target], target)
    problems = single_row_messages(*np.unique(labels[has_target], return_counts=True), target)
    if problems:
        raise TableError("; ".join(problems))
    warn_of_labels(labels[has_target], target)
    warn_of_spellings(frame[target], labels, target)
    rows = frame.filter(has_target)
    names = [name for name in frame.columns if name != target and name not in choices.reserved]
    # Of the whole frame, so that errors name rows as it counts them.
    columns = recognize_columns(frame, names, choices.types)
    columns = without_copies_of_target(rows, columns, target, labels[has_target])
    dropped = [column for column in columns if isinstance(column, Dropped)]
    features = [column for column in columns if not isinstance(column, Dropped)]
    warn_of_columns(columns, choices.types)
    codes = group_codes(rows, choices.keys, choices.groups)
    warn_of_groups(rows, codes)
    return FrameParts(
        features,
        dropped,
        *numbers_and_codes(frame, features, has_target),
        labels[has_target],
        np.ones(len(rows)) if choices.weight is None else _weights(rows[choices.weight]),
        group_ids_of(codes.values()),
        None if choices.time is None else column_of_times(choices.time, rows[choices.time]),
        np.flatnonzero(has_target) + 1,
    )


def check_choices(frame: pl.DataFrame, target: str | None, choices: ColumnChoices) -> None:
    """Raise `TableError` if a named column is not there, or is named for two things."""
    for name in (*([] if target is None else [target]), *choices.reserved):
        require_column(frame.columns, name)
    if target in (*choices.reserved, *choices.types):
        raise TableError(
            f"{target!r} is the target, so it cannot be a key, a group, a time or a weight, have a type or be left out"
        )
    check_types(frame.columns, choices.types)
    for name, kind in choices.types.items():
        if name in choices.reserved and kind != "drop":
            raise TableError(f"{name!r} is a key, a group, a time or a weight, and so no feature of type {kind!r}")


def check_types(names: Sequence[str], types: Mapping[str, str]) -> None:
    """Raise `TableError` if a column whose type is given is not there, or there is no such type."""
    for name, kind in types.items():
        require_column(names, name)
        if kind not in KINDS:
            raise TableError(f"there is no type {kind!r}{nearest(kind, KINDS)}; the types are {', '.join(KINDS)}")


def _weights(series: pl.Series) -> FloatArray:
    """Return the weight of each row.

    Raises:
        TableError: one is missing or is not a number; `Table` checks that none is negative or infinite.
    """
    weight = Number(series.name).numbers(series)[:, 0]
    if np.isnan(weight).any():
        row = int(np.flatnonzero(np.isnan(weight))[0])
        raise TableError(f"row {row + 1} of those with a target has no weight in {series.name!r}; every row needs one")
    return weight


def warn_of_columns(columns: Sequence[Column], types: Container[str] = ()) -> None:
    """Warn of columns that are left out, and of decisions worth knowing, except where types are given."""
    notes = {column.name: column for column in columns if column.note and column.name not in types}
    left_out = [f"{name!r} ({column.note})" for name, column in notes.items() if isinstance(column, Dropped)]
    if left_out:
        warnings.warn(f"left out: {listed(left_out, 10, '; ')}", TabcohortWarning, stacklevel=5)
    for name, column in notes.items():
        if not isinstance(column, (Dropped, IntegerCode)):
            warnings.warn(f"the column {name!r}: {column.note}", TabcohortWarning, stacklevel=5)
    codes = [repr(name) for name, column in notes.items() if isinstance(column, IntegerCode)]
    if codes:
        warnings.warn(
            f"few distinct whole numbers, read as numbers and as categories: {listed(codes, 10)}",
            TabcohortWarning,
            stacklevel=5,
        )


def target_labels(frame: pl.DataFrame, target: str) -> tuple[NDArray[Any], BoolArray]:
    """Return the target's labels as trimmed text, and which rows have one.

    Raises:
        TableError: the target looks like a measurement rather than a class, or a label is very long.
    """
    import polars as pl

    column = frame[target]
    if has_no_single_values(column):
        raise TableError(f"the target {target!r} ({column.dtype}) is not classes: make it text or whole numbers")
    column = as_text(column) if column.dtype.is_float() else column.cast(pl.String)
    column = column.str.strip_chars().str.normalize("NFC").fill_null("")
    has_target = (column != "").to_numpy()
    known = column.filter(column != "").unique()
    longest = int(known.str.len_chars().max() or 0)  # type: ignore[arg-type]
    if longest > MAX_LABEL_LENGTH:
        row = int((column.str.len_chars() > MAX_LABEL_LENGTH).arg_true()[0])
        raise TableError(
            f"row {row + 1} has a label of {longest:,} characters in the target {target!r}; a class's label must have "
            f"at most {MAX_LABEL_LENGTH:,}"
        )
    if known.str.contains(r"^-?\d+(\.0+)?$").all():  # what pandas makes of whole numbers if one is missing
        column = column.str.replace(r"^(-?\d+)\.0+$", "$1").str.replace("^-0$", "0")
    labels = column.to_numpy().astype(str)
    if len(known) > MAX_NUMERIC_CLASSES:
        numbers = known.cast(pl.Float64, strict=False).to_numpy()
        if np.isfinite(numbers).all() and (numbers % 1 != 0).any():
            raise TableError(measurement_message(np.unique(numbers), target))
    return labels, has_target


def warn_of_labels(labels: NDArray[Any], target: str) -> None:
    """Warn of labels that differ only in spelling, that may stand for a missing one, or that may be no classes."""
    classes, counts = np.unique(labels, return_counts=True)
    for finding in label_findings(target, classes.tolist(), counts):
        warnings.warn(str(finding), TabcohortWarning, stacklevel=4)


def warn_of_spellings(column: pl.Series, labels: NDArray[Any], target: str) -> None:
    """Warn of labels that are read as one although they differ in spaces, or in the code points that spell them."""
    import polars as pl

    if column.dtype != pl.String:
        return
    pairs = pl.DataFrame({"written": column, "label": labels}).unique().filter(pl.col("label") != "")
    pairs = pairs.filter(pl.col("written").str.strip_chars().str.normalize("NFC") == pl.col("label"))
    alike = pairs.filter(pl.col("label").is_duplicated() & (pl.col("written") != pl.col("label")))
    if len(alike):
        shown = [f"{written!r} as {label!r}" for written, label in alike.sort("written", "label").rows()]
        message = f"labels of {target!r} that differ only in spaces or code points are read as one: {listed(shown, 5)}"
        warnings.warn(message, TabcohortWarning, stacklevel=4)


def warn_of_rows_without_target(n_rows: int, target: str, stacklevel: int = 4) -> None:
    """Warn of this many rows without a target, which are left out."""
    if n_rows:
        rows, are = ("row", "is") if n_rows == 1 else ("rows", "are")
        message = f"{n_rows:,} {rows} with no value in {target!r} {are} left out"
        warnings.warn(message, TabcohortWarning, stacklevel=stacklevel)


def measurement_message(distinct: NDArray[Any], target: str) -> str:
    """Return the message that a target looks like a measurement or a count, and how to make classes of it."""
    numbers, what = (
        ("numbers", "measurement") if (distinct % 1 != 0).any() else ("whole numbers", "count or measurement")
    )
    return (
        f"the target {target!r} holds {len(distinct):,} different {numbers} from {distinct.min():g} to "
        f"{distinct.max():g} and looks like a {what}: a classifier needs classes, so divide the column "
        f"{target!r} into bins where the table is made; in pandas, "
        f"frame[{target!r}] = pandas.qcut(frame[{target!r}], 3, labels=['low', 'middle', 'high']) makes three"
    )


def single_row_message(label: Any, target: str) -> str:
    """Return the message that a class has one row only, and what that means."""
    return (
        f"the class {shown(label)} of {target!r} has a single row, which can only be trained on, so the model cannot "
        "be tested on this class; leave it out, or merge it with another class"
    )


def check_classes(labels: NDArray[Any], target: str) -> None:
    """Raise `TableError` if the rows are of one class, or each of its own."""
    classes = np.unique(labels)
    if len(classes) < 2:
        number = f"1 class only, {plain_label(classes[0])!r}," if len(classes) else "no class"
        raise TableError(
            f"the target {target!r} must have at least two classes; it has {number} in {len(labels)} row(s)"
        )
    if len(classes) == len(labels):
        kind = "an identifier" if many_whole_numbers(classes) is None else "an identifier or a measurement"
        raise TableError(f"every row has a different value in {target!r}: this is {kind}, not a class")


def plain_label(label: Any) -> Label:
    """Return a label as the plain Python value that JSON can hold."""
    value = label.item() if isinstance(label, np.generic) else label
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def single_row_messages(classes: NDArray[Any], counts: IntArray, target: str) -> list[str]:
    """Return messages that a class has one row only, if any has; the first says what the target seems to be instead.

    Args:
        classes: the distinct labels, `(n_classes,)`.
        counts: number of rows of each, `(n_classes,)`.
        target: name of the column.
    """
    if not (counts == 1).any():
        return []
    numbers = many_whole_numbers(classes)
    measurement = [] if numbers is None else [measurement_message(numbers, target)]
    return [*measurement, single_row_message(plain_label(classes[counts == 1][0]), target)]


def column_of_times(name: str, column: pl.Series) -> FloatArray:
    """Return a column's times as numbers, `(n_rows,)`: of numbers, dates, or text that is one of these.

    Raises:
        TableError: a cell is none of these, or missing.
    """
    import polars as pl

    if column.dtype == pl.Boolean or column.dtype == pl.Null or has_no_single_values(column):
        raise TableError(f"the time {name!r} ({column.dtype}) must be numbers or dates such as 2024-12-31")
    order = date_order(as_text(column)) if column.dtype == pl.String else None
    if column.dtype.is_temporal():
        values = Date(name).numbers(column)[:, 0]
    elif order in (YEAR_FIRST, DAY_FIRST, MONTH_FIRST):
        times = parse_dates(as_text(column), order)
        values = Date(name).numbers(times)[:, 0]
    else:
        numbers = parse_numbers(as_text(column)) if column.dtype == pl.String else column.cast(pl.Float64)
        values = numbers.fill_null(np.nan).to_numpy()
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise TableError(
            f"row {row + 1} of those with a target has the time {column[row]!r} in {name!r}; every row needs a number "
            "or a date such as 2024-12-31"
        )
    return values

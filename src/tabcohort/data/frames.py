"""From a frame to the parts of a table: features, labels, groups and times, and what should not be learned from."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.columns import (
    DECIMAL_COMMAS,
    ONLY_NUMBERS,
    column_of_times,
    feature_matrix,
    has_decimal_commas,
    is_text,
    require_column,
)
from tabcohort.data.groups import group_codes, group_ids_of, warn_of_groups
from tabcohort.errors import TabcohortWarning, TableError
from tabcohort.types import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    import polars as pl

MAX_NUMERIC_CLASSES = 20  # more different fractions than this are a measurement, not classes


@dataclass(frozen=True)
class FrameParts:
    """What a frame holds for a table; its rows are those with a target.

    Args:
        features: names of the feature columns.
        X: features, `(n_rows, n_features)`.
        labels: the target's values, `(n_rows,)`, as text.
        group_ids: the group of each row, `(n_rows,)`, or None.
        time: the time of each row, `(n_rows,)`, or None.
        row_numbers: the rows' numbers in the frame, counted from 1, `(n_rows,)`.
    """

    features: list[str]
    X: FloatArray
    labels: NDArray[Any]
    group_ids: IntArray | None
    time: FloatArray | None
    row_numbers: IntArray


def frame_parts(
    frame: pl.DataFrame,
    target: str,
    keys: Sequence[str] = (),
    groups: Sequence[str] = (),
    time: str | None = None,
    drop: Sequence[str] = (),
) -> FrameParts:
    """Return what a frame holds for a table: every column is a feature except those that are named here.

    Raises:
        TableError: a named column is not there, a feature is not numbers, or a class has a single row.

    Warns:
        TabcohortWarning: rows have no target, or a column is a copy of it, looks like an identifier, or connects rows.
    """
    reserved = (*keys, *groups, *([] if time is None else [time]), *drop)
    for name in (target, *reserved):
        require_column(frame.columns, name)
    if target in reserved:
        raise TableError(f"{target!r} is the target, so it cannot be a key, a group or a time, or be left out")
    labels, has_target = target_labels(frame, target)
    warn_of_rows_without_target(has_target, target)
    _refuse_single_rows(labels[has_target], target)
    rows = frame.filter(has_target)
    features = [name for name in frame.columns if name != target and name not in reserved]
    features = _without_copies(rows, features, target, labels[has_target])
    _warn_of_identifiers(frame, features)
    _refuse_text_columns(frame, features)
    X = feature_matrix(frame, features)[has_target]  # of the whole frame, so that errors name rows as it counts them
    codes = group_codes(rows, keys, groups)
    warn_of_groups(rows, codes)
    return FrameParts(
        features,
        X,
        labels[has_target],
        group_ids_of(codes.values()),
        None if time is None else column_of_times(time, rows[time]),
        np.flatnonzero(has_target) + 1,
    )


def target_labels(frame: pl.DataFrame, target: str) -> tuple[NDArray[Any], BoolArray]:
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
    has_target = (column.is_not_null() & ~column.is_in([""])).to_numpy()
    as_decimals = r"^(-?\d+)\.0+$"  # what pandas makes of whole numbers if one is missing
    if column.filter(has_target).str.contains(r"^-?\d+(\.0+)?$").all():
        column = column.str.replace(as_decimals, "$1")
    labels = column.fill_null("").to_numpy().astype(str)
    distinct = np.unique(labels[has_target])
    if len(distinct) > MAX_NUMERIC_CLASSES:
        numbers = pl.Series(distinct).cast(pl.Float64, strict=False).to_numpy()
        if np.isfinite(numbers).all() and (numbers % 1 != 0).any():
            raise TableError(measurement_message(numbers, target))
    return labels, has_target


def warn_of_rows_without_target(has_target: BoolArray, target: str, stacklevel: int = 4) -> None:
    """Warn of rows without a target, which are left out, with their number."""
    n_rows = int((~has_target).sum())
    if n_rows:
        rows, are = ("row", "is") if n_rows == 1 else ("rows", "are")
        message = f"{n_rows:,} {rows} without a {target!r} {are} left out"
        warnings.warn(message, TabcohortWarning, stacklevel=stacklevel)


def measurement_message(distinct: NDArray[Any], target: str) -> str:
    """Return the message that a target looks like a measurement, and how to make classes of it."""
    return (
        f"the target {target!r} holds {len(distinct):,} different numbers from {distinct.min():g} to "
        f"{distinct.max():g} and looks like a measurement: a classifier needs classes, so divide the column "
        f"{target!r} into bins where the table is made; in pandas, "
        f"frame[{target!r}] = pandas.qcut(frame[{target!r}], 3, labels=['low', 'middle', 'high']) makes three"
    )


def single_row_message(label: Any, target: str) -> str:
    """Return the message that a class has one row only, and what that means."""
    return (
        f"the class {label!r} of {target!r} has a single row, which can only be trained on, so the model cannot be "
        "tested on this class; leave it out, or merge it with another class"
    )


def _refuse_single_rows(labels: NDArray[Any], target: str) -> None:
    """Raise `TableError` for a class with one row, unless all classes are like that, which gets another error."""
    distinct, counts = np.unique(labels, return_counts=True)
    if len(distinct) and (counts == 1).any() and not (counts == 1).all():
        raise TableError(single_row_message(str(distinct[counts == 1][0]), target))


def _without_copies(frame: pl.DataFrame, features: list[str], target: str, labels: NDArray[Any]) -> list[str]:
    """Return the features without those that are the target under other names, with a warning for each."""
    import polars as pl

    truth = pl.Series("truth", labels)
    n_classes = truth.n_unique()
    if not 1 < n_classes < len(labels):  # a target of one class, or of another in every row, is refused later
        return features
    kept = []
    for name in features:
        column = frame[name]
        if column.n_unique() == n_classes and pl.DataFrame([column.alias("copy"), truth]).n_unique() == n_classes:
            message = f"the column {name!r} is a copy of the target {target!r} and is left out"
            warnings.warn(message, TabcohortWarning, stacklevel=4)
        else:
            kept.append(name)
    return kept


def _warn_of_identifiers(frame: pl.DataFrame, features: list[str]) -> None:
    """Warn of columns that look like identifiers: a different whole number in every row."""
    import polars as pl

    for name in features:
        if not (frame[name].dtype.is_integer() or frame[name].dtype == pl.String):
            continue
        column = frame[name].cast(pl.String).str.strip_chars()
        if len(frame) >= 50 and column.n_unique() == len(frame) and column.str.contains(r"^\d+$").all():
            warnings.warn(
                f"the column {name!r} is a different whole number in every row; if it only identifies rows, name it a "
                "key (--key) so that it is not a feature",
                TabcohortWarning,
                stacklevel=4,
            )


def _refuse_text_columns(frame: pl.DataFrame, features: list[str]) -> None:
    """Raise `TableError` naming every text column, where there are several; a single one gets an error with its row."""
    columns = [name for name in features if is_text(frame[name])]
    with_commas = [name for name in columns if has_decimal_commas(frame[name])]
    if with_commas and len(columns) > 1:
        raise TableError(f"the text of {', '.join(map(repr, with_commas))} {DECIMAL_COMMAS}")
    if len(columns) > 1:
        raise TableError(
            f"the columns {', '.join(map(repr, columns))} are text: {ONLY_NUMBERS}: "
            + " ".join(f"--drop {shlex.quote(name)}" for name in columns)
        )

"""Frames become a `Table`: which columns predict, what ties rows, when they were, and what is not to be learned."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.columns import (
    HOW_TO_LEAVE_OUT,
    LOOKS_DECIMAL,
    check_finite_cells,
    feature_matrix,
    has_decimal_commas,
    is_words,
    require_column,
)
from tabcohort.data.splits import families
from tabcohort.data.table import MOST_MEASUREMENTS, Schema, Table, make_table, measurement_message, single_row_message
from tabcohort.errors import TabcohortWarning, TableError
from tabcohort.types import FloatArray, IntArray, Label

if TYPE_CHECKING:
    import polars as pl


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
    for names in _ties(keys, groups):
        if len(frame):
            codes.append(_codes(frame, names))
            _tell_of_ties(frame, names, int(codes[-1].max()) + 1)
    return _tied(codes)


def _ties(keys: Sequence[str], groups: Sequence[str]) -> list[Sequence[str]]:
    """Return the columns that tie rows: those of the key together, and each group."""
    return [names for names in (keys, *([name] for name in groups)) if names]


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
    known_rows, ties = frame.filter(known), _ties(schema.keys, schema.groups)
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
            raise TableError(measurement_message(numbers, target))
    return labels, known

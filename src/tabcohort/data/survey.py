"""The first pass over a table that is larger than memory: its columns, its classes, and a sample of its rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tabcohort.data.columns import Boolean, Column, Dropped, shortened
from tabcohort.data.copies import without_copies_of_target
from tabcohort.data.disk_rows import uniform_sample
from tabcohort.data.frames import (
    ColumnChoices,
    check_choices,
    check_classes,
    plain_label,
    single_row_messages,
    target_labels,
    warn_of_columns,
    warn_of_rows_without_target,
)
from tabcohort.data.labels import label_findings
from tabcohort.data.parquet_files import ParquetRows, ReadingCallback, ignore, places_within
from tabcohort.data.parse import as_series, as_text, has_no_single_values, parse_truth, without_missing_words
from tabcohort.data.recognize import recognize_columns, with_level_counts
from tabcohort.errors import TabcohortWarning, TableError
from tabcohort.types import IntArray, Label

if TYPE_CHECKING:
    import polars as pl

MAX_COUNTED = 100_000  # distinct values of a column that are counted; of columns with more, those of the sample are


@dataclass(frozen=True)
class Survey:
    """What the first pass tells.

    Args:
        sample: rows that were drawn uniformly; all rows where there are few.
        sampled_rows: their numbers, counted from 0, ascending, `(n_sampled,)`.
        columns: the features, with the levels of all rows.
        dropped: columns that are left out.
        raw_labels: the distinct values of the target as the file has them, `(n_values,)`.
        codes: the class of each of these, -1 where it stands for no class, `(n_values,)`.
        classes: the labels.
    """

    sample: pl.DataFrame
    sampled_rows: IntArray
    columns: tuple[Column, ...]
    dropped: tuple[Column, ...]
    raw_labels: pl.Series
    codes: IntArray
    classes: tuple[Label, ...]

    def y(self, target: pl.Series) -> IntArray:
        """Return the class of each cell of the target, -1 where it has none, `(n,)`."""
        import polars as pl

        known = comparable(target)
        codes = known.replace_strict(self.raw_labels, self.codes.tolist(), default=-1, return_dtype=pl.Int64)
        return codes.fill_null(-1).to_numpy()


def survey(rows: ParquetRows, target: str, choices: ColumnChoices, callback: ReadingCallback = ignore) -> Survey:
    """Read all rows once, a few thousand at a time.

    Types of columns, and what is left out, are decided on a uniform sample of at most 200,000 rows (fewer of wide
    tables), always the same. Levels, classes and their counts, and whether cells are missing, are those of all rows;
    of a column with more than 100,000 distinct values the levels are those of the sample.

    Args:
        rows: the files.
        target: the column to predict.
        choices: what is said of the columns.
        callback: called with the progress after each batch.

    Raises:
        TableError: a named column is not there, a column cannot be read, or the target is not classes.
    """
    import polars as pl

    sampled_rows = uniform_sample(rows.n_rows, len(rows.names))
    counters: dict[str, _Counter] = {}
    frames = []
    for first, frame in rows.batches(stage="surveying the rows", callback=callback):
        if not first:
            check_choices(frame, target, choices)
            counters = {name: _Counter(name, name == target) for name in frame.columns}
        frames.append(frame[places_within(sampled_rows, first, len(frame))])
        for name, series in frame.to_dict().items():
            counters[name].add(series)
    if not frames:
        raise TableError("the files hold no rows; name files with rows")
    raw_labels, codes, classes = _classes(counters[target], target)
    result = Survey(pl.concat(frames), sampled_rows, (), (), raw_labels, codes, classes)
    features, dropped = _columns(result, rows, counters, target, choices)
    return replace(result, columns=features, dropped=dropped)


def _classes(counter: _Counter, target: str) -> tuple[pl.Series, IntArray, tuple[Label, ...]]:
    """Return the distinct values of the target, the class of each (-1 where it stands for none), and the labels.

    Raises:
        TableError: the target is not classes.
    """
    import polars as pl

    counts = counter.counts
    if counts is None:
        raise TableError(
            f"the target {target!r} has more than {MAX_COUNTED:,} distinct values, which are no classes; divide it "
            "into bins where the table is made"
        )
    raw = counts["level"]
    labels, has_label = target_labels(pl.DataFrame([raw.alias(target)]), target)
    totals = counts["n"].to_numpy()
    n_without = counter.n_missing + int(totals[~has_label].sum())
    warn_of_rows_without_target(n_without, target, stacklevel=5)
    classes, place = np.unique(labels[has_label], return_inverse=True)
    n_rows = np.bincount(place, totals[has_label], len(classes)).astype(np.int64)
    check_classes(np.repeat(classes, np.minimum(n_rows, 2)), target)
    problems = single_row_messages(classes, n_rows, target)
    if problems:
        raise TableError("; ".join(problems))
    for finding in label_findings(target, classes.tolist(), n_rows):
        warnings.warn(str(finding), TabcohortWarning, stacklevel=4)
    codes = np.full(len(raw), -1)
    codes[has_label] = place
    return raw, codes, tuple(plain_label(label) for label in classes)


def _columns(
    result: Survey, rows: ParquetRows, counters: Mapping[str, _Counter], target: str, choices: ColumnChoices
) -> tuple[tuple[Column, ...], tuple[Column, ...]]:
    """Return the features, and the columns that are left out."""
    sample, classes = result.sample, np.array(result.classes)
    names = [name for name in sample.columns if name != target and name not in choices.reserved]
    with rows.naming_rows(result.sampled_rows):
        columns = recognize_columns(sample, names, choices.types)
    y = result.y(sample[target])
    columns = without_copies_of_target(sample.filter(y >= 0), columns, target, classes[y[y >= 0]])
    columns = [counters[column.name].completed(column) for column in columns]
    warn_of_columns(columns, choices.types)
    features = tuple(column for column in columns if not isinstance(column, Dropped))
    dropped = tuple(column for column in columns if isinstance(column, Dropped))
    if not features:
        raise TableError("there is no column to predict from: all are left out; name types of columns to keep them")
    return features, dropped


class _Counter:
    """Counts the distinct values of a column, and its missing cells.

    Args:
        name: of the column.
        is_target: whether numbers with fractions are counted, too.
    """

    def __init__(self, name: str, is_target: bool) -> None:
        self.name, self.is_target = name, is_target
        self.counts: pl.DataFrame | None = None
        self.n_missing = 0
        self._is_counted: bool | None = None

    def add(self, cells: pl.Series) -> None:
        """Count the cells of a batch."""
        import polars as pl

        if has_no_single_values(cells):
            return
        cells = comparable(as_series(self.name, cells))
        self.n_missing += cells.null_count()
        if self._is_counted is None:
            self._is_counted = self.is_target or not (cells.dtype.is_float() or cells.dtype.is_temporal())
        if not self._is_counted:
            return
        counts = cells.drop_nulls().alias("level").value_counts(name="n").with_columns(pl.col("n").cast(pl.Int64))
        counts = counts if self.counts is None else pl.concat([self.counts, counts])
        self.counts = counts.group_by("level").agg(pl.col("n").sum())
        if len(self.counts) > MAX_COUNTED:
            self.counts, self._is_counted = None, False

    def completed(self, column: Column) -> Column:
        """Return a column of the sample with what is counted in all rows."""
        import polars as pl

        if isinstance(column, Dropped):
            return column
        column = replace(column, has_missing=column.has_missing or self.n_missing > 0)
        if self.counts is None:
            return column
        text = as_text(self.counts["level"])
        if text.null_count():
            column = replace(column, has_missing=True)
        if isinstance(column, Boolean):
            _check_truth(column.name, text, self.counts["n"])
        counts = pl.DataFrame([text, self.counts["n"]]).drop_nulls().group_by("level").agg(pl.col("n").sum())
        return with_level_counts(column, counts)


def _check_truth(name: str, levels: pl.Series, counts: pl.Series) -> None:
    """Raise `TableError` if a boolean column has other levels than yes, no and what stands for a missing cell.

    Args:
        name: of the column.
        levels: distinct cells of all rows, as text.
        counts: rows of each.
    """
    text = without_missing_words(levels)
    is_neither = text.is_not_null() & parse_truth(text).is_null()
    if is_neither.any():
        raise TableError(
            f"the column {name!r} is boolean in a sample of the rows, and {counts.filter(is_neither).sum():,} cells of "
            f"all rows are neither yes nor no, such as {shortened(text.filter(is_neither).sort()[0])}; fix them, or "
            "name another type for the column, such as category"
        )


def comparable(cells: pl.Series) -> pl.Series:
    """Return cells of which equal ones are equal in any batch: categories as text, and missing numbers as null."""
    import polars as pl

    if cells.dtype in (pl.Categorical, pl.Enum):
        return cells.cast(pl.String)
    return cells.fill_nan(None) if cells.dtype.is_float() else cells

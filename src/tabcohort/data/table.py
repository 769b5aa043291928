"""A table: inputs as numbers, class codes, and the schema that names them."""

from __future__ import annotations

import functools
import hashlib
import itertools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.columns import ONE_HOT_LEVELS, Column, Dropped, IntegerCode, Number
from tabcohort.data.disk_rows import DiskRows
from tabcohort.data.encoder import (
    CategoryEncoding,
    Encoding,
    Statistics,
    StoredRows,
    fit_statistics,
    no_codes,
    row_slices,
    store_rows,
)
from tabcohort.data.frames import (
    ColumnChoices,
    as_frame,
    check_classes,
    frame_parts,
    measurement_message,
    plain_label,
    single_row_messages,
    target_labels,
    warn_of_rows_without_target,
)
from tabcohort.data.groups import group_codes, group_ids_of
from tabcohort.data.inputs import (
    check_cells,
    check_outliers,
    input_names,
    input_places,
    joined_inputs,
    numbers_and_codes,
    require_target,
)
from tabcohort.data.labels import MAX_NUMERIC_CLASSES
from tabcohort.data.sources import read_frame
from tabcohort.errors import TabcohortWarning, TableError, listed
from tabcohort.settings import Config
from tabcohort.types import BoolArray, CodeArray, FloatArray, IntArray, Label

if TYPE_CHECKING:
    import polars as pl


MAX_TARGET_STATISTICS = 8  # classes; with more, a category of many levels has its count and its learned vector only


@dataclass(frozen=True)
class Schema:
    """The columns and classes of a table that a model was trained on; later tables must have the same.

    Args:
        columns: the features and their types, in the model's order.
        target: name of the column to predict.
        classes: the target's labels; a class's code is its place here.
        positive: code of the positive class; None where there are more than two classes and none was named.
        keys: names of columns that identify a row; they are written with the predictions and are not features.
        groups: names of columns that say which rows belong together; they are not features.
        dropped: columns that were left out, and why.
    """

    columns: tuple[Column, ...]
    target: str
    classes: tuple[Label, ...]
    positive: int | None
    keys: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    dropped: tuple[Column, ...] = ()

    @functools.cached_property
    def features(self) -> tuple[str, ...]:
        """Names of the feature columns, in the model's order."""
        return tuple(column.name for column in self.columns)

    @property
    def n_numbers(self) -> int:
        """Inputs that are numbers; they come before the codes."""
        return sum(column.n_numbers for column in self.columns)

    @property
    def n_codes(self) -> tuple[int, ...]:
        """Codes of each input that is a code."""
        return tuple(column.n_codes for column in self.columns if column.n_codes)

    @property
    def n_outputs(self) -> int:
        """Logits of a model: for two classes one, that of the second class."""
        return 1 if len(self.classes) == 2 else len(self.classes)

    def encoding(self, config: Config) -> Encoding | None:
        """Return how a config's networks encode the inputs; None for numbers without missing cells.

        Up to eight levels have a column each. More have target statistics, their count, and for the networks with
        hidden layers a learned vector, unless they are integer codes.
        """
        places, has_vectors = input_places(self.columns), config.model != "logistic"
        missing = tuple(numbers.start for column, numbers, _ in places if column.n_numbers and column.has_missing)
        coded = [(column, code) for column, _, code in places if code is not None]
        if not missing and not coded:
            return None
        categories = tuple(self._category(column, has_vectors) for column, _ in coded)
        return Encoding(tuple(range(self.n_numbers)), missing, tuple(code for _, code in coded), categories)

    def column_names(self, encoding: Encoding) -> list[str]:
        """Return a name for each column of an encoding: "age", "age is missing", "city = Oslo", "city (count)"."""
        numbers = input_names(self.columns)[: self.n_numbers]
        names = [*numbers, *(f"{numbers[place]} is missing" for place in encoding.missing)]
        coded = [column for column in self.columns if column.n_codes]
        for column, category in zip(coded, encoding.categories, strict=True):
            levels = [*column.levels, "missing"][: category.width]
            if category.one_hot and category.width == 1 and len(column.levels) == 2:
                levels = [column.levels[1]]
            targets = [self.classes[1]] if len(self.classes) == 2 else list(self.classes)
            statistics = [*(f"{column.name} (share of {label})" for label in targets[: category.width - 1])]
            one_hot = [f"{column.name} = {level}" for level in levels]
            names += one_hot if category.one_hot else [*statistics, f"{column.name} (count)"]
        return [*names, *(f"{coded[place].name} (learned)" for place in encoding.learned)]

    def _category(self, column: Column, has_vectors: bool) -> CategoryEncoding:
        n_levels, n_classes = len(column.levels), len(self.classes)
        if n_levels <= ONE_HOT_LEVELS:
            width = 1 if n_levels == 2 and not column.has_missing else n_levels + column.has_missing
            return CategoryEncoding(column.n_codes, True, width)
        n_targets = 1 if n_classes == 2 else n_classes if n_classes <= MAX_TARGET_STATISTICS else 0
        # What a vector could learn of an integer code, its number says: see docs/guide/columns.md.
        has_vectors = has_vectors and not isinstance(column, IntegerCode)
        return CategoryEncoding(column.n_codes, False, n_targets + 1, column.n_frequent if has_vectors else 0)


@dataclass(frozen=True)
class Table:
    """Rows to learn from. Make one with `Table.from_frame`, `Table.from_arrays` or `Table.from_file`.

    Args:
        numbers: of all columns, `(n_rows, n_numbers)`, float64, finite or NaN where one is missing: dates and long
            identifiers need more digits than float32 has.
        codes: of all columns that have levels, `(n_rows, n_codes)`, int32, C-contiguous.
        y: class codes, `(n_rows,)`, int64.
        weight: row weights, `(n_rows,)`, float64, positive.
        schema: the names of all these.
        group_ids: the group of each row, `(n_rows,)`, codes from 0; None where all rows are independent.
        time: the time of each row, `(n_rows,)`, float64; None where it plays no part.
        disk: where the rows are, if they are in a store: the arrays above are mapped, then, and not in memory.
    """

    numbers: FloatArray
    codes: CodeArray
    y: IntArray
    weight: FloatArray
    schema: Schema
    group_ids: IntArray | None = None
    time: FloatArray | None = None
    disk: DiskRows | None = None

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        target: str,
        *,
        positive: Label | None = None,
        keys: Sequence[str] = (),
        groups: Sequence[str] = (),
        time: str | None = None,
        weight: str | None = None,
        types: Mapping[str, str] | None = None,
    ) -> Table:
        """Return the table of a frame: every column is a feature except those that are named for something else.

        Args:
            frame: the rows: a polars or pandas frame, a pyarrow table, or a mapping of columns. Those without a target
                are left out, with a warning that counts them.
            target: the column to predict.
            positive: label of the positive class; of two classes the last in sorted order when omitted.
            keys: columns that identify a row; rows of one key stay together, and keys are carried along.
            groups: columns of which rows with the same value stay together.
            time: a column of numbers or dates; members validate and test on rows later than those they train on.
            weight: a column of row weights; rows of weight 0 are left out.
            types: the type of columns that are not to be read as they look: "number", "category", "boolean", "date",
                "text", "integer code", or "drop" to leave one out.

        Raises:
            TableError: a named column is not there, a column cannot be read, or a class has a single row.

        Warns:
            TabcohortWarning: rows have no target, or columns are left out.

        Examples:
            >>> cells = {"age": [31, 45, 52, 28], "city": ["Rome", "Oslo", "Oslo", "Oslo"], "bought": list("nyyn")}
            >>> table = Table.from_frame(cells, "bought", types={"city": "category"})
            >>> [column.describe() for column in table.schema.columns]
            ['number', 'category of 2 levels']
        """
        choices = ColumnChoices(tuple(keys), tuple(groups), time, weight, dict(types or {}))
        parts = frame_parts(as_frame(frame), target, choices)
        rows = _Rows(
            parts.numbers, parts.codes, parts.labels, parts.weight, parts.row_numbers, parts.group_ids, parts.time
        )  # fmt: skip
        schema = Schema(
            tuple(parts.columns), target, (), None, choices.keys, choices.groups, dropped=tuple(parts.dropped)
        )  # fmt: skip
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
        weight: str | None = None,
        types: Mapping[str, str] | None = None,
    ) -> Table:
        """Return the table of a file in any of the formats that `read_frame` knows.

        Args:
            path: the file.
            target: as in `from_frame`.
            positive: as in `from_frame`.
            keys: as in `from_frame`.
            groups: as in `from_frame`.
            time: as in `from_frame`.
            weight: as in `from_frame`.
            types: as in `from_frame`.

        Raises:
            TableError: the file cannot be read, or as in `from_frame`.
        """
        return cls.from_frame(
            read_frame(path), target, positive=positive, keys=keys, groups=groups, time=time, weight=weight, types=types
        )  # fmt: skip

    @classmethod
    def from_arrays(
        cls,
        X: FloatArray | tuple[FloatArray, CodeArray],
        y: NDArray[Any],
        *,
        features: Sequence[str | Column] | None = None,
        target: str = "target",
        positive: Label | None = None,
        weight: FloatArray | None = None,
        group_ids: IntArray | None = None,
        time: FloatArray | None = None,
    ) -> Table:
        """Return the table of arrays.

        Args:
            X: numbers, `(n_rows, n_features)`, finite or NaN where one is missing; or the numbers and the codes of
                given columns, as `numbers_and_codes` gives them.
            y: the target's labels, `(n_rows,)`.
            features: column names; `x0`, `x1`, ... when omitted; or the columns that `X` is of.
            target: the target's name.
            positive: label of the positive class; of two classes the last in sorted order when omitted.
            weight: row weights, `(n_rows,)`; rows of weight 0 are left out. All 1 when omitted.
            group_ids: the group of each row, `(n_rows,)`, codes from 0: rows of one group stay together.
            time: the time of each row, `(n_rows,)`: members validate and test on later rows than they train on.

        Raises:
            TableError: a cell is not finite, there are fewer than two classes, or every row has a class of its own.

        Warns:
            TabcohortWarning: a class has a single row.

        Examples:
            >>> Table.from_arrays(np.eye(4), np.array(["no", "no", "yes", "yes"])).schema.classes
            ('no', 'yes')
        """
        numbers, codes = X if isinstance(X, tuple) else (X, None)
        numbers = _as_numbers(numbers)
        weight = None if weight is None else np.asarray(weight, dtype=np.float64)
        group_ids = None if group_ids is None else np.asarray(group_ids, dtype=np.int64)
        time = None if time is None else np.asarray(time, dtype=np.float64)
        rows = _rows_of_arrays(numbers, codes, np.asarray(y), weight, group_ids, time)
        columns = _columns_of_arrays(numbers, features)
        dropped = tuple(column for column in columns if isinstance(column, Dropped))
        kept = tuple(column for column in columns if not isinstance(column, Dropped))
        return _checked_table(rows, Schema(kept, target, (), None, dropped=dropped), positive)

    @classmethod
    def for_schema(cls, frame: pl.DataFrame, schema: Schema) -> Table:
        """Return the table of a polars frame for an existing model: with the columns and classes of its schema.

        A class may have any number of rows. Keys and groups that the frame has connect its rows, too.

        Raises:
            TableError: a column is missing, a cell is not a number, no row has a target, or a class is unknown.
        """
        require_target(schema.target, frame.columns, (*schema.features, *schema.keys, *schema.groups))
        labels, has_target = target_labels(frame, schema.target)
        warn_of_rows_without_target(int((~has_target).sum()), schema.target, stacklevel=3)
        if not has_target.any():
            raise TableError(f"no row has a {schema.target!r}: there is nothing to measure on")
        codes = {str(label): code for code, label in enumerate(schema.classes)}
        unknown = [label for label in np.unique(labels[has_target]) if label not in codes]
        if unknown:
            raise TableError(
                f"the model knows no class {str(unknown[0])!r} of {schema.target!r}; "
                f"its classes are {listed(map(repr, schema.classes), 10)}"
            )
        numbers, code_array = numbers_and_codes(frame, schema.columns, has_target)
        check_cells(numbers, schema.columns, np.flatnonzero(has_target) + 1)
        y = np.array([codes[label] for label in labels[has_target]], dtype=np.int64)
        available = set(frame.columns)
        keys = schema.keys if set(schema.keys) <= available else ()
        groups = [name for name in schema.groups if name in available]
        group_ids = group_ids_of(group_codes(frame.filter(has_target), keys, groups).values())
        return cls(numbers, code_array, y, np.ones(len(y)), schema, group_ids)

    @property
    def n_inputs(self) -> int:
        """Inputs of a row: numbers and codes."""
        return self.numbers.shape[1] + self.codes.shape[1]

    @property
    def X(self) -> FloatArray:  # noqa: N802
        """The inputs of all rows, `(n_rows, n_inputs)`, float64: the numbers, and then the codes, which are copied."""
        return joined_inputs(self.numbers, self.codes)

    def inputs(self, rows: IntArray | slice) -> FloatArray:
        """Return the inputs of some rows as `X` has them."""
        if self.disk is not None and not isinstance(rows, slice):
            return joined_inputs(self.disk.blocks.take("numbers", rows), self.disk.blocks.take("codes", rows))
        return joined_inputs(self.numbers[rows], self.codes[rows])

    def take(self, rows: IntArray) -> Table:
        """Return some rows as a table that is in memory.

        Args:
            rows: row numbers, `(n,)`.
        """
        if self.disk is None:
            groups = None if self.group_ids is None else self.group_ids[rows]
            times = None if self.time is None else self.time[rows]
            return Table(
                self.numbers[rows], self.codes[rows], self.y[rows], self.weight[rows], self.schema, groups, times
            )  # fmt: skip
        taken = self.disk.rows(rows)
        hashes = self.disk.blocks.take("hashes", rows) if self.disk.in_groups else None
        group_ids = None if hashes is None else np.unique(hashes, return_inverse=True)[1]
        return Table(taken.numbers, taken.codes, taken.y, taken.weight, self.schema, group_ids)

    def with_numbers(self, numbers: FloatArray) -> Table:
        """Return the table with other inputs, which are all numbers."""
        return replace(self, numbers=numbers, codes=no_codes(len(numbers)), disk=None)

    def bins(self, config: Config) -> tuple[int, ...]:
        """Return the bins of each number that a config's piecewise-linear encoding has; none for two distinct values.

        There are never more bins than gaps between distinct values. Empty where the config has no such encoding.
        """
        if not config.bins:
            return ()
        return tuple(0 if n <= 2 else min(config.bins, n - 1) for n in self._n_distinct)

    @functools.cached_property
    def _n_distinct(self) -> tuple[int, ...]:
        """The distinct values of each number."""
        numbers = self.numbers if self.disk is None else self.disk.sampled.numbers
        return tuple(len(np.unique(values[~np.isnan(values)])) for values in numbers.T)

    def stored_rows(self) -> StoredRows:
        """Return the rows as all members share them, in 32 bits.

        Warns:
            TabcohortWarning: columns vary too little beside their size to be used.
        """
        if self.disk is not None:
            return self.disk.stored
        statistics = fit_statistics(self.numbers, self.weight)
        self._warn_of_tiny_deviations(statistics)
        return store_rows(self.numbers, statistics, self.codes)

    def _warn_of_tiny_deviations(self, statistics: Statistics) -> None:
        """Warn of the columns of numbers that vary and that standardization takes for constant."""
        constant = np.flatnonzero(statistics.scale == 0)
        names = input_names(self.schema.columns)
        tiny = [names[i] for i in constant if len(np.unique(self.numbers[~np.isnan(self.numbers[:, i]), i])) > 1]
        if tiny:
            warnings.warn(
                f"not used, as the values differ by less than 1e-12 of their size: {listed(map(repr, tiny), 10)}; "
                "subtract what the values have in common to use them",
                TabcohortWarning,
                stacklevel=4,
            )

    def fingerprint(self) -> str:
        """Return a SHA-256 of the values, names and classes: two tables have the same only if they are the same."""
        if self.disk is not None:
            return self.disk.fingerprint
        digest = hashlib.sha256(repr((self.schema, (len(self.y), self.n_inputs))).encode())
        parts = (self.inputs(part) for part in row_slices(len(self.y)))
        for array in itertools.chain(parts, (self.y, self.weight)):
            digest.update(np.ascontiguousarray(array).data)  # a buffer, so that no copy is made
        return digest.hexdigest()


@dataclass(frozen=True)
class _Rows:
    """Rows before their classes are named; arrays with one entry per row, and the rows' numbers for messages."""

    numbers: FloatArray
    codes: CodeArray
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
    X: FloatArray,
    codes: CodeArray | None,
    y: NDArray[Any],
    weight: FloatArray | None,
    group_ids: IntArray | None,
    time: FloatArray | None,
) -> _Rows:
    """Return rows after checking that there is one label, weight, group and time for each, as far as they are given."""
    if X.ndim != 2 or y.shape != (len(X),):
        raise TableError(f"X must be (n_rows, n_features) and y (n_rows,); they are {X.shape} and {y.shape}")
    for name, array in (("weight", weight), ("group", group_ids), ("time", time)):
        if array is not None and array.shape != y.shape:
            raise TableError(f"there must be one {name} per row, of shape {y.shape}; the shape is {array.shape}")
    weight = np.ones(len(X)) if weight is None else weight
    if np.isnan(X).any():
        X = np.where(np.isnan(X), np.nan, X)  # NaN has many bit patterns, and equal rows must have equal bits
    if time is not None and not np.isfinite(time).all():
        row = int(np.flatnonzero(~np.isfinite(time))[0])
        raise TableError(f"row {row + 1} has the time {time[row]}; every row needs a time that is a number")
    codes = no_codes(len(X)) if codes is None else codes
    return _Rows(X, codes, y, weight, np.arange(1, len(X) + 1), group_ids, time)


def _as_numbers(X: Any) -> FloatArray:
    """Return an array as float64.

    Raises:
        TableError: it does not hold numbers.
    """
    X = np.asarray(X)
    if X.dtype.kind not in "biuf":
        raise TableError(f"X must be numbers, and is an array of {X.dtype}; a frame may have other columns")
    return np.asarray(X, dtype=np.float64)


def _columns_of_arrays(X: FloatArray, features: Sequence[str | Column] | None) -> list[Column]:
    """Return the columns that an array has: numbers, unless columns are given.

    Raises:
        TableError: there is another number of names than of columns.
    """
    given = [f"x{i}" for i in range(X.shape[1])] if features is None else list(features)
    if given and isinstance(given[0], Column):
        return [column for column in given if isinstance(column, Column)]
    if len(given) != X.shape[1]:
        names = f" ({listed(map(repr, given), 20)})" if given else ""
        raise TableError(f"X has {X.shape[1]} columns and needs as many names; there are {len(given)}{names}")
    return [Number(str(name), bool(np.isnan(column).any())) for name, column in zip(given, X.T, strict=True)]


def _checked_table(rows: _Rows, schema: Schema, positive: Label | None) -> Table:
    """Check cells and labels, and name the classes, which the schema does not have yet."""
    if len(set(schema.features)) != len(schema.features):
        raise TableError(f"columns need different names; they are {listed(schema.features, 20)}")
    check_cells(rows.numbers, schema.columns, rows.row_numbers)
    check_outliers(rows.numbers, schema.columns, rows.row_numbers)
    invalid = np.flatnonzero(~(np.isfinite(rows.weight) & (rows.weight >= 0)))
    if len(invalid):
        row, weight = rows.row_numbers[invalid[0]], rows.weight[invalid[0]]
        raise TableError(f"row {row} has the weight {weight:g}; a weight must be 0 or a positive number")
    if not (rows.weight > 0).all():
        rows = rows.take(rows.weight > 0)
    _check_labels(rows, schema.target)
    check_classes(rows.labels, schema.target)
    classes, y, counts = np.unique(rows.labels, return_inverse=True, return_counts=True)
    for message in single_row_messages(classes, counts, schema.target):
        warnings.warn(message, TabcohortWarning, stacklevel=3)
    if not schema.columns:
        reasons = listed([f"{column.name!r} ({column.note})" for column in schema.dropped], 10, "; ")
        raise TableError(
            f"there is no column to predict from{'; left out: ' + reasons if reasons else ' (0 features)'}"
        )
    labels = tuple(plain_label(label) for label in classes)
    schema = replace(schema, classes=labels, positive=positive_code(labels, positive, schema.target))
    return Table(rows.numbers, rows.codes, y.astype(np.int64), rows.weight, schema, rows.group_ids, rows.time)


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
    names = listed(map(repr, classes), 10)
    raise TableError(f"the positive class {positive!r} is not in {target!r}, whose classes are {names}")

"""Cells that are unusual for a model: levels, distances and gaps that its training rows did not have."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.columns import Column
from tabcohort.data.encoder import ROUNDING
from tabcohort.data.inputs import by_name, input_places, named_series
from tabcohort.errors import listed, warn_caller
from tabcohort.types import BoolArray, FloatArray, IntArray

OUTLIER = 20.0  # standard deviations from the training rows' mean
_Cell = TypeVar("_Cell", bound=np.generic)


@dataclass(frozen=True)
class UnusualCells:
    """Which rows have an unusual cell, `(n_rows,)` by the name of the column, for the columns that have any.

    Args:
        unknown: its level is in no training row.
        far: how many standard deviations it is from the training rows' mean, where these are more than `OUTLIER`; 0
            elsewhere.
        missing: it is missing, and was in no training row.
    """

    unknown: Mapping[str, BoolArray]
    far: Mapping[str, FloatArray]
    missing: Mapping[str, BoolArray]

    def warnings(self) -> dict[int, str]:
        """Return what is unusual in a row as text, by the numbers of the rows that have anything unusual."""
        parts: dict[int, list[str]] = {}
        for what, cells in (
            ("unknown level of", self.unknown), ("far from the training rows in", self.far), ("missing", self.missing)
        ):  # fmt: skip
            for name, is_unusual in cells.items():
                for row in np.flatnonzero(is_unusual).tolist():
                    parts.setdefault(row, []).append(f"{what} {name!r}")
        return {row: "; ".join(texts) for row, texts in parts.items()}


class UsualCells:
    """Where the cells of the training rows lie, so that others can be named.

    Args:
        columns: of the schema.
        center, scale: the training rows' mean of each number, and 1 / its standard deviation, `(n_numbers,)`.
    """

    def __init__(self, columns: Sequence[Column], center: FloatArray, scale: FloatArray) -> None:
        self.columns, self._center, self._scale = columns, center, scale
        places = [(column, numbers.start) for column, numbers, _ in input_places(columns) if column.n_numbers]
        self._first_numbers = np.array([start for _, start in places], dtype=np.int64)
        self._never_missing = np.array([start for own, start in places if not own.has_missing], dtype=np.int64)

    def distances(self, X: FloatArray) -> FloatArray:
        """Return how many standard deviations each number is from the training rows' mean, 0 where it is missing."""
        distance: FloatArray = np.abs((X[:, : len(self._center)] - self._center) * self._scale)
        distance[np.isnan(distance)] = 0.0
        return distance

    def outlier_cells(self, X: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the place of each row's largest distance, `(n_rows,)`, and this distance; 0 without numbers.

        Of a date, only its days count, and of a text its length.
        """
        distance = self.distances(X)
        if not len(self._first_numbers):
            return np.zeros(len(distance), dtype=np.int64), np.zeros(len(distance))
        place = self._first_numbers[distance[:, self._first_numbers].argmax(axis=1)]
        return place, distance[np.arange(len(distance)), place]

    def unusual(self, X: FloatArray) -> UnusualCells:
        """Return the unusual cells of rows."""
        return unusual_cells(X, self.columns, self.distances(X))

    def warn(self, X: FloatArray, data: Any) -> UnusualCells | None:
        """Warn of cells that are far from those of the training rows, and of levels that these did not have.

        Args:
            X: inputs, `(n_rows, n_inputs)`.
            data: what they are of: a frame or a mapping of columns, an array, or a record.

        Returns:
            The unusual cells, if there are any.
        """
        cells = self.unusual_if_any(X)
        if cells is not None:
            warn_of_outliers(cells.far, X, self.columns, data)
            warn_of_unknown_levels(cells.unknown)
        return cells

    def unusual_if_any(self, X: FloatArray) -> UnusualCells | None:
        """Return the unusual cells of rows, or None, which is quick, where no cell can be one."""
        low, high = self._range
        if not (((low > X) | (high < X)).any() or np.isnan(X[:, self._never_missing]).any()):
            return None
        return self.unusual(X)

    @functools.cached_property
    def _range(self) -> tuple[FloatArray, FloatArray]:
        """Between what each input lies, `(n_inputs,)`, if it is no outlier, unknown level or unusual gap."""
        reach = np.full(len(self._center), np.inf)
        cells = self._first_numbers[self._scale[self._first_numbers] > 0]
        reach[cells] = OUTLIER * (1 - ROUNDING) / self._scale[cells]
        with_codes = [column for column in self.columns if column.n_codes]
        usual = [column.n_codes - (1.5 if column.has_missing else 2.5) for column in with_codes]
        return np.append(self._center - reach, np.zeros(len(usual))), np.append(self._center + reach, usual)


def unusual_cells(X: FloatArray, columns: Sequence[Column], distance: FloatArray) -> UnusualCells:
    """Return the unusual cells of rows.

    Args:
        X: inputs, `(n_rows, n_inputs)`: the numbers of all columns, then the codes.
        columns: of the schema.
        distance: of each number from the training rows' mean in their standard deviations, `(n_rows, n_numbers)`.
    """
    far, missing = {}, {}
    for column, numbers, code in input_places(columns):
        is_missing = np.zeros(len(X), dtype=bool)
        if column.n_numbers:
            own = distance[:, numbers.start]
            far[column.name] = np.where(own > OUTLIER, own, 0.0)
            is_missing = np.isnan(X[:, numbers.start])
        if code is not None:
            is_missing = is_missing | (X[:, code] == column.n_codes - 2)
        if not column.has_missing:
            missing[column.name] = is_missing
    return UnusualCells(unknown_levels(X, columns), _with_any(far), _with_any(missing))


def unknown_levels(X: FloatArray, columns: Sequence[Column]) -> dict[str, BoolArray]:
    """Return which rows have a level that no training row had, `(n_rows,)`, by the name of the column, if any has.

    Args:
        X, columns: as for `unusual_cells`.
    """
    codes = [(column, code) for column, _, code in input_places(columns) if code is not None]
    return _with_any({column.name: X[:, code] == column.n_codes - 1 for column, code in codes})


def _with_any(cells: Mapping[str, NDArray[_Cell]]) -> dict[str, NDArray[_Cell]]:
    return {name: is_unusual for name, is_unusual in cells.items() if is_unusual.any()}


# -- warnings --------------------------------------------------------------------------------------------------------


def warn_of_outliers(far: Mapping[str, FloatArray], X: FloatArray, columns: Sequence[Column], data: Any) -> None:
    """Warn of the row with the most extreme outlier, and of how many others have one."""
    if not far:
        return
    place = {column.name: (column, numbers.start) for column, numbers, _ in input_places(columns)}
    name = max(far, key=lambda own: float(far[own].max()))
    row = int(far[name].argmax())
    n_others = int(np.any(list(far.values()), axis=0).sum()) - 1
    others = f" and for {n_others:,} other row{'s' * (n_others > 1)} like it" if n_others else ""
    column, number = place[name]
    is_named = hasattr(data, "columns") or isinstance(data, Mapping)
    cell = _cell(data, column, row) if is_named else f"{X[row, number]:g}"
    warn_caller(
        f"row {row + 1}, column {name!r} holds {cell}, {far[name][row]:,.0f} standard deviations from "
        f"the training rows' mean (a wrong unit?); do not rely on the prediction for it{others}"
    )


def _cell(data: Any, column: Column, row: int) -> Any:
    """Return a cell of a frame or a mapping of columns as it was given; of a record its value."""
    if isinstance(data, Mapping):
        data, name_of = by_name(data)
        cells = data[name_of[column.name]]
        if isinstance(cells, str) or np.ndim(cells) == 0:
            return cells
    return named_series(data, [column])[0][row]


def warn_of_unknown_levels(cells: Mapping[str, BoolArray]) -> None:
    """Warn of levels that no training row had."""
    warn_of_cells("levels that the model was not trained on, read as unknown", cells)


def warn_of_cells(what: str, cells: Mapping[str, BoolArray]) -> None:
    """Warn of unusual cells with their number in each column."""
    counts = {name: int(is_unusual.sum()) for name, is_unusual in cells.items()}
    parts = [f"{name!r} ({count:,} row{'s' * (count > 1)})" for name, count in counts.items()]
    if parts:
        warn_caller(f"{what}: {listed(parts, 10)}")

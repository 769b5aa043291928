"""Cells that are unusual for a model: levels, distances and gaps that its training rows did not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.columns import Column
from tabcohort.data.inputs import by_name, input_places, named_series
from tabcohort.errors import listed, warn_caller
from tabcohort.types import BoolArray, FloatArray

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

    def warnings(self, n_rows: int) -> list[str]:
        """Return what is unusual in each row as text, which is empty for most rows."""
        parts: dict[int, list[str]] = {}
        for what, cells in (
            ("unknown level of", self.unknown), ("far from the training rows in", self.far), ("missing", self.missing)
        ):  # fmt: skip
            for name, is_unusual in cells.items():
                for row in np.flatnonzero(is_unusual).tolist():
                    parts.setdefault(row, []).append(f"{what} {name!r}")
        return ["; ".join(parts.get(row, ())) for row in range(n_rows)]


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

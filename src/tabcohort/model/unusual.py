"""Cells that are unusual for a model: levels, distances and gaps that its training rows did not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tabcohort.data.columns import Column
from tabcohort.types import BoolArray, FloatArray

OUTLIER = 20.0  # standard deviations from the training rows' mean


@dataclass(frozen=True)
class UnusualCells:
    """Which rows have an unusual cell, `(n_rows,)` by the name of the column, for the columns that have any.

    Args:
        unknown: its level is in no training row.
        far: it is more than `OUTLIER` standard deviations from the training rows' mean.
        missing: it is missing, and was in no training row.
    """

    unknown: Mapping[str, BoolArray]
    far: Mapping[str, BoolArray]
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
    unknown, far, missing = {}, {}, {}
    number, code = 0, distance.shape[1]
    for column in columns:
        is_missing = np.zeros(len(X), dtype=bool)
        if column.n_numbers:  # the first is the cell's own, and others are made of it
            is_missing = np.isnan(X[:, number])
            far[column.name] = distance[:, number] > OUTLIER
            number += column.n_numbers
        if column.n_codes:
            unknown[column.name] = X[:, code] == column.n_codes - 1
            is_missing = is_missing | (X[:, code] == column.n_codes - 2)
            code += 1
        if not column.has_missing:
            missing[column.name] = is_missing
    return UnusualCells(_with_any(unknown), _with_any(far), _with_any(missing))


def _with_any(cells: Mapping[str, BoolArray]) -> dict[str, BoolArray]:
    return {name: is_unusual for name, is_unusual in cells.items() if is_unusual.any()}

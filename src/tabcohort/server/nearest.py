"""Rows that are most like a record: numbers compared in standard deviations, categories by being the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tabcohort.data.columns import Boolean, Date, Number
from tabcohort.data.inputs import InputPlaces, input_places, table_inputs
from tabcohort.data.parse import as_text
from tabcohort.model.predictor import Predictor
from tabcohort.types import FloatArray

if TYPE_CHECKING:
    import polars as pl

MAX_ROWS = 100_000


class NearestRows:
    """Finds the rows of a frame that are most like a record.

    The distance of two rows is the mean over columns: of numbers the difference in standard deviations, at most 1 for
    two of them, of categories 0 or 1, and of a cell that one of them lacks 1 (after Gower 1971, "A general coefficient
    of similarity").

    Args:
        predictor: the model whose columns are compared.
        frame: the rows.

    Raises:
        TableError: the frame lacks a column of the model, or has a cell that is none.
    """

    def __init__(self, predictor: Predictor, frame: pl.DataFrame) -> None:
        self._frame = frame[:MAX_ROWS]
        self._schema = predictor.schema
        self._X = table_inputs(self._frame, predictor.schema.columns)
        self._places = [
            (place.numbers.start if place.code is None else place.code, place.code is None)
            for place in input_places(predictor.schema.columns)
        ]
        numbers = self._X[:, : predictor.schema.n_numbers]
        with np.errstate(invalid="ignore"):
            self._scale = np.nan_to_num(np.nanstd(numbers, axis=0)) if len(numbers) else np.ones(numbers.shape[1])

    def distances(self, row: FloatArray) -> FloatArray:
        """Return the distance of each row from a record's inputs, `(n_inputs,)`; from 0 for equal ones to 1."""
        total = np.zeros(len(self._X))
        for place, is_number in self._places:
            cells, own = self._X[:, place], row[place]
            if not is_number:
                total += cells != own
                continue
            scale = 2 * self._scale[place] or 1.0
            difference = np.minimum(np.abs(cells - own) / scale, 1.0)
            is_missing = np.isnan(cells)
            total += np.where(is_missing | np.isnan(own), (is_missing != np.isnan(own)).astype(float), difference)
        return total / len(self._places)

    def record(self, row: FloatArray) -> dict[str, Any]:
        """Return the row that is nearest to a record's inputs, `(n_inputs,)`, as a record of JSON values."""
        place = int(np.argmin(self.distances(row)))
        return {places.column.name: self._cell(places, place) for places in input_places(self._schema.columns)}

    def _cell(self, places: InputPlaces, row: int) -> Any:
        column = places.column
        if isinstance(column, Number):  # also integer codes
            number = float(self._X[row, places.numbers.start])
            return None if np.isnan(number) else number
        if isinstance(column, Boolean) and places.code is not None:
            code = int(self._X[row, places.code])
            return bool(code) if code < len(column.levels) else None
        cell = self._frame[column.name][row : row + 1]
        if isinstance(column, Date):
            time = column.times(cell)[0]
            return None if time is None else time.isoformat()
        return as_text(cell)[0]

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return between which values 98 % of the rows are, by the name of each column of numbers."""
        ranges = {}
        for place in input_places(self._schema.columns):
            if isinstance(place.column, Number):
                cells = self._X[:, place.numbers.start]
                cells = cells[~np.isnan(cells)]
                if len(cells) and np.ptp(cells) > 0:
                    low, high = np.quantile(cells, [0.01, 0.99])
                    ranges[place.column.name] = (float(low), float(high))
        return ranges

    def table(self, row: FloatArray, n: int) -> dict[str, Any]:
        """Return the nearest rows as plain values.

        Args:
            row: inputs of a record, `(n_inputs,)`.
            n: how many rows.

        Returns:
            `names` of the columns, the target first where the frame has it; `rows`: of each its `number`, counted from
            1, its `distance` and its `cells`.
        """
        distance = self.distances(row)
        order = np.argsort(distance, kind="stable")[:n].tolist()
        target = [self._schema.target] if self._schema.target in self._frame.columns else []
        names = [*target, *self._schema.features]
        cells = self._frame.select(names)
        return {
            "names": names,
            "rows": [
                {"number": place + 1, "distance": float(distance[place]), "cells": list(cells.row(place))}
                for place in order
            ],
        }

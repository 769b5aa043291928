"""A typical record of a model, and what its training rows held: for forms and examples."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np

from tabcohort.data.columns import Boolean, Category, Column, Date, IntegerCode, Number
from tabcohort.model.predictor import Predictor
from tabcohort.model.training_statistics import ColumnStatistics, training_statistics

SPREAD = 2.0  # standard deviations around the mean: the range that is called common
DIGITS = 4  # significant digits of a typical number


def typical_record(predictor: Predictor) -> dict[str, Any]:
    """Return a record of the middle of each number and the most frequent level of each category.

    It need not be like any row: columns are looked at one by one. What the model file does not hold is null.
    """
    statistics = training_statistics(predictor) or {}
    return {column.name: _typical(column, statistics.get(column.name)) for column in predictor.schema.columns}


def common_ranges(predictor: Predictor) -> dict[str, tuple[float, float]]:
    """Return between which values most training rows were, by the name of each column of numbers, if that is known."""
    ranges = {}
    known = training_statistics(predictor) or {}
    for column in predictor.schema.columns:
        own = known.get(column.name)
        if not isinstance(column, Number) or own is None:
            continue
        if own.edges is not None and len(own.edges) > 1:
            ranges[column.name] = (_short(float(own.edges[0])), _short(float(own.edges[-1])))
        elif _is_binary(own):
            ranges[column.name] = (0.0, 1.0)
        elif math.isfinite(own.mean) and own.deviation > 0:
            low, high = own.mean - SPREAD * own.deviation, own.mean + SPREAD * own.deviation
            ranges[column.name] = (_short(low), _short(high))
    return ranges


def _typical(column: Column, statistics: ColumnStatistics | None) -> Any:
    counts = None if statistics is None else statistics.counts
    if isinstance(column, IntegerCode | Category | Boolean):
        place = 0 if counts is None else int(np.argmax(counts[: len(column.levels) + 1]))
        if place == len(column.levels):
            return None  # most cells are missing
        if isinstance(column, Boolean):
            return bool(place)
        level = column.levels[place] if column.levels else None
        return float(level) if isinstance(column, IntegerCode) and level is not None else level
    if statistics is None or not math.isfinite(statistics.mean):
        return None
    if isinstance(column, Date):
        day = datetime.date(1970, 1, 1) + datetime.timedelta(days=round(statistics.mean))
        return f"{day.isoformat()} 12:00:00" if "hour" in column.parts else day.isoformat()
    if isinstance(column, Number):
        edges = statistics.edges
        if _is_binary(statistics):
            return float(round(statistics.mean))
        return _short(float(np.median(edges)) if edges is not None and len(edges) else statistics.mean)
    return None  # text


def _is_binary(statistics: ColumnStatistics) -> bool:
    """Return whether a number is 0 or 1 in all rows, by its mean and deviation."""
    mean = statistics.mean
    return 0 < mean < 1 and math.isclose(statistics.deviation**2, mean * (1 - mean), rel_tol=1e-3)


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")

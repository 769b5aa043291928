"""For whom a model is good and for whom it is not: parts of a table's rows, by its columns."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tabcohort.data import parse
from tabcohort.data.columns import MICROSECONDS_PER_DAY, Column, Date, Number, Text
from tabcohort.data.inputs import InputPlaces, input_places, require_column
from tabcohort.errors import TableError
from tabcohort.evaluation.subgroups import Condition, MeasuredRows, search_subgroups, subgroup_metrics
from tabcohort.model.report_file import estimate_to_dict
from tabcohort.model.report_progress import ReportCallback, ReportProgress, Stage, ignore
from tabcohort.model.report_table import ReportTable
from tabcohort.types import FloatArray, IntArray

if TYPE_CHECKING:
    import polars as pl

MAX_LEVELS = 12  # of a column, the most frequent, whose rows are measured; numbers with more values have ranges
MAX_COLUMNS = 40  # whose levels are measured without being named
MAX_NAMED = 10  # of the subgroups that a search finds
MAX_SEARCH_BYTES = 2**28  # rows x conditions of a search
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)  # at which a search divides numbers
QUARTERS = (0.25, 0.5, 0.75, 1.0)


def subgroup_facts(
    table: ReportTable,
    rows: MeasuredRows,
    places: IntArray,
    by: Sequence[str] = (),
    callback: ReportCallback = ignore,
) -> dict[str, Any]:
    """Return how good predictions are for parts of the rows, as plain JSON values.

    Args:
        table: that the rows are of.
        rows: that are measured.
        places: of these in the table, `(n_rows,)`.
        by: columns whose levels, or quarters, are measured beside those of all categories.
        callback: called with how far it is.

    Returns:
        `columns`: for each its `name` and `levels`, with `label`, `n_rows`, `weight` and the `metrics` of each (see
        `subgroup_metrics`), and `n_more`, those that are left out; `n_more_columns`: categories that are left out;
        `search`: `found`, the worst subgroups first, which also have their `p_value` and `corrected`, the difference
        with an interval for all that were searched; `n_found`; `n_single`, `n_pairs`: subgroups that were searched;
        `n_more_columns`: those that were not.

    Raises:
        TableError: a column in `by` is not there, or has no single values.
    """
    for name in by:
        require_column(table.frame.columns, name)
    features = {
        place.column.name: _cells(table, place, places) for place in input_places(table.table.schema.columns)
    }  # fmt: skip
    categories = [name for name, cells in features.items() if cells.are_levels and name not in by]
    columns = []
    names = [*dict.fromkeys(by), *categories[:MAX_COLUMNS]]
    for number, name in enumerate(names):
        callback(ReportProgress(Stage.SUBGROUPS, number, 2 * len(names)))  # the search takes as long, roughly
        cells = features[name] if name in features else _cells_beside(table.frame[name], places)
        levels = [_measured(rows, condition) for condition in parts_of(cells)]
        kept = sorted(levels, key=lambda level: -level["weight"])[:MAX_LEVELS] if cells.are_levels else levels
        columns.append({"name": name, "levels": kept, "n_more": len(levels) - len(kept)})
    callback(ReportProgress(Stage.SUBGROUPS, 1, 2))
    return {
        "columns": columns,
        "n_more_columns": max(0, len(categories) - MAX_COLUMNS),
        "search": _search_facts(list(features.values()), rows),
    }


def _measured(rows: MeasuredRows, condition: Condition) -> dict[str, Any]:
    """Return the metrics of the rows of a condition."""
    metrics = subgroup_metrics(rows, condition.inside)
    return {
        "label": condition.label,
        "n_rows": int(condition.inside.sum()),
        "weight": float(rows.weight[condition.inside].sum()),
        "metrics": {name: estimate_to_dict(estimate) for name, estimate in metrics.items()},
    }


@dataclass(frozen=True)
class Cells:
    """The cells of a column.

    Args:
        column: whose they are.
        numbers: NaN where one is missing, `(n_rows,)`; None where the column has none.
        codes: places in `names`, `(n_rows,)`; None where the column has no levels.
        names: of the levels, and of those that stand for a missing and an unknown one.
    """

    column: Column
    numbers: FloatArray | None
    codes: IntArray | None
    names: tuple[str, ...]

    @property
    def are_levels(self) -> bool:
        """Whether the rows are divided by level, not by ranges."""
        return self.codes is not None and (self.numbers is None or len(self.names) <= MAX_LEVELS + 2)


def _cells(table: ReportTable, place: InputPlaces, places: IntArray) -> Cells:
    """Return the cells of a feature as a model reads them, in the rows at some places."""
    column, data = place.column, table.table
    numbers = data.numbers[places, place.numbers.start] if column.n_numbers else None
    codes = None if place.code is None else data.codes[places, place.code - data.numbers.shape[1]].astype(np.int64)
    return Cells(column, numbers, codes, (*column.levels, "missing", "unknown"))


def _cells_beside(series: pl.Series, places: IntArray) -> Cells:
    """Return the cells of a column that is no feature: numbers with many values as such, others by their text.

    Raises:
        TableError: the cells are lists or the like.
    """
    import polars as pl

    if parse.has_no_single_values(series):
        raise TableError(f"the column {series.name!r} ({series.dtype}) has no single values to divide rows by")
    column = Number(series.name)
    if series.dtype.is_numeric() and series.n_unique() > MAX_LEVELS:
        return Cells(column, series.cast(pl.Float64).fill_null(np.nan).to_numpy()[places], None, ())
    text = parse.as_text(series)
    names, codes = np.unique(text.fill_null("").to_numpy().astype(str), return_inverse=True)
    return Cells(column, None, codes[places], tuple(name or "missing" for name in names.tolist()))


def parts_of(cells: Cells) -> Iterator[Condition]:
    """Yield the parts of the rows by a column, none of which is empty: each level, or each quarter of its range."""
    name = cells.column.name
    if cells.are_levels:
        assert cells.codes is not None  # levels have codes
        for code in np.unique(cells.codes).tolist():
            yield Condition(name, cells.names[code], cells.codes == code)
        return
    values = cells.numbers
    assert values is not None  # a column has levels, or numbers
    known = values[~np.isnan(values)]
    below, text = -np.inf, functools.partial(_text, cells.column)
    for high in np.unique(np.quantile(known, QUARTERS, method="lower")).tolist() if len(known) else ():
        inside = (values > below) & (values <= high)
        low = float(values[inside].min())
        yield Condition(name, text(low) if low == high else f"{text(low)} to {text(high)}", inside)
        below = high
    if len(known) < len(values):
        yield Condition(name, "missing", np.isnan(values))


# -- search ----------------------------------------------------------------------------------------------------------


def conditions_of(cells: Cells) -> Iterator[Condition]:
    """Yield what may hold of the cells of a column, for a search: a level, a part of the range, that it is missing."""
    column = cells.column
    if cells.are_levels:
        for part in parts_of(cells):
            yield replace(part, label=f"{column.name} = {part.label}")
        return
    if _are_few_whole_numbers(cells):
        for part in _parts_of_range(cells):
            yield replace(part, label=_values_text(cells, part))
        return
    yield from _parts_of_range(cells)


def _are_few_whole_numbers(cells: Cells) -> bool:
    """Return whether cells are numbers of which a person would name the values, such as 1, 2 and 3."""
    if not isinstance(cells.column, Number) or cells.numbers is None:
        return False
    known = np.unique(cells.numbers[~np.isnan(cells.numbers)])
    return len(known) <= MAX_LEVELS and bool((known == np.round(known)).all())


def _values_text(cells: Cells, part: Condition) -> str:
    """Return a part of few whole numbers by its values: "pclass = 1" or "pclass = 1 to 2"."""
    assert cells.numbers is not None
    values = cells.numbers[part.inside]
    if not len(values) or np.isnan(values).any():
        return part.label
    low, high = (_text(cells.column, value) for value in (values.min(), values.max()))
    return f"{part.column} = {low}" if low == high else f"{part.column} = {low} to {high}"


def _parts_of_range(cells: Cells) -> Iterator[Condition]:
    """Yield parts of the range of numbers, and the rows where one is missing."""
    column, values = cells.column, cells.numbers
    assert values is not None  # a column has levels, or numbers
    name = f"length of {column.name}" if isinstance(column, Text) else column.name
    is_missing = np.isnan(values)
    if not is_missing.all():
        quantiles = np.quantile(values[~is_missing], QUANTILES, method="lower").tolist()
        texts = [_text(column, value) for value in quantiles]
        middle = len(QUANTILES) // 2
        for place, (value, text) in enumerate(zip(quantiles, texts, strict=True)):
            if place <= middle:
                yield Condition(column.name, f"{name} ≤ {text}", values <= value)
            if place >= middle:
                yield Condition(column.name, f"{name} > {text}", values > value)
        inside = (values > quantiles[1]) & (values <= quantiles[-2])
        yield Condition(column.name, f"{texts[1]} < {name} ≤ {texts[-2]}", inside)
    if is_missing.any():
        yield Condition(column.name, f"{name} is missing", is_missing)


def distinct(conditions: Iterable[Condition]) -> Iterator[Condition]:
    """Yield the first of the conditions that hold for the same rows, if any: quantiles may be equal."""
    seen = set()
    for condition in conditions:
        key = condition.inside.tobytes()
        if key not in seen and condition.inside.any():
            seen.add(key)
            yield condition


def _search_facts(columns: Sequence[Cells], rows: MeasuredRows) -> dict[str, Any]:
    """Return what a search among the conditions of these columns finds."""
    conditions: list[Condition] = []
    n_searched = 0
    for cells in columns:
        if len(conditions) * len(rows.y) > MAX_SEARCH_BYTES:
            break
        conditions += distinct(conditions_of(cells))
        n_searched += 1
    search = search_subgroups(rows, conditions)
    found = []
    for subgroup in search.found[:MAX_NAMED]:
        parts = [conditions[place] for place in subgroup.conditions]
        label, inside = " and ".join(part.label for part in parts), np.logical_and.reduce([p.inside for p in parts])
        facts = _measured(rows, Condition("", label, inside))
        found.append({**facts, "p_value": subgroup.p_value, "corrected": estimate_to_dict(subgroup.difference)})
    return {
        "found": found,
        "n_found": len(search.found),
        "n_single": search.n_single,
        "n_pairs": search.n_pairs,
        "n_more_columns": len(columns) - n_searched,
    }


def _text(column: Column, value: float) -> str:
    """Return a number as text, and the days of a date as a date."""
    if isinstance(column, Date):
        return str(np.datetime64(round(value * MICROSECONDS_PER_DAY), "us").astype("datetime64[D]"))
    return f"{value:.6g}"

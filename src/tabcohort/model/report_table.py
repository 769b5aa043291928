"""The table of a report: whether the model was trained on it, which of its rows count, and what its columns hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tabcohort.data.columns import Column, Number
from tabcohort.data.frames import target_labels, warn_of_rows_without_target
from tabcohort.data.inputs import require_column, require_target
from tabcohort.data.profile import column_facts
from tabcohort.data.table import Table
from tabcohort.errors import TableError
from tabcohort.model.predictor import Predictor
from tabcohort.types import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    import polars as pl

MAX_CELL = 80  # characters of a cell that are kept


@dataclass(frozen=True)
class ReportTable:
    """A labelled table with the columns of a model.

    Args:
        frame: the rows that have a target and a weight above 0.
        table: the same as a model reads them.
        row_numbers: of these rows among all of the source, counted from 1, `(n_rows,)`.
        is_training_table: whether the model was trained on it.
    """

    frame: pl.DataFrame
    table: Table
    row_numbers: IntArray
    is_training_table: bool

    @classmethod
    def of(cls, frame: pl.DataFrame, predictor: Predictor, weight: str | None = None) -> ReportTable:
        """Return the table of a frame.

        Args:
            frame: the rows.
            predictor: whose schema they have.
            weight: column of row weights. Without it the rows count the same, or as they did in training.

        Raises:
            TableError: a column is missing, or a cell is not what its column holds.

        Warns:
            TabcohortWarning: rows have no target.
        """
        schema = predictor.schema
        require_target(schema.target, frame.columns, (*schema.features, *schema.keys, *schema.groups))
        labels, has_target = target_labels(frame, schema.target)
        warn_of_rows_without_target(int((~has_target).sum()), schema.target, stacklevel=3)
        weights = np.ones(len(labels)) if weight is None else _weights(frame, weight, has_target)
        keep = has_target & (weights > 0)
        rows = frame if keep.all() else frame.filter(keep)
        table = replace(Table.for_schema(rows, schema), weight=weights[keep])
        is_training_table = predictor.was_trained_on(table)
        of_training = predictor.out_of_fold.weight
        if not is_training_table and weight is None and len(of_training) == len(table.y):
            weighted = replace(table, weight=of_training)
            is_training_table = predictor.was_trained_on(weighted)
            table = weighted if is_training_table else table
        return cls(rows, table, np.flatnonzero(keep) + 1, is_training_table)


def _weights(frame: pl.DataFrame, name: str, has_target: BoolArray) -> FloatArray:
    """Return the weight of each row, `(n_rows,)`; any for rows without a target."""
    require_column(frame.columns, name)
    weights = Number(name).numbers(frame[name])[:, 0]
    wrong = np.flatnonzero(has_target & ~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise TableError(f"row {wrong[0] + 1} has no weight in {name!r}; every row needs 0 or a positive number")
    return weights


def data_facts(table: ReportTable, predictor: Predictor) -> dict[str, Any]:
    """Return what the columns of a table hold, as plain JSON values.

    Returns:
        `n_rows`; `columns`: as `look_facts` gives them, without findings; a column that the model does not know has the
        role "ignored".
    """
    schema, report = predictor.schema, predictor.report
    known: dict[str, Column] = {column.name: column for column in (*schema.columns, *schema.dropped)}
    roles = {schema.target: "target"} | dict.fromkeys(schema.groups, "group") | dict.fromkeys(schema.keys, "key")
    columns, used = [], set(schema.features)
    for name, series in table.frame.to_dict().items():
        role = roles.get(name) or (None if name in known else "ignored")
        facts = column_facts(series, known.get(name), role, "")
        columns.append({**facts, "findings": [], "is_used": name in used})
    return {"n_rows": len(table.frame), "n_training_rows": report.n_rows, "columns": columns}


def cells_of(table: ReportTable, place: int, names: Sequence[str]) -> dict[str, str]:
    """Return cells of a row as text; a missing cell is empty."""
    row = {name: table.frame[name][place] for name in names if name in table.frame.columns}
    return {name: "" if cell is None else str(cell)[:MAX_CELL] for name, cell in row.items()}

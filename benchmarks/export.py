"""How far the probabilities of an ONNX graph are from those of the model that it is of, on every real table.

A tenth of the cells of the rows to predict for are missing, and a tenth of the categories hold a level that no training
row had. Dates and text, which a graph cannot read, are left out.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import onnxruntime
import polars as pl
from real_tables import RealTable, usable_rows, whole_tables

import tabcohort
from tabcohort import CohortSettings, Config, Predictor, TabcohortWarning, Table
from tabcohort.cohort.presets import preset_cohort
from tabcohort.data.columns import Date, Text
from tabcohort.model.onnx_graph import graph_inputs, to_onnx

MIN_ROWS_OF_CLASS, MAX_ROWS, SHARE = 10, 1_500, 0.1


def damaged(frame: pl.DataFrame, predictor: Predictor, seed: int = 0) -> pl.DataFrame:
    """Return rows with missing and unknown cells."""
    rng = np.random.default_rng(seed)
    for column in predictor.schema.columns:
        name, is_missing = column.name, pl.Series(rng.random(len(frame)) < SHARE)
        cells = pl.when(is_missing).then(None).otherwise(pl.col(name))
        if column.kind == "category":
            is_unknown = pl.Series(rng.random(len(frame)) < SHARE)
            cells = pl.when(is_unknown).then(pl.lit("a level of no row")).otherwise(cells.cast(pl.String))
        frame = frame.with_columns(cells.alias(name))
    return frame


def compare(own: RealTable) -> str:
    """Return a line on the graph of a table's model."""
    frame = usable_rows(own, MIN_ROWS_OF_CLASS).sample(fraction=1.0, shuffle=True, seed=0).head(2 * MAX_ROWS)
    n_train = min(MAX_ROWS, len(frame) // 2)
    columns = Table.from_frame(frame, own.target, positive=own.positive).schema.columns
    types = {column.name: "drop" for column in columns if isinstance(column, Date | Text)}
    train = frame.head(n_train)
    if train[own.target].n_unique() < 2 or train[own.target].value_counts()["count"].min() == 1:  # type: ignore
        return f"{own.name:16} left out: a class has too few rows"
    table = Table.from_frame(train, own.target, positive=own.positive, types=types)
    settings = CohortSettings(preset="default", folds=3, seeds=1)
    predictor = tabcohort.fit(table, *preset_cohort(table, Config(), settings))
    rows = damaged(frame.tail(len(frame) - n_train), predictor)
    graph = to_onnx(predictor).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    label, probabilities = session.run(None, graph_inputs(rows, predictor.schema.columns))
    gap = float(np.abs(probabilities - predictor.predict_proba(rows)).max())
    n_other = int((np.array(label) != predictor.predict(rows)).sum())
    kinds = {
        predictor.report.configs[predictor.report.members[place].config].config.model for place in predictor.members
    }
    return (
        f"{own.name:16} {len(rows):5,} rows x {len(predictor.schema.columns):3} columns, {len(predictor.members):2} "
        f"members ({', '.join(sorted(kinds))}), {len(graph) / 1e6:4.1f} MB: largest difference {gap:.1e}, "
        f"{n_other} other labels"
    )


def main() -> None:
    """Print a line for each table."""
    warnings.simplefilter("ignore", TabcohortWarning)
    for own in whole_tables():
        if len(sys.argv) == 1 or own.name in sys.argv[1:]:
            print(compare(own), flush=True)


if __name__ == "__main__":
    main()

"""Tables as they come, beside the same tables encoded by hand: the log loss of held-out rows.

    make tables

Each table is split into rows to fit on and held-out rows, stratified, at most 8,000 of each. "As it comes" gives the
frame to `Table.from_frame`, less the columns that are known to be identifiers or to give the target away. "By hand" is
what people do without typed columns: numbers with missing cells filled by the median, a 0/1 column for each level of a
category, both learned from the rows to fit on. Both have the default config and cohort. Writes `tables.md` beside this
file.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import polars as pl
from markdown_table import as_markdown
from numpy.typing import NDArray
from real_tables import MAX_ROWS, RealTable, fit_and_held_out_rows, whole_tables
from rich.console import Console
from rich.progress import track
from rich.table import Table as Printed

from tabcohort import Config, Table, fit
from tabcohort.data.parse import as_text
from tabcohort.evaluation.metrics import log_loss

SPLITS, LARGE = 3, 2_000
COLUMNS = ("table", "rows", "columns", "classes", "by hand", "as it comes", "difference", "seconds", "seconds by hand")


def encoded_by_hand(
    table: RealTable, fitted: pl.DataFrame, rows: pl.DataFrame, names: list[str]
) -> NDArray[np.float64]:
    """Return numbers and 0/1 columns of rows, `(n_rows, n_columns)`, by what the fitted rows hold."""
    columns = []
    for name in names:
        known, text = (as_text(frame[name]) for frame in (fitted, rows))
        known = known.set(known.is_in(list(table.missing_words)), None)
        numbers = known.cast(pl.Float64, strict=False)
        if name not in table.categories and numbers.null_count() == known.null_count():
            fill = 0.0 if numbers.median() is None else numbers.median()
            columns.append(text.cast(pl.Float64, strict=False).fill_null(fill).to_numpy())
        else:
            columns += [(text == level).fill_null(False).to_numpy() for level in known.drop_nulls().unique().sort()]
    return np.column_stack(columns).astype(np.float64)


def measure(table: RealTable, split: int) -> list[float]:
    """Return log loss and seconds of the default, on the table as it comes and encoded by hand."""
    frame, to_fit, held_out = fit_and_held_out_rows(table, split)
    return [*as_it_comes(table, frame, to_fit, held_out, split), *by_hand(table, frame, to_fit, held_out, split)]


def as_it_comes(
    table: RealTable, frame: pl.DataFrame, to_fit: NDArray[np.int64], held_out: NDArray[np.int64], seed: int
) -> tuple[float, float]:
    """Return log loss and seconds of the default on a frame."""
    began = time.perf_counter()
    predictor = fit(Table.from_frame(frame[to_fit], table.target, positive=table.positive), Config(seed=seed))
    seconds = time.perf_counter() - began
    others = Table.for_schema(frame[held_out], predictor.schema)
    return log_loss(predictor.log_proba_of(others), others.y, others.weight), seconds


def by_hand(
    table: RealTable, frame: pl.DataFrame, to_fit: NDArray[np.int64], held_out: NDArray[np.int64], seed: int
) -> tuple[float, float]:
    """Return log loss and seconds of the default on what was encoded by hand."""
    names = [name for name in frame.columns if name != table.target]
    X = encoded_by_hand(table, frame[to_fit], frame, names)
    labels = as_text(frame[table.target]).to_numpy()
    began = time.perf_counter()
    predictor = fit(Table.from_arrays(X[to_fit], labels[to_fit]), Config(seed=seed))
    seconds = time.perf_counter() - began
    y = np.searchsorted(np.array(predictor.schema.classes), labels[held_out])
    return log_loss(predictor.log_proba(X[held_out]), y, np.ones(len(y))), seconds


def main() -> None:
    """Measure all tables, or those that are named, print the results, and write them to a file."""
    warnings.simplefilter("ignore")
    rows, differences = [], []
    for table in whole_tables():
        if sys.argv[1:] and table.name not in sys.argv[1:]:
            continue
        splits = range(1 if len(table.frame) > LARGE else SPLITS)
        results = [measure(table, split) for split in track(splits, table.name)]
        own, seconds, hand, hand_seconds = np.mean(results, axis=0)
        differences.append(own / hand - 1)
        size = (f"{len(table.frame):,}", str(table.frame.shape[1]), str(table.frame[table.target].n_unique()))
        losses = (f"{hand:.4f}", f"{own:.4f}", f"{own / hand - 1:+.1%}")
        rows.append((table.name, *size, *losses, f"{seconds:.1f}", f"{hand_seconds:.1f}"))
        print(*rows[-1], flush=True)
    printed = Printed(*COLUMNS, box=None)
    for row in rows:
        printed.add_row(*row)
    n_worse = sum(difference > 0.01 for difference in differences)
    n_better = sum(difference < -0.01 for difference in differences)
    summary = (
        f"As it comes, the log loss is lower by more than 1 % on {n_better} of {len(rows)} tables, and higher by more "
        f"than 1 % on {n_worse}."
    )
    Console(width=140).print(printed, summary)
    title = "# Log loss on held-out rows: tables as they come, and encoded by hand (`make tables`)"
    what = (
        f"A quarter of the rows held out, at most {MAX_ROWS:,} to fit on; means of {SPLITS} splits up to {LARGE:,} "
        "rows, one split above; default config."
    )
    text = "\n\n".join([title, what, as_markdown(COLUMNS, rows), summary])
    if not sys.argv[1:]:
        Path(__file__).with_suffix(".md").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

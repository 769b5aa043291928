"""The real tables that the benchmarks run on: the bundled samples, and those of the folder that TABCOHORT_DATA names.

The folder has a `manifest.json` that lists the files, with the target and the kinds of columns of each.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from tabcohort import Table, load_sample, read_frame
from tabcohort.data.columns import Column, Number
from tabcohort.data.parse import as_text

DATA_VARIABLE = "TABCOHORT_DATA"
SAMPLES = ("breast-cancer", "wine", "digits")
MIN_COLUMNS, MIN_ROWS_OF_CLASS = 2, 10
MAX_ROWS = 8_000  # to fit on, and held out


@dataclass(frozen=True)
class RealTable:
    """A table as it is in its file, and what is known of it.

    Args:
        name: of the table.
        frame: its rows.
        target: the column to predict.
        positive: label of the positive class.
        categories: columns whose values have no order, also if they are numbers.
        drop: identifiers, and columns that give the target away.
        missing_words: words that stand for a missing cell.
    """

    name: str
    frame: pl.DataFrame
    target: str
    positive: str | None
    categories: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    missing_words: tuple[str, ...] = ()


def whole_tables() -> Iterator[RealTable]:
    """Yield the samples, and then the tables of the folder."""
    for name in SAMPLES:
        sample = load_sample(name)
        yield RealTable(name, sample.frame, sample.target, sample.positive)
    if not os.environ.get(DATA_VARIABLE):
        print(f"{DATA_VARIABLE} is not set, so only the bundled samples are measured")
        return
    folder = Path(os.environ[DATA_VARIABLE])
    if not (folder / "manifest.json").is_file():
        print(f"the folder {str(folder)!r} has no manifest.json, so only the bundled samples are measured")
        return
    for entry in json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["datasets"]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame = read_frame(folder / entry["file"])
        yield RealTable(
            entry["name"], frame, entry["target"], entry["positive_class"], tuple(entry["categorical_columns"]),
            tuple(entry["drop_columns"]), tuple(entry["na_values"]),
        )  # fmt: skip


def real_tables() -> Iterator[tuple[str, Table]]:
    """Yield name and table: the samples, then the columns of numbers without missing cells of each file."""
    for table in whole_tables():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = Table.from_frame(table.frame, table.target, positive=table.positive)
            others = {*table.categories, *table.drop}
            numbers = [column.name for column in whole.schema.columns if is_plain(column) and column.name not in others]
            if len(numbers) >= MIN_COLUMNS:
                types = {name: "number" if name in numbers else "drop" for name in table.frame.columns}
                del types[table.target]
                yield table.name, Table.from_frame(table.frame, table.target, positive=table.positive, types=types)


def is_plain(column: Column) -> bool:
    """Return whether a column holds a number in every row."""
    return isinstance(column, Number) and not column.has_missing


def usable_rows(table: RealTable, min_rows_of_class: int) -> pl.DataFrame:
    """Return a table's rows with a label, without known leaks and without classes of fewer rows."""
    frame = table.frame.drop([name for name in table.drop if name in table.frame.columns])
    frame = frame.filter(as_text(frame[table.target]).is_not_null())
    labels = as_text(frame[table.target])
    counts = labels.value_counts()
    return frame.filter(labels.is_in(counts.filter(counts["count"] >= min_rows_of_class)[table.target].to_list()))


def fit_and_held_out_rows(table: RealTable, seed: int) -> tuple[pl.DataFrame, NDArray[np.int64], NDArray[np.int64]]:
    """Return a table's usable rows, the numbers of those to fit on, and of those held out.

    A quarter is held out, stratified; at most 8,000 rows are on either side.
    """
    frame = usable_rows(table, MIN_ROWS_OF_CLASS)
    labels = as_text(frame[table.target]).to_numpy()
    parts = train_test_split(np.arange(len(frame)), test_size=0.25, stratify=labels, random_state=seed)
    to_fit, held_out = (
        rows if len(rows) <= MAX_ROWS else train_test_split(
            rows, train_size=MAX_ROWS, stratify=labels[rows], random_state=seed
        )[0]
        for rows in parts
    )  # fmt: skip
    return frame, to_fit, held_out


def part(table: Table, rows: NDArray[np.int64]) -> Table:
    """Return some rows of a table, with all of its classes."""
    return Table(table.numbers[rows], table.codes[rows], table.y[rows], table.weight[rows], table.schema)

"""The real tables that the benchmarks run on: the bundled samples, and those of the folder that TABCOHORT_DATA names.

The folder has a `manifest.json` that lists the files, with the target and the kinds of columns of each.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tabcohort import Table, TableError, load_sample, read_frame
from tabcohort.data.columns import feature_matrix

DATA_VARIABLE = "TABCOHORT_DATA"
SAMPLES = ("breast-cancer", "wine", "digits")
MIN_COLUMNS = 2


def real_tables() -> Iterator[tuple[str, Table]]:
    """Yield name and table: the samples, then the columns of numbers without missing cells of each file."""
    for name in SAMPLES:
        sample = load_sample(name)
        yield name, Table.from_frame(sample.frame, sample.target, positive=sample.positive)
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
            target = entry["target"]
            rest = [name for name in frame.columns if name != target]
            others = {*entry["categorical_columns"], *entry["date_columns"], *entry["drop_columns"]}
            drop = [name for name in rest if name in others or not is_complete(frame, name)]
            if len(rest) - len(drop) >= MIN_COLUMNS:
                yield entry["name"], Table.from_frame(frame, target, positive=entry["positive_class"], drop=drop)


def is_complete(frame: pl.DataFrame, name: str) -> bool:
    """Return whether a column holds a number in every row."""
    try:
        return not np.isnan(feature_matrix(frame, [name])).any()
    except TableError:
        return False


def part(table: Table, rows: NDArray[np.int64]) -> Table:
    """Return some rows of a table, with all of its classes."""
    return Table(table.X[rows], table.y[rows], table.weight[rows], table.schema)

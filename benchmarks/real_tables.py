"""The real tables that the benchmarks run on: those of a folder with a `manifest.json`, and the bundled samples."""

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

FOLDER = Path(os.environ.get("TABCOHORT_DATA", "../shared/data"))
SAMPLES = ("breast-cancer", "wine", "digits")
LEAST_COLUMNS = 2


def real_tables() -> Iterator[tuple[str, Table]]:
    """Yield name and table: of each file the columns of numbers without missing cells, which is all we take so far."""
    for name in SAMPLES:
        sample = load_sample(name)
        yield name, Table.from_frame(sample.frame, sample.target, positive=sample.positive)
    manifest = FOLDER / "manifest.json"
    if not manifest.is_file():
        print(f"no {manifest}: only the bundled samples are measured; TABCOHORT_DATA may name a folder")
        return
    for entry in json.loads(manifest.read_text(encoding="utf-8"))["datasets"]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame = read_frame(FOLDER / entry["file"])
            target = entry["target"]
            rest = [each for each in frame.columns if each != target]
            others = {*entry["categorical_columns"], *entry["date_columns"], *entry["drop_columns"]}
            drop = [each for each in rest if each in others or not is_whole(frame, each)]
            if len(rest) - len(drop) >= LEAST_COLUMNS:
                yield entry["name"], Table.from_frame(frame, target, positive=entry["positive_class"], drop=drop)


def is_whole(frame: pl.DataFrame, name: str) -> bool:
    """Return whether a column holds a number in every row."""
    try:
        return not np.isnan(feature_matrix(frame, [name])).any()
    except TableError:
        return False


def part(table: Table, rows: NDArray[np.int64]) -> Table:
    """Return some rows of a table, with all of its classes."""
    return Table(table.X[rows], table.y[rows], table.weight[rows], table.schema)

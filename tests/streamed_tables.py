"""Small tables, written as Parquet and read back through a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from helpers import mixed_frame

from tabcohort import Table
from tabcohort.data.frames import ColumnChoices
from tabcohort.data.stream_table import StoreOptions, stream_table


def labelled_frame(n_rows: int = 300, seed: int = 0) -> pl.DataFrame:
    """Return rows of columns of each type, whose target depends on the first."""
    frame = mixed_frame(n_rows, seed).with_columns(pl.Series("many", [f"level {i % 12}" for i in range(n_rows)]))
    return frame.with_columns(
        pl.when(pl.col("size").fill_null(0) + pl.int_range(n_rows) % 3 > 1)
        .then(pl.lit("yes"))
        .otherwise(pl.lit("no"))
        .alias("target")
    )


def streamed(frame: pl.DataFrame, folder: Path, store: str | None = None, **choices: Any) -> Table:
    """Return a frame's table with its rows in a store: of two files, the second of which has two row groups."""
    rows = folder / "rows"
    rows.mkdir(exist_ok=True)
    half = len(frame) // 3
    frame[:half].write_parquet(rows / "1.parquet")
    frame[half:].write_parquet(rows / "2.parquet", row_group_size=max(1, (len(frame) - half) // 2))
    options = StoreOptions(None if store is None else folder / store, memory=1_000_000_000)
    return stream_table(rows, "target", ColumnChoices(**choices), options=options)

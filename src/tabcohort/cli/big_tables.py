"""Tables that are larger than the memory to use: when they are read in pieces, and what the commands do with these."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabcohort.cli.output import consoles, print_lines
from tabcohort.cli.source_options import shown_name
from tabcohort.errors import SettingsError, TableError, warn_caller

if TYPE_CHECKING:
    import polars as pl

    from tabcohort.data.frames import ColumnChoices
    from tabcohort.data.parquet_files import ParquetRows, ReadingProgress
    from tabcohort.data.table import Schema, Table
    from tabcohort.model.predictor import Predictor
    from tabcohort.types import FloatArray


MAX_ROWS_IN_MEMORY = 1_500_000  # that a training reads into memory if none of these options is given
OF_ROWS_IN_MEMORY = (
    "memory", "settings", "key", "group", "time", "learning_curve", "audit", "report", "card", "cluster"
)  # fmt: skip


def rows_to_stream(options: argparse.Namespace) -> ParquetRows | None:
    """Return the rows of a table that is to be read in pieces; None where it fits in the memory to use.

    Raises:
        SettingsError: the memory is not written as a number of bytes.
    """
    memory, rows = memory_of(options), _parquet_rows(options)
    return rows if rows is not None and _needed_bytes(rows) > memory else None


def rows_to_train_on(options: argparse.Namespace) -> ParquetRows | None:
    """Return the rows of a table whose rows are to be in a store; None where they are to be in memory.

    A table is in a store if that is asked for, or if it does not fit in the memory to use. So is one of many rows that
    would fit, unless something that is asked for needs it in memory, or depends on where it is: epochs that pass over
    all rows take several times as long and predict no better (`benchmarks/big_tables.md`).

    Raises:
        SettingsError: the memory is not written as a number of bytes.
        TableError: a store is asked for, and the table is not Parquet.
    """
    memory, rows = memory_of(options), _parquet_rows(options)
    if rows is None:
        if options.store is not None:
            raise TableError(f"--store needs a Parquet table, and {shown_name(options.table)!r} is none; leave it out")
        return None
    if options.store is not None or _needed_bytes(rows) > memory:
        return rows
    return rows if rows.n_rows > MAX_ROWS_IN_MEMORY and _may_be_in_a_store(options, rows) else None


def _parquet_rows(options: argparse.Namespace) -> ParquetRows | None:
    """Return the rows of the table that the options name if it is Parquet on this machine."""
    from tabcohort.data.parquet_files import ParquetRows, parquet_paths

    is_elsewhere = options.table == "-" or "://" in options.table or options.table.startswith("sample:")
    paths = () if is_elsewhere or options.query else parquet_paths(options.table)
    return ParquetRows.open(paths) if paths else None


def _needed_bytes(rows: ParquetRows) -> int:
    from tabcohort.data.memory import bytes_of_a_training

    return bytes_of_a_training(rows.n_rows, len(rows.names))


def _may_be_in_a_store(options: argparse.Namespace, rows: ParquetRows) -> bool:
    """Return whether nothing that is asked for needs the rows in memory, and the disk has room for a store."""
    from tabcohort.data.stream_table import store_bytes
    from tabcohort.engines.ranks import launched

    is_asked_for = any(getattr(options, name, None) for name in OF_ROWS_IN_MEMORY)
    if is_asked_for or options.engine == "batched" or launched()[1] > 1:
        return False
    folder, needed = tempfile.gettempdir(), store_bytes(rows.n_rows, len(rows.names))
    has_room = shutil.disk_usage(folder).free > needed
    if not has_room:
        warn_caller(
            f"the rows are read into memory, where training takes longer: a store would need {needed / 1e9:.3g} GB in "
            f"{folder!r}; set TMPDIR, or name another folder with --store"
        )
    return has_room


def memory_of(options: argparse.Namespace) -> int:
    """Return how many bytes may be used."""
    from tabcohort.data.memory import default_bytes, parse_bytes

    return default_bytes() if options.memory is None else parse_bytes(options.memory)


# -- training ----------------------------------------------------------------------------------------------------------


def check_training(options: argparse.Namespace) -> None:
    """Raise `SettingsError` if an option needs all rows in memory, or the target is not named."""
    if not options.target:
        raise SettingsError("name the column to predict: --target COLUMN")
    needed = {"--learning-curve": options.learning_curve, "--audit shuffled": options.audit}
    given = [name for name, value in needed.items() if value]
    if given:
        raise SettingsError(
            f"{' and '.join(given)} needs all rows in memory, and these are in a store; leave it out, or leave out "
            "--store and allow more with --memory"
        )


def streamed_table(
    options: argparse.Namespace, choices: ColumnChoices, positive: Any, audit: Callable[[pl.DataFrame, Schema], None]
) -> Table:
    """Return the table that the options name, with its rows in a store.

    Args:
        options: of the command line.
        choices: what they say of the columns.
        positive: label of the positive class, if it is named.
        audit: called with a sample of the rows, and the schema.
    """
    from tabcohort.data.stream_table import CHECKING, StoreOptions, stream_table
    from tabcohort.reporting.progress_displays import ReadingDisplay

    _, messages = consoles(options.quiet)
    folder = None if options.store is None else Path(options.store)
    stages: set[str] = set()

    def show(progress: ReadingProgress) -> None:
        stages.add(progress.stage)
        display(progress)

    with ReadingDisplay(messages) as display:
        store = StoreOptions(folder, memory_of(options), audit, show)
        table = stream_table(options.table, options.target, choices, positive, store)
    where = f"a temporary folder in {tempfile.gettempdir()}" if folder is None else str(folder)
    is_kept = CHECKING in stages
    line = f"in {where}, the store of an earlier run" if is_kept else f"kept in {where}"
    print_lines(messages, f"table    its rows are {line}, and not in memory")
    return table


# -- predictions -------------------------------------------------------------------------------------------------------


def predict(options: argparse.Namespace, predictor: Predictor, rows: ParquetRows) -> int:
    """Write predictions, some thousand rows at a time."""
    from tabcohort.model.prediction_columns import PredictionForm, joined_column, list_column
    from tabcohort.model.streamed_predictions import predicted_frames
    from tabcohort.reporting.prediction_files import (
        columns_to_write,
        csv_parts,
        without_formulas,
        write_prediction_parts,
    )
    from tabcohort.reporting.progress_displays import ReadingDisplay

    if options.json or options.explain is not None:
        name = "--json" if options.json else "--explain"
        raise SettingsError(
            f"{name} needs all rows in memory, and this table is larger than the memory to use; leave it out, or allow "
            "more with --memory"
        )
    numbers = [*predictor.probability_names(options.top), "spread"]
    n_unusual = 0

    def counted(frame: pl.DataFrame) -> pl.DataFrame:
        nonlocal n_unusual
        n_unusual += int((frame["warnings"] != "").sum())
        return frame

    is_shown = options.out is None and sys.stdout.isatty()  # the rows themselves show how far it is
    _, messages = consoles(options.quiet)
    sets_as = list_column if options.escape_formulas else joined_column  # each class is escaped
    form = PredictionForm(columns_to_write(options.columns, rows.names), options.top, sets_as)
    with ReadingDisplay(consoles(is_quiet=True)[1] if is_shown else messages) as display:
        frames = map(counted, predicted_frames(predictor, rows, form, memory_of(options), display))
        if options.escape_formulas:
            frames = map(without_formulas, frames)
        if options.out:
            n_rows = write_prediction_parts(frames, options.out, numbers)
        else:
            for text in csv_parts(frames, numbers):
                sys.stdout.write(text)
    if options.out:
        print_lines(messages, f"{n_rows:,} predictions in {options.out}")
    if n_unusual:
        warn_caller(f"{n_unusual:,} rows have cells unlike those of the training rows: see the column 'warnings'")
    return 0


def evaluated(options: argparse.Namespace, predictor: Predictor, rows: ParquetRows) -> tuple[Table, FloatArray]:
    """Return the rows with a target of a table, without their inputs, and the model's log probabilities for them."""
    from tabcohort.model.streamed_predictions import evaluated_rows
    from tabcohort.reporting.progress_displays import ReadingDisplay

    with ReadingDisplay(consoles()[1]) as display:
        table, log_proba = evaluated_rows(predictor, rows, memory_of(options), display)
    if len(table.y) < rows.n_rows:
        message = f"measured on {len(table.y):,} of {rows.n_rows:,} rows: those with a target, of a uniform sample"
        print_lines(consoles()[1], f"table    {message}")
    return table, log_proba

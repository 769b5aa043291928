"""Predictions for tables that are larger than memory, some thousand rows at a time."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.encoder import no_codes
from tabcohort.data.frames import target_labels
from tabcohort.data.groups import group_hashes, group_ids_of
from tabcohort.data.memory import default_bytes
from tabcohort.data.parquet_files import (
    CELLS_PER_BATCH,
    ROWS_PER_BATCH,
    ParquetRows,
    ReadingCallback,
    ReadingProgress,
    ignore,
    places_within,
)
from tabcohort.data.table import Schema, Table
from tabcohort.engines.compiled.jit import n_cores
from tabcohort.errors import TabcohortWarning, TableError
from tabcohort.model.prediction_columns import PredictionForm, joined_column
from tabcohort.model.predictor import Predictor
from tabcohort.randomness import Purpose, make_rng
from tabcohort.types import FloatArray, IntArray

if TYPE_CHECKING:
    import polars as pl

WITH_JOINED_SETS = PredictionForm(sets_as=joined_column)
SHARE_FOR_METRICS = 0.5  # of the memory
SHARE_FOR_BATCHES = 0.5  # of the memory
BYTES_PER_CELL = 50  # that is predicted for, at the peak; estimated
BYTES_PER_ROW, BYTES_PER_PROBABILITY = 300, 60  # of what is measured, at the peak; estimated


def predicted_frames(
    predictor: Predictor,
    rows: ParquetRows,
    form: PredictionForm = WITH_JOINED_SETS,
    memory: int | None = None,
    callback: ReadingCallback = ignore,
) -> Iterator[pl.DataFrame]:
    """Yield the predictions of `Predictor.predict_part`, batch by batch; some batches are predicted side by side.

    Args:
        predictor: the model.
        rows: the files.
        form: what is shown.
        memory: bytes that may be used; half of the machine's when omitted.
        callback: called with the progress after each batch.

    Raises:
        TableError: as `Predictor.predict_frame` does.

    Warns:
        TabcohortWarning: columns are ignored or renamed. What is unusual in a row is in its column `warnings` only.
    """
    import polars as pl

    def predicted(first: int, frame: pl.DataFrame) -> pl.DataFrame:
        with rows.naming_rows(np.arange(first, first + len(frame))):
            predictions = predictor.predict_part(frame, form)
        if "row" in predictions.columns and "row" not in frame.columns:
            predictions = predictions.with_columns(pl.col("row") + first)
        return predictions

    n_at_once = _batches_at_once(rows, default_bytes() if memory is None else memory)
    waiting: deque[Future[pl.DataFrame]] = deque()
    n_done = 0

    def finished(n_left: int) -> Iterator[pl.DataFrame]:
        nonlocal n_done
        while len(waiting) > n_left:
            predictions = waiting.popleft().result()
            n_done += len(predictions)
            yield predictions
            callback(ReadingProgress("predicting", n_done, rows.n_rows))

    with ThreadPoolExecutor(n_at_once) as pool:
        try:
            for first, frame in rows.batches():
                if not first:
                    predictor.predict_frame(frame.head(0), form.columns, top=form.top)  # warns of columns, once
                waiting.append(pool.submit(predicted, first, frame))
                yield from finished(n_at_once)
            yield from finished(0)
        finally:
            pool.shutdown(cancel_futures=True)


def _batches_at_once(rows: ParquetRows, memory: int) -> int:
    """Return how many batches are predicted side by side: one for each core, if they and one more fit in memory."""
    bytes_of_batch = BYTES_PER_CELL * min(CELLS_PER_BATCH, ROWS_PER_BATCH * len(rows.names))
    return int(max(1, min(n_cores(), SHARE_FOR_BATCHES * memory / bytes_of_batch - 1)))


def evaluated_rows(
    predictor: Predictor, rows: ParquetRows, memory: int, callback: ReadingCallback = ignore
) -> tuple[Table, FloatArray]:
    """Return the rows with a target as a table without inputs, and their log probabilities, `(n_rows, n_classes)`.

    All rows are measured if their probabilities, and what metrics make of them, take at most half of the memory. Else
    it is a uniform sample of the rows, always the same. Copies of rows are not looked for: intervals take rows for
    independent ones unless keys or groups connect them.

    Args:
        predictor: the model.
        rows: the files, with the target.
        memory: bytes.
        callback: called with the progress after each batch.

    Raises:
        TableError: no row has a target, or as for `Table.for_schema`.
    """
    schema, n_classes = predictor.schema, len(predictor.schema.classes)
    n_at_most = int(SHARE_FOR_METRICS * memory / (BYTES_PER_ROW + BYTES_PER_PROBABILITY * n_classes))
    chosen = np.sort(make_rng(0, Purpose.SAMPLE).choice(rows.n_rows, min(n_at_most, rows.n_rows), replace=False))
    parts = []
    for first, frame in rows.batches(stage="predicting", callback=callback):
        places = places_within(chosen, first, len(frame))
        some = frame[places]
        if schema.target in some.columns and some[schema.target].null_count() == len(some):
            continue
        with warnings.catch_warnings(), rows.naming_rows(first + places):
            warnings.simplefilter("ignore", TabcohortWarning)
            table = Table.for_schema(some, schema)
        log_proba = predictor.log_proba_of(table).astype(np.float32)
        parts.append((table.y, log_proba, *_group_hashes(some, first + places, schema)))
    if not parts:
        raise TableError(f"no row has a {schema.target!r}: there is nothing to measure on")
    y, log_proba, *hashes = map(np.concatenate, zip(*parts, strict=True))
    group_ids = group_ids_of([np.unique(column, return_inverse=True)[1] for column in hashes])
    nothing = np.empty((len(y), 0))
    return Table(nothing, no_codes(len(y)), y, np.ones(len(y)), schema, group_ids), log_proba.astype(np.float64)


def _group_hashes(frame: pl.DataFrame, row_numbers: IntArray, schema: Schema) -> list[NDArray[np.uint64]]:
    """Return a hash of the keys together, and of each group, of the rows with a target, for those that are there."""
    keep = target_labels(frame, schema.target)[1]
    has_keys = schema.keys and set(schema.keys) <= set(frame.columns)
    sets = [*([schema.keys] if has_keys else []), *((name,) for name in schema.groups if name in frame.columns)]
    rows = frame.filter(keep)
    return [group_hashes(rows, names, row_numbers[keep].astype(np.uint64)) for names in sets]

"""Predictions and figures of a table that is read in batches."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import fit_quickly
from streamed_tables import labelled_frame

from tabcohort import Predictor, TabcohortWarning, Table, TableError
from tabcohort.data.parquet_files import ParquetRows, ReadingProgress
from tabcohort.engines.compiled.jit import n_cores
from tabcohort.model.prediction_columns import PredictionForm
from tabcohort.model.streamed_predictions import _batches_at_once, evaluated_rows, predicted_frames
from tabcohort.reporting.prediction_files import with_joined_sets

QUIET = pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    """Return rows with a group, none of which repeats another."""
    frame = labelled_frame().with_columns(pl.col("size").fill_null(pl.int_range(300) / 7))
    return frame.select("size", "city", "target", (pl.int_range(300) % 90).alias("who"))


@pytest.fixture(scope="module")
def predictor(frame: pl.DataFrame) -> Predictor:
    """Return a model of these rows."""
    with pytest.warns(TabcohortWarning):
        return fit_quickly(Table.from_frame(frame, "target", groups=["who"]))


@pytest.fixture
def rows(frame: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ParquetRows:
    """Return the same rows in a file that is read in batches of 64."""
    monkeypatch.setattr("tabcohort.data.parquet_files.ROWS_PER_BATCH", 64)
    frame.write_parquet(tmp_path / "rows.parquet")
    return ParquetRows.open([tmp_path / "rows.parquet"])


@QUIET
@pytest.mark.parametrize("top", [None, 1])
@pytest.mark.parametrize("columns", [None, [], ["size", "who"]])
def test_batches_have_the_predictions_of_the_whole_frame(
    predictor: Predictor, frame: pl.DataFrame, rows: ParquetRows, columns: list[str] | None, top: int | None
) -> None:
    parts = list(predicted_frames(predictor, rows, PredictionForm(columns, top)))
    assert [len(part) for part in parts] == [64, 64, 64, 64, 44]
    assert pl.concat(map(with_joined_sets, parts)).equals(
        with_joined_sets(predictor.predict_frame(frame, columns, top=top))
    )
    assert ("class 1" in parts[0].columns) == (top is not None)


def test_columns_that_are_renamed_are_those_of_the_form(
    predictor: Predictor, frame: pl.DataFrame, rows: ParquetRows
) -> None:
    frame.with_columns(pl.lit(1).alias("class 1")).write_parquet(rows.paths[0])
    with pytest.warns(TabcohortWarning) as caught:
        part = next(predicted_frames(predictor, ParquetRows.open(rows.paths), PredictionForm(["class 1"], 2)))
    assert any("'class 1' is written as 'class 1 (input)'" in str(warning.message) for warning in caught)
    assert part.columns[:4] == ["class 1 (input)", "predicted", "class 1", "probability 1"]


@QUIET
def test_a_cell_that_cannot_be_read_is_named_with_its_row_in_all_files(
    predictor: Predictor, frame: pl.DataFrame, rows: ParquetRows
) -> None:
    size = pl.when(pl.int_range(300) == 257).then(float("inf")).otherwise("size").alias("size")
    frame.with_columns(size).write_parquet(rows.paths[0])
    with pytest.raises(TableError, match=r"^row 258, column 'size' is infinite"):
        list(predicted_frames(predictor, rows))
    with pytest.raises(TableError, match=r"^row 258, column 'size' is infinite"):
        evaluated_rows(predictor, rows, 10**9)


@QUIET
def test_predictions_that_nobody_reads_end_with_their_threads(predictor: Predictor, rows: ParquetRows) -> None:
    before, frames = threading.active_count(), predicted_frames(predictor, rows)
    next(frames)
    frames.close()
    assert threading.active_count() == before


@QUIET
@pytest.mark.parametrize("memory", [1, 10**9])
def test_fewer_batches_are_predicted_side_by_side_where_memory_is_short(
    predictor: Predictor, frame: pl.DataFrame, rows: ParquetRows, memory: int
) -> None:
    assert _batches_at_once(rows, memory) == (1 if memory == 1 else n_cores())
    seen: list[ReadingProgress] = []
    parts = list(predicted_frames(predictor, rows, PredictionForm([]), memory, seen.append))
    assert pl.concat(parts).equals(predictor.predict_frame(frame, []))
    assert [progress.n_done for progress in seen] == [64, 128, 192, 256, 300]


def test_ignored_columns_are_named_once(predictor: Predictor, frame: pl.DataFrame, tmp_path: Path) -> None:
    frame.with_columns(pl.lit(1).alias("other")).write_parquet(tmp_path / "rows.parquet")
    with pytest.warns(TabcohortWarning) as caught:
        list(predicted_frames(predictor, ParquetRows.open([tmp_path / "rows.parquet"])))
    assert [str(warning.message) for warning in caught] == ["ignored, as the model was trained without them: other"]


@QUIET
def test_figures_are_those_of_the_whole_table(predictor: Predictor, frame: pl.DataFrame, rows: ParquetRows) -> None:
    ours, log_proba = evaluated_rows(predictor, rows, 10**9)
    theirs = Table.for_schema(frame, predictor.schema)
    expected = predictor.evaluate(theirs)
    np.testing.assert_array_equal(ours.y, theirs.y)
    for name, estimate in predictor.evaluate(ours, log_proba).metrics.items():
        np.testing.assert_allclose(
            dataclasses.astuple(estimate), dataclasses.astuple(expected.metrics[name]), rtol=1e-5
        )


@QUIET
def test_with_little_memory_a_uniform_sample_is_measured(predictor: Predictor, rows: ParquetRows) -> None:
    table, log_proba = evaluated_rows(predictor, rows, 420 * 2 * 100)
    assert len(table.y) == len(log_proba) == 100


@QUIET
def test_rows_without_any_target_cannot_be_measured(predictor: Predictor, frame: pl.DataFrame, tmp_path: Path) -> None:
    frame.with_columns(pl.lit(None, pl.String).alias("target")).write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(TableError, match="no row has a 'target'"):
        evaluated_rows(predictor, ParquetRows.open([tmp_path / "rows.parquet"]), 10**9)

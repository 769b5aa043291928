"""The first pass over Parquet: columns, classes and a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from streamed_tables import labelled_frame

from tabcohort import TabcohortWarning, TableError
from tabcohort.data.disk_rows import uniform_sample
from tabcohort.data.frames import ColumnChoices
from tabcohort.data.parquet_files import ParquetRows
from tabcohort.data.survey import Survey, survey

QUIET = pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")


def surveyed(frame: pl.DataFrame, folder: Path, target: str = "target") -> Survey:
    frame.write_parquet(folder / "rows.parquet")
    return survey(ParquetRows.open([folder / "rows.parquet"]), target, ColumnChoices())


@QUIET
def test_the_sample_is_uniform_and_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabcohort.data.disk_rows.SAMPLE_ROWS", 90)
    monkeypatch.setattr("tabcohort.data.parquet_files.ROWS_PER_BATCH", 37)
    frame = labelled_frame().with_columns(pl.Series("place", np.arange(300) / 7))
    rows = surveyed(frame, tmp_path).sample["place"]
    assert len(rows) == rows.n_unique() == 90
    assert rows.is_sorted()
    assert rows.equals(surveyed(frame, tmp_path).sample["place"])
    assert 18 <= (rows < 100 / 7).sum() <= 42  # a third, give or take four standard deviations


@QUIET
@pytest.mark.parametrize("labels", [[1.0, 2.0, None], [True, False, None], [" a", "a", ""], [3, 4, 4]])
def test_labels_are_those_of_a_table_in_memory(tmp_path: Path, labels: list[object]) -> None:
    from tabcohort import Table

    frame = labelled_frame().with_columns(pl.Series("target", [*labels[:2], *labels, *labels] * 60)[:300])
    if labels[1] == "a":
        with pytest.raises(TableError, match="must have at least two classes"):
            surveyed(frame, tmp_path)
        return
    found, table = surveyed(frame, tmp_path), Table.from_frame(frame, "target")
    assert found.classes == table.schema.classes
    y = found.y(frame["target"])
    np.testing.assert_array_equal(y[y >= 0], table.y)


def test_rows_without_a_target_are_counted(tmp_path: Path) -> None:
    frame = labelled_frame().select("size", "target")
    frame = frame.with_columns(pl.when(pl.int_range(300) < 7).then(None).otherwise("target").alias("target"))
    with pytest.warns(TabcohortWarning, match="^7 rows with no value in 'target' are left out$"):
        surveyed(frame, tmp_path)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (pl.Series(np.arange(300) / 7), "looks like a measurement"),
        (pl.Series(["x"] * 300), "must have at least two classes"),
        (pl.Series(["x"] * 299 + ["y"]), "the class 'y' of 'target' has a single row"),
    ],
)
@QUIET
def test_a_target_that_is_no_classes_is_refused(tmp_path: Path, target: pl.Series, message: str) -> None:
    with pytest.raises(TableError, match=message):
        surveyed(labelled_frame().with_columns(target.alias("target")), tmp_path)


@QUIET
def test_a_target_of_too_many_values_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabcohort.data.survey.MAX_COUNTED", 100)
    with pytest.raises(TableError, match="has more than 100 distinct values"):
        surveyed(labelled_frame().with_columns(pl.Series("target", np.arange(300))), tmp_path)


@QUIET
def test_files_without_rows_and_tables_without_features_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="the files hold no rows"):
        surveyed(labelled_frame()[:0], tmp_path)
    with pytest.raises(TableError, match="there is no column to predict from"):
        surveyed(labelled_frame().select("target"), tmp_path)


@QUIET
def test_a_cell_that_is_no_truth_value_is_noticed_outside_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabcohort.data.disk_rows.SAMPLE_ROWS", 90)
    frame = labelled_frame().with_columns(pl.Series("smokes", ["yes", "no", "NA"] * 100))
    smokes = next(column for column in surveyed(frame, tmp_path).columns if column.name == "smokes")
    assert (smokes.kind, smokes.has_missing) == ("boolean", True)
    outside = np.setdiff1d(np.arange(300), uniform_sample(300, frame.width))[:2]
    cells = pl.when(pl.int_range(300).is_in(outside)).then(pl.lit("perhaps")).otherwise("smokes").alias("smokes")
    with pytest.raises(TableError, match=r"'smokes' is boolean in a sample .* 2 cells .* such as 'perhaps';"):
        surveyed(frame.with_columns(cells), tmp_path)

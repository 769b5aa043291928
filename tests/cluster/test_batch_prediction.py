"""Files of rows: which there are, and what is written for each."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from helpers import fit_quickly

from tabcohort.cluster.batch_prediction import find_shards, predict_shard
from tabcohort.errors import SettingsError, TableError


def write_rows(path: Path, n_rows: int = 3) -> pl.DataFrame:
    """Write rows for the model of `fit_quickly`, and return them."""
    frame = pl.DataFrame({name: [float(row) for row in range(n_rows)] for name in ("x0", "x1", "x2")})
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
    return frame


def test_the_files_of_a_folder_or_a_pattern_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.parquet", "a.parquet", "notes.txt"):
        write_rows(tmp_path / "rows" / name)
    for source in (tmp_path / "rows", tmp_path / "rows" / "*", tmp_path / "r*" / "?.parquet"):
        shards = find_shards(str(source), str(tmp_path / "new"))
        assert [path.rpartition("/")[2] for path in shards.paths] == ["a.parquet", "b.parquet"]
    assert (tmp_path / "new").is_dir()


def test_a_source_without_files_or_with_two_of_one_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        TableError, match=r"must be a folder with files \.parquet, or a pattern of some; there are none"
    ):
        find_shards(str(tmp_path), str(tmp_path / "new"))
    for folder in ("one", "two"):
        write_rows(tmp_path / folder / "a.parquet")
    with pytest.raises(SettingsError, match=r"two files are called 'a\.parquet', and their predictions would be"):
        find_shards(str(tmp_path / "*" / "*.parquet"), str(tmp_path / "new"))
    with pytest.raises(SettingsError, match="is what this command reads; write to another folder"):
        find_shards(str(tmp_path / "one"), str(tmp_path / "one"))
    with pytest.raises(SettingsError, match="'nothing://x' cannot be used: "):
        find_shards("nothing://x", str(tmp_path / "new"))


def test_a_file_has_the_predictions_of_its_rows_under_its_name(tmp_path: Path) -> None:
    predictor, frame = fit_quickly(), write_rows(tmp_path / "rows" / "a.parquet")
    (tmp_path / "new").mkdir()
    shard, folder = f"file://{tmp_path}/rows/a.parquet", f"file://{tmp_path}/new"
    assert predict_shard(predictor, shard, folder, "x0") == 3
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.parquet"]
    written = pl.read_parquet(tmp_path / "new" / "a.parquet")
    assert written.equals(predictor.predict_frame(frame, ["x0"]).with_columns(pl.col("set").list.join("|")))
    with pytest.raises(TableError, match="is not there on a node of the cluster; name a folder that all share"):
        predict_shard(predictor, f"file://{tmp_path}/rows/b.parquet", folder, None)

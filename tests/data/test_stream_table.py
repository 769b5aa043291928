"""A table in a store is the table that the same files are in memory, to the bit."""

from __future__ import annotations

import gc
import os
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from streamed_tables import labelled_frame, streamed

from tabcohort import SettingsError, TabcohortWarning, Table, TableError
from tabcohort.data import stream_table as module
from tabcohort.data.disk_rows import uniform_sample
from tabcohort.data.frames import ColumnChoices
from tabcohort.data.parquet_files import ReadingProgress
from tabcohort.data.stream_table import stream_table
from tabcohort.data.table_store import building

pytestmark = pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")


@pytest.fixture(autouse=True)
def _few_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in batches and blocks that are smaller than these tables."""
    monkeypatch.setattr("tabcohort.data.parquet_files.ROWS_PER_BATCH", 64)
    monkeypatch.setattr(module, "ROWS_PER_READ", 50)


def equal(one: Table, other: Table) -> bool:
    """Return whether two tables have the same arrays."""
    names = ("numbers", "codes", "y", "weight")
    return all(np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "numbers") for name in names)


def test_a_streamed_table_is_the_one_in_memory_to_the_bit(tmp_path: Path) -> None:
    frame = labelled_frame().with_columns(
        pl.when(pl.int_range(300) % 50 == 7).then(None).otherwise("target").alias("target")
    )
    table, expected = streamed(frame, tmp_path), Table.from_frame(frame, "target")
    assert table.schema == expected.schema
    assert equal(table, expected)
    assert table.fingerprint() == expected.fingerprint()
    ours, theirs = table.stored_rows(), expected.stored_rows()
    np.testing.assert_array_equal(ours.stored, theirs.stored)
    np.testing.assert_array_equal((ours.origin, ours.unit), (theirs.origin, theirs.unit))
    assert ours.has_missing


def test_weights_are_read_and_rows_of_weight_0_are_left_out(tmp_path: Path) -> None:
    frame = labelled_frame().with_columns(pl.Series("w", np.arange(300) % 3).cast(pl.Float32))
    table, expected = streamed(frame, tmp_path, weight="w"), Table.from_frame(frame, "target", weight="w")
    assert equal(table, expected)
    assert len(table.y) == 200
    assert table.fingerprint() == expected.fingerprint()


def test_levels_and_gaps_that_no_sampled_row_has_are_in_the_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabcohort.data.disk_rows.SAMPLE_ROWS", 100)
    cities = pl.Series("city", ["a", "b"] * 149 + ["rare", None])
    table = streamed(labelled_frame().with_columns(cities), tmp_path)
    column = next(column for column in table.schema.columns if column.name == "city")
    assert column.levels == ("a", "b", "rare")
    assert column.has_missing
    assert table.codes[-2, 0] == 2


def test_rows_of_one_group_have_one_hash_and_rows_without_a_group_their_own(tmp_path: Path) -> None:
    who = pl.Series("who", [None if i % 5 == 0 else i % 60 for i in range(300)])
    table = streamed(labelled_frame().with_columns(who), tmp_path, groups=("who",))
    taken = table.take(np.arange(300))
    assert taken.group_ids is not None
    assert len(np.unique(taken.group_ids)) == 48 + 60
    assert "who" not in table.schema.features


def test_a_kept_store_is_used_again_until_files_or_options_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = labelled_frame()
    first = streamed(frame, tmp_path, "store")
    header = tmp_path / "store" / "store.json"
    written = header.stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(module, "survey", None)  # so that a second build would fail
        again = stream_table(tmp_path / "rows", "target", options=module.StoreOptions(tmp_path / "store"))
    assert equal(first, again)
    assert header.stat().st_mtime_ns == written
    streamed(frame, tmp_path, "store", types={"many": "drop"})
    assert header.stat().st_mtime_ns > written
    changed = streamed(frame[:-3], tmp_path, "store", types={"many": "drop"})
    assert len(changed.y) == 297


def test_a_store_that_is_built_again_is_announced(tmp_path: Path) -> None:
    streamed(labelled_frame(), tmp_path, "store")
    with pytest.warns(TabcohortWarning, match=r"the store .* is built again: the files, the target, the columns or"):
        streamed(labelled_frame()[:-3], tmp_path, "store")


def test_a_store_of_another_table_is_not_replaced(tmp_path: Path) -> None:
    streamed(labelled_frame(), tmp_path, "store")
    labelled_frame().write_parquet(tmp_path / "other.parquet")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()}
    with pytest.raises(TableError, match=r"has the rows of '.*rows'; name another folder, or remove this one"):
        stream_table(tmp_path / "other.parquet", "target", options=module.StoreOptions(tmp_path / "store"))
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()} == before


def test_a_store_that_another_process_builds_is_left_alone(tmp_path: Path) -> None:
    with (
        building(tmp_path / "store"),
        pytest.raises(TableError, match=rf"^process {os.getpid()} is building the store"),
    ):
        streamed(labelled_frame(), tmp_path, "store")
    assert not (tmp_path / "store").exists()
    assert len(streamed(labelled_frame(), tmp_path, "store").y) == 300


def test_a_table_goes_on_with_its_rows_when_its_store_is_built_again(tmp_path: Path) -> None:
    frame = labelled_frame()
    table = streamed(frame, tmp_path, "store")
    rows = np.arange(0, 300, 7)
    before, y = table.inputs(rows), np.array(table.y)
    streamed(frame.reverse(), tmp_path, "store")
    np.testing.assert_array_equal(table.inputs(rows), before)
    np.testing.assert_array_equal(table.y, y)


def test_each_pass_tells_how_far_it_is(tmp_path: Path) -> None:
    streamed(labelled_frame(), tmp_path)
    seen: list[ReadingProgress] = []
    options = module.StoreOptions(tmp_path / "store", callback=seen.append)
    for _ in range(2):
        stream_table(tmp_path / "rows", "target", options=options)
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    assert stages == ["surveying the rows", "writing the store", "checking the store"]
    for stage in stages:
        done = [progress.n_done for progress in seen if progress.stage == stage]
        assert done == sorted(done)
        assert done[-1] == next(progress.n_all for progress in seen if progress.stage == stage)


@pytest.mark.parametrize("memory", [0, 999_999_999])
def test_too_little_memory_is_refused(memory: int) -> None:
    with pytest.raises(SettingsError, match="the memory must be at least 1,000,000,000 bytes"):
        module.StoreOptions(memory=memory)


def test_a_temporary_store_is_removed_with_its_table(tmp_path: Path) -> None:
    table = streamed(labelled_frame(), tmp_path)
    assert table.disk is not None
    folder = table.disk.blocks.folder
    assert (folder / "store.json").is_file()
    del table
    gc.collect()
    assert not folder.exists()


def test_a_table_goes_to_another_process_by_the_folder_of_its_store(tmp_path: Path) -> None:
    table = streamed(labelled_frame(), tmp_path, "store")
    data = pickle.dumps(table)
    assert len(data) < 1_000
    assert equal(pickle.loads(data), table)
    streamed(labelled_frame().head(200), tmp_path, "store")
    with pytest.raises(TableError, match="was built again with other rows"):
        pickle.loads(data)
    (tmp_path / "store" / "store.json").unlink()
    with pytest.raises(TableError, match=r"there is no store .*; processes that train must all reach its folder"):
        pickle.loads(data)
    in_memory = Table.from_frame(labelled_frame(), "target")
    assert equal(pickle.loads(pickle.dumps(in_memory)), in_memory)


def test_a_build_that_was_interrupted_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    frame = labelled_frame()
    streamed(frame, tmp_path, "store")
    with monkeypatch.context() as patch:
        patch.setattr("tabcohort.data.table_store.StoreWriter.finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            streamed(frame, tmp_path, "store", types={"many": "drop"})
    assert not (tmp_path / "store" / "store.json").exists()
    assert len(streamed(frame, tmp_path, "store").y) == 300


def test_a_cell_that_cannot_be_read_is_named_with_its_row_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabcohort.data.disk_rows.SAMPLE_ROWS", 100)
    size = np.where(np.arange(300) == 257, np.inf, np.arange(300) / 7)
    with pytest.raises(TableError, match=r"^row 158 of '.*2\.parquet', column 'size' is infinite"):
        streamed(labelled_frame().with_columns(pl.Series("size", size)), tmp_path)


def test_a_cell_of_the_sample_that_cannot_be_read_is_named_with_its_row_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabcohort.data.disk_rows.SAMPLE_ROWS", 100)
    bad = int(uniform_sample(300, 9)[90])
    assert bad >= 100  # it is in the second file
    for type_name, cells in (("boolean", ["yes", "no"]), ("date", ["2024-01-02", "2024-01-03"])):
        size = pl.Series("size", ["abc" if row == bad else cells[row % 2] for row in range(300)])
        with pytest.raises(TableError, match=rf"^row {bad - 99} of '.*2\.parquet', column 'size' holds 'abc'"):
            streamed(labelled_frame().with_columns(size), tmp_path, types={"size": type_name})


def test_a_cell_far_beyond_its_column_is_refused_as_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabcohort.data.disk_rows.SAMPLE_ROWS", 100)
    size = np.where(np.arange(300) == 257, 1e39, np.arange(300) / 7)
    with pytest.raises(TableError, match=r"^row 158 of '.*2\.parquet', column 'size' holds 1e\+39: other cells"):
        streamed(labelled_frame().with_columns(pl.Series("size", size)), tmp_path)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"time": "day"}, "rows in a store cannot be split in time, and 'day' is the time"),
        ({"keys": ("city",), "groups": ("code",)}, "one key or one group can stay together"),
        (
            {"weight": "size"},
            r"^row \d+ of '.*[12]\.parquet' has the weight .* a weight must be 0 or",
        ),
    ],
)
def test_what_a_store_cannot_do_is_refused(tmp_path: Path, choices: dict[str, str], message: str) -> None:
    with pytest.raises(TableError, match=message):
        streamed(labelled_frame(), tmp_path, **choices)


def test_a_store_is_made_of_parquet_only(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TableError, match="a store is made of Parquet"):
        stream_table(tmp_path / "rows.csv", "b", ColumnChoices())

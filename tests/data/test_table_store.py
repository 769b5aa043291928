"""The folder of a store: what is written is what is mapped, and nothing else is taken for it."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from tabcohort import TableError
from tabcohort.data import table_store
from tabcohort.data.table_store import Blocks, StoreWriter, TemporaryFolder, read_header
from tabcohort.plain_values import PlainValues


def written(folder: Path) -> PlainValues:
    """Write a store of two blocks, one of them of rows without columns, and return its header."""
    with StoreWriter(folder) as writer:
        for start in range(0, 5_000, 1_000):
            writer.append("numbers", np.arange(start, start + 1_000, dtype=np.float64).reshape(-1, 2))
            writer.append("codes", np.empty((500, 0), np.int32))
        writer.finish({"key": "k"})
    header = read_header(folder)
    assert header is not None
    return header


def test_blocks_are_what_was_appended(tmp_path: Path) -> None:
    header = written(tmp_path / "store")
    blocks = Blocks(tmp_path / "store", header)
    expected = np.arange(5_000, dtype=np.float64).reshape(-1, 2)
    np.testing.assert_array_equal(blocks.arrays["numbers"], expected)
    assert blocks.arrays["codes"].shape == (2_500, 0)
    rows = np.array([0, 7, 2_499])
    np.testing.assert_array_equal(blocks.take("numbers", rows), expected[rows])
    np.testing.assert_array_equal(np.concatenate(list(blocks.rows("numbers", 300))), expected)
    blocks.prefetch(("numbers", "codes"), np.array([0, 2_400]), np.array([10, 2_500]))
    blocks.release()
    np.testing.assert_array_equal(blocks.arrays["numbers"], expected)
    blocks.check(header)


@pytest.mark.parametrize("max_gap", [0, 2**12])
@pytest.mark.parametrize("has_preadv", [True, False])
def test_rows_are_taken_in_any_order_whatever_lies_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_gap: int, has_preadv: bool
) -> None:
    monkeypatch.setattr(table_store, "MAX_GAP", max_gap)
    monkeypatch.setattr(table_store, "BYTES_PER_READ", 100 * 16)
    if not has_preadv:
        monkeypatch.delattr("os.preadv")
    blocks = Blocks(tmp_path / "store", written(tmp_path / "store"))
    expected = np.arange(5_000, dtype=np.float64).reshape(-1, 2)
    rng = np.random.default_rng(0)
    drawn, repeated = rng.choice(2_500, 700, replace=False), rng.integers(0, 2_500, 700)
    for rows in (drawn, repeated, np.arange(2_500), np.array([1, 1, 3]), np.arange(0)):
        np.testing.assert_array_equal(blocks.take("numbers", rows), expected[rows])
        np.testing.assert_array_equal(blocks.take("numbers", np.sort(rows)), expected[np.sort(rows)])
    assert blocks.take("codes", np.arange(3)).shape == (3, 0)
    for row in (-1, 2_500):
        with pytest.raises(IndexError, match=f"rows {row} to {row} are asked for, and there are 2500"):
            blocks.take("numbers", np.array([row]))


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="rows are read from the map")
def test_a_block_that_has_become_shorter_is_an_error(tmp_path: Path) -> None:
    blocks = Blocks(tmp_path / "store", written(tmp_path / "store"))
    os.truncate(tmp_path / "store" / "numbers.block", 1_000)
    with pytest.raises(TableError, match=r"is damaged: the block 'numbers' has become shorter; remove the folder"):
        blocks.take("numbers", np.array([2_000]))


def test_writing_to_a_mapped_block_does_not_change_the_file(tmp_path: Path) -> None:
    header = written(tmp_path / "store")
    blocks = Blocks(tmp_path / "store", header)
    blocks.arrays["numbers"][0] = -1.0
    blocks.check(header)
    assert Blocks(tmp_path / "store", header).arrays["numbers"][0, 0] == 0.0


def test_a_changed_byte_and_a_missing_or_short_block_are_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    header = written(folder)
    path = folder / "numbers.block"
    data = path.read_bytes()
    path.write_bytes(data[:99] + bytes([data[99] ^ 1]) + data[100:])
    with pytest.raises(TableError, match=r"is damaged: the checksum of the block 'numbers' does not match; remove"):
        Blocks(folder, header).check(header)
    path.write_bytes(data[:-1])
    with pytest.raises(TableError, match="the block 'numbers' is missing or has another size"):
        Blocks(folder, header)
    path.unlink()
    with pytest.raises(TableError, match="the block 'numbers' is missing or has another size"):
        Blocks(folder, header)


def test_a_damaged_header_is_noticed_and_one_of_another_version_is_no_store(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    written(folder)
    header = folder / "store.json"
    text = header.read_text()
    header.write_text(text.replace('"k"', '"l"'))
    with pytest.raises(TableError, match="the checksum of its header does not match"):
        read_header(folder)
    assert read_header(tmp_path / "none") is None


def test_a_store_without_a_header_is_none_and_is_written_anew(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with StoreWriter(folder) as writer:
        writer.append("old", np.ones(3))
    assert read_header(folder) is None
    written(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["codes.block", "numbers.block", "store.json"]


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(TableError, match=r"must be a new folder or one of a store; it holds 'thesis\.txt'"):
        StoreWriter(tmp_path)
    with pytest.raises(TableError, match=r"cannot be written: it is a file; name another folder"):
        StoreWriter(tmp_path / "thesis.txt")


def test_a_disk_without_room_is_noticed_before_any_work(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store") as writer, pytest.raises(TableError, match=r"needs 1e\+09 GB, and .* GB free"):
        writer.require_space(10**18)


def test_a_temporary_folder_that_cannot_be_made_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(TableError, match="cannot be written: No such file or directory"):
        TemporaryFolder()


def test_a_temporary_folder_goes_with_its_object() -> None:
    folder = TemporaryFolder()
    path = folder.path
    assert path.is_dir()
    del folder
    gc.collect()
    assert not path.exists()

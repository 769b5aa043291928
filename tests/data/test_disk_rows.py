"""The rows of a table in a store: samples, sums and hashes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from streamed_tables import labelled_frame, streamed

from tabcohort.data import disk_rows
from tabcohort.data.disk_rows import DiskRows, mixed

pytestmark = pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")


@pytest.fixture
def disk(tmp_path: Path) -> DiskRows:
    """Return 600 rows, the second half of which repeat the first."""
    frame = labelled_frame()
    found = streamed(frame.vstack(frame), tmp_path).disk
    assert found is not None
    return found


def test_equal_rows_are_chosen_together_and_about_as_many_as_asked_for(disk: DiskRows) -> None:
    for seed in range(5):
        rows = disk.rows_by_hash(seed, 200)
        np.testing.assert_array_equal(rows[rows < 300], rows[rows >= 300] - 300)
        assert 120 < len(rows) < 280  # 200, give or take four standard deviations of pairs
    assert len(disk.rows_by_hash(0, 600)) == 600
    assert not np.array_equal(disk.rows_by_hash(0, 200), disk.rows_by_hash(1, 200))


def test_equal_rows_are_in_one_inner_fold_and_all_folds_are_used(disk: DiskRows) -> None:
    np.testing.assert_array_equal(disk.fold[:300], disk.fold[300:])
    assert set(disk.fold.tolist()) == {1, 2, 3, 4, 5}


def test_the_sample_is_always_the_same_and_holds_all_of_few_rows(
    disk: DiskRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.testing.assert_array_equal(disk.sample, np.arange(600))
    np.testing.assert_array_equal(disk.sampled.y, disk.blocks.arrays["y"])
    monkeypatch.setattr(disk_rows, "SAMPLE_ROWS", 50)
    fewer = DiskRows(**{name: getattr(disk, name) for name in DiskRows.__dataclass_fields__})
    assert len(fewer.sample) == 50
    assert (np.diff(fewer.sample) > 0).all()


def test_the_sums_are_those_of_all_rows(disk: DiskRows) -> None:
    assert disk.totals.weight == 600
    np.testing.assert_array_equal(disk.totals.classes, np.bincount(disk.blocks.arrays["y"]))
    excluded = np.arange(0, 600, 2)
    assert disk.totals_without(excluded).weight == 300
    np.testing.assert_array_equal(disk.classes_without(excluded), disk.totals_without(excluded).classes)


def test_rows_are_read_ahead_and_let_go_without_a_change(disk: DiskRows) -> None:
    before = np.array(disk.stored.stored)
    disk.prefetch(np.array([599, 3, 4, 310]))
    disk.release()
    np.testing.assert_array_equal(before, disk.stored.stored)


def test_mixed_hashes_are_spread_evenly() -> None:
    share = (mixed(np.arange(100_000, dtype=np.uint64), 7) < np.uint64(2**62)).mean()
    assert abs(share - 0.25) < 0.006  # four standard deviations

"""Splits of a table in a store: those in memory where there are few rows, and a sample of many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import config_of
from streamed_tables import labelled_frame, streamed

from tabcohort import Table, TableError
from tabcohort.data import streamed_splits as module
from tabcohort.data.splits import make_splits
from tabcohort.data.streamed_splits import StreamedSplit, streamed_splits

pytestmark = pytest.mark.filterwarnings("ignore::tabcohort.TabcohortWarning")


def test_places_of_train_rows_are_their_rows() -> None:
    for validation, test in (([0, 1, 5], [2, 9]), ([9], [8]), ([4], [])):
        split = StreamedSplit(10, np.array(validation), np.array(test, dtype=np.int64))
        np.testing.assert_array_equal(split.train, np.setdiff1d(np.arange(10), [*validation, *test]))
        np.testing.assert_array_equal(split.train_rows(np.arange(split.n_train)), split.train)
        assert split.n_train == len(split.train)


@pytest.mark.parametrize("n_folds", [1, 4])
def test_few_rows_are_split_as_in_memory(tmp_path: Path, n_folds: int) -> None:
    frame, config = labelled_frame(), config_of()
    ours = streamed_splits(streamed(frame, tmp_path), config, n_folds, repeat=1)
    theirs = make_splits(Table.from_frame(frame, "target"), config, n_folds, repeat=1)
    assert ours.n_folds == theirs.n_folds == n_folds
    for fold in range(n_folds):
        one, other = ours.split(fold), theirs.split(fold)
        for name in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(one, name), np.sort(getattr(other, name)))
    np.testing.assert_array_equal(ours.fold_ids(), theirs.fold_ids())


def test_of_many_rows_a_sample_is_tested_and_all_others_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TESTED", 100)
    who = pl.Series("who", np.arange(300) % 100)
    splits = streamed_splits(streamed(labelled_frame().with_columns(who), tmp_path, groups=("who",)), config_of(), 4)
    splits_of_rows = [splits.split(fold) for fold in range(4)]
    tested = np.concatenate([split.test for split in splits_of_rows])
    assert len(tested) == len(np.unique(tested)) < 180
    for split in splits_of_rows:
        everyone = np.sort(np.concatenate([split.train, split.validation, split.test]))
        np.testing.assert_array_equal(everyone, np.arange(300))
        assert not set(split.test % 100) & set(split.train % 100)
        assert not set(split.test % 100) & set(split.validation % 100)
    np.testing.assert_array_equal(np.flatnonzero(splits.fold_ids() >= 0), np.sort(tested))


@pytest.mark.parametrize("groups", [(), ("who",)])
@pytest.mark.parametrize("n_folds", [1, 4])
def test_rows_of_wide_tables_are_compared_by_their_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: tuple[str, ...], n_folds: int
) -> None:
    monkeypatch.setattr(module, "MAX_COMPARED_CELLS", 0)
    frame = labelled_frame().with_columns(pl.Series("who", np.arange(300) % 100))
    table = streamed(frame.vstack(frame[:50]), tmp_path, groups=groups, types={} if groups else {"who": "drop"})
    splits = streamed_splits(table, config_of(), n_folds)
    for fold in range(n_folds):
        split = splits.split(fold)
        sides = [split.train, split.validation, split.test]
        np.testing.assert_array_equal(np.sort(np.concatenate(sides)), np.arange(350))
        for side in sides:
            assert len(side)
            copies = {row + 300 for row in side if row < 50}
            assert copies <= set(side.tolist())
        share = np.mean(table.y[split.test])
        assert abs(share - np.mean(table.y)) < 0.1


def test_of_wide_tables_fewer_rows_are_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = streamed(labelled_frame(), tmp_path)
    monkeypatch.setattr(module, "MAX_TESTED_CELLS", 100 * table.n_inputs)
    assert 60 < len(streamed_splits(table, config_of(), 4).tested) < 140


def test_no_row_that_could_be_tested_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = streamed(labelled_frame(), tmp_path)
    monkeypatch.setattr(type(table.disk), "rows_by_hash", lambda self, seed, n_rows: np.arange(0))
    with pytest.raises(TableError, match=r"^no row would be tested, as too many"):
        streamed_splits(table, config_of(), 4)


def test_rows_that_are_nearly_all_equal_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TESTED", 50)
    frame = labelled_frame()
    table = streamed(frame.with_columns(pl.lit("same").alias("who")), tmp_path, groups=("who",))
    assert table.disk is not None
    monkeypatch.setattr(type(table.disk), "rows_by_hash", lambda self, seed, n_rows: np.arange(300))
    with pytest.raises(TableError, match="300 rows are equal, or of one group"):
        streamed_splits(table, config_of(), 4)

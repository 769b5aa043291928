"""A share of the rows: nested, stratified, with the same test rows, and what belongs together stays so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import make_small_table

from tabcohort import Config, Table
from tabcohort.data.splits import make_splits
from tabcohort.data.subsample import SubsampledSplits

SHARES = (0.1, 0.25, 0.5, 1.0)


def splits_of(table: Table, share: float, fold: int = 0, repeat: int = 0) -> SubsampledSplits:
    return SubsampledSplits(make_splits(table, Config(), 4), table, share, seed=0, repeat=repeat)


def test_larger_shares_hold_the_smaller_ones_and_all_test_the_same_rows() -> None:
    table = make_small_table(n_rows=200)
    for fold in range(4):
        whole = make_splits(table, Config(), 4).split(fold)
        before = np.empty(0, dtype=np.int64)
        for share in SHARES:
            own = splits_of(table, share).split(fold)
            assert set(before) <= set(own.train)
            assert own.test.tolist() == whole.test.tolist()
            before = own.train
        assert before.tolist() == whole.train.tolist()
    assert splits_of(table, 0.5).fold_ids().tolist() == make_splits(table, Config(), 4).fold_ids().tolist()
    assert splits_of(table, 0.5).n_folds == 4


@pytest.mark.parametrize("share", SHARES)
def test_each_class_has_its_share_and_a_row_at_least(share: float) -> None:
    table = make_small_table(n_rows=400, n_classes=3)
    rare = np.flatnonzero(table.y == 2)[12:]
    keep = np.setdiff1d(np.arange(400), rare)
    table = replace(table, numbers=table.numbers[keep], codes=table.codes[keep], y=table.y[keep],
                    weight=table.weight[keep])  # fmt: skip
    whole, own = make_splits(table, Config(), 4).split(0), splits_of(table, share).split(0)
    for part in ("train", "validation"):
        counts = np.bincount(table.y[getattr(whole, part)], minlength=3)
        assert np.bincount(table.y[getattr(own, part)], minlength=3).tolist() == np.ceil(share * counts).tolist()


def test_folds_and_repeats_have_draws_of_their_own_and_each_is_the_same_again() -> None:
    table = make_small_table(n_rows=300)
    first = splits_of(table, 0.3).split(0).train
    assert splits_of(table, 0.3).split(0).train.tolist() == first.tolist()
    for other in (splits_of(table, 0.3, repeat=1).split(0), splits_of(table, 0.3).split(1)):
        assert set(other.train) != set(first)


def test_equal_rows_and_groups_are_drawn_together() -> None:
    table = make_small_table(n_rows=240)
    groups = np.arange(240) // 6
    twice = np.arange(240) // 2 * 2
    equal = replace(table, numbers=table.numbers[twice], y=table.y[twice])
    for own, block in ((replace(table, group_ids=groups), groups), (equal, twice)):
        split = splits_of(own, 0.4).split(1)
        whole = make_splits(own, Config(), 4).split(1)
        for name in ("train", "validation"):
            drawn, left = getattr(split, name), np.setdiff1d(getattr(whole, name), getattr(split, name))
            assert len(left)
            assert not set(block[drawn]) & set(block[left])

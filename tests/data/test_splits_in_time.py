"""Folds in time: rows validate and test later than those that train."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_splits import (
    FEW,
    Case,
    assert_same_rows,
    cases,
    distinct_rows,
    parts_of,
    repeated_by_weight,
    splits_or_discard,
    take_rows,
)

from tabcohort import Config, TableError
from tabcohort.data.splits import make_splits


@st.composite
def cases_in_time(draw: st.DrawFn) -> tuple[Case, int]:
    """Tables whose rows have times, many of them equal or few, and a number of folds."""
    table, config = draw(cases())
    n_times = draw(st.sampled_from([3, 10, 1000]))
    time = np.random.default_rng(config.seed + 2).integers(n_times, size=len(table.y)).astype(np.float64)
    return Case(replace(table, time=time), config), draw(st.sampled_from([1, 3, 4, 7]))


@given(cases_in_time())
@FEW
def test_in_time_rows_that_validate_and_test_are_later_than_all_that_train(example: tuple[Case, int]) -> None:
    case, n_folds = example
    time, splitter = case.table.time, splits_or_discard(case, n_folds)
    assert 1 <= splitter.n_folds <= n_folds
    n_tests = np.zeros(len(time), dtype=np.int64)
    for fold in range(splitter.n_folds):
        split = splitter.split(fold)
        assert time[split.train].max() < time[split.validation].min()
        assert time[split.validation].max() < time[split.test].min()
        known = np.sort(np.concatenate(parts_of(split)))
        np.testing.assert_array_equal(known, np.flatnonzero(time <= time[split.test].max()))
        n_tests[split.test] += 1
    np.testing.assert_array_equal(n_tests, time > time[splitter.split(0).validation].max())
    period = splitter.fold_ids()
    np.testing.assert_array_equal(period >= 2, n_tests == 1)
    for fold in range(splitter.n_folds):
        np.testing.assert_array_equal(np.sort(splitter.split(fold).test), np.flatnonzero(period == fold + 2))


def test_in_time_the_earlier_half_only_trains_and_each_fold_is_a_tenth() -> None:
    time = np.random.default_rng(0).permutation(1000).astype(np.float64)
    splitter = make_splits(replace(distinct_rows(1000), time=time), Config(), 4)
    sizes = [list(map(len, parts_of(splitter.split(fold)))) for fold in range(4)]
    assert sizes == [[500, 100, 100], [600, 100, 100], [700, 100, 100], [800, 100, 100]]


def test_one_fold_in_time_has_the_fractions_of_the_config() -> None:
    config = Config(validation_fraction=0.1, test_fraction=0.25)
    split = make_splits(replace(distinct_rows(1000), time=np.arange(1000.0)), config, 1).split(0)
    np.testing.assert_array_equal(np.sort(split.train), np.arange(650))
    np.testing.assert_array_equal(np.sort(split.validation), np.arange(650, 750))
    np.testing.assert_array_equal(np.sort(split.test), np.arange(750, 1000))


@given(cases_in_time(), st.integers(0, 2**32))
@FEW
def test_in_time_neither_the_order_of_the_rows_matters_nor_whether_a_row_is_there_twice_or_weighs_two(
    example: tuple[Case, int], order_seed: int
) -> None:
    (table, config), n_folds = example
    splitter = splits_or_discard(Case(table, config), n_folds)
    shuffled = np.random.default_rng(order_seed).permutation(len(table.y))
    other = make_splits(take_rows(table, shuffled), config, n_folds)
    np.testing.assert_array_equal(splitter.fold_ids()[shuffled], other.fold_ids())
    for fold in range(splitter.n_folds):
        assert_same_rows(splitter.split(fold), other.split(fold), table, shuffled)
    repeated, rows = repeated_by_weight(table)
    np.testing.assert_array_equal(splitter.fold_ids()[rows], make_splits(repeated, config, n_folds).fold_ids())


@given(cases_in_time(), st.integers(2, 60))
@FEW
def test_in_time_groups_that_trained_neither_validate_nor_test(example: tuple[Case, int], n_groups: int) -> None:
    (table, config), n_folds = example
    ids = np.random.default_rng(config.seed + 3).integers(n_groups, size=len(table.y))
    plain = splits_or_discard(Case(table, config), n_folds)
    grouped = make_splits(replace(table, group_ids=ids), config, n_folds)
    for fold in range(plain.n_folds):
        before = plain.split(fold)
        trained = np.isin(ids, ids[before.train])
        validation = before.validation[~trained[before.validation]]
        if not len(validation):
            with pytest.raises(TableError, match=f"^in fold {fold + 1} of .* in time no rows are left to validate on"):
                grouped.split(fold)
            continue
        split = grouped.split(fold)
        np.testing.assert_array_equal(split.train, before.train)
        np.testing.assert_array_equal(split.validation, validation)
        validated = np.isin(ids, ids[validation])
        np.testing.assert_array_equal(split.test, before.test[~(trained | validated)[before.test]])


@pytest.mark.parametrize(("n_folds", "advice"), [(3, ", or ask for fewer folds"), (1, "")])
def test_a_fold_in_time_without_rows_to_validate_on_is_named(n_folds: int, advice: str) -> None:
    group_ids = np.arange(60) % 20  # all of them are there before the first fold
    splitter = make_splits(replace(distinct_rows(60), group_ids=group_ids, time=np.arange(60.0)), Config(), n_folds)
    words = (
        f"^in fold 1 of {n_folds} in time no rows are left to validate on: all of them are of keys or groups that "
        f"occurred before; leave the key or group out{advice}$"
    )
    with pytest.raises(TableError, match=words):
        splitter.split(0)


def test_in_time_all_repeats_are_the_same() -> None:
    table = replace(distinct_rows(60), time=np.arange(60.0))
    one, other = (make_splits(table, Config(), 4, repeat) for repeat in (0, 1))
    np.testing.assert_array_equal(one.fold_ids(), other.fold_ids())


@pytest.mark.parametrize("n_times", [1, 2])
@pytest.mark.parametrize("n_folds", [1, 4])
def test_too_few_different_times_are_an_error(n_times: int, n_folds: int) -> None:
    words = (
        f"^{n_times} different times are too few, or too unevenly filled, to train, validate and test one after "
        "another$"
    )
    with pytest.raises(TableError, match=words):
        make_splits(replace(distinct_rows(60), time=np.arange(60.0) % n_times), Config(), n_folds)


@pytest.mark.parametrize(
    ("counts", "n_expected"),
    [
        ((30, 10, 10, 10), 2),
        ((50, 10), None),
        ((59, 1), None),
        ((10, 50), None),
        ((20, 20, 20), 1),
        ((1, 57, 1, 1), None),
    ],
)
def test_where_most_times_are_equal_there_are_fewer_folds_or_none(
    counts: tuple[int, ...], n_expected: int | None
) -> None:
    time = np.repeat(np.arange(len(counts)), counts).astype(np.float64)
    table = replace(distinct_rows(60), time=time)
    if n_expected is None:
        with pytest.raises(TableError, match=rf"^{len(counts)} different times are too few"):
            make_splits(table, Config(), 4)
        return
    splitter = make_splits(table, Config(), 4)
    assert splitter.n_folds == n_expected
    for fold in range(n_expected):
        assert len(splitter.split(fold).test)

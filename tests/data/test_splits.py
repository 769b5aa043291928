"""Which rows train, validate and test, in one split and in folds (for those in time see test_splits_in_time.py)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from random import Random
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort import Config, Schema, Split, Table, TableError
from tabcohort.data.encoder import no_codes
from tabcohort.data.splits import (
    COHORT_SIZES,
    SingleSplit,
    Splitter,
    StratifiedFolds,
    TimeFolds,
    cohort_size,
    dependent_groups,
    make_splits,
    merge_duplicates,
    row_hashes,
    starts_of_blocks,
    train_validation_test_split,
)
from tabcohort.errors import TrainingError
from tabcohort.types import FloatArray, IntArray

FEW = hypothesis_settings(max_examples=60, deadline=None)
PARTS = ("train", "validation", "test")


class Case(NamedTuple):
    """A table, and a config with a seed and fractions."""

    table: Table
    config: Config


def table_of_arrays(
    X: FloatArray,
    y: IntArray,
    weight: FloatArray | None = None,
    group_ids: IntArray | None = None,
    time: FloatArray | None = None,
) -> Table:
    """Return a table of arrays without any check; all weights are 1 when omitted."""
    schema = Schema(tuple(f"x{i}" for i in range(X.shape[1])), "target", ("a", "b", "c", "d"), None)
    return Table(X, no_codes(len(y)), y, np.ones(len(y)) if weight is None else weight, schema, group_ids, time)


def distinct_rows(n_rows: int, n_classes: int = 2, seed: int = 0) -> Table:
    """Return a table without equal rows, whose classes take turns."""
    X = np.random.default_rng(seed).normal(size=(n_rows, 3))
    return table_of_arrays(X, np.arange(n_rows) % n_classes)


def take_rows(table: Table, rows: IntArray) -> Table:
    """Return the table of some rows, in this order."""
    group_ids, time = (None if array is None else array[rows] for array in (table.group_ids, table.time))
    return table_of_arrays(table.X[rows], table.y[rows], table.weight[rows], group_ids, time)


def repeated_by_weight(table: Table) -> tuple[Table, IntArray]:
    """Return the table with a row of weight 1 for each unit of weight, and which row of the table each is."""
    rows = np.repeat(np.arange(len(table.y)), table.weight.astype(np.int64))
    return replace(take_rows(table, rows), weight=np.ones(len(rows))), rows


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Small tables of whole numbers, so that many rows are equal, with weights of 1 to 3."""
    n_rows, n_classes = draw(st.integers(8, 80)), draw(st.integers(2, 4))
    n_values, seed = draw(st.sampled_from([3, 6, 100])), draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    validation, test = draw(st.floats(0.05, 0.4)), draw(st.floats(0.05, 0.4))
    table = table_of_arrays(
        rng.integers(-n_values, n_values, size=(n_rows, 2)).astype(np.float64),
        rng.integers(n_classes, size=n_rows),
        rng.integers(1, 4, size=n_rows).astype(np.float64),
    )
    return Case(table, Config(seed=seed, validation_fraction=validation, test_fraction=test))


@st.composite
def grouped_cases(draw: st.DrawFn) -> Case:
    """Tables whose rows are in groups: few rows in each, and equal rows in several groups."""
    table, config = draw(cases())
    n_groups = draw(st.integers(3, len(table.y)))
    group_ids = np.random.default_rng(config.seed).integers(n_groups, size=len(table.y))
    return Case(replace(table, group_ids=group_ids), config)


def split_or_discard(case: Case) -> Split:
    try:
        return train_validation_test_split(*case)
    except TableError:  # too few different rows, which another test is about
        assume(False)
        raise


def splits_or_discard(case: Case, n_folds: int, repeat: int = 0) -> Splitter:
    try:
        return make_splits(*case, n_folds, repeat)
    except TableError:
        assume(False)
        raise


def parts_of(split: Split) -> tuple[IntArray, IntArray, IntArray]:
    return split.train, split.validation, split.test


def part_of_rows(split: Split, n_rows: int) -> IntArray:
    """Return 0, 1 or 2 for each row that trains, validates or tests, and -1 for the others."""
    part = np.full(n_rows, -1)
    for code, rows in enumerate(parts_of(split)):
        part[rows] = code
    return part


def assert_same_rows(split: Split, other: Split, table: Table, shuffled: IntArray) -> None:
    """Compare the split of a table with that of the table with its rows shuffled: the same rows in one order."""
    for ours, theirs in zip(parts_of(split), parts_of(other), strict=True):
        for values in (table.X, table.y, table.weight):
            np.testing.assert_array_equal(values[ours], values[shuffled[theirs]])


def assert_equal_splits(split: Split, other: Split) -> None:
    for ours, theirs in zip(parts_of(split), parts_of(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def blocks_of(table: Table) -> IntArray:
    """Return the block of each row, `(n_rows,)`: equal rows, and rows of one group, are in one block."""
    block = np.unique(table.X, axis=0, return_inverse=True)[1].ravel()
    while table.group_ids is not None:
        before = block.copy()
        for ids in (table.group_ids, block.copy()):
            for number in np.unique(ids):
                block[ids == number] = block[ids == number].min()
        if (before == block).all():
            break
    return block


def class_and_weight(table: Table, block: IntArray) -> tuple[dict[int, int], dict[int, float]]:
    """Return the class of the greatest weight in each block, the first of equally heavy ones, and its weight."""
    classes, weights = {}, {}
    for number in np.unique(block).tolist():
        inside = block == number
        by_class = np.bincount(table.y[inside], table.weight[inside])
        classes[number], weights[number] = int(by_class.argmax()), float(by_class.sum())
    return classes, weights


# -- Split -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "validation", "test"), [([0, 1], [1, 2], [3]), ([0, 1], [2], [0]), ([0], [1, 2], [2]), ([0, 0], [1], [2])]
)
def test_a_row_may_be_in_one_part_only(train: list[int], validation: list[int], test: list[int]) -> None:
    words = r"^train, validation and test rows must be disjoint; some row is in two of them$"
    with pytest.raises(TrainingError, match=words):
        Split(np.array(train), np.array(validation), np.array(test))


def test_a_row_counted_from_the_end_is_an_error_because_it_may_be_in_another_part_too() -> None:
    with pytest.raises(TrainingError, match=r"^rows are counted from 0; a negative row number would be another name"):
        Split(np.array([0, 1, 2]), np.array([-1]), np.array([], dtype=np.int64))


@pytest.mark.parametrize(("n_train", "n_validation"), [(0, 2), (2, 0)])
def test_training_needs_train_rows_and_validation_rows(n_train: int, n_validation: int) -> None:
    words = f"^training needs train rows and validation rows; there are {n_train} and {n_validation}$"
    with pytest.raises(TrainingError, match=words):
        Split(np.arange(n_train), np.arange(10, 10 + n_validation), np.array([99]))


def test_the_parts_may_be_plain_lists_of_whole_numbers_and_nothing_else() -> None:
    split = Split([0, 1], [2], [])  # type: ignore[arg-type]
    assert split.train.tolist() == [0, 1]
    assert {rows.dtype for rows in parts_of(split)} == {np.dtype(np.int64)}
    with pytest.raises(
        TrainingError, match=r"^the validation rows must be a list of row numbers; they are float64 of shape \(\d,\)$"
    ):
        Split([0, 1], [2.0], [])  # type: ignore[arg-type]
    with pytest.raises(
        TrainingError, match=r"^the train rows must be a list of row numbers; they are bool of shape \(\d,\)$"
    ):
        Split([True, False], [2], [])  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=r"^the test rows must be a list of row numbers"):
        Split([0, 1], [2], [[3]])  # type: ignore[arg-type]


# -- one split -------------------------------------------------------------------------------------------------------


@given(cases())
@FEW
def test_every_row_is_in_one_part_and_no_part_is_empty(case: Case) -> None:
    split = split_or_discard(case)
    everyone = np.concatenate(parts_of(split))
    np.testing.assert_array_equal(np.sort(everyone), np.arange(len(case.table.y)))
    assert min(map(len, parts_of(split))) > 0


@given(cases())
@FEW
def test_equal_rows_are_in_one_part_whatever_their_class(case: Case) -> None:
    part = part_of_rows(split_or_discard(case), len(case.table.y))
    value = np.unique(case.table.X, axis=0, return_inverse=True)[1].ravel()
    for number in range(value.max() + 1):
        assert len(set(part[value == number])) == 1


@given(cases(), st.randoms(use_true_random=False))
@FEW
def test_the_split_does_not_depend_on_the_order_of_the_rows(case: Case, random: Random) -> None:
    split = split_or_discard(case)
    shuffled = np.random.default_rng(random.getrandbits(32)).permutation(len(case.table.y))
    other = train_validation_test_split(take_rows(case.table, shuffled), case.config)
    assert_same_rows(split, other, case.table, shuffled)


@given(cases())
@FEW
def test_a_row_of_weight_two_splits_like_two_rows(case: Case) -> None:
    split = split_or_discard(case)
    table, rows = repeated_by_weight(case.table)
    other = train_validation_test_split(table, case.config)
    np.testing.assert_array_equal(part_of_rows(split, len(case.table.y))[rows], part_of_rows(other, len(rows)))


@given(st.integers(30, 400), st.integers(2, 5), st.floats(0.05, 0.45), st.floats(0.05, 0.45), st.integers(0, 99))
@FEW
def test_each_class_gives_each_part_its_share(
    n_rows: int, n_classes: int, validation: float, test: float, seed: int
) -> None:
    table = distinct_rows(n_rows, n_classes, seed)
    config = Config(seed=seed, validation_fraction=validation, test_fraction=test)
    split = train_validation_test_split(table, config)
    for code in range(n_classes):
        n_class = (table.y == code).sum()
        assert abs((table.y[split.test] == code).sum() - test * n_class) <= 1
        assert abs((table.y[split.validation] == code).sum() - validation * n_class) <= 1


def test_another_seed_gives_another_split_and_the_same_seed_the_same() -> None:
    table = distinct_rows(60)
    first, again, other = (train_validation_test_split(table, Config(seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.train, again.train)
    assert set(first.train) != set(other.train)


def test_negative_zero_is_the_same_value_as_zero() -> None:
    hashes = row_hashes(table_of_arrays(np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 2.0]]), np.zeros(3)), seed=3)
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_order_of_columns_matters_to_a_hash() -> None:
    hashes = row_hashes(table_of_arrays(np.array([[1.0, 2.0], [2.0, 1.0]]), np.zeros(2)), seed=3)
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize(("validation", "test"), [(0.01, 0.01), (0.55, 0.4), (0.4, 0.55), (0.9, 0.05), (0.05, 0.9)])
@pytest.mark.parametrize("n_rows", [3, 4])
def test_a_class_of_three_rows_or_more_is_in_each_part_however_small_or_large_its_share(
    n_rows: int, validation: float, test: float
) -> None:
    table = distinct_rows(2 * n_rows)
    split = train_validation_test_split(table, Config(validation_fraction=validation, test_fraction=test))
    for rows in parts_of(split):
        assert set(table.y[rows]) == {0, 1}


def test_two_classes_of_two_rows_train_validate_and_test() -> None:
    table = distinct_rows(4)
    split = train_validation_test_split(table, Config())
    assert sorted(table.y[split.train]) == [0, 1]
    assert (len(split.validation), len(split.test)) == (1, 1)


def test_a_class_of_one_row_only_trains() -> None:
    table = replace(distinct_rows(21), y=(np.arange(21) == 7).astype(np.int64))
    assert 7 in train_validation_test_split(table, Config()).train


@pytest.mark.parametrize("y", [[0, 0, 1], [0, 1], [0, 0, 1, 2]])
def test_too_few_different_rows_for_three_parts_are_an_error(y: list[int]) -> None:
    words = rf"^{len(y)} different rows \(or groups\) are too few to train, validate and test on separate ones"
    with pytest.raises(TableError, match=words):
        train_validation_test_split(replace(distinct_rows(len(y)), y=np.array(y)), Config())


# -- one split of groups ---------------------------------------------------------------------------------------------


@given(grouped_cases())
@FEW
def test_rows_of_one_group_are_in_one_part_and_so_are_equal_rows(case: Case) -> None:
    table = case.table
    part = part_of_rows(split_or_discard(case), len(table.y))
    assert (part >= 0).all()
    value = np.unique(table.X, axis=0, return_inverse=True)[1].ravel()
    for ids in (table.group_ids, value):
        for number in np.unique(ids):
            assert len(set(part[ids == number])) == 1


def test_rows_that_equal_values_and_groups_connect_indirectly_are_in_one_part() -> None:
    table, group_ids = distinct_rows(60), np.arange(60)
    group_ids[1] = group_ids[0]
    table.numbers[2] = table.numbers[1]
    group_ids[3] = group_ids[2]
    grouped = replace(table, group_ids=group_ids)
    for seed in range(20):
        part = part_of_rows(train_validation_test_split(grouped, Config(seed=seed)), 60)
        assert len(set(part[:4])) == 1
    alone = [part_of_rows(train_validation_test_split(table, Config(seed=seed)), 60)[:4] for seed in range(20)]
    assert any(len(set(part)) > 1 for part in alone)


@given(grouped_cases(), st.randoms(use_true_random=False))
@FEW
def test_the_split_by_group_depends_neither_on_the_order_of_the_rows_nor_on_the_codes_of_the_groups(
    case: Case, random: Random
) -> None:
    split, table = split_or_discard(case), case.table
    rng = np.random.default_rng(random.getrandbits(32))
    shuffled, renamed = rng.permutation(len(table.y)), rng.permutation(table.group_ids.max() + 1)
    moved = take_rows(replace(table, group_ids=renamed[table.group_ids]), shuffled)
    assert_same_rows(split, train_validation_test_split(moved, case.config), table, shuffled)


def test_a_group_for_every_row_changes_no_part() -> None:
    table = distinct_rows(60)
    grouped = replace(table, group_ids=np.arange(60))
    assert_equal_splits(train_validation_test_split(grouped, Config()), train_validation_test_split(table, Config()))


def test_two_groups_are_too_few_for_three_parts() -> None:
    with pytest.raises(TableError, match=r"^2 different rows \(or groups\) are too few"):
        train_validation_test_split(replace(distinct_rows(60), group_ids=np.arange(60) // 30), Config())


# -- folds -----------------------------------------------------------------------------------------------------------


@st.composite
def cases_of_folds(draw: st.DrawFn) -> tuple[Case, int]:
    """Tables, whose rows are in groups or not, and a number of folds."""
    table, config = draw(cases())
    n_groups = draw(st.one_of(st.none(), st.integers(5, len(table.y) + 5)))
    if n_groups is not None:
        rng = np.random.default_rng(config.seed + 1)
        table = replace(table, group_ids=rng.integers(n_groups, size=len(table.y)))
    return Case(table, config), draw(st.integers(3, 12))


@pytest.mark.parametrize(
    ("n_folds", "has_times", "kind"),
    [(1, False, SingleSplit), (3, False, StratifiedFolds), (1, True, TimeFolds), (3, True, TimeFolds)],
)
def test_the_splitter_is_that_of_the_number_of_folds_and_of_times(
    n_folds: int, has_times: bool, kind: type[Splitter]
) -> None:
    table = replace(distinct_rows(60), time=np.arange(60.0) if has_times else None)
    splitter = make_splits(table, Config(), n_folds)
    assert type(splitter) is kind
    assert splitter.n_folds == n_folds


@given(cases_of_folds())
@FEW
def test_every_row_tests_in_one_fold_but_those_of_a_class_with_nothing_else(example: tuple[Case, int]) -> None:
    (table, config), n_folds = example
    splitter = splits_or_discard(Case(table, config), n_folds)
    n_tests = np.zeros(len(table.y), dtype=np.int64)
    for fold in range(splitter.n_folds):
        split = splitter.split(fold)  # which refuses a row in two parts
        everyone = np.concatenate(parts_of(split))
        np.testing.assert_array_equal(np.sort(everyone), np.arange(len(table.y)))
        n_tests[split.test] += 1
        np.testing.assert_array_equal(np.sort(split.test), np.flatnonzero(splitter.fold_ids() == fold))
    block = blocks_of(table)
    classes, _ = class_and_weight(table, block)
    alone = [number for number, code in classes.items() if list(classes.values()).count(code) == 1]
    np.testing.assert_array_equal(n_tests, np.where(np.isin(block, alone), 0, 1))
    np.testing.assert_array_equal(splitter.fold_ids() == -1, np.isin(block, alone))


@given(cases_of_folds())
@FEW
def test_equal_rows_and_rows_of_one_group_are_in_one_part_of_every_split(example: tuple[Case, int]) -> None:
    case, n_folds = example
    splitter, block = splits_or_discard(case, n_folds), blocks_of(case.table)
    for fold in range(splitter.n_folds):
        part = part_of_rows(splitter.split(fold), len(case.table.y))
        for number in np.unique(block):
            assert len(set(part[block == number])) == 1


@given(cases_of_folds())
@FEW
def test_folds_have_as_much_of_each_class_as_any_other_to_within_a_block(example: tuple[Case, int]) -> None:
    case, n_folds = example
    splitter = splits_or_discard(case, n_folds)
    block, fold_ids = blocks_of(case.table), splitter.fold_ids()
    classes, weights = class_and_weight(case.table, block)
    n_blocks, weight = np.zeros((splitter.n_folds, 4)), np.zeros((splitter.n_folds, 4))
    for number, code in classes.items():
        fold = int(fold_ids[block == number][0])
        if fold >= 0:
            n_blocks[fold, code] += 1
            weight[fold, code] += weights[number]
    assert np.ptp(n_blocks, axis=0).max() <= 1
    assert np.ptp(n_blocks.sum(axis=1)) <= 1
    for code in range(4):
        heaviest = max((weights[number] for number in classes if classes[number] == code), default=0.0)
        assert np.ptp(weight[:, code]) <= heaviest


@given(cases_of_folds(), st.integers(0, 2**32))
@FEW
def test_the_folds_do_not_depend_on_the_order_of_the_rows(example: tuple[Case, int], order_seed: int) -> None:
    (table, config), n_folds = example
    shuffled = np.random.default_rng(order_seed).permutation(len(table.y))
    one = splits_or_discard(Case(table, config), n_folds, repeat=1)
    other = make_splits(take_rows(table, shuffled), config, n_folds, repeat=1)
    assert one.n_folds == other.n_folds
    np.testing.assert_array_equal(one.fold_ids()[shuffled], other.fold_ids())
    for fold in range(one.n_folds):
        assert_same_rows(one.split(fold), other.split(fold), table, shuffled)


@given(cases_of_folds())
@FEW
def test_a_row_of_weight_two_is_in_the_folds_of_two_rows(example: tuple[Case, int]) -> None:
    (table, config), n_folds = example
    one = splits_or_discard(Case(table, config), n_folds)
    repeated, rows = repeated_by_weight(table)
    other = make_splits(repeated, config, n_folds)
    assert one.n_folds == other.n_folds
    for fold in range(one.n_folds):
        np.testing.assert_array_equal(
            part_of_rows(one.split(fold), len(table.y))[rows], part_of_rows(other.split(fold), len(rows))
        )


@pytest.mark.parametrize("weight", [np.ones(200), np.arange(1.0, 201.0)], ids=["equal weights", "all differ"])
def test_another_repeat_and_another_seed_give_other_folds_whatever_rows_weigh(weight: FloatArray) -> None:
    table = replace(distinct_rows(200), weight=weight)
    fold_ids = [make_splits(table, Config(seed=seed), 10, repeat).fold_ids() for seed in (0, 1) for repeat in (0, 1, 2)]
    np.testing.assert_array_equal(make_splits(table, Config(), 10).fold_ids(), fold_ids[0])
    for number, ours in enumerate(fold_ids):
        for others in fold_ids[:number]:
            together = np.mean(ours[:, None] == ours, where=others[:, None] == others)
            # Of two rows in one fold a tenth are together by chance, and each is with itself.
            assert together < 0.25


@given(st.integers(60, 300), st.integers(2, 4), st.integers(3, 10), st.floats(0.02, 0.5), st.integers(0, 99))
@FEW
def test_a_share_of_the_next_fold_validates_class_by_class(
    n_rows: int, n_classes: int, n_folds: int, fraction: float, seed: int
) -> None:
    table = distinct_rows(n_rows, n_classes, seed)
    splitter = make_splits(table, Config(seed=seed, validation_fraction=fraction), n_folds)
    share = min(1.0, fraction * n_folds)
    for fold in range(n_folds):
        validation, next_fold = splitter.split(fold).validation, splitter.split((fold + 1) % n_folds).test
        assert set(validation) <= set(next_fold)
        assert abs(len(validation) - share * len(next_fold)) < 1
        for code in range(n_classes):
            n_validation, n_next = ((table.y[rows] == code).sum() for rows in (validation, next_fold))
            assert abs(n_validation - share * n_next) < 1 + 1e-9


def test_a_table_with_fewer_different_rows_than_folds_has_as_many_folds_as_these() -> None:
    table = take_rows(distinct_rows(7), np.repeat(np.arange(7), 3))
    splitter = make_splits(table, Config(), 10)
    assert splitter.n_folds == 7
    assert all(len(splitter.split(fold).test) == 3 for fold in range(7))


def test_the_only_group_of_a_class_always_trains() -> None:
    y, group_ids = np.zeros(41, dtype=np.int64), np.arange(41)
    y[[7, 11]], group_ids[11] = 1, 7
    splitter = make_splits(replace(distinct_rows(41), y=y, group_ids=group_ids), Config(), 5)
    for fold in range(5):
        assert {7, 11} <= set(splitter.split(fold).train)
    assert splitter.fold_ids()[[7, 11]].tolist() == [-1, -1]


@pytest.mark.parametrize("y", [[0, 0, 1], [0, 1], [0, 0, 1, 2], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("n_folds", [1, 3, 10])
def test_too_few_different_rows_for_three_folds_are_an_error(y: list[int], n_folds: int) -> None:
    words = (
        rf"^{len(y)} different rows \(or groups\) are too few to train, validate and test on separate ones: at least "
        "one class needs three different rows, or two classes need two$"
    )
    with pytest.raises(TableError, match=words):
        make_splits(replace(distinct_rows(len(y)), y=np.array(y)), Config(), n_folds)


# -- no folds --------------------------------------------------------------------------------------------------------


def test_one_fold_is_a_single_split_whose_repeats_differ() -> None:
    table = distinct_rows(200)
    one, other = (make_splits(table, Config(), 1, repeat) for repeat in (0, 1))
    assert one.n_folds == 1
    assert_equal_splits(one.split(0), train_validation_test_split(table, Config()))
    assert set(one.split(0).test) != set(other.split(0).test)


@given(cases_of_folds())
@FEW
def test_the_ids_of_a_single_split_keep_equal_rows_and_rows_of_one_group_together(example: tuple[Case, int]) -> None:
    case, _ = example
    fold_ids, block = splits_or_discard(case, 1).fold_ids(), blocks_of(case.table)
    sizes = np.bincount([fold_ids[block == number][0] for number in np.unique(block)])
    assert np.ptp(sizes) <= 1
    assert len(sizes) <= 5
    for number in np.unique(block):
        assert len(set(fold_ids[block == number])) == 1


# -- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_rows", "expected"),
    [
        (10, (10, 5)),
        (250, (10, 5)),
        (251, (8, 3)),
        (2_500, (8, 3)),
        (2_501, (8, 2)),
        (25_000, (8, 2)),
        (25_001, (5, 2)),
        (100_000, (5, 2)),
        (100_001, (5, 1)),
        (10**9, (5, 1)),
    ],
)
def test_folds_and_seeds_follow_the_table_of_sizes(n_rows: int, expected: tuple[int, int]) -> None:
    assert cohort_size(n_rows) == expected
    assert cohort_size(n_rows, in_time=True) == (4, expected[1])
    assert cohort_size(n_rows, n_folds=1) == (1, expected[1])
    assert cohort_size(n_rows, n_folds=6, in_time=True) == (6, expected[1])
    assert cohort_size(n_rows, n_seeds=7) == (expected[0], 7)


def test_more_rows_never_have_more_members() -> None:
    n_members = [folds * seeds for _, folds, seeds in COHORT_SIZES]
    assert n_members == sorted(n_members, reverse=True)


# -- duplicates ------------------------------------------------------------------------------------------------------


def test_merged_rows_are_different_and_keep_the_total_weight() -> None:
    X = np.array([[1.0], [1.0], [2.0], [1.0], [2.0]])
    y = np.array([0, 0, 1, 1, 1])
    weight = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    rows, merged = merge_duplicates(table_of_arrays(X, y, weight), np.array([0, 1, 3, 2, 4]))
    np.testing.assert_array_equal(rows, [0, 3, 2])
    np.testing.assert_array_equal(merged, [3.0, 8.0, 20.0])


@given(cases())
@FEW
def test_merging_leaves_no_row_twice_and_no_weight_behind(case: Case) -> None:
    table, train = case.table, split_or_discard(case).train
    merged, weight = merge_duplicates(table, train)
    labelled = np.column_stack([table.X, table.y])
    assert len(np.unique(labelled[merged], axis=0)) == len(merged) == len(np.unique(labelled[train], axis=0))
    for row, total in zip(merged, weight, strict=True):
        assert total == table.weight[train][(labelled[train] == labelled[row]).all(axis=1)].sum()


@pytest.mark.parametrize("rows_per_slice", [1, 3, 1_000])
def test_a_row_differs_from_the_one_before_it_by_any_cell_that_is_not_missing_from_both(
    rows_per_slice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabcohort.data.encoder.ROWS_PER_SLICE", rows_per_slice)
    rng = np.random.default_rng(0)
    cells = rng.integers(2, size=(60, 4))
    y, group_ids, rows = rng.integers(2, size=60), rng.integers(3, size=60), rng.permutation(60)
    table = replace(table_of_arrays(np.where(cells[:, :2] == 1, np.nan, 7.0), y), codes=cells[:, 2:].astype(np.int32))
    pairs = list(itertools.pairwise(rows))
    other_inputs = np.array([True, *((cells[row] != cells[last]).any() for last, row in pairs)])
    other_group = np.array([True, *(group_ids[row] != group_ids[last] for last, row in pairs)])
    other_class = np.array([False, *(y[row] != y[last] for last, row in pairs)])
    np.testing.assert_array_equal(starts_of_blocks(table, rows), other_inputs)
    grouped = replace(table, group_ids=group_ids)
    np.testing.assert_array_equal(starts_of_blocks(grouped, rows), other_inputs & other_group)
    np.testing.assert_array_equal(merge_duplicates(table, rows)[0], rows[other_inputs | other_class])


# -- groups of dependent rows ----------------------------------------------------------------------------------------


def numbers_table(
    X: FloatArray, y: IntArray | None = None, group_ids: IntArray | None = None, labels: tuple[str, str] = ("a", "b")
) -> Table:
    """Return a table of numbers whose classes take turns when omitted."""
    y = np.arange(len(X)) % 2 if y is None else y
    return Table.from_arrays(X, np.array(labels)[y], group_ids=group_ids)


def test_rows_that_differ_have_the_groups_of_their_table() -> None:
    X = np.random.default_rng(0).normal(size=(30, 3))
    assert dependent_groups(numbers_table(X)) is None
    group_ids = np.arange(30) // 3
    assert dependent_groups(numbers_table(X, group_ids=group_ids)) is group_ids
    same_inputs = np.vstack([X, X])
    assert dependent_groups(numbers_table(same_inputs, np.repeat([0, 1], 30))) is None  # of the other class


def test_copies_of_a_row_are_one_group_and_also_in_the_groups_of_their_table() -> None:
    X, y = np.random.default_rng(0).normal(size=(30, 3)), np.arange(30) % 2
    X[4, 1] = np.nan  # missing cells are equal
    copies = np.tile(np.arange(30), 3)
    groups = dependent_groups(numbers_table(X[copies], y[copies]))
    assert groups is not None
    np.testing.assert_array_equal(groups[:, None] == groups, copies[:, None] == copies)
    pairs = np.arange(90) // 2  # of rows side by side
    joined = dependent_groups(numbers_table(X[copies], y[copies], pairs))
    assert joined is not None
    assert len(np.unique(joined)) == 15
    assert (joined[copies == 7] == joined[7]).all()
    assert joined[6] == joined[7]


def test_equal_rows_of_levels_and_small_numbers_are_other_cases() -> None:
    X = np.random.default_rng(0).integers(3, size=(200, 2)).astype(np.float64)
    assert dependent_groups(numbers_table(X)) is None


@pytest.mark.parametrize(("values", "is_measured"), [([0, 0, 1, 1], False), ([0, 0, 1, 2], True)])
def test_a_measurement_has_a_value_of_its_own_for_more_than_half_of_the_different_rows(
    values: list[int], is_measured: bool
) -> None:
    """In one column; another one that has but few does not matter."""
    different = np.column_stack([[0.0, 1.0, 0.0, 1.0], values])
    groups = dependent_groups(table_of_arrays(np.repeat(different, 3, axis=0), np.zeros(12, dtype=np.int64)))
    assert (groups is not None) == is_measured


def test_the_only_row_of_a_class_always_trains() -> None:
    y = np.append(np.arange(90) % 2, 2)
    table = table_of_arrays(np.random.default_rng(0).normal(size=(91, 2)), y)
    splits = make_splits(table, Config(validation_fraction=0.5), 3)
    assert all(90 in splits.split(fold).train for fold in range(3))

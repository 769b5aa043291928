"""Split: which rows train, stop and score, of one split, of folds and of folds in time."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort.data import splits
from tabcohort.data.splits import COHORT_SIZES, Split, Splitter, cohort_size, make_splits, merge_duplicates, row_hashes
from tabcohort.data.splits import train_validation_test_split as split
from tabcohort.errors import TableError, TrainingError
from tabcohort.settings import Config
from tabcohort.types import FloatArray, IntArray

FEW = hypothesis_settings(max_examples=60, deadline=None)


class Rows(NamedTuple):
    X: FloatArray
    y: IntArray
    weight: FloatArray
    config: Config


@st.composite
def tables(draw: st.DrawFn) -> Rows:
    """Small tables of whole numbers, so that many rows are equal, with weights of 1 to 3."""
    n_rows, n_classes = draw(st.integers(8, 80)), draw(st.integers(2, 4))
    n_values, seed = draw(st.sampled_from([3, 6, 100])), draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    stop, score = draw(st.floats(0.05, 0.4)), draw(st.floats(0.05, 0.4))
    return Rows(
        rng.integers(-n_values, n_values, size=(n_rows, 2)).astype(np.float64),
        rng.integers(n_classes, size=n_rows),
        rng.integers(1, 4, size=n_rows).astype(np.float64),
        Config(seed=seed, validation_fraction=stop, test_fraction=score),
    )


def roles_or_discard(rows: Rows) -> Split:
    try:
        return split(*rows)
    except TableError:  # too few different rows: of this the test of the error speaks
        assume(False)
        raise


def role_of_each(roles: Split, n_rows: int) -> IntArray:
    role = np.full(n_rows, -1)
    for code, rows in enumerate((split.train, split.validation, split.test)):
        role[rows] = code
    return role


def assert_same_rows(roles: Split, other: Split, rows: Rows, shuffled: IntArray) -> None:
    """Compare the roles of a table's rows with those in a table where they are shuffled: the same rows in one order."""
    for name in ("train", "stop", "score"):
        ours, theirs = getattr(roles, name), shuffled[getattr(other, name)]
        for values in (rows.X, rows.y, rows.weight):
            np.testing.assert_array_equal(values[ours], values[theirs])


def distinct_table(n_rows: int, n_classes: int, seed: int = 0) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, 3)), np.arange(n_rows) % n_classes


# Split


@pytest.mark.parametrize(
    ("train", "stop", "score"), [([0, 1], [1, 2], [3]), ([0, 1], [2], [0]), ([0], [1, 2], [2]), ([0, 0], [1], [2])]
)
def test_a_row_may_have_one_role_only(train: list[int], stop: list[int], score: list[int]) -> None:
    with pytest.raises(TrainingError, match="a row may have one role only: train, stop and score share rows"):
        Split(np.array(train), np.array(stop), np.array(score))


def test_a_row_counted_from_the_end_is_an_error_because_it_may_have_another_role_too() -> None:
    with pytest.raises(TrainingError, match="negative"):
        Split(np.array([0, 1, 2]), np.array([-1]), np.array([], dtype=np.int64))


@pytest.mark.parametrize(("n_train", "n_validation"), [(0, 2), (2, 0)])
def test_training_needs_rows_that_train_and_rows_that_stop(n_train: int, n_validation: int) -> None:
    with pytest.raises(
        TrainingError, match=f"rows that train and rows that stop; there are {n_train} and {n_validation}"
    ):
        Split(np.arange(n_train), np.arange(10, 10 + n_validation), np.array([99]))


@given(tables())
@FEW
def test_every_row_has_one_role_and_no_role_is_empty(rows: Rows) -> None:
    roles = roles_or_discard(rows)
    everyone = np.concatenate([split.train, split.validation, split.test])
    np.testing.assert_array_equal(np.sort(everyone), np.arange(len(rows.y)))
    assert min(len(split.train), len(split.validation), len(split.test)) > 0


@given(tables())
@FEW
def test_equal_rows_have_the_same_role_whatever_their_class(rows: Rows) -> None:
    role = role_of_each(roles_or_discard(rows), len(rows.y))
    _, group = np.unique(rows.X, axis=0, return_inverse=True)
    for number in range(group.max() + 1):
        assert len(set(role[group == number])) == 1


@given(tables(), st.randoms(use_true_random=False))
@FEW
def test_the_split_does_not_depend_on_the_order_of_the_rows(rows: Rows, random: object) -> None:
    roles = roles_or_discard(rows)
    shuffled = np.random.default_rng(random.getrandbits(32)).permutation(len(rows.y))  # type: ignore[attr-defined]
    other = split(rows.X[shuffled], rows.y[shuffled], rows.weight[shuffled], rows.settings)
    assert_same_rows(roles, other, rows, shuffled)


@given(tables())
@FEW
def test_a_row_of_weight_two_splits_like_two_rows(rows: Rows) -> None:
    roles = roles_or_discard(rows)
    times = rows.weight.astype(np.int64)
    repeated = np.repeat(np.arange(len(rows.y)), times)
    other = split(rows.X[repeated], rows.y[repeated], np.ones(len(repeated)), rows.settings)
    np.testing.assert_array_equal(
        role_of_each(roles, len(rows.y))[repeated], role_of_each(other, len(repeated))
    )  # fmt: skip


@given(st.integers(30, 400), st.integers(2, 5), st.floats(0.05, 0.45), st.floats(0.05, 0.45), st.integers(0, 99))
@FEW
def test_each_class_gives_each_role_its_share(n: int, n_classes: int, stop: float, score: float, seed: int) -> None:
    X, y = distinct_table(n, n_classes, seed)
    roles = split(X, y, np.ones(n), Config(seed=seed, validation_fraction=stop, test_fraction=score))
    for code in range(n_classes):
        n_class = (y == code).sum()
        assert abs((y[split.test] == code).sum() - score * n_class) <= 1
        assert abs((y[split.validation] == code).sum() - stop * n_class) <= 1


def test_another_seed_gives_another_split_and_the_same_seed_the_same() -> None:
    X, y = distinct_table(60, 2)
    first, again, other = (split(X, y, np.ones(60), Config(seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.train, again.train)
    assert set(first.train) != set(other.train)


def test_negative_zero_is_the_same_value_as_zero() -> None:
    hashes = row_hashes(np.array([[0.0, 1.0], [-0.0, 1.0], [0.0, 2.0]]), seed=3)
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_order_of_columns_matters_to_a_hash() -> None:
    hashes = row_hashes(np.array([[1.0, 2.0], [2.0, 1.0]]), seed=3)
    assert hashes[0] != hashes[1]


def test_two_classes_of_two_rows_train_stop_and_score() -> None:
    X, y = distinct_table(4, 2)
    roles = split(X, y, np.ones(4), Config())
    assert sorted(y[split.train]) == [0, 1]
    assert (len(split.validation), len(split.test)) == (1, 1)


def test_a_class_of_one_row_only_trains() -> None:
    X, y = distinct_table(21, 2)
    y[:] = 0
    y[7] = 1
    assert 7 in split(X, y, np.ones(21), Config()).train


@pytest.mark.parametrize("y", [[0, 0, 1], [0, 1], [0, 0, 1, 2]])
def test_too_few_different_rows_for_three_roles_is_an_error(y: list[int]) -> None:
    n = len(y)
    with pytest.raises(
        TableError, match=rf"^{n} different rows \(or keys\) are too few to train, stop and score on separate ones"
    ):
        split(distinct_table(n, 2)[0], np.array(y), np.ones(n), Config())


# Keys


@st.composite
def keyed_tables(draw: st.DrawFn) -> tuple[Rows, IntArray]:
    """Tables whose rows have keys: few rows of each, and equal rows under several keys."""
    rows = draw(tables())
    n_keys = draw(st.integers(3, len(rows.y)))
    return rows, np.random.default_rng(rows.settings.seed).integers(n_keys, size=len(rows.y))


@given(keyed_tables())
@FEW
def test_rows_of_one_key_have_the_same_role_and_so_have_equal_rows(keyed: tuple[Rows, IntArray]) -> None:
    rows, key = keyed
    try:
        roles = split(*rows, key)
    except TableError:
        assume(False)
        raise
    role = role_of_each(roles, len(rows.y))
    assert (role >= 0).all()
    _, value = np.unique(rows.X, axis=0, return_inverse=True)
    for group in (key, value):
        for number in np.unique(group):
            assert len(set(role[group == number])) == 1


def test_rows_that_equal_values_and_keys_tie_together_indirectly_have_one_role() -> None:
    X, y = distinct_table(60, 2)
    key = np.arange(60)
    key[1] = key[0]
    X[2] = X[1]
    key[3] = key[2]
    for seed in range(20):
        role = role_of_each(split(X, y, np.ones(60), Config(seed=seed), key), 60)
        assert len(set(role[:4])) == 1
    alone = [role_of_each(split(X, y, np.ones(60), Config(seed=seed)), 60)[:4] for seed in range(20)]
    assert any(len(set(role)) > 1 for role in alone)


@given(keyed_tables(), st.randoms(use_true_random=False))
@FEW
def test_the_split_by_key_depends_neither_on_the_order_of_the_rows_nor_on_the_codes_of_the_keys(
    keyed: tuple[Rows, IntArray], random: object
) -> None:
    rows, key = keyed
    try:
        roles = split(*rows, key)
    except TableError:
        assume(False)
        raise
    draw = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    shuffled, renamed = draw.permutation(len(rows.y)), draw.permutation(key.max() + 1)
    moved = Rows(rows.X[shuffled], rows.y[shuffled], rows.weight[shuffled], rows.settings)
    assert_same_rows(roles, split(*moved, renamed[key[shuffled]]), rows, shuffled)


def test_families_are_what_any_codes_tie_however_indirectly() -> None:
    first, second = np.array([5, 5, 2, 0, 7]), np.array([9, 1, 1, 4, 9])  # codes with gaps
    np.testing.assert_array_equal(splits.connected_groups(first), [2, 2, 1, 0, 3])
    tied = splits.connected_groups(first, second)
    assert sorted(set(tied)) == [0, 1]
    assert len(set(tied[[0, 1, 2, 4]])) == 1
    third = np.array([0, 1, 2, 2, 3])
    assert set(splits.connected_groups(first, second, third)) == {0}


def test_a_key_for_every_row_changes_no_role() -> None:
    X, y = distinct_table(60, 2)
    keyed, plain = split(X, y, np.ones(60), Config(), np.arange(60)), split(X, y, np.ones(60), Config())
    for name in ("train", "stop", "score"):
        np.testing.assert_array_equal(getattr(keyed, name), getattr(plain, name))


def test_two_keys_are_too_few_for_three_roles() -> None:
    X, y = distinct_table(60, 2)
    with pytest.raises(TableError, match=r"^2 different rows \(or keys\) are too few"):
        split(X, y, np.ones(60), Config(), np.arange(60) // 30)


def test_roles_may_be_plain_lists_of_whole_numbers_and_nothing_else() -> None:
    roles = Split([0, 1], [2], [])  # type: ignore[arg-type]
    assert split.train.tolist() == [0, 1]
    assert {rows.dtype for rows in (split.train, split.validation, split.test)} == {np.dtype(np.int64)}
    with pytest.raises(TrainingError, match="the role 'stop' must be a list of row numbers; it holds float64"):
        Split([0, 1], [2.0], [])  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="the role 'train' must be a list of row numbers; it holds bool"):
        Split([True, False], [2], [])  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="the role 'score' must be a list of row numbers"):
        Split([0, 1], [2], [[3]])  # type: ignore[arg-type]


# StratifiedFolds


@st.composite
def tables_to_divide(draw: st.DrawFn) -> tuple[Rows, IntArray | None, int]:
    """Tables, whose rows are of keys or not, and a number of folds."""
    rows = draw(tables())
    n_keys = draw(st.one_of(st.none(), st.integers(5, len(rows.y) + 5)))
    key = None if n_keys is None else np.random.default_rng(rows.settings.seed + 1).integers(n_keys, size=len(rows.y))
    return rows, key, draw(st.integers(3, 12))


def divide_or_discard(rows: Rows, n_folds: int, **how: object) -> Splitter:
    try:
        return make_splits(*rows, n_folds, **how)  # type: ignore[arg-type]
    except TableError:
        assume(False)
        raise


def connected_groups(rows: Rows, key: IntArray | None) -> IntArray:
    """Return the family of each row, `(n_rows,)`: equal rows, and rows of one key, are of one family."""
    _, family = np.unique(rows.X, axis=0, return_inverse=True)
    family = family.ravel()
    while key is not None:
        before = family.copy()
        for group in (key, family.copy()):
            for number in np.unique(group):
                family[group == number] = family[group == number].min()
        if (before == family).all():
            break
    return family


def class_and_weight(rows: Rows, family: IntArray) -> tuple[dict[int, int], dict[int, float]]:
    """Return the class of the greatest weight in each family, the first of equally heavy ones, and its weight."""
    classes, weights = {}, {}
    for number in np.unique(family).tolist():
        of_family = family == number
        mass = np.bincount(rows.y[of_family], rows.weight[of_family])
        classes[number], weights[number] = int(mass.argmax()), float(mass.sum())
    return classes, weights


@given(tables_to_divide())
@FEW
def test_every_row_scores_in_one_fold_but_those_of_a_class_with_nothing_else(
    table: tuple[Rows, IntArray | None, int],
) -> None:
    rows, key, n_folds = table
    division = divide_or_discard(rows, n_folds, key=key)
    times_scored = np.zeros(len(rows.y), dtype=np.int64)
    for fold in range(division.n_folds):
        roles = division.split(fold)  # which refuses a row with two roles
        everyone = np.concatenate([split.train, split.validation, split.test])
        np.testing.assert_array_equal(np.sort(everyone), np.arange(len(rows.y)))
        times_scored[split.test] += 1
        np.testing.assert_array_equal(np.sort(split.test), np.flatnonzero(division.fold_ids() == fold))
    family = connected_groups(rows, key)
    classes, _ = class_and_weight(rows, family)
    alone = [number for number, code in classes.items() if list(classes.values()).count(code) == 1]
    np.testing.assert_array_equal(times_scored, np.where(np.isin(family, alone), 0, 1))
    np.testing.assert_array_equal(division.fold_ids() == -1, np.isin(family, alone))


@given(tables_to_divide())
@FEW
def test_equal_rows_and_rows_of_one_key_have_one_role_for_every_member(
    table: tuple[Rows, IntArray | None, int],
) -> None:
    rows, key, n_folds = table
    division = divide_or_discard(rows, n_folds, key=key)
    family = connected_groups(rows, key)
    for fold in range(division.n_folds):
        role = role_of_each(division.split(fold), len(rows.y))
        for number in np.unique(family):
            assert len(set(role[family == number])) == 1


@given(tables_to_divide())
@FEW
def test_folds_have_as_much_of_each_class_as_any_other_to_within_a_group(
    table: tuple[Rows, IntArray | None, int],
) -> None:
    rows, key, n_folds = table
    division = divide_or_discard(rows, n_folds, key=key)
    family, part = connected_groups(rows, key), division.fold_ids()
    classes, weights = class_and_weight(rows, family)
    fold_of = {number: int(part[family == number][0]) for number in classes}
    counts = np.zeros((division.n_folds, 4))
    mass = np.zeros((division.n_folds, 4))
    for number, fold in fold_of.items():
        if fold >= 0:
            counts[fold, classes[number]] += 1
            mass[fold, classes[number]] += weights[number]
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1
    for code in range(4):
        heaviest = max((weights[number] for number in classes if classes[number] == code), default=0.0)
        assert np.ptp(mass[:, code]) <= heaviest


@given(tables_to_divide(), st.integers(0, 2**32))
@FEW
def test_the_folds_do_not_depend_on_the_order_of_the_rows(
    table: tuple[Rows, IntArray | None, int], order_seed: int
) -> None:
    rows, key, n_folds = table
    shuffled = np.random.default_rng(order_seed).permutation(len(rows.y))
    moved = Rows(rows.X[shuffled], rows.y[shuffled], rows.weight[shuffled], rows.settings)
    one = divide_or_discard(rows, n_folds, key=key, repeat=1)
    other = make_splits(*moved, n_folds, key=None if key is None else key[shuffled], repeat=1)
    assert one.n_folds == other.n_folds
    np.testing.assert_array_equal(one.fold_ids()[shuffled], other.fold_ids())
    for fold in range(one.n_folds):
        assert_same_rows(one.split(fold), other.split(fold), rows, shuffled)


@given(tables_to_divide())
@FEW
def test_a_row_of_weight_two_is_divided_like_two_rows(table: tuple[Rows, IntArray | None, int]) -> None:
    rows, key, n_folds = table
    repeated = np.repeat(np.arange(len(rows.y)), rows.weight.astype(np.int64))
    alike = Rows(rows.X[repeated], rows.y[repeated], np.ones(len(repeated)), rows.settings)
    one = divide_or_discard(rows, n_folds, key=key)
    other = make_splits(*alike, n_folds, key=None if key is None else key[repeated])
    assert one.n_folds == other.n_folds
    for fold in range(one.n_folds):
        np.testing.assert_array_equal(
            role_of_each(one.split(fold), len(rows.y))[repeated], role_of_each(other.split(fold), len(repeated))
        )


@pytest.mark.parametrize("weight", [np.ones(200), np.arange(1.0, 201.0)], ids=["equal weights", "all differ"])
def test_another_repeat_and_another_seed_divide_otherwise_whatever_rows_weigh(weight: FloatArray) -> None:
    X, y = distinct_table(200, 2)
    divisions = [make_splits(X, y, weight, Config(seed=seed), 10, repeat) for seed in (0, 1) for repeat in (0, 1, 2)]
    again = make_splits(X, y, weight, Config(), 10)
    np.testing.assert_array_equal(again.fold_ids(), divisions[0].fold_ids())
    for i, one in enumerate(divisions):
        for other in divisions[:i]:
            together = np.mean(
                one.fold_ids()[:, None] == one.fold_ids(), where=other.fold_ids()[:, None] == other.fold_ids()
            )
            # Of two rows in one fold a tenth are together by chance, and each is with itself.
            assert together < 0.25


@given(st.integers(60, 300), st.integers(2, 4), st.integers(3, 10), st.floats(0.02, 0.5), st.integers(0, 99))
@FEW
def test_a_share_of_the_next_fold_stops_class_by_class(
    n_rows: int, n_classes: int, n_folds: int, stop: float, seed: int
) -> None:
    X, y = distinct_table(n_rows, n_classes, seed)
    settings = Config(seed=seed, validation_fraction=stop)
    division = make_splits(X, y, np.ones(n_rows), settings, n_folds)
    share = min(1.0, stop * n_folds)
    for fold in range(n_folds):
        roles, next_fold = division.split(fold), division.split((fold + 1) % n_folds).score
        assert set(split.validation) <= set(next_fold)
        assert abs(len(split.validation) - share * len(next_fold)) < 1
        for code in range(n_classes):
            assert abs((y[split.validation] == code).sum() - share * (y[next_fold] == code).sum()) < 1 + 1e-9


def test_a_table_with_fewer_different_rows_than_folds_has_as_many_folds_as_these() -> None:
    X, y = distinct_table(7, 2)
    division = make_splits(np.repeat(X, 3, axis=0), np.repeat(y, 3), np.ones(21), Config(), 10)
    assert division.n_folds == 7
    assert all(len(division.split(fold).score) == 3 for fold in range(7))


def test_the_only_key_of_a_class_always_trains() -> None:
    X, y = distinct_table(41, 2)
    y[:] = 0
    y[[7, 11]] = 1
    key = np.arange(41)
    key[11] = 7
    division = make_splits(X, y, np.ones(41), Config(), 5, key=key)
    for fold in range(5):
        assert {7, 11} <= set(division.split(fold).train)
    assert division.fold_ids()[[7, 11]].tolist() == [-1, -1]


@pytest.mark.parametrize("y", [[0, 0, 1], [0, 1], [0, 0, 1, 2], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("n_folds", [1, 3, 10])
def test_too_few_different_rows_for_three_folds_is_an_error(y: list[int], n_folds: int) -> None:
    words = rf"^{len(y)} different rows \(or keys\) are too few to train, stop and score on separate ones: at least one"
    with pytest.raises(TableError, match=words):
        make_splits(distinct_table(len(y), 2)[0], np.array(y), np.ones(len(y)), Config(), n_folds)


def test_one_fold_is_a_single_split_whose_repeats_differ() -> None:
    X, y = distinct_table(200, 2)
    one, other = (make_splits(X, y, np.ones(200), Config(), 1, repeat) for repeat in (0, 1))
    assert one.n_folds == 1
    expected = split(X, y, np.ones(200), Config())
    for name in ("train", "stop", "score"):
        np.testing.assert_array_equal(getattr(one.split(0), name), getattr(expected, name))
    assert set(one.split(0).score) != set(other.split(0).score)


@given(tables_to_divide())
@FEW
def test_the_parts_of_a_single_split_keep_equal_rows_and_rows_of_one_key_together(
    table: tuple[Rows, IntArray | None, int],
) -> None:
    rows, key, _ = table
    part, family = divide_or_discard(rows, 1, key=key).fold_ids(), connected_groups(rows, key)
    sizes = np.bincount([part[family == number][0] for number in np.unique(family)])
    assert np.ptp(sizes) <= 1
    assert len(sizes) <= 5
    for number in np.unique(family):
        assert len(set(part[family == number])) == 1


# StratifiedFolds in time


@st.composite
def tables_in_time(draw: st.DrawFn) -> tuple[Rows, FloatArray, int]:
    """Tables whose rows have times, many of them equal or few, and a number of folds."""
    rows = draw(tables())
    n_times = draw(st.sampled_from([3, 10, 1000]))
    time = np.random.default_rng(rows.settings.seed + 2).integers(n_times, size=len(rows.y)).astype(np.float64)
    return rows, time, draw(st.sampled_from([1, 3, 4, 7]))


@given(tables_in_time())
@FEW
def test_in_time_rows_that_stop_and_score_are_later_than_all_that_train(
    table: tuple[Rows, FloatArray, int],
) -> None:
    rows, time, n_folds = table
    division = divide_or_discard(rows, n_folds, time=time)
    assert 1 <= division.n_folds <= n_folds
    times_scored = np.zeros(len(time), dtype=np.int64)
    for fold in range(division.n_folds):
        roles = division.split(fold)
        assert time[split.train].max() < time[split.validation].min()
        assert time[split.validation].max() < time[split.test].min()
        known = np.sort(np.concatenate([split.train, split.validation, split.test]))
        np.testing.assert_array_equal(known, np.flatnonzero(time <= time[split.test].max()))
        times_scored[split.test] += 1
    np.testing.assert_array_equal(times_scored, time > time[division.split(0).stop].max())
    part = division.fold_ids()
    np.testing.assert_array_equal(part >= 2, times_scored == 1)
    for fold in range(division.n_folds):
        np.testing.assert_array_equal(np.sort(division.split(fold).score), np.flatnonzero(part == fold + 2))


def test_in_time_the_earlier_half_only_trains_and_each_fold_is_a_tenth() -> None:
    X, y = distinct_table(1000, 2)
    time = np.random.default_rng(0).permutation(1000).astype(np.float64)
    division = make_splits(X, y, np.ones(1000), Config(), 4, time=time)
    sizes = [
        [len(each) for each in (split.train, split.validation, split.test)] for roles in map(division.roles, range(4))
    ]
    assert sizes == [[500, 100, 100], [600, 100, 100], [700, 100, 100], [800, 100, 100]]


def test_one_fold_in_time_has_the_shares_of_the_settings() -> None:
    X, y = distinct_table(1000, 2)
    settings = Config(validation_fraction=0.1, test_fraction=0.25)
    roles = make_splits(X, y, np.ones(1000), settings, 1, time=np.arange(1000.0)).split(0)
    np.testing.assert_array_equal(np.sort(split.train), np.arange(650))
    np.testing.assert_array_equal(np.sort(split.validation), np.arange(650, 750))
    np.testing.assert_array_equal(np.sort(split.test), np.arange(750, 1000))


@given(tables_in_time(), st.integers(0, 2**32))
@FEW
def test_in_time_neither_the_order_of_the_rows_matters_nor_whether_a_row_is_there_twice_or_weighs_two(
    table: tuple[Rows, FloatArray, int], order_seed: int
) -> None:
    rows, time, n_folds = table
    division = divide_or_discard(rows, n_folds, time=time)
    shuffled = np.random.default_rng(order_seed).permutation(len(time))
    moved = Rows(rows.X[shuffled], rows.y[shuffled], rows.weight[shuffled], rows.settings)
    other = make_splits(*moved, n_folds, time=time[shuffled])
    np.testing.assert_array_equal(division.fold_ids()[shuffled], other.fold_ids())
    for fold in range(division.n_folds):
        assert_same_rows(division.split(fold), other.split(fold), rows, shuffled)
    repeated = np.repeat(np.arange(len(time)), rows.weight.astype(np.int64))
    alike = Rows(rows.X[repeated], rows.y[repeated], np.ones(len(repeated)), rows.settings)
    np.testing.assert_array_equal(
        division.fold_ids()[repeated], make_splits(*alike, n_folds, time=time[repeated]).fold_ids()
    )


@given(tables_in_time(), st.integers(2, 60))
@FEW
def test_in_time_keys_that_trained_neither_stop_nor_score(table: tuple[Rows, FloatArray, int], n_keys: int) -> None:
    rows, time, n_folds = table
    key = np.random.default_rng(rows.settings.seed + 3).integers(n_keys, size=len(time))
    plain = divide_or_discard(rows, n_folds, time=time)
    keyed = make_splits(*rows, n_folds, key=key, time=time)
    for fold in range(plain.n_folds):
        before = plain.split(fold)
        of_training = np.isin(key, key[before.train])
        stop = before.stop[~of_training[before.stop]]
        if not len(stop):
            with pytest.raises(TableError, match="in time nothing is left to stop on"):
                keyed.split(fold)
            continue
        roles = keyed.split(fold)
        np.testing.assert_array_equal(split.train, before.train)
        np.testing.assert_array_equal(split.validation, stop)
        of_stopping = np.isin(key, key[stop])
        np.testing.assert_array_equal(split.test, before.score[~(of_training | of_stopping)[before.score]])


def test_in_time_all_repeats_are_the_same() -> None:
    X, y = distinct_table(60, 2)
    one, other = (make_splits(X, y, np.ones(60), Config(), 4, repeat, time=np.arange(60.0)) for repeat in (0, 1))
    np.testing.assert_array_equal(one.fold_ids(), other.fold_ids())


@pytest.mark.parametrize("n_times", [1, 2])
@pytest.mark.parametrize("n_folds", [1, 4])
def test_too_few_different_times_are_an_error(n_times: int, n_folds: int) -> None:
    X, y = distinct_table(60, 2)
    words = (
        f"^{n_times} different times are too few, or too unevenly filled, to train, stop and score one after another$"
    )
    with pytest.raises(TableError, match=words):
        make_splits(X, y, np.ones(60), Config(), n_folds, time=np.arange(60.0) % n_times)


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
    X, y = distinct_table(60, 2)
    time = np.repeat(np.arange(len(counts)), counts).astype(np.float64)
    if n_expected is None:
        with pytest.raises(TableError, match=rf"^{len(counts)} different times are too few"):
            make_splits(X, y, np.ones(60), Config(), 4, time=time)
        return
    division = make_splits(X, y, np.ones(60), Config(), 4, time=time)
    assert division.n_folds == n_expected
    for fold in range(n_expected):
        assert len(division.split(fold).score)


# Sizes


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
    members = [folds * seeds for _, folds, seeds in COHORT_SIZES]
    assert members == sorted(members, reverse=True)


# Merging


def test_merged_rows_are_different_and_keep_the_total_weight() -> None:
    X = np.array([[1.0], [1.0], [2.0], [1.0], [2.0]])
    y = np.array([0, 0, 1, 1, 1])
    weight = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    rows, merged = merge_duplicates(X, y, weight, np.array([0, 1, 3, 2, 4]))
    np.testing.assert_array_equal(rows, [0, 3, 2])
    np.testing.assert_array_equal(merged, [3.0, 8.0, 20.0])


@given(tables())
@FEW
def test_merging_leaves_no_row_twice_and_no_weight_behind(rows: Rows) -> None:
    train = roles_or_discard(rows).train
    merged, weight = merge_duplicates(rows.X, rows.y, rows.weight, train)
    labelled = np.column_stack([rows.X, rows.y])
    assert len(np.unique(labelled[merged], axis=0)) == len(merged) == len(np.unique(labelled[train], axis=0))
    for row, total in zip(merged, weight, strict=True):
        assert total == rows.weight[train][(labelled[train] == labelled[row]).all(axis=1)].sum()


def test_a_fold_in_time_without_rows_to_stop_on_is_named() -> None:
    X = np.random.default_rng(0).normal(size=(60, 2))
    key = np.arange(60) % 20  # all of them are there before the first fold
    division = make_splits(X, np.arange(60) % 2, np.ones(60), Config(), 3, key=key, time=np.arange(60.0))
    with pytest.raises(TableError, match="in fold 1 of 3 in time nothing is left to stop on: all of its rows are of"):
        division.split(0)

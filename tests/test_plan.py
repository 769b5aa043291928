"""Plans: which row has which role, and what each epoch of each member will see."""

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from tabcohort.errors import TableError, TrainingError
from tabcohort.plan import ROWS_DRAWN_AT_A_TIME, EpochPlan, MemberPlan, Purpose, generator, rows_of_a_step
from tabcohort.prepare import FloatArray, IntArray
from tabcohort.roles import Roles, merge_equal_rows, row_hashes
from tabcohort.roles import split_roles as split
from tabcohort.settings import Settings

FEW = hypothesis_settings(max_examples=60, deadline=None)


class Rows(NamedTuple):
    X: FloatArray
    y: IntArray
    weight: FloatArray
    settings: Settings


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
        Settings(seed=seed, stop_fraction=stop, score_fraction=score),
    )


def roles_or_discard(rows: Rows) -> Roles:
    try:
        return split(*rows)
    except TableError:  # too few different rows: of this the test of the error speaks
        assume(False)
        raise


def role_of_each(roles: Roles, n_rows: int) -> IntArray:
    role = np.full(n_rows, -1)
    for code, rows in enumerate((roles.train, roles.stop, roles.score)):
        role[rows] = code
    return role


def distinct_table(n_rows: int, n_classes: int, seed: int = 0) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, 3)), np.arange(n_rows) % n_classes


def member_plan(n_rows: int = 40, batch_size: int = 8, needs_pairs: bool = False, **changes: float) -> MemberPlan:
    values = {"mixup_alpha": 0.0, "mixup_probability": 0.5, "seed": 0, "member": 0, **changes}
    return MemberPlan(n_rows, batch_size, needs_pairs=needs_pairs, **values)  # type: ignore[arg-type]


# Draws


def test_a_draw_depends_on_its_place_alone() -> None:
    generator(1, Purpose.SHUFFLE).random(100)
    again = generator(1, Purpose.SHUFFLE, 2, 3).random(5)
    np.testing.assert_array_equal(again, generator(1, Purpose.SHUFFLE, 2, 3).random(5))


def test_every_place_of_a_run_has_draws_of_its_own() -> None:
    places = [
        (seed, purpose, member, place)
        for seed in (0, 1, 2**63 - 1)
        for purpose in Purpose
        for member in (0, 1)
        for place in (0, 1, 2, 3)
    ]
    draws = np.concatenate([generator(*place).integers(2**63, size=4) for place in places])
    assert len(np.unique(draws)) == 4 * len(places)


# Roles


@pytest.mark.parametrize(
    ("train", "stop", "score"), [([0, 1], [1, 2], [3]), ([0, 1], [2], [0]), ([0], [1, 2], [2]), ([0, 0], [1], [2])]
)
def test_a_row_may_have_one_role_only(train: list[int], stop: list[int], score: list[int]) -> None:
    with pytest.raises(TrainingError, match="a row may have one role only: train, stop and score share rows"):
        Roles(np.array(train), np.array(stop), np.array(score))


def test_a_row_counted_from_the_end_is_an_error_because_it_may_have_another_role_too() -> None:
    with pytest.raises(TrainingError, match="negative"):
        Roles(np.array([0, 1, 2]), np.array([-1]), np.array([], dtype=np.int64))


@pytest.mark.parametrize(("n_train", "n_stop"), [(0, 2), (2, 0)])
def test_training_needs_rows_that_train_and_rows_that_stop(n_train: int, n_stop: int) -> None:
    with pytest.raises(TrainingError, match=f"rows that train and rows that stop; there are {n_train} and {n_stop}"):
        Roles(np.arange(n_train), np.arange(10, 10 + n_stop), np.array([99]))


@given(tables())
@FEW
def test_every_row_has_one_role_and_no_role_is_empty(rows: Rows) -> None:
    roles = roles_or_discard(rows)
    everyone = np.concatenate([roles.train, roles.stop, roles.score])
    np.testing.assert_array_equal(np.sort(everyone), np.arange(len(rows.y)))
    assert min(len(roles.train), len(roles.stop), len(roles.score)) > 0


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
    X, y = rows.X[shuffled], rows.y[shuffled]
    other = split(X, y, rows.weight[shuffled], rows.settings)
    for name in ("train", "stop", "score"):  # the same rows, in the same order
        np.testing.assert_array_equal(rows.X[getattr(roles, name)], X[getattr(other, name)])
        np.testing.assert_array_equal(rows.y[getattr(roles, name)], y[getattr(other, name)])


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
    roles = split(X, y, np.ones(n), Settings(seed=seed, stop_fraction=stop, score_fraction=score))
    for code in range(n_classes):
        n_class = (y == code).sum()
        assert abs((y[roles.score] == code).sum() - score * n_class) <= 1
        assert abs((y[roles.stop] == code).sum() - stop * n_class) <= 1


def test_another_seed_gives_another_split_and_the_same_seed_the_same() -> None:
    X, y = distinct_table(60, 2)
    first, again, other = (split(X, y, np.ones(60), Settings(seed=seed)) for seed in (0, 0, 1))
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
    roles = split(X, y, np.ones(4), Settings())
    assert sorted(y[roles.train]) == [0, 1]
    assert (len(roles.stop), len(roles.score)) == (1, 1)


def test_a_class_of_one_row_only_trains() -> None:
    X, y = distinct_table(21, 2)
    y[:] = 0
    y[7] = 1
    assert 7 in split(X, y, np.ones(21), Settings()).train


@pytest.mark.parametrize("y", [[0, 0, 1], [0, 1], [0, 0, 1, 2]])
def test_too_few_different_rows_for_three_roles_is_an_error(y: list[int]) -> None:
    n = len(y)
    with pytest.raises(
        TableError, match=rf"^{n} different rows \(or keys\) are too few to train, stop and score on separate ones"
    ):
        split(distinct_table(n, 2)[0], np.array(y), np.ones(n), Settings())


# Merging


def test_merged_rows_are_different_and_keep_the_total_weight() -> None:
    X = np.array([[1.0], [1.0], [2.0], [1.0], [2.0]])
    y = np.array([0, 0, 1, 1, 1])
    weight = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    rows, merged = merge_equal_rows(X, y, weight, np.array([0, 1, 3, 2, 4]))
    np.testing.assert_array_equal(rows, [0, 3, 2])
    np.testing.assert_array_equal(merged, [3.0, 8.0, 20.0])


@given(tables())
@FEW
def test_merging_leaves_no_row_twice_and_no_weight_behind(rows: Rows) -> None:
    train = roles_or_discard(rows).train
    merged, weight = merge_equal_rows(rows.X, rows.y, rows.weight, train)
    labelled = np.column_stack([rows.X, rows.y])
    assert len(np.unique(labelled[merged], axis=0)) == len(merged) == len(np.unique(labelled[train], axis=0))
    for row, total in zip(merged, weight, strict=True):
        assert total == rows.weight[train][(labelled[train] == labelled[row]).all(axis=1)].sum()


# Batches


@pytest.mark.parametrize("batch_size", [2, 3, 5, 16, 32, 33, 64, 199])
def test_with_batch_norm_every_row_is_used_once_and_no_batch_has_one_row(batch_size: int) -> None:
    for n_rows in range(2, 201):
        plan = member_plan(n_rows, batch_size, needs_pairs=True).epoch(1)
        sizes = np.diff(plan.bounds)
        np.testing.assert_array_equal(np.sort(plan.order), np.arange(n_rows))
        assert (plan.bounds[0], plan.bounds[-1]) == (0, n_rows)
        assert 2 <= sizes.min() <= sizes.max() <= batch_size + 1
        assert plan.n_steps == len(sizes) == len(plan.layer_keys)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 16, 32])
def test_without_batch_norm_the_short_batch_is_used(batch_size: int) -> None:
    for n_rows in range(1, 101):
        sizes = np.diff(member_plan(n_rows, batch_size).epoch(1).bounds)
        whole, rest = divmod(n_rows, batch_size)
        assert sizes.tolist() == [batch_size] * whole + [rest] * (rest > 0)


@pytest.mark.parametrize(("n_rows", "batch_size"), [(1, 32), (1, 1), (20, 1)])
def test_batch_norm_without_two_rows_in_a_step_is_an_error(n_rows: int, batch_size: int) -> None:
    words = f"needs two rows in a step; there are {n_rows} training rows in batches of {batch_size}: make batch_size"
    with pytest.raises(TrainingError, match=words):
        member_plan(n_rows, batch_size, needs_pairs=True)


@pytest.mark.parametrize(
    ("batch_size", "n_rows", "expected"),
    [
        ("full", 777, None),
        ("auto", 1, None),
        ("auto", 64, None),
        ("auto", 65, 32),
        ("auto", 5_000, 32),
        ("auto", 5_001, 128),
        ("auto", 20_000, 128),
        ("auto", 20_001, 256),
        (16, 20, 16),
        (16, 10, 16),
        (1, 10, 1),
    ],
)
def test_rows_of_a_step_follow_the_documented_table(batch_size: int | str, n_rows: int, expected: int | None) -> None:
    assert rows_of_a_step(Settings(batch_size=batch_size), n_rows) == expected


# Epochs


def assert_same_epoch(one: EpochPlan, other: EpochPlan) -> None:
    for each in dataclasses.fields(EpochPlan):
        np.testing.assert_array_equal(getattr(one, each.name), getattr(other, each.name), err_msg=each.name)


def test_epochs_may_be_asked_for_in_any_order() -> None:
    plan = member_plan(mixup_alpha=0.4)
    late_first = [plan.epoch(epoch) for epoch in (3, 1, 2)]
    for later, epoch in zip(late_first, (3, 1, 2), strict=True):
        assert later.epoch == epoch
        assert_same_epoch(later, member_plan(mixup_alpha=0.4).epoch(epoch))


@given(
    n_rows=st.integers(1, 12),
    batch_size=st.integers(1, 12),
    alpha=st.sampled_from([0.0, 0.4]),
    at_a_time=st.integers(1, 40),
    first=st.integers(1, 12),
)
@FEW
def test_an_epoch_is_the_same_wherever_the_iteration_began_and_whatever_block_it_is_drawn_with(
    n_rows: int, batch_size: int, alpha: float, at_a_time: int, first: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:  # blocks of a single epoch, and of several
        patch.setattr("tabcohort.plan.ROWS_DRAWN_AT_A_TIME", at_a_time)
        plan = member_plan(n_rows, batch_size, mixup_alpha=alpha)
        from_the_first, from_later = (list(itertools.islice(plan.epochs(start), 30)) for start in (1, first))
    assert [each.epoch for each in from_the_first] == list(range(1, 31))
    for one, other in zip(from_the_first[first - 1 :], from_later, strict=False):
        assert_same_epoch(one, other)


def test_epochs_on_both_sides_of_a_block_border_are_all_different() -> None:
    plan = member_plan(20, 8, mixup_alpha=0.4)
    border = ROWS_DRAWN_AT_A_TIME // 20
    epochs = list(itertools.islice(plan.epochs(border - 2), 6))
    assert [each.epoch for each in epochs] == list(range(border - 2, border + 4))
    for name in ("order", "mix", "partners", "layer_keys"):
        assert len({getattr(each, name).tobytes() for each in [*epochs, plan.epoch(1)]}) == 7, name


@given(
    n_rows=st.integers(1, 12),
    alpha=st.sampled_from([0.0, 0.4]),
    drawn_at_a_time=st.integers(1, 60),
    first=st.integers(1, 9),
    at_most=st.integers(1, 9),
)
@FEW
def test_epochs_that_come_some_at_a_time_are_those_that_come_one_by_one(
    n_rows: int, alpha: float, drawn_at_a_time: int, first: int, at_most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tabcohort.plan.ROWS_DRAWN_AT_A_TIME", drawn_at_a_time)
        plan = member_plan(n_rows, 4, mixup_alpha=alpha)
        one_by_one = list(itertools.islice(plan.epochs(first), 60))
        number = 0
        for epochs in itertools.islice(plan.blocks(first, at_most), 6):
            assert 1 <= len(epochs) <= at_most
            assert list(epochs.numbers) == list(range(first + number, first + number + len(epochs)))
            for place in range(len(epochs)):
                assert_same_epoch(epochs[place], one_by_one[number + place])
            number += len(epochs)


def test_some_of_the_epochs_are_those_epochs() -> None:
    epochs = next(member_plan(mixup_alpha=0.4).blocks(3, 6))
    part = epochs.part(2, 4)
    assert (len(epochs), len(part), list(part.numbers)) == (6, 2, [5, 6])
    for place in range(2):
        assert_same_epoch(part[place], epochs[2 + place])
    assert len(epochs.part(0, 100)) == 6


def test_a_table_of_more_rows_than_a_block_is_drawn_an_epoch_at_a_time() -> None:
    plan = member_plan(ROWS_DRAWN_AT_A_TIME + 1, 1024)
    epochs = list(itertools.islice(plan.epochs(1), 2))
    for each in epochs:
        np.testing.assert_array_equal(np.sort(each.order), np.arange(ROWS_DRAWN_AT_A_TIME + 1))
    assert (epochs[0].order != epochs[1].order).any()
    assert_same_epoch(epochs[1], plan.epoch(2))


def test_epochs_members_and_seeds_shuffle_differently() -> None:
    orders = {
        tuple(member_plan(seed=seed, member=member).epoch(epoch).order)
        for seed in (0, 1)
        for member in (0, 1)
        for epoch in (1, 2, 3)
    }
    assert len(orders) == 12


def test_a_single_step_needs_no_shuffle() -> None:
    np.testing.assert_array_equal(member_plan(20, 20).epoch(5).order, np.arange(20))


def test_a_shuffle_puts_every_row_everywhere_equally_often() -> None:
    n_epochs, n_rows = 2_000, 5
    orders = np.array([member_plan(n_rows, 1).epoch(epoch).order for epoch in range(1, n_epochs + 1)])
    counts = np.array([np.bincount(place, minlength=n_rows) for place in orders.T])
    assert np.abs(counts - n_epochs / n_rows).max() < 5 * np.sqrt(n_epochs / n_rows)


def test_steps_epochs_and_members_have_layer_keys_of_their_own() -> None:
    keys = [member_plan(100, 4, member=member).epoch(e).layer_keys for member in (0, 1) for e in range(1, 50)]
    assert len(np.unique(np.concatenate(keys))) == 2 * 49 * 25
    assert np.concatenate(keys).min() >= 0


# Mixup


def partners_of(epoch: EpochPlan, step: int) -> IntArray:
    return epoch.partners[epoch.bounds[step] : epoch.bounds[step + 1]]


def test_without_mixup_no_step_is_mixed() -> None:
    assert (member_plan(mixup_alpha=0.0, mixup_probability=1.0).epoch(1).mix == 1).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_weights_are_beta_distributed(alpha: float) -> None:
    mix = member_plan(4_000, 1, mixup_alpha=alpha, mixup_probability=1.0).epoch(1).mix
    assert stats.kstest(mix, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.8, 1.0])
def test_steps_are_mixed_with_the_given_probability(probability: float) -> None:
    n_steps = 10_000
    mixed = (member_plan(n_steps, 1, mixup_alpha=1.0, mixup_probability=probability).epoch(1).mix < 1).mean()
    assert abs(mixed - probability) <= 5 * np.sqrt(probability * (1 - probability) / n_steps)


def test_partners_are_a_permutation_of_the_batch_and_change_with_step_and_epoch() -> None:
    plan = member_plan(50, 16, mixup_alpha=1.0)
    for step, size in enumerate([16, 16, 16, 2]):
        np.testing.assert_array_equal(np.sort(partners_of(plan.epoch(1), step)), np.arange(size))
    drawn = {tuple(partners_of(plan.epoch(epoch), step)) for epoch in (1, 2) for step in (0, 1, 2)}
    assert len(drawn) == 6


@given(st.integers(2, 60), st.integers(2, 20), st.booleans())
@FEW
def test_partners_stay_inside_their_step_however_short_or_long_the_last_one_is(
    n_rows: int, batch_size: int, needs_pairs: bool
) -> None:
    epoch = member_plan(n_rows, batch_size, needs_pairs, mixup_alpha=1.0).epoch(3)
    assert epoch.partners.shape == (n_rows,)
    for step, size in enumerate(np.diff(epoch.bounds)):
        np.testing.assert_array_equal(np.sort(partners_of(epoch, step)), np.arange(size))


def test_every_place_of_a_step_is_every_other_places_partner_equally_often() -> None:
    n_epochs, plan = 3_000, member_plan(7, 4, mixup_alpha=1.0)
    drawn = np.array([each.partners for each in itertools.islice(plan.epochs(), n_epochs)])
    for first, size in ((0, 4), (4, 3)):
        counts = np.array([np.bincount(place, minlength=size) for place in drawn[:, first : first + size].T])
        assert np.abs(counts - n_epochs / size).max() < 5 * np.sqrt(n_epochs / size)


def test_without_mixup_nobody_has_a_partner() -> None:
    assert member_plan(mixup_alpha=0.0).epoch(1).partners.shape == (0,)


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
        role = role_of_each(split(X, y, np.ones(60), Settings(seed=seed), key), 60)
        assert len(set(role[:4])) == 1
    alone = [role_of_each(split(X, y, np.ones(60), Settings(seed=seed)), 60)[:4] for seed in range(20)]
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
    X, y = rows.X[shuffled], rows.y[shuffled]
    other = split(X, y, rows.weight[shuffled], rows.settings, renamed[key[shuffled]])
    for name in ("train", "stop", "score"):
        np.testing.assert_array_equal(rows.X[getattr(roles, name)], X[getattr(other, name)])
        np.testing.assert_array_equal(rows.y[getattr(roles, name)], y[getattr(other, name)])


def test_a_key_for_every_row_changes_no_role() -> None:
    X, y = distinct_table(60, 2)
    keyed, plain = split(X, y, np.ones(60), Settings(), np.arange(60)), split(X, y, np.ones(60), Settings())
    for name in ("train", "stop", "score"):
        np.testing.assert_array_equal(getattr(keyed, name), getattr(plain, name))


def test_two_keys_are_too_few_for_three_roles() -> None:
    X, y = distinct_table(60, 2)
    with pytest.raises(TableError, match=r"^2 different rows \(or keys\) are too few"):
        split(X, y, np.ones(60), Settings(), np.arange(60) // 30)


def test_roles_may_be_plain_lists_of_whole_numbers_and_nothing_else() -> None:
    roles = Roles([0, 1], [2], [])  # type: ignore[arg-type]
    assert roles.train.tolist() == [0, 1]
    assert {rows.dtype for rows in (roles.train, roles.stop, roles.score)} == {np.dtype(np.int64)}
    with pytest.raises(TrainingError, match="the role 'stop' must be a list of row numbers; it holds float64"):
        Roles([0, 1], [2.0], [])  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="the role 'train' must be a list of row numbers; it holds bool"):
        Roles([True, False], [2], [])  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="the role 'score' must be a list of row numbers"):
        Roles([0, 1], [2], [[3]])  # type: ignore[arg-type]

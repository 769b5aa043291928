"""Plans: what each epoch of each member will see."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from tabcohort.engines.batches import ROWS_DRAWN_AT_A_TIME, BatchPlan, EpochBatches, batch_size_of
from tabcohort.errors import TrainingError
from tabcohort.randomness import Purpose, make_rng
from tabcohort.settings import Config
from tabcohort.types import IntArray

FEW = hypothesis_settings(max_examples=60, deadline=None)


def member_plan(n_rows: int = 40, batch_size: int = 8, needs_pairs: bool = False, **changes: float) -> BatchPlan:
    values = {"mixup_alpha": 0.0, "mixup_probability": 0.5, "seed": 0, "member": 0, **changes}
    return BatchPlan(n_rows, batch_size, needs_pairs=needs_pairs, **values)  # type: ignore[arg-type]


# Draws


def test_a_draw_depends_on_its_place_alone() -> None:
    make_rng(1, Purpose.SHUFFLE).random(100)
    again = make_rng(1, Purpose.SHUFFLE, 2, 3).random(5)
    np.testing.assert_array_equal(again, make_rng(1, Purpose.SHUFFLE, 2, 3).random(5))


def test_every_place_of_a_run_has_draws_of_its_own() -> None:
    places = [
        (seed, purpose, member, place)
        for seed in (0, 1, 2**63 - 1)
        for purpose in Purpose
        for member in (0, 1)
        for place in (0, 1, 2, 3)
    ]
    draws = np.concatenate([make_rng(*place).integers(2**63, size=4) for place in places])
    assert len(np.unique(draws)) == 4 * len(places)


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
    assert batch_size_of(Config(batch_size=batch_size), n_rows) == expected


# EpochBlock


def assert_same_epoch(one: EpochBatches, other: EpochBatches) -> None:
    for each in dataclasses.fields(EpochBatches):
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
        patch.setattr("tabcohort.engines.batches.ROWS_DRAWN_AT_A_TIME", at_a_time)
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
        patch.setattr("tabcohort.engines.batches.ROWS_DRAWN_AT_A_TIME", drawn_at_a_time)
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


def partners_of(epoch: EpochBatches, step: int) -> IntArray:
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

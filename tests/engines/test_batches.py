"""Batches: which rows every step of every epoch of a member trains on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from tabcohort.engines import batches
from tabcohort.engines.batches import ROWS_PER_DRAW, Batches, BatchPlan, EpochBatches, EpochBlock, batch_size_of
from tabcohort.errors import TrainingError
from tabcohort.randomness import Purpose, make_rng
from tabcohort.settings import Config
from tabcohort.types import IntArray

FEW = hypothesis_settings(max_examples=60, deadline=None)


def plan_of(n_rows: int = 40, batch_size: int = 8, needs_pairs: bool = False, **changes: float) -> BatchPlan:
    values = {"mixup_alpha": 0.0, "mixup_probability": 0.5, "seed": 0, "member": 0, **changes}
    return BatchPlan(n_rows, batch_size, needs_pairs=needs_pairs, **values)  # type: ignore[arg-type]


def epoch_of(plan: BatchPlan, epoch: int) -> EpochBatches:
    return Batches(plan).epoch(epoch)


# Random streams


def test_random_numbers_depend_on_their_place_alone() -> None:
    make_rng(1, Purpose.SHUFFLE).random(100)
    again = make_rng(1, Purpose.SHUFFLE, 2, 3).random(5)
    np.testing.assert_array_equal(again, make_rng(1, Purpose.SHUFFLE, 2, 3).random(5))


def test_every_place_of_a_run_has_random_numbers_of_its_own() -> None:
    places = [
        (seed, purpose, member, place)
        for seed in (0, 1, 2**63 - 1)
        for purpose in Purpose
        for member in (0, 1)
        for place in (0, 1, 2, 3)
    ]
    numbers = np.concatenate([make_rng(*place).integers(2**63, size=4) for place in places])
    assert len(np.unique(numbers)) == 4 * len(places)


# Batches


@pytest.mark.parametrize("batch_size", [2, 3, 5, 16, 32, 33, 64, 199])
def test_with_batch_norm_every_row_is_used_once_and_no_batch_has_one_row(batch_size: int) -> None:
    for n_rows in range(2, 201):
        plan = plan_of(n_rows, batch_size, needs_pairs=True)
        epoch = epoch_of(plan, 1)
        sizes = np.diff(epoch.bounds)
        np.testing.assert_array_equal(np.sort(epoch.order), np.arange(n_rows))
        np.testing.assert_array_equal(epoch.bounds, plan.bounds)
        assert (epoch.bounds[0], epoch.bounds[-1]) == (0, n_rows)
        assert 2 <= sizes.min() <= sizes.max() <= batch_size + 1
        assert epoch.n_steps == len(sizes) == len(epoch.layer_keys)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 16, 32])
def test_without_batch_norm_the_short_batch_is_used(batch_size: int) -> None:
    for n_rows in range(1, 101):
        sizes = np.diff(epoch_of(plan_of(n_rows, batch_size), 1).bounds)
        whole, rest = divmod(n_rows, batch_size)
        assert sizes.tolist() == [batch_size] * whole + [rest] * (rest > 0)


@pytest.mark.parametrize(("n_rows", "batch_size"), [(1, 32), (1, 1), (20, 1)])
def test_batch_norm_without_two_rows_in_a_step_is_an_error(n_rows: int, batch_size: int) -> None:
    words = f"needs two rows in a step; there are {n_rows} training rows in batches of {batch_size}: make batch_size"
    with pytest.raises(TrainingError, match=words):
        plan_of(n_rows, batch_size, needs_pairs=True)


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
def test_the_batch_size_follows_the_documented_table(batch_size: int | str, n_rows: int, expected: int | None) -> None:
    assert batch_size_of(Config(batch_size=batch_size), n_rows) == expected


# Epochs


def assert_same_epoch(one: EpochBatches, other: EpochBatches) -> None:
    for field in dataclasses.fields(EpochBatches):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


def epochs_of(plan: BatchPlan, start: int, stop: int) -> list[EpochBatches]:
    """Return epochs one by one, the last excluded."""
    one_by_one = Batches(plan)
    return [one_by_one.epoch(epoch) for epoch in range(start, stop)]


def test_epochs_may_be_asked_for_in_any_order() -> None:
    in_any_order = Batches(plan_of(mixup_alpha=0.4))
    late_first = [in_any_order.epoch(epoch) for epoch in (3, 1, 2)]
    for later, epoch in zip(late_first, (3, 1, 2), strict=True):
        assert later.epoch == epoch
        assert_same_epoch(later, epoch_of(plan_of(mixup_alpha=0.4), epoch))


@given(
    n_rows=st.integers(1, 12),
    batch_size=st.integers(1, 12),
    alpha=st.sampled_from([0.0, 0.4]),
    rows_per_draw=st.integers(1, 40),
    first=st.integers(1, 12),
)
@FEW
def test_an_epoch_is_the_same_wherever_the_iteration_began_and_whatever_block_it_is_drawn_with(
    n_rows: int, batch_size: int, alpha: float, rows_per_draw: int, first: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:  # blocks of a single epoch, and of several
        patch.setattr(batches, "ROWS_PER_DRAW", rows_per_draw)
        plan = plan_of(n_rows, batch_size, mixup_alpha=alpha)
        from_the_first, from_later = (epochs_of(plan, start, 31) for start in (1, first))
    assert [epoch.epoch for epoch in from_the_first] == list(range(1, 31))
    for one, other in zip(from_the_first[first - 1 :], from_later, strict=True):
        assert_same_epoch(one, other)


def test_epochs_on_both_sides_of_a_block_border_are_all_different() -> None:
    plan = plan_of(20, 8, mixup_alpha=0.4)
    border = ROWS_PER_DRAW // 20
    epochs = epochs_of(plan, border - 2, border + 4)
    assert [epoch.epoch for epoch in epochs] == list(range(border - 2, border + 4))
    for name in ("order", "mix", "partners", "layer_keys"):
        assert len({getattr(epoch, name).tobytes() for epoch in [*epochs, epoch_of(plan, 1)]}) == 7, name


@given(
    n_rows=st.integers(1, 12),
    alpha=st.sampled_from([0.0, 0.4]),
    rows_per_draw=st.integers(1, 60),
    first=st.integers(1, 9),
    max_epochs=st.integers(1, 9),
)
@FEW
def test_epochs_of_a_block_are_those_that_come_one_by_one(
    n_rows: int, alpha: float, rows_per_draw: int, first: int, max_epochs: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "ROWS_PER_DRAW", rows_per_draw)
        plan = plan_of(n_rows, 4, mixup_alpha=alpha)
        one_by_one = epochs_of(plan, first, first + 60)
        in_blocks, number = Batches(plan), 0
        for _ in range(6):
            block = in_blocks.block(first + number, max_epochs)
            assert 1 <= len(block) <= max_epochs
            assert block.first == first + number
            for place in range(len(block)):
                assert_same_epoch(block[place], one_by_one[number + place])
            number += len(block)


def test_a_block_ends_where_the_epochs_that_are_drawn_together_end() -> None:
    plan = plan_of(20)
    border = ROWS_PER_DRAW // 20
    assert len(Batches(plan).block(border - 3, 32)) == 4
    assert len(Batches(plan).block(border + 1, 32)) == 32


def test_part_of_a_block_has_its_epochs() -> None:
    block = Batches(plan_of(mixup_alpha=0.4)).block(3, 6)
    part = block.part(2, 4)
    assert isinstance(part, EpochBlock)
    assert (len(block), len(part), part.first) == (6, 2, 5)
    assert [part[place].epoch for place in range(2)] == [5, 6]
    for place in range(2):
        assert_same_epoch(part[place], block[2 + place])
    assert len(block.part(0, 100)) == 6


def test_the_epochs_that_are_drawn_together_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []
    draw = BatchPlan.draw

    def recorded(plan: BatchPlan, number: int) -> EpochBlock:
        numbers.append(number)
        return draw(plan, number)

    monkeypatch.setattr(BatchPlan, "draw", recorded)
    epochs, border = Batches(plan_of(20)), ROWS_PER_DRAW // 20
    for epoch in (1, 2, border, border + 1, border + 2):
        epochs.epoch(epoch)
    assert numbers == [0, 1]


def test_a_table_of_more_rows_than_a_block_is_drawn_an_epoch_at_a_time() -> None:
    plan = plan_of(ROWS_PER_DRAW + 1, 1024)
    epochs = epochs_of(plan, 1, 3)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch.order), np.arange(ROWS_PER_DRAW + 1))
    assert (epochs[0].order != epochs[1].order).any()
    assert_same_epoch(epochs[1], epoch_of(plan, 2))
    assert len(Batches(plan).block(1, 5)) == 1


def test_rows_that_differ_between_epochs_are_those_of_the_epochs_of_a_block() -> None:
    class Numbered(BatchPlan):
        def _rows_of_epochs(self, first: int, n_epochs: int) -> IntArray:
            return np.tile(np.arange(first, first + n_epochs)[:, None], (1, self.n_rows))

    block = Numbered(20, 20, 0.0, 0.5, False, seed=0).draw(2)
    np.testing.assert_array_equal(block.orders[:, 0], block.first - 1 + np.arange(len(block)))


def test_epochs_members_and_seeds_shuffle_differently() -> None:
    orders = {
        tuple(epoch_of(plan_of(seed=seed, member=member), epoch).order)
        for seed in (0, 1)
        for member in (0, 1)
        for epoch in (1, 2, 3)
    }
    assert len(orders) == 12
    assert BatchPlan(40, 8, 0.0, 0.5, False, seed=0) == plan_of(member=0)


def test_a_single_step_needs_no_shuffle_and_two_do() -> None:
    np.testing.assert_array_equal(epoch_of(plan_of(20, 20), 5).order, np.arange(20))
    assert set(epoch_of(plan_of(20, 10), 5).order[:10]) != set(range(10))


def test_a_shuffle_puts_every_row_everywhere_equally_often() -> None:
    n_epochs, n_rows = 2_000, 5
    orders = np.array([epoch.order for epoch in epochs_of(plan_of(n_rows, 1), 1, n_epochs + 1)])
    counts = np.array([np.bincount(place, minlength=n_rows) for place in orders.T])
    assert np.abs(counts - n_epochs / n_rows).max() < 5 * np.sqrt(n_epochs / n_rows)


def test_steps_epochs_and_members_have_layer_keys_of_their_own() -> None:
    plans = [plan_of(100, 4, member=member) for member in (0, 1)]
    keys = [epoch.layer_keys for plan in plans for epoch in epochs_of(plan, 1, 50)]
    assert len(np.unique(np.concatenate(keys))) == 2 * 49 * 25
    assert np.concatenate(keys).min() >= 0


# Mixup


def partners_of(epoch: EpochBatches, step: int) -> IntArray:
    return epoch.partners[epoch.bounds[step] : epoch.bounds[step + 1]]


def test_without_mixup_no_step_is_mixed() -> None:
    assert (epoch_of(plan_of(mixup_alpha=0.0, mixup_probability=1.0), 1).mix == 1).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_weights_are_beta_distributed(alpha: float) -> None:
    mix = epoch_of(plan_of(4_000, 1, mixup_alpha=alpha, mixup_probability=1.0), 1).mix
    assert stats.kstest(mix, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.8, 1.0])
def test_steps_are_mixed_with_the_given_probability(probability: float) -> None:
    n_steps = 10_000
    epoch = epoch_of(plan_of(n_steps, 1, mixup_alpha=1.0, mixup_probability=probability), 1)
    mixed = (epoch.mix < 1).mean()
    assert abs(mixed - probability) <= 5 * np.sqrt(probability * (1 - probability) / n_steps)
    assert (epoch.mix[epoch.mix >= 1] == 1).all()


def test_partners_are_a_permutation_of_the_batch_and_change_with_step_and_epoch() -> None:
    first, second = epochs_of(plan_of(50, 16, mixup_alpha=1.0), 1, 3)
    for step, size in enumerate([16, 16, 16, 2]):
        np.testing.assert_array_equal(np.sort(partners_of(first, step)), np.arange(size))
    permutations = {tuple(partners_of(epoch, step)) for epoch in (first, second) for step in (0, 1, 2)}
    assert len(permutations) == 6


@given(st.integers(2, 60), st.integers(2, 20), st.booleans())
@FEW
def test_partners_stay_inside_their_step_however_short_or_long_the_last_one_is(
    n_rows: int, batch_size: int, needs_pairs: bool
) -> None:
    epoch = epoch_of(plan_of(n_rows, batch_size, needs_pairs, mixup_alpha=1.0), 3)
    assert epoch.partners.shape == (n_rows,)
    for step, size in enumerate(np.diff(epoch.bounds)):
        np.testing.assert_array_equal(np.sort(partners_of(epoch, step)), np.arange(size))


def test_every_place_of_a_step_is_every_other_places_partner_equally_often() -> None:
    n_epochs = 3_000
    partners = np.array([epoch.partners for epoch in epochs_of(plan_of(7, 4, mixup_alpha=1.0), 1, n_epochs + 1)])
    for first, size in ((0, 4), (4, 3)):
        counts = np.array([np.bincount(place, minlength=size) for place in partners[:, first : first + size].T])
        assert np.abs(counts - n_epochs / size).max() < 5 * np.sqrt(n_epochs / size)


def test_without_mixup_no_row_has_a_partner() -> None:
    assert epoch_of(plan_of(mixup_alpha=0.0), 1).partners.shape == (0,)

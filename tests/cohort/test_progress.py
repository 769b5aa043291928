"""How far a cohort is: of members whose epochs and losses are known, and in whole runs of them."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_training import Clock, FakeTraining, members_of, n_epochs_of, record_of, run_fake
from helpers import make_small_table

from tabcohort.cohort import runner
from tabcohort.cohort.members import MemberResult
from tabcohort.cohort.plan import Member, make_plan
from tabcohort.cohort.progress import ProgressTracker, RunProgress, expected_seconds
from tabcohort.cohort.runner import RunResult, run_members
from tabcohort.data.table import Table
from tabcohort.engines.compiled.jit import n_cores
from tabcohort.settings import CohortSettings, Config
from tabcohort.training.loop import EpochCallback, TrainingState

MEMBERS = members_of(2, cost=lambda config: 1.0 + config)


def after(losses: list[float], stop_reason: str | None = None) -> TrainingState:
    """Return the training of a member with these validation losses."""
    history = tuple(record_of(epoch, loss) for epoch, loss in enumerate(losses, 1))
    state = {"weight": np.zeros(3)}
    return TrainingState(history, 1 + int(np.argmin(losses)), state, stop_reason=stop_reason, engine_state=state)


# The tracker alone


def test_before_the_first_epoch_nothing_is_known(clock: Clock) -> None:
    progress = ProgressTracker(MEMBERS, None, clock).progress(MEMBERS)
    assert (progress.n_members, progress.n_done, progress.n_configs, progress.n_epochs) == (4, 0, 2, 0)
    assert progress.best_config == -1
    assert math.isnan(progress.best_loss)
    assert math.isnan(progress.seconds_left)


def test_the_best_config_has_the_lowest_mean_of_its_members_best_losses(clock: Clock) -> None:
    tracker = ProgressTracker(MEMBERS, None, clock)
    for member, losses in zip(MEMBERS, ([3.0, 1.0, 2.0], [5.0], [2.0, 2.5], [3.0]), strict=True):
        tracker.update(member, after(losses))
    progress, of_the_first = tracker.progress(MEMBERS), tracker.progress(MEMBERS[:2])
    assert (progress.best_config, progress.best_loss) == (1, 2.5)
    assert (of_the_first.best_config, of_the_first.best_loss) == (0, 3.0)
    assert progress.n_epochs == 7


def test_the_time_left_is_that_of_as_many_epochs_as_finished_members_had(clock: Clock) -> None:
    tracker = ProgressTracker(MEMBERS, None, clock)
    for n_epochs in range(1, 11):
        tracker.update(MEMBERS[0], after([1.0] * n_epochs, "patience" if n_epochs == 10 else None))
    tracker.update(MEMBERS[2], after([1.0]))
    clock.now += 24.0  # ten epochs of cost 1 and one of cost 2: two seconds per unit
    # The second member has ten epochs to go, the third nine and the fourth ten, of cost 2.
    assert tracker.progress(MEMBERS).seconds_left == pytest.approx(2 * (10 + 18 + 20))
    assert tracker.progress(MEMBERS).n_done == 1
    assert tracker.seconds_saved({1: 5}) == pytest.approx(2 * (2 * 5 * 2))
    limited = ProgressTracker(MEMBERS, 30.0, clock)
    limited.latest, limited.n_before = tracker.latest, tracker.n_before
    clock.now += 24.0
    assert limited.progress(MEMBERS).seconds_left == pytest.approx(6.0)


def test_each_config_is_expected_to_have_the_epochs_of_its_own_finished_members(clock: Clock) -> None:
    """Rounds of boosting, say, are many and cheap."""
    tracker = ProgressTracker(MEMBERS, None, clock)
    tracker.update(MEMBERS[0], after([1.0]))
    tracker.update(MEMBERS[0], after([1.0] * 10, "patience"))
    tracker.update(MEMBERS[2], after([1.0]))
    tracker.update(MEMBERS[2], after([1.0] * 3, "patience"))
    clock.now += 16.0  # ten epochs of cost 1 and three of cost 2: a second per unit
    assert tracker.progress(MEMBERS).seconds_left == pytest.approx(10 + 3 * 2)


def test_members_are_expected_to_train_as_long_as_those_that_trained_longer(clock: Clock) -> None:
    """Of a config that is dropped after some epochs, only members that ended before have finished."""
    tracker = ProgressTracker(MEMBERS, None, clock)
    for member, n_epochs, reason in zip(
        MEMBERS, (20, 4, 3, 5), ("patience", "patience", "patience", None), strict=True
    ):
        tracker.update(member, after([1.0]))
        tracker.update(member, after([1.0] * n_epochs, reason))
    clock.now += 40.0  # 24 epochs of cost 1 and 8 of cost 2: a second per unit
    assert tracker.seconds_saved({1: 5}) == pytest.approx(15 * 2)
    assert tracker.progress(MEMBERS).seconds_left == pytest.approx(15 * 2)
    tracker.update(MEMBERS[3], after([1.0] * 25))
    assert tracker.progress(MEMBERS).seconds_left == 0.0  # nobody trained longer


def test_before_a_member_finished_the_budget_is_all_that_is_known_of_the_time_left(clock: Clock) -> None:
    tracker = ProgressTracker(MEMBERS, 30.0, clock)
    tracker.update(MEMBERS[0], after([1.0]))
    clock.now += 10.0
    assert tracker.progress(MEMBERS).seconds_left == 20.0
    clock.now += 25.0
    assert tracker.progress(MEMBERS).seconds_left == 0.0


def test_what_was_expected_is_the_time_left_before_a_member_finished(clock: Clock) -> None:
    tracker = ProgressTracker(MEMBERS, None, clock, expected_seconds=50.0)
    assert tracker.progress(MEMBERS).seconds_left == 50.0
    tracker.update(MEMBERS[0], after([1.0]))
    clock.now += 20.0
    assert tracker.progress(MEMBERS).seconds_left == 30.0
    clock.now += 31.0  # it was wrong, and nothing else is known
    assert math.isnan(tracker.progress(MEMBERS).seconds_left)
    tracker.update(MEMBERS[0], after([1.0], "patience"))
    assert tracker.progress(MEMBERS).seconds_left > 0


def test_a_cohort_is_expected_to_take_longer_with_more_rows_members_and_epochs_and_less_with_more_workers() -> None:
    table, settings = make_small_table(), CohortSettings(folds=3, seeds=2)
    few = make_plan(table, Config(max_epochs=10), settings)
    seconds = expected_seconds(few, 1)
    assert expected_seconds(few, 2) == pytest.approx(seconds / 2)
    assert expected_seconds(few, 100) == pytest.approx(seconds / 6)
    assert expected_seconds(make_plan(table, Config(max_epochs=20), settings), 1) == pytest.approx(2 * seconds)
    assert expected_seconds(make_plan(table, Config(max_epochs=10), replace(settings, seeds=4)), 1) > 1.9 * seconds
    rows = np.tile(np.arange(len(table.y)), 3)
    larger = Table(table.numbers[rows], table.codes[rows], table.y[rows], table.weight[rows], table.schema)
    assert expected_seconds(make_plan(larger, Config(max_epochs=10), settings), 1) == pytest.approx(3 * seconds)
    trees = Config(model="trees", max_epochs=10)
    assert expected_seconds(make_plan(larger, trees, settings), 1) > expected_seconds(
        make_plan(table, trees, settings), 1
    )


def test_what_a_run_is_expected_to_take_is_known_before_its_first_epoch() -> None:
    calls: list[RunProgress] = []
    plan = make_plan(make_small_table(), Config(max_epochs=2), CohortSettings(folds=3, seeds=1))
    runner.run(plan, calls.append)
    assert (calls[0].n_epochs, calls[0].n_members) == (0, 3)
    assert calls[0].seconds_left == pytest.approx(expected_seconds(plan, n_cores()), rel=0.5)


def test_no_states_are_kept(clock: Clock) -> None:
    tracker = ProgressTracker(MEMBERS, None, clock)
    tracker.update(MEMBERS[0], after([1.0]))
    assert (tracker.latest[MEMBERS[0]].engine_state, tracker.latest[MEMBERS[0]].best_state) == ({}, {})


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (None, False),
        ("paused", False),
        ("budget", False),
        ("interrupted", False),
        ("patience", True),
        ("max_epochs", True),
    ],
)
def test_a_member_is_finished_when_its_training_ended_by_itself(reason: str | None, expected: bool) -> None:
    tracker = ProgressTracker(MEMBERS, None)
    assert not tracker.is_finished(MEMBERS[0])
    tracker.update(MEMBERS[0], after([1.0], reason))
    assert tracker.is_finished(MEMBERS[0]) is expected
    assert not tracker.is_finished(MEMBERS[1])


def test_a_message_that_comes_late_does_not_turn_a_member_back() -> None:
    """Processes report their epochs through another channel than their results, which may come first."""
    tracker = ProgressTracker(MEMBERS, None)
    tracker.update(MEMBERS[0], after([3.0, 2.0, 1.0], "max_epochs"))
    tracker.update(MEMBERS[0], after([3.0]))
    assert tracker.is_finished(MEMBERS[0])
    assert tracker.progress(MEMBERS).n_epochs == 3
    assert tracker.progress(MEMBERS).best_loss == 1.0


# Whole runs


def progress_of_run(
    train: FakeTraining, members: Sequence[Member], **settings: Any
) -> tuple[list[RunProgress], RunResult]:
    """Return what the callback gets after every epoch of a run, and the run's result."""
    calls: list[RunProgress] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "SECONDS_BETWEEN", 0.0)
        return calls, run_fake(members, train, calls.append, **settings)


def test_progress_counts_members_epochs_and_seconds_and_knows_what_is_left(clock: Clock) -> None:
    members = members_of(2, 2, cost=lambda config: [1.0, 3.0][config])
    calls, result = progress_of_run(FakeTraining(max_epochs=10, clock=clock), members)
    assert [progress.n_epochs for progress in calls] == list(range(1, 41))
    assert [progress.n_done for progress in calls] == [epoch // 10 for epoch in range(1, 41)]
    assert {(progress.n_members, progress.n_configs) for progress in calls} == {(4, 2)}
    spent = np.cumsum([3.0] * 20 + [1.0] * 20)
    np.testing.assert_allclose([progress.seconds for progress in calls], spent)
    assert all(math.isnan(progress.seconds_left) for progress in calls[:9])  # no member has finished yet
    np.testing.assert_allclose([progress.seconds_left for progress in calls[9:]], 80.0 - spent[9:], atol=1e-9)
    assert result.seconds == 80.0


def test_progress_has_the_lowest_mean_loss_so_far(clock: Clock) -> None:
    def loss(member: Member, epoch: int) -> float:
        return {(0, 0): 5.0, (0, 1): 2.0, (1, 0): 3.0, (1, 1): 3.2}[member.config, member.fold] + (epoch == 2)

    calls, _ = progress_of_run(FakeTraining(max_epochs=2, clock=clock, loss=loss), members_of(2))
    expected = [(0, 5.0), (0, 5.0), (0, 3.5), (0, 3.5), (1, 3.0), (1, 3.0), (1, 3.1), (1, 3.1)]
    assert [progress.best_config for progress in calls] == [config for config, _ in expected]
    assert [progress.best_loss for progress in calls] == pytest.approx([value for _, value in expected])


def test_configs_that_were_dropped_or_failed_are_no_longer_counted(clock: Clock) -> None:
    def loss(member: Member, epoch: int) -> float:
        return -1.0 if member.config == 0 else member.config + 1 / epoch

    fails = FakeTraining(clock=clock, loss=loss, fails=lambda member, epoch: member.config == 0 and epoch == 3)
    calls, result = progress_of_run(fails, members_of(7))
    assert list(result.failed) == [0]
    counts = [(progress.n_members, progress.n_configs, progress.best_config) for progress in calls]
    assert [key for key, _ in itertools.groupby(counts)] == [(14, 7, 0), (12, 6, 1), (8, 4, 1)]
    assert (calls[-1].n_done, calls[-1].seconds_left) == (8, 0.0)


def test_with_a_budget_no_more_seconds_are_left_than_it_has(clock: Clock) -> None:
    calls, result = progress_of_run(FakeTraining(clock=clock), members_of(1, 3), budget_seconds=200.0)
    assert result.stop_reason == "budget"
    assert calls[0].seconds_left == 199.0
    assert all(progress.seconds_left == pytest.approx(200.0 - progress.seconds) for progress in calls)
    calls, _ = progress_of_run(FakeTraining(clock=clock), members_of(1, 3), budget_seconds=1e6)
    assert calls[-2].seconds_left == pytest.approx(1.0)


def test_the_callback_is_called_a_few_times_a_second_and_at_the_end(clock: Clock) -> None:
    calls: list[RunProgress] = []
    members = members_of(1, 2, cost=lambda config: runner.SECONDS_BETWEEN / 3.5)
    run_fake(members, FakeTraining(max_epochs=10, clock=clock), calls.append)
    assert [progress.n_epochs for progress in calls] == [1, 5, 9, 13, 17, 20]
    assert calls[-1].n_done == 2


def test_the_callback_is_called_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SECONDS_BETWEEN", 0.0)
    inside, calls = threading.Lock(), []

    def callback(progress: RunProgress) -> None:
        assert inside.acquire(blocking=False)
        calls.append(progress.n_epochs)
        time.sleep(1e-4)
        inside.release()

    run_fake(members_of(4), FakeTraining(max_epochs=10), callback, threads=4)
    assert len(calls) == 80
    assert calls == sorted(calls)


def test_a_member_that_a_checkpoint_holds_to_its_end_is_counted_as_done() -> None:
    members, train = members_of(1, 2), FakeTraining(max_epochs=10)
    at_its_end = run_fake(members[:1], train).members[members[0]]
    calls: list[RunProgress] = []

    def train_on(member: Member, resume_from: TrainingState | None, callback: EpochCallback) -> MemberResult:
        return at_its_end if member == members[0] else train(member, resume_from, callback)

    result = run_members(members, train_on, CohortSettings(threads=1), 10, calls.append)
    assert (calls[-1].n_done, calls[-1].n_members) == (2, 2)
    assert list(result.members) == members


def test_epochs_that_a_checkpoint_held_took_none_of_the_time_of_this_run(clock: Clock) -> None:
    members, train = members_of(1, 10), FakeTraining(max_epochs=100, clock=clock)
    held = run_fake(members[:9], train).members
    calls: list[RunProgress] = []

    def train_on(member: Member, resume_from: TrainingState | None, callback: EpochCallback) -> MemberResult:
        return held[member] if member in held else train(member, resume_from, callback)

    run_members(members, train_on, CohortSettings(threads=1), 100, calls.append, clock=clock)
    halfway = next(progress for progress in calls if progress.n_epochs == 950)
    assert (halfway.n_done, halfway.seconds_left) == (9, pytest.approx(50.0, rel=0.2))


def test_the_seconds_saved_by_dropping_are_those_of_the_epochs_that_were_not_run(clock: Clock) -> None:
    members = members_of(13, 2, cost=lambda config: 1.0 + config)
    result = run_fake(members, FakeTraining(max_epochs=200, clock=clock))
    n_epochs = {config: result.dropped.get(config, 200) for config in range(13)}
    assert result.seconds == sum(2 * (1 + config) * n_run for config, n_run in n_epochs.items())
    saved = sum(2 * (1 + config) * (200 - n_run) for config, n_run in n_epochs.items())
    assert result.seconds_saved == pytest.approx(saved)


def test_dropping_members_that_had_finished_saved_nothing(clock: Clock) -> None:
    def loss(member: Member, epoch: int) -> float:
        return member.config + (epoch if member.config >= 4 else 1 / epoch)

    result = run_fake(members_of(6), FakeTraining(max_epochs=50, patience=2, loss=loss, clock=clock))
    assert result.dropped == {4: 5, 5: 5}
    assert n_epochs_of(result)[4] == {3}
    assert result.seconds_saved == 0.0
    assert run_fake(members_of(3), FakeTraining(clock=clock)).seconds_saved == 0.0

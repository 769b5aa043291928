"""Runs of many members, with a stand-in for training whose losses and time are known."""

import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from helpers import Clock

from tabcohort.cohort import runner
from tabcohort.cohort.halving import MIN_CONFIGS, n_kept
from tabcohort.cohort.members import Trained
from tabcohort.cohort.plan import Member
from tabcohort.cohort.progress import RunProgress
from tabcohort.cohort.runner import Run, RunResult, run_members
from tabcohort.cohort.store import StateStore
from tabcohort.errors import TrainingError
from tabcohort.network.program import blank_network, build_program
from tabcohort.settings import CohortSettings, Config
from tabcohort.training.loop import EpochRecord, TrainingState, after_epoch

NETWORK = blank_network(build_program(Config(model="logistic"), 1, 2))
Watch = Callable[[TrainingState], str | None]


@dataclass
class FakeTraining:
    """Trains no network: the stopping loss after an epoch is `loss(member, epoch)`; an epoch takes `member.cost`."""

    max_epochs: int = 100
    patience: int | None = None
    loss: Callable[[Member, int], float] = lambda member, epoch: member.setting + 1 / epoch
    clock: Clock | None = None
    fails: Callable[[Member, int], bool] = lambda member, epoch: False
    begun: list[Member] = field(default_factory=list)
    resumed_at: list[tuple[Member, int]] = field(default_factory=list)

    def __call__(self, member: Member, resume_from: TrainingState | None, watch: Watch) -> Trained:
        settings = Config(max_epochs=self.max_epochs, patience=self.patience)
        progress = resume_from or TrainingState()
        if resume_from is None:
            self.begun.append(member)
        else:
            self.resumed_at.append((member, len(progress.history)))
            assert progress.state["epoch"] == len(progress.history)
        assert progress.stop_reason is None
        while progress.stop_reason is None:
            epoch = len(progress.history) + 1
            if self.fails(member, epoch):
                raise TrainingError(f"the loss of {member.setting}, {member.number} stopped being finite")
            if self.clock is not None:
                self.clock.now += member.cost
            loss = self.loss(member, epoch)
            record = EpochRecord(epoch, 0.1, loss, loss, 0.5, loss, 0.0)
            progress = after_epoch(progress, record, lambda state=epoch: {"best": np.array(state)}, settings)
            asked = watch(progress)
            if asked is not None and progress.stop_reason is None:
                progress = replace(progress, stop_reason=asked, state={"epoch": np.array(epoch)})
        return Trained(NETWORK, progress, "compiled", "cpu", np.empty((0, 2)))


def members_of(n_settings: int, n_folds: int = 2, cost: Callable[[int], float] = lambda setting: 1.0) -> list[Member]:
    return [
        Member(setting, 0, fold, fold, cost(setting))
        for setting, fold in itertools.product(range(n_settings), range(n_folds))
    ]


def run(
    members: Sequence[Member],
    train: FakeTraining,
    watch: Callable[[RunProgress], None] = lambda progress: None,
    **choices: object,
) -> RunResult:
    cohort = CohortSettings(**{"threads": 1, **choices})  # type: ignore[arg-type]
    return run_members(members, train, cohort, train.max_epochs, watch)


def epochs_of(ended: RunResult) -> dict[int, set[int]]:
    """Return after how many epochs the members of each setting ended."""
    found: dict[int, set[int]] = {}
    for member, each in ended.trained.items():
        found.setdefault(member.setting, set()).add(len(each.progress.history))
    return found


# Who is trained when


def test_the_longest_are_begun_first_and_equal_ones_in_their_order() -> None:
    members = members_of(3, cost=lambda setting: [2.0, 5.0, 2.0][setting])
    train = FakeTraining(max_epochs=3)
    ended = run(members, train)
    assert train.begun == [*members[2:4], *members[:2], *members[4:]]
    assert list(ended.trained) == members
    assert epochs_of(ended) == {0: {3}, 1: {3}, 2: {3}}
    assert (ended.dropped, ended.failed, ended.reason) == ({}, {}, None)


@pytest.mark.parametrize(
    ("n_settings", "halving", "budget", "max_epochs", "expected"),
    [
        (1, True, None, 200, [200]),
        (4, True, None, 200, [200]),
        (5, True, None, 200, [10, 200]),
        (12, True, None, 200, [10, 200]),
        (13, True, None, 200, [10, 30, 200]),
        (54, True, None, 200, [10, 30, 90, 200]),
        (54, True, None, 60, [5, 15, 45, 60]),
        (54, True, None, 45, [5, 15, 45]),
        (54, True, None, 6, [5, 6]),
        (54, True, None, 5, [5]),
        (54, False, None, 200, [200]),
        (54, False, 10.0, 200, [10, 200]),
        (1, True, 10.0, 200, [10, 200]),
        (1, True, 10.0, 4, [4]),
    ],
)
def test_members_pause_only_where_settings_are_dropped_or_a_budget_needs_all_to_have_begun(
    n_settings: int, halving: bool, budget: float | None, max_epochs: int, expected: list[int], tmp_path: Path
) -> None:
    cohort, shelf = CohortSettings(halving=halving, budget_seconds=budget), StateStore(tmp_path)
    run = Run(members_of(n_settings), FakeTraining(), cohort, max_epochs, lambda progress: None, shelf)
    assert run.rungs() == expected


@pytest.mark.parametrize("n_settings", range(1, 60))
def test_a_third_is_kept_and_a_few_at_least(n_settings: int) -> None:
    assert n_kept(n_settings) == max(MIN_CONFIGS, math.ceil(n_settings / 3))


def test_the_settings_with_the_lowest_mean_loss_go_on_at_each_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    order = np.random.default_rng(0).permutation(13)
    rank = {int(setting): place for place, setting in enumerate(order)}
    spread = (-3.0, 3.0)  # between the folds: no single one tells

    def loss(member: Member, epoch: int) -> float:
        return rank[member.setting] + spread[(member.setting + member.fold) % 2] + 1 / epoch

    monkeypatch.setattr(runner, "RESERVES", 8)
    ended = run(members_of(13), FakeTraining(max_epochs=200, loss=loss))
    at_rung = {setting: 10 if place >= 5 else 30 for setting, place in rank.items() if place >= 4}
    assert ended.dropped == at_rung
    assert epochs_of(ended) == {setting: {at_rung.get(setting, 200)} for setting in range(13)}
    for member, each in ended.trained.items():
        assert (each.network is None) == (rank[member.setting] >= 8), "the next best may still answer"
        if member.setting in at_rung:
            assert (each.progress.stop_reason, each.progress.state, each.progress.best_state) == ("paused", {}, {})


def test_of_settings_that_are_equally_good_the_first_are_kept() -> None:
    ended = run(members_of(6), FakeTraining(loss=lambda member, epoch: 1 / epoch))
    assert ended.dropped == {4: 5, 5: 5}


def test_a_setting_is_ranked_by_its_best_epochs_also_where_its_members_ended_already() -> None:
    def loss(member: Member, epoch: int) -> float:
        if member.setting == 5:  # is best at once, and then only worse
            return 0.1 + 0.1 * epoch
        return member.setting + 1 / epoch

    train = FakeTraining(max_epochs=100, patience=3, loss=loss)
    ended = run(members_of(6), train)
    assert ended.dropped == {3: 5, 4: 5}
    assert epochs_of(ended)[5] == {4}
    assert {member.setting for member, _ in train.resumed_at} == {0, 1, 2}


def test_a_member_goes_on_from_where_it_paused_to_the_same_end() -> None:
    train, alone = FakeTraining(max_epochs=200), FakeTraining(max_epochs=200)
    ended, expected = run(members_of(13), train), run(members_of(13), alone, halving=False)
    assert sorted(train.resumed_at, key=lambda each: (each[1], each[0].setting)) == [
        (member, epoch)
        for epoch, n_settings in ((10, 5), (30, 4))
        for member in members_of(13)
        if member.setting < n_settings
    ]
    for member in members_of(4):
        assert ended.trained[member].progress.history == expected.trained[member].progress.history
        assert ended.trained[member].progress.stop_reason == "max_epochs"


def test_a_member_that_a_checkpoint_put_beyond_the_rung_waits_for_the_others() -> None:
    members = members_of(13)
    train = FakeTraining(max_epochs=200)
    record = EpochRecord(1, 0.1, 9.0, 9.0, 0.5, 9.0, 0.0)
    ahead = TrainingState(
        tuple(replace(record, epoch=epoch) for epoch in range(1, 21)), 1, {}, state={"epoch": np.array(20)}
    )

    def train_on(member: Member, resume_from: TrainingState | None, watch: Watch) -> Trained:
        return train(member, ahead if resume_from is None and member.setting == 12 else resume_from, watch)

    ended = run_members(members, train_on, CohortSettings(threads=1), 200)
    assert ended.dropped[12] == 10
    assert epochs_of(ended)[12] == {21}


# Threads


def test_no_result_depends_on_the_threads() -> None:
    def loss(member: Member, epoch: int) -> float:
        time.sleep((member.number * 7 + member.setting * 3) % 5 * 1e-5)
        return (member.setting * 7 % 13) + member.fold / 10 + 1 / epoch

    found = []
    for threads in (1, 2, 5):
        train = FakeTraining(max_epochs=60, loss=loss, fails=lambda member, epoch: member.setting == 2 and epoch == 4)
        found.append(replace(run(members_of(13, 3), train, threads=threads), seconds=0.0, seconds_saved=0.0))
    assert found[0].dropped
    assert list(found[0].failed) == [2]
    for other in found[1:]:
        assert list(other.trained) == list(found[0].trained)
        histories = [[each.progress.history for each in ended.trained.values()] for ended in (other, found[0])]
        assert histories[0] == histories[1]
        assert (other.dropped, other.failed, other.reason) == (found[0].dropped, found[0].failed, None)


def test_the_watcher_is_called_by_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SECONDS_BETWEEN", 0.0)
    inside, calls = threading.Lock(), []

    def watch(progress: RunProgress) -> None:
        assert inside.acquire(blocking=False)
        calls.append(progress.epochs)
        time.sleep(1e-4)
        inside.release()

    run(members_of(4), FakeTraining(max_epochs=10), watch, threads=4)
    assert len(calls) == 80
    assert calls == sorted(calls)


# What fails


def test_a_setting_whose_loss_is_not_finite_leaves_the_others() -> None:
    train = FakeTraining(max_epochs=8, fails=lambda member, epoch: member.setting == 1 and member.fold == 1)
    ended = run(members_of(3, 3), train)
    assert ended.failed == {1: "the loss of 1, 1 stopped being finite"}
    assert {member.setting for member in ended.trained} == {0, 2}
    assert Member(1, 0, 2, 2, 1.0) not in train.begun
    assert epochs_of(ended) == {0: {8}, 2: {8}}


def test_a_setting_that_fails_after_a_pause_leaves_the_others_too() -> None:
    train = FakeTraining(max_epochs=60, fails=lambda member, epoch: member.setting == 0 and epoch == 20)
    ended = run(members_of(6), train)
    assert ended.dropped == {4: 5, 5: 5}
    assert ended.failed == {0: "the loss of 0, 0 stopped being finite"}
    assert epochs_of(ended) == {1: {60}, 2: {60}, 3: {60}, 4: {5}, 5: {5}}


def test_settings_that_failed_do_not_count_among_those_that_are_kept() -> None:
    train = FakeTraining(max_epochs=60, fails=lambda member, epoch: member.setting < 2)
    ended = run(members_of(7), train)
    assert ended.dropped == {6: 5}
    assert set(epochs_of(ended)) == {2, 3, 4, 5, 6}


def test_of_several_members_that_fail_the_first_in_turn_is_told_of_whoever_was_quicker() -> None:
    second_failed = threading.Event()

    def train(member: Member, resume_from: TrainingState | None, watch: Watch) -> Trained:
        if member.setting == 1:
            return FakeTraining(max_epochs=2)(member, resume_from, watch)
        if member.fold == 0:
            assert second_failed.wait(10)
            time.sleep(0.02)
        second_failed.set()
        raise TrainingError(f"member {member.number}")

    ended = run_members(members_of(2), train, CohortSettings(threads=2), 2)
    assert ended.failed == {0: "member 0"}


@pytest.mark.parametrize("threads", [1, 3])
def test_where_all_settings_fail_it_is_said_of_the_first(threads: int) -> None:
    train = FakeTraining(fails=lambda member, epoch: epoch == 3 - member.setting)
    with pytest.raises(TrainingError, match=r"^the loss of 0, 0 stopped being finite$"):
        run(members_of(3), train, threads=threads)


def test_where_all_settings_fail_that_were_not_dropped_it_is_an_error_too() -> None:
    train = FakeTraining(max_epochs=60, fails=lambda member, epoch: epoch == 20)
    with pytest.raises(TrainingError, match=r"^the loss of 0, 0 stopped being finite$"):
        run(members_of(6), train)


def test_any_other_exception_is_raised_and_the_others_end_soon() -> None:
    begun, epochs = threading.Event(), []

    def slow_loss(member: Member, epoch: int) -> float:
        begun.set()
        time.sleep(1e-3)
        return 1 / epoch

    def train(member: Member, resume_from: TrainingState | None, watch: Watch) -> Trained:
        if member.fold == 1:
            assert begun.wait(10)
            raise RuntimeError("a mistake in the code")
        trained = FakeTraining(max_epochs=100_000, loss=slow_loss)(member, resume_from, watch)
        epochs.append((len(trained.progress.history), trained.progress.stop_reason))
        return trained

    with pytest.raises(RuntimeError, match="a mistake in the code"):
        run_members(members_of(1), train, CohortSettings(threads=2), 100_000)
    [(n_epochs, reason)] = epochs
    assert n_epochs < 5_000
    assert reason == "interrupted"


def test_an_exception_of_the_watcher_is_raised() -> None:
    def watch(progress: RunProgress) -> None:
        raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="the terminal is gone"):
        run(members_of(2), FakeTraining(), watch)


# Budget


def test_a_budget_ends_training_with_what_there_is(clock: Clock) -> None:
    ended = run(members_of(1, 3), FakeTraining(clock=clock), budget_seconds=200.0)  # 5 x 3 epochs, then 95, then 81
    assert ended.reason == "budget"
    assert [len(each.progress.history) for each in ended.trained.values()] == [100, 86, 5]
    assert [each.progress.stop_reason for each in ended.trained.values()] == ["max_epochs", "budget", "paused"]
    assert ended.seconds == 191.0  # the first epoch beyond 95 % of the budget


def test_one_of_the_settings_is_whole_when_a_budget_ends_training_however_short_it_is(clock: Clock) -> None:
    train = FakeTraining(clock=clock, max_epochs=200)
    ended = run(members_of(6, 3), train, budget_seconds=1.0)
    assert ended.reason == "budget"
    assert epochs_of(ended) == {0: {1}}, "one is whole, and judges every row; no time is taken for the others"
    assert train.resumed_at == []


def test_a_budget_that_is_not_spent_changes_nothing(clock: Clock) -> None:
    ended = run(members_of(1, 3), FakeTraining(clock=clock), budget_seconds=1e6)
    assert ended.reason is None
    assert epochs_of(ended) == {0: {100}}


def test_without_a_budget_time_ends_nothing(clock: Clock) -> None:
    ended = run(members_of(1, 3, cost=lambda setting: 1e9), FakeTraining(clock=clock))
    assert (ended.reason, epochs_of(ended)) == (None, {0: {100}})


# Ctrl-C


def watch_until(n_epochs: int) -> Callable[[RunProgress], None]:
    def watch(progress: RunProgress) -> None:
        if progress.epochs == n_epochs:
            raise KeyboardInterrupt

    return watch


@pytest.mark.parametrize("n_epochs", [1, 150])
def test_an_interruption_by_the_watcher_keeps_what_is_done(n_epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SECONDS_BETWEEN", 0.0)
    ended = run(members_of(1, 3), FakeTraining(), watch_until(n_epochs))
    assert ended.reason == "interrupted"
    expected = {1: [(1, "interrupted")], 150: [(100, "max_epochs"), (50, "interrupted")]}[n_epochs]
    assert [(len(each.progress.history), each.progress.stop_reason) for each in ended.trained.values()] == expected


def test_an_interruption_in_a_later_rung_leaves_the_members_at_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SECONDS_BETWEEN", 0.0)
    ended = run(members_of(6, 1), FakeTraining(), watch_until(6 * 5 + 7))
    assert (ended.reason, ended.dropped) == ("interrupted", {4: 5, 5: 5})
    assert epochs_of(ended) == {0: {12}, 1: {5}, 2: {5}, 3: {5}, 4: {5}, 5: {5}}


def interrupted_before(member: Member) -> Callable[[Member, int], bool]:
    def fails(other: Member, epoch: int) -> bool:
        if other == member:
            raise KeyboardInterrupt
        return False

    return fails


def test_an_interruption_before_the_first_epoch_is_raised() -> None:
    members = members_of(2)
    with pytest.raises(KeyboardInterrupt):
        run(members, FakeTraining(fails=interrupted_before(members[0])))


def test_an_interruption_of_the_run_keeps_what_is_done() -> None:
    members = members_of(2)
    ended = run(members, FakeTraining(fails=interrupted_before(members[2])))
    assert ended.reason == "interrupted"
    assert list(ended.trained)[:2] == members[:2]
    assert members[2] not in ended.trained


# How far it is


def watched(train: FakeTraining, members: Sequence[Member], **choices: object) -> tuple[list[RunProgress], RunResult]:
    seen: list[RunProgress] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "SECONDS_BETWEEN", 0.0)
        return seen, run(members, train, seen.append, **choices)


def test_progress_counts_members_epochs_and_seconds_and_knows_what_is_left(clock: Clock) -> None:
    members = members_of(2, 2, cost=lambda setting: [1.0, 3.0][setting])
    seen, ended = watched(FakeTraining(max_epochs=10, clock=clock), members)
    assert [each.epochs for each in seen] == list(range(1, 41))
    assert [each.n_done for each in seen] == [epoch // 10 for epoch in range(1, 41)]
    assert {(each.n_members, each.n_settings) for each in seen} == {(4, 2)}
    spent = np.cumsum([3.0] * 20 + [1.0] * 20)
    np.testing.assert_allclose([each.seconds for each in seen], spent)
    assert all(math.isnan(each.seconds_left) for each in seen[:9])  # nobody has ended yet
    np.testing.assert_allclose([each.seconds_left for each in seen[9:]], 80.0 - spent[9:], atol=1e-9)
    assert ended.seconds == 80.0


def test_progress_tells_of_the_lowest_mean_loss_so_far(clock: Clock) -> None:
    def loss(member: Member, epoch: int) -> float:
        return {(0, 0): 5.0, (0, 1): 2.0, (1, 0): 3.0, (1, 1): 3.2}[member.setting, member.fold] + (epoch == 2)

    seen, _ = watched(FakeTraining(max_epochs=2, clock=clock, loss=loss), members_of(2))
    expected = [(0, 5.0), (0, 5.0), (0, 3.5), (0, 3.5), (1, 3.0), (1, 3.0), (1, 3.1), (1, 3.1)]
    assert [each.best_setting for each in seen] == [setting for setting, _ in expected]
    assert [each.best_loss for each in seen] == pytest.approx([value for _, value in expected])


def test_settings_that_were_dropped_or_failed_are_no_longer_counted(clock: Clock) -> None:
    def loss(member: Member, epoch: int) -> float:
        return -1.0 if member.setting == 0 else member.setting + 1 / epoch

    fails = FakeTraining(clock=clock, loss=loss, fails=lambda member, epoch: member.setting == 0 and epoch == 3)
    seen, ended = watched(fails, members_of(7))
    assert list(ended.failed) == [0]
    counts = [(each.n_members, each.n_settings, each.best_setting) for each in seen]
    assert [key for key, _ in itertools.groupby(counts)] == [(14, 7, 0), (12, 6, 1), (8, 4, 1)]
    assert (seen[-1].n_done, seen[-1].seconds_left) == (8, 0.0)


def test_with_a_budget_no_more_seconds_are_left_than_it_has(clock: Clock) -> None:
    seen, ended = watched(FakeTraining(clock=clock), members_of(1, 3), budget_seconds=200.0)
    assert ended.reason == "budget"
    assert seen[0].seconds_left == 199.0
    assert all(each.seconds_left == pytest.approx(200.0 - each.seconds) for each in seen)
    seen, _ = watched(FakeTraining(clock=clock), members_of(1, 3), budget_seconds=1e6)
    assert seen[-2].seconds_left == pytest.approx(1.0)


def test_with_a_budget_the_first_settings_are_trained_to_their_end_and_then_the_cheapest(clock: Clock) -> None:
    members = members_of(12, 2, cost=lambda setting: 3.0 if setting == 0 else 13.0 - setting)
    train = FakeTraining(max_epochs=100, clock=clock, loss=lambda member, epoch: 1 / epoch - member.setting)
    ended = run(members, train, budget_seconds=1_000.0)
    assert [each.setting for each in train.begun[:6]] == [0, 0, 11, 11, 10, 10]
    assert epochs_of(ended)[0] == {100}
    assert 0 not in ended.dropped
    assert ended.reason == "budget"
    assert all(ended.trained[each].network is not None for each in members[:2]), "though they are far behind"


def test_the_watcher_is_told_a_few_times_a_second_and_at_the_end(clock: Clock) -> None:
    seen: list[RunProgress] = []
    members = members_of(1, 2, cost=lambda setting: runner.SECONDS_BETWEEN / 3.5)
    run(members, FakeTraining(max_epochs=10, clock=clock), seen.append)
    assert [each.epochs for each in seen] == [1, 5, 9, 13, 17, 20]
    assert seen[-1].n_done == 2


def test_a_member_that_a_checkpoint_holds_to_its_end_is_counted_as_done() -> None:
    members, train = members_of(1, 2), FakeTraining(max_epochs=10)
    at_its_end = run(members[:1], train).trained[members[0]]
    seen: list[RunProgress] = []

    def train_on(member: Member, resume_from: TrainingState | None, watch: Watch) -> Trained:
        return at_its_end if member == members[0] else train(member, resume_from, watch)

    ended = run_members(members, train_on, CohortSettings(threads=1), 10, seen.append)
    assert (seen[-1].n_done, seen[-1].n_members) == (2, 2)
    assert list(ended.trained) == members


def test_epochs_that_a_checkpoint_held_took_none_of_the_time_of_this_run(clock: Clock) -> None:
    members, train = members_of(1, 10), FakeTraining(max_epochs=100, clock=clock)
    held = run(members[:9], train).trained
    seen: list[RunProgress] = []

    def train_on(member: Member, resume_from: TrainingState | None, watch: Watch) -> Trained:
        return held[member] if member in held else train(member, resume_from, watch)

    run_members(members, train_on, CohortSettings(threads=1), 100, seen.append)
    halfway = next(each for each in seen if each.epochs == 950)
    assert (halfway.n_done, halfway.seconds_left) == (9, pytest.approx(50.0, rel=0.2))


def test_what_dropping_saved_is_the_time_of_the_epochs_that_were_not_run(clock: Clock) -> None:
    members = members_of(13, 2, cost=lambda setting: 1.0 + setting)
    ended = run(members, FakeTraining(max_epochs=200, clock=clock))
    kept = {setting: ended.dropped.get(setting, 200) for setting in range(13)}
    assert ended.seconds == sum(2 * (1 + setting) * epochs for setting, epochs in kept.items())
    saved = sum(2 * (1 + setting) * (200 - epochs) for setting, epochs in kept.items())
    assert ended.seconds_saved == pytest.approx(saved)


def test_dropping_members_that_had_ended_saved_nothing(clock: Clock) -> None:
    def loss(member: Member, epoch: int) -> float:
        return member.setting + (epoch if member.setting >= 4 else 1 / epoch)

    ended = run(members_of(6), FakeTraining(max_epochs=50, patience=2, loss=loss, clock=clock))
    assert ended.dropped == {4: 5, 5: 5}
    assert epochs_of(ended)[4] == {3}
    assert ended.seconds_saved == 0.0
    assert run(members_of(3), FakeTraining(clock=clock)).seconds_saved == 0.0


def test_a_run_remembers_no_states_and_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SECONDS_BETWEEN", 0.0)
    members = members_of(13)
    train = FakeTraining(max_epochs=200)
    most_files = 0

    def watch(progress: RunProgress) -> None:
        nonlocal most_files
        most_files = max(most_files, len(list(tmp_path.iterdir())))

    found = Run(members, train, CohortSettings(threads=1), 200, watch, StateStore(tmp_path))
    found.climb()
    assert set(found.standing.latest) == set(members)
    for each in (*found.standing.latest.values(), *(trained.progress for trained in found.trained.values())):
        assert (each.state, each.best_state) == ({}, {})
    assert most_files > MIN_CONFIGS, "paused members wait in files"
    assert not list(tmp_path.iterdir())

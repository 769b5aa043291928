"""Runs of many members, with a stand-in for training whose losses and time are known."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_training import Clock, FakeTraining, members_of, n_epochs_of, one_number, record_of, run_fake
from helpers import config_of, table_of

from tabcohort.cohort import halving, runner
from tabcohort.cohort.executors import ThreadExecutor
from tabcohort.cohort.halving import MIN_CONFIGS
from tabcohort.cohort.members import MemberResult
from tabcohort.cohort.plan import Member, make_plan
from tabcohort.cohort.progress import RunProgress
from tabcohort.cohort.runner import RunResult, run, run_members
from tabcohort.cohort.store import StateStore
from tabcohort.errors import TabcohortWarning, TrainingError
from tabcohort.settings import CohortSettings
from tabcohort.training.loop import EpochCallback, TrainingState

# Which members are trained, and when


def test_the_longest_begin_first_and_equal_ones_in_their_order() -> None:
    members = members_of(3, cost=lambda config: [2.0, 5.0, 2.0][config])
    train = FakeTraining(max_epochs=3)
    result = run_fake(members, train)
    assert train.begun == [*members[2:4], *members[:2], *members[4:]]
    assert list(result.members) == members
    assert n_epochs_of(result) == {0: {3}, 1: {3}, 2: {3}}
    assert (result.dropped, result.failed, result.stop_reason) == ({}, {}, None)


def test_trees_are_grown_first_and_one_at_a_time_while_networks_wait() -> None:
    """Two at a time would take twice as long each, as scikit-learn holds Python's lock, and leave a core idle."""
    members = [replace(member, is_trees=member.config == 1) for member in members_of(2, 6, cost=lambda config: 1.0)]
    train, lock, growing, waiting = FakeTraining(max_epochs=3), threading.Lock(), set[Member](), set(members[:6])
    seen: list[tuple[int, int]] = []

    def slow(member: Member, resume_from: TrainingState | None, callback: EpochCallback) -> MemberResult:
        with lock:
            waiting.discard(member)
            if member.is_trees:
                growing.add(member)
                seen.append((len(growing), len(waiting)))
        time.sleep(0.03 if member.is_trees else 0.01)
        result = train(member, resume_from, callback)
        with lock:
            growing.discard(member)
        return result

    result = run_members(members, slow, CohortSettings(threads=2), 3)
    assert seen[0][1] >= 5, "trees begin first"
    assert len(result.members) == 12
    assert all(n_growing == 1 for n_growing, n_waiting in seen if n_waiting > 1)
    assert min(n_waiting for _, n_waiting in seen) == 0


@pytest.mark.parametrize(
    ("n_configs", "has_halving", "budget", "max_epochs", "expected"),
    [
        (4, True, None, 200, []),
        (5, True, None, 200, [10]),
        (13, True, None, 200, [10, 30]),
        (54, True, None, 60, [5, 15, 45]),
        (54, True, None, 5, []),
        (54, False, None, 200, []),
        (20, False, 1e9, 200, [10]),
        (2, True, 1e9, 200, [10]),
        (2, True, 1e9, 4, []),
    ],
)
def test_members_pause_at_the_rungs_of_the_policy(
    n_configs: int, has_halving: bool, budget: float | None, max_epochs: int, expected: list[int]
) -> None:
    train = FakeTraining(max_epochs=max_epochs)
    run_fake(members_of(n_configs, 1), train, halving=has_halving, budget_seconds=budget)
    assert sorted({n_epochs for _, n_epochs in train.resumed_at}) == expected


def test_the_configs_with_the_lowest_mean_loss_go_on_at_each_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    order = np.random.default_rng(0).permutation(13)
    rank = {int(config): place for place, config in enumerate(order)}
    shifts = (-3.0, 3.0)  # of the folds: no single one has the order of the means

    def loss(member: Member, epoch: int) -> float:
        return rank[member.config] + shifts[(member.config + member.fold) % 2] + 1 / epoch

    monkeypatch.setattr(halving, "N_RESERVES", 8)
    result = run_fake(members_of(13), FakeTraining(max_epochs=200, loss=loss))
    at_rung = {config: 10 if place >= 5 else 30 for config, place in rank.items() if place >= 4}
    assert result.dropped == at_rung
    assert n_epochs_of(result) == {config: {at_rung.get(config, 200)} for config in range(13)}
    for member, trained in result.members.items():
        assert (trained.model is None) == (rank[member.config] >= 8), "the next best may be in the ensemble"
        if member.config in at_rung:
            state = trained.state
            assert (state.stop_reason, state.engine_state, state.best_state) == ("paused", {}, {})


def test_of_configs_that_are_equally_good_the_first_are_kept() -> None:
    result = run_fake(members_of(6), FakeTraining(loss=lambda member, epoch: 1 / epoch))
    assert result.dropped == {4: 5, 5: 5}


def test_a_config_is_ranked_by_its_best_epochs_also_where_its_members_finished_already() -> None:
    def loss(member: Member, epoch: int) -> float:
        if member.config == 5:  # is best at once, and then worse than all others
            return 0.1 if epoch == 1 else 9.0
        return member.config + 1 / epoch

    train = FakeTraining(max_epochs=100, patience=3, loss=loss)
    result = run_fake(members_of(6), train)
    assert result.dropped == {3: 5, 4: 5}
    assert n_epochs_of(result)[5] == {4}
    assert {member.config for member, _ in train.resumed_at} == {0, 1, 2}


def test_a_member_resumes_where_it_paused_and_ends_as_if_it_had_not() -> None:
    train, alone = FakeTraining(max_epochs=200), FakeTraining(max_epochs=200)
    result, expected = run_fake(members_of(13), train), run_fake(members_of(13), alone, halving=False)
    assert sorted(train.resumed_at, key=lambda resumed: (resumed[1], resumed[0].config)) == [
        (member, epoch)
        for epoch, n_configs in ((10, 5), (30, 4))
        for member in members_of(13)
        if member.config < n_configs
    ]
    for member in members_of(4):
        assert result.members[member].state.history == expected.members[member].state.history
        assert result.members[member].state.stop_reason == "max_epochs"


def test_a_member_that_a_checkpoint_put_beyond_the_rung_waits_for_the_others() -> None:
    members = members_of(13)
    train = FakeTraining(max_epochs=200)
    history = tuple(record_of(epoch, 9.0 if epoch <= 10 else 0.0) for epoch in range(1, 21))
    ahead = TrainingState(history, 11, {}, engine_state=one_number(20))  # what is beyond the rung is not compared

    def train_on(member: Member, resume_from: TrainingState | None, callback: EpochCallback) -> MemberResult:
        return train(member, ahead if resume_from is None and member.config == 12 else resume_from, callback)

    result = run_members(members, train_on, CohortSettings(threads=1), 200)
    assert result.dropped[12] == 10
    assert n_epochs_of(result)[12] == {21}


def test_no_result_depends_on_the_number_of_threads() -> None:
    def loss(member: Member, epoch: int) -> float:
        time.sleep((member.number * 7 + member.config * 3) % 5 * 1e-5)
        return (member.config * 7 % 13) + member.fold / 10 + 1 / epoch

    results = []
    for threads in (1, 2, 5):
        train = FakeTraining(max_epochs=60, loss=loss, fails=lambda member, epoch: member.config == 2 and epoch == 4)
        results.append(run_fake(members_of(13, 3), train, threads=threads))
    first = results[0]
    assert first.dropped
    assert list(first.failed) == [2]
    for other in results[1:]:
        assert list(other.members) == list(first.members)
        histories = [[trained.state.history for trained in result.members.values()] for result in (other, first)]
        assert histories[0] == histories[1]
        assert (other.dropped, other.failed, other.stop_reason) == (first.dropped, first.failed, None)


def test_a_run_keeps_no_states_and_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SECONDS_BETWEEN", 0.0)
    stores: list[StateStore] = []
    max_files = 0

    def store_in(folder: str) -> StateStore:
        stores.append(StateStore(folder))
        return stores[-1]

    def callback(progress: RunProgress) -> None:
        nonlocal max_files
        max_files = max(max_files, len(list(stores[0].folder.iterdir())))

    monkeypatch.setattr(runner, "StateStore", store_in)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    members = members_of(13)
    result = run_fake(members, FakeTraining(max_epochs=200), callback)
    assert list(result.members) == members
    for trained in result.members.values():
        assert (trained.state.engine_state, trained.state.best_state) == ({}, {})
    assert max_files > MIN_CONFIGS, "paused members wait in files"
    assert not list(tmp_path.iterdir())


# What fails


def test_a_config_whose_loss_is_not_finite_leaves_the_others() -> None:
    train = FakeTraining(max_epochs=8, fails=lambda member, epoch: member.config == 1 and member.fold == 1)
    result = run_fake(members_of(3, 3), train)
    assert result.failed == {1: "the loss of 1, 1 stopped being finite"}
    assert {member.config for member in result.members} == {0, 2}
    assert Member(1, 0, 2, 2, 1.0) not in train.begun
    assert n_epochs_of(result) == {0: {8}, 2: {8}}


def test_a_config_that_fails_after_a_pause_leaves_the_others_too() -> None:
    train = FakeTraining(max_epochs=60, fails=lambda member, epoch: member.config == 0 and epoch == 20)
    result = run_fake(members_of(6), train)
    assert result.dropped == {4: 5, 5: 5}
    assert result.failed == {0: "the loss of 0, 0 stopped being finite"}
    assert n_epochs_of(result) == {1: {60}, 2: {60}, 3: {60}, 4: {5}, 5: {5}}


def test_configs_that_failed_do_not_count_among_those_that_are_kept() -> None:
    train = FakeTraining(max_epochs=60, fails=lambda member, epoch: member.config < 2)
    result = run_fake(members_of(7), train)
    assert result.dropped == {6: 5}
    assert set(n_epochs_of(result)) == {2, 3, 4, 5, 6}


def test_of_several_members_that_fail_the_message_is_of_the_first_in_order_whichever_was_quicker() -> None:
    second_failed = threading.Event()

    def train(member: Member, resume_from: TrainingState | None, callback: EpochCallback) -> MemberResult:
        if member.config == 1:
            return FakeTraining(max_epochs=2)(member, resume_from, callback)
        if member.fold == 0:
            assert second_failed.wait(10)
            time.sleep(0.02)
        second_failed.set()
        raise TrainingError(f"member {member.number}")

    result = run_members(members_of(2), train, CohortSettings(threads=2), 2)
    assert result.failed == {0: "member 0"}


@pytest.mark.parametrize("threads", [1, 3])
def test_where_all_configs_fail_the_error_is_that_of_the_first(threads: int) -> None:
    train = FakeTraining(fails=lambda member, epoch: epoch == 3 - member.config)
    with pytest.raises(TrainingError, match=r"^the loss of 0, 0 stopped being finite$"):
        run_fake(members_of(3), train, threads=threads)


def test_where_all_configs_fail_that_were_not_dropped_it_is_an_error_too() -> None:
    train = FakeTraining(max_epochs=60, fails=lambda member, epoch: epoch == 20)
    with pytest.raises(TrainingError, match=r"^the loss of 0, 0 stopped being finite$"):
        run_fake(members_of(6), train)


def test_any_other_exception_is_raised_and_the_others_end_soon() -> None:
    begun, ends = threading.Event(), []

    def slow_loss(member: Member, epoch: int) -> float:
        begun.set()
        time.sleep(1e-3)
        return 1 / epoch

    def train(member: Member, resume_from: TrainingState | None, callback: EpochCallback) -> MemberResult:
        if member.fold == 1:
            assert begun.wait(10)
            raise RuntimeError("a mistake in the code")
        trained = FakeTraining(max_epochs=100_000, loss=slow_loss)(member, resume_from, callback)
        ends.append((trained.state.n_epochs, trained.state.stop_reason))
        return trained

    with pytest.raises(RuntimeError, match="a mistake in the code"):
        run_members(members_of(1), train, CohortSettings(threads=2), 100_000)
    [(n_epochs, reason)] = ends
    assert n_epochs < 5_000
    assert reason == "interrupted"


def test_an_exception_of_the_callback_is_raised() -> None:
    def callback(progress: RunProgress) -> None:
        raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="the terminal is gone"):
        run_fake(members_of(2), FakeTraining(), callback)


# Budget


def test_a_budget_ends_training_with_what_there_is(clock: Clock) -> None:
    train = FakeTraining(clock=clock)
    result = run_fake(members_of(1, 3), train, budget_seconds=200.0)  # 5 x 3 epochs, then 95, then 81
    assert result.stop_reason == "budget"
    assert [trained.state.n_epochs for trained in result.members.values()] == [100, 86, 5]
    assert [trained.state.stop_reason for trained in result.members.values()] == ["max_epochs", "budget", "paused"]
    assert result.seconds == 191.0  # the first epoch beyond 95 % of the budget


def test_one_config_is_complete_when_a_budget_ends_training_however_short_it_is(clock: Clock) -> None:
    train = FakeTraining(clock=clock, max_epochs=200)
    result = run_fake(members_of(6, 3), train, budget_seconds=1.0)
    assert result.stop_reason == "budget"
    assert n_epochs_of(result) == {0: {1}}, "one is complete, and tests every row; no time is taken for the others"
    assert train.resumed_at == []


def test_a_budget_that_is_not_spent_changes_nothing(clock: Clock) -> None:
    result = run_fake(members_of(1, 3), FakeTraining(clock=clock), budget_seconds=1e6)
    assert result.stop_reason is None
    assert n_epochs_of(result) == {0: {100}}


def test_a_budget_that_is_spent_in_the_last_epoch_was_enough(clock: Clock) -> None:
    result = run_fake(members_of(1, 1), FakeTraining(clock=clock), budget_seconds=100.5)
    assert (result.seconds, result.stop_reason, n_epochs_of(result)) == (96.0, "budget", {0: {96}})
    clock.now = 0.0
    result = run_fake(members_of(1, 1), FakeTraining(clock=clock), budget_seconds=104.5)
    assert (result.seconds, result.stop_reason, n_epochs_of(result)) == (100.0, None, {0: {100}})


def test_without_a_budget_time_ends_nothing(clock: Clock) -> None:
    result = run_fake(members_of(1, 3, cost=lambda config: 1e9), FakeTraining(clock=clock))
    assert (result.stop_reason, n_epochs_of(result)) == (None, {0: {100}})


def test_with_a_budget_the_first_config_is_trained_to_its_end_and_then_the_cheapest(clock: Clock) -> None:
    members = members_of(12, 2, cost=lambda config: 3.0 if config == 0 else 13.0 - config)
    train = FakeTraining(max_epochs=100, clock=clock, loss=lambda member, epoch: 1 / epoch - member.config)
    result = run_fake(members, train, budget_seconds=1_000.0)
    assert [member.config for member in train.begun[:6]] == [0, 0, 11, 11, 10, 10]
    assert n_epochs_of(result)[0] == {100}
    assert 0 not in result.dropped
    assert result.stop_reason == "budget"
    assert all(result.members[member].model is not None for member in members[:2]), "though they are far behind"


# Ctrl-C


def interrupt_after(n_epochs: int) -> Callable[[RunProgress], None]:
    def callback(progress: RunProgress) -> None:
        if progress.n_epochs == n_epochs:
            raise KeyboardInterrupt

    return callback


@pytest.mark.parametrize("n_epochs", [1, 150])
def test_an_interrupt_by_the_callback_keeps_what_is_done(n_epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SECONDS_BETWEEN", 0.0)
    result = run_fake(members_of(1, 3), FakeTraining(), interrupt_after(n_epochs))
    assert result.stop_reason == "interrupted"
    expected = {1: [(1, "interrupted")], 150: [(100, "max_epochs"), (50, "interrupted")]}[n_epochs]
    assert [(trained.state.n_epochs, trained.state.stop_reason) for trained in result.members.values()] == expected


def test_an_interrupt_in_a_later_rung_leaves_the_members_at_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SECONDS_BETWEEN", 0.0)
    result = run_fake(members_of(6, 1), FakeTraining(), interrupt_after(6 * 5 + 7))
    assert (result.stop_reason, result.dropped) == ("interrupted", {4: 5, 5: 5})
    assert n_epochs_of(result) == {0: {12}, 1: {5}, 2: {5}, 3: {5}, 4: {5}, 5: {5}}


def interrupt_before(member: Member) -> Callable[[Member, int], bool]:
    def fails(other: Member, epoch: int) -> bool:
        if other == member:
            raise KeyboardInterrupt
        return False

    return fails


def test_an_interrupt_before_the_first_epoch_is_raised() -> None:
    members = members_of(2)
    with pytest.raises(KeyboardInterrupt):
        run_fake(members, FakeTraining(fails=interrupt_before(members[0])))


def test_an_interrupt_of_the_run_keeps_what_is_done() -> None:
    members = members_of(2)
    result = run_fake(members, FakeTraining(fails=interrupt_before(members[2])))
    assert result.stop_reason == "interrupted"
    assert list(result.members)[:2] == members[:2]
    assert members[2] not in result.members


# A plan's run, and what it warns of


def test_a_plans_run_has_a_result_for_each_member() -> None:
    plan = make_plan(table_of(), config_of(max_epochs=3), CohortSettings(folds=3, seeds=1))
    calls: list[RunProgress] = []
    result = run(plan, calls.append, executor=ThreadExecutor(1))
    assert list(result.members) == list(plan.members)
    assert calls[-1].n_epochs == 9
    assert (result.dropped, result.failed, result.stop_reason, result.seconds_saved) == ({}, {}, None, 0.0)
    assert result.seconds > 0


def result_of(members: Sequence[Member], stop_reason: str | None, failed: dict[int, str]) -> RunResult:
    """Return the result of a run in which the first member finished and the others did not."""
    trained = {member: FakeTraining(max_epochs=2)(member, None, lambda state: None) for member in members}
    for member in members[1:]:
        state = replace(trained[member].state, stop_reason=stop_reason or "paused")
        trained[member] = replace(trained[member], state=state)
    return RunResult(trained, {}, failed, stop_reason, 1.0, 0.0)


@pytest.mark.parametrize(
    ("reason", "beginning", "end"),
    [
        ("interrupted", "interrupted", "; press again to end without one"),
        ("budget", "the budget of seconds is spent", ""),
    ],
)
def test_a_run_that_ended_early_warns_of_what_there_is(
    reason: str, beginning: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(table_of(), config_of(), CohortSettings(folds=4, seeds=1))
    ended = result_of(plan.members[:3], reason, {})
    monkeypatch.setattr(runner, "run_members", lambda *arguments, **options: ended)
    message = (
        rf"^{beginning}: 3 of 4 members have weights \(1 trained to their end\); the model consists of these{end}$"
    )
    with pytest.warns(TabcohortWarning, match=message):
        assert run(plan) is ended


def test_a_config_that_failed_is_a_warning_with_its_number_where_there_are_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = make_plan(table_of(), [config_of(), config_of(seed=1)], CohortSettings(folds=3, seeds=1))
    ended = result_of(plan.members[:3], None, {1: "the loss stopped being finite"})
    monkeypatch.setattr(runner, "run_members", lambda *arguments, **options: ended)
    with pytest.warns(TabcohortWarning, match=r"^config 2 of 2 is left out: the loss stopped being finite$"):
        run(plan)


def test_compiling_counts_neither_as_time_of_training_nor_towards_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that only the compilation moves."""
    clock = Clock()
    compiled: list[str] = []

    def compile_slowly(dtype: str, kinds: list[str]) -> None:
        clock.now += 100
        compiled.append(dtype)
        assert {"linear", "relu"} <= set(kinds)  # what the networks consist of

    monkeypatch.setattr(runner, "compile_kernels", compile_slowly)
    monkeypatch.setattr(runner, "run_members", functools.partial(run_members, clock=clock))
    plan = make_plan(table_of(), config_of(), CohortSettings(folds=3, seeds=1, budget_seconds=50))
    result = run(plan)
    assert (compiled, result.seconds, result.stop_reason) == (["float32"], 0.0, None)
    run(make_plan(table_of(), config_of(model="trees"), CohortSettings(folds=3, seeds=1)))
    assert compiled == ["float32"]  # trees need none

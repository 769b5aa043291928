"""A run of a cohort that an observer sees: everything that happens, whatever runs it, and the same bits."""

from __future__ import annotations

import time
from typing import Any

import pytest
from helpers import SMALL, assert_same, config_of, table_of
from observers import KeepingObserver

from tabcohort import CohortSettings, Config, TrainingError, fit
from tabcohort.cohort.executors import Executor, ProcessExecutor, ThreadExecutor
from tabcohort.cohort.observing import describe_run
from tabcohort.cohort.plan import make_plan
from tabcohort.training.loop import TrainingState
from tabcohort.training.observer import MemberPlace

EXECUTORS = pytest.mark.parametrize("executor", [ThreadExecutor(2), ProcessExecutor(2)], ids=["threads", "processes"])


@EXECUTORS
def test_an_observed_cohort_has_the_same_bits_and_every_epoch_is_told(executor: Executor) -> None:
    table, configs = table_of(), [config_of(max_epochs=8, dropout=0.2, batch_size=16), config_of(model="trees")]
    observer = KeepingObserver()
    observed = fit(table, configs, SMALL, executor=executor, observer=observer)
    assert_same(observed, fit(table, configs, SMALL))
    histories = [len(report.history) for report in observed.report.members]
    assert [observer.n_epochs[member] for member in range(6)] == histories
    n_layers = {member: {len(state.layers) for state in states} - {0} for member, states in observer.states.items()}
    if isinstance(executor, ThreadExecutor):  # a process tells of layers a few times a second, or too late
        assert n_layers == {0: {4}, 1: {4}, 2: {4}, 3: set(), 4: set(), 5: set()}, "trees have no layers"
    else:
        assert set().union(*n_layers.values()) <= {4}
    assert_no_state_is_repeated(observer)
    assert {reason for member in range(6) for reason in observer.stops(member)} <= {"patience", "max_epochs"}
    assert observer.calls[-1] == ("end", None)


@EXECUTORS
def test_pauses_and_dropped_configs_are_told(executor: Executor) -> None:
    table = table_of(60)
    configs = [config_of(learning_rate=rate, max_epochs=9) for rate in (1e-6, 1e-5, 1e-3, 3e-3, 1e-2, 3e-2)]
    observer = KeepingObserver()
    assert_same(fit(table, configs, SMALL, executor=executor, observer=observer), fit(table, configs, SMALL))
    assert observer.dropped == {0: 5, 1: 5}
    assert observer.stops(0) == ["paused"]
    assert observer.stops(17) == ["paused", "max_epochs"]
    assert observer.calls.count(("begin", 17)) == 2
    assert_no_state_is_repeated(observer)


def assert_no_state_is_repeated(observer: KeepingObserver) -> None:
    for states in observer.states.values():
        n_epochs = [state.n_epochs for state in states]
        assert n_epochs == sorted(set(n_epochs))


def test_a_member_begins_again_after_the_observer_knows_that_it_paused() -> None:
    """There is a worker for every member, so that all members of the second rung begin at once."""

    class Slow(KeepingObserver):
        def on_stop(self, member: int, reason: str, message: str = "") -> None:
            if reason == "paused":
                time.sleep(0.3)
            super().on_stop(member, reason, message)

    observer = Slow()
    configs = [config_of(learning_rate=rate, max_epochs=9) for rate in (1e-6, 1e-5, 1e-3, 3e-3, 1e-2, 3e-2)]
    fit(table_of(60), configs, SMALL, executor=ThreadExecutor(18), observer=observer)
    members = {call[1] for call in observer.calls if call[0] != "end"}
    for member in members:
        names = [call[0] for call in observer.calls if call[0] != "end" and call[1] == member]
        assert names == ["begin", "stop"] * (len(names) // 2)
    assert ["paused", "max_epochs"] in [observer.stops(member) for member in members]


def test_an_error_where_a_member_ends_is_raised() -> None:
    class Broken(KeepingObserver):
        def on_stop(self, member: int, reason: str, message: str = "") -> None:
            raise RuntimeError("a mistake in the observer")

    with pytest.raises(RuntimeError, match="a mistake in the observer"):
        fit(table_of(60), config_of(), SMALL, observer=Broken())


def test_a_resumed_cohort_tells_of_the_epochs_of_its_checkpoint(tmp_path: Any) -> None:
    table, config = table_of(60), config_of(max_epochs=4)
    first = fit(table, config, SMALL, checkpoint=tmp_path / "kept")
    observer = KeepingObserver()
    with pytest.warns(match="resuming from the checkpoint"):
        assert_same(fit(table, config, SMALL, checkpoint=tmp_path / "kept", observer=observer), first)
    assert observer.n_epochs == {0: 4, 1: 4, 2: 4}


def test_a_config_that_fails_is_told_with_its_message() -> None:
    observer = KeepingObserver()
    config = config_of(optimizer="sgd", learning_rate=1e30, max_epochs=5)
    with pytest.raises(TrainingError, match="stopped being finite"):
        fit(table_of(60), config, SMALL, observer=observer)
    (first, *_) = (call for call in observer.calls if call[0] == "stop")
    assert first[2] == "failed"
    assert "stopped being finite at epoch" in first[3]
    assert observer.calls[-1] == ("end", "failed")


def test_a_spent_budget_is_the_reason_for_the_end() -> None:
    observer = KeepingObserver()
    config = config_of(max_epochs=1_000_000, patience=None)
    with pytest.warns(match="the budget of seconds is spent"):
        fit(table_of(60), config, CohortSettings(folds=3, seeds=1, budget_seconds=0.5), observer=observer)
    assert observer.calls[-1] == ("end", "budget")


def test_an_error_of_the_observer_is_raised() -> None:
    class Broken(KeepingObserver):
        def on_epoch(self, member: int, state: TrainingState) -> None:
            raise RuntimeError("a mistake in the observer")

    with pytest.raises(RuntimeError, match="a mistake in the observer"):
        fit(table_of(60), config_of(), SMALL, observer=Broken())


def test_a_run_is_described_by_its_plan() -> None:
    configs = [Config(hidden=(8,), max_epochs=7), Config(model="trees", monitor="accuracy")]
    run = describe_run(make_plan(table_of(60), configs, SMALL))
    assert run.kinds == ("network", "trees")
    assert run.max_epochs == (7, configs[1].max_epochs)
    assert (run.monitors, run.lower_is_better) == (("log_loss", "accuracy"), (True, False))
    assert run.members[:4] == (*(MemberPlace(0, 0, fold) for fold in range(3)), MemberPlace(1, 0, 0))
    assert (len(run.configs), run.n_rows) == (2, 60)

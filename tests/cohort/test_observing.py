"""A run of a cohort that an observer sees: everything that happens, whatever runs it, and the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from helpers import SMALL, assert_same, config_of, table_of

from tabcohort import CohortSettings, Config, TrainingError, fit
from tabcohort.cohort.executors import Executor, ProcessExecutor, ThreadExecutor
from tabcohort.cohort.observing import describe_run
from tabcohort.cohort.plan import make_plan
from tabcohort.training.loop import TrainingState
from tabcohort.training.observer import MemberPlace, RunDescription

EXECUTORS = pytest.mark.parametrize("executor", [ThreadExecutor(2), ProcessExecutor(2)], ids=["threads", "processes"])


class Notes:
    """Keeps what an observer is told."""

    def __init__(self) -> None:
        self.runs: list[RunDescription] = []
        self.calls: list[tuple[Any, ...]] = []
        self.n_epochs: dict[int, int] = {}
        self.layers: dict[int, int] = {}  # numbers of arrays
        self.dropped: dict[int, int] = {}

    def on_start(self, run: RunDescription) -> None:
        self.runs.append(run)

    def on_begin(self, member: int) -> None:
        self.calls.append(("begin", member))

    def on_epoch(self, member: int, state: TrainingState) -> None:
        self.n_epochs[member] = max(self.n_epochs.get(member, 0), state.n_epochs)
        if state.layers:
            self.layers[member] = len(state.layers)

    def on_stop(self, member: int, reason: str, message: str = "") -> None:
        self.calls.append(("stop", member, reason, message))

    def on_progress(self, seconds_left: float, dropped: Mapping[int, int]) -> None:
        self.dropped.update(dropped)

    def on_end(self, reason: str | None) -> None:
        self.calls.append(("end", reason))

    def stops(self, member: int) -> list[str]:
        """Return the reasons for which a member stopped."""
        return [call[2] for call in self.calls if call[:2] == ("stop", member)]


@EXECUTORS
def test_an_observed_cohort_has_the_same_bits_and_every_epoch_is_told(executor: Executor) -> None:
    table, configs = table_of(), [config_of(max_epochs=8, dropout=0.2, batch_size=16), config_of(model="trees")]
    notes = Notes()
    observed = fit(table, configs, SMALL, executor=executor, observer=notes)
    assert_same(observed, fit(table, configs, SMALL))
    histories = [len(report.history) for report in observed.report.members]
    assert [notes.n_epochs[member] for member in range(6)] == histories
    assert notes.layers.keys() == {0, 1, 2}, "trees have no layers"
    assert set(notes.layers.values()) == {4}
    assert {reason for member in range(6) for reason in notes.stops(member)} <= {"patience", "max_epochs"}
    assert notes.calls[-1] == ("end", None)


@EXECUTORS
def test_pauses_and_dropped_configs_are_told(executor: Executor) -> None:
    table = table_of(60)
    configs = [config_of(learning_rate=rate, max_epochs=9) for rate in (1e-6, 1e-5, 1e-3, 3e-3, 1e-2, 3e-2)]
    notes = Notes()
    assert_same(fit(table, configs, SMALL, executor=executor, observer=notes), fit(table, configs, SMALL))
    assert notes.dropped == {0: 5, 1: 5}
    assert notes.stops(0) == ["paused"]
    assert notes.stops(17) == ["paused", "max_epochs"]
    assert notes.calls.count(("begin", 17)) == 2


def test_a_resumed_cohort_tells_of_the_epochs_of_its_checkpoint(tmp_path: Any) -> None:
    table, config = table_of(60), config_of(max_epochs=4)
    first = fit(table, config, SMALL, checkpoint=tmp_path / "kept")
    notes = Notes()
    with pytest.warns(match="resuming from the checkpoint"):
        assert_same(fit(table, config, SMALL, checkpoint=tmp_path / "kept", observer=notes), first)
    assert notes.n_epochs == {0: 4, 1: 4, 2: 4}


def test_a_config_that_fails_is_told_with_its_message() -> None:
    notes = Notes()
    config = config_of(optimizer="sgd", learning_rate=1e30, max_epochs=5)
    with pytest.raises(TrainingError, match="stopped being finite"):
        fit(table_of(60), config, SMALL, observer=notes)
    (first, *_) = (call for call in notes.calls if call[0] == "stop")
    assert first[2] == "failed"
    assert "stopped being finite at epoch" in first[3]
    assert notes.calls[-1] == ("end", "failed")


def test_a_spent_budget_is_the_reason_for_the_end() -> None:
    notes = Notes()
    config = config_of(max_epochs=1_000_000, patience=None)
    with pytest.warns(match="the budget of seconds is spent"):
        fit(table_of(60), config, CohortSettings(folds=3, seeds=1, budget_seconds=0.5), observer=notes)
    assert notes.calls[-1] == ("end", "budget")


def test_an_error_of_the_observer_is_raised() -> None:
    class Broken(Notes):
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

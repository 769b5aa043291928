"""What a worker makes of a task: a result without what is not needed, an error as a value, or nothing."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_training import FakeTraining, members_of

from tabcohort.cluster.worker import _Line, _outcome
from tabcohort.cohort.executors import STOPPED, Task
from tabcohort.cohort.members import MemberResult
from tabcohort.cohort.store import PAUSED
from tabcohort.errors import TrainingError

MEMBER = members_of(1, 1)[0]


def line(must_stop: bool = False) -> Any:
    """Return a line to no board."""
    return SimpleNamespace(must_stop=must_stop, tell=lambda member, state: must_stop)


def train(*arguments: Any) -> MemberResult:
    """Train no network, and give it states of the engine."""
    result = FakeTraining(max_epochs=3)(*arguments)
    states = {"parameters": np.zeros(2)}
    return replace(result, state=replace(result.state, best_state=states, engine_state=states))


def test_a_finished_member_comes_back_without_the_states_of_the_engine_unless_they_are_kept() -> None:
    finished = _outcome(train, Task(MEMBER), line())
    assert isinstance(finished, MemberResult)
    assert finished.state.is_finished
    assert finished.state.best_state == finished.state.engine_state == {}
    kept = _outcome(train, Task(MEMBER, keeps_state=True), line())
    assert isinstance(kept, MemberResult)
    assert kept.state.best_state.keys() == {"parameters"}


def test_a_member_that_pauses_comes_back_with_them() -> None:
    paused = _outcome(train, Task(MEMBER, pause_after=2), line())
    assert isinstance(paused, MemberResult)
    assert (paused.state.stop_reason, paused.state.n_epochs) == (PAUSED, 2)
    assert paused.state.engine_state.keys() == {"parameters"}


def test_a_member_that_has_not_begun_when_all_are_to_stop_is_not_trained() -> None:
    assert _outcome(train, Task(MEMBER), line(must_stop=True)) is None


def test_a_block_that_waited_while_training_was_stopped_is_not_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    board = SimpleNamespace(must_stop=SimpleNamespace(remote=lambda: "a reference"))
    monkeypatch.setattr(ray, "get", lambda reference, timeout: True)
    assert _outcome(train, Task(MEMBER), _Line(board)) is None

    def too_late(*_: object, **__: object) -> None:
        raise ray.exceptions.GetTimeoutError

    monkeypatch.setattr(ray, "get", too_late)
    assert not _Line(board).must_stop


def test_a_member_at_work_stops_after_the_epoch() -> None:
    to_stop = line()
    to_stop.tell = lambda member, state: state.n_epochs == 2
    stopped = _outcome(train, Task(MEMBER), to_stop)
    assert isinstance(stopped, MemberResult)
    assert (stopped.state.stop_reason, stopped.state.n_epochs) == (STOPPED, 2)


def test_an_error_of_one_member_is_a_value_and_leaves_the_others_of_its_block_alone() -> None:
    def fail(*arguments: Any) -> MemberResult:
        raise TrainingError("the loss stopped being finite")

    assert str(_outcome(fail, Task(MEMBER), line())) == "the loss stopped being finite"

"""Runs of members that train no network, with losses and a clock that are known beforehand.

Processes that train members import this file, so it imports neither PyTorch nor what only tests need.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tabcohort.cohort.executors import Executor
from tabcohort.cohort.members import MemberResult
from tabcohort.cohort.plan import Member
from tabcohort.cohort.progress import ProgressCallback
from tabcohort.cohort.runner import RunResult, run_members
from tabcohort.errors import TrainingError
from tabcohort.network.program import blank_network, build_program
from tabcohort.settings import CohortSettings, Config
from tabcohort.training.loop import EpochCallback, EpochRecord, TrainingState, after_epoch


class Clock:
    """A clock whose time passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def falling_loss(member: Member, epoch: int) -> float:
    """Return a validation loss that falls with every epoch, and is higher the later the config comes."""
    return member.config + 1 / epoch


def never(member: Member, epoch: int) -> bool:
    """Return False: no epoch fails."""
    return False


def slow_loss(member: Member, epoch: int) -> float:
    """Return a loss that falls, after a millisecond."""
    time.sleep(1e-3)
    return 1 / epoch


def rising_loss(member: Member, epoch: int) -> float:
    """Return a loss that is best after the first epoch."""
    return float(member.config + epoch)


@dataclass
class FakeTraining:
    """Trains no network: the validation loss after an epoch is `loss(member, epoch)`; an epoch takes `member.cost`.

    Args:
        max_epochs, patience: of every member.
        loss: the validation loss of a member after an epoch.
        clock: whose time passes by the member's cost in every epoch.
        fails: whether a member's loss stops being finite in an epoch.
    """

    max_epochs: int = 100
    patience: int | None = None
    loss: Callable[[Member, int], float] = falling_loss
    clock: Clock | None = None
    fails: Callable[[Member, int], bool] = never
    begun: list[Member] = field(default_factory=list)
    resumed_at: list[tuple[Member, int]] = field(default_factory=list)

    def __call__(self, member: Member, resume_from: TrainingState | None, callback: EpochCallback) -> MemberResult:
        """Train a member as `TrainMember` says."""
        config = Config(max_epochs=self.max_epochs, patience=self.patience)
        state = resume_from or TrainingState()
        if resume_from is None:
            self.begun.append(member)
        else:
            self.resumed_at.append((member, state.n_epochs))
            assert state.engine_state["epoch"] == state.n_epochs
        assert state.stop_reason is None
        while state.stop_reason is None:
            epoch = state.n_epochs + 1
            if self.fails(member, epoch):
                raise TrainingError(f"the loss of {member.config}, {member.number} stopped being finite")
            if self.clock is not None:
                self.clock.now += member.cost
            record, snapshot = record_of(epoch, self.loss(member, epoch)), functools.partial(one_number, epoch)
            state = after_epoch(state, record, snapshot, config)
            reason = callback(state)
            if reason is not None and state.stop_reason is None:
                state = replace(state, stop_reason=reason, engine_state=one_number(epoch))
        network = blank_network(build_program(Config(model="logistic"), 1, 2))
        return MemberResult(network, state, "compiled", "cpu", np.empty((0, 2)))


def makes_a_mistake(member: Member, resume_from: TrainingState | None, callback: EpochCallback) -> MemberResult:
    """Raise an error in the second member, and train the others until they are stopped."""
    if member.number == 1:
        raise RuntimeError("a mistake in the code")
    return FakeTraining(max_epochs=100_000, loss=slow_loss)(member, resume_from, callback)


def dies(member: Member, resume_from: TrainingState | None, callback: EpochCallback) -> MemberResult:
    """End the process, as the system does when no memory is left."""
    os._exit(1)


def record_of(epoch: int, loss: float) -> EpochRecord:
    """Return the record of an epoch with this validation loss."""
    return EpochRecord(epoch, 0.1, loss, loss, 0.5, loss, 0.0)


def one_number(epoch: int) -> dict[str, Any]:
    """Return an engine's state that holds nothing but the epoch."""
    return {"epoch": np.array(epoch)}


def members_of(n_configs: int, n_folds: int = 2, cost: Callable[[int], float] = lambda config: 1.0) -> list[Member]:
    """Return the members of configs, by config and fold; `cost` is that of a config."""
    return [
        Member(config, 0, fold, fold, cost(config))
        for config, fold in itertools.product(range(n_configs), range(n_folds))
    ]


def run_fake(
    members: Sequence[Member],
    train: FakeTraining,
    callback: ProgressCallback = lambda progress: None,
    executor: Executor | None = None,
    **settings: Any,
) -> RunResult:
    """Run members by a stand-in for training, in one thread unless the settings say otherwise."""
    clock = train.clock or time.perf_counter
    cohort_settings = CohortSettings(**{"threads": 1, **settings})
    return run_members(members, train, cohort_settings, train.max_epochs, callback, executor, clock)


def n_epochs_of(result: RunResult) -> dict[int, set[int]]:
    """Return after how many epochs the members of each config ended."""
    n_epochs: dict[int, set[int]] = {}
    for member, trained in result.members.items():
        n_epochs.setdefault(member.config, set()).add(trained.state.n_epochs)
    return n_epochs

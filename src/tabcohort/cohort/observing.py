"""A run of a cohort that an observer sees: the executor and the callback of the run, with the observer in between."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tabcohort.cohort.executors import Executor, OnEpoch, Submit, Task, TrainMember, chained
from tabcohort.cohort.members import MemberResult
from tabcohort.cohort.plan import CohortPlan, Member
from tabcohort.cohort.progress import ProgressCallback, RunProgress
from tabcohort.model.facts import describe_configs
from tabcohort.training.loop import TrainingState
from tabcohort.training.observer import MemberPlace, RunDescription, TrainingObserver

if TYPE_CHECKING:
    from tabcohort.cohort.runner import RunResult


def run_observed(
    observer: TrainingObserver,
    plan: CohortPlan,
    run: Callable[[ProgressCallback, Executor], RunResult],
    callback: ProgressCallback,
    executor: Executor,
) -> RunResult:
    """Run a cohort and tell an observer what happens.

    Args:
        observer: called as it happens.
        plan: of the cohort.
        run: trains the members of the plan, given a callback and where they run.
        callback, executor: see `tabcohort.cohort.runner.run`.
    """

    def observe(progress: RunProgress) -> None:
        observer.on_progress(progress.seconds_left, progress.dropped)
        callback(progress)

    observer.on_start(describe_run(plan))
    reason: str | None = "failed"
    try:
        result = run(observe, ObservedExecutor(executor, observer, plan))
        reason = result.stop_reason
    except KeyboardInterrupt:
        reason = "interrupted"
        raise
    finally:
        observer.on_end(reason)
    return result


def describe_run(plan: CohortPlan) -> RunDescription:
    """Return what a run of a plan trains."""
    configs = plan.configs
    return RunDescription(
        target=plan.table.schema.target,
        n_rows=len(plan.table.y),
        configs=tuple(describe_configs(configs)),
        kinds=tuple("network" if program is not None else "trees" for program in plan.programs),
        max_epochs=tuple(config.max_epochs for config in configs),
        monitors=tuple(config.monitor for config in configs),
        lower_is_better=tuple(config.lower_is_better for config in configs),
        members=tuple(MemberPlace(member.config, member.repeat, member.fold) for member in plan.members),
    )


class ObservedExecutor:
    """Runs tasks in another executor, and tells an observer when members begin, had an epoch, and end.

    Args:
        executor: where tasks run.
        observer: called as it happens.
        plan: of the cohort, in which members are numbered.
    """

    def __init__(self, executor: Executor, observer: TrainingObserver, plan: CohortPlan) -> None:
        self.executor, self.observer = executor, observer
        self.n_workers = self.n_tasks = executor.n_workers  # so that a member that is submitted begins
        self.shares_files = executor.shares_files
        self._numbers: Mapping[Member, int] = {member: number for number, member in enumerate(plan.members)}
        self._locks = [threading.Lock() for _ in plan.members]
        self._n_epochs = [0] * len(plan.members)  # of each member, as far as the observer was told

    @contextmanager
    def start(self, train: TrainMember, on_epoch: OnEpoch) -> Iterator[Submit]:
        """Start the executor."""

        def observe_epoch(member: Member, state: TrainingState) -> str | None:
            self._tell_epochs(self._numbers[member], state)
            return on_epoch(member, state)

        with self.executor.start(train, observe_epoch) as submit:

            def submit_observed(task: Task) -> Future[MemberResult]:
                number = self._numbers[task.member]
                self.observer.on_begin(number)
                return self._observed(number, submit(task))

            yield submit_observed

    def _tell_epochs(self, number: int, state: TrainingState) -> None:
        """Tell of a member's epochs once: a process may tell of its last ones after it has returned its result."""
        with self._locks[number]:
            if state.n_epochs > self._n_epochs[number]:
                self._n_epochs[number] = state.n_epochs
                self.observer.on_epoch(number, state)

    def _observed(self, number: int, future: Future[MemberResult]) -> Future[MemberResult]:
        """Return a future that has the result when the observer knows of it.

        Those who wait for the first future go on before its callbacks are called: the member might begin again before
        the observer knows that it paused.
        """
        return chained(future, functools.partial(self._tell_end, number))

    def _tell_end(self, number: int, done: Future[MemberResult]) -> MemberResult:
        """Tell that a member ended or paused, and return its result."""
        error = done.exception()
        if error is not None:
            is_stopped = isinstance(error, CancelledError)  # before it began
            self.observer.on_stop(number, "interrupted" if is_stopped else "failed", str(error))
            raise error
        result = done.result()
        self._tell_epochs(number, result.state)
        self.observer.on_stop(number, str(result.state.stop_reason))
        return result

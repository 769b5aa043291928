"""Where members run: threads, or processes. The result is the same to the bit, as a member is a function of the plan.

An executor of another kind (a cluster, say) implements `Executor`.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tabcohort.cohort.interrupts import starting_processes
from tabcohort.cohort.members import MemberResult
from tabcohort.cohort.plan import Member
from tabcohort.cohort.store import PAUSED
from tabcohort.engines.compiled.blas import one_blas_thread
from tabcohort.engines.compiled.jit import n_cores
from tabcohort.errors import EngineError
from tabcohort.training.loop import EpochCallback, TrainingState

SECONDS_BETWEEN = 0.1  # messages of a process about its epochs
STOPPED = "stopped"  # a worker knows only that it is to stop, not why


@dataclass(frozen=True)
class Task:
    """A piece of a member's training.

    Args:
        member: the member.
        resume_from: where it paused, if it did.
        pause_after: the epoch after which it pauses; None trains to the end.
        keeps_state: whether the result needs the engine's states even when training has ended.
    """

    member: Member
    resume_from: TrainingState | None = None
    pause_after: int | None = None
    keeps_state: bool = False

    def is_due(self, state: TrainingState) -> bool:
        """Return whether the member is to pause now."""
        return self.pause_after is not None and state.n_epochs >= self.pause_after


# Trains a member, from where it paused if it did; calls the callback after every epoch and stops for its reason.
TrainMember = Callable[[Member, TrainingState | None, EpochCallback], MemberResult]
# Called after epochs of a member, by several threads; a reason that it returns stops all members.
OnEpoch = Callable[[Member, TrainingState], str | None]
Submit = Callable[[Task], "Future[MemberResult]"]


class Executor(Protocol):
    """Runs tasks side by side.

    Args:
        n_workers: number of tasks that run at a time.
        n_tasks: number of tasks that are submitted at a time: more than `n_workers` where short ones go together.
        shares_files: whether tasks can write to the folders of this machine, and so write their own checkpoints.
    """

    n_workers: int
    n_tasks: int
    shares_files: bool

    def start(self, train: TrainMember, on_epoch: OnEpoch) -> AbstractContextManager[Submit]:
        """Return a context in which tasks can be submitted; it ends when all of them have ended."""
        ...


class ThreadExecutor:
    """Runs tasks in threads: the compiled engine releases Python's lock.

    Args:
        n_workers: number of threads; one per core when omitted.
    """

    shares_files = True

    def __init__(self, n_workers: int | None = None) -> None:
        self.n_workers = self.n_tasks = n_workers or n_cores()

    @contextmanager
    def start(self, train: TrainMember, on_epoch: OnEpoch) -> Iterator[Submit]:
        """Start the threads, with BLAS on one thread."""

        def submit(task: Task) -> Future[MemberResult]:
            def callback(state: TrainingState) -> str | None:
                return on_epoch(task.member, state) or (PAUSED if task.is_due(state) else None)

            return pool.submit(train, task.member, task.resume_from, callback)

        with one_blas_thread(), ThreadPoolExecutor(self.n_workers) as pool:
            yield submit


class ProcessExecutor:
    """Runs tasks in new processes, which get the function that trains members once.

    Args:
        n_workers: number of processes; one per core when omitted.
    """

    shares_files = True

    def __init__(self, n_workers: int | None = None) -> None:
        self.n_workers = self.n_tasks = n_workers or n_cores()

    @contextmanager
    def start(self, train: TrainMember, on_epoch: OnEpoch) -> Iterator[Submit]:
        """Start the processes, and a thread that passes on what they say of their epochs."""
        context = multiprocessing.get_context("spawn")
        messages, must_stop = context.SimpleQueue(), context.Event()
        reason: list[str] = []
        failures: list[BaseException] = []

        def pass_on() -> None:
            while (message := messages.get()) is not None:
                try:
                    asked = on_epoch(*message)
                except BaseException as error:  # raised where the context ends
                    failures.append(error)
                    asked = "interrupted"
                if asked is not None and not reason:
                    reason.append(asked)
                    must_stop.set()

        listener = threading.Thread(target=pass_on)
        listener.start()
        try:
            with ProcessPoolExecutor(
                self.n_workers, context, initializer=_start_worker, initargs=(train, messages, must_stop)
            ) as pool:

                def submit(task: Task) -> Future[MemberResult]:
                    with starting_processes():  # they start with the first task
                        future = pool.submit(_train_in_worker, task)
                    return _with_reason(future, reason)

                yield submit
        finally:
            messages.put(None)
            listener.join()
        if failures:
            raise failures[0]


_worker: dict[str, Any] = {}


def _start_worker(train: TrainMember, messages: Any, must_stop: Any) -> None:
    _worker.update(train=train, messages=messages, must_stop=must_stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: nobody reads its messages then, and it would wait."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _train_in_worker(task: Task) -> MemberResult:
    shown = [0.0]

    def callback(state: TrainingState) -> str | None:
        now = time.perf_counter()
        if now - shown[0] >= SECONDS_BETWEEN:
            shown[0] = now
            _worker["messages"].put((task.member, replace(state, best_state={}, engine_state={})))
        if _worker["must_stop"].is_set():
            return STOPPED
        return PAUSED if task.is_due(state) else None

    return _worker["train"](task.member, task.resume_from, callback)


def _with_reason(future: Future[MemberResult], reason: list[str]) -> Future[MemberResult]:
    """Return a future whose result gives the reason for which all members were stopped."""

    def named(done: Future[MemberResult]) -> MemberResult:
        try:
            return with_reason(done.result(), reason)
        except BrokenProcessPool:
            raise EngineError(
                "a process that trained members ended unexpectedly; it may have run out of memory"
            ) from None

    return chained(future, named)


def chained(
    future: Future[MemberResult], function: Callable[[Future[MemberResult]], MemberResult]
) -> Future[MemberResult]:
    """Return a future that has what a function returns for another future that is done, or the error that it raises."""
    after: Future[MemberResult] = Future()

    def finish(done: Future[MemberResult]) -> None:
        try:
            result = function(done)
        except BaseException as error:
            after.set_exception(error)
        else:
            after.set_result(result)

    future.add_done_callback(finish)
    return after


def with_reason(result: MemberResult, reason: Sequence[str]) -> MemberResult:
    """Return a result that names the reason for which all members were stopped, if it was stopped with them."""
    if result.state.stop_reason != STOPPED:
        return result
    return replace(result, state=replace(result.state, stop_reason=reason[0]))

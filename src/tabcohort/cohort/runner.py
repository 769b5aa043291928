"""The run of a cohort: all members side by side, until they end, their config is dropped, or time is up.

No result depends on where and how many members run at a time: a member is a function of the plan. Only a budget of
seconds, and Ctrl-C, make what is there at the end depend on the machine.
"""

from __future__ import annotations

import ctypes
import functools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tabcohort.cohort.blocks import Blocks
from tabcohort.cohort.checkpoint_folder import checkpoint_folder, n_checkpoints
from tabcohort.cohort.checkpointing import CheckpointingExecutor
from tabcohort.cohort.executors import Executor, Submit, Task, ThreadExecutor, TrainMember
from tabcohort.cohort.halving import HalvingPolicy
from tabcohort.cohort.interrupts import finishes_on_interrupt, first_interrupt, training_is_over
from tabcohort.cohort.members import MemberResult, train_member
from tabcohort.cohort.observing import run_observed
from tabcohort.cohort.plan import CohortPlan, Member
from tabcohort.cohort.progress import ProgressCallback, ProgressTracker, RunProgress, expected_seconds
from tabcohort.cohort.store import StateStore
from tabcohort.engines.compiled.engine import compile_kernels
from tabcohort.engines.process_group import ranks
from tabcohort.errors import EngineError, TrainingError, warn_caller
from tabcohort.file_locks import temporary_folder
from tabcohort.settings import CohortSettings
from tabcohort.training.loop import TrainingState
from tabcohort.training.observer import TrainingObserver

SECONDS_BETWEEN = 0.1  # calls of the callback
SECONDS_TO_WAIT = 0.1  # for a task at a time: Ctrl-C shows only where Python code runs
BUDGET_SHARE = 0.95  # the rest is for the predictions and their evaluation


@dataclass(frozen=True)
class RunResult:
    """What a run left.

    Args:
        members: the members that have weights, or whose config was dropped, by member.
        dropped: for each config that was dropped, the epochs after which it was.
        failed: for each config with a member whose loss stopped being finite, the error's message.
        stop_reason: "budget" or "interrupted" where one of these ended the run; else None.
        seconds: how long it took.
        seconds_saved: how much longer it would have taken without dropping, extrapolated from the time per epoch.
    """

    members: dict[Member, MemberResult]
    dropped: dict[int, int]
    failed: dict[int, str]
    stop_reason: str | None
    seconds: float
    seconds_saved: float


def run(
    plan: CohortPlan,
    callback: ProgressCallback = lambda progress: None,
    checkpoint: str | Path | None = None,
    executor: Executor | None = None,
    observer: TrainingObserver | None = None,
) -> RunResult:
    """Train all members of a plan.

    Compiling the kernels, which the first training of an installation does, counts neither as time of training nor
    towards a budget.

    Under `torchrun`, each process runs the same plan and computes its share of the rows of every network. Only the
    first one calls `callback` and `observer` and writes checkpoints.

    Args:
        plan: the cohort.
        callback: called a few times a second with how far the cohort is, by one thread at a time.
        checkpoint: a folder, or its URL, to write every member's training to as it goes, and to resume from.
        executor: where members run; threads when omitted.
        observer: called after every epoch of each member, with statistics of the weights and gradients of its layers.

    Raises:
        TrainingError: a loss stopped being finite in each config.
        EngineError: there are several processes and an executor, or they cannot be connected.
        KeyboardInterrupt: before the first member had an epoch.

    Warns:
        TabcohortWarning: the folder holds checkpoints, which are resumed from.
    """
    processes = ranks()
    if processes.size > 1 and executor is not None:
        raise EngineError("processes that torchrun started share each network, so members run in no other executor")
    if processes.rank > 0:
        folder = None if checkpoint is None else Path(checkpoint)  # only the first process looks into it
        return _run(plan, _do_nothing, executor, None, folder)
    if checkpoint is None:
        return _run(plan, callback, executor, observer)
    with checkpoint_folder(checkpoint) as folder:
        if n_members := n_checkpoints(folder):
            warn_caller(f"resuming from the checkpoint {str(checkpoint)!r}: it holds {n_members} members")
        return _run(plan, callback, executor, observer, folder, n_members)


def _do_nothing(progress: RunProgress) -> None:
    """Show nothing."""


def _run(
    plan: CohortPlan,
    callback: ProgressCallback,
    executor: Executor | None,
    observer: TrainingObserver | None,
    folder: Path | None = None,
    n_resumed: int = 0,
) -> RunResult:
    """Train all members of a plan, of which some are resumed from a folder of checkpoints that is this run's."""
    _return_freed_memory()  # making the splits took about as much as the rows in float32 will
    rows = plan.table.stored_rows() if plan.table.disk is None else None
    executor = executor or ThreadExecutor(plan.settings.threads)
    if folder is not None and not executor.shares_files:
        executor, folder = CheckpointingExecutor(executor, plan, folder), None
    train = functools.partial(
        train_member, plan, rows, folder, measure_layers=observer is not None, blocks=Blocks(plan)
    )
    if "compiled" in plan.engines:
        # Before the clock starts: once for an installation it takes about ten seconds.
        kinds = {op.kind for program in plan.programs if program is not None for op in program.operations}
        compile_kernels("float32", sorted(kinds))
    seconds = math.nan if n_resumed else expected_seconds(plan, executor.n_workers)  # not known of resumed ones
    train_all = functools.partial(
        run_members, plan.members, train, plan.settings, plan.max_epochs, expected_seconds=seconds
    )
    if observer is None:
        result = train_all(callback, executor)
    else:
        result = run_observed(observer, plan, train_all, callback, executor)
    training_is_over(was_interrupted=result.stop_reason == "interrupted")
    del rows, train, train_all  # no member trains any more
    _finish(result, plan)
    return result


def run_members(
    members: Sequence[Member],
    train: TrainMember,
    settings: CohortSettings,
    max_epochs: int,
    callback: ProgressCallback = lambda progress: None,
    executor: Executor | None = None,
    clock: Callable[[], float] = time.perf_counter,
    expected_seconds: float = math.nan,
) -> RunResult:
    """Train members side by side, the longest first.

    With halving and more than a few configs, all pause after some epochs, and configs with a high loss are dropped: see
    `HalvingPolicy`. With a budget the first config is trained to its end, and then all others for some epochs, the
    cheapest first. Ctrl-C ends training with what there is.

    Args:
        members: the members to train.
        train: trains one.
        settings: `halving`, `budget_seconds` and `threads` are used.
        max_epochs: the highest limit of epochs.
        callback: called after epochs of any member, a few times a second, by one thread at a time.
        executor: where members run; threads when omitted.
        clock: returns seconds.
        expected_seconds: how long it will take, if that is known; `callback` is called with it before training.

    Raises:
        TrainingError: a loss stopped being finite in each config.
        KeyboardInterrupt: before the first member had an epoch.
    """
    executor = executor or ThreadExecutor(settings.threads)
    with temporary_folder("tabcohort-states-") as folder:
        board = _Run(members, settings, max_epochs, callback, StateStore(folder), expected_seconds, clock)
        if not math.isnan(expected_seconds):
            board.show()
        rungs = board.policy.rungs()
        # With a budget none waits for a worker: which members still begin is decided when one is free.
        n_tasks = executor.n_tasks if settings.budget_seconds is None else executor.n_workers
        with first_interrupt(board.interrupt), executor.start(train, board.on_epoch) as submit:
            for rung in rungs:
                _train_all(submit, n_tasks, board.tasks(rung), board)
                if board.stop_reason is not None or rung == rungs[-1]:
                    break
                board.drop_configs(rung)
    result = board.result()
    if result.failed and not {member.config for member in result.members} - result.dropped.keys():
        raise TrainingError(result.failed[min(result.failed)])
    return result


def _train_all(submit: Submit, n_tasks: int, tasks: Iterator[Task], board: _Run) -> None:
    """Submit tasks as workers get free, and hand over their results; Ctrl-C lets those that run end early."""
    pending: dict[Future[MemberResult], Task] = {}
    failure: BaseException | None = None
    while True:
        try:
            while failure is None and len(pending) < n_tasks and (task := next(tasks, None)) is not None:
                pending[submit(task)] = task
            if not pending:
                break
            done, _ = wait(pending, SECONDS_TO_WAIT, FIRST_COMPLETED)
            for future in done:
                board.on_end(pending.pop(future), future)
        except KeyboardInterrupt:
            if board.stop_reason == "interrupted":  # pressed again
                raise
            board.stop_reason = "interrupted"
        except BaseException as error:
            failure, board.stop_reason = failure or error, "interrupted"
    if failure is not None:
        raise failure
    if board.stop_reason == "interrupted" and not board.results:
        raise KeyboardInterrupt


class _Run:
    """The state of a run: what members have done, and why it is to stop, if it is."""

    def __init__(
        self,
        members: Sequence[Member],
        settings: CohortSettings,
        max_epochs: int,
        callback: ProgressCallback,
        store: StateStore,
        expected_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.members, self.settings, self.max_epochs, self.callback = members, settings, max_epochs, callback
        self.store = store
        self.tracker = ProgressTracker(members, settings.budget_seconds, clock, expected_seconds)
        self.n_members = Counter(member.config for member in members)  # of each config
        has_budget = settings.budget_seconds is not None
        self.policy = HalvingPolicy(len(self.n_members), max_epochs, settings.halving, pauses=has_budget)
        # With a budget, the first of several configs is trained to its end: the result is no worse than that alone.
        self.protected = min(self.n_members) if has_budget and len(self.n_members) > 1 else None
        self.results: dict[Member, MemberResult] = {}
        self.dropped: dict[int, int] = {}
        self.failed: dict[int, tuple[int, str]] = {}  # of each config: the place of the first that failed, and why
        self.stop_reason: str | None = None
        self._places: dict[Member, int] = {}
        self._growing: set[Member] = set()  # the trees that are grown now
        self._shown, self._n_epochs_shown = -math.inf, 0
        self._lock = threading.Lock()

    def active(self) -> list[Member]:
        """Return the members of configs that were neither dropped nor failed."""
        out = self.dropped.keys() | self.failed.keys()
        return [member for member in self.members if member.config not in out]

    def tasks(self, rung: int) -> Iterator[Task]:
        """Yield what is to be trained until all members end or have had this many epochs, when a worker is free."""
        waiting = [member for member in self.active() if not self.tracker.is_finished(member)]
        waiting.sort(key=self._order)
        self._places = {member: place for place, member in enumerate(waiting)}
        while waiting:
            member = waiting.pop(self._next(waiting))
            if self._failed_before(member) or (self._reason_to_stop() and not self._is_needed(member)):
                continue
            before = self.results.get(member)
            pauses = not member.is_trees and rung < self.max_epochs and member.config != self.protected
            if member.is_trees:
                self._growing.add(member)
            yield Task(
                member, self.store.take(member, before.state) if before else None, rung if pauses else None
            )  # fmt: skip

    def on_epoch(self, member: Member, state: TrainingState) -> str | None:
        """Note an epoch, call the callback if it was not called a moment ago, and return why to stop, if so."""
        try:
            with self._lock:
                self.tracker.update(member, state)
                now = self.tracker.clock()
                if now - self._shown >= SECONDS_BETWEEN:
                    self._shown = now
                    self.show()
        except BaseException as error:  # of the callback, or Ctrl-C
            self.stop_reason = "interrupted"
            if not isinstance(error, KeyboardInterrupt):
                raise
        return self._reason_to_stop()

    def interrupt(self) -> None:
        """Let all members end after their epoch."""
        self.stop_reason = "interrupted"

    def on_end(self, task: Task, future: Future[MemberResult]) -> None:
        """Take over the result of a task."""
        self._growing.discard(task.member)
        try:
            result = future.result()
        except CancelledError:  # it had not begun when the run was stopped
            return
        except TrainingError as error:
            if not self._failed_before(task.member):
                self.failed[task.member.config] = self._places[task.member], str(error)
            return
        result = replace(result, state=self.store.put(task.member, result.state))
        self.results[task.member] = result
        with self._lock:
            self.tracker.update(task.member, result.state)  # a checkpoint may have held a finished training

    def drop_configs(self, rung: int) -> None:
        """Drop configs with a high mean of their members' lowest validation losses up to this rung."""
        if not self.settings.halving:
            return
        losses: dict[int, list[float]] = {}
        for member in self.active():
            if member.config != self.protected:
                history = self.results[member].state.history
                history = history if member.is_trees else history[:rung]  # a checkpoint may have gone beyond
                losses.setdefault(member.config, []).append(min(record.val_loss for record in history))
        selected = self.policy.select({config: float(np.mean(of_config)) for config, of_config in losses.items()})
        self.dropped.update(dict.fromkeys(selected.dropped, rung))
        for member, result in self.results.items():
            if member.config in selected.dropped:
                self.store.remove(member)
            if member.config in selected.without_weights:
                self.results[member] = replace(result, model=None)

    def result(self) -> RunResult:
        """Return what the run left, after a last call of the callback."""
        active = self.active()
        if self.stop_reason is None and self.tracker.progress(active).n_epochs > self._n_epochs_shown:
            self.show()
        stop_reason = self.stop_reason
        if stop_reason == "budget" and all(self.tracker.is_finished(member) for member in active):
            stop_reason = None  # it was enough
        # Which members of a failed config were running is up to the executor.
        kept = [member for member in self.members if member in self.results and member.config not in self.failed]
        return RunResult(
            {member: self.results[member] for member in kept},
            self.dropped,
            {config: message for config, (_, message) in sorted(self.failed.items())},
            stop_reason,
            self.tracker.seconds(),
            self.tracker.seconds_saved(self.dropped),
        )

    def _next(self, waiting: Sequence[Member]) -> int:
        """Return the place of the member to train next: the first, but trees one at a time while networks wait.

        scikit-learn holds Python's lock much of the time, so that two of them are hardly faster than one.
        """
        if not self._growing:
            return 0
        return next((place for place, member in enumerate(waiting) if not member.is_trees), 0)

    def _order(self, member: Member) -> tuple[float, float]:
        """Return what members are sorted by: trees and then the longest first, so that the workers end together.

        With a budget and several configs, the protected one comes first and then the cheapest: as many as possible are
        compared before time is up.
        """
        if self.protected is None:
            return float(not member.is_trees), -member.cost
        return float(member.config != self.protected), member.cost

    def _failed_before(self, member: Member) -> bool:
        """Return whether an earlier member of the same config failed: this does not depend on the executor."""
        return member.config in self.failed and self.failed[member.config][0] < self._places[member]

    def _reason_to_stop(self) -> str | None:
        budget = self.settings.budget_seconds or math.inf
        if self.tracker.seconds() > BUDGET_SHARE * budget and self.stop_reason is None:
            self.stop_reason = "budget"
        return self.stop_reason

    def _is_needed(self, member: Member) -> bool:
        """Return whether a member has to begin although time is up: without it no config would test every row."""
        begun = Counter(other.config for other in self.results)
        is_complete = any(n_begun == self.n_members[config] for config, n_begun in begun.items())
        return self.stop_reason == "budget" and not is_complete

    def show(self) -> None:
        """Call the callback."""
        progress = replace(self.tracker.progress(self.active()), dropped=dict(self.dropped))
        self._n_epochs_shown = progress.n_epochs
        self.callback(progress)


@finishes_on_interrupt
def _finish(result: RunResult, plan: CohortPlan) -> None:
    """Return the memory that training used, and warn of what ended before its time."""
    _return_freed_memory()
    for config, message in result.failed.items():
        which = f"config {config + 1} of {len(plan.configs)} is left out: " if len(plan.configs) > 1 else ""
        warn_caller(f"{which}{message}")
    if result.stop_reason:
        reason = {"interrupted": "interrupted", "budget": "the budget of seconds is spent"}[result.stop_reason]
        hint = "; press again to end without one" if result.stop_reason == "interrupted" else ""
        n_finished = sum(member_result.state.is_finished for member_result in result.members.values())
        warn_caller(
            f"{reason}: {len(result.members)} of {len(plan.members)} members have weights ({n_finished} "
            f"trained to their end); the model consists of these{hint}"
        )


def _return_freed_memory() -> None:
    """Return freed memory to the system: Linux's C library keeps it, and takes more for the next large array."""
    with suppress(OSError, AttributeError, TypeError):  # other systems have no such function, and no such need
        ctypes.CDLL(None).malloc_trim(0)

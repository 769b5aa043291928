"""Members on a Ray cluster. The result is the same to the bit as on this machine: a member is a function of the plan.

The function that trains a member, with the table, goes to the cluster's object store once; the workers of a node read
the same copy. Short members go together, so that a task takes seconds. What is lost with a node is trained again.
"""

from __future__ import annotations

import functools
import itertools
import pickle
import queue
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tabcohort.cluster.board import MessageBoard
from tabcohort.cluster.connection import AUTO, connect, raising_plainly
from tabcohort.cluster.worker import Outcome, train_block
from tabcohort.cohort.executors import OnEpoch, Submit, Task, TrainMember, with_reason
from tabcohort.cohort.members import MemberResult
from tabcohort.cohort.plan import Member
from tabcohort.cohort.progress import expected_member_seconds
from tabcohort.errors import EngineError, TabcohortError, TabcohortWarning, first_line
from tabcohort.training.loop import TrainingState

SECONDS_OF_BLOCK = 2.0  # so that the few milliseconds of a task of Ray's are few
TASKS_PER_WORKER = 32  # that wait to be put into blocks
SECONDS_BETWEEN = 0.1  # exchanges with the board
SECONDS_TO_COUNT = 5.0  # between counts of the cluster's cores, which nodes that join add to
MAX_CRASHES = 3  # of workers that train the same member; losses of nodes are not limited


class RayExecutor:
    """Trains members on the nodes of a Ray cluster (extra `ray`).

    Args:
        address: "local" starts a cluster on this machine, which ends with this process; "auto" is the one that Ray's
            variable `RAY_ADDRESS` names, or that was started on this machine; "HOST:PORT" is one of which this machine
            is a node; "ray://HOST:PORT" is any other one. A process that is connected to one already stays with it.
        n_local_cores: of a cluster that is started; all of this machine when omitted.

    Raises:
        TabcohortError: Ray is not installed.
        SettingsError: the address is not possible, or no cluster answers there.
        EngineError: a node has other versions of what the result depends on than this process.

    Examples:
        >>> from tabcohort import CohortClassifier, RayExecutor
        >>> classifier = CohortClassifier(executor=RayExecutor("local"))  # doctest: +SKIP
    """

    shares_files = False

    def __init__(self, address: str = AUTO, n_local_cores: int | None = None) -> None:
        self.address = address
        self.n_workers = connect(address, n_local_cores)
        self.n_tasks = TASKS_PER_WORKER * self.n_workers

    @contextmanager
    def start(self, train: TrainMember, on_epoch: OnEpoch) -> Iterator[Submit]:
        """Put what all members share into the object store, and start a thread that talks to the cluster."""
        dispatcher = _Dispatcher(self.n_workers, on_epoch)
        with raising_plainly("the cluster"):
            dispatcher.open(train)
        try:
            yield dispatcher.submit
        finally:
            dispatcher.close()
        if dispatcher.failures:
            raise dispatcher.failures[0]


@dataclass
class _Waiting:
    """A task that waits to be sent, or for its result."""

    task: Task
    future: Future[MemberResult]
    n_crashes: int = 0


@dataclass(frozen=True)
class _Block:
    """What one task of Ray's trains."""

    items: list[_Waiting]
    done: Future[bytes]
    reference: Any = field(repr=False)


class _Dispatcher:
    """Sends blocks of tasks to a cluster, and hands over their results: all of it in one thread.

    Args:
        n_workers: number of the cluster's cores, until they are counted again.
        on_epoch: called with the epochs of members.
    """

    def __init__(self, n_workers: int, on_epoch: OnEpoch) -> None:
        self.failures: list[BaseException] = []  # of the callback
        self._n_workers, self._on_epoch = n_workers, on_epoch
        self._reason: list[str] = []  # why all are to stop
        self._has_warned = False
        self._waiting: deque[_Waiting] = deque()
        self._running: dict[Any, _Block] = {}  # by the number of the block
        self._numbers = itertools.count()
        self._events: queue.SimpleQueue[int | _Waiting | None] = queue.SimpleQueue()
        self._told: tuple[Member, TrainingState] | None = None
        self._answer: Any = None  # of the board, to come
        self._exchanged = self._counted = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="tabcohort-ray", daemon=True)

    def open(self, train: TrainMember) -> None:
        """Send what all members share, and start the board and the thread."""
        import ray

        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
        board = ray.remote(num_cpus=0, max_restarts=-1)(MessageBoard)
        self._shared = [ray.put(train)]
        self._board = board.options(scheduling_strategy=here).remote()
        self._train_block = ray.remote(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")(train_block)
        self._thread.start()

    def submit(self, task: Task) -> Future[MemberResult]:
        """Return a future of a task's result."""
        item = _Waiting(task, Future())
        self._events.put(item)
        return item.future

    def close(self) -> None:
        """End the thread, and give up what still runs: there is something only where the run failed."""
        import ray

        self._events.put(None)
        self._thread.join()
        with suppress(ray.exceptions.RayError):
            for block in self._running.values():
                ray.cancel(block.reference)
        self._board = self._answer = None  # which ends the actor

    def _work(self) -> None:
        try:
            while self._handle(self._next_event()):
                self._send_blocks()
                self._exchange()
        except BaseException as error:  # the cluster cannot be reached any more, for example
            self._give_up(error)

    def _next_event(self) -> list[int | _Waiting | None]:
        """Return what has happened: tasks that were submitted, numbers of blocks that ended, and None for the end."""
        events: list[int | _Waiting | None] = []
        with suppress(queue.Empty):
            events.append(self._events.get(timeout=SECONDS_BETWEEN))
            while True:
                events.append(self._events.get_nowait())
        return events

    def _handle(self, events: list[int | _Waiting | None]) -> bool:
        """Take over what has happened, and return whether the thread goes on."""
        for event in events:
            if isinstance(event, _Waiting):
                self._waiting.append(event)
            elif event is not None:
                self._finish(self._running[event])  # what it cannot hand over, `_give_up` finds among those that run
                del self._running[event]
        if self._reason:
            while self._waiting:
                self._waiting.popleft().future.set_exception(CancelledError())
        return None not in events

    # -- blocks --------------------------------------------------------------------------------------------------------

    def _send_blocks(self) -> None:
        self._count_workers()
        n_blocks = self._n_workers + self._n_workers // 4 + 1  # some wait at the cluster, so that no worker does
        while self._waiting and len(self._running) < n_blocks:
            items, number = self._next_items(), next(self._numbers)
            try:
                reference = self._train_block.remote(self._shared, self._board, [item.task for item in items])
                done = reference.future()
            except BaseException:  # `_give_up` ends those that wait
                self._waiting.extendleft(reversed(items))
                raise
            block = self._running[number] = _Block(items, done, reference)
            block.done.add_done_callback(functools.partial(self._note_end, number))

    def _note_end(self, number: int, done: Future[bytes]) -> None:
        """Tell the thread, which alone does anything, that a block has ended."""
        self._events.put(number)

    def _next_items(self) -> list[_Waiting]:
        """Return tasks that take seconds together, but so few that there is work for all workers to the end."""
        items = [self._waiting.popleft()]
        n_items = len(self._waiting) // (2 * self._n_workers) + 1
        seconds = expected_member_seconds(items[0].task.member)
        while self._waiting and len(items) < n_items and not items[0].n_crashes:
            seconds += expected_member_seconds(self._waiting[0].task.member)
            if seconds > SECONDS_OF_BLOCK or self._waiting[0].n_crashes:  # what crashed a worker goes alone
                break
            items.append(self._waiting.popleft())
        return items

    def _count_workers(self) -> None:
        """Use the cores of nodes that have joined, and of no more nodes than there are."""
        import ray

        if time.monotonic() - self._counted < SECONDS_TO_COUNT:
            return
        self._counted = time.monotonic()
        n_cores = int(ray.cluster_resources().get("CPU", 0))
        if n_cores:
            self._n_workers = n_cores
        else:
            self._wait_for_a_core()

    def _wait_for_a_core(self) -> None:
        """Say once why nothing goes on; where training is to stop, give up what was sent, as nothing will train it."""
        import ray

        if self._reason:
            for block in self._running.values():
                ray.cancel(block.reference)
        elif not self._has_warned:
            self._has_warned = True
            warnings.warn(
                "the cluster no longer has a node with a CPU core: waiting until one joins; Ctrl-C ends the run and "
                "keeps what was trained",
                TabcohortWarning,
                stacklevel=2,
            )

    def _finish(self, block: _Block) -> None:
        """Hand over the results of a block, or let its tasks wait again if they were lost."""
        import ray

        lost = (ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError)
        crashed = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)
        error = block.done.exception()
        if error is None:
            for item, outcome in zip(block.items, pickle.loads(block.done.result()), strict=True):
                self._hand_over(item, outcome)
        elif isinstance(error, lost):
            self._waiting.extendleft(reversed(block.items))
        elif isinstance(error, crashed):
            self._try_again(block.items)
        elif self._reason and isinstance(error, ray.exceptions.TaskCancelledError):
            for item in block.items:
                item.future.set_exception(CancelledError())
        else:
            try:
                with raising_plainly("a worker of the cluster"):
                    raise error
            except TabcohortError as plain:
                error = plain
            for item in block.items:
                item.future.set_exception(error)

    def _hand_over(self, item: _Waiting, outcome: Outcome) -> None:
        if outcome is None:
            item.future.set_exception(CancelledError())
        elif isinstance(outcome, TabcohortError):
            item.future.set_exception(outcome)
        else:
            item.future.set_result(with_reason(outcome, self._reason))

    def _try_again(self, items: list[_Waiting]) -> None:
        """Let tasks wait again whose worker ended, unless one of them has ended several."""
        for item in reversed(items):
            item.n_crashes += 1
            if item.n_crashes < MAX_CRASHES:
                self._waiting.appendleft(item)
            else:
                number = item.task.member.number + 1
                item.future.set_exception(
                    EngineError(
                        f"a worker of the cluster ended {MAX_CRASHES} times while it trained member {number} of config "
                        f"{item.task.member.config + 1}; it may have run out of memory"
                    )
                )

    def _give_up(self, error: BaseException) -> None:
        """End all tasks by an error."""
        failure = EngineError(f"the cluster cannot be used any more: {first_line(error)}")
        for block in self._running.values():
            for item in block.items:
                if not item.future.done():
                    item.future.set_exception(failure)
        self._running.clear()
        while True:
            while self._waiting:
                self._waiting.popleft().future.set_exception(failure)
            event = self._events.get()
            if event is None:
                return
            if isinstance(event, _Waiting):
                self._waiting.append(event)

    # -- the board -----------------------------------------------------------------------------------------------------

    def _exchange(self) -> None:
        """Pass on how far members are, and let them stop if they are to."""
        import ray

        if time.monotonic() - self._exchanged < SECONDS_BETWEEN:
            return
        self._exchanged, told = time.monotonic(), []
        if self._answer is not None:
            if not ray.wait([self._answer], timeout=0)[0]:
                return
            with suppress(ray.exceptions.RayError):  # the board moves to another node when its own is lost
                told = [pickle.loads(message) for message in ray.get(self._answer)]
        self._answer = self._board.collect.remote(bool(self._reason))
        if not told and self._told is not None:
            told = [self._told]  # whether to stop is asked for, too, while epochs are long
        for member, state in told:
            self._told = member, state
            self._tell(member, state)

    def _tell(self, member: Member, state: TrainingState) -> None:
        try:
            asked = self._on_epoch(member, state)
        except BaseException as error:  # raised where the context ends
            self.failures.append(error)
            asked = "interrupted"
        if asked is not None and not self._reason:
            self._reason.append(asked)

"""What runs on a cluster: workers that train blocks of members."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from tabcohort.cohort.executors import STOPPED, Task, TrainMember
from tabcohort.cohort.members import MemberResult
from tabcohort.cohort.plan import Member
from tabcohort.cohort.store import PAUSED
from tabcohort.engines.compiled.blas import one_blas_thread
from tabcohort.errors import TabcohortError
from tabcohort.training.loop import TrainingState

SECONDS_TO_ANSWER = 1.0  # of the board, to a worker that begins
SECONDS_BETWEEN = 0.3  # messages of a worker: a thousand workers send three thousand of them a second

# A member's result, or why it has none; None if it had not begun when all were to stop.
Outcome = MemberResult | TabcohortError | None


def train_block(shared: Sequence[Any], board: Any, tasks: Sequence[Task]) -> bytes:
    """Train members one after another, and return their outcomes pickled: Ray's own arrays would be read-only.

    Args:
        shared: the reference of the function that trains a member, in a list so that Ray does not resolve it each time.
        board: the actor, a `MessageBoard`.
        tasks: what to train.
    """
    train, line = _function_of(shared[0]), _Line(board)
    with one_blas_thread():
        return pickle.dumps([_outcome(train, task, line) for task in tasks], pickle.HIGHEST_PROTOCOL)


_functions: dict[Any, TrainMember] = {}  # the one of the current run, whose arrays stay where all processes read them


def _function_of(reference: Any) -> TrainMember:
    import ray

    if reference not in _functions:
        _functions.clear()
        _functions[reference] = ray.get(reference)
    return _functions[reference]


def _outcome(train: TrainMember, task: Task, line: _Line) -> Outcome:
    if line.must_stop:
        return None

    def callback(state: TrainingState) -> str | None:
        if line.tell(task.member, state):
            return STOPPED
        return PAUSED if task.is_due(state) else None

    try:
        result = train(task.member, task.resume_from, callback)
    except TabcohortError as error:
        return error
    if task.keeps_state or not result.state.is_finished:
        return result
    return replace(result, state=replace(result.state, best_state={}, engine_state={}))


class _Line:
    """A worker's line to the board: it sends at most three messages a second, and waits for an answer only once.

    That is at the beginning, as a block may have waited at the cluster while training was stopped.
    """

    def __init__(self, board: Any) -> None:
        import ray

        self.must_stop = False
        self._board, self._sent = board, -math.inf
        self._answer: Any = None
        with suppress(ray.exceptions.RayError):  # the board moves to another node when its own is lost
            self.must_stop = bool(ray.get(board.must_stop.remote(), timeout=SECONDS_TO_ANSWER))

    def tell(self, member: Member, state: TrainingState) -> bool:
        """Send how far a member is, if the last message was not sent a moment ago, and return whether to stop."""
        now = time.perf_counter()
        if now - self._sent >= SECONDS_BETWEEN and self._is_answered():
            message = pickle.dumps((member, replace(state, best_state={}, engine_state={})))
            self._sent, self._answer = now, self._board.tell.remote((member.config, member.number), message)
        return self.must_stop

    def _is_answered(self) -> bool:
        """Return whether there is no answer to wait for, after reading the last one."""
        import ray

        if self._answer is not None:
            if not ray.wait([self._answer], timeout=0)[0]:
                return False
            with suppress(ray.exceptions.RayError):  # the board moves to another node when its own is lost
                self.must_stop = bool(ray.get(self._answer))
        return True

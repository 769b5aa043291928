"""Checkpoints of members that are trained where this machine's folders cannot be reached: this process writes them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tabcohort.cohort.executors import Executor, OnEpoch, Submit, Task, TrainMember, chained
from tabcohort.cohort.members import MemberResult, member_checkpoint
from tabcohort.cohort.plan import CohortPlan
from tabcohort.training.checkpoint import Checkpoint


class CheckpointingExecutor:
    """Runs tasks in another executor, each from its member's checkpoint, which is written when the task ends.

    Args:
        executor: where tasks run.
        plan: of the cohort.
        folder: of the checkpoints, on this machine.
    """

    shares_files = True

    def __init__(self, executor: Executor, plan: CohortPlan, folder: Path) -> None:
        self.executor, self.plan, self.folder = executor, plan, folder
        self.n_workers, self.n_tasks = executor.n_workers, executor.n_tasks

    @contextmanager
    def start(self, train: TrainMember, on_epoch: OnEpoch) -> Iterator[Submit]:
        """Start the executor."""
        with self.executor.start(train, on_epoch) as submit:

            def submit_from_checkpoint(task: Task) -> Future[MemberResult]:
                checkpoint = member_checkpoint(self.plan, self.folder, task.member)
                resume_from = task.resume_from or checkpoint.load()
                return _saved(submit(replace(task, resume_from=resume_from, keeps_state=True)), checkpoint)

            yield submit_from_checkpoint


def _saved(future: Future[MemberResult], checkpoint: Checkpoint) -> Future[MemberResult]:
    """Return a future that has the result when it is in the checkpoint."""

    def saved(done: Future[MemberResult]) -> MemberResult:
        result = done.result()
        checkpoint.save(result.state)
        return result

    return chained(future, saved)

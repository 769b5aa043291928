"""Where members run: threads, processes, or whatever implements `Executor`; the result has the same bits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fake_training import (
    Clock,
    FakeTraining,
    dies,
    makes_a_mistake,
    members_of,
    n_epochs_of,
    rising_loss,
    run_fake,
    slow_loss,
)
from helpers import SMALL, assert_same, config_of, table_of
from threadpoolctl import threadpool_info

from tabcohort.cohort.executors import Executor, OnEpoch, ProcessExecutor, Submit, Task, ThreadExecutor, TrainMember
from tabcohort.cohort.fit import fit
from tabcohort.cohort.members import MemberResult
from tabcohort.cohort.plan import Member
from tabcohort.cohort.progress import ProgressCallback, RunProgress
from tabcohort.cohort.runner import RunResult, run_members
from tabcohort.engines.compiled.jit import n_cores
from tabcohort.errors import EngineError, TabcohortWarning, TrainingError
from tabcohort.settings import CohortSettings
from tabcohort.training.loop import EpochCallback, TrainingState


class CallingThread:
    """Runs a task in the calling thread when it is submitted: what another executor needs is this class."""

    n_workers = n_tasks = 1
    shares_files = True

    @contextmanager
    def start(self, train: TrainMember, on_epoch: OnEpoch) -> Iterator[Submit]:
        """Start nothing."""

        def submit(task: Task) -> Future[MemberResult]:
            def callback(state: TrainingState) -> str | None:
                return on_epoch(task.member, state) or ("paused" if task.is_due(state) else None)

            future: Future[MemberResult] = Future()
            try:
                future.set_result(train(task.member, task.resume_from, callback))
            except BaseException as error:
                future.set_exception(error)
            return future

        yield submit


EXECUTORS = pytest.mark.parametrize(
    "executor", [ThreadExecutor(2), ProcessExecutor(2), CallingThread()], ids=["threads", "processes", "own"]
)


def run(
    members: Sequence[Member],
    train: TrainMember,
    executor: Executor,
    callback: ProgressCallback = lambda progress: None,
    clock: Callable[[], float] = time.perf_counter,
    budget_seconds: float | None = None,
) -> RunResult:
    """Run members whose training has up to a hundred thousand epochs."""
    settings = CohortSettings(budget_seconds=budget_seconds)
    return run_members(members, train, settings, 100_000, callback, executor, clock)


# The same bits


@EXECUTORS
def test_a_cohort_of_two_configs_has_the_bits_of_one_thread(executor: Executor) -> None:
    table, configs = table_of(), [config_of(max_epochs=8, dropout=0.2, batch_size=16), config_of(model="logistic")]
    expected = fit(table, configs, CohortSettings(folds=3, seeds=1, threads=1))
    assert_same(fit(table, configs, SMALL, executor=executor), expected)


@EXECUTORS
def test_members_that_pause_and_resume_have_the_bits_of_one_thread(executor: Executor) -> None:
    """Six configs are compared after five epochs; the engine states of those that go on travel to and fro."""
    table = table_of(60)
    configs = [
        config_of(learning_rate=rate, max_epochs=9, dropout=0.2) for rate in (1e-6, 1e-5, 1e-3, 3e-3, 1e-2, 3e-2)
    ]
    expected = fit(table, configs, CohortSettings(folds=3, seeds=1, threads=1))
    assert [report.dropped_after for report in expected.report.configs] == [5, 5, None, None, None, None]
    assert_same(fit(table, configs, SMALL, executor=executor), expected)


def test_a_checkpoint_that_processes_wrote_is_resumed_from_in_threads(tmp_path: Path) -> None:
    table, config = table_of(60), config_of(max_epochs=4)
    first = fit(table, config, SMALL, checkpoint=tmp_path / "kept", executor=ProcessExecutor(2))
    assert len(list((tmp_path / "kept").iterdir())) == 3
    with pytest.warns(TabcohortWarning, match=r"^resuming from the checkpoint '.*kept': it holds 3 members$"):
        again = fit(table, config, SMALL, checkpoint=tmp_path / "kept")
    assert again.report.members == first.report.members  # with the seconds of their epochs: none was run again
    assert_same(again, first)


def test_threads_and_processes_are_as_many_as_there_are_cores_unless_said_otherwise() -> None:
    assert ThreadExecutor().n_workers == ProcessExecutor().n_workers == n_cores()
    assert ThreadExecutor(3).n_workers == ProcessExecutor(3).n_workers == 3


def test_members_in_threads_leave_blas_one_thread() -> None:
    n_threads: list[int] = []

    def loss(member: Member, epoch: int) -> float:
        n_threads.extend(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return 1.0

    run_fake(members_of(1), FakeTraining(max_epochs=1, loss=loss), executor=ThreadExecutor(2))
    assert set(n_threads) == {1}


# Tasks


@pytest.mark.parametrize("after", [None, 1, 3, 5])
def test_a_task_is_due_when_the_member_had_its_epochs(after: int | None) -> None:
    task = Task(members_of(1)[0], pause_after=after)
    due = []

    def callback(state: TrainingState) -> None:
        due.append(task.is_due(state))

    FakeTraining(max_epochs=5)(task.member, None, callback)
    assert due == [after is not None and epoch >= after for epoch in range(1, 6)]


@EXECUTORS
def test_a_task_pauses_after_its_epochs_and_resumes_from_there(executor: Executor) -> None:
    members, train = members_of(1, 3), FakeTraining(max_epochs=9)
    with executor.start(train, lambda member, state: None) as submit:
        paused = [future.result() for future in [submit(Task(member, pause_after=4)) for member in members]]
        assert [(result.state.n_epochs, result.state.stop_reason) for result in paused] == [(4, "paused")] * 3
        resumed = [
            submit(Task(member, replace(result.state, stop_reason=None)))
            for member, result in zip(members, paused, strict=True)
        ]
        states = [future.result().state for future in resumed]
    assert [(state.n_epochs, state.stop_reason) for state in states] == [(9, "max_epochs")] * 3


@pytest.mark.parametrize("n_workers", [1, 3, None])
def test_a_future_has_the_result_of_its_own_task_whichever_ends_first(n_workers: int | None) -> None:
    def loss(member: Member, epoch: int) -> float:
        time.sleep(0.001 * (5 - member.number))
        return float(member.number)

    train = FakeTraining(max_epochs=1, loss=loss)
    with ThreadExecutor(n_workers).start(train, lambda member, state: None) as submit:
        futures = [submit(Task(member)) for member in members_of(1, 5)]
    assert [future.result().state.history[0].val_loss for future in futures] == list(range(5))


def test_tasks_begin_in_their_order_and_as_many_at_a_time_as_there_are_workers() -> None:
    begun, running, most, lock = [], set(), [0], threading.Lock()

    def loss(member: Member, epoch: int) -> float:
        with lock:
            begun.append(member.number)
            running.add(member.number)
            most[0] = max(most[0], len(running))
        time.sleep(0.002)
        with lock:
            running.remove(member.number)
        return 1.0

    run_fake(members_of(1, 8), FakeTraining(max_epochs=1, loss=loss), executor=ThreadExecutor(1))
    assert (begun, most) == (list(range(8)), [1])
    run_fake(members_of(1, 8), FakeTraining(max_epochs=1, loss=loss), executor=ThreadExecutor(2))
    assert most == [2]


# What fails, and what stops all


def test_an_error_of_a_task_is_raised_when_those_that_run_have_ended_and_no_others_begin() -> None:
    begun, stopped = [], []

    def train(member: Member, resume_from: TrainingState | None, callback: EpochCallback) -> MemberResult:
        begun.append(member.number)
        if member.number == 1:
            raise LookupError("no such thing")
        result = FakeTraining(max_epochs=100_000, loss=slow_loss)(member, resume_from, callback)
        stopped.append(result.state.stop_reason)
        return result

    with pytest.raises(LookupError, match="no such thing"):
        run(members_of(1, 4), train, ThreadExecutor(2))
    assert stopped == ["interrupted"]
    assert begun == [0, 1]


def test_a_keyboard_interrupt_of_a_task_stops_the_others_at_once_and_keeps_what_they_have() -> None:
    def train(member: Member, resume_from: TrainingState | None, callback: EpochCallback) -> MemberResult:
        if member.number == 1:
            raise KeyboardInterrupt
        return FakeTraining(max_epochs=100_000, loss=slow_loss)(member, resume_from, callback)

    result = run(members_of(1, 4), train, ThreadExecutor(2))
    assert result.stop_reason == "interrupted"
    assert [trained.state.stop_reason for trained in result.members.values()] == ["interrupted"]


@EXECUTORS
def test_a_loss_that_is_not_finite_leaves_its_config_out_wherever_the_member_ran(executor: Executor) -> None:
    diverges = config_of(optimizer="sgd", learning_rate=1e30, batch_size=16)
    message = (
        r"^config 1 of 2 is left out: network 1: the loss stopped being finite at epoch 1, step \d of \d; a smaller"
    )
    with pytest.warns(TabcohortWarning, match=message):
        predictor = fit(table_of(), [diverges, config_of(max_epochs=3)], SMALL, executor=executor)
    assert "stopped being finite" in str(predictor.report.configs[0].failed)
    with pytest.raises(TrainingError, match=r"^network 1: the loss stopped being finite at epoch 1"):
        fit(table_of(), diverges, SMALL, executor=executor)


def test_another_error_in_a_process_is_raised_and_the_others_end_soon() -> None:
    began = time.perf_counter()
    with pytest.raises(RuntimeError, match=r"^a mistake in the code$"):
        run(members_of(1, 3), makes_a_mistake, ProcessExecutor(2))
    assert time.perf_counter() - began < 60  # all their epochs would take minutes


def test_a_process_that_dies_is_an_error_and_nothing_waits_for_it() -> None:
    with pytest.raises(EngineError, match=r"^a process that trained members ended unexpectedly; it may"):
        run(members_of(1, 3), dies, ProcessExecutor(2))


@EXECUTORS
@pytest.mark.parametrize(
    "error", [OSError("the terminal is gone"), SystemExit(3)], ids=lambda error: type(error).__name__
)
def test_an_error_of_the_callback_is_raised_and_nothing_is_trained_on(executor: Executor, error: BaseException) -> None:
    calls: list[int] = []

    def callback(progress: RunProgress) -> None:
        calls.append(progress.n_epochs)
        raise error

    with pytest.raises(type(error)) as raised:
        run_fake(members_of(2), FakeTraining(max_epochs=100_000, loss=slow_loss), callback, executor)
    assert raised.value is error
    assert len(calls) < 5  # while all epochs are trained, there would be a thousand


@EXECUTORS
def test_a_keyboard_interrupt_of_the_callback_keeps_what_is_done(executor: Executor) -> None:
    def callback(progress: RunProgress) -> None:
        if progress.n_epochs > 3:
            raise KeyboardInterrupt

    result = run_fake(members_of(1), FakeTraining(max_epochs=100_000, loss=slow_loss), callback, executor)
    assert result.stop_reason == "interrupted"
    assert result.members
    for trained in result.members.values():
        assert trained.state.stop_reason == "interrupted"
        assert 1 <= trained.state.n_epochs < 50_000


@EXECUTORS
def test_a_budget_stops_members_wherever_they_run(executor: Executor, clock: Clock) -> None:
    """The first config is trained to its end if time allows it; here time passes with the callback's calls."""

    def callback(progress: RunProgress) -> None:
        clock.now += 40.0

    train = FakeTraining(max_epochs=100_000, loss=slow_loss)
    result = run(members_of(1), train, executor, callback, clock, budget_seconds=100.0)
    assert result.stop_reason == "budget"
    assert len(result.members) == 2, "every row must be tested"
    assert {trained.state.stop_reason for trained in result.members.values()} == {"budget"}


def test_members_that_finish_before_their_messages_are_read_are_not_trained_again() -> None:
    """The callback is slow, so that processes have ended when what they reported of their epochs is read."""
    train = FakeTraining(max_epochs=50, patience=2, loss=rising_loss)
    result = run_fake(members_of(6, 2), train, lambda progress: time.sleep(0.2), ProcessExecutor(2))
    assert result.dropped == {4: 5, 5: 5}
    assert n_epochs_of(result) == {config: {3} for config in range(6)}
    assert {trained.state.stop_reason for trained in result.members.values()} == {"patience"}


SCRIPT = """
if __name__ == "__main__":
    import signal
    from helpers import SMALL, config_of, table_of
    from tabcohort import fit
    from tabcohort.cohort.executors import ProcessExecutor

    signal.signal(signal.SIGINT, signal.default_int_handler)
    config = config_of(max_epochs=1_000_000)
    predictor = fit(
        table_of(3_000), config, SMALL, lambda progress: print(progress.n_epochs, flush=True), None, ProcessExecutor(2)
    )
    print("model", predictor.report.stop_reason, len(predictor.models), flush=True)
"""


def started(folder: Path, stderr: int, start_new_session: bool = False) -> subprocess.Popen[str]:
    """Return the process of `SCRIPT`, whose standard output can be read."""
    script = folder / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=stderr, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, start_new_session=start_new_session,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_ctrl_c_in_a_terminal_reaches_all_processes_and_gives_a_model(tmp_path: Path) -> None:
    """A terminal sends it to every process in the foreground, so to the workers too."""
    with started(tmp_path, stderr=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(300, process.kill)  # rather than wait for ever
        watchdog.start()
        for line in process.stdout:
            if re.match(r"[1-9]\d*$", line):
                os.killpg(process.pid, signal.SIGINT)
                break
        out, err = process.communicate(timeout=300)
        watchdog.cancel()
    assert process.returncode == 0, err
    assert re.search(r"^model interrupted [123]$", out, re.MULTILINE), err
    assert "interrupted: " in err
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed otherwise there")
def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    """Killed, it cannot tell them; they hold its standard output open as long as they live."""
    with started(tmp_path, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.communicate(timeout=60)  # raises `TimeoutExpired` while a worker lives
    assert process.returncode == -signal.SIGKILL

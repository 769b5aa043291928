"""Members on a cluster have the bits of one thread, and what is lost or stopped is trained again or kept."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import CancelledError, Future
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from fake_training import members_of

from tabcohort import TabcohortWarning
from tabcohort.cluster import ray_executor

if TYPE_CHECKING:
    from tabcohort.cohort.executors import Task

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what `ray_session.py` prints: Ray takes seconds to start, and changes the process that starts it."""
    folder, quick = tmp_path_factory.mktemp("session"), tmp_path_factory.mktemp("quick")
    # JupyterLab installs this for jsonschema, and importing it takes seconds in each of the processes of Ray.
    (quick / "rfc3987_syntax.py").write_text("raise ImportError('left out')", encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = os.pathsep.join([str(quick), *sys.path])
    script = Path(__file__).with_name("ray_session.py")
    with tempfile.TemporaryDirectory(prefix="ray-") as sockets:  # whose paths must be short
        ran = subprocess.run(
            [sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=400,
            env={**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "RAY_TMPDIR": sockets},
        )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    lines = [line for line in ran.stdout.splitlines() if line.startswith("{")]  # Ray prints there, too
    return dict(json.loads(lines[-1]))


def test_a_local_cluster_is_of_this_machine_only_and_says_nothing_of_itself(facts: dict[str, Any]) -> None:
    assert (facts["n_workers"], facts["hosts"]) == (2, ["127.0.0.1"])
    assert (facts["auth"], facts["usage"]) == ("token", "0")


def test_members_on_a_cluster_have_the_bits_of_one_thread(facts: dict[str, Any]) -> None:
    assert facts["equal_bits"] is None  # it raises where they differ
    assert facts["halving"] == [5, 5, None, None, None, None]


def test_an_interrupted_run_is_resumed_from_the_url_of_its_checkpoint_to_the_same_bits(facts: dict[str, Any]) -> None:
    stop_reason, warnings = facts["checkpoint"]
    assert stop_reason == "interrupted"
    assert [text for text in warnings if text.startswith(("interrupted", "resuming"))] == [
        "interrupted",
        "resuming from the checkpoint 'file",
    ]


def test_what_a_worker_was_training_when_it_ended_is_trained_again_but_not_for_ever(facts: dict[str, Any]) -> None:
    tried, message = facts["crashes"]
    assert tried == "tried " * 3
    assert message == (
        "a worker of the cluster ended 3 times while it trained member 3 of config 1; it may have run out of memory"
    )


def test_files_of_rows_are_predicted_for_as_on_this_machine(facts: dict[str, Any]) -> None:
    n_rows, counts, names, message = facts["shards"]
    assert (n_rows, counts, names) == (90, [30] * 3, [f"part-{number}.parquet" for number in range(3)])
    assert message.startswith("part-3.parquet: the table lacks 'b'")


def test_where_no_core_is_left_a_warning_says_so_once_and_an_interrupted_run_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    cancelled: list[object] = []
    monkeypatch.setattr(ray, "cluster_resources", dict)
    monkeypatch.setattr(ray, "cancel", cancelled.append)
    monkeypatch.setattr(ray_executor, "SECONDS_TO_COUNT", 0.0)
    dispatcher = ray_executor._Dispatcher(3, lambda member, state: None)
    item, done = ray_executor._Waiting(cast("Task", None), Future()), Future[bytes]()
    dispatcher._running[7] = ray_executor._Block([item], done, "a reference")
    with pytest.warns(TabcohortWarning, match="no longer has a node with a CPU core: waiting until one joins"):
        dispatcher._count_workers()
    dispatcher._count_workers()  # a second warning would be an error
    assert cancelled == []
    dispatcher._reason.append("interrupted")
    dispatcher._count_workers()
    assert cancelled == ["a reference"]
    done.set_exception(ray.exceptions.TaskCancelledError())
    dispatcher._finish(dispatcher._running[7])
    with pytest.raises(CancelledError):
        item.future.result(timeout=0)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    dispatcher._count_workers()
    assert dispatcher._n_workers == 2


def test_some_blocks_wait_at_the_cluster_so_that_no_worker_waits_for_this_process() -> None:
    dispatcher = ray_executor._Dispatcher(4, lambda member, state: None)
    sent: list[int] = []

    class TrainBlock:
        @staticmethod
        def remote(shared: object, board: object, tasks: list[Task]) -> SimpleNamespace:
            sent.append(len(tasks))
            return SimpleNamespace(future=Future[bytes])

    dispatcher._train_block, dispatcher._shared, dispatcher._board = TrainBlock(), [], None
    task = cast("Task", SimpleNamespace(member=members_of(1)[0]))
    dispatcher._waiting.extend(ray_executor._Waiting(task, Future()) for _ in range(9))
    dispatcher._send_blocks()
    assert (len(sent), len(dispatcher._running)) == (6, 6)
    assert sum(sent) + len(dispatcher._waiting) == 9
    dispatcher._send_blocks()
    assert len(sent) == 6

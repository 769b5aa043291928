"""One network trained by two processes: the losses of one process, the same stop, and clear errors."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_together
from training_together import CONFIGS, losses_of, members_of_a_cohort

WARNINGS = "-Wignore::tabcohort.errors.TabcohortWarning"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what each of two processes, started as `torchrun` does, has trained."""
    folder = tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = []
    for rank in ("0", "1"):
        names = {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, WARNINGS, str(training_together.__file__), str(folder)]
        environment = {**os.environ, **names}
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert [path.name for path in Path(folder).iterdir()] == ["training"]
    return [json.loads(out) for out, _ in outputs]


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_have_the_losses_of_one(results: list[dict[str, Any]], name: str) -> None:
    """With dropout masks, mixup, weights of classes and short last steps; one process has no row of a lone one."""
    alone = np.array(losses_of(name))
    assert abs(alone[0, 0] - alone[-1, 0]) > 1e-3
    np.testing.assert_allclose(results[0]["losses"][name], alone, rtol=0, atol=1e-5)


def test_all_processes_see_the_same_bits(results: list[dict[str, Any]]) -> None:
    for what in ("losses", "cohort", "resumed"):
        assert results[0][what] == results[1][what]


def test_members_of_a_cohort_stop_at_the_epochs_of_one_process(results: list[dict[str, Any]]) -> None:
    alone = members_of_a_cohort()
    for together, history in zip(results[0]["cohort"], alone, strict=True):
        np.testing.assert_allclose(together, history, rtol=0, atol=1e-5)
    assert min(map(len, alone)) < 5  # patience ended one of them


def test_a_training_resumes_from_the_file_of_the_first_process(results: list[dict[str, Any]]) -> None:
    whole, again = results[0]["resumed"]
    assert len(whole) > 2
    assert whole == again


def test_a_process_that_is_gone_is_an_error_of_one_line(results: list[dict[str, Any]]) -> None:
    assert results[0]["alone"].startswith("a process of this training ended or does not answer: ")


def test_processes_that_do_not_fit_each_other_are_refused_in_all_of_them(results: list[dict[str, Any]]) -> None:
    expected = {
        "table": "the table of process 1 differs from that of process 0: give all of them the same table",
        "config": "the config of process 1 differs from that of process 0",
        "module": "the module of process 1 differs from that of process 0",
        "engine": "only the engine 'torch' trains a network in several processes",
        "trees": "several processes, as torchrun starts them, train networks and no boosted trees",
        "budget": "which a budget of seconds does not ensure: leave it out",
    }
    for result in results:
        for name, words in expected.items():
            assert words in result["messages"][name], result["messages"]

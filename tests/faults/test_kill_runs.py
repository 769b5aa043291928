"""Runs that are killed, or interrupted, at random moments: what is left is what an undisturbed run leaves.

`make faults` tries many more, of all commands that write files.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator

import pytest
from kill_runs import COMMANDS, WarmProcess, contents, kill_runs, place, table_of, undisturbed, untimed, warm_process

from tabcohort.container import read_container, write_container

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals, limits and forks of Linux are used")
N_KILLS = {"fit": 2, "decide": 2}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmProcess]:
    """A process that runs commands in forks."""
    with warm_process(tmp_path_factory.mktemp("killed")) as process:
        yield process


def test_runs_that_were_killed_are_repeated_to_the_files_of_undisturbed_ones(process: WarmProcess) -> None:
    tallies = kill_runs(process, N_KILLS)
    assert [tally.failures for tally in tallies.values()] == [[], []]
    assert [tally.counts["killed"] for tally in tallies.values()] == list(N_KILLS.values())
    assert [tally.counts["equal"] - tally.counts["runs"] for tally in tallies.values()] == [0, 0]
    assert table_of(tallies).count("\n") == 3


def test_a_model_is_compared_in_all_but_its_times(process: WarmProcess) -> None:
    path, changed = process.folder / "model.tabcohort", process.folder / "changed.tabcohort"
    arrays, document = read_container(path, "model")
    kept = {name: value for name, value in document.items() if name not in ("kind", "format")}
    write_container(changed, "model", arrays, {**kept, "times": {**kept["times"], "fit_seconds": 1e6}})
    assert untimed(changed) == untimed(path)
    write_container(changed, "model", arrays, {**kept, "members": kept["members"][::-1]})
    assert untimed(changed) != untimed(path)
    changed.unlink()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_ends_with_its_status_and_can_be_resumed(number: int, process: WarmProcess) -> None:
    command, folder = COMMANDS["fit"], process.folder / "run"
    reference, expected, _ = undisturbed(process, command)
    rng = random.Random(number)
    place(folder, {})
    moment = {"seconds": rng.uniform(0, reference.seconds), "signals": [number] * 2, "gap": 0.02}
    ended = process.run(*command, moment=moment, exits=True)
    assert ended.status in (0, 130), ended.messages
    assert "terminate called" not in ended.messages
    assert process.run(*command).status == 0
    assert contents(folder).items() >= expected.items()
    assert os.listdir(process.folder / "tmp") == []

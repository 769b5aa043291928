"""A checkpoint at a URL: copied here and there, and kept to one run by a file that is renewed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from helpers import SMALL, assert_same, config_of, table_of

from tabcohort import SettingsError, TabcohortWarning, fit
from tabcohort.cohort import mirrored_folder as module
from tabcohort.cohort.mirrored_folder import LEASE, SECONDS_OF_LEASE, mirrored_folder

URL = "memory://runs/first"


@pytest.fixture
def memory() -> Iterator[Any]:
    """Give fsspec's file system in memory, which is empty before and after."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def names(files: Any) -> list[str]:
    """Return the names of the files at the URL."""
    return sorted(path.rpartition("/")[2] for path in files.ls("/runs/first", detail=False))


def test_what_is_written_here_is_there_and_the_next_run_reads_it(memory: Any) -> None:
    with mirrored_folder(URL) as folder:
        (folder / "a.checkpoint").write_bytes(b"one")
        assert names(memory) == [LEASE]
    assert names(memory) == ["a.checkpoint"]
    with mirrored_folder(URL) as folder:
        assert (folder / "a.checkpoint").read_bytes() == b"one"
        (folder / ".tabcohort.half").write_bytes(b"a file that is being written")
    assert names(memory) == ["a.checkpoint"]


def test_changes_are_copied_while_the_run_goes_on(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN", 0.01)
    with mirrored_folder(URL) as folder:
        (folder / "a.checkpoint").write_bytes(b"one")
        end = time.monotonic() + 10
        while "a.checkpoint" not in names(memory) and time.monotonic() < end:
            time.sleep(0.01)
        assert names(memory) == [LEASE, "a.checkpoint"]


def test_a_folder_belongs_to_one_run_until_its_lease_ends(memory: Any) -> None:
    message = "is used by another run, or was until a minute ago; wait, or name another"
    with mirrored_folder(URL), pytest.raises(SettingsError, match=message), mirrored_folder(URL):
        pass
    killed = {"run": "killed", "time": time.time() - SECONDS_OF_LEASE + 5}
    memory.pipe_file(f"/runs/first/{LEASE}", json.dumps(killed).encode())
    with pytest.raises(SettingsError, match=message), mirrored_folder(URL):
        pass
    memory.pipe_file(f"/runs/first/{LEASE}", json.dumps({**killed, "time": killed["time"] - 10}).encode())
    with mirrored_folder(URL):
        pass
    assert names(memory) == []


def test_a_copy_that_fails_is_a_warning_and_the_last_one_an_error(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN", 0.01)
    failures: list[int] = []

    def fail(self: Any, folder: Path) -> None:
        failures.append(1)
        raise OSError("the network is down")

    monkeypatch.setattr(module._Mirror, "write", fail)

    def run() -> None:
        with mirrored_folder(URL):
            end = time.monotonic() + 10
            while len(failures) < 3 and time.monotonic() < end:
                time.sleep(0.01)

    warned = pytest.warns(TabcohortWarning, match=r"copies to the checkpoint 'memory:.* failed: the network is down$")
    with warned, pytest.raises(SettingsError, match="'memory://runs/first' cannot be used: the network is down"):
        run()
    assert names(memory) == []


def test_a_url_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SettingsError, match="'nothing://x' cannot be used: Protocol not known: nothing"):
        fit(table_of(60), config_of(max_epochs=1), SMALL, checkpoint="nothing://x")


def test_a_run_is_resumed_from_a_url_to_the_same_bits(memory: Any) -> None:
    table, config = table_of(60), config_of(max_epochs=4)
    first = fit(table, config, SMALL, checkpoint=URL)
    assert len(names(memory)) == 3
    with pytest.warns(TabcohortWarning, match=r"^resuming from the checkpoint 'memory://.*: it holds 3 members$"):
        again = fit(table, config, SMALL, checkpoint=URL)
    assert_same(again, first)

"""A folder of checkpoints belongs to one run, and a killed run leaves nothing in the way of the next."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import QUICK, SMALL, make_small_table

from tabcohort import Config, SettingsError, fit
from tabcohort.cohort.checkpoint_folder import LOCK, checkpoint_folder, n_checkpoints
from tabcohort.cohort.progress import RunProgress

NEEDS_LOCKS = pytest.mark.skipif(sys.platform == "win32", reason="there are no locks of POSIX")


def test_a_folder_is_made_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    with checkpoint_folder(tmp_path / "new") as folder:
        assert folder == tmp_path / "new"
        assert n_checkpoints(folder) == 0
    assert not list(folder.iterdir())
    with checkpoint_folder(str(folder)):  # an empty one is as good
        (folder / "0-0-0.checkpoint").touch()
        assert n_checkpoints(folder) == 1
    assert [path.name for path in folder.iterdir()] == ["0-0-0.checkpoint"]


def test_a_folder_of_other_things_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="holds other things and no checkpoint; name a new one"):
        fit(make_small_table(), Config(**QUICK), SMALL, checkpoint=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_or_a_folder_that_cannot_be_made_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = r"the checkpoint '.*{}' must be a folder, for a file per member: {}$"
    with (
        pytest.raises(SettingsError, match=message.format("file", "File exists")),
        checkpoint_folder(tmp_path / "file"),
    ):
        pass
    with (
        pytest.raises(SettingsError, match=message.format("nowhere/new", "No such file or directory")),
        checkpoint_folder(tmp_path / "nowhere" / "new"),
    ):
        pass


def test_what_a_run_that_was_killed_left_is_removed(tmp_path: Path) -> None:
    """A kill during the first write leaves a temporary file and the lock file, and nothing else."""
    (tmp_path / ".tabcohort.123.abcd").write_bytes(b"half a checkpoint")
    (tmp_path / LOCK).write_text("123")
    with checkpoint_folder(tmp_path) as folder:
        assert [path.name for path in folder.iterdir()] == [LOCK]
    assert not list(tmp_path.iterdir())


@NEEDS_LOCKS
def test_a_second_run_in_the_same_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    refused = []

    def callback(progress: RunProgress) -> None:
        if not refused:
            with pytest.raises(
                SettingsError, match=rf"is used by another run, process {os.getpid()}; wait for"
            ) as error:
                fit(make_small_table(), Config(**QUICK), SMALL, checkpoint=tmp_path / "kept")
            refused.append(error)

    fit(make_small_table(), Config(**QUICK), SMALL, callback, tmp_path / "kept")
    assert refused
    assert LOCK not in {path.name for path in (tmp_path / "kept").iterdir()}


@NEEDS_LOCKS
def test_the_lock_of_a_killed_process_is_none(tmp_path: Path) -> None:
    code = f"""
import time
from tabcohort.cohort.checkpoint_folder import checkpoint_folder
with checkpoint_folder({str(tmp_path)!r}):
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        while not (tmp_path / LOCK).exists() or not (tmp_path / LOCK).read_text():
            assert process.poll() is None
            time.sleep(0.05)
        with pytest.raises(SettingsError, match=f"process {process.pid};"), checkpoint_folder(tmp_path):
            pass
    finally:
        process.kill()
        process.wait()
    with checkpoint_folder(tmp_path):
        assert (tmp_path / LOCK).read_text() == str(os.getpid())

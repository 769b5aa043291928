"""Locks end with their process, and what nobody holds any more is removed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tabcohort import file_locks
from tabcohort.container import TEMPORARY, replace_file, temporary_beside
from tabcohort.file_locks import HeldError, new_locked_file, process_lock, remove_leftovers, temporary_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no locks of POSIX")
ANYTHING = re.compile(".*")


def killed_while(folder: Path, code: str) -> None:
    """Run code in a process, which is killed in the middle of it."""
    code = (
        "import os, pathlib, signal\nfrom tabcohort.file_locks import *\n"
        f"folder = pathlib.Path({str(folder)!r})\nwith {code}:\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "TMPDIR": str(folder)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60).returncode == -9


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_lock_is_a_file_with_the_number_of_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with process_lock(path):
        assert path.read_text() == str(os.getpid())
        with pytest.raises(HeldError) as held, process_lock(path):
            pass
        assert held.value.holder == str(os.getpid())
    assert not path.exists()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    killed_while(tmp_path, "process_lock(folder / 'lock')")
    with process_lock(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
    assert os.listdir(tmp_path) == []


def test_leftovers_are_what_nobody_has_locked(tmp_path: Path) -> None:
    killed_while(tmp_path, "new_locked_file(folder / 'killed')")
    (tmp_path / "killed folder").mkdir()
    (tmp_path / "killed folder" / "state").touch()
    (tmp_path / "link").symlink_to("killed")
    os.mkfifo(tmp_path / "pipe")
    with new_locked_file(tmp_path / "held") as file:
        file.close()  # the lock is kept
        remove_leftovers(tmp_path, re.compile("killed.*|held|link"))
        assert set(os.listdir(tmp_path)) == {"held", "link", "pipe"}, "a link is nothing that we make"
    remove_leftovers(tmp_path, ANYTHING)
    assert set(os.listdir(tmp_path)) <= {"link", "pipe"}


def test_leftovers_of_other_names_stay(tmp_path: Path) -> None:
    names = [".tabcohort.12.0123abcd", ".tabcohort.notes", ".tabcohort.12.0123abcd.lock", "model", ".lock"]
    for name in names:
        (tmp_path / name).touch()
    replace_file(tmp_path / "model", lambda file: file.write(b"new"))
    assert set(os.listdir(tmp_path)) == set(names[1:])
    assert TEMPORARY.fullmatch(temporary_beside(tmp_path / "model").name)


def test_a_folder_without_rights_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "killed").touch()

    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "unlink", refuse)  # whoever is root may remove anything
    remove_leftovers(tmp_path, ANYTHING)
    monkeypatch.setattr(os, "scandir", refuse)
    remove_leftovers(tmp_path, ANYTHING)
    assert os.listdir(tmp_path) == ["killed"]


def test_a_new_file_that_was_removed_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lock, n_removed = tmp_path / "new", file_locks._lock, []

    def removed_first(handle: int, wait: bool = False) -> bool | None:
        if not n_removed:
            n_removed.append(path.unlink())
        return lock(handle, wait)

    monkeypatch.setattr(file_locks, "_lock", removed_first)
    with new_locked_file(path) as file:
        file.write(b"kept")
    assert path.read_bytes() == b"kept"


def test_a_temporary_folder_is_removed_and_so_is_that_of_a_killed_process(temporary: Path) -> None:
    killed_while(temporary, "temporary_folder('tabcohort-states-') as folder, open(folder / 'state', 'w')")
    (killed,) = temporary.iterdir()
    assert [path.name for path in killed.iterdir()] == ["state"]
    (temporary / "tabcohort-rescued").mkdir()
    with temporary_folder("tabcohort-states-") as first, temporary_folder("tabcohort-states-") as second:
        (second / "state").touch()
        assert set(temporary.iterdir()) == {first, second, temporary / "tabcohort-rescued"}
    assert [path.name for path in temporary.iterdir()] == ["tabcohort-rescued"]


def test_a_temporary_folder_that_was_removed_before_it_was_opened_is_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, removed = tempfile.mkdtemp, []

    def removed_first(prefix: str) -> str:
        folder = make(prefix=prefix)
        if not removed:
            os.rmdir(folder)
            removed.append(folder)
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", removed_first)
    with temporary_folder("tabcohort-states-") as folder:
        assert list(temporary.iterdir()) == [folder] != removed
    assert list(temporary.iterdir()) == []


def test_without_locks_nothing_is_removed(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.setattr(file_locks, "fcntl", None)
    (temporary / "tabcohort-states-1").mkdir()
    with temporary_folder("tabcohort-states-") as folder, process_lock(folder / "lock"):
        replace_file(folder / "model", lambda file: file.write(b"new"))
        assert os.listdir(folder) == ["model"]
    assert os.listdir(temporary) == ["tabcohort-states-1"]

"""Locks that the system releases when a process ends, however it ends: what nobody holds any more can be removed.

They need a POSIX system; elsewhere nothing is locked and nothing is removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, BinaryIO

try:
    import fcntl as _fcntl
except ImportError:  # on Windows
    fcntl: ModuleType | None = None
else:
    fcntl = _fcntl


class HeldError(Exception):
    """Another process holds a lock.

    Args:
        holder: its number, or "unknown".
    """

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextlib.contextmanager
def process_lock(path: Path) -> Iterator[None]:
    """Hold a lock: a file with the number of this process, which is removed in the end.

    Raises:
        HeldError: another process holds it.
        OSError: the file cannot be made or locked.
    """
    if fcntl is None:
        yield
        return
    with _locked_file(path) as file:
        try:
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())
            yield
        finally:
            with contextlib.suppress(OSError):  # the folder may have become read-only
                path.unlink()


def _locked_file(path: Path) -> IO[str]:
    """Return the locked file of that name, not one that its holder has just removed."""
    assert fcntl is not None
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise HeldError(holder) from None
        if _is_at(path, file.fileno()):
            return file
        file.close()


@contextlib.contextmanager
def new_locked_file(path: Path) -> Iterator[BinaryIO]:
    """Create a file and give it, open for writing; it is locked until the context ends, also where it is closed before.

    Raises:
        OSError: it is there already, or cannot be created.
    """
    with contextlib.ExitStack() as stack:
        while True:
            file = stack.enter_context(path.open("xb"))
            stack.callback(os.close, lock := os.dup(file.fileno()))
            if _lock(lock, wait=True) is None or _is_at(path, lock):
                break
        yield file


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Make a folder for temporary files, which is removed in the end, and remove those that killed processes left."""
    remove_leftovers(tempfile.gettempdir(), re.compile(f"{re.escape(prefix)}\\w+"))
    with contextlib.ExitStack() as stack:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=prefix))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            if fcntl is None:
                break
            try:
                lock = os.open(folder, os.O_RDONLY)
            except FileNotFoundError:  # another run took it for a leftover
                continue
            stack.callback(os.close, lock)
            if _lock(lock, wait=True) is None or _is_at(folder, lock):
                break
        yield folder


def remove_leftovers(folder: str | Path, pattern: re.Pattern[str]) -> None:
    """Remove the files and folders in a folder whose names match and that no process has locked, as far as possible."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                _remove_if_unlocked(entry)


def _remove_if_unlocked(entry: os.DirEntry[str]) -> None:
    with contextlib.suppress(OSError):
        is_folder = entry.is_dir(follow_symlinks=False)
        flags = os.O_RDONLY if is_folder else os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
        handle = os.open(entry.path, flags)
        try:
            if _lock(handle):
                shutil.rmtree(entry.path) if is_folder else os.unlink(entry.path)
        finally:
            os.close(handle)


def _lock(handle: int, wait: bool = False) -> bool | None:
    """Return whether an open file is locked now; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some file systems have no locks
        return None
    return True


def _is_at(path: Path, handle: int) -> bool:
    """Return whether an open file, or folder, has this name: whoever removes leftovers may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False

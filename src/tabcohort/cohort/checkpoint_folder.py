"""The folder of a cohort's checkpoints: made, locked while a run writes to it, and rid of what a killed run left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tabcohort.cohort.mirrored_folder import mirrored_folder
from tabcohort.container import TEMPORARY_PREFIX
from tabcohort.errors import SettingsError
from tabcohort.file_locks import HeldError, process_lock

CHECKPOINT, LOCK = ".checkpoint", ".lock"


@contextlib.contextmanager
def checkpoint_folder(path: str | Path) -> Iterator[Path]:
    """Make the folder if it is not there, and keep it to this run until the end.

    The system releases the lock when a process is killed. Where the path is a URL, this is a local copy: see
    `mirrored_folder`.

    Raises:
        SettingsError: there is something else of that name, it cannot be made, or another run uses it.
    """
    if "://" in str(path):
        with mirrored_folder(str(path)) as copy:
            yield copy
        return
    folder = Path(path)
    try:
        folder.mkdir(exist_ok=True)
        names = [entry.name for entry in folder.iterdir()]
    except OSError as error:
        raise SettingsError(
            f"the checkpoint {str(path)!r} must be a folder, for a file per member: {error.strerror or error}"
        ) from None
    leftovers = [name for name in names if name.startswith(TEMPORARY_PREFIX)]
    n_members = sum(name.endswith(CHECKPOINT) for name in names)
    if not n_members and set(names) - {LOCK, *leftovers}:
        raise SettingsError(f"the folder {str(path)!r} holds other things and no checkpoint; name a new one")
    with _locked(folder):
        for name in leftovers:  # a killed run was writing them
            (folder / name).unlink(missing_ok=True)
        yield folder


def n_checkpoints(folder: Path) -> int:
    """Return the number of members that can be resumed."""
    return sum(entry.name.endswith(CHECKPOINT) for entry in folder.iterdir())


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, a file with the number of this process."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(process_lock(folder / LOCK))
        except HeldError as error:
            raise SettingsError(
                f"the checkpoint {str(folder)!r} is used by another run, process {error.holder}; wait for its end, or "
                "name another folder"
            ) from None
        except OSError as error:
            raise SettingsError(
                f"the checkpoint {str(folder)!r} cannot be written: {error.strerror or error}"
            ) from None
        yield

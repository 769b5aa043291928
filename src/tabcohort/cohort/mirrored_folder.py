"""A folder of checkpoints at a URL (s3://, gs:// and whatever else fsspec knows), as a local copy that is kept up.

A store of objects has no locks that end with a process. Instead a run writes a file with a name of its own and renews
it; a folder whose file was renewed less than a minute ago is in use. A run that was killed leaves its file, and another
one can begin a minute later. The clocks of both machines must agree to within some seconds.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from tabcohort.container import TEMPORARY_PREFIX
from tabcohort.errors import SettingsError, first_line, warn_caller

LEASE = ".lease"
SECONDS_BETWEEN = 10.0  # copies of what has changed, each of which renews the lease
SECONDS_OF_LEASE = 60.0


@contextmanager
def mirrored_folder(url: str) -> Iterator[Path]:
    """Yield a local copy of a folder at a URL; what changes in it is copied there every ten seconds and at the end.

    Raises:
        SettingsError: the URL is of no known kind, cannot be read or written, or another run uses the folder.

    Warns:
        TabcohortWarning: a copy failed; the next one tries again.
    """
    with raising_settings_errors(url):
        mirror = _Mirror(url)
    with tempfile.TemporaryDirectory(prefix="tabcohort-") as name:
        folder = Path(name)
        with raising_settings_errors(url):
            mirror.take_lease()
        try:
            with raising_settings_errors(url):
                mirror.read(folder)
            with mirror.copying(folder):
                yield folder
            with raising_settings_errors(url):
                mirror.write(folder)
        finally:
            mirror.give_lease_back()


@contextmanager
def raising_settings_errors(place: str) -> Iterator[None]:
    """Raise what a file system raises as a `SettingsError` of one sentence.

    Args:
        place: the path or the URL that is used.
    """
    try:
        yield
    except SettingsError:
        raise
    except Exception as error:  # each kind of file system has errors of its own
        raise SettingsError(f"{place!r} cannot be used: {first_line(error)}") from error


class _Mirror:
    """The folder at a URL.

    Args:
        url: of the folder.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url, self._name = url, secrets.token_hex(8)
        self._files, path = fsspec.core.url_to_fs(url)
        self._path = PurePosixPath(path)
        self._copied: dict[str, int] = {}  # the time of the last change of each file that is there, in nanoseconds

    def take_lease(self) -> None:
        """Keep the folder to this run.

        Raises:
            SettingsError: another run uses it.
        """
        self._files.makedirs(str(self._path), exist_ok=True)
        lease = self._lease()
        if lease is not None and time.time() - lease["time"] < SECONDS_OF_LEASE:
            self._refuse()
        self.renew_lease()
        written = self._lease()
        if written is None or written["run"] != self._name:  # the other one of two that began at once
            self._refuse()

    def _refuse(self) -> None:
        raise SettingsError(
            f"the checkpoint {self.url!r} is used by another run, or was until a minute ago; wait, or name another"
        )

    def _lease(self) -> dict[str, Any] | None:
        try:
            with self._files.open(str(self._path / LEASE), "rb") as file:
                lease = json.loads(file.read())
            return {"run": str(lease["run"]), "time": float(lease["time"])}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def renew_lease(self) -> None:
        """Say that the folder is in use."""
        self._files.pipe_file(str(self._path / LEASE), json.dumps({"run": self._name, "time": time.time()}).encode())

    def give_lease_back(self) -> None:
        """Let other runs use the folder."""
        with suppress(Exception):  # it ends by itself
            self._files.rm_file(str(self._path / LEASE))

    def read(self, folder: Path) -> None:
        """Copy all files here."""
        for path in self._files.ls(str(self._path), detail=False):
            name = PurePosixPath(path).name
            if name != LEASE and not self._files.isdir(path):
                (folder / name).write_bytes(self._files.cat_file(path))
                self._copied[name] = (folder / name).stat().st_mtime_ns

    def write(self, folder: Path) -> None:
        """Copy the files that have changed there, and renew the lease."""
        self.renew_lease()
        for path in folder.iterdir():
            changed = path.stat().st_mtime_ns
            if self._copied.get(path.name) != changed and not path.name.startswith(TEMPORARY_PREFIX):
                self._files.pipe_file(str(self._path / path.name), path.read_bytes())
                self._copied[path.name] = changed

    @contextmanager
    def copying(self, folder: Path) -> Iterator[None]:
        """Copy what changes every ten seconds while the context lasts."""
        is_over, errors = threading.Event(), []

        def copy() -> None:
            while not is_over.wait(SECONDS_BETWEEN):
                try:
                    self.write(folder)
                except Exception as error:
                    errors.append(str(error))

        thread = threading.Thread(target=copy, name="tabcohort-mirror", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            if errors:
                warn_caller(f"{len(errors)} copies to the checkpoint {self.url!r} failed: {errors[-1]}")

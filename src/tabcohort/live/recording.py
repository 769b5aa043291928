"""Recordings of trainings: JSON lines, one event in each, written as it happens and read again, also meanwhile.

Every line is written at once, so that a recording can be read whatever ends the process that writes it; a last line
that is cut is left out.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from types import ModuleType
from typing import IO, BinaryIO, Self

from tabcohort.container import check_writable, open_regular, replace_file
from tabcohort.errors import ModelFileError, warn_caller
from tabcohort.live.checks import EventChecker, EventError
from tabcohort.live.events import Event, EventObserver
from tabcohort.plain_values import refuse_constant

try:
    import fcntl as _fcntl
except ImportError:  # on Windows, where it is not known whether a recording is still being written
    fcntl: ModuleType | None = None
else:
    fcntl = _fcntl

FIRST = b'{"event":"start",'  # how every recording begins
HOW_TO_RECORD = "tabcohort fit TABLE --record FILE writes one"


def line_of(event: Event) -> bytes:
    """Return an event as a line of JSON."""
    return json.dumps(event, allow_nan=False, separators=(",", ":")).encode() + b"\n"


# -- writing ---------------------------------------------------------------------------------------------------------


class RecordingFile:
    """Writes events to a file, from the start of a run to its end. It replaces an earlier recording, and nothing else.

    Args:
        path: the file.

    Raises:
        ModelFileError: it cannot be written, or it exists and is not a recording.
    """

    def __init__(self, path: str | Path) -> None:
        check_recordable(path)
        self.path = Path(path)
        self._file: IO[bytes] | None = None

    def __call__(self, event: Event) -> None:
        """Write an event.

        Warns:
            TabcohortWarning: it cannot be written; the recording ends here, and training goes on.
        """
        try:
            if event["event"] == "start":
                self.close()
                self._begin(line_of(event))
            elif self._file is not None:
                _write_all(self._file, line_of(event))
            if event["event"] == "end":
                self.close()
        except (OSError, ModelFileError) as error:
            self.close()
            reason = (error.strerror or error) if isinstance(error, OSError) else error
            warn_caller(f"the recording {str(self.path)!r} ends here, as it cannot be written: {reason}")

    def _begin(self, line: bytes) -> None:
        """Replace the file by one that has the first line, and is locked before it has its name."""

        def write(file: BinaryIO) -> None:
            file.write(line)
            file.flush()
            if fcntl is not None:
                self._file = _locked_copy(file)

        replace_file(self.path, write)
        if self._file is None:
            self._file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        """Close the file; events that come later are not written."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _locked_copy(file: BinaryIO) -> IO[bytes]:
    """Return another handle of an open file, which appends to it and keeps it locked until it is closed."""
    assert fcntl is not None
    copy = os.fdopen(os.dup(file.fileno()), "ab", buffering=0)
    fcntl.fcntl(copy, fcntl.F_SETFL, fcntl.fcntl(copy, fcntl.F_GETFL) | os.O_APPEND)
    with contextlib.suppress(OSError):  # some file systems have no locks
        fcntl.flock(copy, fcntl.LOCK_EX)
    return copy


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Write all of some bytes; a file without a buffer may take fewer at a time."""
    while data:
        data = data[file.write(data) :]


def check_recordable(path: str | Path) -> None:
    """Raise before any work is done if a recording could not be written.

    Raises:
        ModelFileError: the file cannot be written, or holds something else than a recording.
    """
    check_writable(path)
    if not Path(path).exists():
        return
    with open_regular(path) as file:
        head = file.read(len(FIRST))
    if head not in (b"", FIRST):
        raise ModelFileError(
            f"{str(path)!r} exists and is not a recording of a training; name another file, or remove this one first"
        )


class TrainingRecorder(EventObserver):
    """Records a training: give it to `fit` or `train` as `observer`, and watch the file with `tabcohort watch FILE`.

    Args:
        path: the file; it is replaced if it is an earlier recording.

    Raises:
        ModelFileError: it cannot be written, or it exists and is not a recording.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> from tabcohort import Config, Table, fit
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(120, 3))
        >>> path = Path(tempfile.mkdtemp(), "run.jsonl")
        >>> table = Table.from_arrays(X, X[:, 0] > 0)
        >>> predictor = fit(table, Config(model="logistic", max_epochs=5), observer=TrainingRecorder(path))
        >>> events = read_recording(path)
        >>> events[0]["event"], events[-1]["event"]
        ('start', 'end')
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(RecordingFile(path))


# -- reading ---------------------------------------------------------------------------------------------------------


def read_recording(path: str | Path) -> list[Event]:
    """Return the events of a recording, as far as it goes.

    Raises:
        ModelFileError: there is no such file, it is not a recording, is of a later version, or is damaged.
    """
    with RecordingReader(path) as reader:
        return reader.read()


class RecordingReader:
    """Reads a recording, also while it is being written.

    Args:
        path: the file.

    Raises:
        ModelFileError: there is no such file, or it is not a recording.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = open_regular(path)
        self._checker, self._n_lines, self._rest = EventChecker(), 0, b""
        head = self._file.read(len(FIRST))
        if head != FIRST:
            self.close()
            raise ModelFileError(f"{str(path)!r} is not a recording of a training; {HOW_TO_RECORD}")
        self._file.seek(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self) -> list[Event]:
        """Return the events that were written since the last call; a line that has no end yet is left for the next.

        Raises:
            ModelFileError: a line is damaged, or the recording is of a later version.
        """
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [self._event(line) for line in lines]

    def is_being_written(self) -> bool:
        """Return whether another process, or another part of this one, still writes the file."""
        if fcntl is None:
            return False
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # some file systems have no locks
            return False
        fcntl.flock(self._file, fcntl.LOCK_UN)
        return False

    def _event(self, line: bytes) -> Event:
        self._n_lines += 1
        try:
            return self._checker.check(json.loads(line, parse_constant=refuse_constant))
        except EventError as error:
            reason = str(error)
        except (ValueError, RecursionError):
            reason = "it is not JSON"
        if self._n_lines == 1:
            raise ModelFileError(f"{str(self.path)!r} cannot be read as a recording: {reason}")
        raise ModelFileError(
            f"{str(self.path)!r} is damaged in line {self._n_lines:,}: {reason}; the lines before it can be kept in a "
            "file of their own"
        )

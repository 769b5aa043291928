"""The record of what a server answered: JSON lines that are appended, and read again to repeat each answer.

A line holds the time, the id of the request, the model's name and fingerprint, a keyed hash of the record and the
answer; the record itself only where that is asked for. Numbers are written with all their digits.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tabcohort.container import temporary_beside
from tabcohort.errors import SettingsError, TabcohortError
from tabcohort.file_locks import new_locked_file
from tabcohort.model.predictor import Prediction
from tabcohort.server.options import SYNC_POLICIES
from tabcohort.types import FloatArray

KEY_FILE, KEY_BYTES = "hash.key", 32
MAX_FILE_BYTES = 64 * 2**20
PATTERN = "predictions-*.jsonl"


class LogError(TabcohortError):
    """A prediction that cannot be recorded."""


@dataclass(frozen=True)
class LogPolicy:
    """How predictions are recorded.

    Args:
        folder: where the files are.
        keeps_records: whether the records themselves are written.
        sync: when the disk must have what was written: "always", before the answer is given; "second", at most once a
            second; "never", when the system likes.
        max_file_bytes: from which size on a new file is begun.

    Raises:
        SettingsError: there is no such way to sync.
    """

    folder: Path
    keeps_records: bool = False
    sync: str = "second"
    max_file_bytes: int = MAX_FILE_BYTES

    def __post_init__(self) -> None:
        if self.sync not in SYNC_POLICIES:
            raise SettingsError(f"the log is synced {', '.join(SYNC_POLICIES)}; it is {self.sync!r}")


class PredictionLog:
    """Appends predictions to files of one process.

    Args:
        policy: how.

    Raises:
        LogError: the folder cannot be written to.
    """

    def __init__(self, policy: LogPolicy) -> None:
        self.policy = policy
        self._lock = threading.Lock()
        self._file, self._number, self._synced = -1, 0, 0.0
        self._key = prepare_folder(policy.folder)
        with _as_log_error(policy.folder):
            self._open()

    def hash_of(self, inputs: FloatArray) -> str:
        """Return the keyed hash of a record, given by its inputs for the model, `(n_inputs,)`."""
        return hash_of(inputs, self._key)

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Write a line for each prediction.

        Raises:
            LogError: they cannot be written; what was written of them is taken back, as far as that is possible.
        """
        text = "".join(f"{_line(entry)}\n" for entry in entries).encode("utf-8", "backslashreplace")
        with self._lock, _as_log_error(self.policy.folder):
            if self._file < 0:
                raise LogError("the log of predictions is closed")
            if os.fstat(self._file).st_size >= self.policy.max_file_bytes:
                self._open()
            self._write(text)
            now = time.monotonic()
            if self.policy.sync == "always" or (self.policy.sync == "second" and now - self._synced >= 1):
                os.fsync(self._file)
                self._synced = now

    def close(self) -> None:
        """Sync and close the file."""
        with self._lock:
            if self._file >= 0:
                with contextlib.suppress(OSError):
                    os.fsync(self._file)
                os.close(self._file)
                self._file = -1

    def _write(self, text: bytes) -> None:
        """Write all of a text; where only a part of it fits, take that back, so that no line is cut."""
        rest = text
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            if len(rest) < len(text):
                try:
                    os.ftruncate(self._file, os.fstat(self._file).st_size - (len(text) - len(rest)))
                except OSError:  # the next line begins in another file, or it would be lost with this one
                    with contextlib.suppress(OSError):
                        self._open()
            raise

    def _open(self) -> None:
        self._number += 1
        began = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        path = self.policy.folder / f"predictions-{began}-{os.getpid()}-{self._number:04}-{secrets.token_hex(3)}.jsonl"
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
        self._file = file


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False, allow_nan=False, default=str)


def hash_of(inputs: FloatArray, key: bytes) -> str:
    """Return the keyed hash (HMAC-SHA256) of a record's inputs for a model, `(n_inputs,)`."""
    return hmac.new(key, np.ascontiguousarray(inputs, dtype="<f8").tobytes(), hashlib.sha256).hexdigest()


def prepare_folder(folder: Path) -> bytes:
    """Make the folder of a log where there is none, and return the key of its hashes.

    Raises:
        LogError: it cannot be made or written to.
    """
    with _as_log_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return folder_key(folder, create=True)


def folder_key(folder: Path, *, create: bool) -> bytes:
    """Return the key of a folder's hashes, which its owner alone may read.

    Args:
        folder: of the log.
        create: whether a key is made where there is none.

    Raises:
        OSError: it cannot be read or made.
        LogError: it is not a key.
    """
    path = folder / KEY_FILE
    if create:
        temporary = temporary_beside(path)
        if not path.exists():
            _create_key(path, temporary)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise LogError(f"{str(path)!r} is not a key of {KEY_BYTES} bytes; take it from a backup")
    return key


def _create_key(path: Path, temporary: Path) -> None:
    """Write a new key; of several processes that do so, the first one's is kept."""
    with new_locked_file(temporary) as file:
        try:
            os.chmod(temporary, 0o600)
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink()


def entries_of(
    request_id: str,
    name: str,
    fingerprint: str,
    predictions: Sequence[Prediction],
    hashes: Sequence[str],
    first_row: int = 0,
) -> list[dict[str, Any]]:
    """Return the lines of the log for the records of a request, in their order.

    Args:
        request_id: of the request.
        name, fingerprint: of the model.
        predictions: for the records.
        hashes: of the records.
        first_row: the place of the first of them in the request.
    """
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return [
        {
            "time": now, "request": request_id, "row": row, "model": name, "fingerprint": fingerprint, "hash": digest,
            "answer": answer_facts(prediction),
        }
        for row, (prediction, digest) in enumerate(zip(predictions, hashes, strict=True), start=first_row)
    ]  # fmt: skip


def answer_facts(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as plain JSON values; labels that are names of probabilities are text."""
    return {
        "label": prediction.label,
        "probability": {str(label): value for label, value in prediction.probability.items()},
        "spread": prediction.spread,
        "set": list(prediction.classes),
        "warnings": prediction.warnings,
    }


def read_log(folder: str | Path) -> Iterator[dict[str, Any] | None]:
    """Yield the lines of a folder's files, or of one file, in their order; None for one that is cut or damaged.

    Raises:
        LogError: there is no log.
    """
    path = Path(folder)
    files = sorted(path.glob(PATTERN)) if path.is_dir() else [path]
    if not files or not all(own.is_file() for own in files):
        raise LogError(f"there is no log of predictions in {str(path)!r}")
    for own in files:
        with _as_log_error(own), own.open("rb") as file:
            for line in file:
                yield _entry(line)


def _entry(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_entry = isinstance(entry, dict) and isinstance(entry.get("answer"), dict) and "fingerprint" in entry
    return entry if is_entry else None


@contextlib.contextmanager
def _as_log_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LogError(f"the log {str(path)!r} cannot be used: {error.strerror or error}") from None

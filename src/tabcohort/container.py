"""One file of named arrays and a JSON document, for models and checkpoints: data only, checked to the last bit.

    8 bytes    b"TABCOHRT"
    32 bytes   SHA-256 of all that follows
    the rest   safetensors: the arrays, and the document under the one metadata key "tabcohort"

A file is written under a temporary name, synced and renamed, so that an existing file is never damaged. All files that
people name are written by `replace_file`, which replaces regular files only. The temporary file of a process that was
killed is removed by whoever writes to the folder next.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tabcohort.errors import ModelFileError
from tabcohort.file_locks import new_locked_file, remove_leftovers
from tabcohort.plain_values import PlainValues, plain_values, refuse_constant, shown

MAGIC = b"TABCOHRT"
FORMAT = 7
HOW_TO_RENEW = {
    "model": "train it again: tabcohort fit TABLE --target COLUMN --out MODEL.tabcohort",
    "checkpoint": "remove its folder and train again",
}
KEY = "tabcohort"
TEMPORARY_PREFIX = ".tabcohort."  # of files that are being written
TEMPORARY = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}\d+\.[0-9a-f]+")  # with the number of the process
DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
    "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
HEADER_BYTES = len(MAGIC) + 32
MAX_HEADER_BYTES = 100_000_000  # as safetensors has it
MAX_DIMENSIONS = 8
MAX_CHECKED_BYTES = 2**30  # a larger file that is not valid is refused without reading all of it


def write_container(path: str | Path, kind: str, arrays: dict[str, NDArray[Any]], document: dict[str, Any]) -> None:
    """Write arrays and a document of one kind to a file, which is either complete afterwards or unchanged.

    The same arrays and document give the same bytes.

    Args:
        path: the file.
        kind: "model" or "checkpoint".
        arrays: by name.
        document: plain JSON values.

    Raises:
        ModelFileError: the file cannot be written there, or its document is too long to be read again.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save

    text = json.dumps({**document, "kind": kind, "format": FORMAT}, allow_nan=False)
    try:
        body = save({name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata={KEY: text})
    except SafetensorError:
        raise ModelFileError(
            f"{str(path)!r} cannot be written: what it says of members and epochs has {len(text):,} bytes, and at most "
            f"{MAX_HEADER_BYTES:,} can be read; train fewer members, or for fewer epochs"
        ) from None
    replace_file(path, lambda file: file.write(MAGIC + hashlib.sha256(body).digest() + body))


def replace_file(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file that replaces `path` when it is complete and synced; otherwise nothing changes.

    Where `path` is a symbolic link, its target is replaced and the link stays.

    Raises:
        ModelFileError: the file cannot be written there, or is a device, a pipe, a socket or a folder.
    """
    with _as_model_file_error(path):
        target = _file_to_replace(path)
        temporary = temporary_beside(target)
        try:
            with new_locked_file(temporary) as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                file.close()
                os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)


def check_writable(path: str | Path) -> None:
    """Raise what `replace_file` would, before any work is done: a file is made in the folder and removed.

    Raises:
        ModelFileError: as in `replace_file`.
    """
    with _as_model_file_error(path):
        temporary = temporary_beside(_file_to_replace(path))
        with new_locked_file(temporary):
            temporary.unlink()


@contextlib.contextmanager
def _as_model_file_error(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelFileError(f"{str(path)!r} cannot be written: {error.strerror or error}") from None


def _file_to_replace(path: str | Path) -> Path:
    """Return the file that writing to `path` replaces, which is there as a regular file or not at all."""
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(mode):
        raise ModelFileError(f"{str(path)!r} is a folder; name a file")
    if not stat.S_ISREG(mode):
        raise ModelFileError(f"{str(path)!r} is a device, a pipe or a socket and would be replaced; name a file")
    return target


def temporary_beside(target: Path) -> Path:
    """Return a new name in the same folder, so that renaming is atomic; it is short where the target's is long.

    What killed processes left in the folder is removed.
    """
    remove_leftovers(target.parent, TEMPORARY)
    return target.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}.{secrets.token_hex(4)}")


def read_container(path: str | Path, kind: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the document that `write_container` wrote, after checking every byte.

    Reading takes no more memory than the arrays and the document need: what the file says of its size is compared with
    its size first.

    Raises:
        ModelFileError: the file is missing, damaged, of another kind, or of a later version.
    """
    with _opened(path) as (file, n_bytes):
        digest = file.read(HEADER_BYTES)[len(MAGIC) :]
        try:
            header, document, rest = _read_header(file, n_bytes - HEADER_BYTES)
            arrays, actual = _read_arrays(file, header, hashlib.sha256(rest))
        except (ValueError, RecursionError) as error:
            if n_bytes <= MAX_CHECKED_BYTES and _digest_of(path) != digest:
                raise _damaged(path) from None
            raise ModelFileError(f"{str(path)!r} is not a valid tabcohort file: {error}") from None
    if actual != digest:
        raise _damaged(path)
    _check_kind_and_format(path, document, kind)
    return arrays, document


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        ModelFileError: it is missing, something else than a regular file, or cannot be opened.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for a writer
            what = "Is a directory" if os.path.isdir(path) else "it is a device, a pipe or a socket"
            raise ModelFileError(f"{str(path)!r} cannot be read: {what}")
        return open(path, "rb")
    except FileNotFoundError:
        raise ModelFileError(f"there is no file {str(path)!r}") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str | Path, error: OSError) -> ModelFileError:
    return ModelFileError(f"{str(path)!r} cannot be read: {error.strerror or error}")


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file that begins as ours do, and return it, at its beginning, with its size.

    Raises:
        ModelFileError: it is something else, or cannot be read.
    """
    with open_regular(path) as file:
        try:
            if file.read(len(MAGIC)) != MAGIC:
                raise ModelFileError(f"{str(path)!r} is not a tabcohort file")
            file.seek(0)
            yield file, os.fstat(file.fileno()).st_size
        except OSError as error:
            raise _unreadable(path, error) from None


def is_container(path: str | Path) -> bool:
    """Return whether there is a file that begins with the magic bytes of a tabcohort file."""
    try:
        with _opened(path):
            return True
    except ModelFileError:
        return False


def _check_kind_and_format(path: str | Path, document: Mapping[str, Any], kind: str) -> None:
    if document.get("kind") != kind:
        written = document.get("kind")
        named = written if isinstance(written, str) and written.isidentifier() else shown(written)
        raise ModelFileError(f"{str(path)!r} is a {named}, not a {kind}")
    if document.get("format") != FORMAT:
        written = document.get("format")
        is_older = isinstance(written, int) and written < FORMAT
        advice = HOW_TO_RENEW[kind] if is_older else "install the version that wrote it"
        raise ModelFileError(
            f"{str(path)!r} has format {shown(written)} and this version reads format {FORMAT}; {advice}"
        )


def _damaged(path: str | Path) -> ModelFileError:
    return ModelFileError(f"{str(path)!r} is damaged: its SHA-256 does not match; take it from a backup")


def _digest_of(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(HEADER_BYTES)
        return hashlib.file_digest(file, "sha256").digest()


def fingerprint_of(path: str | Path) -> str:
    """Return the SHA-256 that a file says of its content, as hexadecimal digits; `read_container` checks it.

    Raises:
        ModelFileError: the file is missing, or not one of ours.
    """
    with _opened(path) as (file, n_bytes):
        head = file.read(HEADER_BYTES)
    if n_bytes < HEADER_BYTES:
        raise ModelFileError(f"{str(path)!r} is not a tabcohort file")
    return head[len(MAGIC) :].hex()


@dataclass(frozen=True)
class _Entry:
    """An array of a file: its name, dtype and shape, and the byte at which it begins, counted from the first array."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        """The byte at which it ends."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


def _read_header(file: BinaryIO, n_bytes: int) -> tuple[list[_Entry], dict[str, Any], bytes]:
    """Return the arrays that a safetensors block of this size says it has, its document, and the bytes that were read.

    Each array must begin where the one before it ended, and the last one must end where the block ends.

    Raises:
        ValueError, RecursionError: it is not such a block.
    """
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if length > n_bytes - 8:
        raise ValueError("its header is longer than the file")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header has {length:,} bytes, and at most {MAX_HEADER_BYTES:,} are read")
    text = file.read(length)
    header = plain_values(_parse_json(text), "its header")
    document = plain_values(_parse_json(header.child("__metadata__").text(KEY)), "its document")
    entries = [_entry_of(header, name) for name in header.values if name != "__metadata__"]
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.start):
        if entry.start != end:
            raise ValueError(f"{entry.name!r} is not where it should be")
        end = entry.stop
    if end != n_bytes - 8 - length:
        raise ValueError(f"its arrays end after {end} bytes, and it has {n_bytes - 8 - length} bytes of them")
    return sorted(entries, key=lambda entry: entry.start), dict(document.values), prefix + text


def _entry_of(header: PlainValues, name: str) -> _Entry:
    """Return what a header says of an array."""
    values = header.child(name)
    shape, offsets = values.wholes("shape"), values.wholes("data_offsets")
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"{name!r} has {len(shape)} dimensions, and at most {MAX_DIMENSIONS} are read")
    entry = _Entry(name, np.dtype(DTYPES[values.text("dtype", tuple(DTYPES))]), shape, *(offsets or (-1,))[:1])
    if len(offsets) != 2 or offsets[1] != entry.stop:
        raise ValueError(f"{name!r} is not where it should be")
    return entry


def _read_arrays(file: BinaryIO, entries: list[_Entry], hashed: Any) -> tuple[dict[str, NDArray[Any]], bytes]:
    """Return the arrays that follow a header, and the digest of header and arrays."""
    arrays = {}
    for entry in entries:
        array = np.empty(math.prod(entry.shape), entry.dtype)
        view = array.data.cast("B") if array.size else memoryview(b"")
        if array.size and file.readinto(view) != array.nbytes:  # type: ignore[attr-defined]
            raise ValueError("it became shorter while it was read")
        hashed.update(view)
        arrays[entry.name] = array.reshape(entry.shape)
    return arrays, hashed.digest()


def _parse_json(text: str | bytes) -> Any:
    return json.loads(text, object_pairs_hook=_unique, parse_constant=refuse_constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a JSON key is repeated")
    return values


def _sync_folder(folder: Path) -> None:
    """Make a rename in this folder durable, on systems where folders can be synced."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

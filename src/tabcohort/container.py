"""One file of named arrays and a JSON document, for models and checkpoints: data only, checked to the last bit.

    8 bytes    b"TABCOHRT"
    32 bytes   SHA-256 of all that follows
    the rest   safetensors: the arrays, and the document under the one metadata key "tabcohort"

A file is written under a temporary name, synced and renamed, so that an existing file is never damaged. All files that
people name are written by `replace_file`, which replaces regular files only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tabcohort.errors import ModelFileError

MAGIC = b"TABCOHRT"
FORMAT = 6
HOW_TO_RENEW = {
    "model": "train it again: tabcohort fit TABLE --target COLUMN --out MODEL.tabcohort",
    "checkpoint": "remove its folder and train again",
}
KEY = "tabcohort"
DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
    "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
HEADER_BYTES = len(MAGIC) + 32


def write_container(path: str | Path, kind: str, arrays: dict[str, NDArray[Any]], document: dict[str, Any]) -> None:
    """Write arrays and a document of one kind to a file, which is either complete afterwards or unchanged.

    The same arrays and document give the same bytes.

    Args:
        path: the file.
        kind: "model" or "checkpoint".
        arrays: by name.
        document: plain JSON values.

    Raises:
        ModelFileError: the file cannot be written there.
    """
    from safetensors.numpy import save

    text = json.dumps({**document, "kind": kind, "format": FORMAT}, allow_nan=False)
    body = save({name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata={KEY: text})
    replace_file(path, lambda file: file.write(MAGIC + hashlib.sha256(body).digest() + body))


def replace_file(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file that replaces `path` when it is complete and synced; otherwise nothing changes.

    Where `path` is a symbolic link, its target is replaced and the link stays.

    Raises:
        ModelFileError: the file cannot be written there, or is a device, a pipe, a socket or a folder.
    """
    with _as_model_file_error(path):
        target = _file_to_replace(path)
        temporary = _temporary_beside(target)
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
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
        temporary = _temporary_beside(_file_to_replace(path))
        temporary.open("xb").close()
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


def _temporary_beside(target: Path) -> Path:
    """Return a new name in the same folder, so that renaming is atomic; it is short where the target's is long."""
    return target.with_name(f".tabcohort.{os.getpid()}.{secrets.token_hex(4)}")


def read_container(path: str | Path, kind: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the arrays and the document that `write_container` wrote, after checking every byte.

    Raises:
        ModelFileError: the file is missing, damaged, of another kind, or of a later version.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelFileError(f"there is no file {str(path)!r}") from None
    except OSError as error:
        raise ModelFileError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
    if data[: len(MAGIC)] != MAGIC:
        raise ModelFileError(f"{str(path)!r} is not a tabcohort file")
    body = memoryview(data)[HEADER_BYTES:]
    if hashlib.sha256(body).digest() != data[len(MAGIC) : HEADER_BYTES]:
        raise ModelFileError(f"{str(path)!r} is damaged: its SHA-256 does not match; take it from a backup")
    try:
        arrays, document = _parse(body)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{str(path)!r} is not a valid tabcohort file: {error}") from None
    if document.get("kind") != kind:
        raise ModelFileError(f"{str(path)!r} is a {document.get('kind')}, not a {kind}")
    if document.get("format") != FORMAT:
        written = document.get("format")
        is_older = isinstance(written, int) and written < FORMAT
        advice = HOW_TO_RENEW[kind] if is_older else "install the version that wrote it"
        raise ModelFileError(f"{str(path)!r} has format {written} and this version reads format {FORMAT}; {advice}")
    return arrays, document


def fingerprint_of(path: str | Path) -> str:
    """Return the SHA-256 that a file says of its content, as hexadecimal digits; `read_container` checks it.

    Raises:
        ModelFileError: the file is missing, or not one of ours.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEADER_BYTES)
    except OSError as error:
        raise ModelFileError(f"{str(path)!r} cannot be read: {error.strerror or error}") from None
    if len(head) < HEADER_BYTES or not head.startswith(MAGIC):
        raise ModelFileError(f"{str(path)!r} is not a tabcohort file")
    return head[len(MAGIC) :].hex()


def _parse(body: memoryview) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return arrays and document of a safetensors block; each array must begin where the one before it ended."""
    length = int.from_bytes(body[:8], "little")
    if length > len(body) - 8:
        raise ValueError("its header is longer than the file")
    header = json.loads(bytes(body[8 : 8 + length]), object_pairs_hook=_unique)
    document = json.loads(header.pop("__metadata__")[KEY], object_pairs_hook=_unique)
    if not isinstance(document, dict):
        raise ValueError("its document is not a JSON object")
    values, expected, arrays = body[8 + length :], 0, {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
        dtype, shape, (start, stop) = np.dtype(DTYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
        size = dtype.itemsize
        for width in shape:
            if not isinstance(width, int) or width < 0:
                raise ValueError(f"the shape of {name!r} is {shape}")
            size *= width
        if start != expected or stop != start + size or stop > len(values):
            raise ValueError(f"{name!r} is not where it should be")
        arrays[name] = np.frombuffer(values[start:stop], dtype).reshape(shape).copy()
        expected = stop
    if expected != len(values):
        raise ValueError("bytes are left over")
    return arrays, document


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

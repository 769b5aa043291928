"""A table on disk: a folder of blocks of rows, which are mapped into memory and not read, and a header.

    store.json     what the blocks are, with a checksum of each, and the schema; written last
    NAME.block     an array in row order, little-endian, without a header of its own
    store.lock     while the store is built: the number of the process that builds it

A folder without `store.json` is a build that did not end. A block is mapped so that writing to it would change a copy,
and its pages count as memory of the process only until `Blocks.release`. What takes many rows reads them from the file:
around each row that is used the system maps 64 KB, so that scattered rows would map all of a block.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tabcohort.container import replace_file
from tabcohort.errors import TableError
from tabcohort.file_locks import HeldError, process_lock, temporary_folder
from tabcohort.plain_values import PlainValues, plain_values, refuse_constant
from tabcohort.types import IntArray

HEADER, LOCK, ENDING, FORMAT = "store.json", "store.lock", ".block", 1
BYTES_PER_READ = 2**22
MAX_GAP = 2**12  # bytes between two rows that are read, too, rather than in two calls
_DTYPES = {name: np.dtype(name) for name in ("float64", "float32", "int64", "int32", "int8", "uint64")}


@contextmanager
def building(folder: Path) -> Iterator[None]:
    """Keep other processes from building a store in a folder, which is made if it is not there.

    Raises:
        TableError: another process builds one, or the folder cannot be written to.
    """
    with ExitStack() as stack:
        try:
            if not folder.exists():
                folder.mkdir(parents=True)
                stack.callback(_remove_if_empty, folder)
            stack.enter_context(process_lock(folder / LOCK))
        except HeldError as error:
            raise TableError(
                f"process {error.holder} is building the store {str(folder)!r}; wait until it is done, or name another "
                "folder"
            ) from None
        except OSError as error:
            raise unusable(folder, error) from None
        yield


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


class StoreWriter:
    """Writes the blocks of a store, rows after rows, and its header when all of them are there.

    Args:
        folder: where they go; made if it is not there.

    Raises:
        TableError: the folder holds other files, or cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            others = [path for path in folder.iterdir() if path.name not in (HEADER, LOCK) and path.suffix != ENDING]
            if others:
                raise TableError(
                    f"the store {str(folder)!r} must be a new folder or one of a store; it holds {others[0].name!r}: "
                    "name another folder"
                )
            for path in (folder / HEADER, *folder.glob(f"*{ENDING}")):  # the header first: what is left is no store
                path.unlink(missing_ok=True)
        except OSError as error:
            raise unusable(folder, error) from None
        self._files = ExitStack()
        self._blocks: dict[str, _Block] = {}

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def require_space(self, n_bytes: int) -> None:
        """Raise `TableError` if the disk has not as many bytes free, before any work is done."""
        free = shutil.disk_usage(self.folder).free
        if free < n_bytes:
            raise TableError(
                f"the store needs {n_bytes / 1e9:.3g} GB, and {str(self.folder)!r} has {free / 1e9:.3g} GB free; name "
                "a folder on another disk with --store"
            )

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Append rows to a block.

        Raises:
            TableError: the disk is full, or the folder cannot be written to.
        """
        try:
            if name not in self._blocks:
                file = self._files.enter_context((self.folder / f"{name}{ENDING}").open("wb"))
                self._blocks[name] = _Block(file, rows.dtype.name, rows.shape[1:])
            self._blocks[name].append(np.ascontiguousarray(rows))
        except OSError as error:
            raise unusable(self.folder, error) from None

    def written(self) -> Blocks:
        """Return the blocks as far as they are written."""
        for block in self._blocks.values():
            block.file.flush()
        facts = {name: block.facts() for name, block in self._blocks.items()}
        return Blocks(self.folder, plain_values({"blocks": facts}, "its header"))

    def finish(self, document: Mapping[str, Any]) -> None:
        """Write the header, with which the store is whole.

        Args:
            document: what else it is to say, plain JSON values.
        """
        try:
            for block in self._blocks.values():
                block.file.flush()
                os.fsync(block.file.fileno())
        except OSError as error:
            raise unusable(self.folder, error) from None
        header = {"format": FORMAT, "blocks": {name: block.facts() for name, block in self._blocks.items()}, **document}
        text = json.dumps(header, allow_nan=False)
        digest = hashlib.sha256(text.encode()).hexdigest()
        replace_file(self.folder / HEADER, lambda file: file.write(f"{digest}\n{text}\n".encode()))


@dataclass
class _Block:
    """A block that is being written."""

    file: BinaryIO
    dtype: str
    shape: tuple[int, ...]
    n_rows: int = 0
    checksum: int = 0

    def append(self, rows: NDArray[Any]) -> None:
        data = rows.data.cast("B") if rows.size else b""
        self.file.write(data)
        self.checksum = zlib.crc32(data, self.checksum)
        self.n_rows += len(rows)

    def facts(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "shape": [self.n_rows, *self.shape], "crc32": self.checksum}


class TemporaryFolder:
    """A new folder, which is removed when this object is not used any more, or Python ends.

    Raises:
        TableError: it cannot be made.
    """

    def __init__(self) -> None:
        try:
            stack = ExitStack()
            self.path = stack.enter_context(temporary_folder("tabcohort-store-"))
        except OSError as error:
            raise unusable(Path(tempfile.gettempdir()), error) from None
        weakref.finalize(self, stack.close)


def unusable(folder: Path, error: OSError) -> TableError:
    """Return the error of a folder that a store cannot be in."""
    why = "it is a file" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror or error
    return TableError(f"the store {str(folder)!r} cannot be written: {why}; name another folder")


def is_store(folder: Path) -> bool:
    """Return whether a folder has a store, which may be damaged, or of another table."""
    return (folder / HEADER).is_file()


def read_header(folder: Path) -> PlainValues | None:
    """Return what the header of a store says; None where there is no whole store.

    Raises:
        TableError: the header is damaged, or of another version.
    """
    try:
        digest, _, text = (folder / HEADER).read_text(encoding="utf-8").partition("\n")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(folder, str(error)) from None
    text = text.removesuffix("\n")
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise damaged(folder, "the checksum of its header does not match")
    try:
        values = plain_values(json.loads(text, parse_constant=refuse_constant), "its header")
        return values if values.whole("format") == FORMAT else None  # of another version: it is built again
    except (ValueError, RecursionError) as error:
        raise damaged(folder, str(error)) from None


def damaged(folder: Path, why: str) -> TableError:
    """Return the error of a store that cannot be used."""
    return TableError(f"the store {str(folder)!r} is damaged: {why}; remove the folder, and it is built again")


class Blocks:
    """The blocks of a store, mapped into memory.

    Args:
        folder: of the store.
        header: what `read_header` gives of it.

    Raises:
        TableError: a block is missing, or has another size or another content than the header says.
    """

    def __init__(self, folder: Path, header: PlainValues) -> None:
        self.folder = folder
        self.arrays: dict[str, NDArray[Any]] = {}
        self._maps: dict[str, mmap.mmap] = {}
        self._files: dict[str, BinaryIO] = {}  # open, so that they stay the same if the store is built again
        stack = ExitStack()
        weakref.finalize(self, stack.close)
        try:
            blocks = header.child("blocks")
            for name in blocks.values:
                self._map(name, blocks.child(name), stack)
        except (ValueError, KeyError) as error:
            raise damaged(folder, str(error)) from None

    def _map(self, name: str, facts: PlainValues, stack: ExitStack) -> None:
        dtype, shape = _DTYPES[facts.text("dtype", tuple(_DTYPES))], facts.wholes("shape")
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        path = self.folder / f"{name}{ENDING}"
        if not name.isidentifier() or not path.is_file() or path.stat().st_size != n_bytes:
            raise ValueError(f"the block {name!r} is missing or has another size")
        if not n_bytes:
            self.arrays[name] = np.empty(shape, dtype)
            return
        file = self._files[name] = stack.enter_context(path.open("rb"))
        # A private map: kernels take arrays that can be written, and what one wrote would not reach the file.
        mapped = self._maps[name] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.arrays[name] = np.frombuffer(mapped, dtype).reshape(shape)

    def check(self, header: PlainValues, callback: Callable[[int, int], None] = lambda n_done, n_all: None) -> None:
        """Read all blocks, a few megabytes at a time, and compare their checksums.

        Args:
            header: of the store.
            callback: called with the bytes that are read, and all of them.

        Raises:
            TableError: one does not match.
        """
        n_done, n_all = 0, sum(array.nbytes for array in self.arrays.values())
        for name, array in self.arrays.items():
            checksum = 0
            for rows in self.rows(name, max(1, BYTES_PER_READ * len(array) // max(array.nbytes, 1))):
                checksum = zlib.crc32(rows.data, checksum)
                n_done += rows.nbytes
                callback(n_done, n_all)
            if checksum != header.child("blocks").child(name).whole("crc32"):
                raise damaged(self.folder, f"the checksum of the block {name!r} does not match")

    def rows(self, name: str, rows_at_once: int) -> Iterator[NDArray[Any]]:
        """Yield the rows of a block, some at a time, read from the file: no page of it is mapped."""
        array = self.arrays[name]
        for start in range(0, len(array), rows_at_once):
            yield self._read(name, start, min(rows_at_once, len(array) - start))

    def take(self, name: str, rows: IntArray) -> NDArray[Any]:
        """Return some rows of a block, read from the file: no page of it is mapped.

        Args:
            name: of the block.
            rows: row numbers, `(n,)`; ascending ones are read fastest.
        """
        array, gaps = self.arrays[name], np.diff(rows)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(array):
            raise IndexError(f"rows {rows.min()} to {rows.max()} are asked for, and there are {len(array)}")
        if (gaps < 0).any():
            order = np.argsort(rows, kind="stable")
            return self.take(name, rows[order])[np.argsort(order)]
        taken = np.empty((len(rows), *array.shape[1:]), array.dtype)
        if not taken.size:
            return taken
        row_bytes = taken.nbytes // len(rows)
        is_apart = gaps > 1 + MAX_GAP // row_bytes
        is_apart |= np.diff(rows // max(1, BYTES_PER_READ // row_bytes)) > 0
        stops = np.append(np.flatnonzero(is_apart) + 1, len(rows))
        for start, stop in zip([0, *stops[:-1].tolist()], stops.tolist(), strict=True):
            first, n_rows = int(rows[start]), int(rows[stop - 1] - rows[start]) + 1
            read = self._read(name, first, n_rows)
            taken[start:stop] = read if (gaps[start : stop - 1] == 1).all() else read[rows[start:stop] - first]
        return taken

    def _read(self, name: str, first: int, n_rows: int) -> NDArray[Any]:
        """Return consecutive rows of a block, read from the file.

        Raises:
            TableError: the file has become shorter.
        """
        array = self.arrays[name]
        if not hasattr(os, "preadv") or not array.size:
            return array[first : first + n_rows].copy()
        read = np.empty((n_rows, *array.shape[1:]), array.dtype)
        view, start = read.data.cast("B"), first * (array.nbytes // len(array))
        while len(view):
            try:
                n_bytes = os.preadv(self._files[name].fileno(), [view], start)
            except OSError as error:
                raise damaged(self.folder, error.strerror or str(error)) from None
            if not n_bytes:
                raise damaged(self.folder, f"the block {name!r} has become shorter")
            view, start = view[n_bytes:], start + n_bytes
        return read

    def prefetch(self, names: tuple[str, ...], starts: IntArray, stops: IntArray) -> None:
        """Ask the system to read ranges of rows, in the order of the file, before they are used.

        Args:
            names: of the blocks.
            starts, stops: the first row of each range, and the one after its last, `(n_ranges,)`.
        """
        if not hasattr(mmap, "MADV_WILLNEED"):
            return
        for name in names:
            mapped, array = self._maps.get(name), self.arrays[name]
            if mapped is None:
                continue
            row_bytes = array.nbytes // len(array)
            first = starts * row_bytes // mmap.PAGESIZE * mmap.PAGESIZE
            for start, stop in zip(first.tolist(), (stops * row_bytes).tolist(), strict=True):
                mapped.madvise(mmap.MADV_WILLNEED, start, stop - start)

    def release(self) -> None:
        """Let the mapped pages of all blocks go; they are read again where they are used again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._maps.values():
                mapped.madvise(mmap.MADV_DONTNEED)

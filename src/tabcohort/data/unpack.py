"""The bytes of a file or of standard input; what is compressed is unpacked in bounded pieces."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from tabcohort.data.reader_errors import as_table_error
from tabcohort.errors import TableError, listed, nearest

STANDARD_INPUT = "-"
SHARE_OF_MEMORY = 4  # of the machine, that may be unpacked: as a frame, text takes several times as much
PIECE_BYTES = 1 << 24
HEAD_BYTES = 64  # enough for the first bytes that name a format
MEMBERS_OF_SPREADSHEETS = ("xl/workbook.xml", "xl/workbook.bin", "content.xml")
MEMBERS_OF_DOCUMENTS = ("word/document.xml", "ppt/presentation.xml")


def _memory_of_machine() -> int:
    """Return the memory of this machine in bytes, where the system says it."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 32 * 2**30


MAX_UNPACKED_BYTES = min(8 * 2**30, _memory_of_machine() // SHARE_OF_MEMORY)


@dataclass(frozen=True)
class Content:
    """What a source holds once it is unpacked.

    Args:
        data: the bytes.
        packing: "gzip", "bzip2", "xz", "Zstandard" or "zip"; None when nothing had to be unpacked.
    """

    data: bytes
    packing: str | None


def require_file(path: Path) -> os.stat_result:
    """Return a file's status.

    Raises:
        TableError: there is none, or it is a folder, a socket or a device.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise TableError(f"there is no file {str(path)!r}{_nearest_file(path)}") from None
    except (OSError, ValueError) as error:  # a loop of links, no permission, a name that is too long or holds NUL
        raise TableError(f"{str(path)!r} cannot be read: {_reason(error)}") from None
    if stat.S_ISDIR(status.st_mode):
        raise TableError(f"{str(path)!r} is a folder; name a file")
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISFIFO(status.st_mode):
        raise TableError(f"{str(path)!r} is a socket or a device, not a file; name a file, or - for standard input")
    return status


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file; none of a pipe, which can be read only once."""
    if stat.S_ISFIFO(require_file(path).st_mode):
        return b""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise TableError(f"{str(path)!r} cannot be read: {_reason(error)}") from None


def read_content(source: str | Path) -> Content:
    """Return what a file or, for `-`, standard input holds, unpacked by what its first bytes say.

    Raises:
        TableError: it cannot be read, is damaged, unpacks to more than 8 GiB or a quarter of
            the machine's memory, or is a zip file of several files.
    """
    name = str(source)
    if name == STANDARD_INPUT:
        if sys.stdin is None:
            raise TableError("there is no standard input to read a table from; name a file")
        return _unpacked(sys.stdin.buffer.read(), "standard input")
    require_file(Path(source))
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        raise TableError(f"{name!r} cannot be read: {_reason(error)}") from None
    return _unpacked(data, name)


def _unpacked(data: bytes, name: str) -> Content:
    """Return the content of bytes that may be compressed."""
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _unzipped(data, name)
    for packing, (magic, open_stream) in PACKINGS.items():
        if data.startswith(magic):
            with as_table_error(name, f"{packing} file"), open_stream(io.BytesIO(data)) as stream:
                return Content(_read_pieces(stream, name), packing)
    return Content(data, None)


def _unzipped(data: bytes, name: str) -> Content:
    """Return a zip file's only file; spreadsheets, which are zip files too, stay as they are."""
    with as_table_error(name, "zip file"), zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = [entry for entry in archive.infolist() if not entry.is_dir() and "__MACOSX/" not in entry.filename]
        names = [entry.filename for entry in files]
        if any(member in names for member in MEMBERS_OF_SPREADSHEETS):
            return Content(data, None)
        if any(member in names for member in MEMBERS_OF_DOCUMENTS):
            raise TableError(f"{name!r} is a text document or presentation, not a table; save the table as CSV")
        if names and all(member.endswith(".npy") for member in names):
            raise TableError(f"{name!r} is a NumPy archive (.npz); save the table as CSV or Parquet")
        if len(files) != 1:
            holds = listed(map(repr, names), 3)
            raise TableError(
                f"{name!r} is a zip file of {len(files)} files{f' ({holds})' if names else ''}; "
                "one that holds a table has one file"
            )
        if files[0].flag_bits & 1:
            raise TableError(f"{name!r} is a zip file with a password; unpack it first")
        with archive.open(files[0]) as stream:
            return Content(_read_pieces(stream, name), "zip")


def _read_pieces(stream: IO[bytes], name: str) -> bytes:
    """Return a stream's bytes; its memory grows with what was read."""
    unpacked = io.BytesIO()
    while piece := stream.read(PIECE_BYTES):
        if unpacked.tell() + len(piece) > MAX_UNPACKED_BYTES:
            raise TableError(f"{name!r} unpacks to more than {MAX_UNPACKED_BYTES / 2**30:.3g} GiB; give it as Parquet")
        unpacked.write(piece)
    return unpacked.getvalue()


def _open_gzip(file: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=file))


def _open_zstandard(file: IO[bytes]) -> IO[bytes]:
    import pyarrow as pa

    return pa.CompressedInputStream(file, "zstd")


PACKINGS: dict[str, tuple[bytes | tuple[bytes, ...], Callable[[IO[bytes]], IO[bytes]]]] = {
    "gzip": (b"\x1f\x8b", _open_gzip),
    "bzip2": (tuple(b"BZh%d1AY&SY" % level for level in range(1, 10)), bz2.open),
    "xz": (b"\xfd7zXZ\x00", lzma.open),
    "Zstandard": (b"\x28\xb5\x2f\xfd", _open_zstandard),
}


def _nearest_file(path: Path) -> str:
    """Return a hint of the file in the same folder that was probably meant."""
    try:
        return nearest(path.name, sorted(os.listdir(path.parent)))
    except OSError:
        return ""


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)

"""From the bytes of a text file to UTF-8 with plain line ends."""

from __future__ import annotations

import codecs
import warnings

import numpy as np

from tabcohort.errors import TabcohortWarning, TableError

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before that of UTF-16, which it begins with
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r\f\x1a") + b"\x7f"
PIECE_BYTES = 1 << 24


def as_utf8(data: bytes, name: str) -> tuple[bytes, str]:
    """Return text as UTF-8 without a byte-order mark, each line ended by a newline, and the name of its encoding.

    Bytes that are not UTF-8 are read as Windows-1252 with a warning.

    Raises:
        TableError: the bytes fit no encoding, or hold NUL; the message names the line.
    """
    data, encoding = _decoded(data, name)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"\x00" in data:
        line = line_of(data, data.index(b"\x00"))
        raise TableError(f"{name!r} is not a text table: it holds NUL bytes (line {line})")
    return (data if data.endswith(b"\n") else data + b"\n"), encoding


def line_of(data: bytes, position: int) -> int:
    """Return the number of the line that a byte is in, counted from 1, whatever ends the lines."""
    before = data[:position]
    return before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1


def _decoded(data: bytes, name: str) -> tuple[bytes, str]:
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            if encoding == "UTF-8":
                data = data[len(mark) :]
                break
            try:
                return data.decode(encoding).encode(), encoding
            except UnicodeDecodeError:
                raise TableError(f"{name!r} is not valid {encoding}; save the file with UTF-8 encoding") from None
    position = _first_invalid(data)
    return (data, "UTF-8") if position is None else (_from_windows_1252(data, position, name), "Windows-1252")


def _first_invalid(data: bytes) -> int | None:
    """Return the position of the first byte that is not UTF-8, or None; never all of the text is decoded at once."""
    if data.isascii():
        return None
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), PIECE_BYTES):
        try:
            decoder.decode(data[start : start + PIECE_BYTES], final=start + PIECE_BYTES >= len(data))
        except UnicodeDecodeError as error:
            n_pending = len(error.object) - len(data[start : start + PIECE_BYTES])
            return start - n_pending + error.start
    return None


def _from_windows_1252(data: bytes, position: int, name: str) -> bytes:
    """Return Windows-1252 as UTF-8; `position` is where the text is not UTF-8."""
    line, byte = line_of(data, position), data[position]
    if len(data.translate(None, CONTROLS)) < len(data) or _is_mostly_utf8(data):
        raise TableError(
            f"{name!r}, line {line} is not UTF-8 (byte {byte:#04x}), and the file is in no other encoding that is "
            "known; save the file with UTF-8 encoding"
        )
    try:
        text = data.decode("windows-1252")
    except UnicodeDecodeError as error:
        raise TableError(
            f"{name!r}, line {line_of(data, error.start)} is neither UTF-8 nor Windows-1252 "
            f"(byte {data[error.start]:#04x}); save the file with UTF-8 encoding"
        ) from None
    warnings.warn(
        f"{name!r} is not UTF-8 (line {line}, byte {byte:#04x}) and is read as Windows-1252; if letters come out "
        "wrong, save the file with UTF-8 encoding",
        TabcohortWarning,
        stacklevel=2,
    )
    return text.encode()


def _is_mostly_utf8(data: bytes) -> bool:
    """Return whether more letters beyond ASCII are valid UTF-8 than not, as in a file with a single damaged byte."""
    n_invalid = data.decode(errors="replace").count("\ufffd")
    kept = np.frombuffer(data.decode(errors="ignore").encode(), np.uint8)
    return int(np.count_nonzero(kept >= 0xC0)) > n_invalid

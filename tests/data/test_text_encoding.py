"""Text in any encoding becomes UTF-8, or is refused with the line."""

from __future__ import annotations

import codecs
from collections.abc import Callable

import polars as pl
import pytest

from tabcohort import TabcohortWarning, TableError
from tabcohort.data import text_encoding
from tabcohort.data.text_encoding import as_utf8, line_of

Read = Callable[[bytes], pl.DataFrame]
TEXT = "größe,名\ncafé,π\n"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (TEXT.encode(), "UTF-8"),
        (TEXT.encode("utf-8-sig"), "UTF-8"),
        (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"), "UTF-16"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "UTF-16"),
        (TEXT.encode("utf-32"), "UTF-32"),
        (TEXT.replace("\n", "\r\n").encode(), "UTF-8"),
        (TEXT.replace("\n", "\r").encode("utf-16"), "UTF-16"),
        (TEXT.rstrip().encode(), "UTF-8"),
    ],
)
def test_text_becomes_utf8_with_plain_line_ends(data: bytes, encoding: str) -> None:
    assert as_utf8(data, "t.csv") == (TEXT.encode(), encoding)


def test_other_bytes_are_read_as_windows_1252_with_the_line_of_the_first() -> None:
    text = "a,b\r\n1,2\r\n“café”,€\r\n"
    with pytest.warns(
        TabcohortWarning, match=r"'t\.csv' is not UTF-8 \(line 3, byte 0x93\) and is read as Windows-1252"
    ):
        data, encoding = as_utf8(text.encode("windows-1252"), "t.csv")
    assert (data.decode(), encoding) == (text.replace("\r\n", "\n"), "Windows-1252")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(
            b"a,b\n1,caf\xe9\n2,\x81\n", "line 3 is neither UTF-8 nor Windows-1252", id="unused in Windows-1252"
        ),
        pytest.param(b"a,b\n1,\x01\xe9\n", r"line 2 is not UTF-8 \(byte 0xe9\)", id="a control character"),
        pytest.param(
            "a,b\n1,café\n2,日本\n".encode() + b"3,\xff\n", r"line 4 is not UTF-8 \(byte 0xff\)", id="damaged UTF-8"
        ),
    ],
)
def test_bytes_that_fit_no_encoding_are_refused_by_their_line(data: bytes, words: str) -> None:
    with pytest.raises(TableError, match=rf"'t\.csv', {words}.*; save the file with UTF-8 encoding"):
        as_utf8(data, "t.csv")


@pytest.mark.parametrize("data", ["a,b\n1,2\n".encode("utf-16")[:-1], b"\xff\xfea\x00,\x00b\x00\n\x00\x00\xd81\x00"])
def test_damaged_utf16_is_refused_rather_than_patched(read: Read, data: bytes) -> None:
    with pytest.raises(TableError, match="is not valid UTF-16; save the file with UTF-8 encoding"):
        read(data)


def test_nul_bytes_are_named_by_their_line(read: Read) -> None:
    with pytest.raises(TableError, match=r"is not a text table: it holds NUL bytes \(line 2\)"):
        read(b"a,b\n1,\x002\n")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_letters_and_bad_bytes_are_found_wherever_pieces_end(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoding, "PIECE_BYTES", size)
    assert as_utf8(TEXT.encode(), "t.csv") == (TEXT.encode(), "UTF-8")
    with pytest.raises(TableError, match=r"line 3 is not UTF-8 \(byte 0xe9\)"):
        as_utf8(TEXT.encode() + b"x\xe9,\n", "t.csv")
    with pytest.raises(TableError, match=r"line 3 is not UTF-8 \(byte 0xe5\)"):
        as_utf8(TEXT.encode() + "名".encode()[:2], "t.csv")


@pytest.mark.parametrize("data", [b"a\nb\nc", b"a\rb\rc", b"a\r\nb\r\nc", b"a\r\nb\rc"])
def test_lines_are_counted_whatever_ends_them(data: bytes) -> None:
    assert [line_of(data, data.index(letter)) for letter in (b"a", b"b", b"c")] == [1, 2, 3]

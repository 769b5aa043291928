"""Packed files are told by their content and unpacked in pieces; what is no file is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from tabcohort import TableError, read_frame
from tabcohort.data import unpack
from tabcohort.data.unpack import read_content

Read = Callable[[bytes], pl.DataFrame]
TABLE = b"a,b\n" + b"1,2\n" * 1000


def zipped(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


PACKED = {
    "gzip": gzip.compress(TABLE, mtime=0),
    "bzip2": bz2.compress(TABLE),
    "xz": lzma.compress(TABLE),
    "zip": zipped({"table.csv": TABLE}),
    "Zstandard": pa.Codec("zstd").compress(TABLE, asbytes=True),
}


@pytest.mark.parametrize("packing", PACKED)
def test_packed_text_is_unpacked_whatever_it_is_named(tmp_path: Path, packing: str) -> None:
    (tmp_path / "table.csv").write_bytes(PACKED[packing])
    content = read_content(tmp_path / "table.csv")
    assert (content.data, content.packing) == (TABLE, packing)


def test_two_gzip_members_are_one_file(read: Read) -> None:
    assert len(read(gzip.compress(TABLE) + gzip.compress(TABLE[4:]))) == 2000


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("cut", [0.5, 0.95])
def test_a_cut_file_is_damaged(read: Read, packing: str, cut: float) -> None:
    with pytest.raises(TableError, match=rf"table\.csv' is a damaged {packing} file: "):
        read(PACKED[packing][: max(12, int(cut * len(PACKED[packing])))])


@pytest.mark.parametrize("cut", [3, 12, -9, -1])
def test_a_gzip_cut_anywhere_is_damaged(read: Read, cut: int) -> None:
    with pytest.raises(TableError, match=r"table\.csv' is a damaged gzip file: "):
        read(gzip.compress(TABLE)[:cut])


def test_a_gzip_with_a_wrong_byte_is_damaged(read: Read) -> None:
    packed = bytearray(gzip.compress(TABLE))
    packed[15] ^= 0xFF
    with pytest.raises(TableError, match="is a damaged gzip file: "):
        read(bytes(packed))


@pytest.mark.parametrize("packing", PACKED)
def test_a_bomb_is_stopped(read: Read, monkeypatch: pytest.MonkeyPatch, packing: str) -> None:
    monkeypatch.setattr(unpack, "MAX_UNPACKED_BYTES", 2**11)
    monkeypatch.setattr(unpack, "PIECE_BYTES", 100)
    with pytest.raises(TableError, match=r"unpacks to more than .* GiB; give it as Parquet"):
        read(PACKED[packing])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space reliably")
def test_a_small_packed_file_needs_little_address_space(tmp_path: Path) -> None:
    """Once the largest size was allocated at first."""
    (tmp_path / "table.csv.gz").write_bytes(PACKED["gzip"])
    code = f"""
import resource
from tabcohort.data.unpack import read_content
resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30,) * 2)
assert len(read_content({str(tmp_path / "table.csv.gz")!r}).data) == {len(TABLE)}
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"a.csv": TABLE, "b.csv": TABLE},
            r"is a zip file of 2 files \('a\.csv', 'b\.csv'\); one that holds a table has one",
        ),
        ({}, r"is a zip file of 0 files; one that holds a table has one file"),
        ({"x.npy": b"", "y.npy": b""}, r"is a NumPy archive \(\.npz\)"),
        ({"word/document.xml": b""}, "is a text document or presentation, not a table"),
    ],
)
def test_a_zip_file_of_something_else_is_refused(read: Read, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(TableError, match=words):
        read(zipped(files))


def test_what_a_mac_adds_to_a_zip_file_is_ignored(read: Read) -> None:
    assert len(read(zipped({"__MACOSX/._table.csv": b"x", "table.csv": TABLE}))) == 1000


def test_a_zip_file_with_a_password_is_refused(read: Read) -> None:
    packed = bytearray(PACKED["zip"])
    packed[6] |= 1
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(TableError, match="is a zip file with a password; unpack it first"):
        read(bytes(packed))


def test_a_missing_file_offers_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").touch()
    with pytest.raises(TableError, match=r"there is no file '.*patient\.csv' \(did you mean 'patients\.csv'\?\)"):
        read_frame(tmp_path / "patient.csv")


@pytest.mark.parametrize("name", ["nowhere/patient.csv", "file/patient.csv"])
def test_a_missing_folder_is_a_missing_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TableError, match=rf"there is no file '.*{name}'"):
        read_frame(tmp_path / name)


def test_a_folder_is_not_offered_as_its_own_remedy(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"holds no file that ends in .parquet; name a file or another folder$"):
        read_frame(tmp_path)


def test_a_loop_of_links_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to("b.csv")
    (tmp_path / "b.csv").symlink_to("a.csv")
    with pytest.raises(TableError, match=r"a\.csv' cannot be read: Too many levels of symbolic links"):
        read_frame(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_an_impossible_name_cannot_be_read(name: str) -> None:
    with pytest.raises(TableError, match=r"cannot be read: (File name too long|embedded null byte)"):
        read_frame(name)


def test_a_file_without_permission_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "table.csv").write_bytes(TABLE)
    monkeypatch.setattr(Path, "open", refuse)  # root reads everything
    with pytest.raises(TableError, match=r"table\.csv' cannot be read: Permission denied"):
        read_frame(tmp_path / "table.csv")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(TableError, match=r"table\.csv' cannot be read: Permission denied"):
        read_content(tmp_path / "table.csv")


def test_sockets_and_devices_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("table.csv")
        for name in ("table.csv", "/dev/null"):
            with pytest.raises(TableError, match="is a socket or a device, not a file; name a file, or - for standard"):
                read_frame(name)


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(PACKED["gzip"],))
    writer.start()
    assert len(read_frame(tmp_path / "pipe")) == 1000
    writer.join()


class StandardInput:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


@pytest.mark.parametrize("data", [TABLE, PACKED["gzip"]])
def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", StandardInput(data))
    assert read_frame("-").shape == (1000, 2)


def test_standard_input_may_be_closed_or_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(TableError, match="there is no standard input to read a table from; name a file"):
        read_frame("-")
    monkeypatch.setattr(sys, "stdin", StandardInput(b""))
    with pytest.raises(TableError, match="'standard input' is empty"):
        read_frame("-")

"""One file of arrays and a document: data only, and refused if a single bit differs from what was written."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import socket
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tabcohort
from tabcohort import ModelFileError
from tabcohort.container import FORMAT, MAGIC, check_writable, read_container, replace_file, write_container

ARRAYS = {
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "center": np.array([1.5, -0.0, 1e300]),
    "steps": np.array(7, dtype=np.int64),
    "none": np.empty((0, 4)),
}
DOCUMENT = {"name": "größe", "numbers": [1, 2.5, None, True], "nested": {"a": {}}}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A file that is as it should be."""
    path = tmp_path / "thing.tabcohort"
    write_container(path, "thing", ARRAYS, DOCUMENT)
    return path


def seal(path: Path, body: bytes) -> Path:
    """Write a body with the SHA-256 that fits it, as someone would who makes a file to do harm."""
    path.write_bytes(MAGIC + hashlib.sha256(body).digest() + body)
    return path


def craft(path: Path, header: dict[str, Any] | bytes, values: bytes = b"") -> Path:
    """Write a sealed file of a safetensors header and the arrays' bytes."""
    text = header if isinstance(header, bytes) else json.dumps({**METADATA, **header}).encode()
    return seal(path, len(text).to_bytes(8, "little") + text + values)


METADATA = {"__metadata__": {"tabcohort": json.dumps({"kind": "thing", "format": FORMAT})}}


def array(dtype: Any, shape: Any, start: Any, stop: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def test_what_is_written_is_what_is_read(written: Path) -> None:
    arrays, document = read_container(written, "thing")
    assert document == {**DOCUMENT, "kind": "thing", "format": FORMAT}
    assert arrays.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        assert arrays[name].dtype == values.dtype
        assert arrays[name].shape == values.shape
        assert arrays[name].tobytes() == values.tobytes()
        assert arrays[name].flags.writeable


def test_a_document_keeps_its_order(tmp_path: Path) -> None:
    """What comes first, the strongest weight or the first metric, is still first after reading."""
    write_container(tmp_path / "file", "thing", {}, {"weights": {"z": 3, "a": 2, "k": 1}})
    assert list(read_container(tmp_path / "file", "thing")[1]["weights"]) == ["z", "a", "k"]


def test_arrays_in_any_memory_order_are_read_by_their_values(tmp_path: Path) -> None:
    values = np.arange(6.0).reshape(2, 3)
    write_container(tmp_path / "file", "thing", {"a": np.asfortranarray(values), "b": values.T}, {})
    arrays, _ = read_container(tmp_path / "file", "thing")
    assert (arrays["a"] == values).all()
    assert (arrays["b"] == values.T).all()


def test_the_same_content_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    write_container(tmp_path / "again", "thing", dict(reversed(ARRAYS.items())), DOCUMENT)
    assert (tmp_path / "again").read_bytes() == written.read_bytes()


def test_every_flipped_bit_is_refused(written: Path) -> None:
    good = written.read_bytes()
    bits = {*range(64 * 8), *np.random.default_rng(0).choice(len(good) * 8, 400, replace=False).tolist()}
    for bit in bits:
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        written.write_bytes(bad)
        with pytest.raises(ModelFileError, match=r"is not a tabcohort file|is damaged: its SHA-256 does not match"):
            read_container(written, "thing")


def test_every_cut_is_refused_and_so_is_a_longer_file(written: Path) -> None:
    good = written.read_bytes()
    for length in {*range(64), *range(64, len(good), 7), len(good) - 1}:
        written.write_bytes(good[:length])
        with pytest.raises(ModelFileError, match=r"is not a tabcohort file|is damaged"):
            read_container(written, "thing")
    written.write_bytes(good + b"\x00")
    with pytest.raises(ModelFileError, match="is damaged: its SHA-256 does not match; take it from a backup"):
        read_container(written, "thing")


CRAFTED: dict[str, tuple[Any, bytes, str]] = {
    "overlapping arrays": (
        {"a": array("F64", [1], 0, 8), "b": array("F64", [1], 0, 8)},
        bytes(8),
        "'b' is not where it should be",
    ),
    "a gap": ({"a": array("F64", [1], 8, 16)}, bytes(16), "'a' is not where it should be"),
    "an array that ends before it starts": (
        {"a": array("F64", [1], 0, -8)},
        bytes(8),
        "a.data_offsets must be a list of",
    ),
    "an array beyond the end": ({"a": array("F64", [2], 0, 16)}, bytes(8), "its arrays end after 16 bytes"),
    "a huge shape": ({"a": array("F64", [2**40, 2**40], 0, 8)}, bytes(8), "'a' is not where it should be"),
    "a huge shape and offsets": ({"a": array("F64", [2**50], 0, 2**53)}, bytes(8), "its arrays end after"),
    "a shape that overflows to 8 bytes": (
        {"a": array("F64", [2**32, 2**32, 2**61], 0, 8)},
        bytes(8),
        "shape must be a list of whole numbers",
    ),
    "a negative shape": (
        {"a": array("F64", [-1, -1], 0, 8)},
        bytes(8),
        "its header.a.shape must be a list of whole numbers",
    ),
    "a shape of fractions": (
        {"a": array("F64", [0.5, 2], 0, 8)},
        bytes(8),
        "its header.a.shape must be a list of whole numbers",
    ),
    "a shape that is text": ({"a": array("F64", "1", 0, 8)}, bytes(8), "its header.a.shape must be a list"),
    "too many dimensions": ({"a": array("F64", [1] * 100, 0, 8)}, bytes(8), "'a' has 100 dimensions, and at most 8"),
    "an unknown dtype": ({"a": array("F8_E4M3", [8], 0, 8)}, bytes(8), "F8_E4M3"),
    "a dtype of objects": ({"a": array("O", [1], 0, 8)}, bytes(8), "O"),
    "offsets that are text": ({"a": array("F64", [1], "0", "8")}, bytes(8), ""),
    "no offsets": ({"a": {"dtype": "F64", "shape": [1], "data_offsets": []}}, bytes(8), ""),
    "an entry that is a list": ({"a": []}, b"", ""),
    "an array without its entry": ({"a": {}}, b"", "its header.a.shape is missing"),
    "bytes that are left over": (
        {"a": array("F64", [1], 0, 8)},
        bytes(9),
        "its arrays end after 8 bytes, and",
    ),
    "a document that is a list": (
        {"__metadata__": {"tabcohort": "[]"}},
        b"",
        "its document must be an object, and is a list",
    ),
    "a document that is not JSON": ({"__metadata__": {"tabcohort": "{"}}, b"", ""),
    "a document that is not text": ({"__metadata__": {"tabcohort": {}}}, b"", ""),
    "no document": ({"__metadata__": {}}, b"", "tabcohort is missing"),
    "NaN in the document": ({"__metadata__": {"tabcohort": '{"a": NaN}'}}, b"", "NaN is no JSON number"),
    "a document that nests too deep": ({"__metadata__": {"tabcohort": "[" * 100_000}}, b"", "recursion"),
    "a key twice in the document": ({"__metadata__": {"tabcohort": '{"a": 1, "a": 2}'}}, b"", "a JSON key is repeated"),
    "a key twice in the header": (b'{"a": 1, "a": 2}', b"", "a JSON key is repeated"),
    "a header that is a list": (b"[]", b"", ""),
    "a header that is a number": (b"1", b"", ""),
    "a header that is not UTF-8": (b'{"\xff": 1}', b"", ""),
    "an empty header": (b"", b"", ""),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_file_with_a_right_checksum_is_refused(tmp_path: Path, name: str) -> None:
    header, values, words = CRAFTED[name]
    path = craft(tmp_path / "crafted", header, values)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=f"crafted' is not a valid tabcohort file: .*{words}"):
            read_container(path, "thing")
        assert tracemalloc.get_traced_memory()[1] < 4e6, "allocated more than the file can hold"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("body", [b"", b"\x01", (2**63).to_bytes(8, "little") + b"{}", bytes([255] * 8) + b"{}"])
def test_a_header_longer_than_the_file_is_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(ModelFileError, match="is not a valid tabcohort file: its header is longer than the file"):
        read_container(seal(tmp_path / "crafted", body), "thing")


def test_a_crafted_file_that_is_as_it_should_be_is_read(tmp_path: Path) -> None:
    """The files above are refused for what is wrong in them, not for being crafted."""
    arrays, document = read_container(craft(tmp_path / "good", {"a": array("F64", [1], 0, 8)}, bytes(8)), "thing")
    assert arrays["a"].tolist() == [0.0]
    assert document["kind"] == "thing"


def test_another_kind_is_refused_by_both_names(written: Path) -> None:
    with pytest.raises(ModelFileError, match=r"thing\.tabcohort' is a thing, not a model"):
        read_container(written, "model")


@pytest.mark.parametrize(("given", "shown"), [(FORMAT + 1, FORMAT + 1), (None, "null"), ("1", "'1'")])
def test_a_later_format_says_what_to_install(tmp_path: Path, given: Any, shown: Any) -> None:
    document = {"__metadata__": {"tabcohort": json.dumps({"kind": "thing", "format": given})}}
    message = f"has format {shown} and this version reads format {FORMAT}; install the version that wrote it"
    with pytest.raises(ModelFileError, match=message):
        read_container(craft(tmp_path / "later", document), "thing")


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("model", "train it again: tabcohort fit TABLE --target COLUMN --out MODEL.tabcohort"),
        ("checkpoint", "remove its folder and train again"),
    ],
)
def test_an_earlier_format_says_how_to_renew_the_file(tmp_path: Path, kind: str, advice: str) -> None:
    document = {"__metadata__": {"tabcohort": json.dumps({"kind": kind, "format": FORMAT - 1})}}
    message = f"old' has format {FORMAT - 1} and this version reads format {FORMAT}; {advice}$"
    with pytest.raises(ModelFileError, match=message):
        read_container(craft(tmp_path / "old", document), kind)


def test_a_missing_file_and_a_folder_are_clear(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"there is no file '.*nothing'"):
        read_container(tmp_path / "nothing", "thing")
    with pytest.raises(ModelFileError, match="cannot be read: Is a directory"):
        read_container(tmp_path, "thing")


def test_a_missing_folder_is_clear(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"nowhere.thing' cannot be written: No such file or directory"):
        write_container(tmp_path / "nowhere" / "thing", "thing", ARRAYS, DOCUMENT)


class Crash(BaseException):
    """What no `except Exception` catches."""


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("crash", [Crash, KeyboardInterrupt])
def test_a_crash_while_writing_leaves_the_old_file_and_nothing_beside_it(
    written: Path, monkeypatch: pytest.MonkeyPatch, call: str, crash: type[BaseException]
) -> None:
    def fall(*arguments: object) -> None:
        raise crash

    before = written.read_bytes()
    monkeypatch.setattr(os, call, fall)
    with pytest.raises(crash):
        write_container(written, "thing", {}, {})
    assert written.read_bytes() == before
    assert list(written.parent.iterdir()) == [written]


def test_a_full_disk_is_a_sentence_and_leaves_the_old_file(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    before = written.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelFileError, match=r"thing\.tabcohort' cannot be written: No space left on device"):
        write_container(written, "thing", {}, {})
    assert written.read_bytes() == before
    assert list(written.parent.iterdir()) == [written]


def test_a_document_that_json_cannot_hold_leaves_the_old_file(written: Path) -> None:
    before = written.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_container(written, "thing", {}, {"loss": float("nan")})
    assert written.read_bytes() == before


def test_a_file_has_the_rights_that_any_new_file_has(written: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert written.stat().st_mode == (tmp_path / "plain").stat().st_mode


def special_files(folder: Path) -> dict[str, Path]:
    """Make a pipe and a socket, and links to these and to a device."""
    os.mkfifo(folder / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.close()  # its name stays
    (folder / "device").symlink_to("/dev/null")
    (folder / "link").symlink_to("pipe")
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files there")
@pytest.mark.parametrize("check", [check_writable, lambda path: replace_file(path, lambda file: file.write(b"new"))])
def test_what_is_not_a_regular_file_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: Any
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    (tmp_path / "files").mkdir()
    files = special_files(Path("files"))
    kinds = {name: path.lstat().st_mode for name, path in files.items()}
    for name, path in files.items():
        words = rf"^'files/{name}' is a device, a pipe or a socket and would be replaced; name a file$"
        with pytest.raises(ModelFileError, match=words):
            check(path)
    with pytest.raises(ModelFileError, match=r"^'files' is a folder; name a file$"):
        check("files")
    assert {name: path.lstat().st_mode for name, path in files.items()} == kinds
    assert sorted(os.listdir("files")) == sorted(kinds)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to("store/model")
    for text in (b"first", b"second"):  # a target that is not there yet, and one that is
        check_writable(tmp_path / "link")
        replace_file(tmp_path / "link", lambda file, text=text: file.write(text))  # type: ignore[misc]
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "store" / "model").read_bytes() == text
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["link", "model", "store"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_in_a_circle_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(ModelFileError, match=r"one' cannot be written: Too many levels of symbolic links"):
        check_writable(tmp_path / "one")


def test_the_check_for_writing_leaves_everything_as_it_is(written: Path) -> None:
    before = written.read_bytes()
    check_writable(written)
    check_writable(written.with_name("new"))
    assert written.read_bytes() == before
    assert list(written.parent.iterdir()) == [written]


@pytest.mark.parametrize("name", ["nowhere/model", "m" * 300])
def test_the_check_for_writing_finds_what_writing_would(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match=r"' cannot be written: (No such file or directory|File name too long)"):
        check_writable(tmp_path / name)


def test_a_name_as_long_as_names_can_be_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("m" * 255)
    check_writable(path)
    replace_file(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


ROOT = Path(tabcohort.__file__).parent
RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# Ray runs code that it is sent, and sends results so: between the processes of one run, none of which is a file.
SENT_BETWEEN_PROCESSES = {"cluster/ray_executor.py", "cluster/worker.py"}
CALLS = re.compile(r"(torch\.(load|save|jit\..*|package\..*)|eval|exec|compile|__import__|(np|numpy)\.(load|save.*))")


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_in_the_package_can_run_code_from_a_file(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {name.name.split(".")[0] for name in node.names}
            is_sent = names == {"pickle"} and str(path.relative_to(ROOT)) in SENT_BETWEEN_PROCESSES
            assert is_sent or not RUNS_CODE & names, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in RUNS_CODE, node.lineno
            assert node.module != "torch" or not {"load", "save"} & {name.name for name in node.names}, node.lineno
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert not CALLS.fullmatch(name), f"line {node.lineno}: {name}"
            assert "allow_pickle" not in {keyword.arg for keyword in node.keywords}, node.lineno


def test_a_document_that_is_too_long_to_be_read_again_is_not_written(tmp_path: Path) -> None:
    message = (
        r"thing' cannot be written: what it says of members and epochs has 100,000,\d{3} bytes, and at most "
        r"100,000,000 can be read; train fewer members, or for fewer epochs$"
    )
    with pytest.raises(ModelFileError, match=message):
        write_container(tmp_path / "thing", "thing", {}, {"text": "x" * 100_000_000})
    assert not (tmp_path / "thing").exists()

"""Where a server may listen, and the keys that it asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tabcohort import SettingsError
from tabcohort.server.options import ServerOptions, read_keys

KEY = "a-key-of-enough-characters"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"port": -1}, "the port must be 0 to 65535"),
        ({"port": 65_536}, "the port must be 0 to 65535"),
        ({"n_workers": 0}, "at least 1 worker"),
        ({"host": "0.0.0.0"}, "can be reached from other machines: give a key"),
        ({"host": "192.168.1.5"}, "can be reached from other machines"),
    ],
)
def test_options_out_of_range_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        ServerOptions(**values)  # type: ignore[arg-type]


def test_another_address_needs_a_key_or_that_anyone_is_allowed() -> None:
    assert not ServerOptions(host="0.0.0.0", keys=(KEY,)).is_local
    assert not ServerOptions(host="0.0.0.0", allow_unauthenticated=True).is_local
    assert ServerOptions().is_local


def test_a_key_is_known_only_as_a_whole() -> None:
    options = ServerOptions(keys=(KEY, "another-key-of-enough-characters"))
    assert options.accepts_key(KEY.encode())
    assert not any(options.accepts_key(key) for key in (b"", KEY[:-1].encode(), f"{KEY}x".encode()))
    assert not ServerOptions().accepts_key(b"")


def test_keys_are_the_lines_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# of the clinic\n\n {KEY}\n{KEY}2\n", encoding="utf-8")
    assert read_keys(path) == (KEY, f"{KEY}2")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"# none\n", "holds no key"), (b"short\n", "fewer than 16 characters"), (b"\xff\xff", "it is not UTF-8")],
)
def test_a_file_without_good_keys_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=words):
        read_keys(path)
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        read_keys(tmp_path / "nothing")

"""Sizes in bytes, and what a training takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tabcohort import SettingsError
from tabcohort.data import memory
from tabcohort.data.memory import bytes_of_a_training, default_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("1.5GB", 1.5e9), ("1000MB", 1e9), (" 2 gib ", 2 * 2**30), ("1600000000", 1.6e9), ("1T", 1e12),
        ("1024MiB", 2**30),
    ],
)  # fmt: skip
def test_sizes_are_read_in_powers_of_ten_and_of_two(text: str, n_bytes: float) -> None:
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "much", "-1GB", "1.5", "1e9", "GB", "1GBs", "999MB"])
def test_what_is_no_size_or_too_small_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^the memory must be (a number of bytes such as|at least 1GB)"):
        parse_bytes(text)


def test_the_default_is_half_of_what_the_container_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "limit"
    limit.write_text("max\n")
    monkeypatch.setattr(memory, "_LIMITS", (str(limit), str(tmp_path / "none")))
    whole = default_bytes()
    limit.write_text("1000000\n")
    assert default_bytes() == 500_000 < whole


def test_a_training_takes_more_with_rows_and_columns() -> None:
    assert bytes_of_a_training(0, 0) < bytes_of_a_training(10, 5) < bytes_of_a_training(10, 6)


def test_a_memory_of_hundreds_of_digits_is_refused() -> None:
    with pytest.raises(SettingsError, match="must be a number of bytes"):
        parse_bytes("9" * 400)

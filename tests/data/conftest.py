"""Fixtures of tests that read tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tabcohort import read_frame


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], pl.DataFrame]:
    """Return a function that reads bytes as if they were a file."""

    def read_bytes(data: bytes) -> pl.DataFrame:
        path = tmp_path / "table.csv"
        path.write_bytes(data)
        return read_frame(path)

    return read_bytes

"""What tests that ask a server share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
from starlette.testclient import TestClient

Server = Callable[..., TestClient]


def record_of(frame: pl.DataFrame, row: int, names: Any) -> dict[str, Any]:
    """Return a row as a record of JSON values."""
    cells = frame.select(names).row(row, named=True)
    return {name: cell.isoformat(sep=" ") if hasattr(cell, "hour") else cell.isoformat() if hasattr(cell, "isoformat")
            else cell for name, cell in cells.items()}  # fmt: skip

"""JSON lines: one object per line."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tabcohort.errors import TableError

if TYPE_CHECKING:
    import polars as pl

_ARRAY = re.compile(rb"\s*\[\s*[\[{]")
_OBJECT = re.compile(rb'\s*\{\s*("(?:[^"\\]|\\.)*"\s*:|\}|\Z)')


def looks_like_json(data: bytes) -> bool:
    """Return whether text begins as JSON of objects or arrays does; a bracket alone may begin a column's name."""
    return bool(_ARRAY.match(data) or _OBJECT.match(data))


def read_json_lines(data: bytes, name: str) -> pl.DataFrame:
    """Return the frame of JSON lines, a column for each key; a key that is missing in a line is null there.

    Raises:
        TableError: the text is a single JSON document, a line is not a JSON object, or a value is an array or object.
    """
    import polars as pl

    first = re.search(rb"\S.*", data)
    if first is None or not _is_object(first[0]):
        raise TableError(
            f"{name!r} is a JSON document, not a table; save it as JSON lines (an object per line), CSV or Parquet"
        )
    try:
        frame = pl.read_ndjson(data, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise _error_of_line(data, name) or TableError(f"{name!r} is not JSON lines: {error}") from None
    nested = next((column for column, dtype in frame.schema.items() if dtype.is_nested()), None)
    if nested is not None:
        raise TableError(
            f"{name!r}: {nested!r} holds arrays or objects; every value must be a text, number or truth value"
        )
    return frame


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):  # the latter for lists in lists in lists
        return False


def _error_of_line(data: bytes, name: str) -> TableError | None:
    """Return the error that names the first line that is not an object, or has a value that is none."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        if not _is_object(line):
            return TableError(f"{name!r}, line {number} is not a JSON object; every line must be one")
        for key, value in json.loads(line).items():
            if isinstance(value, list | dict):
                return TableError(
                    f"{name!r}, line {number}: {key!r} holds an array or object; every value must be a text, number or "
                    "truth value"
                )
    return None

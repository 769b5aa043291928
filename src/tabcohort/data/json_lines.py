"""JSON lines: one object per line."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

from tabcohort.data.reader_errors import as_table_error
from tabcohort.errors import TableError
from tabcohort.plain_values import refuse_constant

if TYPE_CHECKING:
    import polars as pl

MAX_NUMBER = {float: sys.float_info.max, int: 2**127 - 1, bool: 1}  # that Polars reads
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
        with as_table_error(name, "JSON lines file"):
            frame = pl.read_ndjson(data, infer_schema_length=None)
    except TableError as error:
        raise _error_of_line(data, name) or error from None
    nested = next((column for column, dtype in frame.schema.items() if dtype.is_nested()), None)
    if nested is not None:
        raise TableError(
            f"{name!r}: {nested!r} holds arrays or objects; every value must be a text, number or truth value"
        )
    return frame


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line, parse_constant=refuse_constant), dict)
    except (ValueError, RecursionError):  # the latter for lists in lists in lists
        return False


def _error_of_line(data: bytes, name: str) -> TableError | None:
    """Return the error that names the first line that is not an object, or has a value that cannot be read."""
    has_truth: dict[str, bool] = {}  # whether the first value of a key is a truth value
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        if not _is_object(line):
            return TableError(f"{name!r}, line {number} is not a JSON object; every line must be one")
        for key, value in json.loads(line).items():
            if isinstance(value, list | dict):
                what = "an array or object; every value must be a text, number or truth value"
            elif isinstance(value, int | float) and abs(value) > MAX_NUMBER[type(value)]:
                what = "a number that is too large to be read; make it a text"
            elif value is not None and has_truth.setdefault(key, isinstance(value, bool)) != isinstance(value, bool):
                what = "truth values and others; make all of them texts"
            else:
                continue
            return TableError(f"{name!r}, line {number}: {key!r} holds {what}")
    return None

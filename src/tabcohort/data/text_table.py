"""From text to a frame whose cells stay text: the delimiter, the line of names, and rows that are none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabcohort.data.column_names import (
    is_number,
    name_columns,
    require_few_columns,
    without_empty_rows,
    without_unnamed_columns,
)
from tabcohort.data.csv_layout import count_regular_records, line_of_record, records_of, regular_text
from tabcohort.data.parse import MISSING_WORDS
from tabcohort.errors import CellError, TableError, listed

if TYPE_CHECKING:
    import polars as pl

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
MAX_LINES_OF_NAMES = 100  # that a quoted name may span
N_ROWS_SAMPLED = 200  # to tell a line of units from a row


def read_text_table(data: bytes, name: str) -> tuple[pl.DataFrame, str]:
    """Return the frame of CSV text, every cell text or null where it is empty, and the delimiter's name.

    Args:
        data: UTF-8 that ends with a newline.
        name: of the source, for messages.

    Raises:
        TableError: the text is empty, has a row of another length, or something that is not a row; the message names
            the line.
    """
    start, end = _lines_of_names(data, name)
    written = data[start:end].decode()
    unquoted = re.sub(r'"[^"]*"', "", written)
    delimiter = max(DELIMITERS, key=unquoted.count)
    require_few_columns(unquoted.count(delimiter) + 1, name)
    first = next(records_of(data[:end], delimiter, name), None)
    if first is None:
        raise TableError(f"{name!r}: the line of column names is blank; the first line must name the columns")
    _, cells = first
    n_records = count_regular_records(data, end, delimiter, len(cells))
    text, n_lines = data, data.count(b"\n", 0, end)
    if n_records is None:
        (text, n_records), n_lines = regular_text(data, delimiter, name), 0
    names = name_columns(cells, name)
    frame = _read_regular(text, names, delimiter, n_lines) if n_records else _without_rows(names)
    assert len(frame) == n_records  # Polars found the rows that were counted
    _require_rows(frame, cells, data, delimiter, name)
    frame = without_unnamed_columns(frame, [bool(cell.strip()) for cell in cells], name)
    return without_empty_rows(frame, name), DELIMITERS[delimiter]


def _lines_of_names(data: bytes, name: str) -> tuple[int, int]:
    """Return where the line of names begins and ends, its newline included; quoted names may hold newlines."""
    first = re.search(rb"\S", data)
    if first is None:
        raise TableError(f"{name!r} is empty; a table has a line of column names and a line per row")
    start = data.rfind(b"\n", 0, first.start()) + 1
    n_quotes, end = 0, start
    for _ in range(MAX_LINES_OF_NAMES):
        begin, end = end, data.index(b"\n", end) + 1
        n_quotes += data.count(b'"', begin, end)
        if n_quotes % 2 == 0:
            return start, end
        if end == len(data):
            break
    return start, data.index(b"\n", start) + 1  # the quote is stray


def _read_regular(text: bytes, names: Sequence[str], delimiter: str, n_lines: int) -> pl.DataFrame:
    """Return the frame of regular text after its first lines."""
    import polars as pl

    return pl.read_csv(
        text,
        has_header=False,
        skip_lines=n_lines,
        schema=dict.fromkeys(names, pl.String),
        separator=delimiter,
        null_values=[""] if b'""' in text else None,  # quoted, it would be text without a letter
    )


def _without_rows(names: Sequence[str]) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(schema=dict.fromkeys(names, pl.String))


def _require_rows(frame: pl.DataFrame, names: Sequence[str], data: bytes, delimiter: str, source: str) -> None:
    """Raise `TableError` with the line when a row repeats the names, or the first row has the columns' units."""
    number = _first_repeat_of_names(frame, names)
    if number is not None:
        line = line_of_record(data, delimiter, source, number + 1)
        raise TableError(f"{source!r}, line {line} repeats the line of names; take it out")
    if _begins_with_units(frame):
        line = line_of_record(data, delimiter, source, 1)
        shown = listed([repr(cell) for cell in frame.row(0) if cell is not None], 4)
        what, why = f"{source!r}, line {line} looks like the columns' units", "as its words are in columns of numbers"
        raise CellError(f"{what} ({shown}), {why}; take it out", f"{what}, {why}; take it out")


def _first_repeat_of_names(frame: pl.DataFrame, names: Sequence[str]) -> int | None:
    """Return the first row whose cells are the names, or None."""
    if frame.width < 2:
        return None
    wanted = [name.strip() for name in names]
    is_first = frame[:, 0].str.strip_chars() == wanted[0] if wanted[0] else frame[:, 0].is_null()
    for number in is_first.fill_null(False).arg_true():
        if [(cell or "").strip() for cell in frame.row(number)] == wanted:
            return int(number)
    return None


def _begins_with_units(frame: pl.DataFrame) -> bool:
    """Return whether the first row has words, and no number, where all further rows have numbers."""
    import polars as pl

    first, rest = frame.head(1), frame[1:N_ROWS_SAMPLED]
    if len(rest) < 2:
        return False
    words = [str(cell or "").strip() for cell in first.row(0)]
    numbers = rest.select(pl.all().str.strip_chars().cast(pl.Float64, strict=False))
    odd, others = list[str](), list[str]()
    for word, column, number in zip(words, rest.iter_columns(), numbers.iter_columns(), strict=True):
        if word.lower() not in MISSING_WORDS:
            are_numbers = len(rest) > number.null_count() == column.null_count()
            (odd if are_numbers else others).append(word)
    if not odd or any(map(is_number, odd)):
        return False
    return len(odd) > 1 or not others

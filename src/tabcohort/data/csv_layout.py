"""Where the cells of CSV text are: whether every line has one per column, and which line has not.

Polars fills a short row with nulls and reads everything after a stray quote into one cell. So text is checked before it
is read: by NumPy, which is fast and covers what programs write, and only when that fails by Python's `csv`, which
names the line or writes the same cells in the regular form.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np

from tabcohort.errors import TableError

BLOCK_BYTES = 1 << 16  # whose arrays stay in the cache
NEWLINE, QUOTE = ord("\n"), ord('"')


def count_regular_records(data: bytes, start: int, delimiter: str, n_columns: int) -> int | None:
    """Return the number of records, or None when they are not regular.

    In regular text every record has `n_columns` cells, none is a blank line, and every quote is where a cell begins or
    ends, or doubled.

    Args:
        data: UTF-8 that ends with a newline.
        start: where the first record begins; not 0, as the line of names comes before.
    """
    if n_columns == 1 and data.find(b"\n\n", start - 1) >= 0:
        return None
    text = np.frombuffer(data, np.uint8)
    has_quotes = data.find(b'"', start) >= 0
    is_boundary = np.zeros(256, bool)
    is_boundary[[ord(delimiter), NEWLINE, QUOTE]] = True
    is_open = False
    n_cells = n_records = 0
    for begin in range(start, len(data), BLOCK_BYTES):
        block = text[begin : begin + BLOCK_BYTES]
        is_mark = (block == ord(delimiter)) | (block == NEWLINE)
        places = np.flatnonzero(is_mark | (block == QUOTE) if has_quotes else is_mark)
        marks = block[places]
        if has_quotes:
            is_quote = marks == QUOTE
            depth = (np.cumsum(is_quote) + is_open) & 1  # 1 from a quote that opens to the one that closes
            opening, closing = places[is_quote & (depth == 1)] + begin, places[is_quote & (depth == 0)] + begin
            if not (is_boundary[text[opening - 1]].all() and is_boundary[text[closing + 1]].all()):
                return None
            is_open = bool(depth[-1]) if len(depth) else is_open
            marks = marks[~is_quote & (depth == 0)]
        ends = np.flatnonzero(marks == NEWLINE)
        if not np.array_equal(ends, np.arange((-1 - n_cells) % n_columns, len(marks), n_columns)):
            return None
        n_cells += len(marks)
        n_records += len(ends)
    return None if is_open else n_records


def records_of(data: bytes, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not blank: the line where it begins, counted from 1, and its cells.

    Raises:
        TableError: a quote is not closed, or not closed where its cell ends; the message names the line.
    """
    csv.field_size_limit(max(csv.field_size_limit(), len(data)))  # a long cell is no stray quote
    lines = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="\n")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise TableError(
            f"{name!r}, line {line}: a quote is not closed where its cell ends ({error}); close it, or double it"
        ) from None


def regular_text(data: bytes, delimiter: str, name: str) -> tuple[bytes, int]:
    """Return the records after the line of names in regular form, and their number.

    Raises:
        TableError: a record has another number of cells than there are names, or as in `records_of`.
    """
    records = records_of(data, delimiter, name)
    line_of_names, names = next(records)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    n_records = 0
    for line, cells in records:
        if len(cells) != len(names):
            _raise_ragged(line, cells, line_of_names, names, name)
        writer.writerow(cells)
        n_records += 1
    return text.getvalue().encode(), n_records


def line_of_record(data: bytes, delimiter: str, name: str, number: int) -> int:
    """Return the line where a record begins; the line of names is record 0."""
    return next(line for index, (line, _) in enumerate(records_of(data, delimiter, name)) if index == number)


def _raise_ragged(line: int, cells: list[str], line_of_names: int, names: list[str], name: str) -> None:
    remedy = "every row needs a cell for each name"
    if cells[0].startswith("#"):
        remedy = f"line {line} looks like a comment; take it out"
    elif names[0].startswith("#"):
        remedy = f"line {line_of_names} looks like a comment; the line of names must come first"
    elif len(cells) == len(names) + 1:
        extra = "the last cell is empty: take out the delimiter before it" if not cells[-1] else "is a name missing?"
        remedy = f"{remedy} ({extra})"
    raise TableError(
        f"{name!r} is not a regular table: line {line} has {_counted(len(cells), 'cell')}, but line {line_of_names} "
        f"has {_counted(len(names), 'name')}; {remedy}"
    )


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"

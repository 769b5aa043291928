"""Spreadsheets: Excel and OpenDocument files, read by fastexcel in a process of its own.

Fastexcel makes room for every cell between the first and the last that a sheet names. A small file can name cells so
far apart that there is no memory for that, and then it ends its process.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabcohort.data.column_names import name_columns, without_empty_rows, without_unnamed_columns
from tabcohort.data.reader_errors import REMEDY, as_table_error
from tabcohort.errors import TabcohortWarning, TableError, first_line, listed

if TYPE_CHECKING:
    import polars as pl

MAX_BYTES = 4 * 2**30  # of the process that reads
MAX_SECONDS, SECONDS_PER_MIB = 30, 10  # of its time
KEY = b"tabcohort"  # of the document beside the cells
WRITE_FIRST_SHEET = "from tabcohort.data.spreadsheets import write_first_sheet; write_first_sheet()"


def read_spreadsheet(data: bytes, name: str) -> pl.DataFrame:
    """Return the frame of the first sheet; its first row that is not empty has the names.

    Args:
        data: an .xlsx, .xlsb, .xls or .ods file.
        name: of the file, for messages.

    Raises:
        TableError: the file is damaged or its first sheet is empty, reading it takes more than 4 GiB or 30 seconds
            and 10 for each MiB, or the extra `excel` is not installed.
    """
    if importlib.util.find_spec("fastexcel") is None:
        raise TableError(
            f"{name!r} is a spreadsheet, which needs an extra; install it with `pip install 'tabcohort[excel]'`, or "
            "save the table as CSV"
        )
    frame, document = _first_sheet(data, name)
    sheets, written = document["sheets"], document["names"]
    if not written:
        raise TableError(f"{name!r}: the sheet {sheets[0]!r} is empty; the first sheet must hold the table")
    if len(sheets) > 1:
        others = listed(map(repr, sheets[1:]), 3)
        warnings.warn(
            f"{name!r}: only the first sheet, {sheets[0]!r}, is read; the others are {others}",
            TabcohortWarning,
            stacklevel=2,
        )
    frame.columns = name_columns(written, name)
    frame = without_unnamed_columns(frame, [bool(cell.strip()) for cell in written], name)
    return without_empty_rows(frame, name)


def _first_sheet(data: bytes, name: str) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the cells of the first sheet, the names of all sheets and the first row, read in another process."""
    import polars as pl
    import pyarrow as pa

    path = os.pathsep.join(folder for folder in sys.path if folder and Path(folder).is_absolute())
    command, environment = [sys.executable, "-P", "-c", WRITE_FIRST_SHEET], {**os.environ, "PYTHONPATH": path}
    seconds = MAX_SECONDS + SECONDS_PER_MIB * len(data) / 2**20
    try:
        result = subprocess.run(command, input=data, capture_output=True, timeout=seconds, env=environment)
    except subprocess.TimeoutExpired:
        raise TableError(
            f"{name!r} is a spreadsheet that takes more than {seconds:.0f} seconds to read; {REMEDY}"
        ) from None
    if result.returncode:
        reason = result.stdout.decode(errors="replace")
        raise TableError(
            f"{name!r} is a damaged spreadsheet: {reason}" if reason
            else f"{name!r} is a damaged spreadsheet, or has cells so far apart that reading it takes more than "
            f"{MAX_BYTES / 2**30:g} GiB; {REMEDY}"
        )  # fmt: skip
    with as_table_error(name, "spreadsheet"):
        table = pa.ipc.open_stream(result.stdout).read_all()
        return pl.DataFrame(pl.from_arrow(table)), json.loads(table.schema.metadata[KEY])


def write_first_sheet() -> None:
    """Read a spreadsheet from standard input and write its first sheet to standard output, as an Arrow stream.

    If it is damaged, what is wrong is written instead and the exit status is 1.
    """
    import fastexcel
    import pyarrow as pa

    with contextlib.suppress(ImportError, ValueError, OSError):  # there is no such limit everywhere
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    try:
        book = fastexcel.read_excel(sys.stdin.buffer.read())
        names, cells = [], pa.table({})
        first_row = book.load_sheet(0, header_row=None, n_rows=1, dtypes="string").to_arrow()
        if first_row.num_columns and first_row.num_rows:
            names = [column[0].as_py() or "" for column in first_row.columns]
            sheet = book.load_sheet(0, schema_sample_rows=None, skip_whitespace_tail_rows=True)
            cells = pa.Table.from_batches([sheet.to_arrow()])
    except fastexcel.FastExcelError as error:
        sys.stdout.write(first_line(error))
        sys.exit(1)
    document = json.dumps({"sheets": book.sheet_names, "names": names})
    table = cells.replace_schema_metadata({KEY: document})
    with pa.ipc.new_stream(sys.stdout.buffer, table.schema) as writer:
        writer.write_table(table)

"""Spreadsheets: Excel and OpenDocument files, read by fastexcel."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from tabcohort.data.column_names import name_columns, without_empty_rows, without_unnamed_columns
from tabcohort.errors import TabcohortWarning, TableError, listed

if TYPE_CHECKING:
    import polars as pl


def read_spreadsheet(data: bytes, name: str) -> pl.DataFrame:
    """Return the frame of the first sheet; its first row that is not empty has the names.

    Args:
        data: an .xlsx, .xlsb, .xls or .ods file.
        name: of the file, for messages.

    Raises:
        TableError: the file is damaged or its first sheet is empty, or the extra `excel` is not installed.
    """
    try:
        import fastexcel
    except ImportError:
        raise TableError(
            f"{name!r} is a spreadsheet, which needs an extra; install it with `pip install 'tabcohort[excel]'`, or "
            "save the table as CSV"
        ) from None
    try:
        book = fastexcel.read_excel(data)
        sheets = book.sheet_names
        header = book.load_sheet(0, header_row=None, n_rows=1, dtypes="string").to_polars()
        if not header.width or not len(header):
            raise TableError(f"{name!r}: the sheet {sheets[0]!r} is empty; the first sheet must hold the table")
        frame = book.load_sheet(0, schema_sample_rows=None, skip_whitespace_tail_rows=True).to_polars()
    except fastexcel.FastExcelError as error:
        raise TableError(f"{name!r} is a damaged spreadsheet: {str(error).splitlines()[0]}") from None
    if len(sheets) > 1:
        others = listed(map(repr, sheets[1:]), 3)
        warnings.warn(
            f"{name!r}: only the first sheet, {sheets[0]!r}, is read; the others are {others}",
            TabcohortWarning,
            stacklevel=2,
        )
    written = [cell or "" for cell in header.row(0)]
    frame.columns = name_columns(written, name)
    frame = without_unnamed_columns(frame, [bool(cell.strip()) for cell in written], name)
    return without_empty_rows(frame, name)

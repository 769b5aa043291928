"""What people hand over by mistake: each input is an error with its words, a warning with its words, or read right.

Other exceptions than `TabcohortError` fail the test, and so does a table with other cells than those that were meant.
"""

from __future__ import annotations

import bz2
import datetime
import decimal
import gzip
import io
import lzma
import pickle
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from helpers import QUICK, SINGLE

from tabcohort import Config, Predictor, TabcohortError, Table, fit
from tabcohort.data import unpack

N_ROWS = 30
NAN = float("nan")
ERROR, WARNING, FINE = "error", "warning", "fine"
AS_IT_IS = "30 rows of no, yes; a: number, 0.5 to 29.5, sum 450; c: category of Oslo, Rome"
Case = tuple[str, Any, str, str]  # a name, the input, what must happen, and words that must appear


# -- inputs ----------------------------------------------------------------------------------------------------------


def cycled(*cells: Any, n_rows: int = N_ROWS) -> list[Any]:
    """Return the cells again and again."""
    return [cells[i % len(cells)] for i in range(n_rows)]


NUMBERS = [str(i + 0.5) for i in range(N_ROWS)]
CITIES = cycled("Rome", "Rome", "Oslo")
LABELS = cycled("no", "yes", "yes", "no", "yes")


def columns_of(**columns: Iterable[Any]) -> dict[str, list[Any]]:
    """Return the columns a (0.5 to 29.5), c (Rome or Oslo) and y (no or yes) with these beside or instead."""
    return {name: list(cells) for name, cells in {"a": NUMBERS, "c": CITIES, "y": LABELS, **columns}.items()}


def csv_of(*, delimiter: str = ",", end: str = "\n", **columns: Iterable[Any]) -> bytes:
    """Return the columns of `columns_of` as CSV."""
    data = columns_of(**columns)
    rows = [data, *zip(*data.values(), strict=True)]
    return "".join(delimiter.join(map(str, row)) + end for row in rows).encode()


def with_cell(cell: str, row: int = 5) -> bytes:
    """Return CSV whose column a holds this cell in this row, counted from 1."""
    return csv_of(a=[*NUMBERS[: row - 1], cell, *NUMBERS[row:]])


def with_line(line: str, number: int) -> bytes:
    """Return CSV with one more line, which has this number."""
    lines = csv_of().decode().splitlines(keepends=True)
    return "".join([*lines[: number - 1], line + "\n", *lines[number - 1 :]]).encode()


def zipped(**files: bytes) -> bytes:
    """Return a zip file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def written(write: Callable[[io.BytesIO], Any]) -> bytes:
    """Return what a function writes."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


CSV = csv_of()


# -- what becomes of them --------------------------------------------------------------------------------------------


def describe(table: Table) -> str:
    """Return a table's rows, classes and columns in words, with enough of the cells to see that they are right."""
    parts = [f"{len(table.X):,} rows of {', '.join(map(str, table.schema.classes[:5]))}"]
    place = 0
    for column in table.schema.columns:
        detail = column.describe()
        if column.kind == "number":
            cells = table.X[:, place]
            n_missing = int(np.isnan(cells).sum())
            detail = f"number, {np.nanmin(cells):g} to {np.nanmax(cells):g}, sum {np.nansum(cells):g}"
            detail += f", {n_missing} missing" if n_missing else ""
        elif column.kind == "category":
            detail = f"category of {', '.join(sorted(column.levels)[:5])}"
        place += column.n_numbers
        parts.append(f"{column.name}: {detail}")
    return "; ".join(parts)


def outcome_of(function: Callable[[], str]) -> tuple[str, str]:
    """Return what happens, "error", "warning" or "fine", and its words: what is said, then what was made."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            made = function()
        except TabcohortError as error:
            return ERROR, str(error)
    said = [str(warning.message) for warning in caught]
    return (WARNING if said else FINE), "\n".join([*said, made])


# -- files -----------------------------------------------------------------------------------------------------------

LINES = {
    "empty": (b"", ERROR, "is empty; a table has a line of column names"),
    "only newlines": (b"\n\r\n\n", ERROR, "is empty"),
    "only spaces": (b"   \n  ", ERROR, "is empty"),
    "header only": (b"a,c,y\n", ERROR, "'y' must have at least two classes; it has no class in 0 row"),
    "one row": (b"a,c,y\n1,Rome,yes\n", ERROR, "it has 1 class only, 'yes', in 1 row"),
    "as it should be": (CSV, FINE, AS_IT_IS),
    "CRLF": (csv_of(end="\r\n"), FINE, AS_IT_IS),
    "CR only": (csv_of(end="\r"), FINE, AS_IT_IS),
    "mixed line ends": (CSV.replace(b"no\n", b"no\r\n"), FINE, AS_IT_IS),
    "no last newline": (CSV.rstrip(), FINE, AS_IT_IS),
    "blank lines": (CSV.replace(b"no\n", b"no\n\n"), FINE, AS_IT_IS),
    "blank lines first": (b"\n\n" + CSV, FINE, AS_IT_IS),
    "empty row": (with_line(",,", 4), WARNING, "1 row is empty and is left out"),
    "trailing comma on rows": (
        CSV.replace(b"yes\n", b"yes,\n"), ERROR, "line 3 has 4 cells, but line 1 has 3 names",
    ),
    "trailing comma on all lines": (
        CSV.replace(b"\n", b",\n"), WARNING, "column 4 without a name has no values and is left out",
    ),
    "header shorter than rows": (CSV.replace(b"a,c,y", b"c,y"), ERROR, "line 2 has 3 cells, but line 1 has 2 names"),
    "short row": (with_line("1,Rome", 7), ERROR, "line 7 has 2 cells, but line 1 has 3 names"),
    "long row": (with_line("1,Rome,no,4", 7), ERROR, "line 7 has 4 cells, but line 1 has 3 names"),
    "comment first": (with_line("# made by hand", 1), ERROR, "line 1 looks like a comment"),
    "comment between": (with_line("# to be continued", 9), ERROR, "line 9 looks like a comment; take it out"),
    "repeated header": (with_line("a,c,y", 12), ERROR, "line 12 repeats the line of names; take it out"),
    "units": (
        csv_of(a=["kg", *NUMBERS[1:]], b=["cm", *NUMBERS[1:]]), ERROR, "line 2 looks like the columns' units ('kg'",
    ),
    "quoted newline": (csv_of(c=cycled('"Rome\n2"', "Oslo")), FINE, "c: category of Oslo, Rome\n2"),
    "quoted delimiter": (csv_of(c=cycled('"Rome, again"', "Oslo")), FINE, "c: category of Oslo, Rome, again"),
    "doubled quotes": (csv_of(c=cycled('"""Rome"""', "Oslo")), FINE, 'c: category of "Rome", Oslo'),
    "unclosed quote": (with_line('1,"Rome,no', 6), ERROR, "line 6: a quote is not closed where its cell ends"),
    "text after a quote": (with_line('1,"Rome"!,no', 6), ERROR, "line 6: a quote is not closed where its cell ends"),
    "quote within a cell": (csv_of(c=cycled('5" pipe', "Oslo")), FINE, 'c: category of 5" pipe, Oslo'),
    "NUL": (with_line("1,Ro\0me,no", 8), ERROR, "it holds NUL bytes (line 8)"),
    "semicolons": (csv_of(delimiter=";"), FINE, AS_IT_IS),
    "tabs": (csv_of(delimiter="\t"), FINE, AS_IT_IS),
    "bars": (csv_of(delimiter="|"), FINE, AS_IT_IS),
}  # fmt: skip
NAMES = {
    "duplicate names": (csv_of().replace(b"a,c,y", b"a,a,y"), ERROR, "has two columns called 'a'"),
    "duplicate names with spaces": (CSV.replace(b"a,c,y", b"a, a,y"), ERROR, "has two columns called 'a'"),
    "spaces in names": (CSV.replace(b"a,c,y", b" a ,c , y"), FINE, AS_IT_IS),
    "empty name": (CSV.replace(b"a,c,y", b",c,y"), ERROR, "column 1 without a name; give it one"),
    "unnamed index": (
        b"," + b"".join(line if not i else b"%d,%s" % (i, line) for i, line in enumerate(CSV.splitlines(True))),
        WARNING, "column 1 without a name counts the rows and is left out",
    ),
    "names but for case": (csv_of(A=NUMBERS[::-1]), WARNING, "the columns 'a' and 'A' have almost the same name"),
    "names equal but for code points": (
        csv_of(b1=NUMBERS[::-1], b2=CITIES[::-1])
        .replace(b"b1", "\u00e9".encode())
        .replace(b"b2", "e\u0301".encode()),
        WARNING, "have almost the same name",
    ),
    "no header": (
        CSV.split(b"\n", 1)[1].replace(b"0.5,Rome,no", b"0.5,1.5,y", 1), WARNING, "the names of the columns are",
    ),
    "no header, two equal cells": (b"1.5,1.5,y\n2,3,x\n", ERROR, "the first line must have the names of the columns"),
    "another target": (CSV.replace(b"a,c,y", b"a,c,yy"), ERROR, "there is no column 'y' (did you mean 'yy'?)"),
    "target only": (b"y\n" + b"no\nyes\n" * 9, ERROR, "there is no column to predict from (0 features)"),
    "300,000 columns": (b",".join(b"x%d" % i for i in range(300_000)), ERROR, "has 300,000 columns, but at most"),
}  # fmt: skip
ENCODINGS = {
    "byte-order mark": (b"\xef\xbb\xbf" + CSV, FINE, AS_IT_IS),
    "UTF-16": (CSV.decode().encode("utf-16"), FINE, AS_IT_IS),
    "UTF-16, big end first": (b"\xfe\xff" + CSV.decode().encode("utf-16-be"), FINE, AS_IT_IS),
    "UTF-32": (CSV.decode().encode("utf-32"), FINE, AS_IT_IS),
    "UTF-16 without its last byte": (CSV.decode().encode("utf-16")[:-1], ERROR, "is not valid UTF-16"),
    "UTF-16 without a mark": (CSV.decode().encode("utf-16-le"), ERROR, "it holds NUL bytes (line 1)"),
    "Windows-1252": (
        CSV.replace(b"Oslo", b"Malm\xf6"), WARNING, "line 4, byte 0xf6) and is read as Windows-1252",
    ),
    "a bad byte": (
        CSV.replace(b"Oslo", "Malmö".encode()).replace(b"4.5,Rome", b"4.5,R\xffme"),
        ERROR, "line 6 is not UTF-8 (byte 0xff)",
    ),
    "escape sequences": (csv_of(c=cycled("\x1b[2J", "Oslo")), FINE, "c: category of \x1b[2J, Oslo"),
    "an escape sequence in an error": (
        csv_of(y=["\x1b[2J", *LABELS[1:]]), ERROR, r"the class '\x1b[2J' of 'y' has a single row",
    ),
    "formulas and scripts": (
        csv_of(c=cycled("=1+1", "<script>")), FINE, "c: category of <script>, =1+1",
    ),
}  # fmt: skip
KINDS_OF_FILES = {
    "gzip named .csv": (gzip.compress(CSV), FINE, AS_IT_IS),
    "bzip2": (bz2.compress(CSV), FINE, AS_IT_IS),
    "xz": (lzma.compress(CSV), FINE, AS_IT_IS),
    "zip of a file": (zipped(t=CSV), FINE, AS_IT_IS),
    "zip of two files": (zipped(t=CSV, u=CSV), ERROR, "is a zip file of 2 files ('t', 'u')"),
    "zip of nothing": (zipped(), ERROR, "is a zip file of 0 files"),
    "cut gzip": (gzip.compress(CSV)[:-9], ERROR, "is a damaged gzip file"),
    "cut zip": (zipped(t=CSV)[:-30], ERROR, "is a damaged zip file"),
    "gzip bomb": (gzip.compress(bytes(2_000_000)), ERROR, "unpacks to more than 0.000931 GiB; give it as Parquet"),
    "Parquet named .csv": (written(pl.DataFrame(columns_of()).write_parquet), FINE, AS_IT_IS),
    "Arrow named .csv": (written(pl.DataFrame(columns_of()).write_ipc), FINE, AS_IT_IS),
    "cut Parquet": (written(pl.DataFrame(columns_of()).write_parquet)[:-20], ERROR, "is a damaged Parquet file"),
    "JSON lines named .csv": (written(pl.DataFrame(columns_of()).write_ndjson), FINE, AS_IT_IS),
    "a JSON list": (written(pl.DataFrame(columns_of()).write_json), ERROR, "JSON"),
    "HTML": (b"<!DOCTYPE html>\n<html><table></table></html>", ERROR, "is HTML or XML, not a table"),
    "XML": (b"<?xml version='1.0'?>\n<rows/>", ERROR, "is HTML or XML, not a table"),
    "names that begin with <": (CSV.replace(b"a,c,y", b"a,<c,y"), FINE, "<c: category of Oslo, Rome"),
    "a NumPy array": (written(lambda file: np.save(file, np.eye(3))), ERROR, "is a NumPy array (.npy), not a table"),
    "a NumPy archive": (written(lambda file: np.savez(file, a=np.eye(3))), ERROR, "is a NumPy archive (.npz)"),
    "a pickle": (pickle.dumps({"a": [1, 2]}), ERROR, "is a Python pickle, not a table"),
    "PNG": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ERROR, "is a PNG image, not a table"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3\n", ERROR, "is a PDF document, not a table"),
    "a program": (b"\x7fELF\x02\x01\x01\0", ERROR, "is a program, not a table"),
    "a text document": (zipped(**{"word/document.xml": b"<w/>"}), ERROR, "is a text document or presentation"),
    "a database": (b"SQLite format 3\0", ERROR, "is a SQLite database, not a table; name it as 'sqlite:///"),
    "noise": (np.random.default_rng(0).bytes(400), ERROR, "table.csv'"),
}  # fmt: skip
CELLS = {
    "inf": (with_cell("inf"), ERROR, "row 5, column 'a' is infinite (inf): a number must be at most 1e100"),
    "-Infinity": (with_cell("-Infinity"), ERROR, "row 5, column 'a' is infinite (inf)"),
    "1e400": (with_cell("1e400"), ERROR, "row 5, column 'a' is infinite (inf)"),
    "1e101": (with_cell("1e101"), ERROR, "row 5, column 'a' holds 1e+101"),
    "1e-400": (with_cell("1e-400"), FINE, "a: number, 0 to 29.5, sum 445.5"),
    "-0.0": (with_cell("-0.0"), FINE, "a: number, 0 to 29.5, sum 445.5"),
    "spaces around a number": (with_cell("  4.5 "), FINE, AS_IT_IS),
    "a plus sign": (with_cell("+4.5"), FINE, AS_IT_IS),
    "a decimal comma": (with_cell('"4,5"'), ERROR, "row 5, column 'a' holds '4,5', and 96.67% of its cells are"),
    "a letter O": (with_cell("4.O"), ERROR, "row 5, column 'a' holds '4.O'"),
    "an empty cell": (with_cell(""), FINE, "a: number, 0.5 to 29.5, sum 445.5, 1 missing"),
    "?": (with_cell("?"), FINE, "sum 445.5, 1 missing"),
    "-": (with_cell("-"), FINE, "sum 445.5, 1 missing"),
    "N/A": (with_cell("N/A"), FINE, "sum 445.5, 1 missing"),
    "nan": (with_cell("nan"), FINE, "sum 445.5, 1 missing"),
    "#N/A": (with_cell("#N/A"), FINE, "sum 445.5, 1 missing"),
    "a word in some cells": (
        csv_of(a=["n.k.", "n.k.", *NUMBERS[2:]]), WARNING, "the column 'a': 'n.k.' (2 cells) read as missing",
    ),
    "text after 5,000 numbers": (
        "\n".join(["a,y", *(f"{i / 4},{i % 2}" for i in range(5000)), "much,1"]).encode(), ERROR,
        "row 5001, column 'a' holds 'much'",
    ),
    "a fraction after 5,000 whole numbers": (
        "\n".join(["a,y", *(f"{i % 50},{i % 2}" for i in range(5000)), "0.5,1"]).encode(), FINE,
        "5,001 rows of 0, 1; a: number, 0 to 49, sum 122500",
    ),
    "decimal commas": (
        csv_of(delimiter=";", a=[cell.replace(".", ",") for cell in NUMBERS]), FINE, AS_IT_IS,
    ),
    "thousands": (csv_of(a=cycled('"1,000.5"', "2.5")), FINE, "a: number, 2.5 to 1000.5, sum 15045"),
    "currency": (csv_of(a=cycled("$1000.5", "$2.5")), FINE, "a: number, 2.5 to 1000.5, sum 15045"),
    "percent": (csv_of(a=cycled("95 %", "7.5%")), FINE, "a: number, 0.075 to 0.95, sum 15.375"),
    "2^63": (csv_of(a=cycled(2**63, 2**63 + 1)), WARNING, "16 digits and more are codes: read as a category"),
    "30 digits": (csv_of(a=cycled("1" * 30, "2" * 30)), WARNING, "16 digits and more are codes: read as a category"),
    "identifiers that differ in their last digit": (
        csv_of(a=[10**19 + i for i in range(N_ROWS)]), WARNING, "'a' (an identifier: different text in every row",
    ),
    "leading zeros": (csv_of(a=cycled("007", "012")), WARNING, "with leading zeros are codes: read as a category"),
    "hexadecimal": (csv_of(a=cycled("0x1F", "0x2A")), WARNING, "may be numbers, written in a way that is not read"),
    "underscores": (csv_of(a=cycled("1_000", "2_000")), WARNING, "may be numbers, written in a way that is not read"),
    "full-width digits": (csv_of(a=cycled("１２", "３４")), WARNING, "may be numbers, written in a way that"),
    "negative in brackets": (csv_of(a=cycled("(12)", "(34)")), WARNING, "may be numbers, written in a way that"),
    "levels called NA and None": (csv_of(c=cycled("NA", "None", "x")), FINE, "c: category of NA, None, x"),
    "spaces around levels": (csv_of(c=cycled("Rome", " Rome", "Oslo ")), FINE, "c: category of Oslo, Rome"),
    "mixed words for truth": (csv_of(c=cycled("yes", "No", "TRUE", "0")), FINE, "c: boolean"),
    "days": (csv_of(c=cycled("2024-01-31", "2023-12-01")), FINE, "c: date (days)"),
    "days and months that may be either": (
        csv_of(c=cycled("1/2/2024", "3/4/2024")), WARNING, "days and months cannot be told apart; read as month/day",
    ),
    "days first and months first": (
        csv_of(c=cycled("13/1/2024", "1/13/2024")), ERROR, "'c' have the day first in some rows and the month first",
    ),
    "a day that is none": (
        csv_of(c=["2024-02-30", *cycled("2024-01-31", n_rows=29)]), ERROR, "row 1, column 'c' holds '2024-02-30'",
    ),
    "several mistakes": (
        csv_of(a=["1O", *NUMBERS[1:]], b=[*NUMBERS[1:], "l"]), ERROR, "add --category a --category b (in Python",
    ),
    "all missing": (csv_of(c=cycled("")), WARNING, "left out: 'c' (all cells are missing)"),
    "all missing in words": (csv_of(c=cycled("NA", "?")), WARNING, "left out: 'c' (all cells are missing)"),
    "constant": (csv_of(c=cycled("Rome")), WARNING, "left out: 'c' (all cells are 'Rome')"),
    "a copy": (csv_of(d=CITIES), WARNING, "left out: 'd' (a copy of 'c')"),
    "an index": (csv_of(a=range(N_ROWS)), WARNING, "'a' (an identifier: a different whole number in every row"),
    "a cell of 5 MB": (
        csv_of(c=["x" * 5_000_000, *CITIES[1:]]), WARNING, "cells of more than 1,000 characters are no levels",
    ),
    "tiny differences": (
        csv_of(a=[f"{10**9}.{i:06}" for i in range(N_ROWS)]), WARNING, "differ from 1e+09 by less than rounding does",
    ),
}  # fmt: skip
TARGETS = {
    "one class": (csv_of(y=cycled("yes")), ERROR, "it has 1 class only, 'yes', in 30 row"),
    "a class with one row": (csv_of(y=["may", *LABELS[1:]]), ERROR, "the class 'may' of 'y' has a single row"),
    "no label": (csv_of(y=cycled("")), ERROR, "'y' must have at least two classes; it has no class"),
    "missing labels": (csv_of(y=["", "", *LABELS[2:]]), WARNING, "2 rows with no value in 'y' are left out"),
    "a word for a missing label": (
        csv_of(y=cycled("no", "yes", "yes", "?", "no")), WARNING, "stand for a missing target ('?' in 6 rows)",
    ),
    "a measurement": (
        csv_of(a=NUMBERS * 2, c=CITIES * 2, y=NUMBERS * 2), ERROR, "30 different numbers from 0.5 to 29.5 and looks",
    ),
    "an identifier as target": (csv_of(y=range(N_ROWS)), ERROR, "every row has a different value in 'y'"),
    "labels with spaces": (
        csv_of(y=cycled("yes", " yes", "no ", "no", "no")), WARNING, "read as one: ' yes' as 'yes', 'no ' as 'no'",
    ),
    "labels that differ in capitals": (csv_of(y=cycled("yes", "Yes", "no", "no", "no")), WARNING, "'Yes' and 'yes'"),
    "true and True": (csv_of(y=cycled("true", "True", "no", "no", "no")), WARNING, "'True' and 'true'"),
    "labels equal after normalisation": (
        csv_of(y=cycled("\u00e9", "e\u0301", "o", "o", "o")), WARNING, "30 rows of o, \u00e9;",
    ),
    "-0.0 and 0.0": (csv_of(y=cycled("-0.0", "0.0", "1", "1", "0")), FINE, "30 rows of 0, 1"),
    "1 and 1.0": (csv_of(y=cycled("1", "1.0", "0", "0", "1")), FINE, "30 rows of 0, 1"),
    "the target copied": (csv_of(d=LABELS), WARNING, "left out: 'd' (a copy of the target 'y')"),
    "the target copied as numbers": (
        csv_of(d=cycled("0", "1", "1", "0", "1")), WARNING, "left out: 'd' (a copy of the target 'y')",
    ),
    "a label of 5 MB": (csv_of(y=["x" * 5_000_000, *LABELS[1:]]), ERROR, "row 1 has a label of 5,000,000 characters"),
    "10,000 classes": (
        "\n".join(["a,y", *(f"{i / 8},k{i % 10_000}" for i in range(20_000))]).encode(), WARNING, "10,000 classes",
    ),
    "counts as target": (
        csv_of(a=NUMBERS * 2, c=CITIES * 2, y=[*range(26), *range(26), *range(8)]), WARNING, "26 different whole",
    ),
}  # fmt: skip

# -- frames ----------------------------------------------------------------------------------------------------------

FLOATS = [i + 0.5 for i in range(N_ROWS)]
MOMENTS = [datetime.datetime(2024, 1, 1, 6) + datetime.timedelta(hours=37 * i) for i in range(N_ROWS)]


def pandas_of(**columns: Any) -> pd.DataFrame:
    """Return the columns of `columns_of` as pandas has them."""
    return pd.DataFrame(columns_of(a=FLOATS)).assign(**columns)


FRAMES = {
    "pandas": (pandas_of(), FINE, AS_IT_IS),
    "polars": (pl.DataFrame(columns_of(a=FLOATS)), FINE, AS_IT_IS),
    "pyarrow": (pa.table(columns_of(a=FLOATS)), FINE, AS_IT_IS),
    "a dictionary": (columns_of(), FINE, AS_IT_IS),
    "nullable types": (pandas_of().convert_dtypes(), FINE, AS_IT_IS),
    "pandas' NA": (pandas_of(a=[pd.NA, *FLOATS[1:]]), FINE, "a: number, 1.5 to 29.5, sum 449.5, 1 missing"),
    "a category of numbers": (
        pandas_of(c=pd.Categorical(cycled(1.5, 2.0, 3.0))), FINE, "c: category of 1.5, 2, 3",
    ),
    "a polars category of numbers": (
        pl.DataFrame(columns_of(c=cycled("1.5", "2.0", "3.0"))).with_columns(pl.col("c").cast(pl.Categorical)), FINE,
        "c: category of 1.5, 2, 3",
    ),
    "moments": (pandas_of(c=MOMENTS), FINE, "c: date (days, weekday, hour)"),
    "moments in a zone": (pandas_of(c=pd.Series(MOMENTS).dt.tz_localize("UTC")), FINE, "c: date (days, weekday, hour)"),
    "durations": (pandas_of(a=pd.to_timedelta(FLOATS, unit="s")), FINE, AS_IT_IS),
    "decimals": (pandas_of(a=[decimal.Decimal(f"{cell}") for cell in FLOATS]), FINE, AS_IT_IS),
    "16 bits": (pandas_of(a=np.array(FLOATS, np.float16)), FINE, AS_IT_IS),
    "16 bits that overflowed": (
        pandas_of(a=np.array([np.inf, *FLOATS[1:]], np.float16)), ERROR, "row 1, column 'a' is infinite (inf)",
    ),
    "1e39": (pandas_of(a=[1e39, *FLOATS[1:]]), ERROR, "row 1, column 'a' holds 1e+39: other cells of the"),
    "numbers and text": (pandas_of(a=["much", *FLOATS[1:]]), ERROR, "row 1, column 'a' holds 'much', and 96.67% of"),
    "names of several parts": (
        pandas_of().set_axis(pd.MultiIndex.from_tuples([("a", 1), ("c", 1), ("y", 0)]), axis=1), ERROR,
        "there is no column 'y'",
    ),
    "names of several parts that join to one": (
        pandas_of(b=CITIES).set_axis(pd.Index([("a", 1), "a_1", "y", "c"], tupleize_cols=False), axis=1), ERROR,
        "two columns are called 'a_1'",
    ),
    "names that are numbers": (pandas_of().rename(columns={"a": 7}), FINE, "7: number, 0.5 to 29.5, sum 450"),
    "two columns of one name": (pandas_of().set_axis(["a", "a", "y"], axis=1), ERROR, "two columns are called 'a'"),
    "an index that is not in order": (pandas_of().set_axis(list(range(N_ROWS))[::-1]), FINE, AS_IT_IS),
    "lists": (pandas_of(c=cycled([1], [2, 3])), ERROR, "the column 'c' holds"),
    "dictionaries": (pandas_of(c=cycled({"b": 1}, {})), ERROR, "no single values"),
    "bytes": (pandas_of(c=cycled(b"x", b"y")), ERROR, "no single values"),
    "lists as target": (pandas_of(y=cycled([1], [2])), ERROR, "is not classes: make it text or whole numbers"),
    "truth as target": (pandas_of(y=[label == "yes" for label in LABELS]), FINE, "30 rows of false, true"),
    "UUIDs": (pandas_of(c=[uuid.UUID(int=i) for i in range(N_ROWS)]), WARNING, "'c' (an identifier: different text"),
    "a masked column": (
        columns_of() | {"a": np.ma.masked_array(FLOATS, [True] + [False] * 29)}, ERROR, "the column 'a' has masked",
    ),
    "a column of two dimensions": (columns_of() | {"a": np.zeros((30, 2))}, ERROR, "must have one value per row"),
    "columns of unequal lengths": (columns_of(a=FLOATS[1:]), ERROR, "must have the same number of rows; they have [29"),
    "nothing": (None, ERROR, "not of NoneType"),
    "text": ("table.csv", ERROR, "not of str; for arrays there is Table.from_arrays(X, y), and for files"),
    "an array": (np.zeros((3, 2)), ERROR, "not of ndarray"),
    "a list of records": ([{"a": 1, "y": 0}], ERROR, "not of list"),
    "a lazy frame": (pl.DataFrame(columns_of()).lazy(), ERROR, "not of LazyFrame"),
    "a sparse matrix": (scipy.sparse.eye(3).tocsr(), ERROR, "not of csr_matrix"),
    "no columns": ({}, ERROR, "there is no column 'y'"),
    "no rows": (pandas_of().head(0), ERROR, "it has no class in 0 row"),
}  # fmt: skip


# -- rows to predict for ---------------------------------------------------------------------------------------------

LEVELS = {"a": FLOATS, "c": CITIES, "when": MOMENTS, "flag": cycled("yes", "no", "no", "no")}
KNOWN = pl.DataFrame(LEVELS)
RECORD = KNOWN.row(0, named=True)
THE_SAME = "the same predictions"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """A quickly trained model of the columns a, c, when and flag."""
    return fit(Table.from_frame(KNOWN.with_columns(y=pl.Series(LABELS)), "y"), Config(**QUICK), SINGLE)


def known(**columns: Any) -> pl.DataFrame:
    """Return rows as the model was trained on, with these columns instead."""
    return pl.DataFrame({**LEVELS, **columns}, strict=False)


PREDICTIONS = {
    "known rows": (KNOWN, FINE, THE_SAME),
    "columns in another order": (KNOWN.select("flag", "when", "c", "a"), FINE, THE_SAME),
    "pandas rows": (pd.DataFrame(LEVELS), FINE, THE_SAME),
    "pandas, a category": (pd.DataFrame(LEVELS).astype({"c": "category"}), FINE, THE_SAME),
    "pandas, other levels": (
        pd.DataFrame({**LEVELS, "c": pd.Categorical(CITIES, ["Z", "Rome", "Oslo"])}), FINE, THE_SAME,
    ),
    "numbers as text": (known(a=NUMBERS), FINE, THE_SAME),
    "moments as text": (known(when=[str(moment) for moment in MOMENTS]), FINE, THE_SAME),
    "another word for truth": (known(flag=cycled(True, False, False, False)), FINE, THE_SAME),
    "levels with spaces": (known(c=[f" {city}" for city in CITIES]), FINE, THE_SAME),
    "an array of objects": (np.array(KNOWN.rows(), dtype=object), FINE, THE_SAME),
    "a renamed column": (KNOWN.rename({"flag": "flags"}), ERROR, "the table lacks 'flag' (is it called 'flags'?)"),
    "a missing column": (KNOWN.drop("a"), ERROR, "the table lacks 'a': 4 columns are needed; it has c, when, flag"),
    "no column at all": (pl.DataFrame(), ERROR, "the table lacks 'a', 'c', 'when', 'flag'"),
    "another column": (known(b=FLOATS), WARNING, "ignored, as the model was trained without them: b"),
    "an unknown level": (known(c=["Bern", *CITIES[1:]]), WARNING, "read as unknown"),
    "an unknown word for truth": (known(flag=["perhaps", *cycled("no", n_rows=29)]), WARNING, "read as unknown"),
    "a missing cell": (known(a=[None, *FLOATS[1:]]), WARNING, "missing cells in columns where no training row had one"),
    "a million deviations": (known(a=[1e7, *FLOATS[1:]]), WARNING, "row 1, column 'a' holds 10000000.0"),
    "no rows to predict for": (KNOWN.head(0), FINE, "0 rows"),
    "a word for a number": (known(a=["much", *NUMBERS[1:]]), ERROR, "row 1, column 'a' holds 'much', which is not a"),
    "a word for a moment": (known(when=["soon"] * N_ROWS), ERROR, "row 1, column 'when' holds 'soon', which is not a"),
    "a number for a moment": (known(when=FLOATS), ERROR, "the column 'when' must be dates; it is Float64"),
    "a moment for a number": (known(a=MOMENTS), ERROR, "the column 'a' must be numbers; it is Datetime"),
    "infinity": (known(a=[np.inf, *FLOATS[1:]]), ERROR, "row 1, column 'a' is infinite (inf)"),
    "1e101 to predict for": (known(a=[1e101, *FLOATS[1:]]), ERROR, "row 1, column 'a' holds 1e+101"),
    "lists for a level": (known(c=[[1]] * N_ROWS), ERROR, "the column 'c' must have single values; it holds List"),
    "lists for a number": (known(a=[[1]] * N_ROWS), ERROR, "the column 'a' must be numbers; it is List"),
    "too few columns in an array": (np.zeros((2, 3)), ERROR, "the model needs 4 columns, as an array of shape (n, 4)"),
    "an array of one dimension": (np.zeros(4), ERROR, "it has (4,)"),
    "a number": (3, ERROR, "it has ()"),
    "a sparse matrix of rows": (scipy.sparse.eye(4).tocsr(), ERROR, "make it dense: X.toarray()"),
    "unequal lengths": ({**LEVELS, "a": [1.0]}, ERROR, "all columns must have the same number of rows"),
    "a record": (RECORD, FINE, THE_SAME),
    "a record with more": ({**RECORD, "b": []}, FINE, THE_SAME),
    "a record in another order": (dict(reversed(RECORD.items())), FINE, THE_SAME),
    "a record without a name": ({"a": 1.0, "c": "Rome", "flg": 1}, ERROR, "the record lacks 'when', 'flag'"),
    "a record with a word for a number": ({**RECORD, "a": "much"}, ERROR, "column 'a' holds 'much', which is not a"),
    "a record with a list": ({**RECORD, "c": ["Rome", "Oslo"]}, ERROR, "the column 'c' must have "),
    "a record with a huge number": ({**RECORD, "a": 10**400}, ERROR, "row 1, column 'a' is infinite (inf)"),
}  # fmt: skip


def predictions_for(rows: Any, predictor: Predictor) -> str:
    """Return whether predictions for rows are those for the rows that the model knows."""
    expected = predictor.predict_proba(KNOWN)
    if isinstance(rows, dict) and not isinstance(rows["a"], list):
        probability = list(predictor.predict_row(rows).probability.values())
        return THE_SAME if probability == expected[0].tolist() else "other predictions"
    if isinstance(rows, pl.DataFrame):
        frame = predictor.predict_frame(rows)
        probability = frame.select(predictor.probability_names()).to_numpy()
    else:
        probability = predictor.predict_proba(rows)
    same = THE_SAME if np.array_equal(probability, expected) else "other predictions"
    return f"{len(probability)} rows, {same}"


# -- all of them -----------------------------------------------------------------------------------------------------

FILES = {**LINES, **NAMES, **ENCODINGS, **KINDS_OF_FILES, **CELLS, **TARGETS}
CASES = {**FILES, **FRAMES, **PREDICTIONS}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, expected, words = CASES[name]

    def made() -> str:
        if name in PREDICTIONS:
            return predictions_for(given, predictor)
        if name in FRAMES:
            return describe(Table.from_frame(given, "y"))
        path = tmp_path / "table.csv"
        path.write_bytes(given)
        return describe(Table.from_file(path, "y"))

    if name == "gzip bomb":
        monkeypatch.setattr(unpack, "MAX_UNPACKED_BYTES", 1_000_000)
    outcome, said = outcome_of(made)
    assert outcome == expected, said
    assert words in said


def test_there_are_many_cases_with_names_of_their_own() -> None:
    assert len(CASES) == len(FILES) + len(FRAMES) + len(PREDICTIONS) >= 200

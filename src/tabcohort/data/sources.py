"""From a path or a sample's name to a frame; what cannot be read is refused with the place and the reason."""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tabcohort.errors import TabcohortWarning, TableError, nearest

if TYPE_CHECKING:
    import polars as pl

SAMPLES = ("breast-cancer", "wine", "digits", "iris")


def read_frame(path: str | Path) -> pl.DataFrame:
    """Read CSV, TSV (either gzipped, whatever it is named) or Parquet; the cells of a text file stay text.

    Raises:
        TableError: the file is missing, empty, not a table, or has a row of another length; the message says where.
    """
    import polars as pl

    path = Path(path)
    if path.is_dir():
        raise TableError(f"{str(path)!r} is a folder; name a file")
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        raise TableError(
            f"there is no file {str(path)!r}{nearest(path.name, (entry.name for entry in folder.iterdir()))}"
        )
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"PAR1":
        try:
            return pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise TableError(f"{str(path)!r} is a damaged Parquet file: {error}") from None
    if magic == b"TABC":
        raise TableError(f"{str(path)!r} is a tabcohort model, not a table; the model comes first, then the table")
    return _parse_text(_read_text(path, magic), str(path))


MAX_UNPACKED_BYTES = 8 * 2**30


def _read_text(path: Path, magic: bytes) -> bytes:
    """Return a text file's bytes as UTF-8, unpacked, with plain line ends."""
    if magic[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path) as file:
                data = file.read(MAX_UNPACKED_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise TableError(f"{str(path)!r} is a damaged gzip file: {error}") from None
        if len(data) > MAX_UNPACKED_BYTES:
            raise TableError(f"{str(path)!r} unpacks to more than 8 GiB; give it as Parquet")
    else:
        data = path.read_bytes()
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig")):
        if data.startswith(mark):
            try:
                data = data.decode(encoding).encode()
            except UnicodeDecodeError:
                name = encoding.removesuffix("-sig").upper()
                raise TableError(f"{str(path)!r} is not valid {name}; save the file with UTF-8 encoding") from None
    if magic[:2] == b"PK":
        raise TableError(f"{str(path)!r} is a zip or Excel file; save the table as CSV or Parquet")
    if b"\x00" in data:
        line = data.count(b"\n", 0, data.index(b"\x00")) + 1
        raise TableError(f"{str(path)!r} is not a text table: it holds NUL bytes (line {line})")
    start = data[:256].lstrip().lower()
    if start.startswith((b"<", b"{", b"[")):
        kind = "HTML or XML" if start.startswith(b"<") else "JSON"
        raise TableError(f"{str(path)!r} is {kind}, not a table; save the table as CSV or Parquet")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TableError(f"{str(path)!r}, line {line} is not UTF-8; save the file with UTF-8 encoding") from None
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data if data.endswith(b"\n") else data + b"\n"


def _first_line(data: bytes) -> str:
    """Return the line of names, which may contain quoted newlines."""
    lines = data.lstrip(b"\n").split(b"\n", 100)
    n_lines = next((n for n in range(1, len(lines)) if b"".join(lines[:n]).count(b'"') % 2 == 0), 1)
    return b"\n".join(lines[:n_lines]).decode()


def _check_quotes(data: bytes, delimiter: str, path: str) -> None:
    """Raise `TableError` with the line of a quote that is not closed, or not closed where its cell ends.

    The fast reader would silently read everything that follows into one cell.
    """
    if b'"' not in data:
        return
    csv.field_size_limit(max(csv.field_size_limit(), len(data)))  # a long cell is no stray quote
    reader = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error as error:
        raise TableError(
            f"{path!r}, line {line}: a quote is not closed where its cell ends ({error}); close it, or double it"
        ) from None


def _parse_text(data: bytes, path: str) -> pl.DataFrame:
    import polars as pl
    import pyarrow as pa
    from pyarrow import csv as arrow

    if not data.strip():
        raise TableError(f"{path!r} is empty; a table has a line of column names and a line per row")
    header = _first_line(data)
    delimiter = max(",;\t|", key=re.sub(r'"[^"]*"', "", header).count)
    _check_quotes(data, delimiter, path)
    parse = arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    try:
        names = arrow.read_csv(pa.py_buffer(header.encode() + b"\n"), parse_options=parse).column_names
        convert = arrow.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
        )
        read = arrow.ReadOptions(block_size=max(1 << 20, min(len(data) + 1, 1 << 30)), use_threads=False)
        cells = arrow.read_csv(pa.py_buffer(data), read_options=read, parse_options=parse, convert_options=convert)
    except pa.ArrowInvalid as error:
        reason = str(error).removeprefix("CSV parse error: ").splitlines()[0]
        reason = re.sub(r"^Row #(\d+): E", r"row \1: e", reason)
        raise TableError(f"{path!r} is not a regular table: {reason} (row 1 is the line of names)") from None
    trimmed = [name.strip() for name in names]
    repeated = sorted(name for name, count in Counter(trimmed).items() if count > 1)
    if repeated:
        raise TableError(f"{path!r} has two columns called {repeated[0]!r}; give every column a name of its own")
    named = [name or f"column {number} without a name" for number, name in enumerate(trimmed, start=1)]
    frame = pl.from_arrow(cells.rename_columns(named))
    assert isinstance(frame, pl.DataFrame)  # a pyarrow table always becomes a frame
    for name in set(named) - set(trimmed):
        frame = _without_row_numbers(frame, name, path)
    return frame


def _without_row_numbers(frame: pl.DataFrame, name: str, path: str) -> pl.DataFrame:
    """Return the frame without an unnamed column that only counts the rows, as pandas writes it.

    Raises:
        TableError: the column has other values.
    """
    rows = range(len(frame))
    if frame[name].to_list() not in ([str(row) for row in rows], [str(row + 1) for row in rows]):
        raise TableError(f"{path!r}: {name}; give it one, or take the column out")
    warnings.warn(f"{path!r}: {name} counts the rows and is left out", TabcohortWarning, stacklevel=4)
    return frame.drop(name)


@dataclass(frozen=True)
class Sample:
    """A table that scikit-learn bundles, with its target and positive class."""

    frame: pl.DataFrame
    target: str
    positive: str | None


def load_sample(name: str) -> Sample:
    """Return a bundled sample: "breast-cancer", "wine", "digits" or "iris".

    Breast cancer's target is `diagnosis`, spelled `malignant` (positive) and `benign`; the others' is `target`.

    Raises:
        TableError: there is no such sample.
    """
    if name not in SAMPLES:
        raise TableError(f"there is no sample {name!r}{nearest(name, SAMPLES)}; the samples are {', '.join(SAMPLES)}")
    import polars as pl
    from sklearn import datasets

    load = {
        "breast-cancer": datasets.load_breast_cancer,
        "wine": datasets.load_wine,
        "digits": datasets.load_digits,
        "iris": datasets.load_iris,
    }[name]
    bunch = load()
    target = "diagnosis" if name == "breast-cancer" else "target"
    frame = pl.DataFrame(bunch.data, schema=[str(column) for column in bunch.feature_names])
    frame = frame.with_columns(pl.Series(target, bunch.target_names[bunch.target].astype(str)))
    return Sample(frame, target, positive="malignant" if name == "breast-cancer" else None)

"""What the name of a table means: a file, standard input, a database, or a sample that scikit-learn bundles."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tabcohort.data.column_names import require_few_columns, require_short_names, warn_of_look_alikes
from tabcohort.data.databases import is_database, read_database, shown
from tabcohort.data.forked import require_polars_threads
from tabcohort.data.json_lines import looks_like_json, read_json_lines
from tabcohort.data.parquet_files import ParquetRows, parquet_paths
from tabcohort.data.reader_errors import PARQUET, as_table_error
from tabcohort.data.spreadsheets import read_spreadsheet
from tabcohort.data.text_encoding import as_utf8
from tabcohort.data.text_table import read_text_table
from tabcohort.data.time_range import check_times
from tabcohort.data.unpack import STANDARD_INPUT, Content, head_of, read_content
from tabcohort.errors import TableError, nearest

if TYPE_CHECKING:
    import polars as pl

SAMPLES = ("breast-cancer", "wine", "digits", "iris")
_DOCUMENT = re.compile(rb"(?i)\s*<(!doctype|!--|\?xml|html|head|body|table|svg|[a-z]+:?[a-z]*\s+xmlns)\b")


@dataclass(frozen=True)
class Source:
    """A table as it was read.

    Args:
        frame: its columns; the cells of a text file stay text.
        description: what was detected, in one line, such as "CSV, UTF-8, comma, 891 rows x 13 columns".
    """

    frame: pl.DataFrame
    description: str


def read_frame(source: str | Path, query: str | None = None) -> pl.DataFrame:
    """Return the frame of a table in any format that `read_source` knows.

    Raises:
        TableError: as in `read_source`.
    """
    return read_source(source, query).frame


def read_source(source: str | Path, query: str | None = None) -> Source:
    """Read a table; what a file is, is told by its content, not by its name.

    Parquet may also be a folder of files, or a pattern such as "rows/*.parquet"; the files have the same columns.

    Text is CSV or TSV, in UTF-8, UTF-16 with a byte-order mark or Windows-1252, or JSON lines. Parquet, Arrow IPC
    (Feather) and, with the extra `excel`, spreadsheets are read, too. A file may be compressed by gzip, bzip2, xz,
    Zstandard or zip.

    Args:
        source: a file; `-` for standard input; or the URL of a database: `sqlite:///file.db`, `duckdb:///file.duckdb`
            (extra `duckdb`) or `postgresql://user@host/database` (extra `postgres`). A path from the root has a fourth
            slash: `sqlite:////data/file.db`.
        query: for a database, SQL or the name of a table; it may be omitted if there is only one.

    Raises:
        TableError: there is no such file, it is damaged or not a table, or has a row of another length; the message
            says where. Also where this process was forked from one that had read a table.
    """
    require_polars_threads()
    name = str(source)
    if is_database(name):
        frame, system = read_database(name, query)
        name, facts = shown(name), [system]
    elif query is not None:
        raise TableError(f"a query goes with the URL of a database, such as sqlite:///file.db, not with {name!r}")
    else:
        frame, facts = _read_file(source)
    require_few_columns(frame.width, name)
    require_short_names(frame.columns, name)
    check_times(frame, repr(name))
    warn_of_look_alikes(frame.columns, name)
    counts = f"{frame.height:,} row{'s' * (frame.height != 1)} x {frame.width:,} column{'s' * (frame.width != 1)}"
    return Source(frame, ", ".join([*facts, counts]))


@dataclass(frozen=True)
class _Format:
    """A format that is told by its first bytes.

    Args:
        name: of the format, with an article when it is not a table.
        magic: the first bytes, any of them.
        read: from the bytes or the path, and the name, to the frame; None when it is not a table.
        remedy: what to do when it is not.
    """

    name: str
    magic: tuple[bytes, ...]
    read: Callable[[bytes | Path, str], pl.DataFrame] | None = None
    remedy: str = "save the table as CSV or Parquet"


def _read_file(source: str | Path) -> tuple[pl.DataFrame, list[str]]:
    """Return the frame of a file or of standard input, and what was detected."""
    name = str(source)
    if name != STANDARD_INPUT:
        path = Path(source)
        if len(paths := parquet_paths(source)) > 1 or (paths and paths[0] != path):
            return _read_several(paths), [f"Parquet, {len(paths):,} file{'s' * (len(paths) != 1)}"]
        form = _format_of(head_of(path))
        if form is not None and form.read in (_read_parquet, _read_arrow):  # which need not be in memory
            return form.read(path, name), [form.name]
    content = read_content(source)
    name = "standard input" if name == STANDARD_INPUT else name
    packing = [content.packing] if content.packing else []
    form = _format_of(content.data[:64])
    if form is None:
        frame, facts = _read_text(content, name)
        return frame, facts + packing
    if form.read is None:
        raise TableError(f"{name!r} is {form.name}, not a table; {form.remedy.format(name=name)}")
    return form.read(content.data, name), [form.name, *packing]


def _read_text(content: Content, name: str) -> tuple[pl.DataFrame, list[str]]:
    """Return the frame of a text file, and what was detected."""
    data, encoding = as_utf8(content.data, name)
    if _DOCUMENT.match(data):
        raise TableError(f"{name!r} is HTML or XML, not a table; save the table as CSV or Parquet")
    if looks_like_json(data):
        return read_json_lines(data, name), ["JSON lines", encoding]
    frame, delimiter = read_text_table(data, name)
    return frame, ["TSV", encoding] if delimiter == "tab" else ["CSV", encoding, delimiter]


def _read_parquet(data: bytes | Path, name: str) -> pl.DataFrame:
    import polars as pl

    with as_table_error(name, PARQUET):
        return pl.read_parquet(data)


def _read_several(paths: Sequence[Path]) -> pl.DataFrame:
    """Return the rows of Parquet files, one file after another."""
    import polars as pl

    ParquetRows.open(paths)  # which checks that they have the same columns
    return pl.concat([_read_parquet(path, str(path)) for path in paths], how="vertical")


def _read_arrow(data: bytes | Path, name: str) -> pl.DataFrame:
    import pyarrow as pa

    with as_table_error(name, "Arrow file"):
        # A file is mapped into memory, which its frame refers to.
        return _checked_frame(pa.ipc.open_file(data if isinstance(data, bytes) else pa.memory_map(str(data))))


def _read_arrow_stream(data: bytes | Path, name: str) -> pl.DataFrame:
    import pyarrow as pa

    with as_table_error(name, "Arrow stream"):
        return _checked_frame(pa.ipc.open_stream(data if isinstance(data, bytes) else data.read_bytes()))


def _checked_frame(reader: Any) -> pl.DataFrame:
    """Return the frame of an Arrow reader, whose every index and offset is checked: Polars trusts them."""
    import polars as pl

    table = reader.read_all()
    table.validate(full=True)
    return cast("pl.DataFrame", pl.from_arrow(table))


def _read_sheet(data: bytes | Path, name: str) -> pl.DataFrame:
    return read_spreadsheet(data if isinstance(data, bytes) else data.read_bytes(), name)


_FORMATS = (
    _Format("Parquet", (b"PAR1\x15",), _read_parquet),
    _Format("Arrow IPC", (b"ARROW1\x00\x00",), _read_arrow),
    _Format("Arrow IPC stream", (b"\xff\xff\xff\xff",), _read_arrow_stream),
    _Format("spreadsheet", (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), _read_sheet),
    _Format("a SQLite database", (b"SQLite format 3\x00",), remedy="name it as 'sqlite:///{name}'"),
    _Format("a tabcohort model", (b"TABCOHRT",), remedy="the model comes first, then the table"),
    _Format("a NumPy array (.npy)", (b"\x93NUMPY",)),
    _Format("a Python pickle", tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))),
    _Format("an HDF5 file", (b"\x89HDF\r\n",)),
    _Format("an old Feather file", (b"FEA1\x00",)),
    _Format("an Avro file", (b"Obj\x01",)),
    _Format("a Stata file", (b"<stata_dta>",)),
    _Format("an SPSS file", (b"$FL2@(#)",)),
    _Format("an R data file", (b"RDX2\n", b"RDX3\n")),
    _Format("a PNG image", (b"\x89PNG\r\n",)),
    _Format("a JPEG image", (b"\xff\xd8\xff",)),
    _Format("a GIF image", (b"GIF87a", b"GIF89a")),
    _Format("a TIFF image", (b"II*\x00", b"MM\x00*")),
    _Format("a PDF document", (b"%PDF-",)),
    _Format("an RTF document", (b"{\\rtf",)),
    _Format("a program", (b"\x7fELF", b"MZ\x90\x00")),
    _Format("a 7z archive", (b"7z\xbc\xaf\x27\x1c",)),
    _Format("a RAR archive", (b"Rar!\x1a",)),
    _Format("an LZ4 file", (b"\x04\x22\x4d\x18",)),
)


def _format_of(head: bytes) -> _Format | None:
    """Return the format that the first bytes tell, or None for text."""
    if head[8:12] == b"DUCK":
        return _Format("a DuckDB database", (), remedy="name it as 'duckdb:///{name}'")
    return next((form for form in _FORMATS if head.startswith(form.magic)), None)


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

"""Tables of SQLite, DuckDB and PostgreSQL, by URL and query; nothing is ever written to a database."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import numpy as np

from tabcohort.data.parse import as_series
from tabcohort.errors import TableError, first_line, listed, nearest

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

# The schema and name of each table, and whether its name alone is enough.
_TABLES_OF_SCHEMAS = (
    "SELECT CAST(table_schema AS VARCHAR), CAST(table_name AS VARCHAR), table_schema = current_schema() AS is_default "
    "FROM information_schema.tables WHERE table_schema NOT IN ('information_schema', 'pg_catalog')"
)
_TABLES_OF_SQLITE = (
    "SELECT 'main', name, 1 FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
)
# A password may hold every character, also those that should be escaped; a path begins with a slash.
# But host:port/database?name=value has none, whatever the value holds.
_PASSWORD = re.compile(r"(?<=://)(?!/|[^:@/?#]+:\d+/[^?@]*\?\w+=)([^:@]*):(.*)@", re.DOTALL)
_PASSWORD_IN_QUERY = re.compile(r"([?&][^=&]*(?:password|passwd|pwd)[^=&]*=)[^&]*", re.IGNORECASE)


def is_database(source: str) -> bool:
    """Return whether a source is the URL of a database, or looks like one."""
    return "://" in source


def read_database(url: str, query: str | None = None) -> tuple[pl.DataFrame, str]:
    """Return the frame that a query gives, and the name of the database system.

    Args:
        url: `sqlite:///folder/file.db`, `duckdb:///folder/file.duckdb` or `postgresql://user@host/database`; a path
            that begins at the root has a fourth slash.
        query: SQL, or the name of a table, which is then read whole: `schema.table` for a table outside the default
            schema. It may be omitted when there is only one table.

    Raises:
        TableError: the URL or query is wrong, the database cannot be opened, or its extra is not installed.
    """
    scheme = url.partition("://")[0].lower()
    if scheme not in SYSTEMS:
        raise TableError(
            f"{shown(url)!r} is not the URL of a database that can be read{nearest(scheme, SYSTEMS)}; "
            "it begins with sqlite:///, duckdb:/// or postgresql://"
        )
    system, read, tables = SYSTEMS[scheme]
    if query is None or re.fullmatch(r"\s*\w+(\.\w+)?\s*", query):
        query = _query_of_table(query, read(url, tables).rows(), shown(url))
    return read(url, query), system


def shown(url: str) -> str:
    """Return a URL without its password, for messages."""
    return _PASSWORD_IN_QUERY.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))


def _query_of_table(table: str | None, tables: Sequence[tuple[str, str, Any]], url: str) -> str:
    """Return the query that reads a table, or the only one.

    Args:
        table: its name, with or without a schema; None for the only one.
        tables: the schema and name of each, and whether the schema is the default one.
        url: without its password.
    """
    if not tables:
        raise TableError(f"{url!r} has no tables")
    in_order = sorted((not is_default, schema, name) for schema, name, is_default in tables)
    labels = [f"{schema}.{name}" if is_other else name for is_other, schema, name in in_order]
    names = listed(map(repr, labels), 10)
    if table is None and len(tables) > 1:
        raise TableError(f"{url!r} has {len(tables)} tables; give a query, or the name of one of them: {names}")
    label = labels[0] if table is None else table.strip()
    for (_, schema, name), own in zip(in_order, labels, strict=True):
        if label in (own, f"{schema}.{name}"):
            return f"SELECT * FROM {_quoted(schema)}.{_quoted(name)}"
    raise TableError(f"{url!r} has no table {label!r}{nearest(label, labels)}; its tables are {names}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _file_of(url: str) -> Path:
    """Return the file of a URL with three slashes."""
    path = Path(unquote(url.partition("://")[2].removeprefix("/")))
    if not path.is_file():
        raise TableError(
            f"there is no file {shown(str(path))!r}, which {shown(url)!r} names; "
            "a path from the root has a fourth slash"
        )
    return path


def _failed(url: str, error: Exception) -> TableError:
    reason = first_line(error)
    password = match[2] if (match := _PASSWORD.search(url)) else ""
    if re.search("[/@]", password) and not re.match(r"\d+/", password):  # of which the reason may quote a part
        reason = "its password has a slash or an @; write %2F and %40 in their place"
    return TableError(f"{shown(url)!r} cannot be read: {reason}")


def _missing_extra(url: str, extra: str) -> TableError:
    return TableError(f"{shown(url)!r} needs an extra; install it with `pip install 'tabcohort[{extra}]'`")


def _require_distinct(names: Sequence[str], url: str) -> None:
    repeated = next((name for name, count in Counter(names).items() if count > 1), None)
    if repeated is not None:
        raise TableError(f"{shown(url)!r}: the query gives two columns called {repeated!r}; rename one with AS")


def _read_sqlite(url: str, query: str) -> pl.DataFrame:
    """Run a query by Python's `sqlite3`. SQLite types cells, not columns: text beside numbers makes a column text."""
    import polars as pl

    path = _file_of(url)
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA query_only = ON")
            cursor = connection.execute(query)
            if cursor.description is None:
                raise TableError(f"{shown(url)!r}: the query must be a single SELECT")
            names = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise _failed(url, error) from None
    _require_distinct(names, url)
    columns = zip(*rows, strict=True) if rows else ([] for _ in names)
    return pl.DataFrame([_sqlite_column(name, cells) for name, cells in zip(names, columns, strict=True)])


def _sqlite_column(name: str, cells: Sequence[Any]) -> pl.Series:
    """Return the cells of a column, which are None, int, float, str or bytes each."""
    import polars as pl

    kinds = {type(cell) for cell in cells} - {type(None)}
    if kinds <= {int} or kinds <= {int, float}:
        try:
            return pl.Series(name, cells, dtype=pl.Int64 if kinds <= {int} else pl.Float64, strict=False)
        except (OverflowError, pl.exceptions.PolarsError):
            pass
    return as_series(name, np.array([*cells, None], dtype=object)[:-1]).alias(name)


def _read_duckdb(url: str, query: str) -> pl.DataFrame:
    """Run a query by DuckDB's own package, without access to other files."""
    try:
        import duckdb
    except ImportError:
        raise _missing_extra(url, "duckdb") from None
    path = _file_of(url)
    try:
        config: dict[str, str | bool | int | float | list[str]] = {"enable_external_access": "false"}
        with closing(duckdb.connect(str(path), read_only=True, config=config)) as connection:
            kinds = [statement.type for statement in connection.extract_statements(query)]
            if kinds != [duckdb.StatementType.SELECT]:
                raise TableError(f"{shown(url)!r}: the query must be a single SELECT")
            return _frame_of_arrow(connection.sql(query).to_arrow_table(), url)
    except duckdb.Error as error:
        raise _failed(url, error) from None


def _read_postgresql(url: str, query: str) -> pl.DataFrame:
    """Run a query by the ADBC driver: it receives Arrow columns, in a wheel of 4 MB that brings its own libpq.

    connectorx is 58 MB and its own format of URLs; psycopg makes a Python object of each cell.
    """
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError:
        raise _missing_extra(url, "postgres") from None
    try:
        with dbapi.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(query)
            return _frame_of_arrow(cursor.fetch_arrow_table(), url)
    except dbapi.Error as error:
        raise _failed(url, error) from None


def _frame_of_arrow(table: pa.Table, url: str) -> pl.DataFrame:
    """Return a frame of an Arrow table; decimals become floats, and what Polars has no type for becomes text."""
    import polars as pl
    import pyarrow as pa

    _require_distinct(table.column_names, url)
    plain = pa.table([_plain_column(column) for column in table.columns], names=table.column_names)
    frame = pl.from_arrow(plain)
    assert isinstance(frame, pl.DataFrame)  # a pyarrow table always becomes a frame
    return frame


def _plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    from pyarrow import compute

    kind = column.type
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64(), safe=False)
    if isinstance(kind, pa.BaseExtensionType):
        if getattr(kind, "type_name", None) == "numeric":  # PostgreSQL's
            return compute.cast(pa.chunked_array([chunk.storage for chunk in column.chunks], pa.string()), pa.float64())
        return pa.chunked_array([_as_text(column.to_pylist())], pa.string())
    if pa.types.is_nested(kind) or pa.types.is_interval(kind):
        return pa.chunked_array([_as_text(column.to_pylist())], pa.string())
    return column


def _as_text(cells: Sequence[Any]) -> list[str | None]:
    return [None if cell is None else cell.decode() if isinstance(cell, bytes) else str(cell) for cell in cells]


SYSTEMS: dict[str, tuple[str, Callable[[str, str], pl.DataFrame], str]] = {
    "sqlite": ("SQLite", _read_sqlite, _TABLES_OF_SQLITE),
    "duckdb": ("DuckDB", _read_duckdb, _TABLES_OF_SCHEMAS),
    "postgresql": ("PostgreSQL", _read_postgresql, _TABLES_OF_SCHEMAS),
    "postgres": ("PostgreSQL", _read_postgresql, _TABLES_OF_SCHEMAS),
}

"""Tables as the bodies of requests and answers: CSV, Parquet and Arrow."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tabcohort.data.inputs import check_cells, table_inputs
from tabcohort.data.table import Schema
from tabcohort.data.text_encoding import as_utf8
from tabcohort.data.text_table import read_text_table
from tabcohort.errors import CellError, TableError, listed, nearest
from tabcohort.reporting.prediction_files import for_csv, with_joined_sets
from tabcohort.server.problems import Problem
from tabcohort.types import FloatArray

if TYPE_CHECKING:
    import polars as pl

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
ARROW_STREAM, ARROW_FILE = "application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file"
TABLES = (CSV, PARQUET, ARROW_STREAM, ARROW_FILE)
CHUNK_ROWS = 10_000  # of an answer that is streamed
ROWS_OF_A_BATCH = 1_000  # of Parquet
MAX_HINTS, MAX_COMPARED = 10, 1_000  # missing columns that are named, among this many that are compared with them


def decompressed(body: bytes, encoding: str | None, max_bytes: int) -> bytes:
    """Return a body without its content encoding, gzip or none.

    Raises:
        Problem: 415, it is another one; 400, it is damaged; 413, it unpacks to more.
    """
    if encoding in (None, "", "identity"):
        return body
    if encoding != "gzip":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the content encoding must be gzip, or none",
            headers={"accept-encoding": "gzip"},
        )  # fmt: skip
    unpacker = zlib.decompressobj(wbits=31)
    try:
        data = unpacker.decompress(body, max_bytes + 1)
    except zlib.error:
        raise Problem(HTTPStatus.BAD_REQUEST, "the body is not gzip, or is damaged") from None
    if len(data) > max_bytes:
        raise too_large(max_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise Problem(HTTPStatus.BAD_REQUEST, "the gzip body is truncated or has trailing data")
    return data


def too_large(max_bytes: int) -> Problem:
    """Return the problem of a body with more bytes than are read."""
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {max_bytes / 2**20:,.3g} MiB; split it"
    )


def read_table(body: bytes, media_type: str, max_rows: int, max_bytes: int) -> pl.DataFrame:
    """Return the frame of a body; the cells of CSV stay text.

    Args:
        body: its bytes.
        media_type: one of `TABLES`.
        max_rows: how many rows it may have.
        max_bytes: what it may need in memory.

    Raises:
        Problem: 400, it cannot be read; 413, it is larger.
    """
    import polars as pl

    try:
        if media_type == CSV:
            frame = read_text_table(as_utf8(body, "the body")[0], "the body")[0]
        else:
            table = _read_arrow(body, media_type, max_rows, max_bytes)
            table.column_names  # noqa: B018  raises where one is not UTF-8, over which Polars would panic
            frame = pl.DataFrame(pl.from_arrow(table)) if table.num_columns else pl.DataFrame()
    except CellError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, error.without_cell) from None
    except TableError as error:
        raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from None
    except (pa.ArrowException, OSError, ValueError, TypeError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        raise Problem(HTTPStatus.BAD_REQUEST, f"the body is not {media_type}, or is damaged") from None
    if len(frame) > max_rows:
        raise _too_many(len(frame), max_rows)
    if not len(frame):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "the table has no rows")
    return frame


def _read_arrow(body: bytes, media_type: str, max_rows: int, max_bytes: int) -> pa.Table:
    """Return the table of Parquet or Arrow, checked; pyarrow's errors are those of a damaged one."""
    source = pa.BufferReader(body)
    if media_type == PARQUET:
        import pyarrow.parquet as pq

        file = pq.ParquetFile(source)
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        if file.metadata.num_rows > max_rows:
            raise _too_many(file.metadata.num_rows, max_rows)
        n_columns = file.metadata.num_columns
        if max(sum(group.total_byte_size for group in groups), 8 * file.metadata.num_rows * n_columns) > max_bytes:
            raise too_large(max_bytes)
        table = _within(file.schema_arrow, file.iter_batches(ROWS_OF_A_BATCH, use_threads=False), max_bytes)
    elif media_type == ARROW_STREAM:
        reader = pa.ipc.open_stream(source)
        table = _within(reader.schema, reader, max_bytes)
    else:
        file = pa.ipc.open_file(source)
        batches = (file.get_batch(number) for number in range(file.num_record_batches))
        table = _within(file.schema, batches, max_bytes)
    table.validate(full=True)
    return table


def _within(schema: pa.Schema, batches: Iterable[pa.RecordBatch], max_bytes: int) -> pa.Table:
    """Return the table of batches, which are read one by one as long as they need no more memory than allowed.

    Raises:
        Problem: 413, they need more.
    """
    kept, n_bytes = [], 0
    for batch in batches:
        n_bytes += batch.nbytes
        if n_bytes > max_bytes:
            raise too_large(max_bytes)
        kept.append(batch)
    return pa.Table.from_batches(kept, schema)


def _too_many(n_rows: int, max_rows: int) -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the table has {n_rows:,} rows, and at most {max_rows:,} are answered at once; split it",
    )


def inputs_of(frame: pl.DataFrame, schema: Schema) -> FloatArray:
    """Return the inputs of a frame's rows, `(n_rows, n_inputs)`.

    Raises:
        Problem: 422, a column is missing, or a cell is not what its column holds.
    """
    import polars as pl

    available = set(frame.columns)
    missing = [name for name in schema.features if name not in available]
    if missing:
        compared = frame.columns if len(available) <= MAX_COMPARED else []
        hints = [f"{name!r}{nearest(name, compared)}" for name in missing[:MAX_HINTS]]
        names = listed([*hints, *map(repr, missing[MAX_HINTS:])], MAX_HINTS)
        errors = [{"column": name, "detail": f"the column {name!r} is missing"} for name in missing]
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"the table lacks {names}", errors)
    try:
        X = table_inputs(frame, schema.columns)
        check_cells(X, schema.columns)
        return X
    except CellError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.without_cell) from None
    except TableError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "a column of the table holds what cannot be read") from None


def written(predictions: Iterator[pl.DataFrame], media_type: str, numbers: Sequence[str]) -> Iterator[bytes]:
    """Yield a table of predictions in a format, piece by piece but for Parquet and Arrow files.

    Args:
        predictions: frames of the same columns.
        media_type: one of `TABLES`.
        numbers: columns that CSV rounds, as the command line does.
    """
    if media_type == CSV:
        for number, frame in enumerate(predictions):
            yield for_csv(frame, numbers).write_csv(include_header=number == 0).encode()
    elif media_type == ARROW_STREAM:
        yield from _arrow_stream(predictions)
    else:
        import polars as pl

        frame, file = with_joined_sets(pl.concat(list(predictions))), io.BytesIO()
        (frame.write_parquet if media_type == PARQUET else frame.write_ipc)(file)
        yield file.getvalue()


def _arrow_stream(predictions: Iterator[pl.DataFrame]) -> Iterator[bytes]:
    file, writer = io.BytesIO(), None
    for frame in predictions:
        table: Any = with_joined_sets(frame).to_arrow()
        writer = writer or pa.ipc.new_stream(file, table.schema)
        writer.write_table(table)
        yield file.getvalue()
        file.seek(0)
        file.truncate()
    if writer is not None:
        writer.close()
        yield file.getvalue()

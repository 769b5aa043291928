"""Parquet in one file or many, read a few thousand rows at a time."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tabcohort.data.reader_errors import PARQUET, as_table_error
from tabcohort.data.unpack import head_of
from tabcohort.errors import CellError, TableError
from tabcohort.types import IntArray

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

ROWS_PER_BATCH, CELLS_PER_BATCH = 65_536, 8_000_000  # at most
MAGIC = b"PAR1"
_ROW = re.compile(r"^row (\d+)")


@dataclass(frozen=True)
class ReadingProgress:
    """How far a pass over the rows of a table is.

    Args:
        stage: what is done, such as "reading the rows".
        n_done, n_all: rows, or bytes, that are done, and all of them.
    """

    stage: str
    n_done: int
    n_all: int


ReadingCallback = Callable[[ReadingProgress], None]


def ignore(progress: ReadingProgress) -> None:
    """Do nothing."""


def parquet_paths(source: str | Path) -> tuple[Path, ...]:
    """Return the Parquet files that a name stands for, sorted; none where it stands for something else.

    Args:
        source: a file; a folder, whose files that end in .parquet are taken, those of folders in it too; or a pattern
            with `*`, `?` or `[...]`.

    Raises:
        TableError: a folder or a pattern stands for no Parquet file, or no file can have the name.
    """
    name, path = str(source), Path(source)
    try:
        is_file = path.is_file()
    except (OSError, ValueError) as error:
        raise TableError(f"{name!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if is_file:
        return (path,) if head_of(path).startswith(MAGIC) else ()
    if path.is_dir():
        paths = sorted(file for file in path.rglob("*.parquet") if file.is_file())
        if not paths:
            raise TableError(f"the folder {name!r} holds no file that ends in .parquet; name a file or another folder")
    elif glob.has_magic(name):
        paths = sorted(file for file in map(Path, glob.glob(name, recursive=True)) if file.is_file())
        if not paths:
            raise TableError(f"no file matches {name!r}; name files that are there")
    else:
        return ()
    other = next((file for file in paths if not head_of(file).startswith(MAGIC)), None)
    if other is not None:
        raise TableError(f"several files must all be Parquet, and {str(other)!r} is not; name only Parquet files")
    return tuple(paths)


@dataclass(frozen=True)
class ParquetRows:
    """The rows of one or several Parquet files, one file after another.

    Args:
        paths: the files.
        names: of the columns, which all files have in this order and of the same types.
        counts: rows of each file, `(n_files,)`.
        n_bytes: of all columns when they are unpacked.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    counts: tuple[int, ...]
    n_bytes: int

    @classmethod
    def open(cls, paths: Sequence[Path]) -> ParquetRows:
        """Read what the files say of themselves.

        Raises:
            TableError: a file is damaged, or has other columns than the first one.
        """
        schemas, counts, n_bytes = [], [], 0
        for path in paths:
            with _opened(path) as file:
                schemas.append(file.schema_arrow.remove_metadata())
                counts.append(file.metadata.num_rows)
                groups = (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))
                n_bytes += sum(group.total_byte_size for group in groups)
            if not schemas[-1].equals(schemas[0]):
                raise TableError(
                    f"all files must have the same columns of the same types, and {str(path)!r} has others than "
                    f"{str(paths[0])!r} ({_difference(schemas[0], schemas[-1])}); write them alike, or name fewer files"
                )
        return cls(tuple(paths), tuple(schemas[0].names), tuple(counts), n_bytes)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return sum(self.counts)

    def batches(
        self,
        names: Sequence[str] | None = None,
        stage: str = "reading the rows",
        callback: ReadingCallback = ignore,
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield the number of the first row, counted from 0, and the rows of one batch after another.

        Args:
            names: the columns to read; all when omitted.
            stage: of the progress.
            callback: called with the progress after each batch.

        Raises:
            TableError: a file is damaged.
        """
        import polars as pl

        first, n_rows = 0, max(1, min(ROWS_PER_BATCH, CELLS_PER_BATCH // max(1, len(names or self.names))))
        for path in self.paths:
            with _opened(path) as file:
                batches = file.iter_batches(n_rows, columns=names, use_threads=False)
                while True:
                    with as_table_error(str(path), PARQUET):
                        batch = next(batches, None)
                        frame = None if batch is None else pl.from_arrow(batch)
                    if not isinstance(frame, pl.DataFrame):
                        break
                    yield first, frame
                    first += len(frame)
                    callback(ReadingProgress(stage, first, self.n_rows))

    def take(self, rows: IntArray, names: Sequence[str] | None = None) -> pl.DataFrame:
        """Return some rows as one frame.

        Args:
            rows: row numbers, counted from 0, ascending, `(n,)`.
            names: the columns to read; all when omitted.
        """
        import polars as pl

        frames = [frame[places_within(rows, first, len(frame))] for first, frame in self.batches(names)]
        return pl.concat(frames, how="vertical_relaxed")

    @contextmanager
    def naming_rows(self, row_numbers: IntArray) -> Iterator[None]:
        """Let errors that begin with a row of a batch say which row of which file it is.

        Args:
            row_numbers: of the rows of the batch, counted from 0 over all files.
        """

        def named(message: str) -> str:
            return _ROW.sub(lambda match: self._name_of(int(row_numbers[int(match[1]) - 1])), message)

        try:
            yield
        except CellError as error:
            raise CellError(named(str(error)), named(error.without_cell)) from None
        except TableError as error:
            raise TableError(named(str(error))) from None

    def _name_of(self, row: int) -> str:
        """Return what a row, counted from 0 over all files, is called: with its file where there are several."""
        if len(self.paths) == 1:
            return f"row {row + 1}"
        ends = np.cumsum(self.counts)
        place = int(np.searchsorted(ends, row, side="right"))
        return f"row {row - ends[place] + self.counts[place] + 1} of {str(self.paths[place])!r}"


def _difference(expected: pa.Schema, schema: pa.Schema) -> str:
    """Return in what a schema differs from another one."""
    for name in expected.names:
        if name not in schema.names:
            return f"no {name!r}"
        there, here = expected.field(name).type, schema.field(name).type
        if there != here:
            return f"{name!r} is {here}, not {there}"
    more = [name for name in schema.names if name not in expected.names]
    return f"{more[0]!r}, too" if more else "in another order"


def places_within(rows: IntArray, first: int, n_rows: int) -> IntArray:
    """Return the places in a batch of those of some rows that it has.

    Args:
        rows: row numbers, ascending.
        first: number of the batch's first row.
        n_rows: of the batch.
    """
    return rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + n_rows)] - first


def _opened(path: Path) -> Any:
    import pyarrow.parquet as pq

    with as_table_error(str(path), PARQUET):
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20)

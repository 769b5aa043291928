"""From Parquet files that are larger than memory to a table in a store, in two passes."""

from __future__ import annotations

import copyreg
import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tabcohort.data.columns import MAX_MAGNITUDE
from tabcohort.data.disk_rows import ROWS_PER_READ, DiskRows, mixed
from tabcohort.data.encoder import N_INNER_FOLDS, StoredRows, fit_statistics, in_32_bits, origin_and_unit
from tabcohort.data.frames import ColumnChoices
from tabcohort.data.groups import group_hashes
from tabcohort.data.inputs import (
    check_cells,
    check_outliers,
    hash_inputs,
    joined_inputs,
    numbers_and_codes,
    typical_magnitudes,
)
from tabcohort.data.memory import MIN_BYTES, default_bytes
from tabcohort.data.parquet_files import (
    ParquetRows,
    ReadingCallback,
    ReadingProgress,
    ignore,
    parquet_paths,
)
from tabcohort.data.parse import parse_numbers
from tabcohort.data.schema_facts import schema_facts, schema_from_facts
from tabcohort.data.survey import Survey, survey
from tabcohort.data.table import Schema, Table, positive_code
from tabcohort.data.table_store import Blocks, StoreWriter, TemporaryFolder, building, damaged, is_store, read_header
from tabcohort.data.totals import Rows, Totals
from tabcohort.errors import SettingsError, TabcohortWarning, TableError, listed
from tabcohort.plain_values import PlainValues
from tabcohort.types import BoolArray, FloatArray, IntArray, Label

if TYPE_CHECKING:
    import polars as pl

CHECKING = "checking the store"  # the stage of a store that was built before
BYTES_PER_ROW = 25  # of the target, the weight, the hash and the inner fold


@dataclass(frozen=True)
class StoreOptions:
    """Where a store is, and how much memory a training on it may take.

    Args:
        folder: of the store, which is kept, and used again for the same files and options; a temporary one, which is
            removed in the end, when None.
        memory: bytes, at least 1e9; half of the machine's when None.
        audit: called with the sample of the rows and the schema after the first pass, before the store is built.
        callback: called with the progress of each pass over the rows.

    Raises:
        SettingsError: the memory is too small.
    """

    folder: Path | None = None
    memory: int | None = None
    audit: Callable[[pl.DataFrame, Schema], None] = lambda sample, schema: None
    callback: ReadingCallback = ignore

    def __post_init__(self) -> None:
        if self.memory is not None and self.memory < MIN_BYTES:
            raise SettingsError(
                f"the memory must be at least {MIN_BYTES:,} bytes, which the libraries and the rows in memory take; it "
                f"is {self.memory!r}"
            )


def stream_table(
    source: str | Path,
    target: str,
    choices: ColumnChoices | None = None,
    positive: Label | None = None,
    options: StoreOptions | None = None,
) -> Table:
    """Return the table of Parquet files that need not fit in memory: its rows are in a store on disk.

    The files are read twice, 65,536 rows at a time. The first pass decides what the columns are (`survey`), the second
    writes the store: 12 bytes for each number of a row and 4 for each code, and about 20 more. Training
    (`tabcohort.fit`) then reads the store in blocks.

    Args:
        source: a Parquet file, a folder of such files, or a pattern such as "rows/*.parquet".
        target: the column to predict.
        choices: what is said of the columns; there is one key or one group, and no time.
        positive: label of the positive class; of two classes the last in sorted order when omitted.
        options: where the store is, the memory, and what is called on the way.

    Raises:
        TableError: the files are not Parquet, a column cannot be read, the folder cannot be written to, another process
            builds a store in it, or it has the store of another table.

    Warns:
        TabcohortWarning: rows have no target, or columns are left out.
    """
    choices, options = choices or ColumnChoices(), options or StoreOptions()
    paths = parquet_paths(source)
    if not paths:
        raise TableError(f"a store is made of Parquet, and {str(source)!r} is none; save the table as Parquet")
    _check_possible(choices)
    rows = ParquetRows.open(paths)
    memory = default_bytes() if options.memory is None else options.memory
    identity = {"key": _key(rows, (target, vars(choices), positive)), "source": str(Path(source).resolve())}
    temporary = TemporaryFolder() if options.folder is None else None
    folder = options.folder if temporary is None else temporary.path
    assert folder is not None
    header = _usable_header(folder, identity)
    if header is not None:
        return _kept_table(folder, header, memory, options.callback)
    with building(folder):
        header = _usable_header(folder, identity)  # another process may have built it since
        if header is None:
            if is_store(folder):
                message = "is built again: the files, the target, the columns or the version have changed"
                warnings.warn(f"the store {str(folder)!r} {message}", TabcohortWarning, stacklevel=2)
            surveyed = survey(rows, target, choices, options.callback)
            schema = _schema(surveyed, target, choices, positive)
            options.audit(surveyed.sample, schema)
            _Build(folder, rows, schema, surveyed, choices).run(identity, options.callback)
            header = read_header(folder)
        assert header is not None
        return open_store(folder, header, memory, temporary)  # before another process may build it again


def _usable_header(folder: Path, identity: Mapping[str, str]) -> PlainValues | None:
    """Return the header of the store in a folder; None where one has to be built.

    Args:
        folder: of the store.
        identity: the key and the source of the table, as its header would have them.

    Raises:
        TableError: the store is damaged, or has the rows of another table.
    """
    header = read_header(folder)
    if header is None or header.get("key") == identity["key"]:
        return header
    if header.get("source") != identity["source"]:
        raise TableError(
            f"the store {str(folder)!r} has the rows of {header.get('source')!r}; name another folder, or remove this "
            "one if nothing needs it"
        )
    return None


def _kept_table(folder: Path, header: PlainValues, memory: int, callback: ReadingCallback) -> Table:
    """Return the table of a store that was built before, after checking its checksums."""
    table = open_store(folder, header, memory)
    assert table.disk is not None
    table.disk.blocks.check(
        header, lambda n_done, n_all: callback(ReadingProgress(CHECKING, n_done, n_all))
    )  # fmt: skip
    return table


def store_bytes(n_rows: int, n_numbers: int, n_codes: int = 0) -> int:
    """Return how much of the disk the store of rows with so many numbers and codes takes."""
    return n_rows * (12 * n_numbers + 4 * n_codes + BYTES_PER_ROW)


def _check_possible(choices: ColumnChoices) -> None:
    """Raise `TableError` if what is asked for needs all rows in memory."""
    if choices.time is not None:
        raise TableError(
            f"rows in a store cannot be split in time, and {choices.time!r} is the time; leave it out, or allow more "
            "memory"
        )
    if bool(choices.keys) + len(choices.groups) > 1:
        raise TableError(
            "of rows in a store one key or one group can stay together, as connecting several needs all rows in "
            f"memory; there are {listed(map(repr, (*choices.keys, *choices.groups)), 10)}: name one, or allow more "
            "memory"
        )


def _key(rows: ParquetRows, asked: Any) -> str:
    """Return what is the same for the same files, unchanged, read by the same version with the same options."""
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in rows.paths]
    parts = [version("tabcohort"), stats, rows.names, rows.counts, asked]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def _schema(result: Survey, target: str, choices: ColumnChoices, positive: Label | None) -> Schema:
    code = positive_code(result.classes, positive, target)
    return Schema(result.columns, target, result.classes, code, choices.keys, choices.groups, result.dropped)


class _Build:
    """The second pass: it writes the rows, and sums them up.

    Args:
        folder: of the store.
        rows: the files.
        schema: of the table.
        surveyed: what the first pass tells.
        choices: what is said of the columns.
    """

    def __init__(
        self, folder: Path, rows: ParquetRows, schema: Schema, surveyed: Survey, choices: ColumnChoices
    ) -> None:
        self.folder, self.rows, self.schema, self.surveyed, self.choices = folder, rows, schema, surveyed, choices
        self.in_groups = bool(choices.keys or choices.groups)
        sample = self._kept(surveyed.sample, surveyed.sampled_rows, is_sample=True)
        self.typical = typical_magnitudes(sample.numbers)
        statistics = fit_statistics(sample.numbers, sample.weight)
        self.origin, self.unit = origin_and_unit(statistics, schema.n_numbers)
        self.totals = Totals.zero(statistics.center, schema.n_codes, len(schema.classes))
        self.has_missing = False

    def run(self, identity: Mapping[str, str], callback: ReadingCallback) -> None:
        """Write the store.

        Args:
            identity: the key and the source of the table, which the header says.
            callback: called with the progress after each batch.
        """
        with StoreWriter(self.folder) as writer:
            writer.require_space(store_bytes(self.rows.n_rows, self.schema.n_numbers, len(self.schema.n_codes)))
            for first, frame in self.rows.batches(stage="writing the store", callback=callback):
                kept = self._kept(frame, np.arange(first, first + len(frame)))
                self.totals.add(kept, self.schema.n_codes)
                stored = in_32_bits(kept.numbers, self.origin, self.unit).astype(np.float32)
                self.has_missing = self.has_missing or bool(np.isnan(stored).any())
                for name, block in (
                    ("numbers", kept.numbers), ("stored", stored), ("codes", kept.codes), ("y", kept.y),
                    ("hashes", self.hashes), ("fold", kept.fold),
                ):  # fmt: skip
                    writer.append(name, block)
                if self.choices.weight is not None:
                    writer.append("weight", kept.weight)
            for name, array in self.totals.arrays().items():
                writer.append(f"totals_{name}", array)
            writer.append("origin", self.origin)
            writer.append("unit", self.unit)
            facts = {"schema": schema_facts(self.schema), "in_groups": self.in_groups, "has_missing": self.has_missing}
            writer.finish({**identity, "fingerprint": self._fingerprint(writer), **facts})

    def _kept(self, frame: pl.DataFrame, row_numbers: IntArray, is_sample: bool = False) -> Rows:
        """Return the rows of a batch that have a target and a weight, and note their hashes.

        Args:
            frame: the batch.
            row_numbers: of its rows, counted from 0.
            is_sample: whether it is the sample, whose weights and sizes are checked where its rows are in the files.
        """
        y = self.surveyed.y(frame[self.schema.target])
        weight = np.ones(len(y))
        with self.rows.naming_rows(row_numbers):
            if self.choices.weight is not None:
                weight = _weights(frame[self.choices.weight], is_sample)
            keep = (y >= 0) & (weight > 0)
            numbers, codes = numbers_and_codes(frame, self.schema.columns, keep)
            if is_sample:
                numbers[np.abs(numbers) > MAX_MAGNITUDE] = np.nan
            else:
                places = np.flatnonzero(keep) + 1
                check_cells(numbers, self.schema.columns, places)
                check_outliers(numbers, self.schema.columns, places, self.typical)
        self.hashes = self._hashes(frame, numbers, codes, keep)
        fold = (mixed(self.hashes, 1) % np.uint64(N_INNER_FOLDS)).astype(np.int8) + np.int8(1)
        return Rows(numbers, codes, y[keep], weight[keep], fold)

    def _hashes(self, frame: pl.DataFrame, numbers: FloatArray, codes: Any, keep: BoolArray) -> Any:
        """Return a hash of each row's group, and of its inputs where it has none."""
        hashes = hash_inputs(numbers, codes, 0)
        names = [*self.choices.keys, *self.choices.groups]
        return group_hashes(frame.filter(keep), names, hashes) if names else hashes

    def _fingerprint(self, writer: StoreWriter) -> str:
        """Return what `Table.fingerprint` gives for the same rows in memory, read from the blocks."""
        blocks = writer.written()
        schema, n_inputs = self.schema, self.schema.n_numbers + len(self.schema.n_codes)
        digest = hashlib.sha256(repr((schema, (len(blocks.arrays["y"]), n_inputs))).encode())
        parts = zip(blocks.rows("numbers", ROWS_PER_READ), blocks.rows("codes", ROWS_PER_READ), strict=True)
        for numbers, codes in parts:
            digest.update(np.ascontiguousarray(joined_inputs(numbers, codes)).data)
        for y in blocks.rows("y", ROWS_PER_READ):
            digest.update(y.data)
        weights = "weight" in blocks.arrays
        for weight in blocks.rows("weight" if weights else "y", ROWS_PER_READ):
            digest.update((weight if weights else np.ones(len(weight))).data)
        return digest.hexdigest()


def _weights(cells: pl.Series, is_sample: bool) -> FloatArray:
    """Return the weight of each row, `(n,)`; in a sample it is 0 where a cell holds none.

    Raises:
        TableError: a weight is missing, negative, or no finite number.
    """
    import polars as pl

    numbers = parse_numbers(cells) if cells.dtype == pl.String else cells.cast(pl.Float64, strict=False)
    weight = numbers.fill_null(np.nan).to_numpy()
    is_weight = np.isfinite(weight) & (weight >= 0)
    if is_sample:
        return np.where(is_weight, weight, 0.0)
    if not is_weight.all():
        place = int(np.argmin(is_weight))
        raise TableError(
            f"row {place + 1} has the weight {cells[place]!r} in {cells.name!r}; a weight must be 0 or a "
            "positive number"
        )
    return weight


def _reopened(folder: Path, memory: int, fingerprint: str) -> Table:
    """Return the table of a store that another process opened."""
    header = read_header(folder)
    if header is None:
        raise TableError(f"there is no store {str(folder)!r}; processes that train must all reach its folder")
    if header.get("fingerprint") != fingerprint:
        raise TableError(f"the store {str(folder)!r} was built again with other rows; train again")
    return open_store(folder, header, memory)


def _reduced(table: Table) -> Any:
    """Return how a table is pickled: one in a store by its folder, so that no row is copied."""
    if table.disk is None:
        return object.__reduce_ex__(table, 2)
    return _reopened, (table.disk.blocks.folder.resolve(), table.disk.memory, table.disk.fingerprint)


copyreg.pickle(Table, _reduced)


def open_store(folder: Path, header: PlainValues, memory: int, temporary: TemporaryFolder | None = None) -> Table:
    """Return the table of a store.

    Args:
        folder: of the store.
        header: what `read_header` gives of it.
        memory: bytes that a training may take.
        temporary: the folder, if it is to be removed when the table is not used any more.

    Raises:
        TableError: the store is damaged.
    """
    blocks = Blocks(folder, header)
    try:
        schema = schema_from_facts(header.child("schema"))
        arrays, names = blocks.arrays, Totals.__dataclass_fields__
        totals = Totals(**{name: arrays.pop(f"totals_{name}").copy() for name in names})
        origin, unit = arrays.pop("origin").copy(), arrays.pop("unit").copy()
        stored = StoredRows(arrays["stored"], origin, unit, arrays["codes"], header.flag("has_missing"))
        in_groups, fingerprint = header.flag("in_groups"), header.text("fingerprint")
    except (ValueError, KeyError) as error:
        raise damaged(folder, str(error)) from None
    disk = DiskRows(blocks, stored, totals, schema.n_codes, in_groups, fingerprint, memory, temporary)
    weight = arrays["weight"] if "weight" in arrays else np.broadcast_to(np.ones(1), (disk.n_rows,))
    group_ids = arrays["hashes"].view(np.int64) if in_groups else None
    return Table(arrays["numbers"], arrays["codes"], arrays["y"], weight, schema, group_ids, disk=disk)

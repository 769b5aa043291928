"""Splits of a table in a store: a sample of its rows validates and tests, and all others train.

More than some hundred thousand tested rows change no figure, and their predictions, which are kept, would take more
memory than the training.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from tabcohort.data.encoder import no_codes
from tabcohort.data.splits import Split, Splitter, make_splits
from tabcohort.data.table import Table
from tabcohort.errors import TableError
from tabcohort.settings import Config
from tabcohort.types import IntArray

MAX_TESTED = 400_000  # rows of all folds together; the standard error of their log loss is about 0.001
MAX_TESTED_CELLS = 100_000_000  # of these rows: of wide tables fewer rows are tested
MAX_COMPARED_CELLS = 20_000_000  # of rows whose inputs are compared; of more, their hashes are


class StreamedSplit(Split):
    """A split whose train rows are all rows of the table but its validation and test rows.

    Args:
        n_rows: of the table.
        validation, test: row numbers, ascending.
    """

    def __init__(self, n_rows: int, validation: IntArray, test: IntArray) -> None:
        excluded = np.sort(np.concatenate([validation, test]))
        for name, value in (("n_rows", n_rows), ("excluded", excluded), ("validation", validation), ("test", test)):
            object.__setattr__(self, name, value)

    n_rows: int
    excluded: IntArray  # the validation and the test rows, ascending

    @functools.cached_property
    def _gaps(self) -> IntArray:
        """How many train rows are before each excluded row, `(n_excluded,)`."""
        return self.excluded - np.arange(len(self.excluded))

    @property
    def n_train(self) -> int:
        """Number of train rows."""
        return self.n_rows - len(self.excluded)

    @property
    def train(self) -> IntArray:
        """All train rows, ascending, made anew each time: 8 bytes a row."""
        return np.delete(np.arange(self.n_rows), self.excluded)

    def train_rows(self, places: IntArray) -> IntArray:
        """Return the train rows at some places of their list, without making the list.

        Args:
            places: counted from 0, `(n,)`.
        """
        return places + np.searchsorted(self._gaps, places, side="right")


@dataclass(frozen=True)
class StreamedFolds:
    """Folds of a sample of the rows; all other rows train every member.

    Args:
        n_rows: of the table.
        tested: row numbers of the sample, ascending.
        splitter: divides the sample.
    """

    n_rows: int
    tested: IntArray
    splitter: Splitter

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return self.splitter.n_folds

    def split(self, fold: int) -> StreamedSplit:
        """Return the split of the member that tests on this fold."""
        split = self.splitter.split(fold)
        return StreamedSplit(self.n_rows, np.sort(self.tested[split.validation]), np.sort(self.tested[split.test]))

    def fold_ids(self) -> IntArray:
        """Return each row's fold, `(n_rows,)`; -1 where it always trains."""
        ids = np.full(self.n_rows, -1)
        ids[self.tested] = self.splitter.fold_ids()
        return ids


def streamed_splits(table: Table, config: Config, n_folds: int, repeat: int = 0) -> StreamedFolds:
    """Divide a sample of at most about 400,000 rows (fewer of wide tables) of a table in a store into folds.

    Equal rows, and rows of one group, are in the sample together or not at all, so that a member never tests on a copy
    of a row that it trained on. Of a table with fewer rows all are divided, into the folds that they have in memory.

    Args:
        table, config, n_folds, repeat: as for `make_splits`.

    Raises:
        TableError: there are too few different rows.
    """
    assert table.disk is not None
    max_tested = min(MAX_TESTED, MAX_TESTED_CELLS // table.n_inputs)
    tested = table.disk.rows_by_hash(config.seed, max_tested)
    advice = "leave out repeated rows, or the key or group, or let the rows fit in memory"
    if len(tested) > 4 * max_tested:
        raise TableError(
            f"{len(tested):,} rows are equal, or of one group, so that they would all be tested together; {advice}"
        )
    if not len(tested):
        raise TableError(f"no row would be tested, as too many rows are equal, or of one group; {advice}")
    compared = table.take(tested) if len(tested) * table.n_inputs <= MAX_COMPARED_CELLS else _hashed(table, tested)
    return StreamedFolds(len(table.y), tested, make_splits(compared, config, n_folds, repeat))


def _hashed(table: Table, rows: IntArray) -> Table:
    """Return rows of a table in a store with the two halves of their hashes in place of their inputs."""
    assert table.disk is not None
    hashes = table.disk.blocks.take("hashes", rows)
    halves = np.stack([hashes >> np.uint64(32), hashes & np.uint64(2**32 - 1)], axis=1).astype(np.float64)
    group_ids = np.unique(hashes, return_inverse=True)[1] if table.disk.in_groups else None
    y, weight = table.disk.blocks.take("y", rows), table.disk.weight(rows)
    return Table(halves, no_codes(len(rows)), y, weight, table.schema, group_ids)

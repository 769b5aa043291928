"""Splits of a table in a store: a sample of its rows validates and tests, and all others train.

More than some hundred thousand tested rows change no figure, and their predictions, which are kept, would take more
memory than the training.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from tabcohort.data.splits import Split, Splitter, make_splits
from tabcohort.data.table import Table
from tabcohort.errors import TableError
from tabcohort.settings import Config
from tabcohort.types import IntArray

MAX_TESTED = 400_000  # rows of all folds together; the standard error of their log loss is about 0.001


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
    """Divide a sample of at most about 400,000 rows of a table in a store into folds.

    Equal rows, and rows of one group, are in the sample together or not at all, so that a member never tests on a copy
    of a row that it trained on. Of a table with fewer rows all are divided, into the folds that they have in memory.

    Args:
        table, config, n_folds, repeat: as for `make_splits`.

    Raises:
        TableError: there are too few different rows.
    """
    assert table.disk is not None
    tested = table.disk.rows_by_hash(config.seed, MAX_TESTED)
    if len(tested) > 4 * MAX_TESTED:
        raise TableError(
            f"{len(tested):,} rows are equal, or of one group, so that they would all be tested together; leave out "
            "repeated rows or the group, or allow more memory"
        )
    return StreamedFolds(len(table.y), tested, make_splits(table.take(tested), config, n_folds, repeat))

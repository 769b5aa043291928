"""What an engine sees of a table in a store: rows that are read into memory, as many as fit at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.disk_rows import DiskRows
from tabcohort.data.memory import BYTES_OF_LIBRARIES
from tabcohort.engines.batches import EpochBlock
from tabcohort.engines.compiled.jit import n_cores
from tabcohort.engines.protocol import EpochPart, MemberData
from tabcohort.engines.reading import Reading
from tabcohort.engines.windows import WindowPlan
from tabcohort.errors import TrainingError
from tabcohort.types import IntArray

BYTES_PER_PART = 2**28  # of the rows that a member holds in memory, at most
MIN_BYTES_PER_PART = 2**20
SHARE_OF_PARTS = 1 / 4  # of the memory to use, less that of the libraries, for the parts of all members side by side


@dataclass(frozen=True)
class StreamedData(MemberData):
    """What a member's engine sees of a table in a store; `train` and `soft_targets` are empty.

    If all training rows take no more than a part may, they are read once; else an epoch has parts. What is trained on,
    and in which order, does not depend on that.

    Args:
        disk: the rows.
        n_train: number of training rows.
        train_rows: returns the training rows at some places of their list, ascending in the file.
        targets_of: returns the soft targets of rows, which are ascending, `(n, n_classes)`, float32.
    """

    disk: DiskRows
    n_train: int
    train_rows: Callable[[IntArray], IntArray]
    targets_of: Callable[[IntArray], NDArray[np.float32]]

    def __post_init__(self) -> None:
        if not isinstance(self.batches, WindowPlan) or self.batches.n_train != self.n_train:
            raise TrainingError(f"the batches must be a WindowPlan of the {self.n_train} training rows")

    @property
    def is_in_parts(self) -> bool:
        """Whether the training rows do not all fit in memory."""
        return self.n_train > self._rows_per_part

    def parts(self, block: EpochBlock) -> Iterator[EpochPart]:
        """Yield the rows of as many steps of an epoch as fit in memory at a time; of all epochs, if all rows fit."""
        if not self.is_in_parts:
            yield EpochPart(slice(0, len(block.bounds) - 1), *self._all_rows, block.orders)
            return
        bounds, start = block.bounds, 0
        while start < len(bounds) - 1:
            last = bounds[start] + self._rows_per_part
            stop = max(start + 1, int(np.searchsorted(bounds, last, side="right")) - 1)
            order = block.orders[:, bounds[start] : bounds[stop]]
            rows, places = np.unique(self.train_rows(order.ravel()), return_inverse=True)
            self.disk.prefetch(rows)
            yield EpochPart(slice(start, stop), *self._read(rows), places.reshape(order.shape))
            start = stop

    def validation_rows(self) -> tuple[Reading, IntArray]:
        """Return the validation rows, which are in memory."""
        return self._validation

    @property
    def _rows_per_part(self) -> int:
        own_share = SHARE_OF_PARTS * (self.disk.memory - BYTES_OF_LIBRARIES) / n_cores()
        return int(max(MIN_BYTES_PER_PART, min(BYTES_PER_PART, own_share))) // self._row_bytes

    @property
    def _row_bytes(self) -> int:
        reading = self.reading
        n_numbers, n_codes = reading.stored.shape[1], reading.codes.shape[1]
        return 4 * (n_numbers + n_codes + self.n_classes) + 8  # and its row number

    @functools.cached_property
    def _all_rows(self) -> tuple[Reading, IntArray, NDArray[np.float32]]:
        """All training rows."""
        return self._read(self.train_rows(np.arange(self.n_train)))

    @functools.cached_property
    def _validation(self) -> tuple[Reading, IntArray]:
        return self._reading_of(self.validation.rows), np.arange(len(self.validation.rows))

    def _read(self, rows: IntArray) -> tuple[Reading, IntArray, NDArray[np.float32]]:
        """Return what has some rows, their row numbers there, and their soft targets."""
        return self._reading_of(rows), np.arange(len(rows)), self.targets_of(rows)

    def _reading_of(self, rows: IntArray) -> Reading:
        """Return the reading with some rows alone, in memory."""
        fold = self.reading.fold
        return self.reading._replace(
            stored=self.disk.blocks.take("stored", rows),
            codes=self.disk.blocks.take("codes", rows),
            fold=fold[rows] if len(fold) else fold,
        )

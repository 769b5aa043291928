"""What an engine sees of a table in a store: the rows of one window after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.disk_rows import DiskRows
from tabcohort.engines.batches import EpochBlock
from tabcohort.engines.protocol import MemberData
from tabcohort.engines.windows import WindowPlan
from tabcohort.errors import TrainingError
from tabcohort.types import IntArray


@dataclass(frozen=True)
class StreamedData(MemberData):
    """What a member's engine sees of a table in a store; `train` and `soft_targets` are empty.

    Args:
        disk: the rows.
        n_train: number of training rows.
        train_rows: returns the training rows at some places of their list, ascending in the file.
        targets_of: returns the soft targets of rows, `(n, n_classes)`, float32.
    """

    disk: DiskRows
    n_train: int
    train_rows: Callable[[IntArray], IntArray]
    targets_of: Callable[[IntArray], NDArray[np.float32]]

    def __post_init__(self) -> None:
        if not isinstance(self.batches, WindowPlan) or self.batches.n_train != self.n_train:
            raise TrainingError(f"the batches must be a WindowPlan of the {self.n_train} training rows")

    def rows_of(self, block: EpochBlock) -> tuple[IntArray, IntArray, NDArray[np.float32]]:
        """Return the rows of the windows of some epochs; the system is asked to read them in the order of the file."""
        rows = self.train_rows(block.orders.ravel())
        self.disk.prefetch(rows)
        return np.arange(rows.size).reshape(block.orders.shape), rows, self.targets_of(rows)

    def release(self) -> None:
        """Let the pages of the rows go."""
        self.disk.release()

"""Batches of a table that is read from disk: blocks of rows are shuffled, and then the rows within a window of them.

This is how the shuffle buffers of tf.data and WebDataset approach a shuffle of all rows; here a window is drawn from
the whole table, not from what is next in the file. So every row is as likely to be in a window as any other, rows of
one block are in one window, and what is read from disk comes in pieces of a block at least.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tabcohort.engines.batches import BatchPlan
from tabcohort.randomness import Purpose
from tabcohort.types import IntArray

ROWS_PER_BLOCK = 1_024
ROWS_PER_WINDOW = 2**20


@dataclass(frozen=True)
class WindowPlan(BatchPlan):
    """Batches of epochs that are windows: each takes the next part of all training rows.

    With up to `ROWS_PER_WINDOW` training rows a window is all of them, and the batches are those of `BatchPlan`. With
    more, `n_windows` epochs are a pass over the training rows: for each pass their blocks are shuffled, laid one after
    another and cut into windows of equal size (a few rows, fewer than there are windows, are left out of a pass), and
    the rows of a window are shuffled. All of this is a function of the seed, the member and the epoch.

    Args:
        n_train: number of all training rows; `n_rows` is that of a window.
    """

    n_train: int = 0

    @property
    def n_windows(self) -> int:
        """Epochs that together are a pass over the training rows."""
        return n_windows_of(self.n_train)

    def _rows_of_epochs(self, first: int, n_epochs: int) -> IntArray:
        if self.n_windows == 1:
            return super()._rows_of_epochs(first, n_epochs)
        return np.stack([self._window(*divmod(first + number, self.n_windows)) for number in range(n_epochs)])

    def _window(self, number: int, window: int) -> IntArray:
        """Return the rows of a window of a pass, both counted from 0, block after block."""
        n_blocks = -(-self.n_train // ROWS_PER_BLOCK)
        blocks = self._rng(Purpose.BLOCKS, number).permutation(n_blocks)
        stops = np.cumsum(np.minimum(self.n_train - blocks * ROWS_PER_BLOCK, ROWS_PER_BLOCK))
        start, stop = window * self.n_rows, (window + 1) * self.n_rows
        first, last = np.searchsorted(stops, [start, stop - 1], side="right").tolist()
        own = slice(first, last + 1)
        sizes = np.diff(stops[own], prepend=stops[first - 1] if first else 0)
        begins = stops[own] - sizes
        rows = np.repeat(blocks[own] * ROWS_PER_BLOCK - begins, sizes) + np.arange(begins[0], stops[own][-1])
        return rows[start - begins[0] : stop - begins[0]]


def n_windows_of(n_train: int) -> int:
    """Return the number of windows that this many training rows are cut into."""
    return max(1, math.ceil(n_train / ROWS_PER_WINDOW))

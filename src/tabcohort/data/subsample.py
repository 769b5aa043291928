"""Fewer rows to learn from: the splits of a cohort with a share of their train and validation rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabcohort.data.splits import Split, Splitter, starts_of_blocks
from tabcohort.data.table import Table
from tabcohort.randomness import Purpose, make_rng
from tabcohort.types import FloatArray, IntArray


@dataclass(frozen=True)
class SubsampledSplits:
    """A splitter whose members learn from a share of their rows, and test on all of theirs.

    The rows are drawn anew for each fold, as many of each class as its share asks for. Equal rows, and rows of one
    group, are drawn together. The rows of a share are among those of every larger one with the same seed.

    Args:
        splitter: the splits.
        table: the rows.
        share: of the train and of the validation rows, above 0 and up to 1.
        seed, repeat: of the draw.
    """

    splitter: Splitter
    table: Table
    share: float
    seed: int
    repeat: int

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return self.splitter.n_folds

    def split(self, fold: int) -> Split:
        """Return the split of the member that tests on this fold."""
        whole, rng = self.splitter.split(fold), make_rng(self.seed, Purpose.SUBSAMPLE, self.repeat, fold)
        train, validation = (self._drawn(rows, rng) for rows in (whole.train, whole.validation))
        return Split(train, validation, whole.test)

    def fold_ids(self) -> IntArray:
        """Return a number for each row, `(n_rows,)`, as the splitter does."""
        return self.splitter.fold_ids()

    def _drawn(self, rows: IntArray, rng: np.random.Generator) -> IntArray:
        starts = starts_of_blocks(self.table, rows)
        return rows[
            _first_of_class(self.table.y[rows[starts]], rng.random(int(starts.sum())), self.share)[
                np.cumsum(starts) - 1
            ]
        ]


def _first_of_class(y: IntArray, draw: FloatArray, share: float) -> np.ndarray:
    """Return which blocks are among the first of their class, `(n_blocks,)`, in the order of a draw."""
    order = np.lexsort((draw, y))
    counts = np.bincount(y)
    place = np.empty(len(y), dtype=np.int64)
    place[order] = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    return place < np.ceil(share * counts - 1e-9)[y]

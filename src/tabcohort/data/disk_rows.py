"""The rows of a table that is in a store: what is mapped, what is summed up, and a sample that is in memory."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.encoder import StoredRows
from tabcohort.data.table_store import Blocks, TemporaryFolder
from tabcohort.data.totals import Rows, Totals
from tabcohort.randomness import Purpose, make_rng
from tabcohort.types import FloatArray, IntArray

SAMPLE_ROWS, SAMPLE_CELLS = 200_000, 8_000_000  # of a sample, at most
SEED = 0  # of the sample, so that a table has one
ROWS_PER_READ = 2**16
ROWS_PER_RANGE = 256  # that are read ahead together


@dataclass(frozen=True)
class DiskRows:
    """The rows of a table that is in a store.

    Args:
        blocks: of the store: `numbers`, `stored`, `codes`, `y`, `hashes`, `fold`, and `weight` if rows have weights.
        stored: the inputs in 32 bits, mapped.
        totals: sums over all rows.
        n_codes: of each category.
        in_groups: whether `hashes` are those of groups, and not of the rows' inputs.
        fingerprint: of the table; see `Table.fingerprint`.
        memory: bytes that a training may take.
        temporary: the store's folder, if it is to be removed when nothing uses it any more.
    """

    blocks: Blocks
    stored: StoredRows
    totals: Totals
    n_codes: tuple[int, ...]
    in_groups: bool
    fingerprint: str
    memory: int
    temporary: TemporaryFolder | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.blocks.arrays["y"])

    @property
    def fold(self) -> NDArray[np.int8]:
        """The inner fold of each row, `(n_rows,)`, from 1: equal rows, and rows of one group, are in one."""
        return self.blocks.arrays["fold"]

    def rows(self, numbers: IntArray) -> Rows:
        """Return some rows, read into memory.

        Args:
            numbers: row numbers, `(n,)`; ascending ones are read fastest.
        """
        taken = {name: self.blocks.take(name, numbers) for name in ("numbers", "codes", "y", "fold")}
        return Rows(taken["numbers"], taken["codes"], taken["y"], self.weight(numbers), taken["fold"])

    def weight(self, numbers: IntArray) -> FloatArray:
        """Return the weight of some rows, `(n,)`."""
        has_weights = "weight" in self.blocks.arrays
        return self.blocks.take("weight", numbers) if has_weights else np.ones(len(numbers))

    def totals_without(self, excluded: IntArray) -> Totals:
        """Return the sums over all rows but some, whose numbers are given in ascending order."""
        few = Totals.zero(self.totals.shift, self.n_codes, len(self.totals.classes))
        n_inputs = self.blocks.arrays["numbers"].shape[1] + len(self.n_codes)
        n_at_once = max(1, SAMPLE_CELLS // max(n_inputs, 1))
        for start in range(0, len(excluded), n_at_once):
            few.add(self.rows(excluded[start : start + n_at_once]), self.n_codes)
        return self.totals.minus(few)

    def classes_without(self, excluded: IntArray) -> FloatArray:
        """Return the weight of each class over all rows but some, `(n_classes,)`; their inputs are not read."""
        of_all = self.totals.classes
        few = np.bincount(self.blocks.take("y", excluded), self.weight(excluded), len(of_all))
        return np.maximum(of_all - few, 0)

    @functools.cached_property
    def sample(self) -> IntArray:
        """Row numbers of a uniform sample, ascending, always the same: all rows of a table of few."""
        n_cells = self.blocks.arrays["numbers"].shape[1] + len(self.n_codes)
        return uniform_sample(self.n_rows, n_cells)

    @functools.cached_property
    def sampled(self) -> Rows:
        """The sample's rows, in memory."""
        return self.rows(self.sample)

    def rows_by_hash(self, seed: int, n_rows: int) -> IntArray:
        """Return about as many rows as asked for, ascending: equal rows, and rows of one group, are all in or all out.

        They are those whose hash, mixed with the seed, is low: which they are depends on their values alone.
        """
        if n_rows >= self.n_rows:
            return np.arange(self.n_rows)
        limit, chosen, start = np.uint64(n_rows / self.n_rows * 2**64), [], 0
        for hashes in self.blocks.rows("hashes", ROWS_PER_READ):
            chosen.append(start + np.flatnonzero(mixed(hashes, seed) < limit))
            start += len(hashes)
        return np.concatenate(chosen)

    def prefetch(self, rows: IntArray) -> None:
        """Ask the system to read the blocks that a member trains on around some rows, in the order of the file."""
        pages = np.unique(rows // ROWS_PER_RANGE)
        starts = pages[np.diff(pages, prepend=-2) > 1] * ROWS_PER_RANGE
        stops = (pages[np.diff(pages, append=pages[-1] + 2) > 1] + 1) * ROWS_PER_RANGE
        self.blocks.prefetch(("stored", "codes"), starts, np.minimum(stops, self.n_rows))

    def release(self) -> None:
        """Let all mapped pages go: they count as memory of this process while they are mapped."""
        self.blocks.release()


def uniform_sample(n_rows: int, n_cells: int) -> IntArray:
    """Return row numbers of a uniform sample, ascending, always the same: all rows of a table of few.

    Args:
        n_rows: of the table.
        n_cells: of each row; of wide tables fewer rows are drawn.
    """
    n_sampled = min(n_rows, SAMPLE_ROWS, SAMPLE_CELLS // max(n_cells, 1))
    return np.sort(make_rng(SEED, Purpose.SAMPLE).choice(n_rows, n_sampled, replace=False))


def mixed(hashes: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Return other hashes of the same rows, selected by a seed, by the mixing function of splitmix64."""
    state = hashes + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))

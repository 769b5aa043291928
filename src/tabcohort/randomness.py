"""Random streams: every draw is a function of (seed, member, place, purpose), whatever ran before and on any thread.

The generator is counter-based (Philox, Salmon et al. 2011), so a stream needs no state that would have to be kept.
"""

from __future__ import annotations

import enum

import numba
import numpy as np

from tabcohort import machine_code
from tabcohort.types import IntArray


class Purpose(enum.IntEnum):
    """What random numbers are for; each purpose has a stream of its own."""

    INITIAL_WEIGHTS = 1
    SHUFFLE = 2
    MIX = 3
    MIX_PARTNER = 4
    LAYER = 5
    BOOTSTRAP = 6
    SAMPLE = 7
    CONFIGS = 8
    TREES = 9
    BAGS = 10
    PERMUTATIONS = 11
    SUBSAMPLE = 12
    BLOCKS = 13


def make_rng(seed: int, purpose: Purpose, member: int = 0, place: int = 0) -> np.random.Generator:
    """Return the generator of one purpose at one place of a run; equal arguments give equal numbers anywhere."""
    # Philox counts up in the first words of its counter, so the last two are free to hold the place and the purpose.
    return np.random.Generator(np.random.Philox(key=[seed, member], counter=[0, 0, place, int(purpose)]))


def shuffle(rows: IntArray, rng: np.random.Generator) -> None:
    """Shuffle each row of a matrix in place (Fisher & Yates; indices by a product and a shift, Lemire 2019)."""
    _swap_in_rows(rows, rng.integers(2**32, size=rows.shape, dtype=np.uint32))


@machine_code.cached
@numba.njit(nogil=True)
def _swap_in_rows(rows, words):  # type: ignore[no-untyped-def]
    for r in range(rows.shape[0]):
        row, word = rows[r], words[r]
        for i in range(row.size - 1, 0, -1):
            j = np.int64((np.uint64(word[i]) * np.uint64(i + 1)) >> np.uint64(32))
            row[i], row[j] = row[j], row[i]

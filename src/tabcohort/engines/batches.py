"""Batches: which rows each step of each epoch trains on, with which mixup partners and dropout masks.

Nothing here depends on what ran before or on the number of threads: see `tabcohort.randomness`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tabcohort.errors import TrainingError
from tabcohort.randomness import Purpose, make_rng, shuffle
from tabcohort.settings import Config
from tabcohort.types import FloatArray, IntArray

ROWS_PER_DRAW = 2**15


@dataclass(frozen=True)
class EpochBatches:
    """What one epoch trains on.

    Args:
        epoch: counted from 1.
        order: the training rows, shuffled, `(n_rows,)`; positions among the training rows, not in the table.
        bounds: step s takes `order[bounds[s]:bounds[s + 1]]`, `(n_steps + 1,)`.
        mix: for each step the weight of a row's own values, `(n_steps,)`; 1 is a step without mixup.
        partners: for each place in `order` the position in its step of the row that it is mixed with, `(n_rows,)`;
            empty without mixup.
        layer_keys: for each step the 63-bit key of its random layers (dropout masks), `(n_steps,)`.
    """

    epoch: int
    order: IntArray
    bounds: IntArray
    mix: FloatArray
    partners: IntArray
    layer_keys: IntArray

    @property
    def n_steps(self) -> int:
        """Number of updates in this epoch."""
        return len(self.mix)


@dataclass(frozen=True)
class EpochBlock:
    """What several epochs, one after another, train on: the arrays of `EpochBatches`, with a row for each epoch.

    Args:
        first: the first epoch, counted from 1.
        orders, mixes, partners, layer_keys: `(n_epochs, ...)`.
        bounds: the same for all, `(n_steps + 1,)`.
    """

    first: int
    orders: IntArray
    bounds: IntArray
    mixes: FloatArray
    partners: IntArray
    layer_keys: IntArray

    def __len__(self) -> int:
        return len(self.orders)

    def __getitem__(self, i: int) -> EpochBatches:
        """Return one epoch, counted from 0."""
        return EpochBatches(
            self.first + i, self.orders[i], self.bounds, self.mixes[i], self.partners[i], self.layer_keys[i]
        )  # fmt: skip

    def part(self, start: int, stop: int) -> EpochBlock:
        """Return some of the epochs, counted from 0."""
        rows = slice(start, stop)
        return EpochBlock(
            self.first + start, self.orders[rows], self.bounds, self.mixes[rows], self.partners[rows],
            self.layer_keys[rows],
        )  # fmt: skip


@dataclass(frozen=True)
class BatchPlan:
    """How a member's training rows are divided into batches, in every epoch.

    Args:
        n_rows: number of training rows.
        batch_size: rows per step.
        mixup_alpha, mixup_probability: as in `Config`.
        needs_pairs: whether a step of one row is impossible (batch normalisation): a lone last row then joins the batch
            before it.
        seed, member: of the random streams.

    Raises:
        TrainingError: no update is possible.
    """

    n_rows: int
    batch_size: int
    mixup_alpha: float
    mixup_probability: float
    needs_pairs: bool
    seed: int
    member: int = 0

    def __post_init__(self) -> None:
        if self.needs_pairs and min(self.n_rows, self.batch_size) < 2:
            raise TrainingError(
                f"batch normalisation needs two rows in a step; there are {self.n_rows} training rows in batches of "
                f"{self.batch_size}: make batch_size at least 2, or use a model without it"
            )

    @property
    def bounds(self) -> IntArray:
        """Where each step's rows begin, and where the last one's end, `(n_steps + 1,)`."""
        bounds = np.append(np.arange(0, self.n_rows, self.batch_size), self.n_rows)
        if self.needs_pairs and len(bounds) > 2 and bounds[-1] - bounds[-2] == 1:
            bounds = np.delete(bounds, -2)
        return bounds

    @property
    def epochs_per_draw(self) -> int:
        """Number of epochs that are drawn together: setting up a generator costs as much as shuffling 1,000 rows."""
        return max(1, ROWS_PER_DRAW // self.n_rows)

    def draw(self, number: int) -> EpochBlock:
        """Return the batches of a block of epochs, counted from 0, of `epochs_per_draw` epochs each."""
        n_epochs, bounds = self.epochs_per_draw, self.bounds
        n_steps = len(bounds) - 1
        orders = self._rows_of_epochs(number * n_epochs, n_epochs)
        if n_steps > 1:
            shuffle(orders, self._rng(Purpose.SHUFFLE, number))
        mixes, partners = np.ones((n_epochs, n_steps)), np.empty((n_epochs, 0), dtype=np.int64)
        if self.mixup_alpha > 0:
            rng = self._rng(Purpose.MIX, number)
            is_mixed = rng.random(mixes.shape) < self.mixup_probability
            mixes = np.where(is_mixed, rng.beta(self.mixup_alpha, self.mixup_alpha, mixes.shape), 1.0)
            partners = self._partners(number, n_epochs, bounds)
        keys = self._rng(Purpose.LAYER, number).integers(2**63, size=mixes.shape, dtype=np.int64)
        return EpochBlock(number * n_epochs + 1, orders, bounds, mixes, partners, keys)

    def _rows_of_epochs(self, first: int, n_epochs: int) -> IntArray:
        """Return the rows of some epochs before they are shuffled, `(n_epochs, n_rows)`; `first` is counted from 0."""
        return np.tile(np.arange(self.n_rows), (n_epochs, 1))

    def _partners(self, number: int, n_epochs: int, bounds: IntArray) -> IntArray:
        rng = self._rng(Purpose.MIX_PARTNER, number)
        partners = np.arange(self.n_rows) - np.repeat(bounds[:-1], np.diff(bounds))  # positions in each step
        partners = np.tile(partners, (n_epochs, 1))
        n_whole = bounds[-2]  # all steps but the last have the same number of rows
        whole = partners[:, :n_whole].reshape(-1, self.batch_size)
        shuffle(whole, rng)
        partners[:, :n_whole] = whole.reshape(n_epochs, -1)
        last = partners[:, n_whole:].copy()
        shuffle(last, rng)
        partners[:, n_whole:] = last
        return partners

    def _rng(self, purpose: Purpose, number: int) -> np.random.Generator:
        return make_rng(self.seed, purpose, self.member, number)


class Batches:
    """The batches of a plan, epoch by epoch in any order; the block that was drawn last is kept.

    Args:
        plan: how rows are divided.
    """

    def __init__(self, plan: BatchPlan) -> None:
        self.plan = plan
        self._number = -1
        self._drawn: EpochBlock | None = None

    def block(self, first: int, max_epochs: int) -> EpochBlock:
        """Return the batches of epoch `first`, counted from 1, and of those after it, at most `max_epochs` in all."""
        number, start = divmod(first - 1, self.plan.epochs_per_draw)
        if self._drawn is None or number != self._number:
            self._number, self._drawn = number, self.plan.draw(number)
        return self._drawn.part(start, start + max_epochs)

    def epoch(self, epoch: int) -> EpochBatches:
        """Return the batches of one epoch, counted from 1."""
        return self.block(epoch, 1)[0]


def batch_size_of(config: Config, n_different: int) -> int | None:
    """Return a config's batch size for this many different training rows; None is the full batch."""
    if config.batch_size == "full":
        return None
    if config.batch_size == "auto":
        size_up_to = ((64, None), (5_000, 32), (20_000, 128), (n_different, 256))
        return next(size for limit, size in size_up_to if n_different <= limit)
    return int(config.batch_size)

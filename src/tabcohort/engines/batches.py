"""What each epoch of each member will see: every random choice of a training.

Nothing here depends on what ran before or on the number of threads. A draw is a function of (seed, member, epoch,
purpose), made by a counter-based generator (Philox, Salmon et al. 2011).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tabcohort.errors import TrainingError
from tabcohort.randomness import Purpose, make_rng, shuffle
from tabcohort.settings import Settings
from tabcohort.types import FloatArray, IntArray

ROWS_DRAWN_AT_A_TIME = 2**15


@dataclass(frozen=True)
class EpochPlan:
    """What one epoch of one member will see.

    Args:
        epoch: counted from 1.
        order: the training rows, shuffled, shape `(n_rows,)`; positions among the training rows, not in the table.
        bounds: step s takes `order[bounds[s]:bounds[s + 1]]`, shape `(n_steps + 1,)`.
        mix: for each step the weight of a row's own values, shape `(n_steps,)`; 1 is a step without mixup.
        partners: for each place of `order` the position in its step of the row that it is mixed with, `(n_rows,)`;
            empty where nothing is mixed.
        layer_keys: for each step the 63-bit key of its random layers (dropout masks), shape `(n_steps,)`.
        member: for messages.
    """

    epoch: int
    order: IntArray
    bounds: IntArray
    mix: FloatArray
    partners: IntArray
    layer_keys: IntArray
    member: int

    @property
    def n_steps(self) -> int:
        """Number of updates in this epoch."""
        return len(self.mix)


@dataclass(frozen=True)
class Epochs:
    """What epochs of one member, one after another, will see: the arrays of `EpochPlan`, with a row for each epoch.

    Args:
        first: the first of them, counted from 1.
        orders, mixes, partners, layer_keys: shape `(n_epochs, ...)`.
        bounds: the same for all, `(n_steps + 1,)`.
        member: for messages.
    """

    first: int
    orders: IntArray
    bounds: IntArray
    mixes: FloatArray
    partners: IntArray
    layer_keys: IntArray
    member: int

    def __len__(self) -> int:
        return len(self.orders)

    def __getitem__(self, i: int) -> EpochPlan:
        """Return one epoch, counted from 0."""
        return EpochPlan(
            self.first + i, self.orders[i], self.bounds, self.mixes[i], self.partners[i], self.layer_keys[i],
            self.member,
        )  # fmt: skip

    @property
    def numbers(self) -> range:
        """The epochs, counted from 1."""
        return range(self.first, self.first + len(self))

    def part(self, start: int, stop: int) -> Epochs:
        """Return some of the epochs, counted from 0."""
        rows = slice(start, stop)
        return Epochs(
            self.first + start, self.orders[rows], self.bounds, self.mixes[rows], self.partners[rows],
            self.layer_keys[rows], self.member,
        )  # fmt: skip


@dataclass(frozen=True)
class MemberPlan:
    """All epochs of one member.

    Args:
        n_rows: rows that train.
        batch_size: rows of a step.
        mixup_alpha, mixup_probability: as in `Settings`.
        needs_pairs: whether a step of one row is impossible (batch normalisation): a lone last row then joins the
            batch before it.
        seed, member: the key of every draw.

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
        """Where each step's rows begin, and where the last one's end, shape `(n_steps + 1,)`."""
        bounds = np.append(np.arange(0, self.n_rows, self.batch_size), self.n_rows)
        if self.needs_pairs and len(bounds) > 2 and bounds[-1] - bounds[-2] == 1:
            bounds = np.delete(bounds, -2)
        return bounds

    def blocks(self, first: int = 1, at_most: int = 1) -> Iterator[Epochs]:
        """Yield what epochs will see from epoch `first` on, counted from 1, without end, some of them at a time.

        The epochs of small tables are drawn many at a time: setting up a generator costs as much as shuffling a
        thousand rows. An epoch's draws depend on its number alone, wherever the iteration began.
        """
        bounds = self.bounds
        at_a_time = max(1, ROWS_DRAWN_AT_A_TIME // self.n_rows)
        number, skipped = divmod(first - 1, at_a_time)
        while True:
            block = self._draw(number, at_a_time, bounds)
            for start in range(skipped, at_a_time, at_most):
                yield block.part(start, start + at_most)
            number, skipped = number + 1, 0

    def epochs(self, first: int = 1) -> Iterator[EpochPlan]:
        """Yield what each epoch will see from epoch `first` on, without end."""
        for block in self.blocks(first):
            yield block[0]

    def epoch(self, epoch: int) -> EpochPlan:
        """Return what one epoch will see."""
        return next(self.epochs(epoch))

    def _draw(self, number: int, n_epochs: int, bounds: IntArray) -> Epochs:
        n_steps = len(bounds) - 1
        orders = np.tile(np.arange(self.n_rows), (n_epochs, 1))
        if n_steps > 1:
            shuffle(orders, self._generator(Purpose.SHUFFLE, number))
        mixes, partners = np.ones((n_epochs, n_steps)), np.empty((n_epochs, 0), dtype=np.int64)
        if self.mixup_alpha > 0:
            draw = self._generator(Purpose.MIX, number)
            mixed = draw.random(mixes.shape) < self.mixup_probability
            mixes = np.where(mixed, draw.beta(self.mixup_alpha, self.mixup_alpha, mixes.shape), 1.0)
            partners = self._partners(number, n_epochs, bounds)
        keys = self._generator(Purpose.LAYER, number).integers(2**63, size=mixes.shape, dtype=np.int64)
        return Epochs(number * n_epochs + 1, orders, bounds, mixes, partners, keys, self.member)

    def _partners(self, number: int, n_epochs: int, bounds: IntArray) -> IntArray:
        draw = self._generator(Purpose.MIX_PARTNER, number)
        partners = np.arange(self.n_rows) - np.repeat(bounds[:-1], np.diff(bounds))  # positions in each step
        partners = np.tile(partners, (n_epochs, 1))
        n_whole = bounds[-2]  # all steps but the last have the same number of rows
        whole = partners[:, :n_whole].reshape(-1, self.batch_size)
        shuffle(whole, draw)
        partners[:, :n_whole] = whole.reshape(n_epochs, -1)
        last = partners[:, n_whole:].copy()
        shuffle(last, draw)
        partners[:, n_whole:] = last
        return partners

    def _generator(self, purpose: Purpose, block: int) -> np.random.Generator:
        return make_rng(self.seed, purpose, self.member, block)


def rows_of_a_step(settings: Settings, n_different: int) -> int | None:
    """Return the batch size that the settings mean for so many different training rows; None is the full batch."""
    if settings.batch_size == "full":
        return None
    if settings.batch_size == "auto":
        size_up_to = ((64, None), (5_000, 32), (20_000, 128), (n_different, 256))
        return next(size for limit, size in size_up_to if n_different <= limit)
    return int(settings.batch_size)

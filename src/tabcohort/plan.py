"""Every random choice of a run: which row has which role, and what each epoch of each member will see.

Nothing here depends on what ran before, on the number of threads or on the order of the rows in the file. A draw is
a function of (seed, member, epoch, purpose), made by a counter-based generator (Philox, Salmon et al. 2011);
a row's role is a function of the seed and of the row's own values.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tabcohort.compiling import COMPILED, KEPT
from tabcohort.errors import TableError, TrainingError
from tabcohort.prepare import FloatArray, IntArray
from tabcohort.settings import Settings

ROWS_DRAWN_AT_A_TIME = 2**15


class Purpose(enum.IntEnum):
    """What a draw is for; each purpose has a stream of its own."""

    INITIAL_WEIGHTS = 1
    SHUFFLE = 2
    MIX = 3
    MIX_PARTNER = 4
    LAYER = 5
    BOOTSTRAP = 6
    SAMPLE = 7


def generator(seed: int, purpose: Purpose, member: int = 0, place: int = 0) -> np.random.Generator:
    """Return the generator of one purpose at one place of a run; equal arguments give equal draws anywhere."""
    # Philox counts up in the first words of its counter, so the last two are free to say where we are.
    return np.random.Generator(np.random.Philox(key=[seed, member], counter=[0, 0, place, int(purpose)]))


def shuffle(rows: IntArray, draw: np.random.Generator) -> None:
    """Shuffle each row of a matrix in place (Fisher & Yates; the places by a product and a shift, Lemire 2019)."""
    _swap(rows, draw.integers(2**32, size=rows.shape, dtype=np.uint32))


@njit(**{**COMPILED, **KEPT})
def _swap(rows, words):  # type: ignore[no-untyped-def]
    for r in range(rows.shape[0]):
        row, word = rows[r], words[r]
        for i in range(row.size - 1, 0, -1):
            j = np.int64((np.uint64(word[i]) * np.uint64(i + 1)) >> np.uint64(32))
            row[i], row[j] = row[j], row[i]


@dataclass(frozen=True)
class Roles:
    """Which rows train, which stop (schedule, early stopping, best epoch) and which score; no row has two roles.

    Args:
        train, stop, score: row indices, int64, disjoint; the scoring rows may be none.

    Raises:
        TrainingError: a row has two roles, or nothing is there to train or to stop on.
    """

    train: IntArray
    stop: IntArray
    score: IntArray

    def __post_init__(self) -> None:
        for name in ("train", "stop", "score"):
            rows = np.asarray(getattr(self, name))
            if rows.ndim != 1 or (rows.dtype.kind not in "iu" and len(rows)):
                raise TrainingError(f"the role {name!r} must be a list of row numbers; it holds {rows.dtype}")
            object.__setattr__(self, name, rows.astype(np.int64))
        everyone = np.concatenate([self.train, self.stop, self.score])
        if len(np.unique(everyone)) != len(everyone):
            raise TrainingError("a row may have one role only: train, stop and score share rows, make them disjoint")
        if everyone.min(initial=0) < 0:
            raise TrainingError("roles count rows from 0; a negative row number would be another name of a row")
        if not len(self.train) or not len(self.stop):
            raise TrainingError(
                f"training needs rows that train and rows that stop; there are {len(self.train)} and {len(self.stop)}"
            )


TRAIN, STOP, SCORE = 0, 1, 2


def row_hashes(X: FloatArray, seed: int) -> NDArray[np.uint64]:
    """Return a 64-bit hash of every row's values, shape `(n_rows,)`: rows with equal values have equal hashes.

    The mixing constants are those of splitmix64 (Steele, Lea & Flood 2014).
    """
    state = np.full(len(X), seed, dtype=np.uint64)
    state *= np.uint64(0x9E3779B97F4A7C15)
    for column in X.T:
        state ^= np.ascontiguousarray(column + 0.0).view(np.uint64)  # adding 0.0 makes -0.0 equal 0.0
        state *= np.uint64(0xBF58476D1CE4E5B9)
        state ^= state >> np.uint64(29)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(32)
    return state


def split_roles(
    X: FloatArray, y: IntArray, weight: FloatArray, settings: Settings, key: IntArray | None = None
) -> Roles:
    """Divide rows into those that train, stop and score: stratified by class, equal rows always together.

    The split depends on the rows' values and the seed alone: not on the order of the rows, and a row of weight 2
    counts like two rows. Indices come in an order of their own that the same rows have in any file.

    Args:
        X: features, shape `(n_rows, n_features)`, finite.
        y: class codes 0 .. n_classes - 1, shape `(n_rows,)`.
        weight: the weight of each row, shape `(n_rows,)`, positive.
        settings: its `seed`, `stop_fraction` and `score_fraction` are used.
        key: whose row it is, `(n_rows,)`: rows of one key stay together too (the visits of one patient, for one).

    Raises:
        TableError: there are too few different rows for three roles.
    """
    order, group = _groups_in_order(row_hashes(X, settings.seed), y, key)
    group_weight: FloatArray = np.bincount(group, weights=weight[order]).astype(np.float64)
    group_class = _heaviest_class(group, y[order], weight[order])
    role = np.full(len(group_weight), TRAIN)
    role_of_second = SCORE
    for code in np.unique(group_class):
        of_class = np.flatnonzero(group_class == code)
        if len(of_class) >= 3:
            role[of_class] = _roles_of_class(group_weight[of_class], settings)
        elif len(of_class) == 2:  # one trains; what the other does alternates from one such class to the next
            role[of_class[1]] = role_of_second
            role_of_second = STOP if role_of_second == SCORE else SCORE
    train, stop, score = (order[role[group] == each] for each in (TRAIN, STOP, SCORE))
    if not len(stop) or not len(score):
        raise TableError(
            f"{len(group_weight)} different rows (or keys) are too few to train, stop and score on separate ones: "
            "at least one class needs three different rows, or two classes need two"
        )
    return Roles(train, stop, score)


def _groups_in_order(hashes: NDArray[np.uint64], y: IntArray, key: IntArray | None) -> tuple[IntArray, IntArray]:
    """Return the rows ordered by group, hash and class, and for each of them the number of its group.

    A group's place is the least hash in it: the same for the same rows in any file.
    """
    label = hashes if key is None else _least_hash_of_relatives(hashes, key)
    order = np.lexsort((y, hashes, label))
    ordered = label[order]
    starts = np.concatenate([[False], ordered[1:] != ordered[:-1]])
    return order, np.cumsum(starts)


def _least_hash_of_relatives(hashes: NDArray[np.uint64], key: IntArray) -> NDArray[np.uint64]:
    """Return for each row the least hash among the rows that equal values or keys tie it to, however indirectly."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    different, values = np.unique(hashes, return_inverse=True)
    n_values, n_nodes = len(different), len(different) + int(key.max()) + 1
    ties = coo_array((np.ones(len(key), dtype=bool), (values, n_values + key)), shape=(n_nodes, n_nodes))
    _, family = connected_components(ties, directed=False)
    least = np.full(n_nodes, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(least, family[values], hashes)
    return least[family[values]]


def _heaviest_class(group: IntArray, y: IntArray, weight: FloatArray) -> IntArray:
    """Return the class of the greatest weight in each group; rows come ordered by group, then class."""
    starts = np.flatnonzero(np.concatenate([[True], (group[1:] != group[:-1]) | (y[1:] != y[:-1])]))
    run_weight = np.add.reduceat(weight, starts)
    best_last = np.lexsort((-y[starts], run_weight, group[starts]))
    last_of_group = np.append(group[starts][best_last][1:] != group[starts][best_last][:-1], True)
    return y[starts][best_last[last_of_group]]


def _roles_of_class(weight: FloatArray, settings: Settings) -> IntArray:
    """Deal the groups of one class, in hash order, to score, stop and train by their share of the class's weight.

    There are at least three groups, and each role gets one at least.
    """
    n_groups = len(weight)
    middle = (np.cumsum(weight) - weight / 2) / weight.sum()
    n_score = np.clip(np.searchsorted(middle, settings.score_fraction), 1, n_groups - 2)
    n_stop = np.searchsorted(middle, settings.score_fraction + settings.stop_fraction) - n_score
    n_stop = np.clip(n_stop, 1, n_groups - n_score - 1)
    return np.repeat([SCORE, STOP, TRAIN], [n_score, n_stop, n_groups - n_score - n_stop])


def merge_equal_rows(X: FloatArray, y: IntArray, weight: FloatArray, rows: IntArray) -> tuple[IntArray, FloatArray]:
    """Return `rows` without repetitions, and the weight of each with that of its repetitions added.

    In full batches this makes a weight of 2 and two equal rows the same to the bit: the gradient is the same but for
    rounding, and a merged row has one dropout mask. It is not the same under batch normalisation, whose statistics
    count rows and not weights. `rows` must hold equal rows side by side, as `split_roles` gives them.
    """
    first = np.ones(len(rows), dtype=bool)
    first[1:] = y[rows[1:]] != y[rows[:-1]]
    for column in X.T:
        first[1:] |= column[rows[1:]] != column[rows[:-1]]
    return rows[first], np.add.reduceat(weight[rows], np.flatnonzero(first))


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
        return generator(self.seed, purpose, self.member, block)


def rows_of_a_step(settings: Settings, n_different: int) -> int | None:
    """Return the batch size that the settings mean for so many different training rows; None is the full batch."""
    if settings.batch_size == "full":
        return None
    if settings.batch_size == "auto":
        size_up_to = ((64, None), (5_000, 32), (20_000, 128), (n_different, 256))
        return next(size for limit, size in size_up_to if n_different <= limit)
    return int(settings.batch_size)

"""Which rows train, stop and score: no row has two roles for a member, and equal rows stay together.

A row's role is a function of the seed and of the row's own values: not of the order of the rows in the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.encoder import blocks
from tabcohort.errors import TableError, TrainingError
from tabcohort.settings import Settings
from tabcohort.types import FloatArray, IntArray


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
    order, group = _groups_in_order(row_hashes(X, settings.seed), y, weight, key)
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
        raise TableError(_too_few_message(len(group_weight)))
    return Roles(train, stop, score)


class Division(Protocol):
    """One division of a table's rows into folds, and the roles that they have for the member of each fold."""

    @property
    def n_folds(self) -> int:
        """How many folds there are, and so members."""
        ...

    def roles(self, fold: int) -> Roles:
        """Return the roles of all rows for the member that scores on this fold."""
        ...

    def parts(self) -> IntArray:
        """Return a number for each row, `(n_rows,)`, in the table's order: rows that score together have the same."""
        ...


@dataclass(frozen=True)
class Folds:
    """Folds that take turns: a member scores on one, some rows of the next stop it, and all others train it.

    Args:
        order: the rows, equal ones side by side, `(n_rows,)`.
        fold: the fold of each of these, `(n_rows,)`; -1 where a row always trains.
        may_stop: which of these stop a member, `(n_rows,)`, spread evenly over each fold.
        n_folds: how many there are, at least 3.
    """

    order: IntArray
    fold: NDArray[np.int16]
    may_stop: NDArray[np.bool_]
    n_folds: int

    def roles(self, fold: int) -> Roles:
        """Return the roles of all rows for the member that scores on this fold."""
        score = self.fold == fold
        stop = (self.fold == (fold + 1) % self.n_folds) & self.may_stop
        return Roles(self.order[~(score | stop)], self.order[stop], self.order[score])

    def parts(self) -> IntArray:
        """Return each row's fold, `(n_rows,)`, in the table's order."""
        return _in_order_of_table(self.fold, self.order)


@dataclass(frozen=True)
class FoldsInTime:
    """Folds one after another: a member stops and scores on rows that are later than all that train it.

    Args:
        order: the rows, equal ones side by side, `(n_rows,)`.
        block: the block of each of these, `(n_rows,)`: the first ones, which only train, are block 0.
        key: whose row each of these is, `(n_rows,)`, or None; rows of one that trains neither stop nor score.
        n_folds: two less than there are blocks.
    """

    order: IntArray
    block: NDArray[np.int16]
    key: IntArray | None
    n_folds: int

    def roles(self, fold: int) -> Roles:
        """Return the roles of all rows for the member that scores on this fold; the later ones have none.

        Raises:
            TableError: all rows that could stop it are of keys that train.
        """
        train, stop, score = self.block <= fold, self.block == fold + 1, self.block == fold + 2
        if self.key is not None:
            stop &= ~np.isin(self.key, self.key[train])
            if not stop.any():
                raise TableError(
                    f"in fold {fold + 1} of {self.n_folds} in time nothing is left to stop on: all of its rows are of "
                    "keys or groups that were there before; leave the key or group out"
                    + (", or ask for fewer folds" if self.n_folds > 1 else "")
                )
            score &= ~np.isin(self.key, self.key[train | stop])
        return Roles(self.order[train], self.order[stop], self.order[score])

    def parts(self) -> IntArray:
        """Return each row's block, `(n_rows,)`, in the table's order."""
        return _in_order_of_table(self.block, self.order)


def _in_order_of_table(values: NDArray[np.int16], order: IntArray) -> IntArray:
    found = np.empty(len(order), dtype=np.int64)
    found[order] = values
    return found


@dataclass(frozen=True)
class OneSplit:
    """No folds: the same rows stop, and the same rows score, for a single member.

    Args:
        the_roles: of all rows.
        part: the part of each row, `(n_rows,)`.
        n_folds: 1.
    """

    the_roles: Roles
    part: IntArray
    n_folds: int = 1

    def roles(self, fold: int) -> Roles:
        """Return the roles of all rows."""
        return self.the_roles

    def parts(self) -> IntArray:
        """Return each row's part, `(n_rows,)`."""
        return self.part


# A cohort's folds and seeds for up to so many rows. Few rows: many members, as each is cheap and says little alone, and
# folds that leave most rows to train. Many rows: fewer members, as each takes long and says much.
SIZES: tuple[tuple[float, int, int], ...] = (
    (250, 10, 5),
    (2_500, 8, 3),
    (25_000, 8, 2),
    (100_000, 5, 2),
    (math.inf, 5, 1),
)
FOLDS_IN_TIME = 4
PARTS_OF_A_SPLIT = 5


def size_of_cohort(
    n_rows: int, n_folds: int | None = None, n_seeds: int | None = None, in_time: bool = False
) -> tuple[int, int]:
    """Return how many folds, and how many seeds for each, suit so many rows; what is given stays as it is."""
    of_rows = next((folds, seeds) for limit, folds, seeds in SIZES if n_rows <= limit)
    return n_folds or (FOLDS_IN_TIME if in_time else of_rows[0]), n_seeds or of_rows[1]


def divide(
    X: FloatArray,
    y: IntArray,
    weight: FloatArray,
    settings: Settings,
    n_folds: int,
    repeat: int = 0,
    key: IntArray | None = None,
    time: FloatArray | None = None,
) -> Division:
    """Divide rows into folds: stratified by class, equal rows and rows of one key always together, or by time.

    Args:
        X: features, shape `(n_rows, n_features)`.
        y: class codes, `(n_rows,)`.
        weight: the weight of each row, `(n_rows,)`, positive.
        settings: its `seed`, `stop_fraction` and `score_fraction` are used.
        n_folds: how many; fewer where there are not so many different rows. 1 is a single split of the rows.
        repeat: each repeat divides the rows in another way; but there is one way only in time.
        key: whose row it is, `(n_rows,)`.
        time: when each row was, `(n_rows,)`: rows are divided by that alone, and equal times stay together.

    Raises:
        TableError: there are too few different rows, keys or times.
    """
    if time is not None:
        return _divide_by_time(X, y, weight, settings, n_folds, key, time)
    seed = (settings.seed + repeat * SEED_STEP) % 2**63
    if n_folds == 1:
        hashes = row_hashes(X, seed)
        label = hashes if key is None else _least_hash_of_relatives(hashes, key)
        part = np.unique(label, return_inverse=True)[1] % PARTS_OF_A_SPLIT
        return OneSplit(split_roles(X, y, weight, replace(settings, seed=seed), key), part)
    order, group = _groups_in_order(row_hashes(X, seed), y, weight, key)
    group_weight: FloatArray = np.bincount(group, weights=weight[order]).astype(np.float64)
    group_class = _heaviest_class(group, y[order], weight[order])
    in_turn = np.lexsort((-group_weight, group_class))
    in_turn = in_turn[np.bincount(group_class)[group_class[in_turn]] > 1]  # a class's only group always trains
    n_folds = min(n_folds, len(in_turn))
    if n_folds < 3:
        raise TableError(_too_few_message(len(group_weight)))
    # Class by class, the heaviest first, as many groups at a time as there are folds: each fold gets as much of every
    # class as any other, to within a group. Which of these goes where is up to their hashes, so repeats differ.
    of_class = group_class[in_turn]
    place_in_class = np.arange(len(in_turn)) - np.searchsorted(of_class, of_class)
    in_turn = in_turn[np.lexsort((in_turn, place_in_class // n_folds, of_class))]
    depth, turn = np.divmod(np.arange(len(in_turn)), n_folds)
    fold = np.full(len(group_weight), -1, dtype=np.int16)
    fold[in_turn] = turn
    share = min(1.0, settings.stop_fraction * n_folds)
    may_stop = np.zeros(len(group_weight), dtype=bool)
    may_stop[in_turn] = np.ceil((depth + 1) * share) > np.ceil(depth * share)
    return Folds(order, fold[group], may_stop[group], n_folds)


SEED_STEP = 0x5851F42D4C957F2D  # far from any seed that a person would choose


def _divide_by_time(
    X: FloatArray,
    y: IntArray,
    weight: FloatArray,
    settings: Settings,
    n_folds: int,
    key: IntArray | None,
    time: FloatArray,
) -> FoldsInTime:
    """Return folds in time: of one fold, the later rows stop and score as the settings say; of more, the later half."""
    order, _ = _groups_in_order(row_hashes(X, settings.seed), y, weight, None)
    if n_folds == 1:
        shares = 1 - settings.score_fraction - np.array([settings.stop_fraction, 0.0])
    else:
        shares = 0.5 + 0.5 * np.arange(n_folds + 1) / (n_folds + 1)
    by_time = np.lexsort((weight, time))
    earlier = np.cumsum(weight[by_time])  # the weight of these rows and of all before
    borders = np.unique(time[by_time[np.searchsorted(earlier, shares * earlier[-1], side="right")]])
    block = np.searchsorted(borders, time, side="right").astype(np.int16)
    block -= block.min()  # the first border may be the earliest time
    n_folds = int(block.max()) - 1
    if n_folds < 1:
        raise TableError(
            f"{len(np.unique(time)):,} different times are too few, or too unevenly filled, "
            "to train, stop and score one after another"
        )
    return FoldsInTime(order, block[order], None if key is None else key[order], n_folds)


def _too_few_message(n_different: int) -> str:
    return (
        f"{n_different} different rows (or keys) are too few to train, stop and score on separate ones: "
        "at least one class needs three different rows, or two classes need two"
    )


def _groups_in_order(
    hashes: NDArray[np.uint64], y: IntArray, weight: FloatArray, key: IntArray | None
) -> tuple[IntArray, IntArray]:
    """Return the rows ordered by group, hash, class and weight, and for each of them the number of its group.

    A group's place is the least hash in it: the same for the same rows in any file.
    """
    label = hashes if key is None else _least_hash_of_relatives(hashes, key)
    order = np.lexsort((weight, y, hashes, label))
    ordered = label[order]
    starts = np.concatenate([[False], ordered[1:] != ordered[:-1]])
    return order, np.cumsum(starts)


def _least_hash_of_relatives(hashes: NDArray[np.uint64], key: IntArray) -> NDArray[np.uint64]:
    """Return for each row the least hash among the rows that equal values or keys tie it to, however indirectly."""
    family = families(np.unique(hashes, return_inverse=True)[1], key)
    least = np.full(family.max() + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(least, family, hashes)
    return least[family]


def families(first: IntArray, *others: IntArray) -> IntArray:
    """Return the family of each row, `(n_rows,)`: rows of one are tied by any of these codes, however indirectly.

    Families count from 0 without gaps.

    Args:
        first, others: codes from 0, each of shape `(n_rows,)`.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not others:
        return np.unique(first, return_inverse=True)[1]
    # The codes are the nodes; a row ties its first code to each other code that it has.
    offsets = np.cumsum([int(first.max()) + 1, *(int(each.max()) + 1 for each in others)])
    nodes = np.concatenate([each + offset for each, offset in zip(others, offsets[:-1], strict=True)])
    ends = (np.tile(first, len(others)), nodes)
    ties = coo_array((np.ones(len(nodes), dtype=bool), ends), shape=(offsets[-1], offsets[-1]))
    component = connected_components(ties, directed=False)[1][first]
    return np.unique(component, return_inverse=True)[1]  # a code that no row has is a component, too


def _heaviest_class(group: IntArray, y: IntArray, weight: FloatArray) -> IntArray:
    """Return the class of the greatest weight in each group; of equally heavy ones, the first."""
    by_class = np.lexsort((y, group))  # rows of one key have classes in any order
    group, y, weight = group[by_class], y[by_class], weight[by_class]
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
    for part in blocks(len(rows) - 1):
        values = X[rows[part.start : part.stop + 1]]
        first[1:][part] |= (values[1:] != values[:-1]).any(axis=1)
    return rows[first], np.add.reduceat(weight[rows], np.flatnonzero(first))

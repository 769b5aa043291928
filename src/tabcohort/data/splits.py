"""Which rows train, validate and test: no row does two of these for a member, and rows that belong together stay so.

Equal rows, and rows of one group, are never on two sides. A row's place is a function of the seed and of the row's own
values, not of the order of the rows in the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.encoder import row_slices
from tabcohort.data.groups import connected_groups
from tabcohort.data.inputs import hash_inputs
from tabcohort.data.table import Table
from tabcohort.errors import TableError, TrainingError
from tabcohort.settings import Config
from tabcohort.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class Split:
    """Which rows train, which validate (schedule, early stopping, best epoch) and which test; no row does two of these.

    Args:
        train: row numbers, counted from 0, int64, disjoint from the others.
        validation: row numbers, as `train`.
        test: row numbers, as `train`; may be empty.

    Raises:
        TrainingError: a row is in two of them, or there is nothing to train or to validate on.
    """

    train: IntArray
    validation: IntArray
    test: IntArray

    @property
    def n_train(self) -> int:
        """Number of train rows."""
        return len(self.train)

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            rows = np.asarray(getattr(self, name))
            if rows.ndim != 1 or (rows.dtype.kind not in "iu" and len(rows)):
                what = f"{rows.dtype} of shape {rows.shape}"
                raise TrainingError(f"the {name} rows must be a list of row numbers; they are {what}")
            object.__setattr__(self, name, rows.astype(np.int64))
        everyone = np.concatenate([self.train, self.validation, self.test])
        if everyone.min(initial=0) < 0:
            raise TrainingError("rows are counted from 0; a negative row number would be another name of a row")
        if np.bincount(everyone).max(initial=0) > 1:
            raise TrainingError("train, validation and test rows must be disjoint; some row is in two of them")
        if not len(self.train) or not len(self.validation):
            raise TrainingError(
                f"training needs train rows and validation rows; there are {len(self.train)} and {len(self.validation)}"
            )


class Splitter(Protocol):
    """One way to divide a table's rows into folds, and the split that each fold's member sees."""

    @property
    def n_folds(self) -> int:
        """Number of folds, and so of members."""
        ...

    def split(self, fold: int) -> Split:
        """Return the split of the member that tests on this fold."""
        ...

    def fold_ids(self) -> IntArray:
        """Return a number for each row, `(n_rows,)`, in the table's order: rows that test together have the same."""
        ...


@dataclass(frozen=True)
class StratifiedFolds:
    """Folds that take turns: a member tests on one, validates on rows of the next, and trains on all others.

    Args:
        order: the rows, equal ones side by side, `(n_rows,)`.
        fold: the fold of each of these, `(n_rows,)`; -1 where a row always trains.
        may_validate: which of these validate a member, `(n_rows,)`, spread evenly over each fold.
        n_folds: number of folds, at least 3.
    """

    order: IntArray
    fold: NDArray[np.int16]
    may_validate: BoolArray
    n_folds: int

    def split(self, fold: int) -> Split:
        """Return the split of the member that tests on this fold."""
        test = self.fold == fold
        validation = (self.fold == (fold + 1) % self.n_folds) & self.may_validate
        return Split(self.order[~(test | validation)], self.order[validation], self.order[test])

    def fold_ids(self) -> IntArray:
        """Return each row's fold, `(n_rows,)`, in the table's order."""
        return _in_table_order(self.fold, self.order)


@dataclass(frozen=True)
class TimeFolds:
    """Folds one after another: a member validates and tests on rows that are later than all that train it.

    Args:
        order: the rows, equal ones side by side, `(n_rows,)`.
        period: the period of each of these, `(n_rows,)`: the earliest ones, which only train, are in period 0.
        group_ids: the group of each of these, `(n_rows,)`, or None; rows of a group that trains do nothing else.
        n_folds: two less than there are periods.
    """

    order: IntArray
    period: NDArray[np.int16]
    group_ids: IntArray | None
    n_folds: int

    def split(self, fold: int) -> Split:
        """Return the split of the member that tests on this fold; later rows are in none of its parts.

        Raises:
            TableError: all rows that could validate are of groups that train.
        """
        train, validation, test = self.period <= fold, self.period == fold + 1, self.period == fold + 2
        if self.group_ids is not None:
            validation &= ~np.isin(self.group_ids, self.group_ids[train])
            if not validation.any():
                raise TableError(
                    f"in fold {fold + 1} of {self.n_folds} in time no rows are left to validate on: all of them are of "
                    "keys or groups that occurred before; leave the key or group out"
                    + (", or ask for fewer folds" if self.n_folds > 1 else "")
                )
            test &= ~np.isin(self.group_ids, self.group_ids[train | validation])
        return Split(self.order[train], self.order[validation], self.order[test])

    def fold_ids(self) -> IntArray:
        """Return each row's period, `(n_rows,)`, in the table's order."""
        return _in_table_order(self.period, self.order)


@dataclass(frozen=True)
class SingleSplit:
    """No folds: one split for a single member.

    Args:
        only: the split.
        ids: a number for each row, `(n_rows,)`, that is the same for rows that belong together.
        n_folds: 1.
    """

    only: Split
    ids: IntArray
    n_folds: int = 1

    def split(self, fold: int) -> Split:
        """Return the split."""
        return self.only

    def fold_ids(self) -> IntArray:
        """Return a number for each row, `(n_rows,)`, to cross-fit by."""
        return self.ids


# Folds and seeds for up to this many rows. Few rows: many members, as each is cheap and says little alone, and folds
# that leave most rows to train. Many rows: fewer members, as each takes long and says much.
COHORT_SIZES: tuple[tuple[float, int, int], ...] = (
    (250, 10, 5),
    (2_500, 8, 3),
    (25_000, 8, 2),
    (100_000, 5, 2),
    (math.inf, 5, 1),
)
FOLDS_IN_TIME = 4
IDS_OF_A_SINGLE_SPLIT = 5
MEASURED_SHARE = 0.5  # of the different rows with a value of their own in a column: chance does not repeat such rows
SEED_STEP = 0x5851F42D4C957F2D  # far from any seed that a person would choose


def cohort_size(
    n_rows: int, n_folds: int | None = None, n_seeds: int | None = None, in_time: bool = False, n_configs: int = 1
) -> tuple[int, int]:
    """Return the numbers of folds and of seeds that suit this many rows; what is given stays as it is.

    Several configs share the seeds: their ensemble has as many networks as one config alone would have, or more.
    """
    folds, seeds = next((folds, seeds) for limit, folds, seeds in COHORT_SIZES if n_rows <= limit)
    return n_folds or (FOLDS_IN_TIME if in_time else folds), n_seeds or -(-seeds // n_configs)


def make_splits(table: Table, config: Config, n_folds: int, repeat: int = 0) -> Splitter:
    """Divide a table's rows into folds: stratified by class, or in time where the table has times.

    The folds depend on the rows' values and the seed alone, and a row of weight 2 counts like two rows.

    Args:
        table: the rows.
        config: its `seed`, `validation_fraction` and `test_fraction` are used.
        n_folds: number of folds; fewer where there are not so many different rows. 1 is a single split.
        repeat: each repeat divides the rows differently; in time there is only one way.

    Raises:
        TableError: there are too few different rows, groups or times.
    """
    if table.time is not None:
        return _time_folds(table, config, n_folds, table.time)
    seed = (config.seed + repeat * SEED_STEP) % 2**63
    if n_folds == 1:
        split = train_validation_test_split(table, replace(config, seed=seed))
        labels = _labels_of_blocks(row_hashes(table, seed), table.group_ids)
        return SingleSplit(split, np.unique(labels, return_inverse=True)[1] % IDS_OF_A_SINGLE_SPLIT)
    return _stratified_folds(table, config, n_folds, seed)


def train_validation_test_split(table: Table, config: Config) -> Split:
    """Split rows into train, validation and test rows: stratified by class, rows that belong together on one side.

    Row numbers come in an order that the same rows have in any file.

    Args:
        table: the rows.
        config: its `seed`, `validation_fraction` and `test_fraction` are used.

    Raises:
        TableError: there are too few different rows.
    """
    order, block = _ordered_blocks(table, config.seed)
    weight, classes = _weights_and_classes(table, order, block)
    side = np.full(len(weight), TRAIN)
    side_of_second = TEST
    for code in np.unique(classes):
        of_class = np.flatnonzero(classes == code)
        if len(of_class) >= 3:
            side[of_class] = _sides_of_class(weight[of_class], config)
        elif len(of_class) == 2:  # one trains; what the other does alternates from one such class to the next
            side[of_class[1]] = side_of_second
            side_of_second = VALIDATION if side_of_second == TEST else TEST
    train, validation, test = (order[side[block] == number] for number in (TRAIN, VALIDATION, TEST))
    if not len(validation) or not len(test):
        raise TableError(_too_few_message(len(weight)))
    return Split(train, validation, test)


TRAIN, VALIDATION, TEST = 0, 1, 2


def _sides_of_class(weight: FloatArray, config: Config) -> IntArray:
    """Return the side of each block of one class, in hash order, by their share of the class's weight.

    There are at least three blocks, and each side gets at least one.
    """
    n_blocks = len(weight)
    middle = (np.cumsum(weight) - weight / 2) / weight.sum()
    n_test = np.clip(np.searchsorted(middle, config.test_fraction), 1, n_blocks - 2)
    n_validation = np.searchsorted(middle, config.test_fraction + config.validation_fraction) - n_test
    n_validation = np.clip(n_validation, 1, n_blocks - n_test - 1)
    return np.repeat([TEST, VALIDATION, TRAIN], [n_test, n_validation, n_blocks - n_test - n_validation])


def _stratified_folds(table: Table, config: Config, n_folds: int, seed: int) -> StratifiedFolds:
    order, block = _ordered_blocks(table, seed)
    weight, classes = _weights_and_classes(table, order, block)
    in_turn = np.lexsort((-weight, classes))
    in_turn = in_turn[np.bincount(classes)[classes[in_turn]] > 1]  # a class's only block always trains
    n_folds = min(n_folds, len(in_turn))
    if n_folds < 3:
        raise TableError(_too_few_message(len(weight)))
    # Class by class, the heaviest first, as many blocks at a time as there are folds: each fold gets as much of every
    # class as any other, to within a block. Which of these goes where is up to their hashes, so repeats differ.
    ordered_classes = classes[in_turn]
    place_in_class = np.arange(len(in_turn)) - np.searchsorted(ordered_classes, ordered_classes)
    in_turn = in_turn[np.lexsort((in_turn, place_in_class // n_folds, ordered_classes))]
    depth, turn = np.divmod(np.arange(len(in_turn)), n_folds)
    fold = np.full(len(weight), -1, dtype=np.int16)
    fold[in_turn] = turn
    share = min(1.0, config.validation_fraction * n_folds)
    may_validate = np.zeros(len(weight), dtype=bool)
    may_validate[in_turn] = np.ceil((depth + 1) * share) > np.ceil(depth * share)
    return StratifiedFolds(order, fold[block], may_validate[block], n_folds)


def _time_folds(table: Table, config: Config, n_folds: int, time: FloatArray) -> TimeFolds:
    """Return folds in time: one fold takes the later rows as the config says; several take the later half."""
    order, _ = _ordered_blocks(replace(table, group_ids=None), config.seed)
    if n_folds == 1:
        shares = 1 - config.test_fraction - np.array([config.validation_fraction, 0.0])
    else:
        shares = 0.5 + 0.5 * np.arange(n_folds + 1) / (n_folds + 1)
    by_time = np.lexsort((table.weight, time))
    earlier = np.cumsum(table.weight[by_time])  # the weight of these rows and of all before
    borders = np.unique(time[by_time[np.searchsorted(earlier, shares * earlier[-1], side="right")]])
    period = np.searchsorted(borders, time, side="right").astype(np.int16)
    period -= period.min()  # the first border may be the earliest time
    n_folds = int(period.max()) - 1
    if n_folds < 1:
        raise TableError(
            f"{len(np.unique(time)):,} different times are too few, or too unevenly filled, "
            "to train, validate and test one after another"
        )
    group_ids = None if table.group_ids is None else table.group_ids[order]
    return TimeFolds(order, period[order], group_ids, n_folds)


def _too_few_message(n_blocks: int) -> str:
    return (
        f"{n_blocks} different rows (or groups) are too few to train, validate and test on separate ones: "
        "at least one class needs three different rows, or two classes need two"
    )


def _in_table_order(values: NDArray[np.int16], order: IntArray) -> IntArray:
    in_order = np.empty(len(order), dtype=np.int64)
    in_order[order] = values
    return in_order


# -- blocks: rows that stay together, as they are equal or of one group ----------------------------------------------


def row_hashes(table: Table, seed: int) -> NDArray[np.uint64]:
    """Return a 64-bit hash of every row's inputs, shape `(n_rows,)`: rows with equal inputs have equal hashes."""
    return hash_inputs(table.numbers, table.codes, seed)


def _ordered_blocks(table: Table, seed: int) -> tuple[IntArray, IntArray]:
    """Return the rows ordered by block, hash, class and weight, and for each of them the number of its block.

    A block's place is the least hash in it: the same for the same rows in any file.
    """
    hashes = row_hashes(table, seed)
    labels = _labels_of_blocks(hashes, table.group_ids)
    order = np.lexsort((table.weight, table.y, hashes, labels))
    ordered = labels[order]
    starts = np.concatenate([[False], ordered[1:] != ordered[:-1]])
    return order, np.cumsum(starts)


def _labels_of_blocks(hashes: NDArray[np.uint64], group_ids: IntArray | None) -> NDArray[np.uint64]:
    """Return for each row the least hash among the rows of its block, however indirectly they are connected."""
    if group_ids is None:
        return hashes
    block = connected_groups(np.unique(hashes, return_inverse=True)[1], group_ids)
    least = np.full(block.max() + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(least, block, hashes)
    return least[block]


def _weights_and_classes(table: Table, order: IntArray, block: IntArray) -> tuple[FloatArray, IntArray]:
    """Return the weight of each block, and its class of the greatest weight; of equally heavy ones the first."""
    y, weight = table.y[order], table.weight[order]
    block_weight: FloatArray = np.bincount(block, weights=weight).astype(np.float64)
    by_class = np.lexsort((y, block))  # rows of one group have classes in any order
    block, y, weight = block[by_class], y[by_class], weight[by_class]
    starts = np.flatnonzero(np.concatenate([[True], (block[1:] != block[:-1]) | (y[1:] != y[:-1])]))
    run_weight = np.add.reduceat(weight, starts)
    best_last = np.lexsort((-y[starts], run_weight, block[starts]))
    last_of_block = np.append(block[starts][best_last][1:] != block[starts][best_last][:-1], True)
    return block_weight, y[starts][best_last[last_of_block]]


def merge_duplicates(table: Table, rows: IntArray) -> tuple[IntArray, FloatArray]:
    """Return `rows` without repetitions, and the weight of each with that of its repetitions added.

    In full batches this makes a weight of 2 and two equal rows the same to the bit: the gradient is the same but for
    rounding, and a merged row has one dropout mask. It is not the same under batch normalisation, whose statistics
    count rows and not weights.

    Args:
        table: the rows.
        rows: row numbers, `(n,)`, equal rows side by side as splits give them.
    """
    first = _differs_from_last(table, rows)
    first[1:] |= table.y[rows[1:]] != table.y[rows[:-1]]
    return rows[first], np.add.reduceat(table.weight[rows], np.flatnonzero(first))


def starts_of_blocks(table: Table, rows: IntArray) -> BoolArray:
    """Return whether each row does not belong to the one before it: it has other inputs and is of another group.

    Args:
        table: the rows.
        rows: row numbers, `(n,)`, rows that belong together side by side as splits give them.
    """
    starts = _differs_from_last(table, rows)
    if table.group_ids is not None:
        starts[1:] &= table.group_ids[rows[1:]] != table.group_ids[rows[:-1]]
    return starts


def _differs_from_last(table: Table, rows: IntArray) -> BoolArray:
    """Return whether the inputs of each row are not those of the one before it; missing cells are equal."""
    differs = np.ones(len(rows), dtype=bool)
    for part in row_slices(len(rows) - 1):
        own = rows[part.start : part.stop + 1]
        numbers, codes = table.numbers[own], table.codes[own]
        same = (numbers[1:] == numbers[:-1]) | (np.isnan(numbers[1:]) & np.isnan(numbers[:-1]))
        differs[1:][part] = ~same.all(axis=1) | (codes[1:] != codes[:-1]).any(axis=1)
    return differs


# -- groups: rows that intervals must not take for independent ones ---------------------------------------------------


def dependent_groups(table: Table) -> IntArray | None:
    """Return the group of each row, `(n_rows,)`: rows of one group or key, and copies of a row; None where none are.

    Rows that are equal in all inputs and in class are copies if some column has a value of its own for most of the
    different rows, as a measurement has. In a table of levels and small whole numbers alone equal rows are expected by
    chance, and are other cases.
    """
    keys = row_hashes(table, 0) ^ (table.y.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    _, first, copies = np.unique(keys, return_index=True, return_inverse=True)
    if len(first) == len(keys) or not _has_measurements(table.numbers[first]):
        return table.group_ids
    return copies if table.group_ids is None else connected_groups(copies, table.group_ids)


def _has_measurements(X: FloatArray) -> bool:
    """Return whether a column has a value of its own for most of these rows."""
    return any(len(np.unique(column)) > MEASURED_SHARE * len(X) for column in X.T)

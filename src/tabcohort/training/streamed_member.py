"""What one member is trained on where the table is in a store: statistics from sums, and rows part by part."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.bins import fit_bins
from tabcohort.data.disk_rows import DiskRows
from tabcohort.data.encoder import Encoding, InnerFolds, Statistics, statistics_of_sums, weighted_quantile
from tabcohort.data.scaling import fit_scaling
from tabcohort.data.splits import Split
from tabcohort.data.streamed_splits import StreamedSplit
from tabcohort.data.table import Table
from tabcohort.data.totals import row_sums, standardization
from tabcohort.engines.batches import batch_size_of
from tabcohort.engines.reading import Reading
from tabcohort.engines.streamed_data import StreamedData
from tabcohort.engines.validation import ValidationSet
from tabcohort.engines.windows import WindowPlan, n_windows_of
from tabcohort.errors import SettingsError
from tabcohort.randomness import Purpose, make_rng
from tabcohort.settings import Config
from tabcohort.types import FloatArray, IntArray

SHARE_FOR_TREES = 1 / 8  # of the memory
BYTES_PER_TREE_CELL = 24  # scikit-learn's copies of a cell in 64 bits, and its bin


def fit_on_disk_rows(
    disk: DiskRows, split: StreamedSplit, encoding: Encoding | None, n_bins: Sequence[int], scaling: str
) -> tuple[Statistics, InnerFolds | None]:
    """Return the statistics of the training rows, and target statistics for these rows themselves.

    Means, deviations, and the counts of levels by class are exact: sums over the table less those over the rows that do
    not train. Medians and other quantiles are those of a uniform sample of up to 200,000 training rows; in 95 of 100
    cases the share of rows below is then right to 0.22 percentage points, or better.

    Args:
        disk: the rows.
        split: which of them train.
        encoding, n_bins, scaling: as for `tabcohort.training.member.fit_on_training_rows`.
    """
    totals, inner = disk.totals_without(split.excluded), None
    trains = ~np.isin(disk.sample, split.excluded, assume_unique=True)
    numbers, weight = disk.sampled.numbers[trains], disk.sampled.weight[trains]
    if encoding is None:
        statistics = standardization(totals, disk.totals)
    else:
        missing = np.flatnonzero(totals.known < totals.weight)
        fill = {int(place): weighted_quantile(numbers[:, place], weight, 0.5) for place in missing}
        fold = None
        if not all(category.one_hot for category in encoding.categories):
            fold = np.array(disk.fold)
            fold[split.excluded] = 0
        statistics, inner = statistics_of_sums(encoding, row_sums(totals, disk.totals, encoding, fill), fold)
    rows = np.arange(len(numbers))
    statistics = fit_scaling(numbers, statistics, scaling, rows, weight)
    if n_bins:
        statistics = fit_bins(numbers, statistics, n_bins, rows, weight)
    disk.release()
    return statistics, inner


def streamed_data(
    table: Table,
    split: StreamedSplit,
    config: Config,
    reading: Reading,
    has_batch_norm: bool,
    member: int,
    factor: FloatArray,
) -> StreamedData:
    """Return what a member's engine sees of a table in a store.

    Args:
        table: the rows.
        split, config, reading, has_batch_norm, member: as for `tabcohort.training.member.member_data`.
        factor: what `class_weights` puts on the rows of each class, `(n_classes,)`.

    Raises:
        SettingsError: a step is to take all rows.
    """
    disk = table.disk
    assert disk is not None
    n_windows = n_windows_of(split.n_train)
    n_rows = split.n_train // n_windows
    batch_size = batch_size_of(config, split.n_train)
    if batch_size is None and n_windows > 1:
        raise SettingsError(
            "batch_size 'full' needs all rows in memory, and the table is in a store; set a number of rows"
        )
    classes = disk.classes_without(split.excluded)
    mean_weight = float(classes @ factor) / split.n_train
    batches = WindowPlan(
        n_rows, min(batch_size or n_rows, n_rows), config.mixup_alpha, config.mixup_probability, has_batch_norm,
        config.seed, member, n_train=split.n_train,
    )  # fmt: skip
    y = disk.blocks.take("y", split.validation)
    validation = ValidationSet(
        split.validation, y, disk.weight(split.validation) * factor[y], table.schema.positive
    )  # fmt: skip
    targets_of = functools.partial(_targets, disk, factor / mean_weight, config.label_smoothing)
    nothing = np.empty(0, dtype=np.int64)
    return StreamedData(
        reading, nothing, np.empty((0, len(factor)), np.float32), batches, validation, disk, split.n_train,
        split.train_rows, targets_of,
    )  # fmt: skip


def _targets(disk: DiskRows, factor: FloatArray, label_smoothing: float, rows: IntArray) -> NDArray[np.float32]:
    """Return soft targets of rows; the weights of all training rows have mean 1."""
    y = disk.blocks.take("y", rows)
    return smoothed_targets(y, disk.weight(rows) * factor[y], len(factor), label_smoothing)


def smoothed_targets(y: IntArray, weight: FloatArray, n_classes: int, label_smoothing: float) -> NDArray[np.float32]:
    """Return each row's weight on its class, or spread by label smoothing, `(n_rows, n_classes)`.

    Args:
        y: class codes, `(n_rows,)`.
        weight: of each row, `(n_rows,)`.
        n_classes: number of classes.
        label_smoothing: the share that is spread over all classes.
    """
    targets = np.repeat(weight[:, None] * label_smoothing / n_classes, n_classes, axis=1)
    targets[np.arange(len(y)), y] += weight * (1 - label_smoothing)
    return targets.astype(np.float32)


def max_rows_for_trees(memory: int, n_inputs: int) -> int:
    """Return how many rows of so many inputs trees are grown on at most, given the bytes that a training may take."""
    return int(SHARE_FOR_TREES * memory / (BYTES_PER_TREE_CELL * n_inputs))


def rows_for_trees(table: Table, split: Split, seed: int, member: int) -> tuple[Table, Split]:
    """Return what trees are grown on, which is in memory: of a table in a store, a sample of its training rows.

    scikit-learn needs all rows at once, in 64 bits. The sample is uniform, and as large as an eighth of the memory that
    a training may take holds.

    Args:
        table: the rows.
        split: which of them train and validate.
        seed, member: of the sample.
    """
    disk = table.disk
    if disk is None or not isinstance(split, StreamedSplit):
        return table, split
    n_rows = min(split.n_train, max_rows_for_trees(disk.memory, table.n_inputs))
    rng = make_rng(seed, Purpose.SAMPLE, member)
    train = split.train_rows(np.sort(rng.choice(split.n_train, n_rows, replace=False)))
    rows = np.concatenate([train, split.validation])
    part = table.take(np.sort(rows))
    places = np.searchsorted(np.sort(rows), rows)
    return part, Split(places[:n_rows], places[n_rows:], places[:0])

"""What one member is trained on: the rows as its engine sees them, their weights, and which engine that is."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version

import numba
import numpy as np
from numpy.typing import NDArray

from tabcohort.data.bins import fit_bins
from tabcohort.data.encoder import (
    Encoding,
    InnerFolds,
    Statistics,
    StoredRows,
    TrainingRows,
    fit_encoding,
    fit_statistics,
    plain_encoding,
    store_rows,
)
from tabcohort.data.scaling import fit_scaling
from tabcohort.data.splits import Split, merge_duplicates, starts_of_blocks
from tabcohort.data.streamed_splits import StreamedSplit
from tabcohort.data.table import Table
from tabcohort.engines.batches import BatchPlan, batch_size_of
from tabcohort.engines.compiled.blas import one_blas_thread
from tabcohort.engines.protocol import Engine, MemberData
from tabcohort.engines.ranks import launched
from tabcohort.engines.reading import Reading, make_reading
from tabcohort.engines.validation import ValidationSet
from tabcohort.errors import EngineError, SettingsError, listed
from tabcohort.network.program import Network, Program, initialize_network
from tabcohort.settings import Config
from tabcohort.training.streamed_member import fit_on_disk_rows, smoothed_targets, streamed_data
from tabcohort.types import FloatArray, IntArray

# An accelerator takes about five microseconds to launch each of a step's hundred or so operations, and in that time one
# core does the products of small networks. Estimated, not measured: no accelerator was available.
MIN_PRODUCTS_FOR_ACCELERATOR = 2e8


def fit_on_training_rows(
    table: Table,
    split: Split,
    encoding: Encoding | None = None,
    n_bins: Sequence[int] = (),
    scaling: str = "standard",
) -> tuple[Statistics, InnerFolds | None]:
    """Return the statistics of the training rows, and target statistics for these rows themselves.

    Args:
        table: the rows.
        split: which of them train.
        encoding: how inputs become columns; None for numbers that are only standardized.
        n_bins: bins of each number; none where it is empty.
        scaling: of the numbers; see `tabcohort.settings.Config`.
    """
    if table.disk is not None and isinstance(split, StreamedSplit):
        return fit_on_disk_rows(table.disk, split, encoding, n_bins, scaling)
    if encoding is None:
        rows, row_weight = merge_duplicates(table, split.train)
        statistics, inner = fit_statistics(table.numbers, row_weight, rows), None
    else:
        starts_block = starts_of_blocks(table, split.train)
        training = TrainingRows(
            split.train, table.weight[split.train], table.y[split.train], len(table.schema.classes), starts_block
        )
        statistics, inner = fit_encoding(table.numbers, table.codes, encoding, training)
    weight = table.weight[split.train]
    statistics = fit_scaling(table.numbers, statistics, scaling, split.train, weight)
    if n_bins:
        statistics = fit_bins(table.numbers, statistics, n_bins, split.train, weight)
    return statistics, inner


def plain_reading(table: Table, statistics: Statistics | None) -> Reading:
    """Return how an engine reads a table of numbers alone.

    Args:
        table: the rows; every input is a number.
        statistics: of the training rows, by which the numbers are standardized; None leaves them as they are.
    """
    return make_reading(store_rows(table.numbers, statistics), plain_encoding(table.n_inputs), statistics)


def member_data(
    table: Table,
    split: Split,
    config: Config,
    reading: Reading,
    has_batch_norm: bool,
    member: int = 0,
) -> MemberData:
    """Return what a member's engine sees of a table.

    Args:
        table: the rows.
        split: which of them train and validate.
        config: batches, mixup, class weights and label smoothing are used.
        reading: how the engine reads the rows.
        has_batch_norm: whether a step of a single row is impossible.
        member: its number, which with the seed selects its random streams.

    Raises:
        TabcohortError: table and config do not fit.
    """
    factor = class_weights(table, split, config)
    if isinstance(split, StreamedSplit):
        return streamed_data(table, split, config, reading, has_batch_norm, member, factor)
    rows, weight, batch_size = _training_rows(table, split, config, has_batch_norm)
    targets = soft_targets(table.y[rows], weight * factor[table.y[rows]], len(table.schema.classes), config)
    validation = validation_set(table, split, factor)
    batches = BatchPlan(
        len(rows), batch_size, config.mixup_alpha, config.mixup_probability, has_batch_norm, config.seed, member
    )
    return MemberData(reading, rows, targets, batches, validation)


def prepare_member(
    table: Table, split: Split, config: Config, program: Program, stored: StoredRows, member: int = 0
) -> tuple[Network, MemberData]:
    """Return a member's network before training, with the statistics of its rows, and what its engine sees of them.

    Args:
        table: the rows.
        split: which of them train and validate.
        config: of the member.
        program: of its network.
        stored: the rows as all members share them.
        member: its number, which with the seed selects its random streams.
    """
    encoding = program.operations[0].encoding
    statistics, inner = fit_on_training_rows(table, split, encoding, table.bins(config), config.scaling)
    network = initialize_network(program, config.seed, member, config.weight_init).with_statistics(statistics)
    reading = make_reading(stored, network.encoding, statistics, inner)
    return network, member_data(table, split, config, reading, program.has_batch_norm, member)


def validation_set(table: Table, split: Split, factor: FloatArray) -> ValidationSet:
    """Return the rows that validate a member, equal ones as one.

    Args:
        table: the rows.
        split: which of them validate.
        factor: what `class_weights` puts on the rows of each class, `(n_classes,)`.
    """
    rows, weight = merge_duplicates(table, split.validation)
    y = table.y[rows]
    return ValidationSet(rows, y, weight * factor[y], table.schema.positive)


def _training_rows(
    table: Table, split: Split, config: Config, has_batch_norm: bool
) -> tuple[IntArray, FloatArray, int]:
    """Return the rows that train, the weight of each, and the rows per step."""
    rows, weight = split.train, table.weight[split.train]
    distinct_rows, distinct_weight = merge_duplicates(table, split.train)
    batch_size = batch_size_of(config, len(distinct_rows))
    if batch_size is not None:
        return rows, weight, min(batch_size, len(rows))
    if has_batch_norm:  # its statistics count rows, whatever their weight
        return rows, weight, len(rows)
    return distinct_rows, distinct_weight, len(distinct_rows)


def class_weights(table: Table, split: Split, config: Config) -> FloatArray:
    """Return the factor that `config.class_weight` puts on the rows of each class, `(n_classes,)`.

    Raises:
        SettingsError: a weight is given for a class that the table does not have.
    """
    n_classes = len(table.schema.classes)
    if config.class_weight is None:
        return np.ones(n_classes)
    if isinstance(config.class_weight, Mapping):
        given = {str(label): weight for label, weight in config.class_weight.items()}
        known = [str(label) for label in table.schema.classes]
        for label in given:
            if label not in known:
                raise SettingsError(f"class_weight has the class {label!r}; the target has {listed(known, 10)}")
        return np.array([given.get(label, 1.0) for label in known])
    if table.disk is not None and isinstance(split, StreamedSplit):
        totals = table.disk.classes_without(split.excluded)
    else:
        totals = np.bincount(table.y[split.train], table.weight[split.train], n_classes).astype(np.float64)
    return np.divide(totals.sum(), n_classes * totals, out=np.ones(n_classes), where=totals > 0)


def soft_targets(y: IntArray, weight: FloatArray, n_classes: int, config: Config) -> NDArray[np.float32]:
    """Return each row's weight on its class, or spread by label smoothing, `(n_rows, n_classes)`, mean row sum 1."""
    return smoothed_targets(y, weight / weight.mean(), n_classes, config.label_smoothing)


def choose_engine(config: Config, program: Program, n_train: int) -> str:
    """Return "compiled", "torch" or "batched": the config's engine, or for "auto" the faster one for a single network.

    On a CPU that is the compiled engine. PyTorch is faster from widths of about a thousand on, by a quarter, when it
    has two cores for one member (`benchmarks/scaling.md`); members side by side use both cores anyway.

    Args:
        config: `engine`, `device` and `batch_size` are used.
        program: the network.
        n_train: number of training rows.

    Raises:
        EngineError: the compiled engine is asked for on another device than the CPU, or in several processes.
    """
    if launched()[1] > 1:
        return choose_engine_of_processes(config)
    if config.precision != "float32" and config.engine != "batched":
        raise EngineError(f"the precision {config.precision!r} needs the engine 'batched'; it is {config.engine!r}")
    if config.engine == "compiled" and config.device not in ("auto", "cpu"):
        raise EngineError(f"the compiled engine runs on the CPU, not on {config.device}; leave out device")
    if config.engine != "auto":
        return config.engine
    if config.device != "auto":
        return "compiled" if config.device == "cpu" else "torch"
    rows_per_step = batch_size_of(config, n_train) or n_train
    if program.n_products * rows_per_step < MIN_PRODUCTS_FOR_ACCELERATOR:
        return "compiled"
    return "compiled" if _device("auto") == "cpu" else "torch"


def may_have_accelerator() -> bool:
    """Return whether a device of PyTorch other than the CPU is possible here, without the second that PyTorch takes."""
    is_there = any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd"))) or shutil.which("nvidia-smi") is not None
    return sys.platform == "darwin" or is_there


def choose_engine_of_processes(config: Config) -> str:
    """Return "torch", the engine that trains one network in several processes.

    Raises:
        EngineError: another one is asked for.
    """
    if config.engine not in ("auto", "torch"):
        raise EngineError(
            f"only the engine 'torch' trains a network in several processes, as torchrun starts them; the setting "
            f"'engine' is {config.engine!r}: leave it out, or start one process"
        )
    return "torch"


def with_available_devices(configs: Sequence[Config]) -> tuple[Config, ...]:
    """Return configs for this machine: those for an accelerator that it does not have are for the CPU.

    So the engine for them is that for the CPU, too. A config that asks for the compiled engine is left as it is.

    Warns:
        TabcohortWarning: a device is not available; once for all configs.
    """
    named = {config.device for config in configs if config.engine != "compiled"} - {"auto", "cpu"}
    missing = {name for name in sorted(named) if _device(name) == "cpu"}
    return tuple(
        replace(config, device="cpu") if config.device in missing and config.engine != "compiled" else config
        for config in configs
    )


def _device(name: str) -> str:
    """Return the device that PyTorch would use for this name."""
    from tabcohort.engines.torch_loop import choose_device  # takes a second to import

    return choose_device(name).type


@contextmanager
def releasing(engine: Engine) -> Iterator[Engine]:
    """Train with an engine, BLAS on one thread, and let it write its numbers back in the end."""
    with one_blas_thread():
        try:
            yield engine
        finally:
            engine.release()


def checkpoint_identity(table: Table, split: Split, config: Config, engine: str, network: str) -> str:
    """Return what must be equal for a checkpoint to be resumed from.

    Args:
        table, split, config: what is trained on, and how.
        engine: name of the engine.
        network: what else distinguishes the network.
    """
    parts = (split.excluded if isinstance(split, StreamedSplit) else split.train, split.validation, split.test)
    rows = hashlib.sha256(b"|".join(part.tobytes() for part in parts)).hexdigest()
    versions = f"tabcohort {version('tabcohort')} numpy {np.__version__} numba {numba.__version__}"
    return f"{network} {engine} {config} {table.fingerprint()} {rows} {versions}"

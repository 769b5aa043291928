"""One network's training on a table: which rows do what, what its engine sees of them, and the epochs."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray

from tabcohort import __version__
from tabcohort.data.encoder import Statistics, StoredRows, fit_statistics, store_rows
from tabcohort.data.splits import Roles, merge_equal_rows
from tabcohort.data.table import Table
from tabcohort.engines.batches import MemberPlan, rows_of_a_step
from tabcohort.engines.compiled.engine import one_blas_thread
from tabcohort.engines.protocol import Engine, MemberData
from tabcohort.errors import EngineError, SettingsError, TabcohortWarning
from tabcohort.network.program import Program
from tabcohort.settings import Settings
from tabcohort.training.checkpoint import Checkpointer
from tabcohort.training.loop import ENDINGS, Progress, StoppingRows, Watcher, fit_member
from tabcohort.types import FloatArray, IntArray

# An accelerator takes about five microseconds to begin each of a step's hundred or so operations, and in that time
# one core does the products of small networks. Reckoned, not measured: no accelerator was at hand.
PRODUCTS_WORTH_AN_ACCELERATOR = 2e8


def training_statistics(table: Table, roles: Roles) -> Statistics:
    """Return the statistics of the training rows, which the network's `standardize` takes."""
    rows, weight = merge_equal_rows(table.X, table.y, table.weight, roles.train)
    return fit_statistics(table.X, weight, rows)


def train_member(
    make_engine: Callable[[MemberData], Engine],
    table: Table,
    roles: Roles,
    settings: Settings,
    *,
    statistics: Statistics | None,
    has_batch_norm: bool,
    stored: StoredRows | None = None,
    member: int = 0,
    identity: str = "",
    watch: Watcher = lambda progress: None,
    checkpoint: str | Path | None = None,
    resume_from: Progress | None = None,
) -> tuple[Progress, Engine]:
    """Train one network, and return what happened and the engine, which has put its numbers back.

    Args:
        make_engine: puts the network into an engine with these data.
        table, roles: the rows, and which of them train and stop.
        settings: how to train.
        statistics: what standardises the rows; None where the network takes them as they are.
        has_batch_norm: whether a step of a single row is impossible.
        stored: the rows as members share them; stored for this one alone when left out.
        member: its number, the key of its draws beside the seed.
        identity: what must be equal for a checkpoint to be gone on from, beside table, roles and settings.
        watch: called after every epoch with the progress so far; a reason that it returns ends training.
        checkpoint: a file to write the training's position to as it goes, and to go on from when it is there.
        resume_from: where a watcher ended the training before; it is preferred to the checkpoint's file.

    Raises:
        TabcohortError: settings, table or checkpoint do not fit, or a loss stopped being finite.
    """
    plan, stopping, data = _prepare(
        table, roles, settings, stored or store_rows(table.X, statistics), statistics, has_batch_norm, member
    )
    with one_blas_thread():
        engine = make_engine(data)
        try:
            if checkpoint is None:
                progress = fit_member(engine, plan, stopping, settings, watch, resume_from)
            else:
                keeper = Checkpointer(checkpoint, engine, f"{identity} {_identity(table, settings, roles, engine)}")
                start = keeper.resume() if resume_from is None else keeper.go_on_from(resume_from)
                if start is not None and stored is None:  # a cohort says it once for all of its members
                    words = f"going on from epoch {len(start.history)} of the checkpoint {str(checkpoint)!r}"
                    warnings.warn(words, TabcohortWarning, stacklevel=3)
                progress = _fit_and_keep(keeper, engine, plan, stopping, settings, watch, start)
        finally:
            engine.release()
    return progress, engine


def _prepare(
    table: Table,
    roles: Roles,
    settings: Settings,
    stored: StoredRows,
    statistics: Statistics | None,
    has_batch_norm: bool,
    member: int,
) -> tuple[MemberPlan, StoppingRows, MemberData]:
    """Return what a member's epochs will see, the rows that stop it, and what its engine sees of the table."""
    different = merge_equal_rows(table.X, table.y, table.weight, roles.train)
    rows, weight, batch_size = _steps_of(table, roles, different, settings, has_batch_norm)
    factor = class_weights(table, roles, settings)
    mass = class_mass(table.y[rows], weight * factor[table.y[rows]], table, settings)
    stop, stop_weight = merge_equal_rows(table.X, table.y, table.weight, roles.stop)
    stopping = StoppingRows(table.y[stop], stop_weight * factor[table.y[stop]], table.schema.positive)
    plan = MemberPlan(
        n_rows=len(rows),
        batch_size=batch_size,
        mixup_alpha=settings.mixup_alpha,
        mixup_probability=settings.mixup_probability,
        needs_pairs=has_batch_norm,
        seed=settings.seed,
        member=member,
    )
    reading = stored.in_units_of_storage(statistics)
    centre, scale = reading.centre.astype(np.float32), reading.scale.astype(np.float32)
    return plan, stopping, MemberData(stored.stored, centre, scale, rows, stop, mass)


def _fit_and_keep(
    keeper: Checkpointer,
    engine: Engine,
    plan: MemberPlan,
    stopping: StoppingRows,
    settings: Settings,
    watch: Watcher,
    start: Progress | None,
) -> Progress:
    """Train one member from where it or its checkpoint left off, and write that as training goes and when it ends."""

    def keep_and_watch(progress: Progress) -> str | None:
        keeper.keep(progress)
        return watch(progress)

    progress = fit_member(engine, plan, stopping, settings, keep_and_watch, start, run_ahead=False)
    if progress.stop_reason not in ENDINGS:
        keeper.write()
    return progress


def choose_engine(settings: Settings, program: Program, n_train: int) -> str:
    """Return "compiled" or "torch": what the settings name, or for "auto" what is faster.

    On a CPU that is the compiled engine. PyTorch overtakes it at widths of about a thousand, by a quarter, when it has
    two cores for one member (`benchmarks/scaling.md`); members side by side use both cores anyway.

    Args:
        settings: `engine` and `device` are used, and `batch_size`.
        program: the network.
        n_train: how many rows train.

    Raises:
        EngineError: the compiled engine is asked for on another device than the CPU.
    """
    if settings.engine == "compiled" and settings.device not in ("auto", "cpu"):
        raise EngineError(f"the compiled engine runs on the CPU, not on {settings.device}; leave out device")
    if settings.engine != "auto":
        return settings.engine
    if settings.device != "auto":
        return "compiled" if settings.device == "cpu" else "torch"
    rows_a_step = rows_of_a_step(settings, n_train) or n_train
    if program.n_products * rows_a_step < PRODUCTS_WORTH_AN_ACCELERATOR:
        return "compiled"
    from tabcohort.engines.torch_loop import choose_device  # takes a second to import

    return "compiled" if choose_device("auto").type == "cpu" else "torch"


def _steps_of(
    table: Table, roles: Roles, different: tuple[IntArray, FloatArray], settings: Settings, has_batch_norm: bool
) -> tuple[IntArray, FloatArray, int]:
    """Return the rows that train, the weight of each, and how many of them make a step.

    Args:
        different: the training rows without repetitions, and the weight of each with that of its repetitions.
    """
    rows, weight = roles.train, table.weight[roles.train]
    batch_size = rows_of_a_step(settings, len(different[0]))
    if batch_size is not None:
        return rows, weight, min(batch_size, len(rows))
    if has_batch_norm:  # its statistics count rows, whatever they weigh
        return rows, weight, len(rows)
    return *different, len(different[0])


def _identity(table: Table, settings: Settings, roles: Roles, engine: Engine) -> str:
    rows = hashlib.sha256(b"|".join(each.tobytes() for each in (roles.train, roles.stop, roles.score))).hexdigest()
    versions = f"tabcohort {__version__} numpy {np.__version__} numba {numba.__version__}"
    return f"{engine.name} {settings} {table.fingerprint()} {rows} {versions}"


def class_weights(table: Table, roles: Roles, settings: Settings) -> FloatArray:
    """Return the factor that `settings.class_weight` puts on the rows of each class, `(n_classes,)`.

    Raises:
        SettingsError: a weight is given for a class that the table does not have.
    """
    n_classes = len(table.schema.classes)
    if settings.class_weight is None:
        return np.ones(n_classes)
    if isinstance(settings.class_weight, Mapping):
        given = {str(label): value for label, value in settings.class_weight.items()}
        known = [str(label) for label in table.schema.classes]
        for label in given:
            if label not in known:
                raise SettingsError(f"class_weight has the class {label!r}; the target has {', '.join(known[:10])}")
        return np.array([given.get(label, 1.0) for label in known])
    totals = np.bincount(table.y[roles.train], table.weight[roles.train], n_classes)
    return np.divide(totals.sum(), n_classes * totals, out=np.ones(n_classes), where=totals > 0)


def class_mass(y: NDArray[np.int64], weight: FloatArray, table: Table, settings: Settings) -> NDArray[np.float32]:
    """Return each row's weight, spread over the classes as its target says, `(n_rows, n_classes)`, mean row sum 1."""
    n_classes = len(table.schema.classes)
    weight = weight / weight.mean()
    mass = np.repeat(weight[:, None] * settings.label_smoothing / n_classes, n_classes, axis=1)
    mass[np.arange(len(y)), y] += weight * (1 - settings.label_smoothing)
    return mass.astype(np.float32)

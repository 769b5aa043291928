"""From a table to a trained model: roles, statistics, network, epochs, and the score on rows that nothing else saw.

A cohort of one member so far; folds, seeds and settings side by side come here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from numpy.typing import ArrayLike, NDArray

from tabcohort import __version__
from tabcohort.checkpoint import Checkpointer
from tabcohort.engines import Engine, MemberData
from tabcohort.engines.torch_loop import TorchEngine, choose_device, has_batch_norm
from tabcohort.errors import EngineError, SettingsError, TableError, TrainingError
from tabcohort.evaluate import Evaluation, evaluate
from tabcohort.models import Standardize, build_model, draw_weights
from tabcohort.plan import MemberPlan, Roles, merge_equal_rows, rows_of_a_step, split_roles
from tabcohort.predictor import Predictor, TrainingReport, as_double, module_logits
from tabcohort.prepare import FloatArray, IntArray, fit_statistics, standardise
from tabcohort.settings import Settings
from tabcohort.table import Table, make_table
from tabcohort.training import EpochRecord, Progress, StoppingRows, Watcher, fit_member


@dataclass(frozen=True)
class Trained:
    """A trained module and what happened in training.

    Args:
        module: the module that was given, trained in place, with the weights of the best epoch, in evaluation mode.
        history: one record per epoch.
        best_epoch: the epoch whose weights the module has.
        stop_reason: "patience", "max_epochs" or "interrupted".
        roles: which rows trained, stopped and scored.
        engine, device: what ran the epochs, and where.
    """

    module: nn.Module
    history: tuple[EpochRecord, ...]
    best_epoch: int
    stop_reason: str
    roles: Roles
    engine: str
    device: str


def fit(
    table: Table, settings: Settings, watch: Watcher = lambda progress: None, checkpoint: str | Path | None = None
) -> Predictor:
    """Train the network that the settings name on a table, and score it on rows that it never saw.

    Args:
        table: the rows; some train, some stop, some score (`settings.stop_fraction`, `settings.score_fraction`).
        settings: everything else.
        watch: called after every epoch with the progress so far.
        checkpoint: a file to write the training's position to as it goes, and to go on from when it is there.

    Raises:
        TabcohortError: the table, the settings or the checkpoint do not fit; the sentence says what to do.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(120, 3))
        >>> table = make_table(X, np.where(X[:, 0] > 0, "yes", "no"))
        >>> predictor = fit(table, Settings(model="logistic", max_epochs=50, learning_rate=0.05))
        >>> predictor.predict_row({"x0": 2.0, "x1": 0.0, "x2": 0.0}).label
        'yes'
    """
    _check_positive(table, settings)
    module = build_model(settings, table.X.shape[1], len(table.schema.classes))
    draw_weights(module, settings.seed)
    trained = train(module, table, settings, watch=watch, checkpoint=checkpoint)
    report = TrainingReport(
        trained.history,
        trained.best_epoch,
        trained.stop_reason,
        n_train=len(trained.roles.train),
        n_stop=len(trained.roles.stop),
        n_score=len(trained.roles.score),
        evaluation=score(module, table, trained.roles, settings.seed),
        engine=trained.engine,
        device=trained.device,
        fingerprint=table.fingerprint(),
    )
    return Predictor(module, table.schema, settings, report)


def train(
    module: nn.Module,
    data: Table | tuple[ArrayLike, ...],
    settings: Settings | None = None,
    *,
    roles: Roles | None = None,
    watch: Watcher = lambda progress: None,
    checkpoint: str | Path | None = None,
) -> Trained:
    """Train any module that maps `(n, n_features)` float tensors to logits, with the loop that everything here uses.

    The module keeps the weights that it comes with as its start. If it is an `nn.Sequential` that begins with
    `Standardize`, that layer is fitted on the training rows first. The settings `model`, `hidden`, `activation`,
    `dropout` and `batch_norm` are not used: the module is what it is.

    Args:
        module: gives logits `(n, n_classes)`, or `(n, 1)`, the logit of the second class, for two classes.
        data: a `Table`, or arrays `(X, y)` or `(X, y, sample_weight)`.
        settings: how to train.
        roles: which rows train, stop and score; a stratified split when left out.
        watch: called after every epoch with the progress so far.
        checkpoint: a file to write the training's position to as it goes, and to go on from when it is there.

    Raises:
        TableError: the data cannot be trained on.
        TrainingError: the module does not fit the data, no update is possible, or a loss stopped being finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(120, 3))
        >>> trained = train(nn.Linear(3, 1), (X, X[:, 0] > 0), Settings(max_epochs=20, learning_rate=0.05))
        >>> trained.history[-1].train_loss < trained.history[0].train_loss
        True
    """
    settings = settings or Settings()
    table = data if isinstance(data, Table) else _table_of_arrays(data)
    if roles is None:
        roles = split_roles(table.X, table.y, table.weight, settings, table.key)
    else:
        _check_roles(roles, table, data)
    different = merge_equal_rows(table.X, table.y, table.weight, roles.train)
    network, inputs_of = _prepared(module, table.X, *different)
    rows, weight, batch_size = _steps_of(network, table, roles, different, settings)
    factor = class_weights(table, roles, settings)
    mass = class_mass(table.y[rows], weight * factor[table.y[rows]], table, settings)
    stop, stop_weight = merge_equal_rows(table.X, table.y, table.weight, roles.stop)
    stopping = StoppingRows(table.y[stop], stop_weight * factor[table.y[stop]], table.schema.positive)

    member = MemberData(inputs_of(table.X[rows]), mass, inputs_of(table.X[stop]))
    engine = make_engine(network, member, settings)
    try:
        plan = MemberPlan(
            n_rows=len(rows),
            batch_size=batch_size,
            mixup_alpha=settings.mixup_alpha,
            mixup_probability=settings.mixup_probability,
            needs_pairs=engine.has_batch_norm,
            seed=settings.seed,
        )
        keeper = Checkpointer(checkpoint, engine, _identity(module, table, settings, roles)) if checkpoint else None

        def after_epoch(progress: Progress) -> None:
            if keeper:
                keeper.keep(progress)
            watch(progress)

        progress = fit_member(engine, plan, stopping, settings, after_epoch, keeper.resume() if keeper else None)
        if keeper and progress.stop_reason == "interrupted":
            keeper.write()
    finally:
        engine.release()
        module.eval()  # the engine had no more than the layers after `Standardize`
    reason = str(progress.stop_reason)
    return Trained(module, progress.history, progress.best_epoch, reason, roles, engine.name, engine.device_name)


def make_engine(network: nn.Module, member: MemberData, settings: Settings) -> Engine:
    """Return the engine that the settings name; "auto" is PyTorch so far.

    Raises:
        EngineError: the compiled engine is asked for on another device than the CPU, or for a layer that it does not
            know; the sentence names it.
    """
    if settings.engine == "compiled":
        if settings.device not in ("auto", "cpu"):
            raise EngineError(f"the compiled engine runs on the CPU, not on {settings.device}; leave out device")
        from tabcohort.engines.compiled import CompiledEngine  # Numba takes half a second to import

        return CompiledEngine(network, member, settings)
    return TorchEngine(network, member, settings, choose_device(settings.device))


def _steps_of(
    network: nn.Module, table: Table, roles: Roles, different: tuple[IntArray, FloatArray], settings: Settings
) -> tuple[IntArray, FloatArray, int]:
    """Return the rows that train, the weight of each, and how many of them make a step.

    Args:
        different: the training rows without repetitions, and the weight of each with that of its repetitions.
    """
    rows, weight = roles.train, table.weight[roles.train]
    batch_size = rows_of_a_step(settings, len(different[0]))
    if batch_size is not None:
        return rows, weight, min(batch_size, len(rows))
    if has_batch_norm(network):  # its statistics count rows, whatever they weigh
        return rows, weight, len(rows)
    return *different, len(different[0])


def _check_roles(roles: Roles, table: Table, data: Table | tuple[ArrayLike, ...]) -> None:
    """Raise `TrainingError` if the roles name rows that the table does not have, or has under other numbers."""
    if isinstance(data, tuple) and len(table.y) < len(np.asarray(data[1])):
        raise TrainingError("rows of weight 0 are left out, so roles would name other rows; leave them out first")
    last = max(rows.max(initial=-1) for rows in (roles.train, roles.stop, roles.score))
    if last >= len(table.y):
        raise TrainingError(f"the roles name row {last}, counted from 0, and the table has {len(table.y)} rows")


def _identity(module: nn.Module, table: Table, settings: Settings, roles: Roles) -> str:
    """Return what must be equal for a checkpoint to be gone on from."""
    rows = hashlib.sha256(b"|".join(each.tobytes() for each in (roles.train, roles.stop, roles.score))).hexdigest()
    shapes = [(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in module.state_dict().items()]
    versions = f"tabcohort {__version__} torch {torch.__version__} numpy {np.__version__}"
    return f"{settings} {table.fingerprint()} {rows} {module} {shapes} {versions}"


def _check_positive(table: Table, settings: Settings) -> None:
    """Raise `SettingsError` if the settings name another positive class than the table."""
    named = None if table.schema.positive is None else table.schema.classes[table.schema.positive]
    if settings.positive is not None and str(settings.positive) != str(named):
        raise SettingsError(
            f"the setting 'positive' is {settings.positive!r} and the table's positive class is {named!r}; "
            "name it where the table is made"
        )


def score(module: nn.Module, table: Table, roles: Roles, seed: int) -> Evaluation:
    """Measure a trained module on the scoring rows, once."""
    rows = roles.score
    logits = module_logits(as_double(module), table.X[rows])
    return evaluate(logits, table.y[rows], table.weight[rows], table.schema.positive, seed)


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


MakeInputs = Callable[[FloatArray], NDArray[np.float32]]


def _prepared(module: nn.Module, X: FloatArray, rows: IntArray, weight: FloatArray) -> tuple[nn.Module, MakeInputs]:
    """Fit a leading `Standardize` layer, and return what is left to train and the function that makes its inputs."""
    first, *others = module if type(module) is nn.Sequential and len(module) else (module,)
    if any(isinstance(layer, Standardize) for other in others or [first] for layer in other.modules()):
        raise TrainingError(
            "Standardize can be fitted only as the first layer of an nn.Sequential; write "
            "nn.Sequential(Standardize(n_features), module)"
        )
    if not isinstance(first, Standardize):
        return module, lambda rows: rows.astype(np.float32)
    n_features = X.shape[1]
    if first.centre.shape != (n_features,):
        raise TrainingError(f"Standardize is of {len(first.centre)} features; the table has {n_features}")
    statistics = fit_statistics(X[rows], weight)
    first.set_statistics(statistics)
    return nn.Sequential(*others), lambda rows: standardise(rows, statistics)


def _table_of_arrays(data: tuple[ArrayLike, ...]) -> Table:
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        raise TrainingError("the data must be a Table or arrays (X, y) or (X, y, sample_weight)")
    try:
        X = np.asarray(data[0], dtype=np.float64)
        weight = np.asarray(data[2], dtype=np.float64) if len(data) == 3 else None
    except (TypeError, ValueError) as error:
        raise TableError(f"the rows and their weights must be arrays of numbers: {error}") from None
    y = np.asarray(data[1])
    return make_table(X, y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y, weight=weight)

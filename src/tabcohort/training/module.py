"""Any PyTorch module, trained with the loop that everything here uses."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from numpy.typing import ArrayLike

from tabcohort.data.splits import Roles, split_roles
from tabcohort.data.table import Table, make_table
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.protocol import Engine, MemberData
from tabcohort.engines.torch_loop import TorchEngine, choose_device, forward, has_batch_norm, one_thread
from tabcohort.errors import EngineError, TabcohortWarning, TableError, TrainingError
from tabcohort.network.lower import lower, numbers_of, write_numbers
from tabcohort.network.models import Encode, Standardize, build_model
from tabcohort.network.program import Network
from tabcohort.settings import Settings
from tabcohort.training.loop import EpochRecord, Watcher
from tabcohort.training.member import choose_engine, train_member, training_statistics
from tabcohort.types import FloatArray


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
    encode, standardize, network = _parts(module)
    table = data if isinstance(data, Table) else _table_of_arrays(data, may_lack_cells=encode is not None)
    if roles is None:
        roles = split_roles(table.X, table.y, table.weight, settings, table.key)
    else:
        _check_roles(roles, table, data)
    if encode is not None:
        table = replace(table, X=encode(torch.from_numpy(table.X)).numpy())
    statistics = None
    if standardize is not None:
        statistics = training_statistics(table, roles)
        standardize.set_statistics(statistics)
    kind = _choose(network, table, roles, settings)

    def make_engine(data: MemberData) -> Engine:
        if kind == "compiled":
            return CompiledModuleEngine(network, data, settings)
        return TorchEngine(network, data, settings, choose_device(settings.device))

    shapes = [(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in module.state_dict().items()]
    try:
        progress, engine = train_member(
            make_engine,
            table,
            roles,
            settings,
            statistics=statistics,
            has_batch_norm=has_batch_norm(network),
            identity=f"{module} {shapes} torch {torch.__version__}",
            watch=watch,
            checkpoint=checkpoint,
        )
    finally:
        module.eval()  # the engine had no more than the layers after `Standardize`
    reason = str(progress.stop_reason)
    return Trained(module, progress.history, progress.best_epoch, reason, roles, engine.name, engine.device_name)


class TorchNetworkEngine(TorchEngine):
    """Trains a network as the PyTorch module that the settings name.

    Args:
        network: its numbers are read now and written back by `release`.
        data: the member's rows.
        settings: model, optimiser, decay, clipping and device are used.
    """

    def __init__(self, network: Network, data: MemberData, settings: Settings) -> None:
        self.network = network
        self.whole = build_model(settings, data.rows.shape[1], data.train_mass.shape[1])
        write_numbers(network, self.whole)
        super().__init__(_parts(self.whole)[2], data, settings, choose_device(settings.device))

    def release(self) -> None:
        """Write the module's numbers back into the network."""
        super().release()
        trained = numbers_of(self.whole, self.network.program)
        self.network.parameters[:], self.network.buffers[:] = trained.parameters, trained.buffers


class CompiledModuleEngine(CompiledEngine):
    """Trains a module, which keeps its own tensors, as a network.

    Args:
        module: its numbers are read now and written back by `release`.
        data: the member's rows.
        settings: optimiser, decay and clipping are used.

    Raises:
        EngineError: a layer cannot be lowered.
    """

    def __init__(self, module: nn.Module, data: MemberData, settings: Settings) -> None:
        self.module = module
        program = lower(module, data.rows.shape[1])
        super().__init__(numbers_of(module, program), data, settings)

    def release(self) -> None:
        """Write the numbers back into the module, and leave it in evaluation mode."""
        super().release()
        write_numbers(self.network, self.module)
        self.module.eval()


def _choose(network: nn.Module, table: Table, roles: Roles, settings: Settings) -> str:
    """Return which engine trains a module, "compiled" or "torch"; "auto" leaves layers to PyTorch that only it knows.

    Raises:
        EngineError: the compiled engine is asked for, and cannot run it.

    Warns:
        TabcohortWarning: a layer is left to PyTorch.
    """
    if settings.engine == "torch" or (settings.engine == "auto" and settings.device not in ("auto", "cpu")):
        return "torch"
    try:
        program = lower(network, table.X.shape[1])
    except EngineError as error:
        if settings.engine == "compiled":
            raise
        reason = str(error).split("; ")[0]
        warnings.warn(f"{reason}, so PyTorch trains it, more slowly", TabcohortWarning, stacklevel=3)
        return "torch"
    return choose_engine(settings, program, len(roles.train))


def _parts(module: nn.Module) -> tuple[Encode | None, Standardize | None, nn.Module]:
    """Return the `Encode` and `Standardize` that a module begins with, if it does, and the layers that learn.

    Raises:
        TrainingError: one of these is elsewhere, where it cannot be fitted.
    """
    layers = list(module) if type(module) is nn.Sequential else []
    encode, standardize = None, None
    if layers and isinstance(layers[0], Encode):
        encode = layers[0]
        layers = layers[1:]
    if layers and isinstance(layers[0], Standardize):
        standardize = layers[0]
        layers = layers[1:]
    learning = nn.Sequential(*layers) if encode or standardize else module
    for layer in learning.modules():
        if isinstance(layer, (Encode, Standardize)):
            raise TrainingError(
                "Standardize can be fitted only as the first layer of an nn.Sequential, or behind Encode there; write "
                "nn.Sequential(Standardize(n_features), module)"
            )
    if encode is not None and standardize is None:
        raise TrainingError(
            "Encode leaves missing cells to Standardize: nn.Sequential(encode, Standardize(encode.n_columns), ...)"
        )
    return encode, standardize, learning


def as_double(module: nn.Module) -> nn.Module:
    """Return a copy of a module for predicting: on the CPU, in float64, in evaluation mode."""
    return copy.deepcopy(module).to("cpu", torch.float64).eval()


def module_logits(module: nn.Module, X: FloatArray) -> FloatArray:
    """Return a float64 module's logits, `(n_rows, n_outputs)`."""
    if not len(X):  # batch normalisation cannot pass no rows
        return np.empty((0, forward(module, torch.zeros(1, X.shape[1], dtype=torch.float64)).shape[1]))
    with one_thread():
        return forward(module, torch.from_numpy(np.array(X, order="C"))).numpy()


def _check_roles(roles: Roles, table: Table, data: Table | tuple[ArrayLike, ...]) -> None:
    """Raise `TrainingError` if the roles name rows that the table does not have, or has under other numbers."""
    if isinstance(data, tuple) and len(table.y) < len(np.asarray(data[1])):
        raise TrainingError("rows of weight 0 are left out, so roles would name other rows; leave them out first")
    last = max(rows.max(initial=-1) for rows in (roles.train, roles.stop, roles.score))
    if last >= len(table.y):
        raise TrainingError(f"the roles name row {last}, counted from 0, and the table has {len(table.y)} rows")


def _table_of_arrays(data: tuple[ArrayLike, ...], may_lack_cells: bool) -> Table:
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        raise TrainingError("the data must be a Table or arrays (X, y) or (X, y, sample_weight)")
    try:
        X = np.asarray(data[0], dtype=np.float64)
        weight = np.asarray(data[2], dtype=np.float64) if len(data) == 3 else None
    except (TypeError, ValueError) as error:
        raise TableError(f"the rows and their weights must be arrays of numbers: {error}") from None
    y = np.asarray(data[1])
    labels = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    return make_table(X, labels, weight=weight, may_lack_cells=may_lack_cells)

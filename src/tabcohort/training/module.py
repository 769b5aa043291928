"""Training any PyTorch module with the loop that everything here uses."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from numpy.typing import ArrayLike

from tabcohort.data.encoder import Statistics
from tabcohort.data.splits import Split, train_validation_test_split
from tabcohort.data.table import Table
from tabcohort.engines.compiled.engine import CompiledEngine, check_kernels
from tabcohort.engines.process_group import ranks
from tabcohort.engines.protocol import Engine, MemberData
from tabcohort.engines.torch_loop import TorchEngine, choose_device, has_batch_norm, logits_in_eval_mode, one_thread
from tabcohort.errors import EngineError, TabcohortWarning, TableError, TrainingError, warn_caller
from tabcohort.network.lower import lower, network_of, write_numbers
from tabcohort.network.models import Encode, QuantileScale, RobustScale, Standardize, build_model
from tabcohort.network.program import Network
from tabcohort.settings import Config
from tabcohort.training.checkpoint import Checkpoint
from tabcohort.training.loop import EpochCallback, EpochRecord, TrainingState, train_network
from tabcohort.training.member import (
    checkpoint_identity,
    choose_engine,
    choose_engine_of_processes,
    fit_on_training_rows,
    member_data,
    plain_reading,
    releasing,
    with_available_devices,
)
from tabcohort.training.observer import TrainingObserver, describe_training, train_observed
from tabcohort.types import FloatArray


@dataclass(frozen=True)
class Trained:
    """A trained module and what happened in training.

    Args:
        module: the module that was given, trained in place, with the weights of the best epoch, in evaluation mode.
        history: one record per epoch.
        best_epoch: the epoch whose weights the module has.
        stop_reason: "patience", "max_epochs" or "interrupted".
        split: which rows trained, validated and tested.
        engine: what ran the epochs, "compiled" or "torch".
        device: where they ran.
    """

    module: nn.Module
    history: tuple[EpochRecord, ...]
    best_epoch: int
    stop_reason: str
    split: Split
    engine: str
    device: str


def train(
    module: nn.Module,
    data: Table | tuple[ArrayLike, ...],
    config: Config | None = None,
    *,
    split: Split | None = None,
    callback: EpochCallback = lambda state: None,
    checkpoint: str | Path | None = None,
    observer: TrainingObserver | None = None,
) -> Trained:
    """Train any module that maps `(n, n_features)` float tensors to logits, with the same loop as cohorts.

    Training starts from the module's own weights. If it is an `nn.Sequential` that begins with `Standardize`, that
    layer is fitted on the training rows first. `model`, `hidden`, `activation`, `dropout` and `batch_norm` of the
    config are not used: the module is what it is.

    Under `torchrun`, each process calls this function with the same data, computes its share of the rows of every step,
    and returns the same. Training starts from the weights of the first process, which alone calls `callback` and
    `observer` and writes the checkpoint.

    Args:
        module: returns logits `(n, n_classes)`, or for two classes `(n, 1)`, the logit of the second class.
        data: a `Table`, or arrays `(X, y)` or `(X, y, sample_weight)`.
        config: how to train.
        split: which rows train, validate and test; a stratified split when omitted.
        callback: called after every epoch with the training so far.
        checkpoint: a file to write the training to as it goes, and to resume from if it exists.
        observer: called after every epoch, with statistics of the weights and gradients of each layer.

    Raises:
        TableError: the data cannot be trained on.
        TrainingError: the module does not fit the data, no update is possible, a loss stopped being finite, or
            processes were given different modules, data or configs.
        EngineError: the compiled engine cannot run the module, or processes cannot be connected.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(120, 3))
        >>> trained = train(nn.Linear(3, 1), (X, X[:, 0] > 0), Config(max_epochs=20, learning_rate=0.05))
        >>> trained.history[-1].train_loss < trained.history[0].train_loss
        True
    """
    processes = ranks()
    if processes.rank > 0:
        callback, observer = _do_nothing, None
    callback = processes.agreed(callback)
    (config,) = with_available_devices([config or Config()])
    encode, standardize, network = _parts(module)
    table = data if isinstance(data, Table) else _table_of_arrays(data, allow_missing=encode is not None)
    if split is None:
        split = train_validation_test_split(table, config)
    else:
        _check_split(split, table, data)
    # A module takes every input for a number.
    table = table.with_numbers(table.X if encode is None else encode(torch.from_numpy(table.X)).numpy())
    statistics = None
    if standardize is not None:
        statistics = _fit_first_layers(standardize, network, table, split)
    engine_name = _choose(network, table, split, config)
    reading = plain_reading(table, statistics)
    member = member_data(table, split, config, reading, has_batch_norm(network))
    try:
        with releasing(_make_engine(engine_name, network, member, config)) as engine:
            run = partial(train_network, engine, member.validation, config)
            if checkpoint is not None:
                identity = checkpoint_identity(table, split, config, engine_name, _identity(module))
                run = partial(_train_from_checkpoint, Checkpoint(checkpoint, identity), engine, member, config)
            if observer is None:
                state = run(callback)
            else:
                description = describe_training(type(module).__name__, table.schema.target, len(table.y), config)
                state = train_observed(observer, description, engine, run, callback)
    finally:
        module.eval()  # the engine had only the layers after `Standardize`
    return Trained(
        module, state.history, state.best_epoch, str(state.stop_reason), split, engine.name, engine.device_name
    )  # fmt: skip


def _do_nothing(state: TrainingState) -> None:
    """Let training go on."""


def _fit_first_layers(standardize: Standardize, network: nn.Module, table: Table, split: Split) -> Statistics:
    """Fit `Standardize`, and the layer that scales numbers if it comes next; return the statistics."""
    layer = next(iter(network.children()), None)
    scaling = {RobustScale: "robust", QuantileScale: "quantile"}.get(type(layer), "standard")
    statistics, _ = fit_on_training_rows(table, split, scaling=scaling)
    standardize.set_statistics(statistics)
    if isinstance(layer, (RobustScale, QuantileScale)):  # of the first columns
        for name, buffer in layer.named_buffers():
            buffer.copy_(torch.from_numpy(getattr(statistics, name)[: len(buffer)]))
    return statistics


def _make_engine(name: str, network: nn.Module, data: MemberData, config: Config) -> Engine:
    if name == "compiled":
        return CompiledModuleEngine(network, data, config)
    return TorchEngine(network, data, config, choose_device(config.device))


def _train_from_checkpoint(
    checkpoint: Checkpoint, engine: Engine, data: MemberData, config: Config, callback: EpochCallback
) -> TrainingState:
    resume_from = checkpoint.load()
    if resume_from is not None and ranks().rank == 0:
        message = f"resuming from epoch {resume_from.n_epochs} of the checkpoint {str(checkpoint.path)!r}"
        warn_caller(message)
    return checkpoint.train(engine, data.validation, config, callback, resume_from)


def _identity(module: nn.Module) -> str:
    """Return what distinguishes a module from others, for a checkpoint."""
    shapes = [(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in module.state_dict().items()]
    return f"{module} {shapes} torch {torch.__version__}"


class TorchNetworkEngine(TorchEngine):
    """Trains a network as the PyTorch module of its config.

    Args:
        network: its numbers are read now and written back by `release`.
        data: the member's rows.
        config: model, optimizer, decay, clipping and device are used.
    """

    def __init__(self, network: Network, data: MemberData, config: Config) -> None:
        self.network = network
        program = network.program
        encoding = program.operations[0].encoding
        n_bins = program.n_bins
        self.whole = build_model(config, program.n_inputs, data.soft_targets.shape[1], encoding, n_bins)
        write_numbers(network, self.whole)
        super().__init__(_parts(self.whole)[2], data, config, choose_device(config.device))

    def release(self) -> None:
        """Write the module's numbers back into the network."""
        super().release()
        trained = network_of(self.whole, self.network.program)
        self.network.parameters[:], self.network.buffers[:] = trained.parameters, trained.buffers


class CompiledModuleEngine(CompiledEngine):
    """Trains a module, which keeps its own tensors, as a network.

    Args:
        module: its numbers are read now and written back by `release`.
        data: the member's rows.
        config: optimizer, decay and clipping are used.

    Raises:
        EngineError: a layer cannot be lowered.
    """

    def __init__(self, module: nn.Module, data: MemberData, config: Config) -> None:
        self.module = module
        program = lower(module, data.reading.n_columns)
        super().__init__(network_of(module, program), data, config)

    def release(self) -> None:
        """Write the numbers back into the module, and set it to evaluation mode."""
        super().release()
        write_numbers(self.network, self.module)
        self.module.eval()


def _choose(network: nn.Module, table: Table, split: Split, config: Config) -> str:
    """Return the engine that trains a module, "compiled" or "torch"; "auto" uses PyTorch for layers that only it knows.

    Raises:
        EngineError: the compiled engine is asked for, and cannot run the module.

    Warns:
        TabcohortWarning: PyTorch trains it because of a layer.
    """
    if config.engine == "batched":
        raise EngineError(
            "the engine 'batched' trains the members of a cohort together; one module has none: leave out engine"
        )
    if config.engine == "torch" or (config.engine == "auto" and config.device not in ("auto", "cpu")):
        return "torch"
    if ranks().size > 1:
        return choose_engine_of_processes(config)
    try:
        program = lower(network, table.n_inputs)
        check_kernels(program)
    except EngineError as error:
        if config.engine == "compiled":
            raise
        reason = str(error).split("; ")[0]
        warnings.warn(f"{reason}, so PyTorch trains it, more slowly", TabcohortWarning, stacklevel=3)
        return "torch"
    return choose_engine(config, program, len(split.train))


def _parts(module: nn.Module) -> tuple[Encode | None, Standardize | None, nn.Module]:
    """Return the `Encode` and `Standardize` that a module begins with, if any, and the layers that learn.

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
                "Standardize can be fitted only as the first layer of an nn.Sequential, or after Encode there; write "
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
    if not len(X):  # batch normalisation refuses zero rows
        return np.empty((0, logits_in_eval_mode(module, torch.zeros(1, X.shape[1], dtype=torch.float64)).shape[1]))
    with one_thread():
        return logits_in_eval_mode(module, torch.from_numpy(np.array(X, order="C"))).numpy()


def _check_split(split: Split, table: Table, data: Table | tuple[ArrayLike, ...]) -> None:
    """Raise `TrainingError` if the split has rows that the table does not have, or has under other numbers."""
    if isinstance(data, tuple) and len(table.y) < len(np.asarray(data[1])):
        raise TrainingError("rows of weight 0 are left out, so a split would mean other rows; leave them out first")
    last = max(rows.max(initial=-1) for rows in (split.train, split.validation, split.test))
    if last >= len(table.y):
        raise TrainingError(f"the split has row {last}, counted from 0, and the table has {len(table.y)} rows")


def _table_of_arrays(data: tuple[ArrayLike, ...], allow_missing: bool) -> Table:
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        raise TrainingError("the data must be a Table or arrays (X, y) or (X, y, sample_weight)")
    try:
        X = np.asarray(data[0], dtype=np.float64)
        weight = np.asarray(data[2], dtype=np.float64) if len(data) == 3 else None
    except (TypeError, ValueError) as error:
        raise TableError(f"the rows and their weights must be arrays of numbers: {error}") from None
    y = np.asarray(data[1])
    labels = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    table = Table.from_arrays(X, labels, weight=weight)
    if not allow_missing and np.isnan(table.numbers).any():
        raise TableError("the rows have missing cells (NaN), which a module takes only behind an Encode layer")
    return table

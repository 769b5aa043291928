"""What the experiments share: samples, trainings that show that they are alive, and figures of given rows."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn as nn
from numpy.typing import NDArray
from rich.console import Console

from tabcohort.data.sources import load_sample
from tabcohort.data.splits import Split
from tabcohort.data.table import Table
from tabcohort.engines.batches import BatchPlan, batch_size_of
from tabcohort.engines.protocol import MemberData
from tabcohort.engines.torch_loop import TorchEngine
from tabcohort.evaluation.metrics import Scorer, log_loss, log_probabilities
from tabcohort.network.models import build_model, initialize_weights
from tabcohort.settings import Config
from tabcohort.training.loop import EpochCallback, TrainingState, check_finite
from tabcohort.training.member import soft_targets
from tabcohort.training.module import Trained, as_double, module_logits, train
from tabcohort.types import FloatArray, IntArray

SECONDS_BETWEEN_LINES = 1.5


class Ticker:
    """Shows what is going on: a live line in a terminal, a new line every second and a half elsewhere."""

    def __init__(self, messages: Console) -> None:
        self.messages = messages
        self.began = time.perf_counter()
        self.shown = -math.inf  # the first line is shown at once
        self.status = messages.status("starting") if messages.is_terminal else None

    def __enter__(self) -> Ticker:
        if self.status:
            self.status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.status:
            self.status.stop()

    @property
    def seconds(self) -> float:
        """Seconds since the experiment began."""
        return time.perf_counter() - self.began

    def say(self, line: str) -> None:
        """Show a line if it is time to."""
        if self.status:
            self.status.update(line)
        elif time.perf_counter() - self.shown >= SECONDS_BETWEEN_LINES:
            self.shown = time.perf_counter()
            self.messages.print(line)

    def watch(self, label: str) -> EpochCallback:
        """Return a watcher that shows the epochs of one training."""

        def show(progress: TrainingState) -> None:
            last = progress.history[-1]
            self.say(f"{label}, epoch {last.epoch}: train loss {last.train_loss:.4f}, stop loss {last.val_loss:.4f}")

        return show


def sample_table(name: str) -> Table:
    """Return one of the bundled samples as a table, its positive class named."""
    sample = load_sample(name)
    return Table.from_frame(sample.frame, sample.target, positive=sample.positive)


def split_rows(rows: IntArray, y: IntArray, share: float, seed: int) -> tuple[IntArray, IntArray]:
    """Return `rows` in two parts, the second of the given share, stratified as the documents do it."""
    from sklearn.model_selection import train_test_split

    rest, part = train_test_split(rows, test_size=share, stratify=y[rows], random_state=seed)
    return rest, part


def starting_module(table: Table, config: Config) -> nn.Sequential:
    """Return the settings' network with its weights drawn."""
    module = build_model(settings, table.X.shape[1], len(table.schema.classes))
    initialize_weights(module, settings.seed)
    return module


def train_to_the_end(module: nn.Module, table: Table, config: Config, roles: Split, watch: EpochCallback) -> Trained:
    """Train on the CPU; Ctrl-C, which elsewhere keeps the best weights so far, ends the experiment."""
    trained = train(module, table, replace(settings, device="cpu"), split=roles, callback=watch)
    if trained.stop_reason == "interrupted":
        raise KeyboardInterrupt
    return trained


def metrics_of(module: nn.Module, table: Table, rows: IntArray) -> dict[str, float]:
    """Return every metric of a module, which does its own standardising, on some rows."""
    logits = module_logits(as_double(module), table.X[rows])
    return metrics_of_logits(logits, table.y[rows], table.schema.positive)


def metrics_of_logits(logits: FloatArray, y: IntArray, positive: int | None) -> dict[str, float]:
    """Return every metric of logits, `(n_rows, n_outputs)`, for rows that weigh the same."""
    return Scorer(log_probabilities(logits), y, positive).metrics(np.ones(len(y)))


@dataclass(frozen=True)
class EpochOnAllRows:
    """An epoch of `epochs_on_all_rows`: updates so far, running loss, and loss and accuracy of the rows after it."""

    epoch: int
    updates: int
    running_loss: float
    loss: float
    accuracy: float


def epochs_on_all_rows(
    network: nn.Module, inputs: NDArray[np.float32], table: Table, config: Config
) -> Iterator[EpochOnAllRows]:
    """Train on every row without end, as the documents' shortest loops do, and measure the same rows.

    Args:
        network: maps `inputs` to logits; trained in place.
        inputs: what the network sees of each row, `(n_rows, n_features)`.
        table: the rows' classes.
        settings: optimiser, rate and batch size are used.

    Raises:
        TrainingError: the loss stopped being finite.
    """
    mass = soft_targets(table.y, table.weight, table, settings)
    engine = TorchEngine(network, MemberData.of_inputs(inputs, mass, inputs), settings, torch.device("cpu"))
    n_rows = len(inputs)
    plan = BatchPlan(n_rows, batch_size_of(settings, n_rows) or n_rows, 0.0, 0.0, engine.has_batch_norm, settings.seed)
    for number in itertools.count(1):
        epoch = plan.epoch(number)
        outcome = engine.run_epoch(epoch, settings.learning_rate)
        check_finite(epoch, outcome)
        log_proba = log_probabilities(outcome.val_logits)
        accuracy = float((log_proba.argmax(axis=1) == table.y).mean())
        running_loss = float(outcome.step_losses.sum() / n_rows)
        loss = log_loss(log_proba, table.y, table.weight)
        yield EpochOnAllRows(number, number * epoch.n_steps, running_loss, loss, accuracy)

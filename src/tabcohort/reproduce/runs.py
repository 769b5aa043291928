"""What the experiments share: samples, trainings that show their progress, and metrics of given rows."""

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

from tabcohort.data.encoder import plain_encoding, store_rows
from tabcohort.data.sources import load_sample
from tabcohort.data.splits import Split
from tabcohort.data.table import Table
from tabcohort.engines.batches import BatchPlan, batch_size_of
from tabcohort.engines.protocol import MemberData
from tabcohort.engines.reading import make_reading
from tabcohort.engines.torch_loop import TorchEngine, has_batch_norm
from tabcohort.engines.validation import ValidationSet
from tabcohort.errors import TrainingError
from tabcohort.evaluation.metrics import Scorer, log_probabilities
from tabcohort.network.models import build_model, initialize_weights
from tabcohort.reproduce.side_by_side import left_text
from tabcohort.settings import Config
from tabcohort.training.loop import EpochCallback, TrainingState, not_finite_message
from tabcohort.training.member import soft_targets
from tabcohort.training.module import Trained, as_double, module_logits, train
from tabcohort.types import FloatArray, IntArray

SECONDS_BETWEEN_LINES = 1.5


class Ticker:
    """Shows progress: a live line in a terminal, a new line every second and a half elsewhere.

    Args:
        messages: where to show it.
        n_parts: number of parts of the experiment, from which the time left is estimated; 0 if it is not known.
    """

    def __init__(self, messages: Console, n_parts: int = 0) -> None:
        self.messages, self.n_parts, self.n_begun = messages, n_parts, 0
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

    def begin(self, part: str) -> None:
        """Count a part of the experiment, and show its name if it is time to."""
        self.n_begun += 1
        self.say(part)

    def say(self, line: str) -> None:
        """Show a line if it is time to, with the time left."""
        if 1 < self.n_begun <= self.n_parts:
            left = left_text(self.seconds, (self.n_begun - 1) / self.n_parts)
            line = f"{self.n_begun} of {self.n_parts} trainings, about {left} left: {line}"
        if self.status:
            self.status.update(line)
        elif time.perf_counter() - self.shown >= SECONDS_BETWEEN_LINES:
            self.shown = time.perf_counter()
            self.messages.print(line)

    def on_epoch(self, label: str) -> EpochCallback:
        """Count a training, and return a callback that shows its epochs."""
        self.begin(label)

        def show(state: TrainingState) -> None:
            last = state.history[-1]
            self.say(
                f"{label}, epoch {last.epoch}: train loss {last.train_loss:.4f}, validation loss {last.val_loss:.4f}"
            )

        return show


def sample_table(name: str) -> Table:
    """Return a bundled sample as a table, with its positive class."""
    sample = load_sample(name)
    return Table.from_frame(sample.frame, sample.target, positive=sample.positive)


def split_rows(rows: IntArray, y: IntArray, fraction: float, seed: int) -> tuple[IntArray, IntArray]:
    """Return `rows` in two parts, the second with this fraction of them, stratified as the documents do it.

    Args:
        rows: row numbers, `(n,)`.
        y: class codes of the whole table, `(n_rows,)`.
        fraction: of the rows that go to the second part.
        seed: of the split.
    """
    from sklearn.model_selection import train_test_split

    first, second = train_test_split(rows, test_size=fraction, stratify=y[rows], random_state=seed)
    return first, second


def starting_module(table: Table, config: Config) -> nn.Sequential:
    """Return a config's network with its initial weights."""
    module = build_model(config, table.n_inputs, len(table.schema.classes))
    initialize_weights(module, config.seed, weight_init=config.weight_init)
    return module


def train_to_the_end(module: nn.Module, table: Table, config: Config, split: Split, callback: EpochCallback) -> Trained:
    """Train on the CPU; Ctrl-C, which elsewhere keeps the best weights so far, ends the experiment."""
    trained = train(module, table, replace(config, device="cpu"), split=split, callback=callback)
    if trained.stop_reason == "interrupted":
        raise KeyboardInterrupt
    return trained


def metrics_of(module: nn.Module, table: Table, rows: IntArray) -> dict[str, float]:
    """Return every metric of a module, which standardizes its inputs itself, on some rows of a table."""
    logits = module_logits(as_double(module), table.inputs(rows))
    return metrics_of_logits(logits, table.y[rows], table.schema.positive)


def metrics_of_logits(logits: FloatArray, y: IntArray, positive: int | None) -> dict[str, float]:
    """Return every metric of logits, `(n_rows, n_outputs)`, for rows of equal weight."""
    return Scorer(log_probabilities(logits), y, positive).metrics(np.ones(len(y)))


@dataclass(frozen=True)
class EpochOnAllRows:
    """An epoch of `epochs_on_all_rows`.

    Args:
        epoch: counted from 1.
        updates: steps so far.
        running_loss: mean over the epoch's rows, as they were trained on.
        batch_losses: mean over the rows of each batch, as they were trained on.
        loss, accuracy: log loss and accuracy of all rows after the epoch.
    """

    epoch: int
    updates: int
    running_loss: float
    batch_losses: tuple[float, ...]
    loss: float
    accuracy: float


def epochs_on_all_rows(
    network: nn.Module, inputs: NDArray[np.float32], table: Table, config: Config
) -> Iterator[EpochOnAllRows]:
    """Train on every row without end, as the documents' shortest loops do, and measure on the same rows.

    Args:
        network: maps `inputs` to logits; trained in place.
        inputs: what the network sees of each row, `(n_rows, n_features)`.
        table: the rows' classes.
        config: optimizer, learning rate and batch size are used.

    Raises:
        TrainingError: the loss stopped being finite.
    """
    engine = TorchEngine(network, _data_of_all_rows(network, inputs, table, config), config, torch.device("cpu"))
    rates: list[float] = []
    for epoch in itertools.count(1):
        rates.append(config.learning_rate)
        result = engine.run_epoch(epoch, rates)
        if not result.is_finite:
            raise TrainingError(not_finite_message(result, epoch))
        n_steps = len(result.step_losses)
        starts = np.arange(0, len(inputs), batch_size_of(config, len(inputs)) or len(inputs))
        batch_rows = np.diff(np.append(starts, len(inputs)))
        batch_losses = tuple((result.step_losses / batch_rows).tolist())
        yield EpochOnAllRows(
            epoch, epoch * n_steps, result.train_loss, batch_losses, result.val_loss, result.val_accuracy
        )


def _data_of_all_rows(network: nn.Module, inputs: NDArray[np.float32], table: Table, config: Config) -> MemberData:
    """Return what an engine sees that trains on every row as it is, and validates on the same rows."""
    n_rows, rows = len(inputs), np.arange(len(inputs))
    batch_size = batch_size_of(config, n_rows) or n_rows
    return MemberData(
        make_reading(store_rows(inputs.astype(np.float64), None), plain_encoding(inputs.shape[1]), None),
        train=rows,
        soft_targets=soft_targets(table.y, table.weight, len(table.schema.classes), config),
        batches=BatchPlan(n_rows, batch_size, 0.0, 0.0, has_batch_norm(network), config.seed),
        validation=ValidationSet(rows, table.y, table.weight, table.schema.positive),
    )

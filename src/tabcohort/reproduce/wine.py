"""Wine with a small network: ten epochs as the document trains it, then standardized, then by batch size.

Source: the lesson on mini-batch training with the Wine data.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from tabcohort.data.encoder import fit_statistics, standardize
from tabcohort.data.splits import train_validation_test_split
from tabcohort.data.table import Table
from tabcohort.network.models import MLP
from tabcohort.reproduce.claims import FAILS, HOLDS, Claim, Compared, Measured, counted_claim, order_claim
from tabcohort.reproduce.findings import Cell, Findings, Mistake, Row, Sheet, spread
from tabcohort.reproduce.pictures import Bar, Bars, Curves, Picture, loss_curves, mean_curve
from tabcohort.reproduce.runs import (
    EpochOnAllRows,
    Ticker,
    epochs_on_all_rows,
    metrics_of,
    sample_table,
    starting_module,
    train_to_the_end,
)
from tabcohort.settings import Config
from tabcohort.training.loop import EpochRecord
from tabcohort.types import IntArray

DOCUMENT = Config(
    model="mlp", hidden=(10, 10), dropout=0.0, optimizer="adam", learning_rate=1e-3, weight_decay=0.0, batch_size=32
)
EPOCHS, EPOCHS_OF_ORDER = 10, 200
BATCH_SIZES: tuple[int | str, ...] = (1, 8, 32, "full")
WITH_EARLY_STOPPING = replace(DOCUMENT, max_epochs=2_000, patience=20)
ACCOUNT = (
    "The lesson trains a small network on the 178 wines: 13 columns as they are, batches of 32, Adam at a rate of "
    "0.001, ten epochs on all rows. It prints a loss after each epoch and gives no figures.",
    "Here the same training ran with many seeds on raw and on standardized columns, and until early stopping with "
    "validation rows, in batches of one row, 8, 32 and all rows. Measured were losses, accuracies, and how much better "
    "the training rows are predicted than the test rows.",
)
PROTOCOLS = (
    "As the document does it: all rows train, and the loss is that of the rows that train.",
    "With separate rows: some rows stop the training, and others, which nothing else touched, are measured.",
)

TenEpochs = list[EpochOnAllRows]
BySize = Mapping[int | str, Sequence["StoppedRun"]]


@dataclass(frozen=True)
class StoppedRun:
    """The epochs until early stopping, and the metrics of the training rows and of the test rows."""

    history: tuple[EpochRecord, ...]
    train: dict[str, float]
    test: dict[str, float]

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return len(self.history)


def run(messages: Console, seeds: int = 10, config: Config = WITH_EARLY_STOPPING) -> Findings:
    """Train on raw rows, on standardized rows, and with early stopping, with `seeds` seeds.

    Args:
        messages: where to show progress.
        seeds: number of repeats.
        config: of the training with early stopping.
    """
    table = sample_table("wine")
    standardized = standardize(table.numbers, fit_statistics(table.numbers, table.weight))
    with Ticker(messages, (3 + len(BATCH_SIZES)) * seeds) as ticker:
        raw = [ten_epochs(table, table.X.astype(np.float32), seed, ticker, "raw") for seed in range(seeds)]
        scaled = [ten_epochs(table, standardized, seed, ticker, "standardized") for seed in range(seeds)]
        by_size = {
            size: [until_it_stops(table, replace(config, batch_size=size, seed=seed), ticker) for seed in range(seeds)]
            for size in BATCH_SIZES
        }
        stopped = by_size[32]
        majority = float(np.bincount(table.y).max() / len(table.y))
        return Findings(
            "wine",
            f"wine (178 rows, 13 columns, 3 classes), network 13-10-10-3, seeds: {seeds}",
            (
                "the document prints a loss for each of its ten epochs but gives no figures, so there is nothing to "
                "compare with; ln 3 = 1.099 is the loss of equal probabilities",
                "separate validation and test rows: standardized, stopped after "
                f"{config.patience} epochs without a better validation loss",
            ),
            (loss_sheet(raw, scaled), outcome_sheet(raw, scaled, stopped), gap_sheet(by_size)),
            mistakes(raw, scaled, stopped, majority),
            ticker.seconds,
            ACCOUNT,
            PROTOCOLS,
            (
                ten_epochs_train(raw, majority),
                loss_needs_weights(scaled),
                *batches_regularize(by_size),
                shuffling_generalizes(table, config, seeds, ticker),
                counted_claim("Rows of an epoch's last batch (implied)", "accumulating loss", 18, len(table.y) % 32),
            ),
            pictures(raw, scaled, stopped),
        )


def ten_epochs(table: Table, inputs: NDArray[np.float32], seed: int, ticker: Ticker, label: str) -> TenEpochs:
    """Train on all rows for ten epochs from PyTorch's own initial weights, as the document does."""
    config = replace(DOCUMENT, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MLP(table.n_inputs, config.hidden, len(table.schema.classes))
    ticker.begin(f"{label}, seed {seed}")
    return list(itertools.islice(epochs_on_all_rows(network, inputs, table, config), EPOCHS))


def until_it_stops(table: Table, config: Config, ticker: Ticker) -> StoppedRun:
    """Train with early stopping, on separate train, validation and test rows."""
    split = train_validation_test_split(table, config)
    callback = ticker.on_epoch(f"separate validation and test rows, seed {config.seed}")
    trained = train_to_the_end(starting_module(table, config), table, config, split, callback)
    train, test = (metrics_of(trained.module, table, rows) for rows in (split.train, split.test))
    return StoppedRun(trained.history, train, test)


def ten_epochs_train(raw: Sequence[TenEpochs], majority: float) -> Claim:
    """Return whether the lesson's ten epochs are better than predicting the largest class, as it implies."""
    accuracy = {seed: run[-1].accuracy for seed, run in enumerate(raw)}
    return order_claim(
        "Ten epochs on raw columns train the network better than the largest class alone (implied)",
        "training the model with mini-batches",
        Compared("accuracy after ten epochs", None, accuracy),
        Compared("accuracy of the largest class", None, dict.fromkeys(accuracy, majority)),
        ".1%",
    )


def loss_needs_weights(scaled: Sequence[TenEpochs]) -> Claim:
    """Return whether the mean of the batches' losses is another figure than the mean over rows, as the lesson says."""
    errors = [abs(float(np.mean(run[-1].batch_losses)) / run[-1].running_loss - 1) for run in scaled]
    return Claim(
        "An epoch's loss must weigh each batch by its rows, as the last batch is smaller",
        "accumulating loss", "",
        (Measured("error of the mean of batches, tenth epoch", spread(errors), ".2%"),),
        HOLDS if max(errors) > 1e-6 else FAILS,
        "the last of six batches has 18 of the 178 rows, and counts as much as one of 32",
    )  # fmt: skip


def batches_regularize(by_size: BySize) -> tuple[Claim, ...]:
    """Return whether the noise of small batches makes the gap between test and training rows smaller."""

    def side(size: int | str) -> Compared:
        return Compared(f"gap, {_rows_of(size)}", None, dict(enumerate(map(_gap, by_size[size]))))

    return tuple(
        order_claim(
            f"Batches of {size} rows overfit less than full batches do", "why use mini-batch training", side("full"),
            side(size),
        )
        for size in BATCH_SIZES[1:-1]
    )  # fmt: skip


def shuffling_generalizes(table: Table, config: Config, seeds: int, ticker: Ticker) -> Claim:
    """Return whether batches in random order have a lower test loss than rows in the order of the file, by class."""
    shuffled, ordered = {}, {}
    for seed in range(seeds):
        ticker.begin(f"shuffled and ordered batches, seed {seed}")
        split = train_validation_test_split(table, replace(config, seed=seed))
        train = np.sort(split.train)
        statistics = fit_statistics(table.numbers, table.weight, train)
        inputs = torch.from_numpy(standardize(table.numbers, statistics))
        shuffled[seed], ordered[seed] = (
            loss_after_training(inputs, table, (train, split.test), seed, in_order) for in_order in (False, True)
        )
    return order_claim(
        "Shuffled batches generalize better than batches in the order of the file", "creating a DataLoader",
        Compared("log loss of test rows, in order", None, ordered), Compared("shuffled", None, shuffled),
    )  # fmt: skip


def loss_after_training(
    inputs: torch.Tensor, table: Table, rows: tuple[IntArray, IntArray], seed: int, in_order: bool
) -> float:
    """Return the log loss of test rows after training in PyTorch, in random batches or in the same order every time.

    Args:
        inputs: standardized rows, `(n_rows, n_columns)`.
        table: the rows' classes.
        rows: the training rows and the test rows.
        seed: of the initial weights and of the order.
        in_order: whether batches come in the order of the training rows.
    """
    train, test = rows
    y = torch.from_numpy(table.y)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MLP(table.n_inputs, DOCUMENT.hidden, len(table.schema.classes))
        optimizer = torch.optim.Adam(network.parameters(), lr=DOCUMENT.learning_rate)
        for _ in range(EPOCHS_OF_ORDER):
            order = torch.from_numpy(train)[torch.arange(len(train)) if in_order else torch.randperm(len(train))]
            for batch in order.split(32):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(network(inputs[batch]), y[batch]).backward()
                optimizer.step()
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(network(inputs[test]), y[test]))


def gap_sheet(by_size: BySize) -> Sheet:
    """Return epochs, losses and their gap by the size of batches, with early stopping."""
    rows = tuple(
        Row(
            _rows_of(size),
            (
                f"{spread(run.epochs for run in runs).mean:.0f}",
                spread(run.train["log_loss"] for run in runs),
                spread(run.test["log_loss"] for run in runs),
                spread(map(_gap, runs)),
            ),
        )
        for size, runs in by_size.items()
    )
    columns = ("epochs", "log loss, training rows", "log loss, test rows", "gap")
    return Sheet("by size of batches, standardized, until early stopping", columns, rows)


def _gap(run: StoppedRun) -> float:
    return run.test["log_loss"] - run.train["log_loss"]


def _rows_of(size: int | str) -> str:
    return "full batch" if size == "full" else "one row" if size == 1 else f"{size} rows"


def pictures(
    raw: Sequence[TenEpochs], scaled: Sequence[TenEpochs], stopped: Sequence[StoppedRun]
) -> tuple[Picture, ...]:
    """Return the losses of both kinds of columns, those until early stopping, and accuracies."""
    both = (("raw columns", raw), ("standardized columns", scaled))
    curves = (mean_curve(name, [[epoch.running_loss for epoch in run] for run in runs]) for name, runs in both)
    bars = (
        *(Bar(f"all rows, {name.split()[0]}", spread(run[-1].accuracy for run in runs)) for name, runs in both),
        Bar("test rows, early stopping", spread(run.test["accuracy"] for run in stopped)),
    )
    return (
        Curves("Training loss, ten epochs as the document", ("epoch", "log loss"), tuple(curves)),
        loss_curves("Losses until early stopping, standardized", [run.history for run in stopped]),
        Bars("Accuracy", bars, ".1%"),
    )


def loss_sheet(raw: Sequence[TenEpochs], scaled: Sequence[TenEpochs]) -> Sheet:
    """Return the running loss of each epoch as the document's loop prints it, and the range of its batches' losses."""
    rows = []
    for epoch in range(EPOCHS):
        cells = (spread(run[epoch].running_loss for run in runs) for runs in (raw, scaled))
        batches = [loss for run in raw for loss in run[epoch].batch_losses]
        rows.append(Row(f"epoch {epoch + 1}", (None, *cells, f"{min(batches):.2f} to {max(batches):.2f}")))
    columns = ("document", "same protocol (raw), measured", "standardized", "batches (raw)")
    return Sheet("train loss per epoch, and the range of the batches' losses", columns, tuple(rows))


def outcome_sheet(raw: Sequence[TenEpochs], scaled: Sequence[TenEpochs], stopped: Sequence[StoppedRun]) -> Sheet:
    """Return accuracy and loss after ten epochs, and after training with early stopping."""

    def row(what: str, name: str, metric: str, style: str) -> Row:
        ten = (spread(getattr(run[-1], name) for run in runs) for runs in (raw, scaled))
        return Row(what, (*ten, spread(run.train[metric] for run in stopped)), style)

    epochs: tuple[Cell, ...] = (float(EPOCHS), float(EPOCHS), spread(run.epochs for run in stopped))
    rows = (
        Row("epochs", epochs, ".0f"),
        row("accuracy, training rows", "accuracy", "accuracy", ".1%"),
        row("log loss, training rows", "loss", "log_loss", ".3f"),
        Row("accuracy, test rows", (None, None, spread(run.test["accuracy"] for run in stopped)), ".1%"),
        Row("log loss, test rows", (None, None, spread(run.test["log_loss"] for run in stopped))),
    )
    return Sheet("after training", ("same protocol (raw)", "standardized", "separate validation and test rows"), rows)


def mistakes(
    raw: Sequence[TenEpochs], scaled: Sequence[TenEpochs], stopped: Sequence[StoppedRun], majority: float
) -> tuple[Mistake, ...]:
    """Measure the cost of raw inputs, and of ten epochs without held-out rows."""
    figures = {
        "majority": majority,
        "raw_accuracy": spread(run[-1].accuracy for run in raw).mean,
        "standardized_accuracy": spread(run[-1].accuracy for run in scaled).mean,
        "raw_loss": spread(run[-1].loss for run in raw).mean,
        "standardized_loss": spread(run[-1].loss for run in scaled).mean,
        "raw_first_loss": spread(run[0].running_loss for run in raw).mean,
    }
    inputs = (
        "accuracy after ten epochs {raw_accuracy:.1%} (the largest class alone is {majority:.1%}), log loss "
        "{raw_loss:.2f}, and {raw_first_loss:.1f} in the first epoch; standardized {standardized_accuracy:.1%} and "
        "{standardized_loss:.2f}"
    ).format(**figures)
    longer = {
        "epochs": spread(run.epochs for run in stopped).mean,
        "accuracy": spread(run.test["accuracy"] for run in stopped).mean,
    }
    stops = (
        "with validation rows it trains for {epochs:.0f} epochs, and has an accuracy of {accuracy:.1%} on test rows"
    ).format(**longer)
    return (
        Mistake("trains on raw columns, whose values range from 0.1 to 1,680", inputs, figures),
        Mistake("ends after ten epochs and measures only the rows that it trained on", stops, longer),
    )

"""Wine with a small network: ten epochs as the document trains it, then standardised, then until it stops by itself.

Source: the lesson on mini-batch training with the Wine data.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from tabcohort.data.encoder import fit_statistics, standardize
from tabcohort.data.splits import train_validation_test_split
from tabcohort.data.table import Table
from tabcohort.network.models import MLP
from tabcohort.reproduce.findings import Cell, Findings, Mistake, Row, Sheet, spread
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

DOCUMENT = Config(
    model="mlp", hidden=(10, 10), dropout=0.0, optimizer="adam", learning_rate=1e-3, weight_decay=0.0, batch_size=32
)
EPOCHS = 10
UNTIL_IT_STOPS = replace(DOCUMENT, max_epochs=2_000, patience=20)

TenEpochs = list[EpochOnAllRows]


@dataclass(frozen=True)
class HonestRun:
    """EpochBlock until it stopped, and accuracy and log loss of the rows that trained and of those that scored."""

    epochs: int
    train: dict[str, float]
    score: dict[str, float]


def run(messages: Console, seeds: int = 10, honest: Config = UNTIL_IT_STOPS) -> Findings:
    """Train on raw rows, on standardised rows, and with honest roles, with `seeds` seeds."""
    table = sample_table("wine")
    standardised = standardize(table.X, fit_statistics(table.X, table.weight))
    with Ticker(messages) as ticker:
        raw = [ten_epochs(table, table.X.astype(np.float32), seed, ticker, "raw") for seed in range(seeds)]
        scaled = [ten_epochs(table, standardised, seed, ticker, "standardised") for seed in range(seeds)]
        until = [until_it_stops(table, replace(honest, seed=seed), ticker) for seed in range(seeds)]
        majority = float(np.bincount(table.y).max() / len(table.y))
        return Findings(
            "wine",
            f"wine (178 rows, 13 columns, 3 classes), network 13-10-10-3, seeds: {seeds}",
            (
                "the document prints a loss for each of its ten epochs but gives no figures, so there is nothing to "
                "compare with; ln 3 = 1.099 is the loss of equal probabilities",
                f"honest roles: standardised, stopped after {honest.patience} epochs without a better stopping score",
            ),
            (loss_sheet(raw, scaled), outcome_sheet(raw, scaled, until)),
            mistakes(raw, scaled, until, majority),
            ticker.seconds,
        )


def ten_epochs(table: Table, inputs: NDArray[np.float32], seed: int, ticker: Ticker, label: str) -> TenEpochs:
    """Train on all rows for ten epochs from PyTorch's own initial weights, as the document does."""
    settings = replace(DOCUMENT, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MLP(table.X.shape[1], settings.hidden, len(table.schema.classes))
    ticker.say(f"{label}, seed {seed}")
    return list(itertools.islice(epochs_on_all_rows(network, inputs, table, settings), EPOCHS))


def until_it_stops(table: Table, config: Config, ticker: Ticker) -> HonestRun:
    """Train with rows that train, stop and score."""
    roles = train_validation_test_split(table.X, table.y, table.weight, settings)
    watch = ticker.watch(f"honest roles, seed {settings.seed}")
    trained = train_to_the_end(starting_module(table, settings), table, settings, roles, watch)
    train, score = (metrics_of(trained.module, table, rows) for rows in (split.train, split.test))
    return HonestRun(len(trained.history), train, score)


def loss_sheet(raw: Sequence[TenEpochs], scaled: Sequence[TenEpochs]) -> Sheet:
    """Return the running loss of each epoch, as the document's loop prints it."""
    rows = []
    for epoch in range(EPOCHS):
        cells = (spread(run[epoch].running_loss for run in runs) for runs in (raw, scaled))
        rows.append(Row(f"epoch {epoch + 1}", (None, *cells)))
    return Sheet("train loss per epoch", ("document", "its way (raw), measured", "standardised"), tuple(rows))


def outcome_sheet(raw: Sequence[TenEpochs], scaled: Sequence[TenEpochs], until: Sequence[HonestRun]) -> Sheet:
    """Return accuracy and loss after ten epochs, and after training until it stops."""

    def row(what: str, name: str, metric: str, style: str) -> Row:
        ten = (spread(getattr(run[-1], name) for run in runs) for runs in (raw, scaled))
        return Row(what, (*ten, spread(run.train[metric] for run in until)), style)

    epochs: tuple[Cell, ...] = (float(EPOCHS), float(EPOCHS), spread(run.epochs for run in until))
    rows = (
        Row("epochs", epochs, ".0f"),
        row("accuracy, rows that trained", "accuracy", "accuracy", ".1%"),
        row("log loss, rows that trained", "loss", "log_loss", ".3f"),
        Row("accuracy, rows never seen", (None, None, spread(run.score["accuracy"] for run in until)), ".1%"),
        Row("log loss, rows never seen", (None, None, spread(run.score["log_loss"] for run in until))),
    )
    return Sheet("after training", ("its way (raw)", "standardised", "honest roles"), rows)


def mistakes(
    raw: Sequence[TenEpochs], scaled: Sequence[TenEpochs], until: Sequence[HonestRun], majority: float
) -> tuple[Mistake, ...]:
    """Measure what raw inputs, ten epochs and no held-out rows cost."""
    figures = {
        "majority": majority,
        "raw_accuracy": spread(run[-1].accuracy for run in raw).mean,
        "standardised_accuracy": spread(run[-1].accuracy for run in scaled).mean,
        "raw_loss": spread(run[-1].loss for run in raw).mean,
        "standardised_loss": spread(run[-1].loss for run in scaled).mean,
        "raw_first_loss": spread(run[0].running_loss for run in raw).mean,
    }
    inputs = (
        "accuracy after ten epochs {raw_accuracy:.1%} (the largest class alone is {majority:.1%}), log loss "
        "{raw_loss:.2f}, after a first epoch of {raw_first_loss:.1f}; standardised {standardised_accuracy:.1%} and "
        "{standardised_loss:.2f}"
    ).format(**figures)
    trained = {
        "epochs": spread(run.epochs for run in until).mean,
        "accuracy": spread(run.score["accuracy"] for run in until).mean,
    }
    stops = "stopping rows let it train for {epochs:.0f} epochs, to {accuracy:.1%} on rows it never saw".format(
        **trained
    )
    return (
        Mistake("trains on raw columns, from 0.1 to 1,680", inputs, figures),
        Mistake("ends after ten epochs and measures no row that did not train", stops, trained),
    )

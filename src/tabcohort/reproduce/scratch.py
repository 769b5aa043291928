"""The network from scratch on breast cancer, then the improvements that its document names, in both engines.

Source: the document on a neural network implemented from scratch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from rich.console import Console
from scipy.special import expit

from tabcohort.data.splits import train_validation_test_split
from tabcohort.data.table import Table
from tabcohort.reproduce.claims import Claim, Compared, order_claim
from tabcohort.reproduce.findings import Findings, Row, Sheet, spread
from tabcohort.reproduce.pictures import Bar, Bars, Curves, Picture, loss_curves, mean_curve
from tabcohort.reproduce.runs import Ticker, metrics_of_logits, sample_table, starting_module, train_to_the_end
from tabcohort.settings import Config
from tabcohort.training.loop import EpochRecord
from tabcohort.types import FloatArray

DOCUMENT = Config(
    model="mlp", hidden=(16,), dropout=0.0, optimizer="sgd", momentum=0.0, learning_rate=0.01, weight_decay=0.0,
    batch_size=32, max_epochs=100, patience=None,
)  # fmt: skip
BASE = "as the document"
ACCOUNT = (
    "The document builds a network for breast cancer from layers, activations and a gradient derived by hand, trains "
    "it with mini-batches for 100 epochs, and names what may improve it: momentum, dropout, batch normalisation.",
    "Here its network and each improvement alone ran in the engine from scratch and in PyTorch, from the same weights "
    "with the same batches. Measured were the test rows, the time, and how far the probabilities of both differ.",
)
PROTOCOLS = (
    "As the document does it: 100 epochs, and accuracy on a test set at the end; it gives no figure.",
    "With separate rows: the weights are those of the best epoch on validation rows, and the test rows are used once.",
)


@dataclass(frozen=True)
class EngineRun:
    """One training.

    Args:
        metrics: of the test rows.
        probability: of the second class, for every row of the table, `(n_rows,)`.
        seconds: of its epochs.
        history: one record per epoch.
    """

    metrics: dict[str, float]
    probability: FloatArray
    seconds: float
    history: tuple[EpochRecord, ...] = ()


@dataclass(frozen=True)
class Pair:
    """The same training in both engines."""

    compiled: EngineRun
    pytorch: EngineRun

    @property
    def difference(self) -> float:
        """Largest difference between the two probabilities of a row."""
        return float(np.abs(self.compiled.probability - self.pytorch.probability).max())


def run(messages: Console, seeds: int = 10, config: Config = DOCUMENT) -> Findings:
    """Train the document's network and every improvement of it in both engines, `seeds` times."""
    table = sample_table("breast-cancer")
    with Ticker(messages) as ticker:
        pairs = {name: train_pairs(table, variant, seeds, ticker, name) for name, variant in variants(config).items()}
        counts = np.bincount(table.y)
        majority = f"{table.schema.classes[counts.argmax()]} is right for {counts.max() / len(table.y):.1%}"
        difference = max(pair.difference for of_variant in pairs.values() for pair in of_variant)
        return Findings(
            "scratch",
            f"breast cancer (569 rows, 30 columns), network from scratch and improvements of it, seeds: {seeds}",
            (
                "the document gives no accuracy, no width and no learning rate, so there is no claim to compare with; "
                f"one hidden layer of {config.hidden[0]} and a rate of {config.learning_rate:g} are our choice",
                "every improvement is made alone, not on top of the others; the weights are those of the epoch with "
                "the best validation loss; no test row trains or validates; always predicting "
                f"{majority} of all rows",
                "the compiled engine is the one from scratch, with gradients derived by hand; both engines start from "
                "the same weights and have the same batches and dropout masks, and their probabilities of a row differ "
                f"by at most {difference:.1e}",
                "the seconds are those of the epochs, validation included, on one CPU thread; one epoch in each engine "
                "went before, so that everything was compiled and loaded",
            ),
            sheets(pairs, config.max_epochs),
            (),
            ticker.seconds,
            ACCOUNT,
            PROTOCOLS,
            claims(pairs),
            pictures(pairs),
        )


def variants(config: Config) -> dict[str, Config]:
    """Return the config of the document's network, and of every improvement of it alone, by name."""
    return {
        BASE: config,
        "momentum 0.9": replace(config, momentum=0.9),
        "dropout 0.2": replace(config, dropout=0.2),
        "batch normalisation": replace(config, batch_norm=True),
    }


def train_pairs(table: Table, config: Config, seeds: int, ticker: Ticker, label: str) -> list[Pair]:
    """Train with seeds 0, 1, ... in both engines, after one epoch in each that is not counted."""
    in_engines = [replace(config, engine=engine) for engine in ("compiled", "torch")]
    for in_engine in in_engines:
        ticker.say(f"{label}: preparing the {in_engine.engine} engine")
        train_once(table, replace(in_engine, max_epochs=1))
    pairs = []
    for seed in range(seeds):
        ticker.say(f"{label}, seed {seed}: training in both engines")
        pairs.append(Pair(*(train_once(table, replace(in_engine, seed=seed)) for in_engine in in_engines)))
    return pairs


def train_once(table: Table, config: Config) -> EngineRun:
    """Train in the config's engine; no epoch is shown, as that would take some of the time that is measured."""
    split = train_validation_test_split(table, config)
    module = starting_module(table, config)
    trained = train_to_the_end(module, table, config, split, lambda state: None)
    with torch.no_grad():
        logits = module.double()(torch.tensor(table.X)).numpy()
    metrics = metrics_of_logits(logits[split.test], table.y[split.test], table.schema.positive)
    return EngineRun(metrics, expit(logits[:, 0]), trained.history[-1].seconds, trained.history)


def sheets(pairs: dict[str, list[Pair]], epochs: int) -> tuple[Sheet, ...]:
    """Return the metrics of the test rows, the seconds of training, and the differences between the engines."""
    scores, times, differences = [], [], []
    for name, of_variant in pairs.items():
        engines = ([pair.compiled for pair in of_variant], [pair.pytorch for pair in of_variant])
        metrics = [spread(run.metrics[key] for run in runs) for key in ("accuracy", "log_loss") for runs in engines]
        scores.append(Row(name, tuple(metrics)))
        seconds = [spread(run.seconds for run in runs) for runs in engines]
        ratio = spread(pair.pytorch.seconds / pair.compiled.seconds for pair in of_variant)
        times.append(Row(name, (*seconds, ratio), ".3g"))
        differences.append(Row(name, (max(pair.difference for pair in of_variant),), ".1e"))
    score_columns = ("accuracy, compiled", "accuracy, PyTorch", "log loss, compiled", "log loss, PyTorch")
    return (
        Sheet("test rows", score_columns, tuple(scores)),
        Sheet(f"seconds of {epochs} epochs", ("compiled", "PyTorch", "PyTorch / compiled"), tuple(times)),
        Sheet("largest difference between the probabilities of a row", ("compiled - PyTorch",), tuple(differences)),
    )


def claims(pairs: dict[str, list[Pair]]) -> tuple[Claim, ...]:
    """Return whether each improvement lowers the log loss of the test rows."""

    def side(name: str) -> Compared:
        losses = {seed: pair.compiled.metrics["log_loss"] for seed, pair in enumerate(pairs[name])}
        return Compared(f"log loss, {name}", None, losses)

    texts = {name: f"{name.capitalize()} is an improvement" for name in pairs if name != BASE}
    return tuple(order_claim(text, "possible improvements", side(BASE), side(name)) for name, text in texts.items())


def pictures(pairs: dict[str, list[Pair]]) -> tuple[Picture, ...]:
    """Return losses over epochs, metrics of the test rows, and the seconds in both engines."""
    histories = {name: [pair.compiled.history for pair in own] for name, own in pairs.items()}
    validation = (
        mean_curve(name, [[record.val_loss for record in history] for history in own])
        for name, own in histories.items()
    )
    bars = {
        metric: tuple(Bar(name, spread(pair.compiled.metrics[metric] for pair in own)) for name, own in pairs.items())
        for metric in ("log_loss", "accuracy")
    }
    seconds = tuple(
        Bar(f"{name}, {engine}", spread(getattr(pair, attribute).seconds for pair in own))
        for name, own in pairs.items()
        for engine, attribute in (("compiled", "compiled"), ("PyTorch", "pytorch"))
    )
    return (
        loss_curves("Losses, as the document", histories[BASE]),
        Curves("Validation loss with each improvement", ("epoch", "log loss"), tuple(validation)),
        Bars("Log loss of the test rows", bars["log_loss"]),
        Bars("Accuracy of the test rows", bars["accuracy"], ".1%"),
        Bars("Seconds of all epochs", seconds, ".3g"),
    )

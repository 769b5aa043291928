"""The network from scratch on breast cancer, then all that its document names as next steps, in both engines.

Source: the document on a neural network implemented from scratch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from tabcohort.reproduce.scratch_formulas import formula_claims
from tabcohort.settings import Config
from tabcohort.training.loop import EpochRecord
from tabcohort.types import FloatArray

DOCUMENT = Config(
    model="mlp", hidden=(16,), dropout=0.0, optimizer="sgd", momentum=0.0, learning_rate=0.01, weight_decay=0.0,
    batch_size=32, max_epochs=100, patience=None,
)  # fmt: skip
BASE = "as the document"
SEEDS_IN_BOTH = 5  # that are trained in PyTorch, too, which takes most of the time
ACCOUNT = (
    "The document builds a network for breast cancer from layers, activations and a gradient derived by hand, trains "
    "it with mini-batches for 100 epochs, and names what to try next: momentum, dropout, batch normalisation, other "
    "architectures and hyperparameters, augmentation.",
    "Here its network and each of these alone ran in the engine from scratch, the first seeds also in PyTorch, from "
    "the same weights with the same batches. Measured were the test rows, beside the document's network with the same "
    "seeds, the time, and how far the probabilities of both engines differ.",
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
    """The same training in the compiled engine, and for the first seeds in PyTorch."""

    compiled: EngineRun
    pytorch: EngineRun | None = None

    @property
    def difference(self) -> float:
        """Largest difference between the two probabilities of a row; 0 where one engine was trained."""
        if self.pytorch is None:
            return 0.0
        return float(np.abs(self.compiled.probability - self.pytorch.probability).max())


def run(messages: Console, seeds: int = 20, config: Config = DOCUMENT) -> Findings:
    """Train the document's network and each of its next steps, `seeds` times."""
    table = sample_table("breast-cancer")
    with Ticker(messages, len(variants(config)) * seeds) as ticker:
        pairs = {name: train_pairs(table, variant, seeds, ticker, name) for name, variant in variants(config).items()}
        counts = np.bincount(table.y)
        majority = f"{table.schema.classes[counts.argmax()]} is right for {counts.max() / len(table.y):.1%}"
        difference = max(pair.difference for of_variant in pairs.values() for pair in of_variant)
        return Findings(
            "scratch",
            f"breast cancer (569 rows, 30 columns), network from scratch and its next steps, seeds: {seeds}",
            (
                "the document gives no accuracy, no width and no learning rate, so there is no claim to compare with; "
                f"one hidden layer of {config.hidden[0]} and a rate of {config.learning_rate:g} are our choice",
                "every step is made alone, not on top of the others; augmentation is mixup, which trains on mixtures "
                "of two rows (Zhang et al. 2018); the weights are those of the epoch with the best validation loss; no "
                "test row trains or validates; always predicting "
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
            (*claims(pairs), *formula_claims()),
            pictures(pairs),
        )


def variants(config: Config) -> dict[str, Config]:
    """Return the config of the document's network, and of each of its next steps alone, by name."""
    return {
        BASE: config,
        "momentum 0.9": replace(config, momentum=0.9),
        "dropout 0.2": replace(config, dropout=0.2),
        "batch normalisation": replace(config, batch_norm=True),
        "64 units": replace(config, hidden=(64,)),
        "two layers": replace(config, hidden=config.hidden * 2),
        "no hidden layer": replace(config, model="logistic"),
        "rate 0.1": replace(config, learning_rate=0.1),
        "batches of 8": replace(config, batch_size=8),
        "Adam, rate 0.001": replace(config, optimizer="adam", learning_rate=1e-3),
        "mixup": replace(config, mixup_alpha=0.2, mixup_probability=1.0),
    }


IMPROVEMENTS = ("momentum 0.9", "dropout 0.2", "batch normalisation")  # that the document calls so
EXPERIMENTS = {  # that it suggests, by what it calls them
    "Another architecture": ("64 units", "two layers", "no hidden layer"),
    "Another hyperparameter": ("rate 0.1", "batches of 8", "Adam, rate 0.001"),
    "Augmentation": ("mixup",),
}
STEPS = {"Improvements": IMPROVEMENTS, **EXPERIMENTS}


def train_pairs(table: Table, config: Config, seeds: int, ticker: Ticker, label: str) -> list[Pair]:
    """Train with seeds 0, 1, ..., after one epoch in each engine that is not counted."""
    in_engines = [replace(config, engine=engine) for engine in ("compiled", "torch")]
    for in_engine in in_engines:
        ticker.say(f"{label}: preparing the {in_engine.engine} engine")
        train_once(table, replace(in_engine, max_epochs=1))
    pairs = []
    for seed in range(seeds):
        ticker.begin(f"{label}, seed {seed}")
        engines = in_engines[: 2 if seed < SEEDS_IN_BOTH else 1]
        pairs.append(Pair(*(train_once(table, replace(in_engine, seed=seed)) for in_engine in engines)))
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
    scores, times = [], []
    base = [pair.compiled.metrics["log_loss"] for pair in pairs[BASE]]
    for name, of_variant in pairs.items():
        losses = [pair.compiled.metrics["log_loss"] for pair in of_variant]
        changes = [loss - before for loss, before in zip(losses, base, strict=True)]
        lower = f"{sum(change < 0 for change in changes)} of {len(changes)}"
        accuracy = spread(pair.compiled.metrics["accuracy"] for pair in of_variant)
        beside = (None, None) if name == BASE else (spread(changes), lower)
        scores.append(Row(name, (accuracy, spread(losses), *beside)))
        both = [(pair.compiled, pair.pytorch) for pair in of_variant if pair.pytorch is not None]
        seconds = (spread(run.seconds for run in runs) for runs in zip(*both, strict=True))
        ratio = spread(pytorch.seconds / compiled.seconds for compiled, pytorch in both)
        difference = f"{max(pair.difference for pair in of_variant):.1e}"
        times.append(Row(name, (*seconds, ratio, difference), ".3g"))
    columns = ("accuracy", "log loss", "log loss - document's", "lower")
    return (
        Sheet("test rows, the engine from scratch", columns, tuple(scores)),
        Sheet(
            f"seconds of {epochs} epochs, and the largest difference between the probabilities of a row",
            ("compiled", "PyTorch", "PyTorch / compiled", "difference"), tuple(times),
        ),
    )  # fmt: skip


def claims(pairs: dict[str, list[Pair]]) -> tuple[Claim, ...]:
    """Return whether each improvement lowers the log loss of the test rows."""

    def side(name: str) -> Compared:
        losses = {seed: pair.compiled.metrics["log_loss"] for seed, pair in enumerate(pairs[name])}
        return Compared(f"log loss, {name}", None, losses)

    def claim(text: str, where: str, name: str) -> Claim:
        return order_claim(text, where, side(BASE), side(name))

    improvements = (
        claim(f"{name[0].upper()}{name[1:]} is an improvement", "possible improvements", name)
        for name in IMPROVEMENTS
        if name in pairs
    )
    experiments = (
        claim(f"{what} is an improvement: {name} (suggested)", "experiments", name)
        for what, names in EXPERIMENTS.items()
        for name in names
        if name in pairs
    )
    return (*improvements, *experiments)


def pictures(pairs: dict[str, list[Pair]]) -> tuple[Picture, ...]:
    """Return losses over epochs, metrics of the test rows, and the seconds in both engines."""
    histories = {name: [pair.compiled.history for pair in of_variant] for name, of_variant in pairs.items()}
    bars = {
        metric: tuple(
            Bar(name, spread(pair.compiled.metrics[metric] for pair in of_variant))
            for name, of_variant in pairs.items()
        )
        for metric in ("log_loss", "accuracy")
    }
    seconds = tuple(
        Bar(f"{name}, {engine}", spread(run.seconds for pair in of_variant if (run := getattr(pair, attribute))))
        for name, of_variant in pairs.items()
        for engine, attribute in (("compiled", "compiled"), ("PyTorch", "pytorch"))
    )
    return (
        loss_curves("Losses, as the document", histories[BASE]),
        *(_validation_losses(title, histories, names) for title, names in STEPS.items()),
        Bars("Log loss of the test rows", bars["log_loss"]),
        Bars("Accuracy of the test rows", bars["accuracy"], ".1%"),
        Bars("Seconds of all epochs", seconds, ".3g"),
    )


def _validation_losses(
    title: str, histories: Mapping[str, Sequence[tuple[EpochRecord, ...]]], names: Sequence[str]
) -> Curves:
    """Return the validation losses of the document's network and of some of its next steps."""
    curves = (
        mean_curve(name, [[record.val_loss for record in history] for history in histories[name]])
        for name in (BASE, *names)
        if name in histories
    )
    return Curves(f"Validation loss: {title.lower()}", ("epoch", "log loss"), tuple(curves))

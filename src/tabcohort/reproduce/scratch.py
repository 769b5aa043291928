"""The network from scratch on breast cancer, then each improvement that its document names next, in both engines.

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
from tabcohort.reproduce.findings import Findings, Row, Sheet, spread
from tabcohort.reproduce.runs import Ticker, metrics_of_logits, sample_table, starting_module, train_to_the_end
from tabcohort.settings import Config
from tabcohort.types import FloatArray

DOCUMENT = Config(
    model="mlp", hidden=(16,), dropout=0.0, optimizer="sgd", momentum=0.0, learning_rate=0.01, weight_decay=0.0,
    batch_size=32, max_epochs=100, patience=None,
)  # fmt: skip


@dataclass(frozen=True)
class EngineRun:
    """One training: metrics of the scoring rows, every row's probability `(n_rows,)`, and the seconds of its epochs."""

    metrics: dict[str, float]
    probability: FloatArray
    seconds: float


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
    """Train the document's network and each of its next steps in both engines, `seeds` times."""
    table = sample_table("breast-cancer")
    with Ticker(messages) as ticker:
        pairs = {name: train_pairs(table, each, seeds, ticker, name) for name, each in next_steps(settings).items()}
        counts = np.bincount(table.y)
        majority = f"{table.schema.classes[counts.argmax()]} would be right for {counts.max() / len(table.y):.1%}"
        difference = max(pair.difference for each in pairs.values() for pair in each)
        return Findings(
            "scratch",
            f"breast cancer (569 rows, 30 columns), network from scratch and its next steps, seeds: {seeds}",
            (
                "the document gives no accuracy, no width and no learning rate, so there is no claim to compare with; "
                f"one hidden layer of {settings.hidden[0]} and a rate of {settings.learning_rate:g} are chosen here",
                "each next step is taken alone; of all epochs the one with the best loss of the stopping rows is kept; "
                f"the scoring rows neither trained nor chose it; always saying {majority} of all rows",
                "the compiled engine is the one from scratch, its gradients derived by hand; both engines start from "
                "the same weights and see the same batches and dropout masks, and their probabilities of a row differ "
                f"by {difference:.1e} where they differ most",
                "the seconds are those of the epochs, the stopping rows measured after each, on one CPU thread; one "
                "epoch in each engine went before, so that everything was compiled and loaded",
            ),
            sheets(pairs, settings.max_epochs),
            (),
            ticker.seconds,
        )


def next_steps(config: Config) -> dict[str, Config]:
    """Return the document's network and each of its next steps, alone, by name."""
    return {
        "as the document": settings,
        "momentum 0.9": replace(settings, momentum=0.9),
        "dropout 0.2": replace(settings, dropout=0.2),
        "batch normalisation": replace(settings, batch_norm=True),
    }


def train_pairs(table: Table, config: Config, seeds: int, ticker: Ticker, label: str) -> list[Pair]:
    """Train with seeds 0, 1, ... in both engines, after one epoch in each that is not counted."""
    engines = [replace(settings, engine=engine) for engine in ("compiled", "torch")]
    for each in engines:
        ticker.say(f"{label}: getting the {each.engine} engine ready")
        train_once(table, replace(each, max_epochs=1))
    pairs = []
    for seed in range(seeds):
        ticker.say(f"{label}, seed {seed}: training in both engines")
        pairs.append(Pair(*(train_once(table, replace(each, seed=seed)) for each in engines)))
    return pairs


def train_once(table: Table, config: Config) -> EngineRun:
    """Train in the settings' engine; no epoch is shown on the way, as that would take some of the time measured."""
    roles = train_validation_test_split(table.X, table.y, table.weight, settings)
    module = starting_module(table, settings)
    trained = train_to_the_end(module, table, settings, roles, lambda progress: None)
    with torch.no_grad():
        logits = module.double()(torch.tensor(table.X)).numpy()
    metrics = metrics_of_logits(logits[split.test], table.y[split.test], table.schema.positive)
    return EngineRun(metrics, expit(logits[:, 0]), trained.history[-1].seconds)


def sheets(pairs: dict[str, list[Pair]], epochs: int) -> tuple[Sheet, ...]:
    """Return the scores of the scoring rows, the seconds of training, and how far apart the engines are."""
    scores, times, differences = [], [], []
    for name, each in pairs.items():
        engines = ([pair.compiled for pair in each], [pair.pytorch for pair in each])
        metrics = [spread(one.metrics[key] for one in runs) for key in ("accuracy", "log_loss") for runs in engines]
        scores.append(Row(name, tuple(metrics)))
        seconds = [spread(one.seconds for one in runs) for runs in engines]
        ratio = spread(pair.pytorch.seconds / pair.compiled.seconds for pair in each)
        times.append(Row(name, (*seconds, ratio), ".3g"))
        differences.append(Row(name, (max(pair.difference for pair in each),), ".1e"))
    score_columns = ("accuracy, compiled", "accuracy, PyTorch", "log loss, compiled", "log loss, PyTorch")
    return (
        Sheet("scoring rows", score_columns, tuple(scores)),
        Sheet(f"seconds of {epochs} epochs", ("compiled", "PyTorch", "PyTorch / compiled"), tuple(times)),
        Sheet("largest difference between the probabilities of a row", ("compiled - PyTorch",), tuple(differences)),
    )

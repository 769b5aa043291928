"""Breast cancer with logistic regression: the two lessons' figures, and what early stopping on test rows adds to them.

Source: the two drafts of lesson 1B, logistic regression in PyTorch.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn as nn
from rich.console import Console

from tabcohort.training.module import Trained
from tabcohort.data.splits import Split
from tabcohort.types import IntArray
from tabcohort.reproduce.findings import Cell, Findings, Mistake, Row, Sheet, spread
from tabcohort.reproduce.mistakes import epsilon_under_root, loss_on_probabilities, xavier_bound
from tabcohort.reproduce.runs import (
    Ticker,
    metrics_of,
    sample_table,
    split_rows,
    starting_module,
    train_to_the_end,
)
from tabcohort.settings import Config
from tabcohort.data.table import Table
from tabcohort.training.loop import TrainingState

DOCUMENT = Config(
    model="logistic",
    optimizer="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    batch_size=32,
    max_epochs=1_000,
    patience=5,
)
NETWORK = replace(DOCUMENT, model="mlp", hidden=(256, 128), dropout=0.0, patience=20)
TEST_SHARE = 0.2
FEW_ROWS = 100
CLAIMED_EPOCHS = 447
CLAIMED_LOSSES = {1: 0.693, 10: 0.423, 50: 0.201, 100: 0.156}
CLAIMED_POSITIVES_OF_TEST = 67  # of 114, in the confusion matrix that the lesson shows


def run(messages: Console, seeds: int = 20, config: Config = DOCUMENT, network: Config = NETWORK) -> Findings:
    """Train as the lessons do and with honest roles, over `seeds` splits, and measure the lessons' mistakes."""
    table = sample_table("breast-cancer")
    with Ticker(messages) as ticker:
        splits = [split_rows(np.arange(len(table.y)), table.y, TEST_SHARE, seed) for seed in range(seeds)]
        lessons = [
            run_as_lesson(table, replace(settings, seed=seed), *split, ticker, f"as the lesson, seed {seed}")
            for seed, split in enumerate(splits)
        ]
        honest = [
            run_honestly(table, replace(settings, seed=seed), *split, ticker) for seed, split in enumerate(splits)
        ]
        few = [run_on_few_rows(table, settings, seed, ticker) for seed in range(seeds)]
        few_network = [run_on_few_rows(table, network, seed, ticker) for seed in range(seeds)]
        ticker.say("measuring the mistakes")
        mistakes = (
            shallow_copy([run.lesson for run in few_network], lessons),
            stopping_on_test_rows(few, few_network),
            reversed_labels(honest, table, splits[0][1]),
            xavier_bound(),
            epsilon_under_root(),
            loss_on_probabilities(),
        )
        sheets = (accuracy_sheet(lessons, honest), optimism_sheet(lessons, honest, few, few_network))
        return Findings(
            "cancer",
            f"breast cancer (569 rows, 30 columns), logistic regression, seeds: {seeds}",
            notes(lessons, network),
            sheets,
            mistakes,
            ticker.seconds,
        )


@dataclass(frozen=True)
class LessonRun:
    """A training that stops on its test rows.

    Args:
        trained: with the weights of the best epoch.
        train, test: metrics of the rows that trained, and of those that stopped and, in the lesson, score.
        recorded_loss: log loss of the test rows at the best epoch, as it was recorded.
        restored_loss: log loss of the test rows with the weights that the lesson's shallow copy restores.
        restored_last: whether these are the last epoch's weights, bit by bit.
    """

    trained: Trained
    train: dict[str, float]
    test: dict[str, float]
    recorded_loss: float
    restored_loss: float
    restored_last: bool


@dataclass(frozen=True)
class HonestRun:
    """A training with three roles, and the metrics of the rows that trained and of those that scored."""

    trained: Trained
    train: dict[str, float]
    score: dict[str, float]


@dataclass(frozen=True)
class FewRowsRun:
    """A lesson's training on few rows, and the same model's metrics on all rows that it never saw."""

    lesson: LessonRun
    truth: dict[str, float]

    def optimism(self, metric: str) -> float:
        """Return the reported minus the true value of a metric."""
        return self.lesson.test[metric] - self.truth[metric]


class ShallowBest:
    """Watches a training and keeps its best weights as the lesson does, by a shallow copy of the state dict.

    After the last epoch, `restored` is the module with the weights that this copy then holds, and `restored_last`
    says whether they are the last epoch's.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.restored: nn.Module | None = None
        self.restored_last = False

    def __call__(self, progress: TrainingState) -> None:
        if progress.best_epoch == len(progress.history):
            self.best = self.module.state_dict().copy()
        if progress.stop_reason is not None:
            last = self.module.state_dict()
            self.restored_last = all(torch.equal(tensor, last[name]) for name, tensor in self.best.items())
            self.restored = copy.deepcopy(self.module)
            self.restored.load_state_dict(self.best)


def run_as_lesson(
    table: Table, config: Config, train: IntArray, test: IntArray, ticker: Ticker, label: str
) -> LessonRun:
    """Train on `train`, stop on `test`, and measure on `test` again."""
    module = starting_module(table, settings)
    shallow, show = ShallowBest(module), ticker.watch(label)

    def watch(progress: TrainingState) -> None:
        shallow(progress)
        show(progress)

    trained = train_to_the_end(module, table, settings, Split(train, test, test[:0]), watch)
    assert shallow.restored is not None  # a training that ends has had a last epoch
    return LessonRun(
        trained,
        metrics_of(module, table, train),
        metrics_of(module, table, test),
        trained.history[trained.best_epoch - 1].val_loss,
        metrics_of(shallow.restored, table, test)["log_loss"],
        shallow.restored_last,
    )


def run_honestly(table: Table, config: Config, train: IntArray, score: IntArray, ticker: Ticker) -> HonestRun:
    """Train on four fifths of `train`, stop on the last, and measure on `score` once."""
    train, stop = split_rows(train, table.y, TEST_SHARE, settings.seed)
    module = starting_module(table, settings)
    watch = ticker.watch(f"honest roles, seed {settings.seed}")
    trained = train_to_the_end(module, table, settings, Split(train, stop, score), watch)
    return HonestRun(trained, metrics_of(module, table, train), metrics_of(module, table, score))


def run_on_few_rows(table: Table, config: Config, seed: int, ticker: Ticker) -> FewRowsRun:
    """Train as the lesson does on 100 rows, 20 of them test rows; the other 469 rows tell the truth."""
    fresh, few = split_rows(np.arange(len(table.y)), table.y, FEW_ROWS / len(table.y), seed)
    train, test = split_rows(few, table.y, TEST_SHARE, seed)
    label = f"{settings.model} on {FEW_ROWS} rows, seed {seed}"
    lesson = run_as_lesson(table, replace(settings, seed=seed), train, test, ticker, label)
    return FewRowsRun(lesson, metrics_of(lesson.trained.module, table, fresh))


def accuracy_sheet(lessons: Sequence[LessonRun], honest: Sequence[HonestRun]) -> Sheet:
    """Return the lessons' claims beside what their way and honest roles give."""

    def epochs(runs: Sequence[LessonRun] | Sequence[HonestRun]) -> Cell:
        return spread(len(run.trained.history) for run in runs)

    def seconds(runs: Sequence[LessonRun] | Sequence[HonestRun]) -> Cell:
        return spread(run.trained.history[-1].seconds for run in runs)

    def row(what: str, claim: Cell, metric: str, style: str) -> Row:
        return Row(
            what,
            (claim, spread(run.test[metric] for run in lessons), spread(run.score[metric] for run in honest)),
            style,
        )

    train_accuracy = (spread(run.train["accuracy"] for run in runs) for runs in (lessons, honest))
    rows = [
        Row("train accuracy", (0.978, *train_accuracy), ".1%"),
        row("test accuracy", 0.965, "accuracy", ".1%"),
        row("test log loss", None, "log_loss", ".3f"),
        Row("epochs until it stopped", (float(CLAIMED_EPOCHS), epochs(lessons), epochs(honest)), ".0f"),
        Row("seconds of training", (120.0, seconds(lessons), seconds(honest)), ".2f"),
    ]
    for epoch, claim in CLAIMED_LOSSES.items():
        losses = [
            [run.trained.history[epoch - 1].train_loss for run in runs if len(run.trained.history) >= epoch]
            for runs in (lessons, honest)
        ]
        cells = [spread(values) if values else None for values in losses]
        rows.append(Row(f"train loss of epoch {epoch}", (claim, *cells)))
    columns = ("document", "its way, measured", "honest roles")
    return Sheet("accuracy and epochs, mean ± standard deviation over seeds", columns, tuple(rows))


def optimism_sheet(
    lessons: Sequence[LessonRun],
    honest: Sequence[HonestRun],
    few: Sequence[FewRowsRun],
    few_network: Sequence[FewRowsRun],
) -> Sheet:
    """Return what is reported minus what is true, with all rows and with few."""
    rows = []
    for metric, style in (("accuracy", "+.2%"), ("log_loss", "+.3f")):
        paired = spread(a.test[metric] - b.score[metric] for a, b in zip(lessons, honest, strict=True))
        of_few, of_network = (spread(run.optimism(metric) for run in runs) for runs in (few, few_network))
        rows.append(Row(metric.replace("_", " "), (paired, of_few, of_network), style))
    columns = ("569 rows, logistic", f"{FEW_ROWS} rows, logistic", f"{FEW_ROWS} rows, network")
    return Sheet("optimism: reported on the rows that stopped it, minus the truth", columns, tuple(rows))


def notes(lessons: Sequence[LessonRun], network: Config) -> tuple[str, ...]:
    """Return what the figures mean, and where they differ from the lessons'."""
    epochs = [len(run.trained.history) for run in lessons]
    hidden = "-".join(str(width) for width in network.hidden)
    return (
        f"the claim of {CLAIMED_EPOCHS} epochs: measured {spread(epochs).show('.0f')}, from {min(epochs)} to "
        f"{max(epochs)}; {sum(each >= CLAIMED_EPOCHS for each in epochs)} of {len(epochs)} seeds took so many. The "
        "other lesson claims 105 epochs for the same settings and the same accuracies",
        "measured with the best epoch's weights, which the document means to keep (see the first mistake)",
        "569 rows: the truth is the honest roles' figure on the same test rows, from a model that trained on fewer "
        f"rows; {FEW_ROWS} rows: the same model's figure on the rows it never saw",
        f"the network is {hidden}, Adam {network.learning_rate:g}, patience {network.patience}: our choice, to show "
        "the same mistakes on a model that overfits",
    )


def shallow_copy(networks: Sequence[LessonRun], lessons: Sequence[LessonRun]) -> Mistake:
    """Compare the best log loss that was recorded with that of the weights that a shallow copy restores."""
    figures = {}
    for name, runs in (("logistic", lessons), ("network", networks)):
        figures[f"{name}_recorded_loss"] = spread(run.recorded_loss for run in runs).mean
        figures[f"{name}_restored_loss"] = spread(run.restored_loss for run in runs).mean
        figures[f"{name}_runs"] = float(len(runs))
        figures[f"{name}_runs_restored_to_last"] = float(sum(run.restored_last for run in runs))
    effect = (
        "best log loss recorded {logistic_recorded_loss:.4f}, restored {logistic_restored_loss:.4f} (logistic, all "
        f"rows); {{network_recorded_loss:.3f}} and {{network_restored_loss:.3f}} (network, {FEW_ROWS} rows); the last "
        "epoch's weights came back in {logistic_runs_restored_to_last:.0f} of {logistic_runs:.0f} and "
        "{network_runs_restored_to_last:.0f} of {network_runs:.0f} runs"
    ).format(**figures)
    return Mistake("keeps its best weights by state_dict().copy(), which shares their memory", effect, figures)


def stopping_on_test_rows(few: Sequence[FewRowsRun], few_network: Sequence[FewRowsRun]) -> Mistake:
    """Return how much stopping on the rows that score flatters a model of few rows."""
    figures = {}
    for name, runs in (("logistic", few), ("network", few_network)):
        for metric in ("accuracy", "log_loss"):
            optimism = spread(run.optimism(metric) for run in runs)
            figures[f"{name}_{metric}"], figures[f"{name}_{metric}_error"] = optimism.mean, optimism.error
    effect = (
        f"at {FEW_ROWS} rows, reported minus true (and its standard error): accuracy {{logistic_accuracy:+.1%}} "
        "({logistic_accuracy_error:.1%}), log loss {logistic_log_loss:+.3f} ({logistic_log_loss_error:.3f}) for the "
        "logistic model; {network_accuracy:+.1%} ({network_accuracy_error:.1%}), {network_log_loss:+.3f} "
        "({network_log_loss_error:.3f}) for the network"
    ).format(**figures)
    return Mistake("stops on its test rows and reports the same rows", effect, figures)


def reversed_labels(honest: Sequence[HonestRun], table: Table, test: IntArray) -> Mistake:
    """Compare the recall of scikit-learn's class 1, which the lesson takes for malignant, with the cancers found."""
    figures = {
        "recall_of_class_1": spread(run.score["specificity"] for run in honest).mean,
        "malignant_sensitivity": spread(run.score["sensitivity"] for run in honest).mean,
        "n_test": float(len(test)),
        "n_malignant": float((table.y[test] == table.schema.positive).sum()),
    }
    effect = (
        "the recall of class 1 is {recall_of_class_1:.1%}, and it is of benign rows; of the cancers "
        "{malignant_sensitivity:.1%} are found. {n_malignant:.0f} of {n_test:.0f} test rows are malignant; the "
        f"document's confusion matrix has {CLAIMED_POSITIVES_OF_TEST}"
    ).format(**figures)
    return Mistake("takes label 1 for malignant (in scikit-learn's table 0 is malignant)", effect, figures)

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

from tabcohort.data.splits import Split
from tabcohort.data.table import Table
from tabcohort.reproduce.cancer_first_lesson import RATES, first_lesson_claims, train_first_lesson
from tabcohort.reproduce.cancer_claims import (
    ACCOUNT,
    CLAIMED_ACCURACY,
    CLAIMED_CONFUSION,
    CLAIMED_EPOCHS,
    CLAIMED_LOSSES,
    CLAIMED_VAL_LOSSES,
    PROTOCOLS,
    cancer_claims,
    cancer_pictures,
    losses_at,
)
from tabcohort.reproduce.cancer_weights import (
    Weights,
    measure_weights,
    weight_sheet,
    weights_as_importances,
    without_radius,
)
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
from tabcohort.training.loop import TrainingState
from tabcohort.training.module import Trained
from tabcohort.types import IntArray

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
TEST_FRACTION = 0.2
FEW_ROWS = 100


def run(messages: Console, seeds: int = 20, config: Config = DOCUMENT, network: Config = NETWORK) -> Findings:
    """Train as the lessons do and with separate validation and test rows, and measure the lessons' mistakes.

    Args:
        messages: where to show progress.
        seeds: number of splits, each with its own initial weights and batches.
        config: of the lessons' model.
        network: config of a larger model, which overfits, for the same mistakes.
    """
    table = sample_table("breast-cancer")
    with Ticker(messages) as ticker:
        splits = [split_rows(np.arange(len(table.y)), table.y, TEST_FRACTION, seed) for seed in range(seeds)]
        lessons = [
            run_as_lesson(table, replace(config, seed=seed), *split, ticker, f"as the lesson, seed {seed}")
            for seed, split in enumerate(splits)
        ]
        separate = [
            run_with_separate_rows(table, replace(config, seed=seed), *split, ticker)
            for seed, split in enumerate(splits)
        ]
        few = [run_on_few_rows(table, config, seed, ticker) for seed in range(seeds)]
        few_network = [run_on_few_rows(table, network, seed, ticker) for seed in range(seeds)]
        shallow = [run_with_shallow_copy(table, config, seed, *split, ticker) for seed, split in enumerate(splits)]
        shallow_network = [
            run_with_shallow_copy(table, network, seed, *few_rows(table, seed)[:2], ticker) for seed in range(seeds)
        ]
        ticker.say("training as lesson 1A does")
        first = {
            rate: [train_first_lesson(table, *split, rate, seed) for seed, split in enumerate(splits)] for rate in RATES
        }
        weights = weights_of_lessons(table, config, lessons, splits, ticker)
        ticker.say("measuring the mistakes")
        mistakes = (
            shallow_copy(shallow, shallow_network),
            stopping_on_test_rows(few, few_network),
            reversed_labels(separate, table, splits[0][1]),
            weights_as_importances(weights),
            xavier_bound(),
            epsilon_under_root(),
            loss_on_probabilities(),
        )
        n_malignant = int((table.y[splits[0][1]] == table.schema.positive).sum())
        n_test = (len(splits[0][1]) - n_malignant, n_malignant)
        sheets = (
            accuracy_sheet(lessons, separate),
            optimism_sheet(lessons, separate, few, few_network),
            weight_sheet(weights),
        )
        return Findings(
            "cancer",
            f"breast cancer (569 rows, 30 columns), logistic regression, seeds: {seeds}",
            notes(lessons, network),
            sheets,
            mistakes,
            ticker.seconds,
            ACCOUNT,
            PROTOCOLS,
            (
                *cancer_claims(lessons, weights, n_test),
                *first_lesson_claims(
                    first,
                    [run.test["accuracy"] for run in lessons],
                    [[record.train_loss for record in run.trained.history] for run in lessons],
                ),
            ),
            cancer_pictures(lessons, separate, weights, n_test),
        )


@dataclass(frozen=True)
class LessonRun:
    """A training whose test rows are also its validation rows.

    Args:
        trained: with the weights of the best epoch.
        train, test: metrics of the training rows and of the test rows.
    """

    trained: Trained
    train: dict[str, float]
    test: dict[str, float]


@dataclass(frozen=True)
class SeparateRun:
    """A training with separate validation and test rows, and the metrics of its training and test rows."""

    trained: Trained
    train: dict[str, float]
    test: dict[str, float]


@dataclass(frozen=True)
class FewRowsRun:
    """A lesson's training on few rows, and the same model's metrics on all rows that it never saw."""

    lesson: LessonRun
    unseen: dict[str, float]

    def optimism(self, metric: str) -> float:
        """Return the reported value of a metric minus that on unseen rows."""
        return self.lesson.test[metric] - self.unseen[metric]


@dataclass(frozen=True)
class ShallowCopyRun:
    """Log losses of the test rows in a training that keeps its best weights as the lesson does.

    Args:
        recorded_loss: after the best epoch.
        last_loss: after the last epoch.
        restored_loss: with the weights that the lesson's copy restores.
        restored_last: whether these are the last epoch's weights, to the bit.
    """

    recorded_loss: float
    last_loss: float
    restored_loss: float
    restored_last: bool


class ShallowBest:
    """A callback that keeps a training's best weights as the lesson does, by a shallow copy of the state dict.

    After the last epoch, `restored` is the module with the weights that this copy then holds, and `restored_last`
    says whether they are the last epoch's.

    Args:
        module: the module in training; it must have the weights of every epoch, as in the torch engine.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.restored: nn.Module | None = None
        self.restored_last = False

    def __call__(self, state: TrainingState) -> None:
        if state.best_epoch == state.n_epochs:
            self.best = self.module.state_dict().copy()
        if state.stop_reason is not None:
            last = self.module.state_dict()
            self.restored_last = all(torch.equal(tensor, last[name]) for name, tensor in self.best.items())
            self.restored = copy.deepcopy(self.module)
            self.restored.load_state_dict(self.best)


def run_as_lesson(
    table: Table, config: Config, train: IntArray, test: IntArray, ticker: Ticker, label: str
) -> LessonRun:
    """Train on `train`, stop early on `test`, and measure on `test` again."""
    module = starting_module(table, config)
    trained = train_to_the_end(module, table, config, Split(train, test, test[:0]), ticker.on_epoch(label))
    return LessonRun(trained, metrics_of(module, table, train), metrics_of(module, table, test))


def run_with_separate_rows(
    table: Table, config: Config, train: IntArray, test: IntArray, ticker: Ticker
) -> SeparateRun:
    """Train on four fifths of `train`, stop early on the other fifth, and measure on `test` once."""
    train, validation = split_rows(train, table.y, TEST_FRACTION, config.seed)
    module = starting_module(table, config)
    callback = ticker.on_epoch(f"separate validation and test rows, seed {config.seed}")
    trained = train_to_the_end(module, table, config, Split(train, validation, test), callback)
    return SeparateRun(trained, metrics_of(module, table, train), metrics_of(module, table, test))


def run_on_few_rows(table: Table, config: Config, seed: int, ticker: Ticker) -> FewRowsRun:
    """Train as the lesson does on 100 rows, 20 of them test rows, and measure on the other 469 rows as well."""
    train, test, unseen = few_rows(table, seed)
    label = f"{config.model} on {FEW_ROWS} rows, seed {seed}"
    lesson = run_as_lesson(table, replace(config, seed=seed), train, test, ticker, label)
    return FewRowsRun(lesson, metrics_of(lesson.trained.module, table, unseen))


def few_rows(table: Table, seed: int) -> tuple[IntArray, IntArray, IntArray]:
    """Return 80 training rows, 20 test rows, and all other rows."""
    unseen, few = split_rows(np.arange(len(table.y)), table.y, FEW_ROWS / len(table.y), seed)
    train, test = split_rows(few, table.y, TEST_FRACTION, seed)
    return train, test, unseen


def weights_of_lessons(
    table: Table,
    config: Config,
    lessons: Sequence[LessonRun],
    splits: Sequence[tuple[IntArray, IntArray]],
    ticker: Ticker,
) -> Weights:
    """Return the weights of the lessons' trainings, and of the same trainings without mean radius."""
    seeds = range(len(lessons))
    untrained = [starting_module(table, replace(config, seed=seed)) for seed in seeds]
    trained = [lesson.trained.module for lesson in lessons]
    fewer = without_radius(table)
    alone = [
        run_as_lesson(
            fewer, replace(config, seed=seed), *splits[seed], ticker, f"without mean radius, seed {seed}"
        ).trained.module
        for seed in seeds
    ]
    return measure_weights(table, list(zip(untrained, trained, strict=True)), alone)


def run_with_shallow_copy(
    table: Table, config: Config, seed: int, train: IntArray, test: IntArray, ticker: Ticker
) -> ShallowCopyRun:
    """Train as the lesson does, and restore the best weights as it does.

    PyTorch trains here: the compiled engine writes the weights into the module only when training ends.
    """
    config = replace(config, engine="torch", seed=seed)
    module = starting_module(table, config)
    shallow = ShallowBest(module)
    show = ticker.on_epoch(f"{config.model} on {len(train) + len(test)} rows with a shallow copy, seed {seed}")

    def callback(state: TrainingState) -> None:
        shallow(state)
        show(state)

    trained = train_to_the_end(module, table, config, Split(train, test, test[:0]), callback)
    assert shallow.restored is not None  # a training that ends has had a last epoch
    return ShallowCopyRun(
        trained.history[trained.best_epoch - 1].val_loss,
        trained.history[-1].val_loss,
        metrics_of(shallow.restored, table, test)["log_loss"],
        shallow.restored_last,
    )


def accuracy_sheet(lessons: Sequence[LessonRun], separate: Sequence[SeparateRun]) -> Sheet:
    """Return the lessons' claims beside what their protocol and separate validation and test rows give."""
    both: tuple[Sequence[LessonRun] | Sequence[SeparateRun], ...] = (lessons, separate)

    def row(what: str, claim: Cell, metric: str, style: str) -> Row:
        return Row(what, (claim, *(spread(run.test[metric] for run in runs) for runs in both)), style)

    train_accuracy = (spread(run.train["accuracy"] for run in runs) for runs in both)
    epochs = (spread(len(run.trained.history) for run in runs) for runs in both)
    seconds = (spread(run.trained.history[-1].seconds for run in runs) for runs in both)
    rows = [
        Row("train accuracy", (CLAIMED_ACCURACY["train"], *train_accuracy), ".1%"),
        row("test accuracy", CLAIMED_ACCURACY["test"], "accuracy", ".1%"),
        row("test log loss", None, "log_loss", ".3f"),
        Row("epochs until it stopped", (float(CLAIMED_EPOCHS), *epochs), ".0f"),
        Row("seconds of training", (120.0, *seconds), ".2f"),
    ]
    for what, name, claims in (("train", "train_loss", CLAIMED_LOSSES), ("validation", "val_loss", CLAIMED_VAL_LOSSES)):
        for epoch, claim in claims.items():
            losses = (losses_at(runs, epoch, name) for runs in both)
            cells = (spread(values) if values else None for values in losses)
            rows.append(Row(f"{what} loss of epoch {epoch}", (claim, *cells)))
    columns = ("document", "same protocol, measured", "separate validation and test rows")
    return Sheet("accuracy and epochs, mean ± standard deviation over seeds", columns, tuple(rows))


def optimism_sheet(
    lessons: Sequence[LessonRun],
    separate: Sequence[SeparateRun],
    few: Sequence[FewRowsRun],
    few_network: Sequence[FewRowsRun],
) -> Sheet:
    """Return what the lessons' protocol reports minus what unseen rows say, with all rows and with few."""
    rows = []
    for metric, style in (("accuracy", "+.2%"), ("log_loss", "+.3f")):
        paired = spread(
            lesson.test[metric] - other.test[metric] for lesson, other in zip(lessons, separate, strict=True)
        )
        of_few, of_network = (spread(run.optimism(metric) for run in runs) for runs in (few, few_network))
        rows.append(Row(metric.replace("_", " "), (paired, of_few, of_network), style))
    columns = ("569 rows, logistic", f"{FEW_ROWS} rows, logistic", f"{FEW_ROWS} rows, network")
    return Sheet("optimism: metric of the rows used for early stopping, minus that of unseen rows", columns, tuple(rows))


def notes(lessons: Sequence[LessonRun], network: Config) -> tuple[str, ...]:
    """Return what the figures mean, and where they differ from the lessons'."""
    epochs = [len(run.trained.history) for run in lessons]
    hidden = "-".join(str(width) for width in network.hidden)
    n_as_long = sum(n_epochs >= CLAIMED_EPOCHS for n_epochs in epochs)
    return (
        f"the document claims {CLAIMED_EPOCHS} epochs; measured {spread(epochs).show('.0f')}, from {min(epochs)} to "
        f"{max(epochs)}, and at least {CLAIMED_EPOCHS} with {n_as_long} of {len(epochs)} seeds. The other lesson claims "
        "105 epochs for the same hyperparameters and the same accuracies",
        "all figures are of the best epoch's weights, which the document means to keep (see the first mistake)",
        "optimism with 569 rows: the unseen rows are the same test rows, and the model that never saw them has separate "
        f"validation rows and fewer training rows; with {FEW_ROWS} rows: the same model on the rows that it never saw",
        f"the network is {hidden}, Adam {network.learning_rate:g}, patience {network.patience}: our choice, to show "
        "the same mistakes on a model that overfits",
    )


def shallow_copy(logistic: Sequence[ShallowCopyRun], network: Sequence[ShallowCopyRun]) -> Mistake:
    """Compare the best log loss that was recorded with that of the weights that a shallow copy restores."""
    figures = {}
    for name, runs in (("logistic", logistic), ("network", network)):
        figures[f"{name}_recorded_loss"] = spread(run.recorded_loss for run in runs).mean
        figures[f"{name}_restored_loss"] = spread(run.restored_loss for run in runs).mean
        figures[f"{name}_runs"] = float(len(runs))
        figures[f"{name}_runs_restored_to_last"] = float(sum(run.restored_last for run in runs))
    effect = (
        "best log loss recorded {logistic_recorded_loss:.4f}, restored {logistic_restored_loss:.4f} (logistic, all "
        f"rows); {{network_recorded_loss:.3f}} and {{network_restored_loss:.3f}} (network, {FEW_ROWS} rows); the "
        "restored weights were the last epoch's in {logistic_runs_restored_to_last:.0f} of {logistic_runs:.0f} and "
        "{network_runs_restored_to_last:.0f} of {network_runs:.0f} runs"
    ).format(**figures)
    return Mistake("keeps its best weights by state_dict().copy(), which shares their memory", effect, figures)


def stopping_on_test_rows(few: Sequence[FewRowsRun], few_network: Sequence[FewRowsRun]) -> Mistake:
    """Return by how much early stopping on the test rows flatters a model of few rows."""
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
    return Mistake("stops early on its test rows and reports the same rows", effect, figures)


def reversed_labels(separate: Sequence[SeparateRun], table: Table, test: IntArray) -> Mistake:
    """Compare the recall of scikit-learn's class 1, which the lesson takes for malignant, with the sensitivity."""
    figures = {
        "recall_of_class_1": spread(run.test["specificity"] for run in separate).mean,
        "malignant_sensitivity": spread(run.test["sensitivity"] for run in separate).mean,
        "n_test": float(len(test)),
        "n_malignant": float((table.y[test] == table.schema.positive).sum()),
    }
    effect = (
        "the recall of class 1 is {recall_of_class_1:.1%}, and it is of benign rows; of the cancers "
        "{malignant_sensitivity:.1%} are detected. {n_malignant:.0f} of {n_test:.0f} test rows are malignant; in the "
        f"document's confusion matrix there are {sum(CLAIMED_CONFUSION[1])}"
    ).format(**figures)
    return Mistake("takes label 1 for malignant (in scikit-learn's table 0 is malignant)", effect, figures)

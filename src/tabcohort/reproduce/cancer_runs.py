"""The trainings of the lessons on breast cancer: as described, with separate rows, on few rows, by batch size."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn as nn

from tabcohort.data.splits import Split
from tabcohort.data.table import Table
from tabcohort.reproduce.cancer_batches import BATCH_SIZES, BatchRun, initial_noise
from tabcohort.reproduce.cancer_first_lesson import RATES, FirstLesson, train_first_lesson
from tabcohort.reproduce.cancer_weights import Weights, measure_weights, without_radius
from tabcohort.reproduce.runs import Ticker, metrics_of, split_rows, starting_module, train_to_the_end
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
TRAININGS_PER_SEED = 6 + len(BATCH_SIZES)  # in `train_all`, without the fast ones of lesson 1A


@dataclass(frozen=True)
class LessonRun:
    """A training, whose test rows are also its validation rows if it is done as in the lesson.

    Args:
        trained: with the weights of the best epoch.
        train, test: metrics of the training rows and of the test rows.
    """

    trained: Trained
    train: dict[str, float]
    test: dict[str, float]


def batch_run(run: LessonRun) -> BatchRun:
    """Return what is compared between sizes of batches."""
    history = run.trained.history
    return BatchRun(len(history), history[-1].seconds, run.test["log_loss"])


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


def run_with_separate_rows(table: Table, config: Config, train: IntArray, test: IntArray, ticker: Ticker) -> LessonRun:
    """Train on four fifths of `train`, stop early on the other fifth, and measure on `test` once."""
    train, validation = split_rows(train, table.y, TEST_FRACTION, config.seed)
    module = starting_module(table, config)
    callback = ticker.on_epoch(f"separate validation and test rows, seed {config.seed}")
    trained = train_to_the_end(module, table, config, Split(train, validation, test), callback)
    return LessonRun(trained, metrics_of(module, table, train), metrics_of(module, table, test))


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


@dataclass(frozen=True)
class CancerRuns:
    """All trainings, one of each kind for each seed.

    Args:
        splits: training rows and test rows.
        lessons: as the lessons train.
        separate: with separate validation and test rows.
        few, few_network: on few rows, the logistic regression and a network.
        shallow, shallow_network: with the lessons' copy of the best weights, the network on few rows.
        first: lesson 1A, by learning rate.
        by_size: with separate rows, by the size of batches.
        noise: relative deviation of the gradient of batches, by their size.
        weights: of the lessons' trainings.
    """

    splits: Sequence[tuple[IntArray, IntArray]]
    lessons: Sequence[LessonRun]
    separate: Sequence[LessonRun]
    few: Sequence[FewRowsRun]
    few_network: Sequence[FewRowsRun]
    shallow: Sequence[ShallowCopyRun]
    shallow_network: Sequence[ShallowCopyRun]
    first: dict[float, list[FirstLesson]]
    by_size: dict[int | str, list[BatchRun]]
    noise: dict[int, list[float]]
    weights: Weights


def train_all(table: Table, seeds: int, config: Config, network: Config, ticker: Ticker) -> CancerRuns:
    """Train everything that the lessons' claims need.

    Args:
        table: breast cancer.
        seeds: number of splits, each with its own initial weights and batches.
        config: of the lessons' model.
        network: config of a larger model.
        ticker: shows progress.
    """
    splits = [split_rows(np.arange(len(table.y)), table.y, TEST_FRACTION, seed) for seed in range(seeds)]
    pairs = [(replace(config, seed=seed), split) for seed, split in enumerate(splits)]
    lessons = [
        run_as_lesson(table, seeded, *split, ticker, f"as the lesson, seed {seeded.seed}") for seeded, split in pairs
    ]
    separate = [run_with_separate_rows(table, seeded, *split, ticker) for seeded, split in pairs]
    by_size = {
        size: [
            batch_run(run_with_separate_rows(table, replace(seeded, batch_size=size), *split, ticker))
            for seeded, split in pairs
        ]
        for size in BATCH_SIZES
        if size != config.batch_size
    }
    by_size[config.batch_size] = [batch_run(run) for run in separate]
    noise = [initial_noise(table, train, starting_module(table, seeded)) for seeded, (train, _) in pairs]
    return CancerRuns(
        splits=splits,
        lessons=lessons,
        separate=separate,
        few=[run_on_few_rows(table, config, seed, ticker) for seed in range(seeds)],
        few_network=[run_on_few_rows(table, network, seed, ticker) for seed in range(seeds)],
        shallow=[run_with_shallow_copy(table, config, seed, *split, ticker) for seed, split in enumerate(splits)],
        shallow_network=[
            run_with_shallow_copy(table, network, seed, *few_rows(table, seed)[:2], ticker) for seed in range(seeds)
        ],
        first={
            rate: [train_first_lesson(table, *split, rate, seed) for seed, split in enumerate(splits)] for rate in RATES
        },
        by_size={size: by_size[size] for size in BATCH_SIZES},
        noise={size: [values[size] for values in noise] for size in noise[0]},
        weights=weights_of_lessons(table, config, lessons, splits, ticker),
    )

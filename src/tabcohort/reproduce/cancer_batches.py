"""What lesson 1B says of batches of 32 rows and of prediction: sizes of batches compared, noise, memory and seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn as nn

from tabcohort.data.table import Table
from tabcohort.reproduce.claims import FAILS, HOLDS, Claim, Compared, Measured, order_claim
from tabcohort.reproduce.findings import Row, Sheet, spread
from tabcohort.reproduce.gradient_noise import noise_claim, noise_of_logistic
from tabcohort.types import IntArray

DOCUMENT_SIZE = 32
BATCH_SIZES: tuple[int | str, ...] = (8, 16, 32, 64, 128, "full")
MICROSECONDS_OF_PREDICTION = 1e6  # a second
SIZE, RESULTS, PREDICTION = "lesson 1B, why batches of 32", "lesson 1B, clinical implications", "lesson 1B, predict"
PASSES = 200


@dataclass(frozen=True)
class BatchRun:
    """A training with separate validation and test rows: its epochs and seconds, and the log loss of the test rows."""

    epochs: int
    seconds: float
    test_loss: float


BySize = Mapping[int | str, Sequence[BatchRun]]


def batch_sheet(by_size: BySize) -> Sheet:
    """Return epochs, seconds and log loss by the size of batches."""
    rows = tuple(
        Row(
            "all rows" if size == "full" else f"{size} rows",
            (
                spread(run.epochs for run in runs).show(".0f"),
                spread(run.seconds for run in runs),
                spread(run.test_loss for run in runs),
            ),
        )
        for size, runs in by_size.items()
    )
    return Sheet("by size of batches, separate rows", ("epochs", "seconds", "log loss, test rows"), rows)


def batch_claims(by_size: BySize, noise: Mapping[int, Sequence[float]]) -> tuple[Claim, ...]:
    """Return what the lesson says of the size of batches.

    Args:
        by_size: trainings by the size of batches, one for each seed.
        noise: relative deviation of the gradient by the size of batches, one for each seed; sizes 1 and 32.
    """

    def side(size: int | str, name: str, quantity: Callable[[BatchRun], float]) -> Compared:
        return Compared(name, None, {seed: quantity(run) for seed, run in enumerate(by_size[size])})

    def later(side: Compared) -> Compared:
        return replace(side, by_seed={seed: value for seed, value in side.by_seed.items() if seed >= half})

    others = [size for size in by_size if size != DOCUMENT_SIZE]
    half = len(by_size[DOCUMENT_SIZE]) // 2  # the best other size is chosen on other seeds than those that compare it
    best = min(others, key=lambda size: spread(run.test_loss for run in by_size[size][: max(half, 1)]).mean)
    of_best = "full batches" if best == "full" else f"batches of {best}"
    return (
        order_claim(
            f"Batches of 32 rows are optimal: their test loss is below that of {of_best}, the best other size on half "
            "of the seeds", SIZE,
            later(side(best, f"log loss, {of_best}, the other half", lambda run: run.test_loss)),
            later(side(DOCUMENT_SIZE, "batches of 32", lambda run: run.test_loss)),
        ),
        order_claim(
            "Batches of 32 train in fewer epochs than full batches", SIZE,
            side("full", "epochs, full batches", lambda run: float(run.epochs)),
            side(DOCUMENT_SIZE, "batches of 32", lambda run: float(run.epochs)), ".0f",
        ),
        order_claim(
            "Batches of 32 train faster than full batches", SIZE,
            side("full", "seconds, full batches", lambda run: run.seconds),
            side(DOCUMENT_SIZE, "batches of 32", lambda run: run.seconds),
        ),
        noise_claim("Batches of 32 have steadier gradients than single rows", SIZE, noise),
    )  # fmt: skip


def initial_noise(table: Table, train: IntArray, module: nn.Module) -> dict[int, float]:
    """Return the relative deviation of the gradient of one row and of 32 rows, with a module's initial weights.

    Args:
        table: numbers and two classes.
        train: row numbers of the training rows.
        module: a logistic regression of standardized columns.
    """
    X = (table.X[train] - table.X[train].mean(axis=0)) / table.X[train].std(axis=0)
    return {size: noise_of_logistic(module, X, table.y[train], size) for size in (1, DOCUMENT_SIZE)}


def prediction_claims(modules: Sequence[nn.Module], table: Table) -> tuple[Claim, ...]:
    """Return how long a prediction takes, and whether it is faster without gradients.

    Args:
        modules: trained ones, one for each seed.
        table: with the rows to predict.
    """
    row = torch.tensor(table.X[:1], dtype=torch.float32)
    with_gradients, without = {}, {}
    for seed, module in enumerate([modules[0], *modules]):  # the first one is timed twice, as it also warms up
        with_gradients[seed - 1] = microseconds_per_pass(module, row)
        with torch.no_grad():
            without[seed - 1] = microseconds_per_pass(module, row)
    del with_gradients[-1], without[-1]
    longest = max(without.values())
    return (
        Claim(
            "A prediction takes less than a second", RESULTS, "1 s",
            (Measured("microseconds", spread(without.values()), ".0f"),),
            HOLDS if longest < MICROSECONDS_OF_PREDICTION else FAILS,
            f"the longest mean of {PASSES} passes is {longest:.0f} microseconds",
        ),
        order_claim(
            "Without gradients a prediction is faster", PREDICTION,
            Compared("microseconds, with gradients", None, with_gradients), Compared("without", None, without), ".1f",
        ),
    )  # fmt: skip


def microseconds_per_pass(module: nn.Module, row: torch.Tensor) -> float:
    """Return the mean time of a pass of one row through a module in evaluation mode."""
    module.eval()
    began = time.perf_counter()
    for _ in range(PASSES):
        module(row)
    return 1e6 * (time.perf_counter() - began) / PASSES

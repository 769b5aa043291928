"""Full batch, one row at a time, mini-batches: what they need until the training loss reaches the same value.

Source: lesson 1B and the lesson on the Wine data, which describe the three in words.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy.special import expit

from tabcohort.data.encoder import fit_statistics, standardize
from tabcohort.data.table import Table
from tabcohort.reproduce.claims import FAILS, HOLDS, Claim, Compared, measured_once, order_claim
from tabcohort.reproduce.findings import Findings, Mistake, Row, Sheet, spread
from tabcohort.reproduce.gradient_noise import noise_claim, noise_of_logistic
from tabcohort.reproduce.pictures import Bar, Bars, Curves, Picture, mean_curve
from tabcohort.reproduce.runs import Ticker, epochs_on_all_rows, sample_table, starting_module
from tabcohort.settings import Config
from tabcohort.types import FloatArray, IntArray

TARGET_LOSS = 0.10
MAX_EPOCHS = 20_000
ADAM = Config(model="logistic", optimizer="adam", learning_rate=1e-3, weight_decay=0.0)
SGD = replace(ADAM, optimizer="sgd", momentum=0.0)
BATCHES: tuple[tuple[str, int | str, float], ...] = (
    ("full batch", "full", 0.3),
    ("32 rows", 32, 0.1),
    ("one row", 1, 0.01),
)
ACCOUNT = (
    "Two lessons describe gradient descent with all rows, with one row and with mini-batches at a time, in words: "
    "mini-batches are said to be faster than the first and more stable than the second.",
    "Here all three trained the logistic regression of the cancer lesson until the loss of all rows was the same, with "
    "Adam and with gradient descent. Measured were epochs, updates, seconds, and how far gradients of batches deviate.",
)
PROTOCOLS = (
    "As the documents do it: all rows train, and the loss is that of all rows.",
    "Test rows play no part here: the question is how fast the training loss falls, not how well a model predicts.",
)


@dataclass(frozen=True)
class Descent:
    """What a training needed until its loss reached the target.

    Args:
        epochs, updates, seconds: until then.
        losses: of all rows after each epoch.
        reached: False if its epochs ran out before.
    """

    epochs: int
    updates: int
    seconds: float
    losses: tuple[float, ...]
    reached: bool

    @property
    def loss(self) -> float:
        """The loss at the end."""
        return self.losses[-1]


def run(messages: Console, seeds: int = 10, target: float = TARGET_LOSS) -> Findings:
    """Train with three batch sizes, with Adam and with plain gradient descent, `seeds` times each."""
    table = sample_table("breast-cancer")
    inputs = standardize(table.numbers, fit_statistics(table.numbers, table.weight))
    with Ticker(messages, 2 * len(BATCHES) * seeds) as ticker:
        columns = tuple(name for name, _, _ in BATCHES)
        adam = [
            _descents(table, inputs, replace(ADAM, batch_size=size), seeds, target, ticker) for _, size, _ in BATCHES
        ]
        sgd = [
            _descents(table, inputs, replace(SGD, batch_size=size, learning_rate=rate), seeds, target, ticker)
            for _, size, rate in BATCHES
        ]
        rates = ", ".join(f"{rate:g} ({name})" for name, _, rate in BATCHES)
        sheets = (
            Sheet(f"until the loss of all 569 rows is at most {target:g}: Adam, rate 0.001", columns, _rows(adam)),
            Sheet(f"the same: plain gradient descent, rates {rates}", columns, _rows(sgd)),
        )
        ticker.say("measuring the mistake")
        return Findings(
            "descents",
            f"three batch sizes of gradient descent, logistic regression on breast cancer, seeds: {seeds}",
            (
                "the loss is measured after every epoch on all rows; an epoch is 569 updates one row at a time, 18 "
                "with 32 rows, and 1 with the full batch, so 'one row' can overshoot the target within an epoch",
                "the documents give no figures here; they say that mini-batches are faster than the full batch, and "
                "more stable than one row at a time",
            ),
            sheets,
            (average_error_as_gradient(inputs, table),),
            ticker.seconds,
            ACCOUNT,
            PROTOCOLS,
            (
                *claims("Adam", adam),
                *claims("plain gradient descent", sgd),
                *stability_claims(table, inputs, seeds),
                *memory_claims(inputs),
            ),
            (*pictures("Adam", adam), *pictures("plain gradient descent", sgd)),
        )


def _descents(
    table: Table, inputs: NDArray[np.float32], config: Config, seeds: int, target: float, ticker: Ticker
) -> list[Descent]:
    return [descend(table, inputs, replace(config, seed=seed), target, ticker) for seed in range(seeds)]


def descend(table: Table, inputs: NDArray[np.float32], config: Config, target: float, ticker: Ticker) -> Descent:
    """Train on all rows until their loss is at most `target`, or `MAX_EPOCHS` are over."""
    network = starting_module(table, config)[1]
    ticker.begin(f"{config.optimizer}, batch {config.batch_size}, seed {config.seed}")
    began, losses = time.perf_counter(), []
    for epoch in epochs_on_all_rows(network, inputs, table, config):
        losses.append(epoch.loss)
        ticker.say(
            f"{config.optimizer}, batch {config.batch_size}, seed {config.seed}, epoch {epoch.epoch}: "
            f"loss {epoch.loss:.4f}"
        )
        if epoch.loss <= target or epoch.epoch == MAX_EPOCHS:
            break
    return Descent(epoch.epoch, epoch.updates, time.perf_counter() - began, tuple(losses), epoch.loss <= target)


def _rows(columns: list[list[Descent]]) -> tuple[Row, ...]:
    def row(what: str, name: str, style: str) -> Row:
        return Row(what, tuple(spread(getattr(descent, name) for descent in column) for column in columns), style)

    return (
        row("epochs", "epochs", ",.1f"),
        row("updates", "updates", ",.0f"),
        row("seconds", "seconds", ".3f"),
        row("loss reached", "loss", ".4f"),
        row("fraction of runs that reached it", "reached", ".0%"),
    )


def claims(optimizer: str, columns: list[list[Descent]]) -> tuple[Claim, ...]:
    """Return whether mini-batches are faster than the full batch and than one row at a time."""

    def side(column: int, what: str, quantity: str) -> Compared:
        by_seed = {seed: float(getattr(descent, quantity)) for seed, descent in enumerate(columns[column])}
        return Compared(f"{what}, {BATCHES[column][0]}", None, by_seed)

    where = "introduction to mini-batch training"
    return (
        order_claim(
            f"Mini-batches are faster than the full batch ({optimizer})", where, side(0, "seconds", "seconds"),
            side(1, "seconds", "seconds"),
        ),
        order_claim(
            f"Mini-batches are faster than one row at a time ({optimizer})", where, side(2, "seconds", "seconds"),
            side(1, "seconds", "seconds"),
        ),
        order_claim(
            f"The full batch needs fewer updates than mini-batches ({optimizer})", where, side(1, "updates", "updates"),
            side(0, "updates", "updates"), ".0f",
        ),
    )  # fmt: skip


def stability_claims(table: Table, inputs: NDArray[np.float32], seeds: int) -> tuple[Claim, ...]:
    """Return whether gradients of mini-batches are steadier than those of one row, with initial weights.

    Args:
        table: the rows' classes.
        inputs: the standardized rows, `(n_rows, n_columns)`.
        seeds: of the initial weights.
    """
    modules = [starting_module(table, replace(ADAM, seed=seed)) for seed in range(seeds)]
    X, n_rows = inputs.astype(np.float64), len(inputs)
    noise = {size: [noise_of_logistic(module, X, table.y, size) for module in modules] for size in (1, 32, n_rows)}
    text = "Updates of one row are the noisiest, those of mini-batches less so, those of full batches exact"
    return (noise_claim(text, "introduction to mini-batch training", noise),)


def memory_claims(inputs: NDArray[np.float32]) -> tuple[Claim, ...]:
    """Return the bytes of a step's rows, which the lessons give only in words."""
    sizes = {name: (len(inputs) if size == "full" else int(size)) * inputs[0].nbytes for name, size, _ in BATCHES}
    text = "Mini-batches need less memory than the full batch, one row at a time the least"
    measured = tuple(measured_once(f"bytes, {name}", n, ",.0f") for name, n in sizes.items())
    reason = "of a step's rows; the table itself is in memory in each case"
    full, some, one = sizes.values()
    return (Claim(text, "why use mini-batch training", "", measured, HOLDS if full > some > one else FAILS, reason),)


def pictures(optimizer: str, columns: list[list[Descent]]) -> tuple[Picture, ...]:
    """Return the losses over epochs, and the seconds and updates until the target."""
    names = [name for name, _, _ in BATCHES]
    curves = (
        mean_curve(name, [descent.losses for descent in column]) for name, column in zip(names, columns, strict=True)
    )
    bars = {
        quantity: tuple(
            Bar(name, spread(getattr(descent, quantity) for descent in column))
            for name, column in zip(names, columns, strict=True)
        )
        for quantity in ("seconds", "updates")
    }
    return (
        Curves(f"Loss of all rows, {optimizer}", ("epoch", "log loss"), tuple(curves)),
        Bars(f"Seconds until the target, {optimizer}", bars["seconds"]),
        Bars(f"Updates until the target, {optimizer}", bars["updates"], ",.0f"),
    )


Direction = Callable[[FloatArray], FloatArray]


def _full_batch(
    X: FloatArray, y: IntArray, direction: Direction, epochs: int, learning_rate: float
) -> tuple[float, float]:
    """Return loss and accuracy after full-batch steps from weights of 0, along `direction(errors)` of all rows."""
    weights, bias = np.zeros(X.shape[1]), 0.0
    for _ in range(epochs):
        error = expit(X @ weights + bias) - y
        weights -= learning_rate * direction(error)
        bias -= learning_rate * error.mean()
    logits = X @ weights + bias
    return float(np.logaddexp(0, np.where(y == 1, -logits, logits)).mean()), float(((logits > 0) == y).mean())


def average_error_as_gradient(
    inputs: NDArray[np.float32], table: Table, epochs: int = 1_000, learning_rate: float = 0.1
) -> Mistake:
    """Compare the lesson's full-batch update, the mean error for every weight, with the gradient."""
    X = inputs.astype(np.float64)
    gradient_loss, gradient_accuracy = _full_batch(
        X, table.y, lambda error: X.T @ error / len(X), epochs, learning_rate
    )
    lesson_loss, lesson_accuracy = _full_batch(
        X, table.y, lambda error: np.full(X.shape[1], error.mean()), epochs, learning_rate
    )
    figures = {
        "lesson_accuracy": lesson_accuracy,
        "lesson_loss": lesson_loss,
        "gradient_accuracy": gradient_accuracy,
        "gradient_loss": gradient_loss,
    }
    effect = (
        f"after {epochs:,} epochs at rate {learning_rate:g} from weights of 0, its update has accuracy "
        "{lesson_accuracy:.1%} and loss {lesson_loss:.3f} on the training rows; the gradient has "
        "{gradient_accuracy:.1%} and {gradient_loss:.3f}"
    ).format(**figures)
    return Mistake("moves every weight by the mean error, without the features (full batch)", effect, figures)

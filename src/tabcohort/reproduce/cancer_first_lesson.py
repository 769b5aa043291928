"""The logistic regression from scratch of lesson 1A, which lesson 1B says to improve on: full batches, plain updates.

Lesson 1B describes it: weights of 0.01 times standard normal numbers, a bias of 0, all training rows in each update. It
gives no learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from tabcohort.data.table import Table
from tabcohort.reproduce.claims import FAILS, HOLDS, UNDECIDED, Claim, Compared, Measured, order_claim, value_claim
from tabcohort.reproduce.findings import spread
from tabcohort.types import FloatArray, IntArray

EPOCHS, RATES = 1_000, (0.01, 0.1, 50.0)  # the loss rises in some epochs at the last one only
CLAIMED_ACCURACY, CLAIMED_WITH_ADAM = 0.94, 0.965
CLAIMED_EPOCHS, CLAIMED_EPOCHS_WITH_ADAM = 1_000, 447
WHERE = "lesson 1B, improvements over lesson 1A"


@dataclass(frozen=True)
class FirstLesson:
    """A training of lesson 1A.

    Args:
        losses: of the training rows before each update, `(n_epochs,)`.
        accuracy: of the test rows after the last one.
    """

    losses: FloatArray
    accuracy: float


def train_first_lesson(table: Table, train: IntArray, test: IntArray, rate: float, seed: int) -> FirstLesson:
    """Train on some rows of a table, and measure others.

    Args:
        table: numbers and two classes.
        train, test: row numbers.
        rate: of learning.
        seed: of the initial weights.
    """
    center, scale = table.X[train].mean(axis=0), table.X[train].std(axis=0)
    X, y = (table.X - center) / scale, table.y.astype(np.float64)
    weights, bias = 0.01 * np.random.default_rng(seed).normal(size=X.shape[1]), 0.0
    losses = []
    for _ in range(EPOCHS):
        score = X[train] @ weights + bias
        losses.append(float(np.mean(np.logaddexp(0.0, score) - y[train] * score)))
        error = expit(score) - y[train]
        weights, bias = weights - rate * X[train].T @ error / len(train), bias - rate * float(error.mean())
    is_positive = X[test] @ weights + bias > 0
    return FirstLesson(np.array(losses), float(np.mean(is_positive == table.y[test])))


def rising_share(losses: Sequence[float] | FloatArray) -> float:
    """Return the share of epochs whose loss is above that of the epoch before."""
    return float(np.mean(np.diff(np.asarray(losses)) > 0))


def epochs_until(losses: Sequence[float] | FloatArray, target: float) -> int:
    """Return the first epoch whose loss is at most a target; all epochs where none is."""
    reached = np.flatnonzero(np.asarray(losses) <= target)
    return int(reached[0]) + 1 if len(reached) else len(losses)


def first_lesson_claims(
    first: Mapping[float, Sequence[FirstLesson]], accuracies: Sequence[float], losses: Sequence[Sequence[float]]
) -> tuple[Claim, ...]:
    """Return what lesson 1B says of lesson 1A.

    Args:
        first: trainings of lesson 1A by learning rate, one for each seed.
        accuracies: of the test rows in lesson 1B, by seed.
        losses: of the training rows in each epoch of lesson 1B, by seed.
    """
    claims = [
        value_claim(
            f"Accuracy of lesson 1A on the test rows after {EPOCHS:,} epochs (rate {rate:g}, our choice)", WHERE,
            CLAIMED_ACCURACY, Measured("test accuracy", spread(run.accuracy for run in runs), ".1%"),
        )
        for rate, runs in first.items()
    ]  # fmt: skip
    middle, slow = first[sorted(first)[len(first) // 2]], first[min(first)]
    same_loss = {seed: epochs_until(run.losses, losses[seed][-1]) for seed, run in enumerate(slow)}
    return (
        *claims,
        order_claim(
            "Lesson 1B, with Adam, is more accurate than lesson 1A", WHERE,
            Compared("test accuracy, lesson 1A", CLAIMED_ACCURACY, dict(enumerate(run.accuracy for run in middle))),
            Compared("lesson 1B", CLAIMED_WITH_ADAM, dict(enumerate(accuracies))), ".1%",
        ),
        order_claim(
            f"Lesson 1B needs fewer epochs than lesson 1A (rate {min(first):g}) for the same training loss", WHERE,
            Compared("epochs, lesson 1A (at most 1,000)", CLAIMED_EPOCHS, same_loss),
            Compared("lesson 1B", CLAIMED_EPOCHS_WITH_ADAM, dict(enumerate(map(len, losses)))), ".0f",
        ),
        oscillation_claim(first, losses),
    )  # fmt: skip


def oscillation_claim(first: Mapping[float, Sequence[FirstLesson]], losses: Sequence[Sequence[float]]) -> Claim:
    """Return whether more epochs of lesson 1A than of lesson 1B have a higher loss than the epoch before.

    Gradient descent on all rows never raises the loss if its rate is below 2 / L, where L is the largest eigenvalue of
    the Hessian (Nesterov 2004), and the document names no rate.

    Args:
        first: trainings of lesson 1A by learning rate, one for each seed.
        losses: of the training rows in each epoch of lesson 1B, by seed.
    """
    shares = {rate: spread(rising_share(run.losses) for run in runs) for rate, runs in first.items()}
    with_adam = spread(map(rising_share, losses))
    rises_more = [share.mean > with_adam.mean for share in shares.values()]
    verdict = HOLDS if all(rises_more) else UNDECIDED if any(rises_more) else FAILS
    measured = tuple(
        Measured(f"epochs whose loss rises, rate {rate:g}", share, ".1%") for rate, share in shares.items()
    )
    text = "The loss of lesson 1A oscillates, and with Adam it falls smoothly"
    reason = "it depends on the rate, which the document does not name" if verdict == UNDECIDED else "at all rates"
    return Claim(text, WHERE, "", (*measured, Measured("lesson 1B", with_adam, ".1%")), verdict, reason)

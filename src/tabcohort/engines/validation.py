"""The validation rows, and what an epoch's results are measured by."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tabcohort.errors import TrainingError
from tabcohort.evaluation.metrics import METRICS, Scorer, log_probabilities
from tabcohort.types import BoolArray, FloatArray, IntArray


class EpochResult(NamedTuple):
    """What an engine returns for an epoch.

    Args:
        step_losses: the training loss of each step, summed over its rows, `(n_steps,)`.
        val_logits: the logits of the validation rows after the last step, `(n_val, n_outputs)`.
        train_loss: mean over the epoch's rows, as they were trained on (mixed, smoothed, with dropout).
        val_loss, val_accuracy: log loss and accuracy of the validation rows after the epoch.
    """

    step_losses: FloatArray
    val_logits: NDArray[np.floating]
    train_loss: float
    val_loss: float
    val_accuracy: float

    @property
    def is_finite(self) -> bool:
        """Whether all losses and logits are finite."""
        return math.isfinite(self.train_loss) and math.isfinite(self.val_loss)


@dataclass(frozen=True)
class ValidationSet:
    """The rows that validate a member.

    Args:
        rows: row numbers in the table, `(n_val,)`.
        y: class codes, `(n_val,)`.
        weight: row weights, `(n_val,)`.
        positive: code of the positive class, or None.
    """

    rows: IntArray
    y: IntArray
    weight: FloatArray
    positive: int | None

    def results(self, step_losses: FloatArray, val_logits: NDArray[np.floating], n_train: int) -> list[EpochResult]:
        """Return the results of epochs that ran in one call: together, as small tables have thousands in a second.

        Args:
            step_losses: `(n_epochs, n_steps)`.
            val_logits: `(n_epochs, n_val, n_outputs)`.
            n_train: rows per epoch.
        """
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is an error in the loop
            train_losses = step_losses.sum(axis=1) / n_train
            if val_logits.shape[2] == 1:
                losses = np.logaddexp(0.0, val_logits[:, :, 0] * self._sign)
                is_correct = (val_logits[:, :, 0] > 0) == self._is_second
            else:
                log_proba = log_probabilities(val_logits.reshape(-1, val_logits.shape[2])).reshape(val_logits.shape)
                losses = np.ascontiguousarray(-log_proba[:, np.arange(len(self.y)), self.y])
                is_correct = log_proba.argmax(axis=2) == self.y
            # Not by BLAS, whose order of summation depends on how many epochs there are.
            val_losses = (losses * self.weight).sum(axis=1) / self._total_weight
            accuracies = (is_correct * self.weight).sum(axis=1) / self._total_weight
            val_losses[~np.isfinite(val_logits).all(axis=(1, 2))] = math.nan
        columns = (step_losses, val_logits, train_losses.tolist(), val_losses.tolist(), accuracies.tolist())
        return [EpochResult(*values) for values in zip(*columns, strict=True)]

    def score(self, result: EpochResult, monitor: str) -> float:
        """Return the monitored metric of an epoch.

        Raises:
            TrainingError: the validation rows cannot determine it.
        """
        if monitor == "log_loss":
            return result.val_loss
        if monitor == "accuracy":
            return result.val_accuracy
        scorer, metric = Scorer(log_probabilities(result.val_logits), self.y, self.positive), METRICS[monitor]
        can_be_measured = self.positive is not None or not metric.needs_positive
        value = metric.value(scorer.weighted(self.weight)) if can_be_measured else math.nan
        if math.isnan(value):
            raise TrainingError(
                f"the validation rows cannot determine {monitor!r} (a class is missing among them, or no class is "
                "named positive); monitor 'log_loss' instead"
            )
        return value

    @functools.cached_property
    def _total_weight(self) -> float:
        return float(self.weight.sum())

    @functools.cached_property
    def _is_second(self) -> BoolArray:
        """Which rows are of the second class."""
        return self.y == 1

    @functools.cached_property
    def _sign(self) -> FloatArray:
        """-1 for rows of the second class, 1 for the others: a logit times this increases a row's loss."""
        return np.where(self._is_second, -1.0, 1.0)

"""How far the gradient of a batch lies from that of all rows, by the size of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch.nn as nn
from scipy.special import expit

from tabcohort.reproduce.claims import FAILS, HOLDS, Claim, Measured
from tabcohort.reproduce.findings import spread
from tabcohort.types import FloatArray, IntArray


def row_gradients(X: FloatArray, y: IntArray, weights: FloatArray, bias: float) -> FloatArray:
    """Return the gradient of a logistic regression's loss for each row, `(n_rows, n_columns + 1)`, the bias last.

    Args:
        X: standardized rows, `(n_rows, n_columns)`.
        y: classes, 0 or 1, `(n_rows,)`.
        weights, bias: of the model.
    """
    error = expit(X @ weights + bias) - y
    gradients: FloatArray = error[:, None] * np.column_stack([X, np.ones(len(X))])
    return gradients


def gradient_noise(gradients: FloatArray, batch_size: int) -> float:
    """Return the root mean squared distance of a batch's gradient from that of all rows, divided by the norm of that.

    This is the closed form for batches drawn without replacement: the variance of one row's gradient, divided by the
    batch size and multiplied by the finite population correction (Cochran 1977, theorem 2.2).

    Args:
        gradients: of each row, `(n_rows, n_parameters)`.
        batch_size: rows per batch.
    """
    n_rows, mean = len(gradients), gradients.mean(axis=0)
    variance = ((gradients - mean) ** 2).sum() / (n_rows - 1)
    return float(np.sqrt(variance / batch_size * (1 - batch_size / n_rows)) / np.linalg.norm(mean))


def noise_of_logistic(module: nn.Module, X: FloatArray, y: IntArray, batch_size: int) -> float:
    """Return the gradient noise of a logistic regression with its present weights.

    Args:
        module: has one linear layer.
        X: standardized rows, `(n_rows, n_columns)`.
        y: classes, 0 or 1, `(n_rows,)`.
        batch_size: rows per batch.
    """
    linear = next(layer for layer in module.modules() if isinstance(layer, nn.Linear))
    weights, bias = linear.weight.detach().double().numpy()[0], float(linear.bias.detach())
    return gradient_noise(row_gradients(X, y, weights, bias), batch_size)


def noise_claim(text: str, where: str, noise: Mapping[int, Sequence[float]]) -> Claim:
    """Return whether the gradient of a batch is nearer to that of all rows the larger the batch is.

    Args:
        text, where: see `Claim`.
        noise: by the size of batches, one for each seed.
    """
    sizes = sorted(noise)
    measured = tuple(
        Measured(f"deviation of the gradient of {size} row{'s' * (size > 1)}, relative", spread(noise[size]), ".2f")
        for size in sizes
    )
    means = [quantity.value.mean for quantity in measured]
    verdict = HOLDS if means == sorted(means, reverse=True) and len(set(means)) == len(means) else FAILS
    reason = "follows from the gradients of single rows: the deviation falls with the root of the size of the batch"
    return Claim(text, where, "", measured, verdict, reason)

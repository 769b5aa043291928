"""The formulas of the document on a network from scratch, beside PyTorch: layers, activations, loss and gradients."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit

from tabcohort.reproduce.claims import FAILS, HOLDS, Claim, measured_once
from tabcohort.types import FloatArray

LAYERS, PROCESS = "layer components", "training process"
N_ROWS, N_COLUMNS, N_UNITS = 8, 5, 4
LARGEST_DIFFERENCE = 1e-12  # float64


def formula_claims() -> tuple[Claim, ...]:
    """Return whether the document's formulas give what PyTorch's layers and autograd give."""
    x = np.linspace(-30, 30, 601)
    relu = np.maximum(0, x) - F.relu(torch.from_numpy(x)).numpy()
    sigmoid = 1 / (1 + np.exp(-x)) - torch.sigmoid(torch.from_numpy(x)).numpy()
    return (
        _agrees("ReLU is max(0, x)", LAYERS, relu),
        _agrees("The sigmoid is 1 / (1 + e^-x)", LAYERS, sigmoid),
        _agrees("The chain rule gives the gradients of all weights and biases", PROCESS, gradient_differences()),
    )


def gradient_differences() -> FloatArray:
    """Return gradients of a network with one hidden layer by the chain rule, minus those of autograd."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N_ROWS, N_COLUMNS)), rng.integers(2, size=(N_ROWS, 1)).astype(float)
    first, second = rng.normal(size=(N_COLUMNS, N_UNITS)), rng.normal(size=(N_UNITS, 1))
    first_bias, second_bias = rng.normal(size=N_UNITS), rng.normal(size=1)
    before = X @ first + first_bias
    hidden = np.maximum(0, before)
    error = (expit(hidden @ second + second_bias) - y) / N_ROWS
    back = error @ second.T * (before > 0)
    by_hand = (X.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0))
    parameters = [torch.tensor(values, requires_grad=True) for values in (first, first_bias, second, second_bias)]
    a, a_bias, b, b_bias = parameters
    logits = F.relu(torch.from_numpy(X) @ a + a_bias) @ b + b_bias
    F.binary_cross_entropy_with_logits(logits, torch.from_numpy(y)).backward()
    autograd = [parameter.grad.numpy() for parameter in parameters if parameter.grad is not None]
    pairs = zip(by_hand, autograd, strict=True)
    return np.concatenate([(ours - theirs).ravel() for ours, theirs in pairs])


def _agrees(text: str, where: str, differences: FloatArray) -> Claim:
    """Return a claim that holds where all differences from PyTorch are rounding errors."""
    largest = float(np.abs(differences).max())
    measured = (measured_once("largest difference from PyTorch", largest, ".1e"),)
    return Claim(text, where, "", measured, HOLDS if largest <= LARGEST_DIFFERENCE else FAILS, "")

"""The noise of batches, beside autograd and beside batches that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tabcohort.reproduce.gradient_noise import gradient_noise, noise_of_logistic, row_gradients


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 3)), rng.integers(2, size=40)


def test_gradients_of_rows_are_those_of_autograd(rows: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = rows
    weights = torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64, requires_grad=True)
    gradients = row_gradients(X, y, weights.detach().numpy()[:3], 0.1)
    for row, gradient in enumerate(gradients):
        logit = torch.from_numpy(X[row]) @ weights[:3] + weights[3]
        loss = F.binary_cross_entropy_with_logits(logit, torch.tensor(float(y[row]), dtype=torch.float64))
        (expected,) = torch.autograd.grad(loss, weights)
        np.testing.assert_allclose(gradient, expected.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("size", [1, 7, 39])
def test_noise_is_that_of_batches_drawn_without_replacement(rows: tuple[np.ndarray, np.ndarray], size: int) -> None:
    gradients = row_gradients(*rows, np.array([0.3, -0.2, 0.5]), 0.1)
    rng, mean = np.random.default_rng(1), gradients.mean(axis=0)
    batches = [gradients[rng.permutation(40)[:size]].mean(axis=0) for _ in range(4_000)]
    drawn = np.sqrt(np.mean([((batch - mean) ** 2).sum() for batch in batches])) / np.linalg.norm(mean)
    assert gradient_noise(gradients, size) == pytest.approx(drawn, rel=0.03)


def test_all_rows_have_no_noise(rows: tuple[np.ndarray, np.ndarray]) -> None:
    assert gradient_noise(row_gradients(*rows, np.zeros(3), 0.0), 40) == 0


def test_a_module_is_read_as_its_linear_layer(rows: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = rows
    linear = torch.nn.Linear(3, 1)
    weights, bias = linear.weight.detach().double().numpy()[0], float(linear.bias.detach())
    expected = gradient_noise(row_gradients(X, y, weights, bias), 8)
    assert noise_of_logistic(torch.nn.Sequential(torch.nn.Sequential(linear)), X, y, 8) == expected

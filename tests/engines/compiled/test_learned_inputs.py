"""Kernels of what is learned ahead of the first layer; `test_parity` has their gradients beside autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import called_from_python

from tabcohort.engines.compiled import learned_inputs
from tabcohort.network.models import Periodic

periodic, periodic_backward = (
    called_from_python(kernel) for kernel in (learned_inputs.periodic, learned_inputs.periodic_backward)
)


def layer_and_rows(dtype: Any) -> tuple[Periodic, Any]:
    """Return an embedding of the second and third of four columns, and rows."""
    torch.manual_seed(0)
    layer = Periodic(2, 3, 0.7, first=1).to(torch.float32 if dtype == np.float32 else torch.float64)
    return layer, np.random.default_rng(0).normal(0, 3, (25, 4)).astype(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_cosines_are_those_of_the_module(dtype: Any, tolerance: float) -> None:
    layer, x = layer_and_rows(dtype)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    out = np.full((25, 10), np.nan, dtype)
    periodic(x, 1, dtype(0.7), weight, bias, 3, out)
    np.testing.assert_allclose(out, layer(torch.from_numpy(x)).detach().numpy(), rtol=0, atol=tolerance)
    np.testing.assert_allclose(out[:, 0], np.cos(2 * np.pi * (0.7 * weight[0] * x[:, 1] + bias[0])), atol=tolerance)


@pytest.mark.parametrize("sets", [1, 0, -1])
def test_gradients_of_frequencies_phases_and_inputs_are_those_of_autograd(sets: int) -> None:
    layer, x = layer_and_rows(np.float64)
    rows, dout = torch.from_numpy(x).requires_grad_(), np.random.default_rng(1).normal(size=(25, 10))
    layer(rows).backward(torch.from_numpy(dout))
    before = np.random.default_rng(2).normal(size=x.shape)
    dweight, dbias, dx = np.full(6, np.nan), np.full(6, np.nan), before.copy()
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    periodic_backward(x, 1, 0.7, weight, bias, 3, dout, dweight, dbias, dx, sets)
    np.testing.assert_allclose(dweight, layer.weight.grad.numpy(), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(dbias, layer.bias.grad.numpy(), rtol=1e-11, atol=1e-11)
    assert rows.grad is not None
    expected = {1: rows.grad.numpy(), 0: before + rows.grad.numpy(), -1: before}[sets]
    np.testing.assert_allclose(dx, expected, rtol=1e-11, atol=1e-11)

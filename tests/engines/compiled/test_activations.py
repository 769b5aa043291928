"""Activations and their gradients: PyTorch says what is right, also at the ends of the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import called_from_python

from tabcohort.engines.compiled import activations
from tabcohort.engines.compiled.activations import LEAKY_RELU, RELU
from tabcohort.network.ops import ACTIVATIONS, OPS

activate, activate_backward = (
    called_from_python(kernel) for kernel in (activations.activate, activations.activate_backward)
)

ENDS = [-np.inf, -3e38, -1.0, -1e-45, 0.0, 1e-45, 1.0, 3e38, np.inf, np.nan]
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SLOPE = 0.3


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(0, 2, shape)


@DTYPES
def test_relu_of_any_number_is_that_of_pytorch(dtype: Any) -> None:
    """That of minus infinity is 0: a unit that is off must not make a row NaN."""
    x = np.array([ENDS], dtype)
    out = np.empty_like(x)
    activate(RELU, x, out, dtype(0))
    np.testing.assert_array_equal(out, torch.relu(torch.from_numpy(x)).numpy())
    activate(LEAKY_RELU, x, out, dtype(0.5))
    np.testing.assert_array_equal(out, F.leaky_relu(torch.from_numpy(x), 0.5).numpy())


@pytest.mark.parametrize("sets", [1, 0])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_and_its_gradient_are_those_of_pytorch(name: str, sets: int) -> None:
    layer = OPS[name].layer_class()(*([SLOPE] if name == "leaky_relu" else []))
    constant = SLOPE if name == "leaky_relu" else 0.0
    x, dout, before = normal(30, 7), normal(30, 7, seed=1), normal(30, 7, seed=2)
    tensor = torch.from_numpy(x).requires_grad_()
    expected = layer(tensor)
    expected.backward(torch.from_numpy(dout))
    out, dx = np.full_like(x, np.nan), before.copy()
    activate(OPS[name].code, x, out, constant)
    np.testing.assert_allclose(out, expected.detach().numpy(), rtol=1e-14, atol=1e-15)
    activate_backward(OPS[name].code, x, out, dout, dx, sets, constant)
    wanted = tensor.grad.numpy() + (0 if sets else before)
    np.testing.assert_allclose(dx, wanted, rtol=1e-13, atol=1e-14)


@DTYPES
@pytest.mark.parametrize("name", ["mish", "selu"])
def test_an_activation_of_a_large_number_is_that_of_pytorch(name: str, dtype: Any) -> None:
    """Powers of e must not overflow, which would make NaN of a quotient."""
    x = np.array([[-np.inf, -1e30, -200.0, -90.0, 0.0, 90.0, 200.0, 1e30, np.inf, np.nan]], dtype)[:, 1:]
    out, dx, dout = np.empty_like(x), np.empty_like(x), np.ones_like(x)
    activate(OPS[name].code, x, out, dtype(0))
    activate_backward(OPS[name].code, x, out, dout, dx, 1, dtype(0))
    tensor = torch.from_numpy(x.astype(np.float64)).requires_grad_()
    expected = OPS[name].layer_class()()(tensor)
    expected.sum().backward()
    np.testing.assert_allclose(out, expected.detach().numpy(), rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(dx[:, :-2], tensor.grad.numpy()[:, :-2], rtol=1e-6, atol=1e-30)

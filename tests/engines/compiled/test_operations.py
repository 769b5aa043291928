"""The compiled arithmetic at the ends of the numbers, where PyTorch says what is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numba import njit

from tabcohort.engines.compiled.operations import ALL, LEAKY_RELU, RELU, activation_forward, batch_norm_forward

ENDS = [-np.inf, -3e38, -1.0, -1e-45, 0.0, 1e-45, 1.0, 3e38, np.inf, np.nan]
WIDTHS = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@njit
def activation(kind: int, x: Any, out: Any, constant: float) -> None:
    activation_forward(kind, x, out, constant)


@njit
def rectified_batch_norm(x: Any, columns: Any, ones: Any, zeros: Any, none: Any, out: Any, share: int) -> None:
    batch_norm_forward(x, ones, zeros, columns, none, out, 1, 12345, 0, share)


@WIDTHS
def test_relu_of_any_number_is_that_of_pytorch(dtype: type[np.floating]) -> None:
    """That of minus infinity is 0: a unit that is switched off must not make NaN of a row."""
    x = np.array([ENDS], dtype)
    out = np.empty_like(x)
    activation(RELU, x, out, dtype(0))
    np.testing.assert_array_equal(out, torch.relu(torch.from_numpy(x)).numpy())
    activation(LEAKY_RELU, x, out, dtype(0.5))
    np.testing.assert_array_equal(out, torch.nn.functional.leaky_relu(torch.from_numpy(x), 0.5).numpy())


@WIDTHS
@pytest.mark.parametrize("share", [ALL, ALL - 1], ids=["alone", "with dropout"])
def test_relu_within_a_batch_norm_is_that_of_pytorch(dtype: type[np.floating], share: int) -> None:
    x = np.array([ENDS], dtype)
    ones, zeros = np.ones(len(ENDS), dtype), np.zeros(len(ENDS), dtype)
    columns = np.stack([zeros, ones, zeros, zeros, zeros])
    out = np.empty_like(x)
    rectified_batch_norm(x, columns, ones, zeros, np.empty((0, 0), dtype), out, share)
    np.testing.assert_allclose(out, torch.relu(torch.from_numpy(x)).numpy(), rtol=1e-4)

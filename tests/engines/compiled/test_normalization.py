"""Batch and layer normalisation, forward and backward: PyTorch's, with what is fused into the same pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import called_from_python
from torch import Tensor, nn

from tabcohort.engines.compiled import normalization
from tabcohort.engines.compiled.dropout import KEEP_ALL
from tabcohort.engines.torch_loop import HashedDropout
from tabcohort.network.ops import KEEP_UNITS, keep_share

statistics = called_from_python(normalization.batch_norm_statistics)
by_running = called_from_python(normalization.batch_norm_by_running)
forward, backward = (called_from_python(getattr(normalization, f"batch_norm_{way}")) for way in ("forward", "backward"))
layer_forward, layer_backward = (
    called_from_python(getattr(normalization, f"layer_norm_{way}")) for way in ("forward", "backward")
)

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
ENDS = [-np.inf, -3e38, -1.0, -1e-45, 0.0, 1e-45, 1.0, 3e38, np.inf, np.nan]
EPS, MOMENTUM, KEY, LAYER = 1e-5, 0.1, 12345, 1
NO_ROWS = np.empty((0, 0))


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(0.3, 1.5, shape)


def tensor_of(array: Any) -> Tensor:
    return torch.from_numpy(array.copy()).requires_grad_()


def close(actual: Any, expected: Tensor) -> None:
    np.testing.assert_allclose(actual, expected.detach().numpy(), rtol=1e-9, atol=1e-11)


# Batch normalisation


@pytest.mark.parametrize("n_rows", [2, 3, 4, 5, 8, 33])
def test_statistics_of_a_batch_are_those_of_pytorch(n_rows: int) -> None:
    x, columns = normal(n_rows, 7), np.full((5, 7), np.nan)
    mean, var = normal(7), normal(7) ** 2
    layer = nn.BatchNorm1d(7, eps=EPS, momentum=MOMENTUM).double()
    layer.load_state_dict({"running_mean": torch.tensor(mean), "running_var": torch.tensor(var)}, strict=False)
    layer(torch.from_numpy(x))
    statistics(x, columns, mean, var, MOMENTUM, EPS)
    np.testing.assert_allclose(columns[0], x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(columns[1], 1 / np.sqrt(x.var(axis=0) + EPS), rtol=1e-11)
    close(mean, layer.running_mean)
    close(var, layer.running_var)


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    x = (normal(64, 3) + 1e6).astype(np.float32)
    columns = np.empty((5, 3), np.float32)
    statistics(x, columns, np.zeros(3), np.ones(3), np.float32(MOMENTUM), np.float32(EPS))
    wide = x.astype(np.float64)
    np.testing.assert_allclose(columns[0], wide.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(columns[1], 1 / np.sqrt(wide.var(axis=0) + EPS), rtol=1e-5)


@DTYPES
def test_a_column_that_does_not_vary_has_variance_zero_and_not_less(dtype: Any) -> None:
    x, columns = np.full((9, 2), 0.1, dtype), np.empty((5, 2), dtype)
    running_var = np.ones(2)
    statistics(x, columns, np.zeros(2), running_var, dtype(1.0), dtype(1e-3))
    np.testing.assert_allclose(columns[1], 1 / np.sqrt(1e-3), rtol=1e-6)
    np.testing.assert_array_equal(running_var, 0)


@DTYPES
def test_a_column_with_nan_has_statistics_of_nan(dtype: Any) -> None:
    x, columns = normal(9, 2).astype(dtype), np.empty((5, 2), dtype)
    x[4, 1] = np.nan
    statistics(x, columns, np.zeros(2), np.ones(2), dtype(0.1), dtype(1e-3))
    assert np.isnan(columns[:2, 1]).all()
    assert np.isfinite(columns[:2, 0]).all()


def test_in_evaluation_mode_the_running_statistics_are_used() -> None:
    x, columns, mean, var = normal(6, 4), np.empty((5, 4)), normal(4, seed=1), normal(4, seed=2) ** 2 + 0.1
    gain, shift, out = normal(4, seed=3), normal(4, seed=4), np.empty((6, 4))
    by_running(columns, mean, var, EPS)
    forward(x, gain, shift, columns, NO_ROWS, out, 0, KEY, LAYER, np.int32(KEEP_ALL))
    close(out, F.batch_norm(*map(torch.from_numpy, (x, mean, var, gain, shift)), eps=EPS))


def masked(y: Tensor, keep: int) -> Tensor:
    """Return `y` after the dropout of the PyTorch engine that keeps this share."""
    hashed = HashedDropout(nn.Sequential(nn.Dropout(0.5)))
    hashed.take_key(KEY)
    hashed.n_calls = LAYER
    return hashed.apply(1 - keep / KEEP_UNITS, y)


FUSED: dict[str, tuple[int, int, bool]] = {  # whether ReLU is fused, the share that dropout keeps, whether a sum is
    "alone": (0, KEEP_ALL, False),
    "relu": (1, KEEP_ALL, False),
    "relu and dropout": (1, keep_share(0.3), False),
    "sum": (0, KEEP_ALL, True),
}


@pytest.mark.parametrize("shape", [(2, 1), (3, 5), (40, 33), (17, 70)], ids=str)
@pytest.mark.parametrize("fused", FUSED)
def test_a_batch_norm_and_its_gradients_are_those_of_pytorch(fused: str, shape: tuple[int, int]) -> None:
    relu, keep, has_sum = FUSED[fused]
    x, gain, shift, other = (normal(*size, seed=n) for n, size in enumerate((shape, shape[1:], shape[1:], shape)))
    tensors = [tensor_of(array) for array in (x, gain, shift)]
    expected = F.batch_norm(tensors[0], None, None, tensors[1], tensors[2], training=True, eps=EPS)
    expected = torch.relu(expected) if relu else expected
    expected = masked(expected, keep) if keep != KEEP_ALL else expected
    expected = expected + torch.from_numpy(other) if has_sum else expected
    columns, out = np.empty((5, shape[1])), np.full(shape, np.nan)
    statistics(x, columns, np.zeros(shape[1]), np.ones(shape[1]), MOMENTUM, EPS)
    forward(x, gain, shift, columns, other if has_sum else NO_ROWS, out, relu, KEY, LAYER, np.int32(keep))
    close(out, expected)
    dout = normal(*shape, seed=9)
    expected.backward(torch.from_numpy(dout))
    dx, dgain, dshift = np.full(shape, np.nan), np.full(shape[1], np.nan), np.full(shape[1], np.nan)
    backward(dout, x, out, columns, dgain, dshift, dx, True, relu, np.int32(keep))
    for actual, tensor in zip((dx, dgain, dshift), tensors, strict=True):
        np.testing.assert_allclose(actual, tensor.grad.numpy(), rtol=1e-7, atol=1e-9)


def test_where_nothing_before_it_learns_no_gradient_is_written() -> None:
    x, columns, out = normal(6, 4), np.empty((5, 4)), np.empty((6, 4))
    statistics(x, columns, np.zeros(4), np.ones(4), MOMENTUM, EPS)
    forward(x, np.ones(4), np.zeros(4), columns, NO_ROWS, out, 0, KEY, LAYER, np.int32(KEEP_ALL))
    dx = np.full((6, 4), 7.0)
    backward(normal(6, 4), x, out, columns, np.empty(4), np.empty(4), dx, False, 0, np.int32(KEEP_ALL))
    assert (dx == 7).all()


@DTYPES
@pytest.mark.parametrize("keep", [KEEP_ALL, KEEP_ALL - 1], ids=["alone", "with dropout"])
def test_relu_within_a_batch_norm_is_that_of_pytorch(dtype: Any, keep: int) -> None:
    x = np.array([ENDS], dtype)
    ones, zeros = np.ones(len(ENDS), dtype), np.zeros(len(ENDS), dtype)
    columns = np.stack([zeros, ones, zeros, zeros, zeros])
    out = np.empty_like(x)
    forward(x, ones, zeros, columns, np.empty((0, 0), dtype), out, 1, 12345, 0, keep)
    np.testing.assert_allclose(out, torch.relu(torch.from_numpy(x)).numpy(), rtol=1e-4)


# Layer normalisation


@pytest.mark.parametrize("sets", [1, 0, -1])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (20, 33)], ids=str)
def test_a_layer_norm_and_its_gradients_are_those_of_pytorch(shape: tuple[int, int], sets: int) -> None:
    x, gain, shift = (normal(*size, seed=n) for n, size in enumerate((shape, shape[1:], shape[1:])))
    tensors = [tensor_of(array) for array in (x, gain, shift)]
    expected = F.layer_norm(tensors[0], shape[1:], tensors[1], tensors[2], eps=EPS)
    hat, inverse, out = np.empty(shape), np.empty(shape[0]), np.full(shape, np.nan)
    layer_forward(x, gain, shift, hat, inverse, out, EPS)
    close(out, expected)
    dout, before = normal(*shape, seed=9), normal(*shape, seed=10)
    expected.backward(torch.from_numpy(dout))
    dx, dgain, dshift = before.copy(), np.full(shape[1], np.nan), np.full(shape[1], np.nan)
    layer_backward(dout, hat, inverse, gain, dgain, dshift, dx, sets)
    np.testing.assert_allclose(dgain, tensors[1].grad.numpy(), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(dshift, tensors[2].grad.numpy(), rtol=1e-7, atol=1e-9)
    gradient = tensors[0].grad.numpy()
    wanted = {1: gradient, 0: before + gradient, -1: before}[sets]
    np.testing.assert_allclose(dx, wanted, rtol=1e-7, atol=1e-9)


def test_clearing_sets_all_numbers_to_zero() -> None:
    numbers = np.array([1.0, np.nan, np.inf])
    called_from_python(normalization.clear)(numbers)
    np.testing.assert_array_equal(numbers, 0)

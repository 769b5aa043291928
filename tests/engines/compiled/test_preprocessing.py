"""Kernels of what comes before anything is learned: those of PyTorch's layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import called_from_python

from tabcohort.engines.compiled import preprocessing
from tabcohort.network.models import QuantileScale, RobustScale, SmoothClip

smooth_clip, piecewise_linear, robust_scale, quantile_scale = (
    called_from_python(kernel)
    for kernel in (
        preprocessing.smooth_clip,
        preprocessing.piecewise_linear,
        preprocessing.robust_scale,
        preprocessing.quantile_scale,
    )
)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(0, 2, shape)


@DTYPES
def test_smooth_clip_is_that_of_the_module(dtype: Any) -> None:
    x = (normal(20, 3) * 10).astype(dtype)
    out = np.empty_like(x)
    smooth_clip(x, out, dtype(2.5))
    expected = SmoothClip(2.5)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(out, expected, rtol=4 * np.finfo(dtype).eps)


@DTYPES
def test_bins_rise_from_their_lower_edge_to_their_upper_one(dtype: Any) -> None:
    """The formula of Gorishniy et al. (2022): 0 below the bin, 1 above it, and the share of its width within."""
    x = np.array([[-3.0, 7.0], [0.25, 7.0], [5.0, np.pi]], dtype)
    column, lower, upper = np.array([0.0, 0.0, 1.0]), np.array([-1.0, 1.0, 0.0]), np.array([1.0, 2.0, 10.0])
    out = np.full((3, 5), np.nan, dtype)
    piecewise_linear(x, column, lower, 1 / (upper - lower), out)
    cells = x[:, column.astype(int)]
    expected = np.where(cells <= lower, 0, np.where(cells >= upper, 1, (cells - lower) / (upper - lower)))
    np.testing.assert_allclose(out, np.hstack([expected, x]), rtol=4 * np.finfo(dtype).eps)


@DTYPES
def test_robust_scaling_is_that_of_the_module(dtype: Any) -> None:
    x, layer = (normal(20, 5) * 10).astype(dtype), RobustScale(3, 2.5)
    layer.median[:], layer.inverse_range[:] = torch.tensor([1.0, -2.0, 0.0]), torch.tensor([0.5, 2.0, 0.0])
    out = np.empty_like(x)
    robust_scale(x, layer.median.numpy(), layer.inverse_range.numpy(), dtype(2.5), out)
    np.testing.assert_allclose(out, layer(torch.from_numpy(x)).numpy(), rtol=8 * np.finfo(dtype).eps, atol=0)
    assert (out[:, 2] == 0).all()
    np.testing.assert_array_equal(out[:, 3:], x[:, 3:])


@DTYPES
def test_normal_scores_are_those_of_the_module_and_of_numpy(dtype: Any) -> None:
    """Also at the knots, beyond them, and where the last one is repeated."""
    rng, layer = np.random.default_rng(0), QuantileScale(2, 6)
    knots, heights = (
        np.sort(rng.integers(-20, 20, (2, 6)), axis=1).astype(float),
        np.sort(rng.normal(size=(2, 6)), axis=1),
    )
    knots[1, 3:], heights[1, 3:] = knots[1, 3], heights[1, 3]
    knots[0] = [-15, -7, -1, 2, 4, 13]
    layer.knots[:], layer.heights[:] = torch.from_numpy(knots.ravel()), torch.from_numpy(heights.ravel())
    x = np.concatenate([normal(50, 3) * 10, knots.T.repeat(2, axis=1)[:, [0, 2, 1]], np.full((1, 3), np.inf)]).astype(
        dtype
    )
    out = np.empty_like(x)
    quantile_scale(x, knots.ravel(), heights.ravel(), 6, out)
    tolerance = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(out, layer(torch.from_numpy(x)).numpy(), rtol=tolerance, atol=tolerance)
    for place in (0, 1):
        finite = np.isfinite(x[:, place])
        n = 6 if place == 0 else 4
        expected = np.interp(x[finite, place], knots[place, :n], heights[place, :n])
        np.testing.assert_allclose(out[finite, place], expected, rtol=1e-5, atol=1e-6)
        assert out[-1, place] == dtype(heights[place, -1])
    np.testing.assert_array_equal(out[:, 2], x[:, 2])

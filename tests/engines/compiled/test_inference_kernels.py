"""The parts of the inference kernel: encoded rows are those of the encoder, and layer norm is PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import called_from_python
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort.data.encoder import Statistics, encode, encoding_of, standardize
from tabcohort.engines.compiled import inference_kernels
from tabcohort.engines.compiled.inference_kernels import AFFINE, MAX_DEVIATIONS, SUPPORTED
from tabcohort.network.ops import OPS

encode_rows = called_from_python(inference_kernels.encode_rows)
layer_norm = called_from_python(inference_kernels.layer_norm)

NAN = np.nan


@given(st.integers(0, 2**32), st.integers(1, 30))
@hypothesis_settings(max_examples=60, deadline=None)
def test_rows_are_encoded_and_standardized_as_by_the_encoder(seed: int, n_rows: int) -> None:
    """Numbers with missing cells, indicators of these, and categories with levels that were never seen."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=n_rows), rng.integers(0, 5, n_rows), rng.normal(size=n_rows)])
    X[rng.random(X.shape) < 0.2] = NAN
    encoding = encoding_of(3, levels={1: 3}, missing=(0, 1, 2))
    n_columns = len(encoding.source)
    statistics = Statistics(rng.normal(size=n_columns), rng.uniform(0.5, 2, n_columns))
    rows = rng.integers(0, n_rows, 12)
    out = np.full((12, n_columns), NAN)
    encode_rows(X, rows, encoding.source, encoding.level, statistics.center, statistics.scale, out)
    expected = standardize(encode(X[rows], encoding), statistics)
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)
    assert (out[:, :2][np.isnan(X[rows][:, [0, 2]])] == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_value_far_from_the_mean_is_clipped_and_a_missing_one_is_the_mean(dtype: Any) -> None:
    X = np.array([[1e300], [-np.inf], [np.inf], [NAN], [3.0]])
    out = np.full((5, 1), NAN, dtype)
    encode_rows(X, np.arange(5), np.array([0]), np.array([NAN]), np.array([2.0]), np.array([10.0]), out)
    expected = np.array([MAX_DEVIATIONS, -MAX_DEVIATIONS, MAX_DEVIATIONS, 0.0, 10.0], dtype)
    np.testing.assert_array_equal(out[:, 0], expected)


def test_a_column_that_never_varied_is_zero_whatever_it_holds() -> None:
    X = np.array([[0.0], [1e300], [NAN]])
    out = np.full((3, 1), NAN)
    encode_rows(X, np.arange(3), np.array([0]), np.array([NAN]), np.array([5.0]), np.array([0.0]), out)
    np.testing.assert_array_equal(out, 0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (9, 33)], ids=str)
def test_layer_norm_is_that_of_pytorch(shape: tuple[int, int], dtype: Any, tolerance: float) -> None:
    rng = np.random.default_rng(0)
    x, gain, shift = (rng.normal(size=size).astype(dtype) for size in (shape, shape[1], shape[1]))
    out = np.full(shape, NAN, dtype)
    layer_norm(x, gain, shift, out, dtype(1e-5))
    expected = F.layer_norm(*(torch.from_numpy(x), shape[1:], torch.from_numpy(gain), torch.from_numpy(shift)))
    np.testing.assert_allclose(out, expected.numpy(), rtol=tolerance, atol=tolerance)


def test_every_operation_of_a_finished_network_is_supported() -> None:
    """Rows come standardized, dropout is for training, and batch norm is an affine map or folded."""
    done_elsewhere = {"encode", "standardize", "dropout", "batch_norm", "binary_cross_entropy", "cross_entropy"}
    assert {AFFINE, *(spec.code for kind, spec in OPS.items() if kind not in done_elsewhere)} == SUPPORTED

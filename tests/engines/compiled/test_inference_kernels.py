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

from tabcohort.data.encoder import (
    CategoryEncoding,
    Encoding,
    Statistics,
    encode,
    plain_encoding,
    standardize,
)
from tabcohort.engines.compiled import inference_kernels
from tabcohort.engines.compiled.inference import _columns
from tabcohort.engines.compiled.inference_kernels import AFFINE, KERNELS, MAX_DEVIATIONS, Fitted
from tabcohort.network.ops import OPS

encode_rows = called_from_python(inference_kernels.encode_rows)
layer_norm = called_from_python(inference_kernels.layer_norm)

NAN = np.nan


@given(st.integers(0, 2**32), st.integers(1, 30))
@hypothesis_settings(max_examples=60, deadline=None)
def test_rows_are_encoded_and_standardized_as_by_the_encoder(seed: int, n_rows: int) -> None:
    """Numbers with missing cells, indicators of these, and categories with levels that were never seen."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=n_rows), rng.integers(-1, 7, n_rows), rng.normal(size=n_rows)])
    X[rng.random(X.shape) < 0.2] = NAN
    encoding = Encoding((0, 2), (1,), (1,), (CategoryEncoding(6, False, 2, n_learned=3),))
    lookup, vector_row = rng.normal(size=12), rng.integers(-1, 5, 6).astype(float)
    lookup[rng.random(12) < 0.2] = NAN
    fill = np.array([NAN, 0.3])
    center, scale = rng.normal(size=5), rng.uniform(0.5, 2, 5)
    statistics = Statistics(np.append(center, 0.0), np.append(scale, 1.0), fill, lookup, vector_row)
    rows = rng.integers(0, n_rows, 12)
    out = np.full((12, encoding.n_columns), NAN)
    encode_rows(X, rows, _columns(encoding), fitted_of(statistics), 0, out)
    expected = standardize(encode(X[rows], encoding, statistics), statistics)
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)
    assert (out[:, 0][np.isnan(X[rows, 0])] == 0).all()


def fitted_of(statistics: Statistics) -> Fitted:
    return Fitted(*(getattr(statistics, name)[None] for name in Fitted._fields))


def encode_one(X: Any, center: float, scale: float, out: Any) -> None:
    statistics = Statistics(np.array([center]), np.array([scale]), np.array([NAN]))
    encode_rows(X, np.arange(len(X)), _columns(plain_encoding(1)), fitted_of(statistics), 0, out)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_value_far_from_the_mean_is_clipped_and_a_missing_one_is_the_mean(dtype: Any) -> None:
    X = np.array([[1e300], [-np.inf], [np.inf], [NAN], [3.0]])
    out = np.full((5, 1), NAN, dtype)
    encode_one(X, 2.0, 10.0, out)
    expected = np.array([MAX_DEVIATIONS, -MAX_DEVIATIONS, MAX_DEVIATIONS, 0.0, 10.0], dtype)
    np.testing.assert_array_equal(out[:, 0], expected)


def test_a_column_that_never_varied_is_zero_whatever_it_holds() -> None:
    X = np.array([[0.0], [1e300], [NAN]])
    out = np.full((3, 1), NAN)
    encode_one(X, 5.0, 0.0, out)
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
    """Rows come standardized, dropout is for training, and batch norm and scales are affine maps or folded."""
    done_elsewhere = {
        "encode",
        "standardize",
        "dropout",
        "batch_norm",
        "scale",
        "binary_cross_entropy",
        "cross_entropy",
    }
    assert {AFFINE, *(spec.code for kind, spec in OPS.items() if kind not in done_elsewhere)} == KERNELS.keys()

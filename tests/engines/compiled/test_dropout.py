"""Dropout in the compiled engine: the masks of the PyTorch engine, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import called_from_python
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import nn

from tabcohort.engines.compiled import dropout as kernels
from tabcohort.engines.compiled.dropout import BITS_AT_ONCE, KEEP_ALL
from tabcohort.engines.torch_loop import HashedDropout
from tabcohort.network.ops import keep_share

dropout, mask_bits = called_from_python(kernels.dropout), called_from_python(kernels.mask_bits)
dropout_scale, hash_32 = called_from_python(kernels.dropout_scale), called_from_python(kernels.hash_32)

KEYS = st.integers(0, 2**63 - 1)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def masked_by_pytorch(x: Any, key: int, layer: int, p: float) -> Any:
    """Return what the PyTorch engine's dropout makes of `x`, as the layer of this number in a step."""
    hashed = HashedDropout(nn.Sequential(nn.Dropout(p)))
    hashed.take_key(key)
    hashed.n_calls = layer
    return hashed.apply(p, torch.from_numpy(x)).numpy()


def masked(x: Any, key: int, layer: int, p: float) -> Any:
    out = np.full_like(x, np.nan)
    dropout(x, out, np.int64(key), layer, np.int32(keep_share(p)), 1)
    return out


@given(
    KEYS, st.integers(0, 5), st.integers(1, 70), st.integers(1, 70), st.floats(0.01, 0.99),
    st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
@hypothesis_settings(max_examples=150, deadline=None)
def test_the_mask_is_that_of_the_pytorch_engine(
    key: int, layer: int, n_rows: int, width: int, p: float, dtype: Any
) -> None:
    """Also with an odd number of elements, and with more than the bits that are computed at a time."""
    x = np.random.default_rng(0).normal(size=(n_rows, width)).astype(dtype)
    actual, expected = masked(x, key, layer, p), masked_by_pytorch(x, key, layer, p)
    np.testing.assert_array_equal(actual == 0, expected == 0)
    np.testing.assert_allclose(actual, expected, rtol=4 * np.finfo(dtype).eps)


@DTYPES
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_kept_units_are_scaled_up_to_keep_the_mean(dtype: Any, p: float) -> None:
    out = masked(np.ones((500, 41), dtype), 12345, 0, p)
    assert set(np.unique(out)) == {0, dtype(KEEP_ALL / keep_share(p))}
    assert abs((out > 0).mean() - (1 - p)) < 5 * np.sqrt(p * (1 - p) / out.size)


@DTYPES
def test_dropout_of_everything_gives_zeros(dtype: Any) -> None:
    assert (masked(np.full((20, 30), 3.0, dtype), 1, 0, 1.0) == 0).all()
    assert dropout_scale(np.ones(1, dtype), np.int32(0)) == 0
    assert dropout_scale(np.ones(1, dtype), np.int32(KEEP_ALL)) == 1


@DTYPES
def test_the_gradient_is_masked_alike_and_set_or_added(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    d, before = rng.normal(size=(40, 33)).astype(dtype), rng.normal(size=(40, 33)).astype(dtype)
    expected = masked_by_pytorch(d, 99, 2, 0.3)
    added = before.copy()
    dropout(d, added, np.int64(99), 2, np.int32(keep_share(0.3)), 0)
    np.testing.assert_allclose(added, before + expected, rtol=1e-5, atol=1e-6)


@given(KEYS, st.integers(0, 3), st.integers(0, 300), st.integers(1, 200))
@hypothesis_settings(max_examples=100, deadline=None)
def test_bits_from_a_place_on_are_part_of_those_from_the_first_on(key: int, layer: int, place: int, n: int) -> None:
    """So that passes over some rows, as batch norm's, have the mask of all of them."""
    whole = mask_bits(np.empty(BITS_AT_ONCE // 2, np.uint32), np.int64(key), layer, 0)
    part = mask_bits(np.empty(n // 2 + 1, np.uint32), np.int64(key), layer, place)
    n = min(n, len(part))
    np.testing.assert_array_equal(part[:n], whole[place : place + n])
    assert whole.min() >= 0  # 15 bits of 16


def test_the_hash_is_lowbias32() -> None:
    """Against the C code of its author, in Python's integers."""

    def lowbias32(x: int) -> int:
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        return x ^ (x >> 16)

    words = [0, 1, 2, 2**31, 2**32 - 1, *np.random.default_rng(0).integers(2**32, size=200).tolist()]
    assert [int(hash_32(np.uint32(word))) for word in words] == [lowbias32(word) for word in words]

"""Bins times weights, and their gradient: what the product of the whole encoding is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import called_from_python
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort.engines.compiled import bin_products, preprocessing

locate, bins_product = called_from_python(bin_products.locate), called_from_python(bin_products.bins_product)
bins_gradient, find_begins = (
    called_from_python(bin_products.bins_gradient),
    called_from_python(bin_products.find_begins),
)
count_numbers, piecewise_linear = (
    called_from_python(bin_products.count_numbers),
    called_from_python(preprocessing.piecewise_linear),
)

# Of column 3 one bin, of column 0 five, the last two of which are 0 everywhere, and of column 1 two with a gap.
COLUMN = np.array([3.0, 0, 0, 0, 0, 0, 1, 1])
LOWER = np.array([-0.5, -1, 0, 0.25, 0, 0, -1, 0.5])
INVERSE = np.array([1.0, 1, 4, 2, 0, 0, 2, 1])


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(n_rows=st.integers(1, 40), d_out=st.one_of(st.integers(1, 20), st.integers(31, 35)))
@hypothesis_settings(max_examples=50, deadline=None)
def test_products_of_bins_and_their_gradients_are_those_of_the_encoding(dtype: Any, n_rows: int, d_out: int) -> None:
    x = normal(n_rows, 4).astype(dtype)
    x[0] = [0.25, 5, 0, -7]  # at an edge, above all bins and below
    encoded = np.empty((n_rows, len(COLUMN) + 4), dtype)
    piecewise_linear(x, COLUMN, LOWER, INVERSE, encoded)
    encoded = encoded[:, : len(COLUMN)].astype(np.float64)
    begins, (places, fractions) = np.empty(5, dtype), np.full((2, n_rows, 4), np.nan, dtype)
    assert find_begins(COLUMN, begins) == count_numbers(begins, len(COLUMN)) == 3
    assert begins[:4].tolist() == [0, 1, 6, 8]
    locate(x, COLUMN, LOWER, INVERSE, begins[:4], places, fractions)
    W, dout = normal(len(COLUMN), d_out).astype(dtype), normal(n_rows, d_out, seed=1).astype(dtype)
    out, dW = np.full((n_rows, d_out), np.nan, dtype), np.full((len(COLUMN), d_out), np.nan, dtype)
    bins_product(places, fractions, begins[:4], W, out)
    bins_gradient(places, fractions, begins[:4], dout, dW)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(out, encoded @ W, rtol=20 * eps, atol=20 * eps)
    np.testing.assert_allclose(dW, encoded.T @ dout, rtol=100 * eps, atol=100 * eps)

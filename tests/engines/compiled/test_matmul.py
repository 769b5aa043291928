"""Matrix products: NumPy's in double precision, and a row's bits whatever rows are beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import called_from_python
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort.engines.compiled import matmul

product, inputs = called_from_python(matmul.product), called_from_python(matmul.inputs)
inputs_of_one, column_sums = called_from_python(matmul.inputs_of_one), called_from_python(matmul.column_sums)

DTYPES = st.sampled_from([np.float32, np.float64])
# Around a tile of six rows, and vectors of 4, 8 and 16 numbers.
N_ROWS = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 64]))
WIDTHS = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 67]))
FEW = hypothesis_settings(max_examples=150, deadline=None)


def random(*shape: int, dtype: Any, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def assert_close(actual: Any, expected: Any, size: Any) -> None:
    """Assert that sums are within rounding of the expected ones; `size` is the sum of the terms' magnitudes."""
    assert np.isfinite(actual).all()
    assert (np.abs(actual - expected) <= 64 * np.finfo(actual.dtype).eps * size).all()


@given(DTYPES, N_ROWS, WIDTHS, WIDTHS)
@FEW
def test_a_product_is_that_of_numpy(dtype: Any, n_rows: int, d_in: int, d_out: int) -> None:
    x, W, b = random(n_rows, d_in, dtype=dtype), random(d_in, d_out, dtype=dtype), random(d_out, dtype=dtype)
    out = np.full((n_rows, d_out), np.nan, dtype)
    product(x, W, b, out)
    wide_x, wide_W, wide_b = x.astype(np.float64), W.astype(np.float64), b.astype(np.float64)
    assert_close(out, wide_x @ wide_W + wide_b, np.abs(wide_x) @ np.abs(wide_W) + np.abs(wide_b))


@given(DTYPES, st.integers(1, 40), WIDTHS, WIDTHS, st.data())
@FEW
def test_a_rows_product_has_the_same_bits_alone_and_among_any_others(
    dtype: Any, n_rows: int, d_in: int, d_out: int, data: st.DataObject
) -> None:
    """Alone, in twos and threes, in tiles of six, and wherever it is among these."""
    x, W, b = random(n_rows, d_in, dtype=dtype), random(d_in, d_out, dtype=dtype), random(d_out, dtype=dtype)
    out = np.empty((n_rows, d_out), dtype)
    product(x, W, b, out)
    for row in range(n_rows):
        alone = np.empty((1, d_out), dtype)
        product(x[row : row + 1], W, b, alone)
        assert alone.tobytes() == out[row : row + 1].tobytes()
    chosen = np.array(data.draw(st.lists(st.integers(0, n_rows - 1), min_size=1, max_size=20)))
    others = np.empty((len(chosen), d_out), dtype)
    product(np.ascontiguousarray(x[chosen]), W, b, others)
    assert others.tobytes() == out[chosen].tobytes()


@given(DTYPES, N_ROWS, WIDTHS, WIDTHS)
@FEW
def test_the_gradient_of_inputs_is_that_of_numpy(dtype: Any, n_rows: int, d_in: int, d_out: int) -> None:
    dout, W = random(n_rows, d_out, dtype=dtype), random(d_in, d_out, dtype=dtype)
    dx = np.full((n_rows, d_in), np.nan, dtype)
    inputs(dout, W, dx, 0)
    wide_dout, wide_W = dout.astype(np.float64), W.astype(np.float64)
    expected, size = wide_dout @ wide_W.T, np.abs(wide_dout) @ np.abs(wide_W).T
    assert_close(dx, expected, size)
    if d_out == 1:
        of_one = np.full((n_rows, d_in), np.nan, dtype)
        inputs_of_one(dout, W, of_one)
        assert_close(of_one, expected, size)


@given(DTYPES, N_ROWS, WIDTHS, st.data())
@FEW
def test_gradients_of_the_last_inputs_are_those_of_all(dtype: Any, n_rows: int, d_in: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, d_in - 1))
    dout, W = random(n_rows, 5, dtype=dtype), random(d_in, 5, dtype=dtype)
    whole, last = np.empty((n_rows, d_in), dtype), np.full((n_rows, d_in), np.nan, dtype)
    inputs(dout, W, whole, 0)
    inputs(dout, W, last, first)
    assert last[:, first:].tobytes() == whole[:, first:].tobytes()


@given(DTYPES, N_ROWS, WIDTHS)
@FEW
def test_column_sums_are_those_of_numpy(dtype: Any, n_rows: int, width: int) -> None:
    x, out = random(n_rows, width, dtype=dtype), np.full(width, np.nan, dtype)
    column_sums(x, out)
    wide = x.astype(np.float64)
    assert_close(out, wide.sum(axis=0), np.abs(wide).sum(axis=0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n_rows", "d_out"), [(1, 1), (3, 5), (20, 3), (20, 33)])
def test_nan_and_infinite_cells_stay_in_their_rows(dtype: Any, n_rows: int, d_out: int) -> None:
    """A diverging network must show it, and other rows must not."""
    x, W, b = random(n_rows, 6, dtype=dtype), random(6, d_out, dtype=dtype), random(d_out, dtype=dtype)
    expected = np.empty((n_rows, d_out), dtype)
    product(x, W, b, expected)
    x[n_rows - 1, 2] = np.nan
    out = np.empty((n_rows, d_out), dtype)
    product(x, W, b, out)
    assert np.isnan(out[n_rows - 1]).all()
    assert out[: n_rows - 1].tobytes() == expected[: n_rows - 1].tobytes()
    x[n_rows - 1, 2] = np.inf
    product(x, W, b, out)
    np.testing.assert_array_equal(out[n_rows - 1], np.sign(W[2]) * np.inf)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_is_written_beyond_the_result(dtype: Any) -> None:
    """Vectors are stored with a mask at the end of a row: the kernels work in memory without bounds."""
    room = np.full(9 * 5 + 64, 7, dtype)
    product(random(9, 3, dtype=dtype), random(3, 5, dtype=dtype), random(5, dtype=dtype), room[: 9 * 5].reshape(9, 5))
    assert (room[9 * 5 :] == 7).all()
    room[:] = 7
    inputs(random(9, 3, dtype=dtype), random(5, 3, dtype=dtype), room[: 9 * 5].reshape(9, 5), 0)
    assert (room[9 * 5 :] == 7).all()
    room[:] = 7
    column_sums(random(9, 5, dtype=dtype), room[:5])
    assert (room[5:] == 7).all()

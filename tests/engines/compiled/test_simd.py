"""Vectors and views in compiled code do what the same functions do in plain Python, on NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numba import njit

from tabcohort.engines.compiled import simd
from tabcohort.engines.compiled.simd import add_times, flat, lanes_of, load, matrix, part, store, total

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def copy_vector(source: Any, start: int, count: int, target: Any, at: int, n: int) -> None:
    store(target, at, n, load(source, start, count))


def add_by_number(y: Any, a: Any, x: Any, out: Any) -> None:
    store(out, 0, out.size, add_times(load(y, 0, y.size), a, load(x, 0, x.size)))


def add_by_vector(y: Any, a: Any, x: Any, out: Any) -> None:
    store(out, 0, out.size, add_times(load(y, 0, y.size), load(a, 0, a.size), load(x, 0, x.size)))


def total_of(x: Any, count: int) -> Any:
    return total(load(x, 0, count))


def count_lanes(x: Any) -> int:
    return lanes_of(x)


def change_views(array: Any, numbers: Any) -> None:
    """Write through every kind of view."""
    part(numbers, 3, 2)[:] = 10
    matrix(numbers, 6, 2, 3)[1, 2] = 20
    flat(array)[4] = 30


compiled_copy, compiled_lanes, compiled_total = njit(copy_vector), njit(count_lanes), njit(total_of)
compiled_by_number, compiled_by_vector, compiled_views = njit(add_by_number), njit(add_by_vector), njit(change_views)


def numbers(n: int, dtype: Any, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=n).astype(dtype)


@DTYPES
def test_a_vector_holds_as_many_numbers_as_a_register(dtype: Any) -> None:
    x = numbers(3, dtype)
    assert simd.BYTES in (32, 64)
    assert lanes_of(x) == compiled_lanes(x) == simd.BYTES // x.itemsize


@given(
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 20),
    st.integers(-3, 40),
    st.integers(0, 20),
    st.integers(-3, 40),
)
@hypothesis_settings(max_examples=200, deadline=None)
def test_only_the_first_numbers_are_loaded_and_stored(dtype: Any, start: int, count: int, at: int, n: int) -> None:
    """Numbers beyond the first `count` load as 0, and nothing else than the first `n` is written."""
    source = numbers(40, dtype)
    lanes = lanes_of(source)
    expected = np.full(40, -1, dtype)
    read, written = max(0, min(count, lanes)), max(0, min(n, lanes))
    vector = np.zeros(lanes, dtype)
    vector[:read] = source[start : start + read]
    expected[at : at + written] = vector[:written]
    for copy in (compiled_copy, copy_vector):
        target = np.full(40, -1, dtype)
        copy(source, start, count, target, at, n)
        np.testing.assert_array_equal(target, expected)


@DTYPES
def test_a_product_is_added_by_a_number_or_number_by_number(dtype: Any) -> None:
    lanes = lanes_of(numbers(1, dtype))
    y, a, x = (numbers(lanes, dtype, seed) for seed in range(3))
    tolerance = 4 * np.finfo(dtype).eps  # a fused product is rounded once
    for by_number, by_vector in ((compiled_by_number, compiled_by_vector), (add_by_number, add_by_vector)):
        out = np.empty(lanes, dtype)
        by_number(y, dtype(1.7), x, out)
        np.testing.assert_allclose(out, y + dtype(1.7) * x, rtol=tolerance, atol=tolerance)
        by_vector(y, a, x, out)
        np.testing.assert_allclose(out, y + a * x, rtol=tolerance, atol=tolerance)


@DTYPES
@pytest.mark.parametrize("seed", range(5))
def test_the_sum_of_a_vector_has_one_order(dtype: Any, seed: int) -> None:
    """Halves are added to halves, so the sum has the same bits in plain Python and in compiled code."""
    lanes = lanes_of(numbers(1, dtype))
    x = numbers(lanes, dtype, seed)
    halves = x
    while len(halves) > 1:
        halves = halves[: len(halves) // 2] + halves[len(halves) // 2 :]
    assert compiled_total(x, lanes) == total_of(x, lanes) == halves[0]
    assert float(halves[0]) == pytest.approx(float(x.astype(np.float64).sum()), abs=1e-5)
    assert compiled_total(x, 3) == total_of(x, 3) == pytest.approx(float(x[:3].astype(np.float64).sum()), rel=1e-5)


@DTYPES
def test_views_are_of_the_arrays_own_numbers(dtype: Any) -> None:
    changed = []
    for change in (compiled_views, change_views):
        array, vector = np.zeros((2, 3), dtype), np.zeros(14, dtype)
        change(array, vector)
        changed.append((array, vector))
    expected_array, expected = np.zeros((2, 3), dtype), np.zeros(14, dtype)
    expected[3:5], expected[6 + 3 + 2], expected_array[1, 1] = 10, 20, 30
    for array, vector in changed:
        np.testing.assert_array_equal(array, expected_array)
        np.testing.assert_array_equal(vector, expected)

"""Values in the work memory: numbers are set or added."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import called_from_python

from tabcohort.engines.compiled import values
from tabcohort.engines.compiled.tables import GRADIENT, VALUE, WIDTH
from tabcohort.engines.compiled.values import gradient_of, value_of

accumulate = called_from_python(values.accumulate)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(0, 2, shape)


@DTYPES
def test_numbers_are_set_or_added(dtype: Any) -> None:
    source, target = normal(4, 3).astype(dtype), np.full((4, 3), np.nan, dtype)
    accumulate(source, target, 1)
    np.testing.assert_array_equal(target, source)
    accumulate(source, target, 0)
    np.testing.assert_array_equal(target, 2 * source)


def test_a_value_and_its_gradient_are_where_the_table_says() -> None:
    work, table = np.arange(100.0), np.zeros((2, 3), np.int64)
    table[1, [WIDTH, VALUE, GRADIENT]] = 3, 16, 32
    of_value, of_gradient = (getattr(kernel, "py_func", kernel) for kernel in (value_of, gradient_of))
    np.testing.assert_array_equal(of_value(work, table, 1, 2), [[16, 17, 18], [19, 20, 21]])
    np.testing.assert_array_equal(of_gradient(work, table, 1, 2), [[32, 33, 34], [35, 36, 37]])

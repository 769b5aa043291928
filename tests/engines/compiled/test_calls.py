"""Calls by address: in compiled code and in plain Python, with errors of the callee, and of other arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from tabcohort import EngineError
from tabcohort.engines.compiled import calls
from tabcohort.engines.compiled.calls import addresses, call, inference_types

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@njit
def add_rows(op: Any, constant: Any, numbers: Any, work: Any, rows: int) -> None:
    work[op[0]] = constant[0] * numbers[op[1]] + rows


@njit
def fail(op: Any, constant: Any, numbers: Any, work: Any, rows: int) -> None:
    if rows > 0:
        raise ValueError("no rows are wanted")


@njit
def run(kernels: Any, table: Any, constants: Any, numbers: Any, work: Any) -> None:
    for o in range(len(kernels)):
        call(kernels[o], (table[o], constants[o], numbers, work, o + 3))


def arguments(n_calls: int, dtype: Any) -> tuple[Any, ...]:
    """Return what `run` reads, after the kernels: each call writes the number of the call."""
    table = np.column_stack([np.arange(n_calls), np.arange(n_calls)[::-1]])
    return table, np.full((n_calls, 1), 2, dtype), np.arange(n_calls, dtype=dtype), np.zeros(n_calls, dtype)


@DTYPES
def test_kernels_are_called_by_their_addresses_one_after_another(dtype: Any) -> None:
    table, constants, numbers, work = arguments(4, dtype)
    run(addresses([add_rows] * 4, inference_types(dtype)), table, constants, numbers, work)
    assert work.tolist() == [2 * 3 + 3, 2 * 2 + 4, 2 * 1 + 5, 2 * 0 + 6]


def test_what_goes_wrong_in_a_kernel_is_raised() -> None:
    table, constants, numbers, work = arguments(2, np.float64)
    with pytest.raises(ValueError, match="no rows are wanted"):
        run(addresses([fail, add_rows], inference_types(np.float64)), table, constants, numbers, work)
    assert work[1] == 0  # the next one was not called


def test_a_kernel_that_returns_something_is_refused_also_after_a_call_from_python() -> None:
    """Its caller would not have made room for that."""

    @njit
    def return_number(op: Any, constant: Any, numbers: Any, work: Any, rows: int) -> float:
        return rows + 0.5

    table, constants, numbers, work = arguments(1, np.float32)
    return_number(table[0], constants[0], numbers, work, 3)
    with pytest.raises(EngineError, match="return_number' must return nothing; it returns float64"):
        addresses([return_number], inference_types(np.float32))
    with pytest.raises(EngineError, match=r"the kernel 'print' must be decorated by numba\.njit"):
        addresses([print], inference_types(np.float32))


def test_a_call_with_other_arguments_than_a_kernel_takes_is_not_compiled() -> None:
    table, constants, numbers, work = arguments(1, np.float32)
    kernels = addresses([add_rows], inference_types(np.float32))
    with pytest.raises(TypingError, match="these are not the arguments of a kernel"):
        run(kernels, table, constants, numbers.astype(np.float64), work)


def test_without_a_compiler_the_functions_themselves_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls.config, "DISABLE_JIT", True)
    kernels = addresses([add_rows.py_func, add_rows.py_func], inference_types(np.float32))
    assert kernels.tolist() == [add_rows.py_func, add_rows.py_func]
    table, constants, numbers, work = arguments(2, np.float32)
    run.py_func(kernels, table, constants, numbers, work)
    assert work.tolist() == [2 * 1 + 3, 2 * 0 + 4]

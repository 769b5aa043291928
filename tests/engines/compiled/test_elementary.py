"""e^x, e^x - 1, log(1 + e), tanh and cosines: within the stated errors of exact values, and NumPy's at the ends."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import njit

from tabcohort.engines.compiled.elementary import cos_turns, exp, expm1, log1p, tanh

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
# Maximum relative errors, as the module states them; of log1p it states none.
ERRORS = {
    ("exp", np.float32): 9e-8, ("exp", np.float64): 2e-16,
    ("tanh", np.float32): 2e-7, ("tanh", np.float64): 4e-16,
    ("expm1", np.float32): 2e-7, ("expm1", np.float64): 4e-16,
    ("log1p", np.float32): 2e-7, ("log1p", np.float64): 4e-16,
}  # fmt: skip


@njit
def compiled_exp(x: Any, out: Any) -> None:
    for i in range(x.size):
        out[i] = exp(x[i])


@njit
def compiled_tanh(x: Any, out: Any) -> None:
    for i in range(x.size):
        out[i] = tanh(x[i])


@njit
def compiled_expm1(x: Any, out: Any) -> None:
    for i in range(x.size):
        out[i] = expm1(x[i])


@njit
def compiled_cos_turns(x: Any, out: Any) -> None:
    for i in range(x.size):
        out[i] = cos_turns(x[i])


@njit
def compiled_log1p(x: Any, out: Any) -> None:
    for i in range(x.size):
        out[i] = log1p(x[i])


COMPILED = {"exp": compiled_exp, "expm1": compiled_expm1, "tanh": compiled_tanh, "log1p": compiled_log1p}


def computed(name: str, x: Any) -> Any:
    out = np.empty_like(x)
    COMPILED[name](x, out)
    return out


def exact(name: str, x: Any) -> Any:
    """Return values with more digits than float64 has."""
    wide = x.astype(np.longdouble)
    assert np.finfo(np.longdouble).eps < 1e-18
    return getattr(np, name)(wide)


def arguments(name: str, dtype: Any, n: int = 300_000) -> Any:
    """Return arguments at which values are neither 0 nor infinite nor denormal."""
    rng = np.random.default_rng(0)
    if name == "log1p":  # its arguments are powers of e between 0 and 1
        return np.concatenate([rng.uniform(0, 1, n), np.exp(-rng.uniform(0, 80, n))]).astype(dtype)
    limit = {("exp", np.float32): 87.0, ("exp", np.float64): 708.0}.get((name, dtype), 30.0)
    small = np.exp(-rng.uniform(0, 30, n)) * rng.choice([-1.0, 1.0], n)
    x = np.concatenate([rng.uniform(-limit, limit, n), rng.normal(0, 1, n), small]).astype(dtype)
    return -abs(x) if name == "expm1" else x


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 3e-7), (np.float64, 4e-16)])
def test_cosines_of_turns_are_within_the_error_stated(dtype: Any, bound: float) -> None:
    t = np.random.default_rng(0).uniform(-3, 3, 300_000).astype(dtype)
    out = np.empty_like(t)
    compiled_cos_turns(t, out)
    wide = t.astype(np.longdouble)
    errors = np.abs(out - np.cos(2 * np.longdouble("3.14159265358979323846264338327950288") * wide))
    assert 0.1 * bound < errors.max() <= bound


@DTYPES
@pytest.mark.parametrize("name", COMPILED)
def test_relative_errors_are_within_those_stated(name: str, dtype: Any) -> None:
    x = arguments(name, dtype)
    expected = exact(name, x)
    errors = np.abs((computed(name, x) - expected) / np.where(expected == 0, 1, expected))
    assert errors.max() <= ERRORS[name, dtype]
    assert errors.max() > 0.1 * ERRORS[name, dtype]  # the bound says something


PLAIN = """
import sys
import numpy as np
from tabcohort.engines.compiled import elementary
for path in sys.argv[1:]:
    function = getattr(elementary, path.rpartition("/")[2].split("-")[0])
    np.save(path, np.array([function(x) for x in np.load(path)]))
"""


def test_plain_python_is_as_exact(tmp_path: Path) -> None:
    """It is what runs without a compiler; with one, Python cannot call what is compiled for kernels only."""
    cases = {tmp_path / f"{name}-{np.dtype(dtype)}.npy": (name, dtype) for name, dtype in ERRORS}
    for path, (name, dtype) in cases.items():
        np.save(path, arguments(name, dtype, n=300))
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", PLAIN, *map(str, cases)], env=environment, check=True)
    for path, (name, dtype) in cases.items():
        x, values = arguments(name, dtype, n=300), np.load(path)
        assert values.dtype == dtype
        np.testing.assert_allclose(
            values, exact(name, x).astype(np.float64), rtol=3 * ERRORS[name, dtype], err_msg=path.name
        )


@DTYPES
def test_the_ends_of_the_exponential_are_those_of_numpy(dtype: Any) -> None:
    x = np.array([-np.inf, -1e30, -2000, -760, 0.0, -0.0, 760, 2000, 1e30, np.inf, np.nan], dtype)
    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_array_equal(computed("exp", x), np.exp(x))
    tiny = np.linspace(*{np.float32: (-103.0, -87.0), np.float64: (-744.0, -708.0)}[dtype], 500).astype(dtype)
    denormal = float(np.finfo(dtype).smallest_subnormal)
    np.testing.assert_allclose(computed("exp", tiny), exact("exp", tiny), rtol=2e-7, atol=denormal)
    huge = np.array({np.float32: [88.0, 88.7], np.float64: [709.0, 709.7]}[dtype], dtype)
    np.testing.assert_allclose(computed("exp", huge), exact("exp", huge), rtol=2e-7)


@DTYPES
def test_the_hyperbolic_tangent_is_odd_and_ends_at_one(dtype: Any) -> None:
    x = np.concatenate([np.logspace(-38, 38, 200), [0.0, 9.0, 19.9, 40.0, np.inf]]).astype(dtype)
    np.testing.assert_array_equal(computed("tanh", -x), -computed("tanh", x))
    np.testing.assert_array_equal(computed("tanh", x[x > 40]), 1)
    assert computed("tanh", np.array([0.0], dtype))[0] == 0
    assert math.isnan(computed("tanh", np.array([np.nan], dtype))[0])


@DTYPES
def test_the_logarithm_is_exact_at_both_ends_of_its_arguments(dtype: Any) -> None:
    x = np.array([0.0, np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal, 1e-10, 1.0], dtype)
    denormal = float(np.finfo(dtype).smallest_subnormal)
    np.testing.assert_allclose(computed("log1p", x), np.log1p(x), rtol=2 * np.finfo(dtype).eps, atol=denormal)

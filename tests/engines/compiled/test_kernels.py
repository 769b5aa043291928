"""The optimizers, and how a step's rows are gathered and mixed, against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import called_from_python

from tabcohort.data.encoder import Statistics, plain_encoding, store_rows
from tabcohort.engines.compiled import kernels
from tabcohort.engines.compiled.kernels import ADAM, ADAMW, SGD
from tabcohort.engines.reading import make_reading

update, clip_factor = called_from_python(kernels.update), called_from_python(kernels.clip_factor)
gather, mix = called_from_python(kernels.gather), called_from_python(kernels.mix)
mix_gradient = called_from_python(kernels.mix_gradient)

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
N, RATE, DECAY, BETA1, BETA2, EPS = 11, 0.03, 0.1, 0.8, 0.95, 1e-6


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def expected_updates(optimizer: int, p: Any, gradients: list[Any], factor: float) -> tuple[Any, Any, Any]:
    """Return parameters and moments after these steps, by the formulas of the papers."""
    m, v = np.zeros(N), np.zeros(N)
    for step, g in enumerate(gradients, start=1):
        d = factor * g + (0 if optimizer == ADAMW else DECAY * p)
        if optimizer == SGD:
            m = BETA1 * m + d
            p = p - RATE * m
            continue
        m, v = BETA1 * m + (1 - BETA1) * d, BETA2 * v + (1 - BETA2) * d**2
        m_hat, v_hat = m / (1 - BETA1**step), v / (1 - BETA2**step)
        shrunk = p - RATE * DECAY * p if optimizer == ADAMW else p
        p = shrunk - RATE * m_hat / (np.sqrt(v_hat) + EPS)
    return p, m, v


# The update


@pytest.mark.parametrize("factor", [1.0, 0.25])
@pytest.mark.parametrize("optimizer", [SGD, ADAM, ADAMW], ids=["sgd", "adam", "adamw"])
@DTYPES
def test_updates_are_those_of_the_formulas(optimizer: int, factor: float, dtype: Any) -> None:
    start, gradients = normal(N), [normal(N, seed=step) for step in range(1, 6)]
    p, moment_1, moment_2 = start.astype(dtype), np.zeros(N, dtype), np.zeros(N if optimizer != SGD else 0, dtype)
    rate, decay = dtype(RATE), dtype(DECAY)
    for step, g in enumerate(gradients, start=1):
        update(
            optimizer, p, g.astype(dtype), dtype(factor), moment_1, moment_2, step, rate, decay, dtype(BETA1),
            dtype(BETA2), dtype(EPS),
        )  # fmt: skip
    expected, m, v = expected_updates(optimizer, start, gradients, factor)
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(p, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(moment_1, m, rtol=tolerance, atol=tolerance)
    if optimizer != SGD:
        np.testing.assert_allclose(moment_2, v, rtol=tolerance, atol=tolerance)
    assert np.abs(p - start).max() > 0.05


@DTYPES
@pytest.mark.parametrize("max_norm", [0.1, 1.0, 1e6, 0.0])
def test_gradients_are_clipped_by_their_norm(max_norm: float, dtype: Any) -> None:
    gradient = normal(50).astype(dtype)
    norm = float(np.linalg.norm(gradient.astype(np.float64)))
    factor = clip_factor(gradient, dtype(max_norm))
    expected = 1.0 if max_norm == 0 else min(1.0, max_norm / (norm + 1e-6))
    assert factor == pytest.approx(expected, rel=1e-5 if dtype == np.float32 else 1e-12)
    if max_norm in (0.1, 1.0):
        assert 0.99 * max_norm < factor * norm <= max_norm


def test_a_gradient_that_is_not_finite_is_not_clipped_away() -> None:
    """Training must stop, rather than go on without a step."""
    p, gradient = np.ones(2), np.array([1.0, np.nan])
    factor = clip_factor(gradient, 1.0)
    update(SGD, p, gradient, factor, np.zeros(2), np.zeros(0), 1, RATE, 0.0, 0.0, 0.0, EPS)
    assert np.isnan(p[1])


# A step's rows


@DTYPES
def test_rows_are_gathered_and_standardized(dtype: Any) -> None:
    stored, center, scale = (normal(*shape, seed=3).astype(np.float32) for shape in ((20, 5), (5,), (5,)))
    rows, inputs = np.array([19, 0, 7, 7]), np.full((4, 5), np.nan, dtype)
    reading = make_reading(store_rows(stored, None), plain_encoding(5), Statistics(center, scale))
    gather(reading, rows, inputs)
    expected = (stored[rows].astype(np.float64) - center) * scale
    np.testing.assert_allclose(inputs, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(inputs.astype(np.float32), reading.inputs(rows))  # which the PyTorch engine uses


@DTYPES
def test_rows_are_mixed_with_their_partners(dtype: Any) -> None:
    batch, partners, own = normal(6, 3).astype(dtype), np.array([1, 0, 2, 5, 3, 4]), dtype(0.3)
    before, spare = batch.copy(), np.empty((6, 3), dtype)
    mix(batch, partners, own, spare, 3)
    np.testing.assert_allclose(batch, 0.3 * before + 0.7 * before[partners], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(batch[2], before[2], rtol=1e-6)  # its partner is itself


def test_the_gradient_by_rows_before_they_are_mixed_is_the_transpose_of_mixing() -> None:
    rows, gradient = np.random.default_rng(0).normal(size=(2, 5, 3))
    partners, mixed, changed, spare = np.array([2, 0, 1, 4, 3]), rows.copy(), gradient.copy(), np.empty((5, 3))
    mix(mixed, partners, 0.7, spare, 3)
    mix_gradient(changed, partners, 0.7, spare)
    assert (mixed * gradient).sum() == pytest.approx((rows * changed).sum(), rel=1e-12)


@pytest.mark.parametrize(("own", "is_own"), [(0.3, False), (0.5, True), (0.9, True)])
def test_rows_of_learned_vectors_are_those_of_the_heavier_row(own: float, is_own: bool) -> None:
    batch, partners = normal(4, 3), np.array([1, 0, 3, 2])
    before, spare = batch.copy(), np.empty((4, 3))
    mix(batch, partners, own, spare, 2)
    np.testing.assert_allclose(batch[:, :2], (own * before + (1 - own) * before[partners])[:, :2])
    np.testing.assert_array_equal(batch[:, 2], before[:, 2] if is_own else before[partners, 2])

"""The kernels of operations: PyTorch says what is right, also at the ends of the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import called_from_python
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort.engines.compiled import operations
from tabcohort.engines.compiled.operations import KERNELS, OpKernels
from tabcohort.engines.torch_loop import loss_sum
from tabcohort.network.ops import ACTIVATIONS, OPS

loss_and_gradient = called_from_python(operations.loss_and_gradient)

ENDS = [-np.inf, -3e38, -1.0, -1e-45, 0.0, 1e-45, 1.0, 3e38, np.inf, np.nan]
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SLOPE = 0.3


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(0, 2, shape)


# The loss


@given(st.integers(1, 20), st.sampled_from([1, 2, 3, 7]), st.integers(0, 2**32), st.floats(0.1, 30))
@hypothesis_settings(max_examples=100, deadline=None)
def test_the_loss_and_its_gradient_are_those_of_pytorch(n_rows: int, n_outputs: int, seed: int, spread: float) -> None:
    """With soft targets, and weights of rows that do not sum to 1."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (n_rows, n_outputs))
    targets = rng.uniform(0.1, 2, (n_rows, max(2, n_outputs)))
    tensor = torch.from_numpy(logits).requires_grad_()
    expected = loss_sum(tensor, torch.from_numpy(targets))
    (expected / n_rows).backward()
    gradient = np.full_like(logits, np.nan)
    assert loss_and_gradient(logits, targets, gradient) == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-13)


@DTYPES
def test_extreme_logits_have_finite_losses_and_right_gradients(dtype: Any) -> None:
    logits = np.array([[1e4], [-1e4], [1e4], [-1e4]], dtype)
    targets = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], dtype)
    gradient = np.empty_like(logits)
    assert loss_and_gradient(logits, targets, gradient) == 2e4
    np.testing.assert_array_equal(gradient, np.array([[1], [-1], [0], [0]]) / 4)
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], dtype)  # the largest is first, and in the middle
    targets = np.array([[0, 1, 0], [0, 1, 0]], dtype)
    gradient = np.empty_like(logits)
    assert loss_and_gradient(logits, targets, gradient) == 2e4
    np.testing.assert_array_equal(gradient, np.array([[1, -1, 0], [0, 0, 0]]) / 2)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_show_in_the_loss(n_outputs: int, bad: float) -> None:
    logits, targets = normal(4, n_outputs), np.ones((4, max(2, n_outputs)))
    logits[2, n_outputs - 1] = bad
    assert not np.isfinite(loss_and_gradient(logits, targets, np.empty_like(logits)))


# The registry


def test_every_operation_but_inputs_and_losses_has_kernels() -> None:
    assert OPS.keys() - {"encode", "standardize", "binary_cross_entropy", "cross_entropy"} == KERNELS.keys()


def test_kernels_of_an_operation_need_no_scratch_memory_unless_they_say_so() -> None:
    assert OpKernels(print, print).scratch(100, 3, 7) == 0
    assert KERNELS["batch_norm"].scratch(100, 3, 7) == 5 * 7
    assert KERNELS["layer_norm"].scratch(100, 3, 7) == 100 * 7 + 100
    assert KERNELS["piecewise_linear"].scratch(100, 3, 7) == 2 * 100 * 3 + 3 + 1
    with_memory = ("batch_norm", "layer_norm", "piecewise_linear")
    others = [kernels for kind, kernels in KERNELS.items() if kind not in with_memory]
    assert {kernels.scratch(100, 3, 7) for kernels in others} == {0}


def test_all_activations_share_their_kernels() -> None:
    assert len({id(KERNELS[name]) for name in ACTIVATIONS}) == 1

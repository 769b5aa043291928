"""Dropout of the PyTorch engine: masks from a hash, which need no generator and do not depend on threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn as nn
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from tabcohort.engines.batches import Batches, BatchPlan
from tabcohort.engines.torch_loop import hashed_dropout

N_WIDE = 20_000


def masks(p: float, keys: list[int], n_layers: int = 2, width: int = N_WIDE) -> np.ndarray:
    """Return what layers make of ones, `(n_keys, n_layers, width)`."""

    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Dropout(p) for _ in range(n_layers))

        def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
            return [layer(x) for layer in self.layers]

    module, outputs = Stack().train(), []
    with hashed_dropout(module) as dropout:
        for key in keys:
            dropout.take_key(key)
            outputs.append(torch.stack(module(torch.ones(1, width)))[:, 0].numpy())
    return np.array(outputs)


def keys_of_an_epoch() -> list[int]:
    plan = BatchPlan(200, 10, 0.0, 0.5, needs_pairs=False, seed=3)
    return Batches(plan).epoch(1).layer_keys.tolist()


def correlation_in_sigmas(a: np.ndarray, b: np.ndarray) -> float:
    return float(abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) * np.sqrt(a.size))


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_scales_it_up(p: float) -> None:
    made = masks(p, keys_of_an_epoch())
    share = (made > 0).mean()
    # Masks may round the share to 15 bits.
    assert abs(share - (1 - p)) < 5 * np.sqrt(p * (1 - p) / made.size) + 2**-16
    np.testing.assert_allclose(np.unique(made), [0, 1 / (1 - p)], rtol=2**-15 / (1 - p))


def test_dropout_of_neighbours_layers_and_steps_is_uncorrelated() -> None:
    made = masks(0.3, keys_of_an_epoch())
    for lag in (1, 2, 3, 4, 16, 128, 256):
        assert correlation_in_sigmas(made[:, :, lag:], made[:, :, :-lag]) < 5, lag
    assert correlation_in_sigmas(made[:, 0], made[:, 1]) < 5
    assert correlation_in_sigmas(made[1:], made[:-1]) < 5
    assert correlation_in_sigmas(made[:, :, ::2], made[:, :, 1::2]) < 5


def test_dropout_masks_are_those_of_their_key() -> None:
    first, other, again = masks(0.5, [123, 456, 123])
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.45


@given(st.integers(1, 9), st.integers(0, 2**63 - 1), st.floats(0.05, 0.95))
@hypothesis_settings(max_examples=30, deadline=None)
def test_dropout_takes_any_shape_and_key(width: int, key: int, p: float) -> None:
    assert masks(p, [key], width=width).shape == (1, 2, width)


def test_gradients_pass_where_dropout_keeps() -> None:
    module = nn.Sequential(nn.Dropout(0.4)).train()
    x = torch.ones(1, 500, requires_grad=True)
    with hashed_dropout(module) as dropout:
        dropout.take_key(99)
        out = module(x)
    out.sum().backward()
    assert 200 < (out > 0).sum() < 400
    torch.testing.assert_close(x.grad, out.detach())


def test_dropout_that_drops_everything_gives_zeros() -> None:
    module = nn.Sequential(nn.Dropout(1.0)).train()
    with hashed_dropout(module) as dropout:
        dropout.take_key(1)
        assert (module(torch.ones(1, 100_000)) == 0).all()


def test_dropout_layers_are_pytorchs_own_again_afterwards() -> None:
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 3))
    with hashed_dropout(module):
        assert "forward" in vars(module[0])
    assert "forward" not in vars(module[0])
    assert module[0].forward.__func__ is nn.Dropout.forward


def test_dropout_layers_are_pytorchs_own_again_after_an_error_too() -> None:
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), hashed_dropout(module):
        module(torch.ones(2, 5))
    assert "forward" not in vars(module[0])


def test_dropout_in_evaluation_mode_changes_nothing() -> None:
    module = nn.Sequential(nn.Dropout(0.5)).eval()
    x = torch.ones(2, 50)
    with hashed_dropout(module):
        assert torch.equal(module(x), x)

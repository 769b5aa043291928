"""The loss of the PyTorch engine: soft targets and row weights, against PyTorch's own losses."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tabcohort.engines.torch_loop import loss_sum


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_loss_of_two_classes_is_that_of_pytorch() -> None:
    logits, target, weight = normal(20, 1), torch.rand(20, dtype=torch.float64), torch.rand(20, dtype=torch.float64) + 1
    targets = weight[:, None] * torch.stack([1 - target, target], dim=1)
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], target, weight=weight, reduction="sum")
    torch.testing.assert_close(loss_sum(logits, targets), expected)
    unit = torch.stack([1 - target, target], dim=1)
    torch.testing.assert_close(
        loss_sum(logits, unit, targets_sum_to_one=True), loss_sum(logits, unit, targets_sum_to_one=False)
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_more_classes_is_that_of_pytorch(smoothing: float) -> None:
    logits, y = normal(20, 4), torch.arange(20) % 4
    class_weight = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    target = F.one_hot(y, 4) * (1 - smoothing) + smoothing / 4
    torch.testing.assert_close(
        loss_sum(logits, target), F.cross_entropy(logits, y, reduction="sum", label_smoothing=smoothing)
    )
    weighted = F.cross_entropy(logits, y, reduction="none", label_smoothing=smoothing) * class_weight[y]
    torch.testing.assert_close(loss_sum(logits, target * class_weight[y][:, None]), weighted.sum())


def test_pytorchs_class_weights_are_row_weights_without_smoothing() -> None:
    logits, y = normal(20, 4), torch.arange(20) % 4
    class_weight = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    expected = F.cross_entropy(logits, y, weight=class_weight, reduction="sum")
    torch.testing.assert_close(loss_sum(logits, F.one_hot(y, 4) * class_weight[y][:, None]), expected)


def test_one_logit_and_two_logits_of_two_classes_have_the_same_loss() -> None:
    logit, targets = normal(20, 1), torch.rand(20, 2, dtype=torch.float64) + 0.1
    both = torch.cat([torch.zeros_like(logit), logit], 1)
    torch.testing.assert_close(loss_sum(logit, targets), loss_sum(both, targets))


@pytest.mark.parametrize("targets_sum_to_one", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_of_two_classes_give_finite_losses_and_right_gradients(
    targets_sum_to_one: bool, dtype: torch.dtype
) -> None:
    logits = torch.tensor([[1e4], [-1e4], [1e4], [-1e4]], dtype=dtype, requires_grad=True)
    targets = torch.tensor([[1, 0], [0, 1], [0, 1], [1, 0]], dtype=dtype)
    loss = loss_sum(logits, targets, targets_sum_to_one)
    loss.backward()
    assert loss.item() == 2e4
    torch.testing.assert_close(logits.grad, torch.tensor([[1.0], [-1.0], [0.0], [0.0]], dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_of_more_classes_give_finite_losses_and_right_gradients(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    targets = torch.tensor([[0, 1, 0], [1, 0, 0]], dtype=dtype)
    loss = loss_sum(logits, targets)
    loss.backward()
    assert loss.item() == 2e4
    torch.testing.assert_close(logits.grad, torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]], dtype=dtype))


def test_a_confident_mistake_still_has_a_gradient() -> None:
    logits = torch.tensor([[17.0], [40.0], [100.0]], requires_grad=True)
    loss_sum(logits, torch.tensor([[1.0, 0.0]] * 3), targets_sum_to_one=True).backward()
    torch.testing.assert_close(logits.grad, torch.ones(3, 1))

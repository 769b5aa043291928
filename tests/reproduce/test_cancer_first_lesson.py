"""Lesson 1A, beside scikit-learn and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tabcohort.reproduce import cancer_first_lesson
from tabcohort.reproduce.cancer_first_lesson import (
    FirstLesson,
    epochs_until,
    first_lesson_claims,
    rising_share,
    train_first_lesson,
)
from tabcohort.reproduce.runs import sample_table, split_rows


def test_lesson_1a_is_gradient_descent_as_pytorch_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancer_first_lesson, "EPOCHS", 20)
    table = sample_table("breast-cancer")
    train, test = split_rows(np.arange(len(table.y)), table.y, 0.2, 0)
    run = train_first_lesson(table, train, test, 0.1, 3)
    X = torch.tensor((table.X - table.X[train].mean(0)) / table.X[train].std(0))
    y = torch.tensor(table.y, dtype=torch.float64)
    weights = torch.tensor(0.01 * np.random.default_rng(3).normal(size=30), requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer, losses = torch.optim.SGD([weights, bias], lr=0.1), []
    for _ in range(20):
        loss = F.binary_cross_entropy_with_logits(X[train] @ weights + bias, y[train])
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(run.losses, losses, rtol=1e-10)
    assert run.accuracy == ((X[test] @ weights + bias > 0).numpy() == table.y[test]).mean()


def test_epochs_until_a_loss_are_all_where_it_is_never_reached() -> None:
    assert epochs_until([3.0, 2.0, 1.0, 0.5], 1.0) == 3
    assert epochs_until([3.0, 2.0], 1.0) == 2


def test_losses_that_rise_are_counted() -> None:
    assert rising_share([3.0, 2.0, 2.5, 2.5, 1.0]) == 0.25


def test_a_smooth_lesson_1a_contradicts_the_document() -> None:
    first = {
        rate: [FirstLesson(np.array([3.0, 2.0, 1.0]), 0.97 + seed / 100) for seed in range(3)] for rate in (0.01, 0.1)
    }
    claims = first_lesson_claims(first, [0.98, 0.981, 0.979], [[3.0, 1.0, 2.0], [3.0, 1.0, 1.5], [3.0, 2.0, 1.0]])
    assert [claim.text.partition(" ")[0] for claim in claims] == ["Accuracy", "Accuracy", "Lesson", "Lesson", "The"]
    assert claims[4].measured[0].value.mean == 0
    assert claims[4].measured[1].value.mean == pytest.approx(1 / 3)
    assert claims[4].verdict != "holds"

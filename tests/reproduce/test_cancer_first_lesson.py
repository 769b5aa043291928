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
    oscillation_claim,
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


def test_oscillation_depends_on_the_rate_where_only_some_rates_have_it() -> None:
    smooth = [FirstLesson(np.array([3.0, 2.0, 1.0]), 0.97 + seed / 100) for seed in range(3)]
    shaky = [FirstLesson(np.array([3.0, 4.0, 1.0]), 0.97) for _ in range(3)]
    adam = [[3.0, 1.0, 0.5], [3.0, 1.0, 0.9], [3.0, 2.0, 1.0]]
    assert oscillation_claim({0.01: smooth, 1.0: shaky}, adam).verdict == "not decided"
    assert oscillation_claim({0.01: shaky, 1.0: shaky}, adam).verdict == "holds"
    fails = oscillation_claim({0.01: smooth, 1.0: smooth}, adam)
    assert fails.verdict == "does not hold"
    assert [quantity.value.mean for quantity in fails.measured] == [0, 0, 0]
    claims = first_lesson_claims({0.01: smooth, 0.1: smooth, 1.0: shaky}, [0.98, 0.981, 0.979], adam)
    assert [claim.text.partition(" ")[0] for claim in claims] == ["Accuracy"] * 3 + ["Lesson", "Lesson", "The"]
    assert claims[3].measured[0].value.mean == pytest.approx(0.98)  # of the rate in the middle


def test_gradient_descent_with_a_rate_above_the_limit_raises_the_loss_and_below_it_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cancer_first_lesson, "EPOCHS", 200)
    table = sample_table("breast-cancer")
    train, test = split_rows(np.arange(len(table.y)), table.y, 0.2, 0)
    X = (table.X[train] - table.X[train].mean(0)) / table.X[train].std(0)
    with_bias = np.column_stack([X, np.ones(len(X))])
    limit = 2 / (np.linalg.eigvalsh(with_bias.T @ with_bias / len(X)).max() / 4)
    assert rising_share(train_first_lesson(table, train, test, 0.9 * limit, 0).losses) == 0
    assert rising_share(train_first_lesson(table, train, test, 100 * limit, 0).losses) > 0.05

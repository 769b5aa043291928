"""What the lesson says of batches and predictions, from runs that are made up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tabcohort.reproduce import cancer_batches
from tabcohort.reproduce.cancer_batches import (
    BatchRun,
    batch_claims,
    batch_sheet,
    initial_noise,
    microseconds_per_pass,
    prediction_claims,
)
from tabcohort.reproduce.claims import FAILS, HOLDS
from tabcohort.reproduce.runs import sample_table


def runs(epochs: int, loss: float) -> list[BatchRun]:
    return [BatchRun(epochs + seed, 0.01 * epochs + seed / 1_000, loss + seed / 1_000) for seed in range(4)]


def test_32_rows_are_compared_with_the_best_other_size() -> None:
    by_size = {8: runs(10, 0.080), 32: runs(20, 0.090), "full": runs(90, 0.2)}
    noise = {1: [2.0, 2.1, 1.9, 2.2], 32: [0.3, 0.31, 0.29, 0.3]}
    best, epochs, seconds, steadier = batch_claims(by_size, noise)
    assert "that of batches of 8, the best other size on half of the seeds" in best.text
    assert (best.verdict, best.measured[0].value.n) == (FAILS, 2)
    assert best.measured[0].value.values == (0.082, 0.083)  # of the seeds that did not choose it
    assert epochs.verdict == seconds.verdict == steadier.verdict == HOLDS
    assert batch_claims(by_size, {1: noise[32], 32: noise[1]})[3].verdict == FAILS
    assert [row.what for row in batch_sheet(by_size).rows] == ["8 rows", "32 rows", "all rows"]


def test_32_rows_are_optimal_where_they_have_the_lowest_loss() -> None:
    by_size = {
        8: runs(10, 0.1),
        32: [BatchRun(9, 0.1, 0.09 + 0.0011 * seed) for seed in range(4)],
        "full": runs(9, 0.2),
    }
    noise = {1: [2.0, 2.1, 1.9, 2.2], 32: [0.3, 0.31, 0.29, 0.3]}
    assert batch_claims(by_size, noise)[0].verdict == HOLDS


def test_noise_falls_with_the_root_of_the_size() -> None:
    table = sample_table("breast-cancer")
    train = np.arange(455)
    noise = initial_noise(table, train, torch.nn.Sequential(torch.nn.Linear(30, 1)))
    assert noise[1] / noise[32] == pytest.approx(math.sqrt(32 * (1 - 1 / 455) / (1 - 32 / 455)))


def test_predictions_are_timed_with_and_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    table = sample_table("breast-cancer")
    modules = [torch.nn.Linear(30, 1) for _ in range(3)]
    assert 0 < microseconds_per_pass(modules[0], torch.zeros(1, 30)) < 1e6
    in_second, faster = prediction_claims(modules, table)
    assert in_second.verdict == HOLDS
    assert len(faster.measured) == 3
    monkeypatch.setattr(cancer_batches, "MICROSECONDS_OF_PREDICTION", 0.0)
    assert prediction_claims(modules, table)[0].verdict == FAILS

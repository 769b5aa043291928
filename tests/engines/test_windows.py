"""Epochs that are windows of the training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tabcohort.engines import batches, windows
from tabcohort.engines.batches import BatchPlan
from tabcohort.engines.windows import WindowPlan, n_windows_of


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "ROWS_PER_BLOCK", 10)
    monkeypatch.setattr(windows, "ROWS_PER_WINDOW", 100)
    monkeypatch.setattr(batches, "ROWS_PER_DRAW", 300)  # epochs of three windows are drawn together


def plan_of(n_train: int, **changes: Any) -> WindowPlan:
    n_rows = n_train // n_windows_of(n_train)
    given = {"batch_size": 8, "mixup_alpha": 0.0, "mixup_probability": 0.0, "needs_pairs": False, "seed": 3}
    return WindowPlan(n_rows, **{**given, **changes}, n_train=n_train)


def epochs_of(plan: WindowPlan, n_epochs: int) -> list[Any]:
    """Return the rows of some epochs, in their order."""
    blocks = (plan.draw(number) for number in range(-(-n_epochs // plan.epochs_per_draw)))
    return [rows for block in blocks for rows in block.orders][:n_epochs]


def test_few_rows_have_the_batches_that_they_have_in_memory() -> None:
    plan = plan_of(100, mixup_alpha=0.4, mixup_probability=0.5)
    in_memory = BatchPlan(100, 8, 0.4, 0.5, False, seed=3)
    for name in ("orders", "mixes", "partners", "layer_keys", "bounds"):
        np.testing.assert_array_equal(getattr(plan.draw(1), name), getattr(in_memory.draw(1), name))


@pytest.mark.parametrize("n_train", [101, 250, 997, 1_000])
def test_the_windows_of_a_pass_hold_every_row_once_but_for_a_few(n_train: int) -> None:
    plan = plan_of(n_train)
    for first in (0, plan.n_windows):
        rows = np.concatenate(epochs_of(plan, first + plan.n_windows)[first:])
        assert len(rows) == len(np.unique(rows)) == plan.n_rows * plan.n_windows > n_train - plan.n_windows
        assert rows.min() >= 0
        assert rows.max() < n_train


def test_a_window_is_whole_blocks_but_for_its_ends_and_its_rows_are_shuffled() -> None:
    plan = plan_of(1_000)
    for rows in epochs_of(plan, 10):
        sizes = np.bincount(rows // 10)
        assert (sizes[sizes > 0] == 10).all()
        together = np.diff(rows // 10) == 0
        assert together.mean() < 0.3  # shuffled, neighbours are of one block in one case of ten
    first, second = (set(np.unique(rows // 10)) for rows in epochs_of(plan, 2))
    assert not first & second


def test_windows_depend_on_seed_member_and_epoch_alone() -> None:
    plan = plan_of(1_000)
    third = epochs_of(plan, 3)[2]
    np.testing.assert_array_equal(third, epochs_of(plan_of(1_000), 40)[2])
    for other in (plan_of(1_000, seed=4), plan_of(1_000, member=1)):
        assert not np.array_equal(third, epochs_of(other, 3)[2])
    assert not np.array_equal(epochs_of(plan, 13)[12], third)  # the same window of the next pass


def test_every_row_is_as_likely_in_a_window_as_any_other() -> None:
    counts = np.zeros(300)
    for member in range(300):
        counts[plan_of(300, member=member)._rows_of_epochs(0, 1)[0]] += 1
    assert abs(counts.mean() - 100) < 1e-9
    assert counts.std() < 2 * np.sqrt(300 * 1 / 3 * 2 / 3)
    assert 60 < counts.min() < counts.max() < 140

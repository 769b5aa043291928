"""Training on shuffled labels: nothing is learned, unless rows are tested that were learned from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tabcohort import CohortSettings, Config, Table
from tabcohort.cohort import fit as fit_module
from tabcohort.cohort import shuffled
from tabcohort.cohort.shuffled import fit_shuffled

CONFIG = Config(model="logistic", max_epochs=20, learning_rate=0.05)
SETTINGS = CohortSettings(folds=3, seeds=1)


def table(group_ids: np.ndarray | None = None) -> Table:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(240, 3))
    return Table.from_arrays(X, np.where(X[:, 0] > 0, "yes", "no"), group_ids=group_ids)


def test_nothing_is_learned_from_shuffled_labels() -> None:
    auc = fit_shuffled(table(), [CONFIG], SETTINGS)
    assert auc.low < 0.5 < auc.high
    assert auc == fit_shuffled(table(), [CONFIG], SETTINGS)


def test_callbacks_of_fit_do_not_see_shuffled_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autologging would log them beside the real model."""
    seen: list[Any] = []
    monkeypatch.setattr(fit_module, "FIT_CALLBACKS", [lambda plan, predictor: seen.append(predictor)])
    fit_shuffled(table(), [CONFIG], SETTINGS)
    assert not seen
    predictor = fit_module.fit(table(), [CONFIG], SETTINGS)
    assert seen == [predictor]


@pytest.mark.parametrize("n_per_group", [None, 4])
def test_labels_are_moved_by_whole_groups(n_per_group: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Table] = []

    class StopError(Exception):
        pass

    def record(table: Table, *arguments: Any) -> None:
        given.append(table)
        raise StopError

    monkeypatch.setattr(shuffled, "make_plan", record)
    rng = np.random.default_rng(1)
    rows = table()
    if n_per_group:
        groups = rng.permutation(np.arange(240) // n_per_group)
        rows = replace(table(groups), y=groups % 2)
    with pytest.raises(StopError):
        fit_shuffled(rows, [CONFIG], SETTINGS)
    (trained,) = given
    assert np.array_equal(np.bincount(trained.y), np.bincount(rows.y))
    assert 0.3 < (trained.y == rows.y).mean() < 0.7
    assert np.array_equal(trained.X, rows.X)
    if n_per_group:
        assert all(len(np.unique(trained.y[groups == group])) == 1 for group in range(60))

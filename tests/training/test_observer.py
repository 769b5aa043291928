"""An observer of a single training: what it is told, and that it changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import make_rows
from observers import KeepingObserver
from torch import nn

from tabcohort import Config, Trained, TrainingError, train
from tabcohort.training.loop import TrainingState
from tabcohort.training.observer import EVERY_EPOCH_UP_TO, is_measured


def trained(
    engine: str, observer: KeepingObserver | None = None, callback: Any = lambda state: None, **changes: Any
) -> Trained:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))
    X, y = make_rows()
    config = Config(**{"max_epochs": 6, "engine": engine, "batch_size": 16, "patience": None, **changes})
    return train(module, (X, y), config, callback=callback, observer=observer)


ENGINES = pytest.mark.parametrize("engine", ["compiled", "torch"])


@ENGINES
def test_an_observed_training_has_the_same_bits(engine: str) -> None:
    plain, observer = trained(engine), KeepingObserver()
    observed = trained(engine, observer)
    for one, other in zip(plain.module.parameters(), observed.module.parameters(), strict=True):
        assert np.array_equal(one.detach().numpy(), other.detach().numpy())
    assert [record[:-1] for record in plain.history] == [record[:-1] for record in observed.history]
    assert [run.configs for run in observer.runs] == [("Sequential",)]
    assert observer.calls == [("begin", 0), ("stop", 0, "max_epochs", ""), ("end", None)]
    assert observer.n_progress_calls == 0, "one training has no progress of its own"


@ENGINES
def test_layers_are_measured_after_each_epoch(engine: str) -> None:
    observer = KeepingObserver()
    module = trained(engine, observer).module
    assert [state.n_epochs for state in observer.states[0]] == [1, 2, 3, 4, 5, 6]
    names = [name for name, _ in module.named_parameters()]
    assert all([layer.name for layer in state.layers] == names for state in observer.states[0])
    best = min(observer.states[0][-1].history, key=lambda record: record.score).epoch
    weights = module.get_parameter("0.weight").detach().numpy()
    (figures,) = (layer for layer in observer.states[0][best - 1].layers if layer.name == "0.weight")
    assert figures.n == weights.size
    assert (figures.quantiles[0], figures.quantiles[-1]) == pytest.approx((weights.min(), weights.max()))


def test_a_finished_checkpoint_is_told_once_with_all_its_epochs(tmp_path: Path) -> None:
    def train_again() -> KeepingObserver:
        observer = KeepingObserver()
        config = Config(max_epochs=4, patience=None)
        train(nn.Linear(3, 1), make_rows(), config, checkpoint=tmp_path / "kept", observer=observer)
        return observer

    torch.manual_seed(0)
    first = train_again()
    torch.manual_seed(0)
    with pytest.warns(match="resuming from epoch 4 of the checkpoint"):
        second = train_again()
    assert [state.n_epochs for state in first.states[0]] == [1, 2, 3, 4]
    assert [state.n_epochs for state in second.states[0]] == [4]
    assert second.calls == [("begin", 0), ("stop", 0, "max_epochs", ""), ("end", None)]


def test_the_callback_is_still_called_and_its_reason_is_told() -> None:
    observer = KeepingObserver()
    state = trained("compiled", observer, lambda state: "enough" if state.n_epochs == 2 else None)
    assert state.stop_reason == "enough"
    assert observer.calls[-2:] == [("stop", 0, "enough", ""), ("end", None)]


def test_what_ends_training_is_told_and_raised() -> None:
    def fail(state: TrainingState) -> None:
        raise TrainingError("no more")

    observer = KeepingObserver()
    with pytest.raises(TrainingError, match="no more"):
        trained("compiled", observer, fail)
    assert observer.calls[-2:] == [("stop", 0, "failed", "no more"), ("end", "failed")]


def test_ctrl_c_before_the_first_epoch_is_told_and_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tabcohort.engines.compiled.engine.CompiledEngine.run_epoch", interrupt)
    observer = KeepingObserver()
    with pytest.raises(KeyboardInterrupt):
        trained("compiled", observer)
    assert observer.calls[-2:] == [("stop", 0, "interrupted", ""), ("end", "interrupted")]


def test_layers_of_long_trainings_are_measured_less_and_less_often() -> None:
    measured = [epoch for epoch in range(1, 2_000) if is_measured(epoch)]
    assert measured[:EVERY_EPOCH_UP_TO] == list(range(1, EVERY_EPOCH_UP_TO + 1))
    gaps = np.diff(measured)
    assert (np.diff(gaps) >= 0).all()
    assert max(gaps) == 16

"""An observer of a single training: what it is told, and that it changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from helpers import make_rows
from torch import nn

from tabcohort import Config, Trained, TrainingError, train
from tabcohort.training.loop import TrainingState
from tabcohort.training.observer import EVERY_EPOCH_UP_TO, RunDescription, is_measured


@dataclass
class Notes:
    """Keeps what an observer is told."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    states: list[TrainingState] = field(default_factory=list)

    def on_start(self, run: RunDescription) -> None:
        self.calls.append(("start", run.configs))

    def on_begin(self, member: int) -> None:
        self.calls.append(("begin", member))

    def on_epoch(self, member: int, state: TrainingState) -> None:
        self.states.append(state)

    def on_stop(self, member: int, reason: str, message: str = "") -> None:
        self.calls.append(("stop", member, reason, message))

    def on_progress(self, seconds_left: float, dropped: Mapping[int, int]) -> None:
        raise AssertionError("one training has no progress of its own")

    def on_end(self, reason: str | None) -> None:
        self.calls.append(("end", reason))


def trained(engine: str, observer: Notes | None = None, callback: Any = lambda state: None, **changes: Any) -> Trained:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))
    X, y = make_rows()
    config = Config(**{"max_epochs": 6, "engine": engine, "batch_size": 16, "patience": None, **changes})
    return train(module, (X, y), config, callback=callback, observer=observer)


ENGINES = pytest.mark.parametrize("engine", ["compiled", "torch"])


@ENGINES
def test_an_observed_training_has_the_same_bits(engine: str) -> None:
    plain, notes = trained(engine), Notes()
    observed = trained(engine, notes)
    for one, other in zip(plain.module.parameters(), observed.module.parameters(), strict=True):
        assert np.array_equal(one.detach().numpy(), other.detach().numpy())
    assert [record[:-1] for record in plain.history] == [record[:-1] for record in observed.history]
    assert notes.calls == [
        ("start", ("Sequential",)), ("begin", 0), ("stop", 0, "max_epochs", ""), ("end", None),
    ]  # fmt: skip


@ENGINES
def test_layers_are_measured_after_each_epoch(engine: str) -> None:
    notes = Notes()
    module = trained(engine, notes).module
    assert [state.n_epochs for state in notes.states] == [1, 2, 3, 4, 5, 6]
    names = [name for name, _ in module.named_parameters()]
    assert all([layer.name for layer in state.layers] == names for state in notes.states)
    best = min(notes.states[-1].history, key=lambda record: record.score).epoch
    weights = module.get_parameter("0.weight").detach().numpy()
    (figures,) = (layer for layer in notes.states[best - 1].layers if layer.name == "0.weight")
    assert figures.n == weights.size
    assert (figures.quantiles[0], figures.quantiles[-1]) == pytest.approx((weights.min(), weights.max()))


def test_the_callback_is_still_called_and_its_reason_is_told() -> None:
    notes = Notes()
    state = trained("compiled", notes, lambda state: "enough" if state.n_epochs == 2 else None)
    assert state.stop_reason == "enough"
    assert notes.calls[-2:] == [("stop", 0, "enough", ""), ("end", None)]


def test_what_ends_training_is_told_and_raised() -> None:
    def fail(state: TrainingState) -> None:
        raise TrainingError("no more")

    notes = Notes()
    with pytest.raises(TrainingError, match="no more"):
        trained("compiled", notes, fail)
    assert notes.calls[-2:] == [("stop", 0, "failed", "no more"), ("end", "failed")]


def test_ctrl_c_before_the_first_epoch_is_told_and_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tabcohort.engines.compiled.engine.CompiledEngine.run_epoch", interrupt)
    notes = Notes()
    with pytest.raises(KeyboardInterrupt):
        trained("compiled", notes)
    assert notes.calls[-2:] == [("stop", 0, "interrupted", ""), ("end", "interrupted")]


def test_layers_of_long_trainings_are_measured_less_and_less_often() -> None:
    measured = [epoch for epoch in range(1, 2_000) if is_measured(epoch)]
    assert measured[:EVERY_EPOCH_UP_TO] == list(range(1, EVERY_EPOCH_UP_TO + 1))
    gaps = np.diff(measured)
    assert (np.diff(gaps) >= 0).all()
    assert max(gaps) == 16

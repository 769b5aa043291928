"""Training that was cut short goes on from its file to the very bits of a training that was not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn as nn
from conftest import make_small_table

from tabcohort import (
    ModelFileError,
    Predictor,
    Roles,
    Settings,
    TabcohortWarning,
    checkpoint,
    draw_weights,
    fit,
    save,
    train,
)
from tabcohort.engines import Outcomes
from tabcohort.engines.compiled import CompiledEngine
from tabcohort.engines.torch_loop import TorchEngine
from tabcohort.plan import Epochs
from tabcohort.roles import split_roles
from tabcohort.training import Progress

# That a training goes on from a checkpoint is said; one test is about that, and these here are about its bits.
pytestmark = [
    pytest.mark.filterwarnings("ignore:going on from epoch:tabcohort.TabcohortWarning"),
]

EVERYTHING = Settings(
    model="mlp", hidden=(8, 6), batch_norm=True, dropout=0.3, mixup_alpha=0.4, label_smoothing=0.1, batch_size=16,
    learning_rate=0.01, schedule="plateau", schedule_patience=1, patience=6, max_epochs=60, class_weight="balanced",
)  # fmt: skip
TABLE = make_small_table(n_rows=80)


class PowerCutError(Exception):
    """Training ends here, without a word to anyone."""


def cut_after(n_epochs: int) -> Callable[[Progress], None]:
    """Return a watcher that ends training after so many epochs."""

    def watch(progress: Progress) -> None:
        if len(progress.history) == n_epochs:
            raise PowerCutError

    return watch


def without_seconds(predictor: Predictor) -> list[Any]:
    return [replace(record, seconds=0.0) for record in predictor.report.history]


def assert_same(one: Predictor, other: Predictor) -> None:
    """Assert that two predictors are the same to the bit, but for the time they took."""
    assert without_seconds(one) == without_seconds(other)
    assert one.report.best_epoch == other.report.best_epoch
    assert one.report.stop_reason == other.report.stop_reason
    assert one.network.program == other.network.program
    assert one.network.parameters.tobytes() == other.network.parameters.tobytes()
    assert one.network.buffers.tobytes() == other.network.buffers.tobytes()
    assert one.report.evaluation.metrics == other.report.evaluation.metrics


@pytest.fixture(autouse=True)
def write_after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)


def resumed(table: Any, settings: Settings, path: Path, *cuts: int) -> Predictor:
    """Return the predictor of a training that was cut after each of these epochs."""
    for n_epochs in cuts:
        with pytest.raises(PowerCutError):
            fit(table, settings, cut_after(n_epochs), path)
    return fit(table, settings, checkpoint=path)


ENGINES: dict[str, type[CompiledEngine | TorchEngine]] = {"compiled": CompiledEngine, "torch": TorchEngine}


@pytest.fixture(scope="module", params=ENGINES)
def whole(request: pytest.FixtureRequest) -> Predictor:
    """The training that nothing interrupted, by each of the engines."""
    return fit(TABLE, replace(EVERYTHING, engine=request.param))


def test_the_uninterrupted_run_is_one_where_everything_matters(whole: Predictor) -> None:
    """Patience ends it, the plateau has lowered its rate, and the best epoch is not the last."""
    assert whole.report.engine == whole.settings.engine
    assert whole.report.stop_reason == "patience"
    assert len({record.learning_rate for record in whole.report.history}) > 2
    assert 3 < whole.report.best_epoch < len(whole.report.history) < 50


def test_a_cut_after_any_epoch_changes_no_bit(whole: Predictor, tmp_path: Path) -> None:
    n_epochs, best = len(whole.report.history), whole.report.best_epoch
    for cut in {1, 2, best - 1, best, best + 1, best + 3, n_epochs - 1}:
        assert_same(resumed(TABLE, whole.settings, tmp_path / f"cut{cut}", cut), whole)


def test_many_cuts_change_no_bit(whole: Predictor, tmp_path: Path) -> None:
    assert_same(resumed(TABLE, whole.settings, tmp_path / "cuts", *range(1, len(whole.report.history), 2)), whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "residual"},
        {"model": "residual", "engine": "torch"},
        {"model": "logistic", "batch_size": "full"},
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "engine": "torch"},
        {"optimizer": "adam", "weight_decay": 0.0},
        {"schedule": "one_cycle", "max_epochs": 9},
        {"schedule": "cosine", "monitor": "accuracy", "max_epochs": 9},
        {"clip_norm": 0.1, "activation": "gelu", "max_epochs": 9},
    ],
    ids=str,
)
def test_every_model_optimizer_and_schedule_goes_on_to_the_same_bits(changes: dict[str, Any], tmp_path: Path) -> None:
    settings = replace(EVERYTHING, **{"max_epochs": 12, **changes})
    assert_same(resumed(TABLE, settings, tmp_path / "kept", 2, 5), fit(TABLE, settings))


def test_three_classes_go_on_to_the_same_bits(tmp_path: Path) -> None:
    table, settings = make_small_table(3), replace(EVERYTHING, max_epochs=9)
    assert_same(resumed(table, settings, tmp_path / "kept", 4), fit(table, settings))


def test_a_checkpoint_changes_no_training(whole: Predictor, tmp_path: Path) -> None:
    assert_same(fit(TABLE, whole.settings, checkpoint=tmp_path / "kept"), whole)


def test_a_finished_checkpoint_gives_its_result_without_an_epoch(whole: Predictor, tmp_path: Path) -> None:
    fit(TABLE, whole.settings, checkpoint=tmp_path / "kept")
    before = (tmp_path / "kept").read_bytes()
    epochs: list[Progress] = []
    assert_same(fit(TABLE, whole.settings, epochs.append, tmp_path / "kept"), whole)
    assert not epochs
    assert (tmp_path / "kept").read_bytes() == before


def test_time_goes_on_from_where_it_stopped(tmp_path: Path) -> None:
    predictor = resumed(TABLE, EVERYTHING, tmp_path / "kept", 3)
    seconds = [record.seconds for record in predictor.report.history]
    assert seconds == sorted(seconds)


OTHERS = {
    "settings": (TABLE, replace(EVERYTHING, seed=1)),
    "patience": (TABLE, replace(EVERYTHING, patience=7)),
    "engine": (TABLE, replace(EVERYTHING, engine="torch")),
    "data": (make_small_table(n_rows=80, seed=1), EVERYTHING),
    "one cell": (replace(TABLE, X=np.nextafter(TABLE.X, 9)), EVERYTHING),
    "weights": (replace(TABLE, weight=TABLE.weight * 2), EVERYTHING),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_of_other_settings_or_data_is_refused(name: str, tmp_path: Path) -> None:
    fit(TABLE, replace(EVERYTHING, max_epochs=1), checkpoint=tmp_path / "done")
    with pytest.raises(PowerCutError):
        fit(TABLE, EVERYTHING, cut_after(1), tmp_path / "kept")
    table, settings = OTHERS[name]
    words = r"the checkpoint '.*kept' is of other settings or data; remove it, or name another file"
    with pytest.raises(ModelFileError, match=words):
        fit(table, settings, checkpoint=tmp_path / "kept")


@pytest.mark.parametrize(
    "other", [nn.Sequential(nn.Linear(3, 5), nn.Tanh()), nn.Sequential(nn.Linear(3, 4), nn.ReLU())]
)
def test_a_checkpoint_of_another_network_is_refused(other: nn.Sequential, tmp_path: Path) -> None:
    """Of another shape, or with the same parameters between which something else stands."""
    width = other[0].out_features
    settings = Settings(max_epochs=3)
    train(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), TABLE, settings, checkpoint=tmp_path / "kept")
    with pytest.raises(ModelFileError, match="is of other settings or data"):
        train(nn.Sequential(*other, nn.Linear(width, 1)), TABLE, settings, checkpoint=tmp_path / "kept")


def test_a_checkpoint_of_other_roles_is_refused(tmp_path: Path) -> None:
    settings = Settings(max_epochs=3)
    roles = split_roles(TABLE.X, TABLE.y, TABLE.weight, settings)
    train(nn.Linear(3, 1), TABLE, settings, roles=roles, checkpoint=tmp_path / "kept")
    turned = Roles(roles.train, roles.score, roles.stop)
    with pytest.raises(ModelFileError, match="is of other settings or data"):
        train(nn.Linear(3, 1), TABLE, settings, roles=turned, checkpoint=tmp_path / "kept")


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    fit(TABLE, EVERYTHING, checkpoint=tmp_path / "kept")
    data = bytearray((tmp_path / "kept").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "kept").write_bytes(data)
    with pytest.raises(ModelFileError, match=r"kept' is damaged: its SHA-256 does not match"):
        fit(TABLE, EVERYTHING, checkpoint=tmp_path / "kept")


def test_a_model_is_no_checkpoint(whole: Predictor, tmp_path: Path) -> None:
    save(whole, tmp_path / "model")
    with pytest.raises(ModelFileError, match=r"model' is a model, not a checkpoint"):
        fit(TABLE, EVERYTHING, checkpoint=tmp_path / "model")


def test_within_ten_seconds_only_the_end_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 10.0)
    there: list[bool] = []
    fit(TABLE, EVERYTHING, lambda progress: there.append((tmp_path / "kept").exists()), tmp_path / "kept")
    assert there == [False] * (len(there) - 1) + [True]


# Ctrl-C


def interrupt_after(n_epochs: int) -> Callable[[Progress], None]:
    """Return a watcher that presses Ctrl-C after so many epochs."""

    def watch(progress: Progress) -> None:
        if len(progress.history) == n_epochs:
            raise KeyboardInterrupt

    return watch


def test_ctrl_c_writes_a_checkpoint_that_goes_on_to_the_same_bits(
    whole: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 1e9)  # nothing else writes it
    with pytest.warns(TabcohortWarning, match="^interrupted: "):
        interrupted = fit(TABLE, whole.settings, interrupt_after(4), tmp_path / "kept")
    assert interrupted.report.stop_reason == "interrupted"
    with pytest.warns(TabcohortWarning, match=r"^going on from epoch 4 of the checkpoint '.*kept'$"):
        assert_same(fit(TABLE, whole.settings, checkpoint=tmp_path / "kept"), whole)


def test_ctrl_c_within_an_epoch_writes_the_epoch_before(
    whole: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 1e9)
    kind = ENGINES[whole.settings.engine]
    run_epochs = kind.run_epochs

    def interrupted(engine: Any, plans: Epochs, rates: Sequence[float]) -> Outcomes:
        outcomes = run_epochs(engine, plans, rates)
        if 4 in plans.numbers:
            raise KeyboardInterrupt
        return outcomes

    with monkeypatch.context() as pressing:
        pressing.setattr(kind, "run_epochs", interrupted)
        with pytest.warns(TabcohortWarning, match=r"^interrupted: .* of 3$"):
            fit(TABLE, whole.settings, checkpoint=tmp_path / "kept")
    with pytest.warns(TabcohortWarning, match="^going on from epoch 3 of the checkpoint"):
        assert_same(fit(TABLE, whole.settings, checkpoint=tmp_path / "kept"), whole)


class Counting(nn.Module):
    """Has buffers of many types, and changes each of them in place in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.register_buffer("odd", torch.tensor(False))
        self.register_buffer("steps", torch.tensor(0, dtype=torch.int32))
        self.register_buffer("halves", torch.zeros(2, dtype=torch.float16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.odd.logical_not_()
            self.steps.add_(1)
            self.halves.add_(0.5)
        return self.linear(x)


def test_buffers_of_any_type_go_on_to_the_same_bits(tmp_path: Path) -> None:
    settings = Settings(max_epochs=5, patience=None, batch_size="full", learning_rate=0.01, engine="torch")

    def trained(**how: Any) -> nn.Module:
        module = Counting()
        draw_weights(module, seed=0)
        return train(module, TABLE, settings, **how).module

    with pytest.raises(PowerCutError):
        trained(checkpoint=tmp_path / "kept", watch=cut_after(3))
    resumed, plain = trained(checkpoint=tmp_path / "kept").state_dict(), trained().state_dict()
    assert [resumed[name].dtype for name in ("odd", "steps", "halves")] == [torch.bool, torch.int32, torch.float16]
    assert (resumed["odd"].item(), resumed["steps"].item(), resumed["halves"].tolist()) == (True, 5, [2.5, 2.5])
    for name, tensor in plain.items():
        assert torch.equal(resumed[name], tensor), name


def test_ctrl_c_before_a_resumed_training_has_done_an_epoch_loses_nothing(whole: Predictor, tmp_path: Path) -> None:
    def interrupted(engine: Any, plans: Epochs, rates: Sequence[float]) -> Outcomes:
        raise KeyboardInterrupt

    with pytest.raises(PowerCutError):
        fit(TABLE, whole.settings, cut_after(4), tmp_path / "kept")
    with pytest.MonkeyPatch.context() as pressing:
        pressing.setattr(ENGINES[whole.settings.engine], "run_epochs", interrupted)
        with pytest.warns(TabcohortWarning, match=r"^interrupted: .* of 4$"):
            fit(TABLE, whole.settings, checkpoint=tmp_path / "kept")
    with pytest.warns(TabcohortWarning, match=r"^going on from epoch 4 of the checkpoint"):
        assert_same(fit(TABLE, whole.settings, checkpoint=tmp_path / "kept"), whole)

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
from helpers import SINGLE, SMALL, assert_same, make_small_table

from tabcohort import (
    CohortSettings,
    Config,
    ModelFileError,
    Predictor,
    SettingsError,
    Split,
    TabcohortWarning,
    Trained,
    build_model,
    fit,
    initialize_weights,
    save,
    train,
)
from tabcohort.cohort.progress import RunProgress
from tabcohort.data.splits import train_validation_test_split
from tabcohort.engines.batches import EpochBlock
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.protocol import Outcomes
from tabcohort.engines.torch_loop import TorchEngine
from tabcohort.training import checkpoint
from tabcohort.training.loop import TrainingState

# That a training goes on from a checkpoint is said; one test is about that, and these here are about its bits.
pytestmark = [
    pytest.mark.filterwarnings("ignore:going on from:tabcohort.TabcohortWarning"),
]

EVERYTHING = Config(
    model="mlp", hidden=(8, 6), batch_norm=True, dropout=0.3, mixup_alpha=0.4, label_smoothing=0.1, batch_size=16,
    learning_rate=0.01, schedule="plateau", schedule_patience=1, patience=6, max_epochs=60, class_weight="balanced",
)  # fmt: skip
TABLE = make_small_table(n_rows=80)


class PowerCutError(Exception):
    """Training ends here, without a word to anyone."""


def cut_after(n_epochs: int) -> Callable[[RunProgress], None]:
    """Return a watcher that ends training after so many epochs of all members."""

    def watch(progress: RunProgress) -> None:
        if progress.epochs == n_epochs:
            raise PowerCutError

    return watch


def cut_member_after(n_epochs: int) -> Callable[[TrainingState], None]:
    """Return a watcher that ends a module's training after so many epochs."""

    def watch(progress: TrainingState) -> None:
        if len(progress.history) == n_epochs:
            raise PowerCutError

    return watch


@pytest.fixture(autouse=True)
def write_and_watch_after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("tabcohort.cohort.runner.SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("os.fsync", lambda handle: None)  # slow; that files are whole is for `test_container`


def fit_one(config: Config, watch: Any = lambda progress: None, path: Path | None = None) -> Predictor:
    """Return the predictor of a single network for `TABLE`."""
    return fit(TABLE, settings, SINGLE, watch, path)


def resumed(
    table: Any, config: Config | Sequence[Config], path: Path, *cuts: int, cohort: CohortSettings = SINGLE
) -> Predictor:
    """Return the predictor of a training that was cut after each of these epochs."""
    for n_epochs in cuts:
        with pytest.raises(PowerCutError):
            fit(table, settings, cohort, cut_after(n_epochs), path)
    return fit(table, settings, cohort, checkpoint=path)


ENGINES: dict[str, type[CompiledEngine | TorchEngine]] = {"compiled": CompiledEngine, "torch": TorchEngine}


@pytest.fixture(scope="module", params=ENGINES)
def whole(request: pytest.FixtureRequest) -> Predictor:
    """The training that nothing interrupted, by each of the engines."""
    return fit_one(replace(EVERYTHING, engine=request.param))


def test_the_uninterrupted_run_is_one_where_everything_matters(whole: Predictor) -> None:
    """Patience ends it, the plateau has lowered its rate, and the best epoch is not the last."""
    (member,) = whole.report.members
    assert whole.report.engine == whole.settings.engine
    assert member.stop_reason == "patience"
    assert len({record.learning_rate for record in member.history}) > 2
    assert 3 < member.best_epoch < len(member.history) < 50


def test_a_cut_after_any_epoch_changes_no_bit(whole: Predictor, tmp_path: Path) -> None:
    (member,) = whole.report.members
    n_epochs, best = len(member.history), member.best_epoch
    for cut in {1, 2, best - 1, best, best + 1, best + 3, n_epochs - 1}:
        assert_same(resumed(TABLE, whole.settings, tmp_path / f"cut{cut}", cut), whole)


def test_many_cuts_change_no_bit(whole: Predictor, tmp_path: Path) -> None:
    n_epochs = len(whole.report.members[0].history)
    assert_same(resumed(TABLE, whole.settings, tmp_path / "cuts", *range(1, n_epochs, 2)), whole)


# Cohorts


class CutAtCall:
    """A watcher that ends training at one of its calls."""

    def __init__(self, call: int) -> None:
        self.left = call

    def __call__(self, progress: RunProgress) -> None:
        self.left -= 1
        if self.left == 0:
            raise PowerCutError


@pytest.mark.parametrize("threads", [1, 2])
def test_a_cohort_that_was_cut_anywhere_goes_on_to_the_same_bits(threads: int, tmp_path: Path) -> None:
    cohort = replace(SMALL, threads=threads)
    plain = fit(TABLE, EVERYTHING, cohort)
    for cut in (1, 9, 30):
        path = tmp_path / f"cut{cut}"
        for call in (cut, 4):  # the second one further on
            with pytest.raises(PowerCutError):
                fit(TABLE, EVERYTHING, cohort, CutAtCall(call), path)
        assert_same(fit(TABLE, EVERYTHING, cohort, checkpoint=path), plain)
        assert sorted(each.name for each in path.iterdir()) == [f"0-0-{fold}.checkpoint" for fold in range(3)]


def test_a_cohort_of_several_settings_and_seeds_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    settings = [replace(EVERYTHING, max_epochs=8), replace(EVERYTHING, model="residual", max_epochs=5)]
    cohort = CohortSettings(folds=3, seeds=2, threads=1)
    with pytest.raises(PowerCutError):
        fit(TABLE, settings, cohort, CutAtCall(50), tmp_path / "kept")
    assert_same(fit(TABLE, settings, cohort, checkpoint=tmp_path / "kept"), fit(TABLE, settings, cohort))
    names = [f"{s}-{repeat}-{fold}.checkpoint" for s in range(2) for repeat in range(2) for fold in range(3)]
    assert sorted(each.name for each in (tmp_path / "kept").iterdir()) == names


SEVEN = [
    replace(EVERYTHING, max_epochs=24, hidden=(4,), learning_rate=rate, monitor=monitor)
    for rate, monitor in zip(
        (1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2), ("log_loss", "accuracy", "roc_auc") * 3, strict=False
    )
]


@pytest.fixture(scope="module")
def whole_of_seven() -> Predictor:
    """What is trained of several settings, of which some are dropped, when nothing interrupts it."""
    return fit(TABLE, SEVEN, SMALL)


def test_settings_are_dropped_alike_with_a_checkpoint_and_nothing_is_read_on_the_way(
    whole_of_seven: Predictor, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    assert sum(each.dropped_after is not None for each in whole_of_seven.report.configs) == 3
    assert_same(fit(TABLE, SEVEN, SMALL, checkpoint=tmp_path / "kept"), whole_of_seven)
    assert not recwarn.list


@pytest.mark.parametrize("call", [3, 40, 104, 107, 140, 200])
def test_settings_are_dropped_alike_after_a_cut_before_or_after_that(
    whole_of_seven: Predictor, call: int, tmp_path: Path
) -> None:
    cohort = replace(SMALL, threads=1)
    with pytest.raises(PowerCutError):
        fit(TABLE, SEVEN, cohort, CutAtCall(call), tmp_path / "kept")
    assert_same(fit(TABLE, SEVEN, cohort, checkpoint=tmp_path / "kept"), whole_of_seven)


def test_a_budget_and_then_more_time_give_the_same_bits(tmp_path: Path) -> None:
    with pytest.warns(TabcohortWarning, match="^the budget of seconds is spent: 3 of 3 members have weights, 0 of"):
        fit(TABLE, EVERYTHING, replace(SMALL, budget_seconds=1e-6), checkpoint=tmp_path / "kept")
    assert_same(fit(TABLE, EVERYTHING, SMALL, checkpoint=tmp_path / "kept"), fit(TABLE, EVERYTHING, SMALL))


def test_a_checkpoint_of_a_cohort_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SettingsError, match=r"^the checkpoint '.*file' must be a folder, .* member: File exists$"):
        fit(TABLE, EVERYTHING, SMALL, checkpoint=tmp_path / "file")
    with pytest.raises(SettingsError, match=r"must be a folder, .* of each member: No such file or directory$"):
        fit(TABLE, EVERYTHING, SMALL, checkpoint=tmp_path / "no" / "where")


# Kinds of networks, and what else a checkpoint is of


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
    assert_same(resumed(TABLE, settings, tmp_path / "kept", 2, 5), fit_one(settings))


def test_three_classes_go_on_to_the_same_bits(tmp_path: Path) -> None:
    table, settings = make_small_table(3), replace(EVERYTHING, max_epochs=9)
    assert_same(resumed(table, settings, tmp_path / "kept", 4), fit(table, settings, SINGLE))


def test_a_checkpoint_changes_no_training(whole: Predictor, tmp_path: Path) -> None:
    assert_same(fit_one(whole.settings, path=tmp_path / "kept"), whole)


def test_a_finished_checkpoint_gives_its_result_without_an_epoch(whole: Predictor, tmp_path: Path) -> None:
    fit_one(whole.settings, path=tmp_path / "kept")
    before = (tmp_path / "kept" / "0-0-0.checkpoint").read_bytes()
    epochs: list[RunProgress] = []
    assert_same(fit_one(whole.settings, epochs.append, tmp_path / "kept"), whole)
    assert [(each.n_done, each.n_members) for each in epochs] == [(1, 1)], "told once, that there is nothing to do"
    assert (tmp_path / "kept" / "0-0-0.checkpoint").read_bytes() == before


def test_time_goes_on_from_where_it_stopped(tmp_path: Path) -> None:
    predictor = resumed(TABLE, EVERYTHING, tmp_path / "kept", 3)
    seconds = [record.seconds for record in predictor.report.members[0].history]
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
    with pytest.raises(PowerCutError):
        fit_one(EVERYTHING, cut_after(1), tmp_path / "kept")
    table, settings = OTHERS[name]
    words = r"the checkpoint '.*0-0-0.checkpoint' is of other settings or data; remove its folder, or name another"
    with pytest.raises(ModelFileError, match=words):
        fit(table, settings, SINGLE, checkpoint=tmp_path / "kept")


def test_a_checkpoint_of_another_member_is_refused(tmp_path: Path) -> None:
    """Of the same rows and settings, but of another number, and so of other draws."""
    time = np.arange(80.0)  # which divides rows for each seed in the same way
    table, cohort = replace(TABLE, time=time), CohortSettings(folds=1, seeds=2)
    fit(table, EVERYTHING, cohort, checkpoint=tmp_path / "kept")
    (tmp_path / "kept" / "0-0-0.checkpoint").replace(tmp_path / "kept" / "0-1-0.checkpoint")
    with pytest.raises(ModelFileError, match=r"0-1-0.checkpoint' is of other settings or data"):
        fit(table, EVERYTHING, cohort, checkpoint=tmp_path / "kept")


@pytest.mark.parametrize(
    "other", [nn.Sequential(nn.Linear(3, 5), nn.Tanh()), nn.Sequential(nn.Linear(3, 4), nn.ReLU())]
)
def test_a_checkpoint_of_another_network_is_refused(other: nn.Sequential, tmp_path: Path) -> None:
    """Of another shape, or with the same parameters between which something else stands."""
    width = other[0].out_features
    settings = Config(max_epochs=3)
    train(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), TABLE, settings, checkpoint=tmp_path / "kept")
    with pytest.raises(ModelFileError, match="is of other settings or data"):
        train(nn.Sequential(*other, nn.Linear(width, 1)), TABLE, settings, checkpoint=tmp_path / "kept")


def test_a_checkpoint_of_other_roles_is_refused(tmp_path: Path) -> None:
    settings = Config(max_epochs=3)
    roles = train_validation_test_split(TABLE.X, TABLE.y, TABLE.weight, settings)
    train(nn.Linear(3, 1), TABLE, settings, split=roles, checkpoint=tmp_path / "kept")
    turned = Split(split.train, split.test, split.validation)
    with pytest.raises(ModelFileError, match="is of other settings or data"):
        train(nn.Linear(3, 1), TABLE, settings, split=turned, checkpoint=tmp_path / "kept")


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    fit_one(EVERYTHING, path=tmp_path / "kept")
    file = tmp_path / "kept" / "0-0-0.checkpoint"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"0-0-0.checkpoint' is damaged: its SHA-256 does not match"):
        fit_one(EVERYTHING, path=tmp_path / "kept")


def test_a_model_is_no_checkpoint(whole: Predictor, tmp_path: Path) -> None:
    save(whole, tmp_path / "0-0-0.checkpoint")
    with pytest.raises(ModelFileError, match=r"0-0-0.checkpoint' is a model, not a checkpoint"):
        fit_one(EVERYTHING, path=tmp_path)


def test_within_ten_seconds_only_the_end_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 10.0)
    there: list[bool] = []
    fit_one(
        EVERYTHING, lambda progress: there.append((tmp_path / "kept" / "0-0-0.checkpoint").exists()), tmp_path / "kept"
    )
    assert there == [False] * (len(there) - 1) + [True]


# Ctrl-C


def interrupt_after(n_epochs: int) -> Callable[[RunProgress], None]:
    """Return a watcher that presses Ctrl-C after so many epochs."""

    def watch(progress: RunProgress) -> None:
        if progress.epochs == n_epochs:
            raise KeyboardInterrupt

    return watch


def test_ctrl_c_writes_a_checkpoint_that_goes_on_to_the_same_bits(
    whole: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 1e9)  # nothing else writes it
    with pytest.warns(TabcohortWarning, match="^interrupted: 1 of 1 members have weights, 0 of them"):
        interrupted = fit_one(whole.settings, interrupt_after(4), tmp_path / "kept")
    assert interrupted.report.members[0].stop_reason == interrupted.report.stop_reason == "interrupted"
    with pytest.warns(TabcohortWarning, match=r"^going on from the checkpoint '.*kept': 1 networks left"):
        assert_same(fit_one(whole.settings, path=tmp_path / "kept"), whole)


def test_ctrl_c_of_a_cohort_writes_what_every_member_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 1e9)
    cohort = replace(SMALL, threads=2)
    with pytest.warns(TabcohortWarning, match=r"^interrupted: [12] of 3 members have weights, 0 of them"):
        interrupted = fit(TABLE, EVERYTHING, cohort, interrupt_after(4), tmp_path / "kept")
    names = [f"0-0-{member.fold}.checkpoint" for member in interrupted.report.members]
    assert sorted(each.name for each in (tmp_path / "kept").iterdir()) == names
    assert_same(fit(TABLE, EVERYTHING, cohort, checkpoint=tmp_path / "kept"), fit(TABLE, EVERYTHING, cohort))


def test_ctrl_c_where_a_member_has_just_been_gone_on_with_keeps_its_checkpoint(tmp_path: Path) -> None:
    """The watcher is asked before the first epoch of the second run, and ends it there."""
    plain = fit_one(EVERYTHING)
    with pytest.raises(PowerCutError):
        fit_one(EVERYTHING, cut_after(5), tmp_path / "kept")
    with pytest.warns(TabcohortWarning, match="^interrupted: 1 of 1 members have weights"):
        again = fit_one(EVERYTHING, interrupt_after(5), tmp_path / "kept")
    assert len(again.report.members[0].history) == 5
    assert_same(fit_one(EVERYTHING, path=tmp_path / "kept"), plain)


def trained(engine: str, **how: Any) -> Trained:
    """Return a module of `EVERYTHING`, trained alone."""
    settings = replace(EVERYTHING, engine=engine)
    module = build_model(settings, 3, 2)
    initialize_weights(module, settings.seed)
    return train(module, TABLE, settings, **how)


def assert_same_module(one: Trained, other: Trained) -> None:
    histories = [[replace(record, seconds=0.0) for record in each.history] for each in (one, other)]
    assert histories[0] == histories[1]
    for name, tensor in other.module.state_dict().items():
        assert torch.equal(one.module.state_dict()[name], tensor), name


@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_within_an_epoch_writes_the_epoch_before(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 1e9)
    kind = ENGINES[engine]
    run_epochs = kind.run_epochs

    def interrupted(engine: Any, plans: EpochBlock, rates: Sequence[float]) -> Outcomes:
        outcomes = run_epochs(engine, plans, rates)
        if 4 in plans.numbers:
            raise KeyboardInterrupt
        return outcomes

    with monkeypatch.context() as pressing:
        pressing.setattr(kind, "run_epochs", interrupted)
        with pytest.warns(TabcohortWarning, match=r"^interrupted: .* of 3$"):
            trained(engine, checkpoint=tmp_path / "kept")
    with pytest.warns(TabcohortWarning, match="^going on from epoch 3 of the checkpoint"):
        assert_same_module(trained(engine, checkpoint=tmp_path / "kept"), trained(engine))


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
    settings = Config(max_epochs=5, patience=None, batch_size="full", learning_rate=0.01, engine="torch")

    def counted(**how: Any) -> nn.Module:
        module = Counting()
        initialize_weights(module, seed=0)
        return train(module, TABLE, settings, **how).module

    with pytest.raises(PowerCutError):
        counted(checkpoint=tmp_path / "kept", callback=cut_member_after(3))
    resumed, plain = counted(checkpoint=tmp_path / "kept").state_dict(), counted().state_dict()
    assert [resumed[name].dtype for name in ("odd", "steps", "halves")] == [torch.bool, torch.int32, torch.float16]
    assert (resumed["odd"].item(), resumed["steps"].item(), resumed["halves"].tolist()) == (True, 5, [2.5, 2.5])
    for name, tensor in plain.items():
        assert torch.equal(resumed[name], tensor), name


@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_before_a_resumed_training_has_done_an_epoch_loses_nothing(engine: str, tmp_path: Path) -> None:
    def interrupted(engine: Any, plans: EpochBlock, rates: Sequence[float]) -> Outcomes:
        raise KeyboardInterrupt

    with pytest.raises(PowerCutError):
        trained(engine, callback=cut_member_after(4), checkpoint=tmp_path / "kept")
    with pytest.MonkeyPatch.context() as pressing:
        pressing.setattr(ENGINES[engine], "run_epochs", interrupted)
        with pytest.warns(TabcohortWarning, match=r"^interrupted: .* of 4$"):
            trained(engine, checkpoint=tmp_path / "kept")
    with pytest.warns(TabcohortWarning, match=r"^going on from epoch 4 of the checkpoint"):
        assert_same_module(trained(engine, checkpoint=tmp_path / "kept"), trained(engine))

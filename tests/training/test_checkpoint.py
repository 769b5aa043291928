"""Training that was cut short resumes from its file to the very bits of a training that was not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn as nn
from helpers import SINGLE, SMALL, assert_same, make_small_table, mixed_frame

from tabcohort import (
    CohortSettings,
    Config,
    ModelFileError,
    Predictor,
    SettingsError,
    Split,
    TabcohortWarning,
    Table,
    Trained,
    build_model,
    fit,
    initialize_weights,
    save,
    train,
)
from tabcohort.cohort.progress import RunProgress
from tabcohort.container import read_container, write_container
from tabcohort.data.splits import train_validation_test_split
from tabcohort.engines.batches import Batches, EpochBlock
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.ranks import Ranks
from tabcohort.engines.torch_loop import TorchEngine
from tabcohort.engines.validation import EpochResult
from tabcohort.training import checkpoint
from tabcohort.training.checkpoint import Checkpoint
from tabcohort.training.loop import EpochRecord, TrainingState
from tabcohort.training.schedule import Plateau

# A training that resumes warns of it; one test is about that, and the others are about its bits.
pytestmark = [
    pytest.mark.filterwarnings("ignore:resuming from:tabcohort.TabcohortWarning"),
]

EVERYTHING = Config(
    model="mlp", hidden=(8, 6), batch_norm=True, dropout=0.3, mixup_alpha=0.4, label_smoothing=0.1, batch_size=16,
    learning_rate=0.01, schedule="plateau", schedule_patience=1, patience=6, max_epochs=60, class_weight="balanced",
)  # fmt: skip
TABLE = make_small_table(n_rows=80)
SECONDS_BETWEEN = checkpoint.SECONDS_BETWEEN  # which is 0 in most tests


class PowerCutError(Exception):
    """Training ends here, without notice."""


def cut_after(n_epochs: int) -> Callable[[RunProgress], None]:
    """Return a callback that ends training after so many epochs of all members."""

    def callback(progress: RunProgress) -> None:
        if progress.n_epochs == n_epochs:
            raise PowerCutError

    return callback


def cut_member_after(n_epochs: int) -> Callable[[TrainingState], None]:
    """Return a callback that ends a module's training after so many epochs."""

    def callback(state: TrainingState) -> None:
        if state.n_epochs == n_epochs:
            raise PowerCutError

    return callback


@pytest.fixture(autouse=True)
def write_and_call_back_after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("tabcohort.cohort.runner.SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("os.fsync", lambda handle: None)  # slow; that files are whole is for `test_container`


def fit_one(config: Config, callback: Any = lambda progress: None, path: Path | None = None) -> Predictor:
    """Return the predictor of a single network for `TABLE`."""
    return fit(TABLE, config, SINGLE, callback, path)


def resumed(
    table: Any, config: Config | Sequence[Config], path: Path, *cuts: int, settings: CohortSettings = SINGLE
) -> Predictor:
    """Return the predictor of a training that was cut after some epochs, one cut after another."""
    for n_epochs in cuts:
        with pytest.raises(PowerCutError):
            fit(table, config, settings, cut_after(n_epochs), path)
    return fit(table, config, settings, checkpoint=path)


ENGINES: dict[str, type[CompiledEngine | TorchEngine]] = {"compiled": CompiledEngine, "torch": TorchEngine}


@pytest.fixture(scope="module", params=ENGINES)
def whole(request: pytest.FixtureRequest) -> Predictor:
    """The training that nothing interrupted, by either engine."""
    return fit_one(replace(EVERYTHING, engine=request.param))


def test_the_uninterrupted_run_is_one_where_everything_matters(whole: Predictor) -> None:
    """Patience ends it, the plateau has lowered its rate, and the best epoch is not the last."""
    (member,) = whole.report.members
    assert whole.report.engine == whole.config.engine
    assert member.stop_reason == "patience"
    assert len({record.learning_rate for record in member.history}) > 2
    assert 3 < member.best_epoch < len(member.history) < 50


def test_a_cut_after_any_epoch_changes_no_bit(whole: Predictor, tmp_path: Path) -> None:
    (member,) = whole.report.members
    n_epochs, best = len(member.history), member.best_epoch
    for cut in {1, 2, best - 1, best, best + 1, best + 3, n_epochs - 1}:
        assert_same(resumed(TABLE, whole.config, tmp_path / f"cut{cut}", cut), whole)


def test_many_cuts_change_no_bit(whole: Predictor, tmp_path: Path) -> None:
    n_epochs = len(whole.report.members[0].history)
    assert_same(resumed(TABLE, whole.config, tmp_path / "cuts", *range(1, n_epochs, 2)), whole)


# Cohorts


class CutAtCall:
    """A callback that ends training at one of its calls."""

    def __init__(self, call: int) -> None:
        self.left = call

    def __call__(self, progress: RunProgress) -> None:
        self.left -= 1
        if self.left == 0:
            raise PowerCutError


@pytest.mark.parametrize("threads", [1, 2])
def test_a_cohort_that_was_cut_anywhere_resumes_to_the_same_bits(threads: int, tmp_path: Path) -> None:
    settings = replace(SMALL, threads=threads)
    plain = fit(TABLE, EVERYTHING, settings)
    for cut in (1, 9, 30):
        path = tmp_path / f"cut{cut}"
        for call in (cut, 4):  # the second one further on
            with pytest.raises(PowerCutError):
                fit(TABLE, EVERYTHING, settings, CutAtCall(call), path)
        assert_same(fit(TABLE, EVERYTHING, settings, checkpoint=path), plain)
        assert sorted(file.name for file in path.iterdir()) == [f"0-0-{fold}.checkpoint" for fold in range(3)]


def test_a_cohort_of_several_configs_and_seeds_resumes_to_the_same_bits(tmp_path: Path) -> None:
    configs = [replace(EVERYTHING, max_epochs=8), replace(EVERYTHING, model="residual", max_epochs=5)]
    settings = CohortSettings(folds=3, seeds=2, threads=1)
    with pytest.raises(PowerCutError):
        fit(TABLE, configs, settings, CutAtCall(50), tmp_path / "kept")
    assert_same(fit(TABLE, configs, settings, checkpoint=tmp_path / "kept"), fit(TABLE, configs, settings))
    names = [f"{s}-{repeat}-{fold}.checkpoint" for s in range(2) for repeat in range(2) for fold in range(3)]
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == names


SEVEN = [
    replace(EVERYTHING, max_epochs=24, hidden=(4,), learning_rate=rate, monitor=monitor)
    for rate, monitor in zip(
        (1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2), ("log_loss", "accuracy", "roc_auc") * 3, strict=False
    )
]


@pytest.fixture(scope="module")
def whole_of_seven() -> Predictor:
    """What is trained of several configs, of which some are dropped, when nothing interrupts it."""
    return fit(TABLE, SEVEN, SMALL)


def test_configs_are_dropped_alike_with_a_checkpoint_and_nothing_is_read_on_the_way(
    whole_of_seven: Predictor, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    assert sum(config.dropped_after is not None for config in whole_of_seven.report.configs) == 3
    assert_same(fit(TABLE, SEVEN, SMALL, checkpoint=tmp_path / "kept"), whole_of_seven)
    assert not recwarn.list


@pytest.mark.parametrize("call", [3, 40, 104, 107, 140, 200])
def test_configs_are_dropped_alike_after_a_cut_before_or_after_that(
    whole_of_seven: Predictor, call: int, tmp_path: Path
) -> None:
    settings = replace(SMALL, threads=1)
    with pytest.raises(PowerCutError):
        fit(TABLE, SEVEN, settings, CutAtCall(call), tmp_path / "kept")
    assert_same(fit(TABLE, SEVEN, settings, checkpoint=tmp_path / "kept"), whole_of_seven)


def test_a_budget_and_then_more_time_give_the_same_bits(tmp_path: Path) -> None:
    with pytest.warns(
        TabcohortWarning, match=r"^the budget of seconds is spent: 3 of 3 members have weights \(0 trained"
    ):
        fit(TABLE, EVERYTHING, replace(SMALL, budget_seconds=1e-6), checkpoint=tmp_path / "kept")
    assert_same(fit(TABLE, EVERYTHING, SMALL, checkpoint=tmp_path / "kept"), fit(TABLE, EVERYTHING, SMALL))


def test_a_checkpoint_of_a_cohort_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(
        SettingsError, match=r"^the checkpoint '.*file' must be a folder, for a file per member: File exists$"
    ):
        fit(TABLE, EVERYTHING, SMALL, checkpoint=tmp_path / "file")
    with pytest.raises(SettingsError, match=r"must be a folder, for a file per member: No such file or directory$"):
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
def test_every_model_optimizer_and_schedule_resumes_to_the_same_bits(changes: dict[str, Any], tmp_path: Path) -> None:
    config = replace(EVERYTHING, **{"max_epochs": 12, **changes})
    assert_same(resumed(TABLE, config, tmp_path / "kept", 2, 5), fit_one(config))


def test_three_classes_resume_to_the_same_bits(tmp_path: Path) -> None:
    table, config = make_small_table(3), replace(EVERYTHING, max_epochs=9)
    assert_same(resumed(table, config, tmp_path / "kept", 4), fit(table, config, SINGLE))


def test_a_checkpoint_changes_no_training(whole: Predictor, tmp_path: Path) -> None:
    assert_same(fit_one(whole.config, path=tmp_path / "kept"), whole)


def test_a_finished_checkpoint_gives_its_result_without_an_epoch(whole: Predictor, tmp_path: Path) -> None:
    fit_one(whole.config, path=tmp_path / "kept")
    file = tmp_path / "kept" / "0-0-0.checkpoint"
    before, written = file.read_bytes(), file.stat().st_mtime_ns
    calls: list[RunProgress] = []
    assert_same(fit_one(whole.config, calls.append, tmp_path / "kept"), whole)
    assert [(progress.n_done, progress.n_members) for progress in calls] == [(1, 1)], "once, with nothing to do"
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (before, written)


def test_time_continues_from_where_it_stopped(tmp_path: Path) -> None:
    predictor = resumed(TABLE, EVERYTHING, tmp_path / "kept", 3)
    seconds = [record.seconds for record in predictor.report.members[0].history]
    assert seconds == sorted(seconds)


OTHERS = {
    "seed": (TABLE, replace(EVERYTHING, seed=1)),
    "patience": (TABLE, replace(EVERYTHING, patience=7)),
    "engine": (TABLE, replace(EVERYTHING, engine="torch")),
    "data": (make_small_table(n_rows=80, seed=1), EVERYTHING),
    "one cell": (replace(TABLE, numbers=np.nextafter(TABLE.numbers, 9)), EVERYTHING),
    "weights": (replace(TABLE, weight=TABLE.weight * 2), EVERYTHING),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_of_another_config_or_other_data_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(PowerCutError):
        fit_one(EVERYTHING, cut_after(1), tmp_path / "kept")
    table, config = OTHERS[name]
    words = (
        r"the checkpoint '.*0-0-0.checkpoint' is of another config or other data; remove its folder, or name another$"
    )
    with pytest.raises(ModelFileError, match=words):
        fit(table, config, SINGLE, checkpoint=tmp_path / "kept")


def test_a_checkpoint_of_another_member_is_refused(tmp_path: Path) -> None:
    """Of the same rows and config, but of another number, and so of other random streams."""
    time = np.arange(80.0)  # which gives every seed the same folds
    table, settings = replace(TABLE, time=time), CohortSettings(folds=1, seeds=2)
    fit(table, EVERYTHING, settings, checkpoint=tmp_path / "kept")
    (tmp_path / "kept" / "0-0-0.checkpoint").replace(tmp_path / "kept" / "0-1-0.checkpoint")
    with pytest.raises(ModelFileError, match=r"0-1-0.checkpoint' is of another config or other data"):
        fit(table, EVERYTHING, settings, checkpoint=tmp_path / "kept")


@pytest.mark.parametrize(
    "other", [nn.Sequential(nn.Linear(3, 5), nn.Tanh()), nn.Sequential(nn.Linear(3, 4), nn.ReLU())]
)
def test_a_checkpoint_of_another_network_is_refused(other: nn.Sequential, tmp_path: Path) -> None:
    """Of another shape, or with the same parameters between which something else stands."""
    width = other[0].out_features
    config = Config(max_epochs=3)
    train(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), TABLE, config, checkpoint=tmp_path / "kept")
    with pytest.raises(ModelFileError, match="is of another config or other data"):
        train(nn.Sequential(*other, nn.Linear(width, 1)), TABLE, config, checkpoint=tmp_path / "kept")


def test_a_checkpoint_of_another_split_is_refused(tmp_path: Path) -> None:
    config = Config(max_epochs=3)
    split = train_validation_test_split(TABLE, config)
    train(nn.Linear(3, 1), TABLE, config, split=split, checkpoint=tmp_path / "kept")
    swapped = Split(split.train, split.test, split.validation)
    with pytest.raises(ModelFileError, match="is of another config or other data"):
        train(nn.Linear(3, 1), TABLE, config, split=swapped, checkpoint=tmp_path / "kept")


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
    exists: list[bool] = []
    file = tmp_path / "kept" / "0-0-0.checkpoint"
    fit_one(EVERYTHING, lambda progress: exists.append(file.exists()), tmp_path / "kept")
    assert len(exists) > 5
    assert exists == [False] * (len(exists) - 1) + [True]


def test_an_epoch_is_written_once_ten_seconds_have_passed_since_the_last_one_that_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", SECONDS_BETWEEN)
    seconds, written, path = 100.0, [], tmp_path / "kept"
    monkeypatch.setattr(time, "perf_counter", lambda: seconds)

    def callback(state: TrainingState) -> None:
        nonlocal seconds
        seconds += 5.0
        written.append(len(read_container(path, "checkpoint")[1]["history"]) if path.exists() else 0)

    train(nn.Linear(3, 1), TABLE, Config(max_epochs=7), callback=callback, checkpoint=path)
    assert written == [0, 0, 3, 3, 5, 5, 7]


def test_a_training_that_has_ended_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 1e9)
    paths: list[Path] = []

    def counted(path: Path, *content: Any) -> None:
        paths.append(path)
        write_container(path, *content)

    monkeypatch.setattr(checkpoint, "write_container", counted)
    for _ in range(2):  # the second time, there is nothing to do
        ended = train(nn.Linear(3, 1), TABLE, Config(max_epochs=3), checkpoint=tmp_path / "kept")
        assert (len(ended.history), ended.stop_reason) == (3, "max_epochs")
    assert paths == [tmp_path / "kept"]


# Ctrl-C


def interrupt_after(n_epochs: int) -> Callable[[RunProgress], None]:
    """Return a callback that presses Ctrl-C after so many epochs."""

    def callback(progress: RunProgress) -> None:
        if progress.n_epochs == n_epochs:
            raise KeyboardInterrupt

    return callback


def test_ctrl_c_writes_a_checkpoint_that_resumes_to_the_same_bits(
    whole: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 1e9)  # nothing else writes it
    with pytest.warns(TabcohortWarning, match=r"^interrupted: 1 of 1 members have weights \(0 trained"):
        interrupted = fit_one(whole.config, interrupt_after(4), tmp_path / "kept")
    assert interrupted.report.members[0].stop_reason == interrupted.report.stop_reason == "interrupted"
    with pytest.warns(TabcohortWarning, match=r"^resuming from the checkpoint '.*kept': it holds 1 members$"):
        assert_same(fit_one(whole.config, path=tmp_path / "kept"), whole)


def test_ctrl_c_of_a_cohort_writes_what_every_member_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 1e9)
    settings = replace(SMALL, threads=2)
    with pytest.warns(TabcohortWarning, match=r"^interrupted: [12] of 3 members have weights \(0 trained"):
        interrupted = fit(TABLE, EVERYTHING, settings, interrupt_after(4), tmp_path / "kept")
    names = [f"0-0-{member.fold}.checkpoint" for member in interrupted.report.members]
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == names
    assert_same(fit(TABLE, EVERYTHING, settings, checkpoint=tmp_path / "kept"), fit(TABLE, EVERYTHING, settings))


def test_ctrl_c_where_a_member_has_just_been_resumed_keeps_its_checkpoint(tmp_path: Path) -> None:
    """The callback is called before the first epoch of the second run, and stops it there."""
    plain = fit_one(EVERYTHING)
    with pytest.raises(PowerCutError):
        fit_one(EVERYTHING, cut_after(5), tmp_path / "kept")
    with pytest.warns(TabcohortWarning, match="^interrupted: 1 of 1 members have weights"):
        again = fit_one(EVERYTHING, interrupt_after(5), tmp_path / "kept")
    assert len(again.report.members[0].history) == 5
    assert_same(fit_one(EVERYTHING, path=tmp_path / "kept"), plain)


def trained(engine: str, **how: Any) -> Trained:
    """Return a module of `EVERYTHING`, trained alone."""
    config = replace(EVERYTHING, engine=engine)
    module = build_model(config, 3, 2)
    initialize_weights(module, config.seed)
    return train(module, TABLE, config, **how)


def assert_same_module(one: Trained, other: Trained) -> None:
    histories = [[record._replace(seconds=0.0) for record in trained.history] for trained in (one, other)]
    assert histories[0] == histories[1]
    for name, tensor in other.module.state_dict().items():
        assert torch.equal(one.module.state_dict()[name], tensor), name


@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_within_an_epoch_writes_the_epoch_before(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 1e9)
    kind = ENGINES[engine]
    run_epoch = kind.run_epoch

    def interrupted(engine: Any, epoch: int, rates: Sequence[float]) -> EpochResult:
        result = run_epoch(engine, epoch, rates)
        if epoch == 4:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as pressing:
        pressing.setattr(kind, "run_epoch", interrupted)
        with pytest.warns(TabcohortWarning, match=r"^interrupted: .* of 3$"):
            trained(engine, checkpoint=tmp_path / "kept")
    with pytest.warns(TabcohortWarning, match=r"^resuming from epoch 3 of the checkpoint '.*kept'$"):
        assert_same_module(trained(engine, checkpoint=tmp_path / "kept"), trained(engine))


class Counting(nn.Module):
    """Has buffers of many types, and changes all of them in place in every step."""

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


def test_buffers_of_any_type_resume_to_the_same_bits(tmp_path: Path) -> None:
    config = Config(max_epochs=5, patience=None, batch_size="full", learning_rate=0.01, engine="torch")

    def counted(**how: Any) -> nn.Module:
        module = Counting()
        initialize_weights(module, seed=0)
        return train(module, TABLE, config, **how).module

    with pytest.raises(PowerCutError):
        counted(checkpoint=tmp_path / "kept", callback=cut_member_after(3))
    resumed, plain = counted(checkpoint=tmp_path / "kept").state_dict(), counted().state_dict()
    assert [resumed[name].dtype for name in ("odd", "steps", "halves")] == [torch.bool, torch.int32, torch.float16]
    assert (resumed["odd"].item(), resumed["steps"].item(), resumed["halves"].tolist()) == (True, 5, [2.5, 2.5])
    for name, tensor in plain.items():
        assert torch.equal(resumed[name], tensor), name


@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_before_a_resumed_training_has_done_an_epoch_loses_nothing(engine: str, tmp_path: Path) -> None:
    def interrupted(engine: Any, epoch: int, rates: Sequence[float]) -> EpochResult:
        raise KeyboardInterrupt

    with pytest.raises(PowerCutError):
        trained(engine, callback=cut_member_after(4), checkpoint=tmp_path / "kept")
    with pytest.MonkeyPatch.context() as pressing:
        pressing.setattr(ENGINES[engine], "run_epoch", interrupted)
        with pytest.warns(TabcohortWarning, match=r"^interrupted: .* of 4$"):
            trained(engine, checkpoint=tmp_path / "kept")
    with pytest.warns(TabcohortWarning, match=r"^resuming from epoch 4 of the checkpoint '.*kept'$"):
        assert_same_module(trained(engine, checkpoint=tmp_path / "kept"), trained(engine))


# Running ahead


def kept_after(n_epochs: int, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return arrays and document of the file that a training by the compiled engine leaves that is cut there."""
    with pytest.raises(PowerCutError):
        trained("compiled", callback=cut_member_after(n_epochs), checkpoint=path)
    return read_container(path, "checkpoint")


@pytest.mark.parametrize("n_epochs", [1, 7, 13])
def test_a_checkpoint_in_the_middle_of_a_block_of_epochs_resumes_to_the_same_bits(
    n_epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiled engine runs many short epochs in a call, and is ahead of what the file holds."""
    blocks: list[tuple[int, int]] = []
    block = Batches.block

    def recorded(batches: Batches, first: int, max_epochs: int) -> EpochBlock:
        epochs = block(batches, first, max_epochs)
        blocks.append((first, len(epochs)))
        return epochs

    plain = trained("compiled")
    with monkeypatch.context() as recording:
        recording.setattr(Batches, "block", recorded)
        arrays, document = kept_after(n_epochs, tmp_path / "kept")
        assert blocks[0] == (1, 32)
        assert blocks[-1][0] + blocks[-1][1] - 1 > n_epochs == len(document["history"])
        blocks.clear()
        assert_same_module(trained("compiled", checkpoint=tmp_path / "kept"), plain)
        assert blocks[0][0] == n_epochs + 1
    monkeypatch.setattr("tabcohort.engines.compiled.engine.MAX_EPOCHS_PER_CALL", 1)
    one_by_one, _ = kept_after(n_epochs, tmp_path / "one by one")
    assert arrays.keys() == one_by_one.keys()
    for name, array in one_by_one.items():
        assert arrays[name].tobytes() == array.tobytes(), name


def test_a_checkpoint_of_an_engine_that_runs_ahead_resumes_in_one_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trained("compiled")
    kept_after(9, tmp_path / "kept")
    monkeypatch.setattr("tabcohort.engines.compiled.engine.MAX_EPOCHS_PER_CALL", 1)
    assert_same_module(trained("compiled", checkpoint=tmp_path / "kept"), plain)


# The file


def test_a_checkpoint_loads_as_the_training_that_was_written(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "kept", "any").load() is None
    with pytest.raises(PowerCutError):
        fit_one(EVERYTHING, cut_after(9), tmp_path / "kept")
    (file,) = (tmp_path / "kept").iterdir()
    arrays, document = read_container(file, "checkpoint")
    loading = Checkpoint(file, "any")
    loading.identity = document["identity"]
    state = loading.load()
    assert state is not None
    assert (state.n_epochs, state.stop_reason) == (9, None)
    assert [record.epoch for record in state.history] == list(range(1, 10))
    assert state.best_epoch == 1 + int(np.argmin([record.score for record in state.history]))
    names = {"parameters", "buffers", "first_moment", "second_moment"}
    assert set(state.engine_state) == set(state.best_state) == names
    np.testing.assert_array_equal(state.engine_state["parameters"], arrays["now.parameters"])
    np.testing.assert_array_equal(state.best_state["parameters"], arrays["best.parameters"])
    assert state.plateau.best is not None


def state_of(n_epochs: int, stop_reason: str | None = None) -> TrainingState:
    """Return a training of some epochs, of which the first is the best."""
    records = [
        EpochRecord(epoch, 0.01, 0.5, 0.4 + epoch, 0.8, 0.4 + epoch, 2.0 * epoch) for epoch in range(1, n_epochs + 1)
    ]
    best, now = ({"weights": np.full(3, value, np.float32)} for value in (1, 2))
    plateau = Plateau(0.5, 1.4, 3)
    return TrainingState(tuple(records), 1, best, plateau, stop_reason, now)


@pytest.mark.parametrize("n_epochs", [1, 3])
@pytest.mark.parametrize("reason", [None, "patience", "max_epochs", "interrupted", "budget"])
def test_a_training_is_loaded_as_it_was_saved_and_goes_on_unless_it_ended_by_itself(
    n_epochs: int, reason: str | None, tmp_path: Path
) -> None:
    saved = state_of(n_epochs, reason)
    Checkpoint(tmp_path / "kept", "any").save(saved)
    loaded = Checkpoint(tmp_path / "kept", "any").load()
    assert loaded is not None
    assert loaded.stop_reason == (reason if reason in ("patience", "max_epochs") else None)
    assert (loaded.history, loaded.best_epoch, loaded.plateau) == (saved.history, 1, saved.plateau)
    assert loaded.best_state["weights"].tolist() == [1.0] * 3
    assert loaded.engine_state["weights"].tolist() == [2.0] * 3
    with pytest.raises(ModelFileError, match="is of another config or other data"):
        Checkpoint(tmp_path / "kept", "other").load()


class OneOfTwo(Ranks):
    """One of two processes; all of them get what the first one gives."""

    def __init__(self, rank: int, of_first: bytes) -> None:
        super().__init__(rank, 2)
        self.of_first = of_first

    def bytes_of_first(self, content: bytes) -> bytes:
        assert content == (self.of_first if self.rank == 0 else b"")
        return self.of_first


def test_of_several_processes_the_first_reads_the_file_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kept"
    Checkpoint(file, "any").save(state_of(2))
    content = file.read_bytes()
    for rank, path in ((0, file), (1, tmp_path / "not here"), (1, file)):
        monkeypatch.setattr(checkpoint, "ranks", lambda rank=rank: OneOfTwo(rank, content))
        loaded = Checkpoint(path, "any").load()
        assert loaded is not None
        assert loaded.history == state_of(2).history
    monkeypatch.setattr(checkpoint, "ranks", lambda: OneOfTwo(1, b""))
    assert Checkpoint(file, "any").load() is None  # the first process has no file


def test_of_several_processes_only_the_first_writes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in (1, 0):
        monkeypatch.setattr(checkpoint, "ranks", lambda rank=rank: OneOfTwo(rank, b""))
        Checkpoint(tmp_path / "kept", "any").save(state_of(2))
        assert (tmp_path / "kept").exists() == (rank == 0)


def test_one_process_alone_sends_its_file_to_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checkpoint(tmp_path / "kept", "any").save(state_of(2))
    monkeypatch.setattr(Ranks, "bytes_of_first", None)
    assert Checkpoint(tmp_path / "kept", "any").load() is not None
    assert Checkpoint(tmp_path / "none", "any").load() is None


def test_a_table_with_categories_and_missing_cells_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """Their encoding has NaN among the buffers, which is no damage."""
    frame = mixed_frame(60).with_columns(target=pl.Series(["no", "yes"] * 30))
    table = Table.from_frame(frame, "target", types={"code": "category"})
    config = Config(model="mlp", hidden=(4,), max_epochs=6, batch_size=16)
    assert_same(resumed(table, config, tmp_path / "kept", 3), fit(table, config, SINGLE))


# -- checkpoints that someone changed, with a right checksum ---------------------------------------------------------


DOCUMENTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no history": (lambda document: document.update(history=[]), "its history must have the epochs 1, 2, ..."),
    "a history that is a number": (lambda document: document.update(history=3), "history must be a list, and is 3"),
    "an epoch twice": (
        lambda document: document["history"].append(document["history"][-1]), "its history must have the epochs 1, 2",
    ),
    "an epoch too many": (
        lambda document: document["history"].extend(
            {**document["history"][0], "epoch": epoch} for epoch in range(len(document["history"]) + 1, 99)
        ),
        "it has 98 epochs, and at most",
    ),
    "a loss that is text": (
        lambda document: document["history"][0].update(val_loss="low"),
        r"history\[0\].val_loss must be a number, and is 'low'",
    ),
    "an epoch with a metric that there is not": (
        lambda document: document["history"][0].update(val_f1=0.5), r"history\[0\] has the unknown part 'val_f1'",
    ),
    "something more": (lambda document: document.update(mood=1), "the document has the unknown part 'mood'"),
    "a best epoch to come": (lambda document: document.update(best_epoch=9), "best_epoch must be a whole"),
    "a best epoch before the first": (lambda document: document.update(best_epoch=0), "best_epoch must be a whole"),
    "a plateau without a factor": (lambda document: document["plateau"].pop("factor"), "plateau.factor is missing"),
    "a rate that grows": (lambda document: document["plateau"].update(factor=2.0), "plateau.factor must be a number"),
    "a reason that is a number": (lambda document: document.update(stop_reason=1), "stop_reason must be one of"),
    **{
        f"the reason {reason}": (
            lambda document, reason=reason: document.update(stop_reason=reason), "stop_reason must be",
        )
        for reason in ("", "bored", "budget", "interrupted", "paused")
    },
    "a reason before its time": (
        lambda document: document.update(stop_reason="patience"), "its stop_reason is patience, and of its history",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_changed_document_is_refused(name: str, tmp_path: Path) -> None:
    change, words = DOCUMENTS[name]
    check_refused(tmp_path, lambda arrays, document: change(document), words)


ARRAYS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "one too many": (lambda arrays: arrays.update({"now.more": np.zeros(1)}), "the array 'more' is missing or unknown"),
    "one of neither epoch": (lambda arrays: arrays.update({"then.x": np.zeros(1)}), "the array 'then.x' is unknown"),
    "one missing": (lambda arrays: arrays.pop("best.parameters"), "the array 'parameters' is missing or"),
    "none of the last epoch": (
        lambda arrays: [arrays.pop(name) for name in list(arrays) if name.startswith("now.")],
        "the arrays of its best or of its last epoch are missing",
    ),
    "another shape": (
        lambda arrays: arrays.update({"now.parameters": np.zeros(3, np.float32)}),
        "the array 'parameters' is not of shape",
    ),
    "another type": (
        lambda arrays: arrays.update({"now.parameters": arrays["now.parameters"].astype(np.float64)}),
        "the array 'parameters' is not of",
    ),
    "not finite": (
        lambda arrays: arrays.update({"best.parameters": np.full_like(arrays["best.parameters"], np.nan)}),
        "the array 'parameters' is not finite",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_changed_arrays_are_refused(name: str, tmp_path: Path) -> None:
    change, words = ARRAYS[name]
    check_refused(tmp_path, lambda arrays, document: change(arrays), words)


def check_refused(tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], Any], words: str) -> None:
    """Assert that a checkpoint whose arrays or document were changed is refused, though its checksum fits."""
    path = cut_checkpoint(tmp_path)
    arrays, document = read_container(path, "checkpoint")
    change(arrays, document)
    kept = {key: document[key] for key in document if key not in ("kind", "format")}
    write_container(path, "checkpoint", arrays, kept)
    with pytest.raises(ModelFileError, match=f"0-0-0.checkpoint' is not valid: ({words}).*; remove its folder$"):
        fit_one(EVERYTHING, path=tmp_path / "kept")


def cut_checkpoint(tmp_path: Path) -> Path:
    """Return the checkpoint of a training that a power cut ended."""
    with pytest.raises(PowerCutError):
        fit_one(EVERYTHING, cut_after(2), tmp_path / "kept")
    return tmp_path / "kept" / "0-0-0.checkpoint"

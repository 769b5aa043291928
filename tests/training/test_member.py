"""One member's training: what each row weighs, which rows make a step, and which engine runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import config_of, noisy_rows, table_of, trained_on
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from tabcohort import Config, EngineError, SettingsError, Split, Table, train
from tabcohort.data.encoder import fit_statistics, store_rows
from tabcohort.data.splits import train_validation_test_split
from tabcohort.engines.batches import EpochBlock
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.protocol import Outcomes
from tabcohort.engines.torch_loop import TorchEngine
from tabcohort.network.program import build_program, initialize_network
from tabcohort.training.loop import TrainingState
from tabcohort.training.member import (
    PRODUCTS_WORTH_AN_ACCELERATOR,
    choose_engine,
    class_weights,
    soft_targets,
    train_member,
    training_statistics,
)

# Weights


def test_balanced_class_weights_are_those_of_scikit_learn() -> None:
    X, y = noisy_rows(100, 3)
    y[:40] = 0
    table = Table.from_arrays(X, y)
    roles = train_validation_test_split(X, y, table.weight, Config())
    found = class_weights(table, roles, Config(class_weight="balanced"))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y[split.train])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_class_weights_of_other_labels_find_their_class() -> None:
    X, y = noisy_rows(60)
    table = Table.from_arrays(X, y)
    roles = train_validation_test_split(X, y, table.weight, Config())
    assert (class_weights(table, roles, Config()) == 1).all()
    assert list(class_weights(table, roles, Config(class_weight={0: 0.5, "1": 2.0}))) == [0.5, 2.0]


def test_a_class_weight_of_an_unknown_class_is_an_error() -> None:
    with pytest.raises(SettingsError, match="class_weight has the class 'maybe'; the target has 0, 1"):
        trained_on(table_of(), config_of(class_weight={"maybe": 2.0}))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_mass_of_a_row_is_its_smoothed_target_times_its_weight(smoothing: float) -> None:
    table, weight = table_of(30, 3), np.arange(1.0, 31.0)
    mass = soft_targets(table.y, weight, table, Config(label_smoothing=smoothing))
    target = np.eye(3)[table.y] * (1 - smoothing) + smoothing / 3
    np.testing.assert_allclose(mass, target * (weight / weight.mean())[:, None], rtol=1e-6)


# Steps


@pytest.mark.parametrize(
    ("engine", "batch_size", "momentum"), [("torch", "full", None), ("torch", 32, None), ("compiled", "full", 1.0)]
)
def test_batch_norm_has_the_mean_of_all_training_rows_also_where_many_are_equal(
    engine: str, batch_size: int | str, momentum: float | None
) -> None:
    X, y = noisy_rows(8)
    X, y = np.repeat(X, [82, 2, 2, 2, 2, 2, 2, 2], axis=0), np.repeat(np.arange(8) % 2, [82, 2, 2, 2, 2, 2, 2, 2])
    other_X, other_y = noisy_rows(20, seed=1)
    roles = Split(np.arange(96), np.arange(96, 106), np.arange(106, 116))
    module = nn.Sequential(nn.BatchNorm1d(4, momentum=momentum), nn.Linear(4, 1)).double()  # a plain mean of batches
    data = np.concatenate([X, other_X]), np.concatenate([y, other_y])
    train(module, data, config_of(batch_size=batch_size, max_epochs=1, engine=engine), split=roles)
    if engine == "torch":
        assert int(module[0].num_batches_tracked) == {"full": 1, 32: 3}[batch_size]
    torch.testing.assert_close(module[0].running_mean, torch.from_numpy(X.mean(axis=0)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("engine", [CompiledEngine, TorchEngine])
def test_a_batch_size_that_is_given_is_kept_where_few_rows_are_different(
    engine: type[CompiledEngine | TorchEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = np.repeat(np.eye(4), 25, axis=0), np.repeat([0, 1, 0, 1], 25)
    roles = Split(np.arange(0, 80), np.arange(80, 90), np.arange(90, 100))
    sizes: list[list[int]] = []
    run_epochs = engine.run_epochs

    def recorded(self: Any, plans: EpochBlock, rates: Sequence[float]) -> Outcomes:
        sizes.extend([np.diff(plans.bounds).tolist()] * len(plans))
        return run_epochs(self, plans, rates)

    monkeypatch.setattr(engine, "run_epochs", recorded)
    for module in (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1)), nn.Linear(4, 1)):
        train(module, (X, y), config_of(batch_size=32, max_epochs=2, engine=engine.name), split=roles)
    assert sizes == [[32, 32, 16]] * 4


def test_the_steps_of_the_plan_are_those_that_a_module_sees() -> None:
    X, y = np.repeat(np.eye(4), 25, axis=0), np.repeat([0, 1, 0, 1], 25)
    roles = Split(np.arange(0, 80), np.arange(80, 90), np.arange(90, 100))
    sizes: list[int] = []
    plain = nn.Linear(4, 1)
    plain.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])) if module.training else None)
    train(plain, (X, y), config_of(batch_size=32, max_epochs=1, engine="torch"), split=roles)
    assert sizes == [32, 32, 16]


def test_equal_rows_are_one_row_of_their_weight_in_full_batches_without_batch_norm() -> None:
    X, y = np.repeat(np.eye(4), 25, axis=0), np.repeat([0, 1, 0, 1], 25)
    roles = Split(np.arange(0, 80), np.arange(80, 90), np.arange(90, 100))
    sizes: list[int] = []
    plain = nn.Linear(4, 1)
    plain.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])) if module.training else None)
    train(plain, (X, y), config_of(batch_size="full", max_epochs=1, engine="torch"), split=roles)
    assert sizes == [4]


# Members


def train_one(
    config: Config, member: int = 0, shared: bool = True, **extra: Any
) -> tuple[TrainingState, CompiledEngine | TorchEngine]:
    """Train one network, the same for any member, on a small table whose rows may be stored for all members."""
    table = table_of()
    roles = train_validation_test_split(table.X, table.y, table.weight, settings)
    statistics, program = training_statistics(table, roles), build_program(settings, 4, 2)
    network = initialize_network(program, settings.seed).with_statistics(statistics)
    return train_member(
        lambda data: CompiledEngine(network, data, settings), table, roles, settings, statistics=statistics,
        has_batch_norm=program.has_batch_norm, member=member,
        stored=store_rows(table.X, fit_statistics(table.X, table.weight)) if shared else None, **extra,
    )  # fmt: skip


def losses_of(progress: TrainingState) -> list[tuple[float, float]]:
    return [(record.train_loss, record.val_loss) for record in progress.history]


def test_each_member_has_draws_of_its_own() -> None:
    settings = config_of(max_epochs=3, dropout=0.3, batch_size=16)
    assert losses_of(train_one(settings, 1)[0]) == losses_of(train_one(settings, 1)[0])
    assert losses_of(train_one(settings, 1)[0]) != losses_of(train_one(settings, 2)[0])


def test_rows_that_members_share_train_like_rows_of_ones_own() -> None:
    found = [losses_of(train_one(config_of(max_epochs=5), shared=shared)[0]) for shared in (True, False)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


@pytest.mark.parametrize("with_checkpoint", [False, True])
def test_a_member_that_its_watcher_ended_goes_on_to_the_same_bits(with_checkpoint: bool, tmp_path: Path) -> None:
    settings = config_of(max_epochs=12, dropout=0.3, batch_size=16, schedule="plateau", schedule_patience=1)
    whole, engine = train_one(settings)
    how = {"checkpoint": tmp_path / "kept"} if with_checkpoint else {}
    part, _ = train_one(settings, callback=lambda progress: "paused" if len(progress.history) == 5 else None, **how)
    assert (part.stop_reason, len(part.history)) == ("paused", 5)
    again, other = train_one(settings, resume_from=replace(part, stop_reason=None), **how)  # and warns of nothing
    assert (again.stop_reason, losses_of(again)) == (whole.stop_reason, losses_of(whole))
    assert other.network.parameters.tobytes() == engine.network.parameters.tobytes()


# Engines


@pytest.mark.parametrize(
    ("engine", "device", "expected"),
    [
        ("torch", "auto", "torch"),
        ("torch", "cpu", "torch"),
        ("torch", "cuda", "torch"),
        ("compiled", "auto", "compiled"),
        ("compiled", "cpu", "compiled"),
        ("auto", "cpu", "compiled"),
        ("auto", "auto", "compiled"),
        ("auto", "cuda", "torch"),
        ("auto", "mps", "torch"),
    ],
)
def test_a_small_network_is_compiled_unless_pytorch_or_its_device_is_asked_for(
    engine: str, device: str, expected: str
) -> None:
    program = build_program(Config(model="logistic"), 4, 2)
    assert choose_engine(Config(engine=engine, device=device), program, 1000) == expected


@pytest.mark.parametrize(("found", "expected"), [("cpu", "compiled"), ("cuda", "torch"), ("mps", "torch")])
def test_a_large_network_goes_to_an_accelerator_where_there_is_one(
    found: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabcohort.engines.torch_loop.choose_device", lambda name: torch.device(found))
    large = Config(hidden=(1000, 999), batch_size=200)
    program = build_program(large, 1000, 2)
    monkeypatch.setattr("tabcohort.training.member.PRODUCTS_WORTH_AN_ACCELERATOR", program.n_products * 200)
    assert choose_engine(large, program, 1000) == expected
    assert choose_engine(replace(large, batch_size=199), program, 1000) == "compiled"
    assert choose_engine(replace(large, device="cpu"), program, 1000) == "compiled"
    # A full batch is of as many rows as there are.
    assert choose_engine(replace(large, batch_size="full"), program, 200) == expected
    assert choose_engine(replace(large, batch_size="full"), program, 199) == "compiled"


def test_a_network_that_is_worth_an_accelerator_is_a_large_one() -> None:
    small, large = Config(hidden=(256, 128)), Config(hidden=(2048, 2048))
    rows = 256
    assert build_program(small, 100, 2).n_products * rows < PRODUCTS_WORTH_AN_ACCELERATOR
    assert build_program(large, 100, 2).n_products * rows > PRODUCTS_WORTH_AN_ACCELERATOR


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_the_compiled_engine_is_for_the_cpu(device: str) -> None:
    words = f"the compiled engine runs on the CPU, not on {device}; leave out device"
    with pytest.raises(EngineError, match=words):
        choose_engine(Config(engine="compiled", device=device), build_program(Config(), 4, 2), 1000)
    X, y = noisy_rows(60)
    with pytest.raises(EngineError, match=words):
        train(nn.Linear(4, 1), (X, y), Config(engine="compiled", device=device))

"""One member's training: what each row weighs, which rows make a step, and which engine runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from conftest import noisy_rows, settings_of, table_of, trained_on
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from tabcohort import EngineError, Roles, Settings, SettingsError, make_table, train
from tabcohort.engines import Outcomes
from tabcohort.engines.compiled import CompiledEngine
from tabcohort.engines.torch_loop import TorchEngine
from tabcohort.member import PRODUCTS_WORTH_AN_ACCELERATOR, choose_engine, class_mass, class_weights
from tabcohort.plan import Epochs
from tabcohort.roles import split_roles

# Weights


def test_balanced_class_weights_are_those_of_scikit_learn() -> None:
    X, y = noisy_rows(100, 3)
    y[:40] = 0
    table = make_table(X, y)
    roles = split_roles(X, y, table.weight, Settings())
    found = class_weights(table, roles, Settings(class_weight="balanced"))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y[roles.train])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_class_weights_of_other_labels_find_their_class() -> None:
    X, y = noisy_rows(60)
    table = make_table(X, y)
    roles = split_roles(X, y, table.weight, Settings())
    assert (class_weights(table, roles, Settings()) == 1).all()
    assert list(class_weights(table, roles, Settings(class_weight={0: 0.5, "1": 2.0}))) == [0.5, 2.0]


def test_a_class_weight_of_an_unknown_class_is_an_error() -> None:
    with pytest.raises(SettingsError, match="class_weight has the class 'maybe'; the target has 0, 1"):
        trained_on(table_of(), settings_of(class_weight={"maybe": 2.0}))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_mass_of_a_row_is_its_smoothed_target_times_its_weight(smoothing: float) -> None:
    table, weight = table_of(30, 3), np.arange(1.0, 31.0)
    mass = class_mass(table.y, weight, table, Settings(label_smoothing=smoothing))
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
    roles = Roles(np.arange(96), np.arange(96, 106), np.arange(106, 116))
    module = nn.Sequential(nn.BatchNorm1d(4, momentum=momentum), nn.Linear(4, 1)).double()  # a plain mean of batches
    data = np.concatenate([X, other_X]), np.concatenate([y, other_y])
    train(module, data, settings_of(batch_size=batch_size, max_epochs=1, engine=engine), roles=roles)
    if engine == "torch":
        assert int(module[0].num_batches_tracked) == {"full": 1, 32: 3}[batch_size]
    torch.testing.assert_close(module[0].running_mean, torch.from_numpy(X.mean(axis=0)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("engine", [CompiledEngine, TorchEngine])
def test_a_batch_size_that_is_given_is_kept_where_few_rows_are_different(
    engine: type[CompiledEngine | TorchEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = np.repeat(np.eye(4), 25, axis=0), np.repeat([0, 1, 0, 1], 25)
    roles = Roles(np.arange(0, 80), np.arange(80, 90), np.arange(90, 100))
    sizes: list[list[int]] = []
    run_epochs = engine.run_epochs

    def recorded(self: Any, plans: Epochs, rates: Sequence[float]) -> Outcomes:
        sizes.extend([np.diff(plans.bounds).tolist()] * len(plans))
        return run_epochs(self, plans, rates)

    monkeypatch.setattr(engine, "run_epochs", recorded)
    for module in (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1)), nn.Linear(4, 1)):
        train(module, (X, y), settings_of(batch_size=32, max_epochs=2, engine=engine.name), roles=roles)
    assert sizes == [[32, 32, 16]] * 4


def test_the_steps_of_the_plan_are_those_that_a_module_sees() -> None:
    X, y = np.repeat(np.eye(4), 25, axis=0), np.repeat([0, 1, 0, 1], 25)
    roles = Roles(np.arange(0, 80), np.arange(80, 90), np.arange(90, 100))
    sizes: list[int] = []
    plain = nn.Linear(4, 1)
    plain.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])) if module.training else None)
    train(plain, (X, y), settings_of(batch_size=32, max_epochs=1, engine="torch"), roles=roles)
    assert sizes == [32, 32, 16]


def test_equal_rows_are_one_row_of_their_weight_in_full_batches_without_batch_norm() -> None:
    X, y = np.repeat(np.eye(4), 25, axis=0), np.repeat([0, 1, 0, 1], 25)
    roles = Roles(np.arange(0, 80), np.arange(80, 90), np.arange(90, 100))
    sizes: list[int] = []
    plain = nn.Linear(4, 1)
    plain.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])) if module.training else None)
    train(plain, (X, y), settings_of(batch_size="full", max_epochs=1, engine="torch"), roles=roles)
    assert sizes == [4]


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
    assert choose_engine(Settings(engine=engine, device=device), 1000) == expected


@pytest.mark.parametrize(("found", "expected"), [("cpu", "compiled"), ("cuda", "torch"), ("mps", "torch")])
def test_a_large_network_goes_to_an_accelerator_where_there_is_one(
    found: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabcohort.engines.torch_loop.choose_device", lambda name: torch.device(found))
    n_products = int(PRODUCTS_WORTH_AN_ACCELERATOR)
    assert choose_engine(Settings(), n_products) == expected
    assert choose_engine(Settings(), n_products - 1) == "compiled"
    assert choose_engine(Settings(device="cpu"), n_products) == "compiled"


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_the_compiled_engine_is_for_the_cpu(device: str) -> None:
    words = f"the compiled engine runs on the CPU, not on {device}; leave out device"
    with pytest.raises(EngineError, match=words):
        choose_engine(Settings(engine="compiled", device=device), 1000)
    X, y = noisy_rows(60)
    with pytest.raises(EngineError, match=words):
        train(nn.Linear(4, 1), (X, y), Settings(engine="compiled", device=device))

"""The seam between the loop and the engines: what both engines promise, and what they see of a table."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from helpers import data_of_inputs
from torch import nn

from tabcohort.data.encoder import Statistics, plain_encoding, store_rows
from tabcohort.engines.batches import BatchPlan
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.protocol import Engine, MemberData, check_shape_of_logits
from tabcohort.engines.reading import make_reading
from tabcohort.engines.torch_loop import TorchEngine
from tabcohort.engines.validation import ValidationSet
from tabcohort.errors import TrainingError
from tabcohort.network.lower import lower, network_of
from tabcohort.network.models import initialize_weights
from tabcohort.settings import Config
from tabcohort.training.module import CompiledModuleEngine, TorchNetworkEngine

ENGINES = ("torch", "compiled")
RATES = [0.02] * 20


def engine_of(kind: str) -> Any:
    """Return an engine of a network in which an epoch changes parameters, moments and buffers."""
    rng = np.random.default_rng(0)
    data = data_of_inputs(
        rng.normal(size=(30, 4)), np.eye(2)[rng.integers(2, size=30)], rng.normal(size=(7, 4)),
        BatchPlan(30, 8, 0.4, 0.5, needs_pairs=True, seed=1),
    )  # fmt: skip
    module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 1)).double()
    initialize_weights(module, seed=0)
    if kind == "torch":
        return TorchEngine(module, data, Config(), torch.device("cpu"))
    return CompiledEngine(network_of(module, lower(module, 4)), data, Config())


# What an engine promises


@pytest.mark.parametrize("kind", [TorchEngine, TorchNetworkEngine, CompiledEngine, CompiledModuleEngine])
def test_every_engine_has_the_methods_and_arguments_of_the_protocol(kind: type) -> None:
    for name in ("run_epoch", "snapshot", "restore", "release"):
        expected, actual = (inspect.signature(getattr(owner, name)) for owner in (Engine, kind))
        assert list(actual.parameters) == list(expected.parameters), name
    assert kind.name in ENGINES  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ENGINES)
def test_an_engine_says_what_it_is_and_where_it_runs(kind: str) -> None:
    engine = engine_of(kind)
    assert (engine.name, engine.device_name) == (kind, "cpu")


@pytest.mark.parametrize("kind", ENGINES)
def test_nothing_writes_to_a_snapshot_later(kind: str) -> None:
    engine = engine_of(kind)
    snapshots = [engine.snapshot()]
    for epoch in range(1, 12):
        engine.run_epoch(epoch, RATES)
        snapshots.append(engine.snapshot())
    copies = [{name: array.copy() for name, array in state.items()} for state in snapshots]
    engine.restore(snapshots[3])
    engine.run_epoch(4, [0.5] * 20)
    engine.release()
    for state, copied in zip(snapshots, copies, strict=True):
        for name, array in copied.items():
            np.testing.assert_array_equal(state[name], array, err_msg=name)
    assert len({state["parameters"].tobytes() for state in snapshots}) == 12


@pytest.mark.parametrize("kind", ENGINES)
def test_an_engine_continues_from_a_snapshot_of_another_engine_of_its_kind(kind: str) -> None:
    whole, first, second = engine_of(kind), engine_of(kind), engine_of(kind)
    results = [whole.run_epoch(epoch, RATES) for epoch in range(1, 9)]
    for epoch in range(1, 6):
        first.run_epoch(epoch, RATES)
    second.restore(first.snapshot())
    for epoch in range(6, 9):
        result = second.run_epoch(epoch, RATES)
        assert result[2:] == results[epoch - 1][2:]
        np.testing.assert_array_equal(result.val_logits, results[epoch - 1].val_logits)
    for name, array in whole.snapshot().items():
        np.testing.assert_array_equal(second.snapshot()[name], array, err_msg=name)


@pytest.mark.parametrize("kind", ENGINES)
def test_restoring_an_empty_state_changes_nothing(kind: str) -> None:
    """What the loop does where no epoch was run before."""
    engine = engine_of(kind)
    before = engine.snapshot()
    engine.restore({})
    for name, array in engine.snapshot().items():
        np.testing.assert_array_equal(array, before[name])


def test_both_engines_see_the_same_epochs() -> None:
    """Batches, mixup and dropout masks are the same, so the losses are the same but for rounding."""
    engines = [engine_of(kind) for kind in ENGINES]
    for epoch in range(1, 9):
        one, other = (engine.run_epoch(epoch, RATES) for engine in engines)
        np.testing.assert_allclose(one.step_losses, other.step_losses, rtol=1e-6)
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-6)


# What an engine sees of a table


def test_the_inputs_of_a_row_are_its_difference_from_the_center_times_the_scale() -> None:
    rng = np.random.default_rng(0)
    rows, center, scale = (rng.normal(size=shape).astype(np.float32) for shape in ((9, 3), 3, 3))
    validation = ValidationSet(np.array([0, 1]), np.zeros(2, np.int64), np.ones(2), None)
    plan = BatchPlan(3, 3, 0.0, 0.0, needs_pairs=False, seed=0)
    reading = make_reading(store_rows(rows, None), plain_encoding(3), Statistics(center, scale))
    data = MemberData(reading, np.array([4, 2, 8]), np.ones((3, 2), np.float32), plan, validation)
    inputs = data.reading.inputs(data.train)
    assert inputs.dtype == np.float32
    np.testing.assert_array_equal(inputs, (rows[[4, 2, 8]] - center) * scale)


def test_batches_of_another_number_of_rows_are_refused() -> None:
    """The kernels check no bounds."""
    with pytest.raises(TrainingError, match=r"^the batches are of 60 rows, and 50 train$"):
        data_of_inputs(
            np.zeros((50, 5)), np.ones((50, 2)), np.zeros((3, 5)), BatchPlan(60, 10, 0.0, 0.0, False, seed=0)
        )


# Logits


@pytest.mark.parametrize(("shape", "n_classes"), [((2, 1), 2), ((2, 2), 2), ((2, 3), 3), ((2, 5), 5)])
def test_one_logit_per_class_or_one_for_two_classes_are_allowed(shape: tuple[int, ...], n_classes: int) -> None:
    check_shape_of_logits(shape, n_classes)


@pytest.mark.parametrize(
    ("shape", "n_classes", "words"),
    [
        ((2,), 2, r"of shape \(n, 2\) or \(n, 1\) for 2 classes; for 2 rows it returned \(2,\)"),
        ((2, 3), 2, r"of shape \(n, 2\) or \(n, 1\) for 2 classes; for 2 rows it returned \(2, 3\)"),
        ((2, 1), 3, r"of shape \(n, 3\) for 3 classes; for 2 rows it returned \(2, 1\)"),
        ((1, 3), 3, r"of shape \(n, 3\) for 3 classes; for 2 rows it returned \(1, 3\)"),
        ((2, 3, 1), 3, r"of shape \(n, 3\) for 3 classes; for 2 rows it returned \(2, 3, 1\)"),
    ],
)
def test_logits_of_another_shape_are_an_error(shape: tuple[int, ...], n_classes: int, words: str) -> None:
    with pytest.raises(TrainingError, match=f"^the module must return logits {words}$"):
        check_shape_of_logits(shape, n_classes)

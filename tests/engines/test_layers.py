"""What engines say of the parameter arrays of their networks: the same, and what PyTorch's optimizers keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import table_of
from torch import nn

from tabcohort import Config
from tabcohort.data.encoder import plain_encoding, store_rows
from tabcohort.data.splits import train_validation_test_split
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.layers import QUANTILE_LEVELS, LayerArrays, average_gradient, layer_arrays, layer_statistics
from tabcohort.engines.reading import make_reading
from tabcohort.engines.torch_loop import TorchEngine
from tabcohort.network.lower import lower, network_of
from tabcohort.training.member import member_data

N_EPOCHS = 3


def engines(config: Config) -> tuple[Any, Any]:
    """Return both engines with the same network and rows."""
    table = table_of(60)
    split = train_validation_test_split(table, config)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(table.n_inputs, 5), nn.Tanh(), nn.Linear(5, 1))
    network = network_of(module, lower(module, table.n_inputs))
    reading = make_reading(store_rows(table.numbers, None), plain_encoding(table.n_inputs), None)
    data = member_data(table, split, config, reading, has_batch_norm=False)
    return CompiledEngine(network, data, config), TorchEngine(module, data, config, torch.device("cpu"))


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "adam", "weight_decay": 0.01}, {"optimizer": "sgd"}, {"optimizer": "sgd", "momentum": 0.0}],
    ids=["adamw", "adam", "momentum", "sgd"],
)
def test_both_engines_have_the_same_arrays_with_the_same_gradients(changes: dict[str, Any]) -> None:
    config = Config(**{"optimizer": "adamw", "learning_rate": 0.01, "batch_size": 16, **changes})
    pair = engines(config)
    for epoch in range(1, N_EPOCHS + 1):
        for engine in pair:
            engine.run_epoch(epoch, [0.01] * epoch)
    compiled, by_torch = (engine.layer_arrays(N_EPOCHS) for engine in pair)
    assert [arrays.name for arrays in compiled] == [arrays.name for arrays in by_torch]
    assert [arrays.name for arrays in by_torch] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    for one, other in zip(compiled, by_torch, strict=True):
        assert one.values.shape == one.gradients.shape == other.values.shape
        np.testing.assert_allclose(np.sort(one.values), np.sort(other.values), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(np.sort(one.gradients), np.sort(other.gradients), rtol=1e-3, atol=1e-5)
        assert np.any(one.gradients != 0)


def test_arrays_are_those_of_the_epoch_that_was_handed_out_and_nothing_writes_to_them() -> None:
    config = Config(learning_rate=0.01, max_epochs=50)
    engine, _ = engines(config)  # runs ahead
    engine.run_epoch(1, [0.01] * 50)
    first = engine.layer_arrays(1)
    kept = [arrays.values.copy() for arrays in first]
    for epoch in range(2, 40):
        engine.run_epoch(epoch, [0.01] * 50)
    assert all(np.array_equal(arrays.values, values) for arrays, values in zip(first, kept, strict=True))
    assert not np.array_equal(engine.layer_arrays(39)[0].values, kept[0])


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_average_of_equal_gradients_is_that_gradient(optimizer: str) -> None:
    config = Config(optimizer=optimizer, momentum=0.9, beta1=0.9)
    parameter = nn.Parameter(torch.zeros(3))
    chosen = torch.optim.Adam([parameter]) if optimizer == "adam" else torch.optim.SGD([parameter], 0.1, momentum=0.9)
    for step in range(1, 6):
        parameter.grad = torch.tensor([1.0, -2.0, 0.0])
        chosen.step()
        moment = chosen.state[parameter]["exp_avg" if optimizer == "adam" else "momentum_buffer"].numpy()
        np.testing.assert_allclose(average_gradient(moment, config, step), [1.0, -2.0, 0.0], rtol=1e-5, atol=1e-7)


def test_figures_about_an_array_are_what_numpy_says() -> None:
    rng = np.random.default_rng(0)
    values, gradients = rng.normal(size=1_001).astype(np.float32), rng.normal(size=1_001)
    figures = layer_statistics(LayerArrays("weight", values, gradients))
    assert (figures.name, figures.n) == ("weight", 1_001)
    np.testing.assert_allclose(figures.quantiles, np.quantile(values, QUANTILE_LEVELS), rtol=1e-6)
    assert figures.rms == pytest.approx(np.sqrt(np.mean(values.astype(float) ** 2)))
    assert figures.gradient_rms == pytest.approx(np.sqrt(np.mean(gradients**2)))


def test_a_single_parameter_has_figures() -> None:
    figures = layer_statistics(LayerArrays("bias", np.array([-2.0]), np.array([0.5])))
    assert (figures.quantiles, figures.rms, figures.gradient_rms) == ((-2.0,) * 7, 2.0, 0.5)


@pytest.mark.parametrize("size", [1e-25, 1e20])
def test_figures_about_small_and_large_weights_are_computed_in_64_bits(size: float) -> None:
    values = np.array([-3.0, 4.0], np.float32) * np.float32(size)
    figures = layer_statistics(LayerArrays("weight", values, values))
    assert figures.rms == figures.gradient_rms == pytest.approx(size * np.sqrt(12.5), rel=1e-6)


def test_arrays_without_parameters_are_left_out() -> None:
    values = np.arange(3.0)
    arrays = layer_arrays([("none", slice(0, 0)), ("weight", slice(0, 3))], values, values)
    assert [own.name for own in arrays] == ["weight"]

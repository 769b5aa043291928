"""The networks: their layers, their initial weights, and their gradients."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn as nn
from scipy.stats import kstest
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from tabcohort.data.encoder import Statistics, encode, one_hot_encoding
from tabcohort.engines.torch_loop import loss_sum
from tabcohort.network.models import (
    MLP,
    Embed,
    Encode,
    LogisticRegression,
    ResidualBlock,
    ResidualMLP,
    SmoothClip,
    Standardize,
    build_model,
    initialize_weights,
)
from tabcohort.network.ops import ACTIVATIONS
from tabcohort.settings import Config

MODELS = {
    "logistic": lambda n_outputs: LogisticRegression(3, n_outputs),
    "residual": lambda n_outputs: ResidualMLP(3, (4, 4, 2), n_outputs),
    "mlp with batch norm": lambda n_outputs: MLP(3, (5, 4), n_outputs, "tanh", batch_norm=True),
    **{
        f"mlp with {name}": lambda n_outputs, name=name: MLP(3, (5, 4), n_outputs, name)  # type: ignore[misc]
        for name in ACTIVATIONS
    },
}


def linear_size(d_in: int, d_out: int) -> int:
    return d_in * d_out + d_out


def norm_size(width: int) -> int:
    return 2 * width


def n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def targets(n_rows: int, n_outputs: int, seed: int = 1) -> Tensor:
    """Soft targets with row weights, `(n_rows, n_classes)`."""
    rng = np.random.default_rng(seed)
    soft_targets = rng.dirichlet(np.ones(max(n_outputs, 2)), n_rows) * rng.uniform(0.5, 2, (n_rows, 1))
    return torch.from_numpy(soft_targets)


# Gradients


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_central_differences(name: str, n_outputs: int) -> None:
    module = MODELS[name](n_outputs).double()
    initialize_weights(module, seed=3)
    for parameter in module.parameters():  # biases and shifts away from zero, where ReLU has its corner
        parameter.data += torch.from_numpy(np.random.default_rng(5).uniform(-0.1, 0.1, tuple(parameter.shape)))
    inputs = torch.from_numpy(np.random.default_rng(2).normal(size=(7, 3)))
    soft_targets = targets(7, n_outputs)
    start = parameters_to_vector(module.parameters()).detach()

    def loss_at(values: Tensor) -> Tensor:
        vector_to_parameters(values, module.parameters())
        return loss_sum(module(inputs), soft_targets)

    differences = torch.zeros_like(start)
    step = 1e-6
    with torch.no_grad():
        for i in range(len(start)):
            move = torch.zeros_like(start)
            move[i] = step
            differences[i] = (loss_at(start + move) - loss_at(start - move)) / (2 * step)
        vector_to_parameters(start, module.parameters())
    module.zero_grad()
    loss_sum(module(inputs), soft_targets).backward()
    gradient = torch.cat([parameter.grad.reshape(-1) for parameter in module.parameters()])
    torch.testing.assert_close(gradient, differences, rtol=1e-5, atol=1e-7)
    assert gradient.abs().max() > 1e-2


@pytest.mark.parametrize("name", MODELS)
def test_inputs_pass_gradcheck(name: str) -> None:
    module = MODELS[name](1).double()
    initialize_weights(module, seed=4)
    inputs = torch.from_numpy(np.random.default_rng(6).normal(size=(5, 3))).requires_grad_()
    assert torch.autograd.gradcheck(module, (inputs,))


# Layers


def test_a_residual_network_has_the_parameters_that_its_layers_imply() -> None:
    widths = (10, 256, 128)
    expected = norm_size(widths[0]) + norm_size(widths[-1]) + linear_size(widths[-1], 1)
    for d_in, d_out in itertools.pairwise(widths):
        expected += 2 * (linear_size(d_in, d_out) + norm_size(d_out))  # the main path, and the projected skip
    assert n_parameters(ResidualMLP(10, (256, 128), 1)) == expected == 73_365


def test_a_block_of_equal_widths_skips_without_parameters() -> None:
    assert n_parameters(ResidualBlock(8, 8)) == linear_size(8, 8) + norm_size(8)


def test_a_residual_block_adds_its_input() -> None:
    block = ResidualBlock(4, 4).eval()
    nn.init.zeros_(block.linear.weight)
    nn.init.zeros_(block.linear.bias)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x), x, rtol=0, atol=0)


@pytest.mark.parametrize(("batch_norm", "dropout"), [(False, 0.0), (True, 0.0), (False, 0.2), (True, 0.2)])
def test_an_mlp_has_the_layers_of_its_arguments_in_order(batch_norm: bool, dropout: float) -> None:
    hidden_layers = [nn.Linear] + [nn.BatchNorm1d] * batch_norm + [nn.GELU] + [nn.Dropout] * (dropout > 0)
    module = MLP(3, (6, 5), 2, "gelu", dropout, batch_norm)
    assert [type(layer) for layer in module.layers] == [*hidden_layers, *hidden_layers, nn.Linear]
    norms = 2 * (6 + 5) if batch_norm else 0
    assert n_parameters(module) == linear_size(3, 6) + linear_size(6, 5) + linear_size(5, 2) + norms


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_mlp_computes_what_its_layers_say(name: str) -> None:
    module = MLP(3, (4,), 2, name)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    first, last = module.layers[0], module.layers[-1]
    function = getattr(torch.nn.functional, name) if hasattr(torch.nn.functional, name) else getattr(torch, name)
    torch.testing.assert_close(module(x), function(x @ first.weight.T + first.bias) @ last.weight.T + last.bias)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("model", ["logistic", "mlp", "residual"])
def test_two_classes_have_one_logit_and_more_have_one_each(model: str, n_classes: int) -> None:
    module = build_model(Config(model=model, hidden=(6, 4)), n_inputs=5, n_classes=n_classes)
    assert [name for name, _ in module.named_children()] == ["standardize", "network"]
    assert module(torch.zeros(4, 5)).shape == (4, 1 if n_classes == 2 else n_classes)


def test_build_model_uses_every_choice() -> None:
    config = Config(hidden=(6,), activation="silu", dropout=0.25, batch_norm=True)
    layers = build_model(config, 5, 2)[1].layers
    assert [type(layer) for layer in layers] == [nn.Linear, nn.BatchNorm1d, nn.SiLU, nn.Dropout, nn.Linear]
    assert layers[3].p == 0.25
    residual = build_model(Config(model="residual", hidden=(6, 6), dropout=0.25), 5, 2)
    assert [layer.p for layer in residual.modules() if isinstance(layer, nn.Dropout)] == [0.25, 0.25]


def test_standardize_works_in_double_precision_and_returns_the_modules_own() -> None:
    layer = Standardize(1)
    layer.set_statistics(Statistics(np.array([1e9]), np.array([0.5])))
    x = torch.tensor([[1e9 + 1.0], [1e9 + 3.0]], dtype=torch.float64)
    assert layer(x).dtype == torch.float32
    assert layer(x).tolist() == [[0.5], [1.5]]
    assert copy.deepcopy(layer).double()(x).dtype == torch.float64
    assert set(layer.state_dict()) == {"center", "scale"}


def test_a_missing_cell_is_the_mean_after_standardize_and_an_infinite_one_stays_infinite() -> None:
    layer = Standardize(2)
    layer.set_statistics(Statistics(np.array([5.0, 0.0]), np.array([2.0, 1.0])))
    x = torch.tensor([[torch.nan, torch.inf], [6.0, -torch.inf]], dtype=torch.float64)
    assert layer(x).tolist() == [[0.0, torch.inf], [2.0, -torch.inf]]


def test_smooth_clip_is_the_identity_near_zero_and_never_beyond_its_limit() -> None:
    x = torch.linspace(-1e6, 1e6, 10_001, dtype=torch.float64)
    out = SmoothClip(2.5)(x)
    assert (out.abs() <= 2.5).all()
    assert (out.diff() >= 0).all()
    small = torch.linspace(-1e-4, 1e-4, 101, dtype=torch.float64)
    torch.testing.assert_close(SmoothClip(2.5)(small), small, rtol=1e-8, atol=0)


def test_encode_makes_the_columns_of_the_encoding() -> None:
    X = np.array([[0.5, 2.0, np.nan], [np.nan, 0.0, 7.0], [-1.0, 5.0, 1.0]])  # there is no level 5
    layer = Encode(3, levels={1: 3}, missing=(0, 2))
    encoding = one_hot_encoding(3, {1: 3}, (0, 2))
    statistics = Statistics(np.zeros(7), np.ones(7), layer.fill.numpy(), layer.lookup.numpy(), layer.vector_row.numpy())
    expected = encode(X, encoding, statistics)
    assert layer.n_columns == encoding.n_columns == expected.shape[1] == 7
    np.testing.assert_array_equal(layer(torch.from_numpy(X)).numpy(), expected)
    np.testing.assert_array_equal(expected[0], [0.5, np.nan, 0, 1, 0, 0, 1])
    np.testing.assert_array_equal(expected[2, 4:], [np.nan] * 3)


def test_embed_puts_vectors_in_the_place_of_row_numbers() -> None:
    layer = Embed(2, 3, 4)
    x = torch.tensor([[0.5, 2.0, 0.0], [1.5, -1.0, 2.0]])
    out = layer(x)
    assert out.shape == (2, layer.d_out(3)) == (2, 9)
    assert torch.equal(out[0], torch.cat([x[0, :1], layer.weight[:, 2], layer.weight[:, 0]]))
    assert torch.equal(out[1, :5], torch.tensor([1.5, 0, 0, 0, 0]))
    assert layer.weight.abs().max() <= 0.5
    assert str(layer) == "Embed(n_categories=2, n_rows=3, length=4)"


# Initial weights


def test_weights_lie_within_the_bound_of_glorot_and_have_its_spread() -> None:
    module = MLP(60, (80, 50), 1)
    initialize_weights(module, seed=0)
    for layer in module.layers:
        if isinstance(layer, nn.Linear):
            d_in, d_out, n = layer.in_features, layer.out_features, layer.weight.numel()
            bound, deviation = np.sqrt(6 / (d_in + d_out)), np.sqrt(2 / (d_in + d_out))
            assert layer.weight.abs().max() <= bound
            assert (layer.bias == 0).all()
            # The squares of uniform numbers have the relative deviation sqrt(4 / 5 / n); five of these are allowed.
            assert abs((layer.weight**2).mean().item() / deviation**2 - 1) < 5 * np.sqrt(0.8 / n)
            assert abs(layer.weight.mean().item()) < 5 * deviation / np.sqrt(n)


def test_weights_by_fan_in_are_normal_with_a_spread_that_depends_on_the_inputs_alone() -> None:
    module = MLP(60, (80, 50), 1)
    initialize_weights(module, seed=0, weight_init="lecun_normal")
    for layer in module.layers:
        if isinstance(layer, nn.Linear):
            weights = layer.weight.detach().numpy().ravel() * np.sqrt(layer.in_features)
            assert kstest(weights, "norm").pvalue > 0.001
            assert (layer.bias == 0).all()


def test_initial_weights_depend_on_seed_and_member_alone() -> None:
    def weights(seed: int, member: int) -> Tensor:
        module = ResidualMLP(6, (8,), 1)
        initialize_weights(module, seed, member)
        return parameters_to_vector(module.parameters()).detach()

    first = weights(0, 0)
    torch.manual_seed(99)
    assert torch.equal(first, weights(0, 0))
    assert not torch.equal(first, weights(1, 0))
    assert not torch.equal(first, weights(0, 1))


def test_layers_of_one_network_have_initial_weights_of_their_own() -> None:
    module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8, bias=False))
    initialize_weights(module, seed=0)
    assert not torch.equal(module[0].weight, module[1].weight)

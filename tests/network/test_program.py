"""Programs: the network of a config, without PyTorch, is the one of its PyTorch module."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort.data.bins import fit_bins
from tabcohort.data.encoder import Statistics, one_hot_encoding, plain_encoding
from tabcohort.errors import SettingsError
from tabcohort.network.lower import lower, network_of
from tabcohort.network.models import ResidualMLP, build_model, initialize_weights
from tabcohort.network.ops import ACTIVATIONS
from tabcohort.network.program import (
    Builder,
    Network,
    Program,
    are_bins_apart,
    blank_network,
    build_program,
    initialize_network,
)
from tabcohort.randomness import Purpose, make_rng
from tabcohort.settings import Config

MANY = hypothesis_settings(max_examples=150, deadline=None)


@st.composite
def any_network(draw: st.DrawFn) -> Config:
    """A config of any network, also of width 1."""
    return Config(
        model=draw(st.sampled_from(["logistic", "mlp", "residual"])),
        hidden=tuple(draw(st.lists(st.integers(1, 9), max_size=4))),
        activation=draw(st.sampled_from(list(ACTIVATIONS))),
        dropout=draw(st.sampled_from([0.0, 1e-9, 0.2, 0.999999])),
        batch_norm=draw(st.booleans()),
        scaling=draw(st.sampled_from(["standard", "robust", "quantile"])),
        periodic=draw(st.sampled_from([0, 3])),
        input_scale=draw(st.booleans()),
    )


def residual_program() -> Program:
    return build_program(Config(model="residual", hidden=(5, 5, 3), dropout=0.2), 4, 3)


def counting_network(program: Program) -> Network:
    """Return a network in which every number is another one."""
    network = blank_network(program, np.float64)
    network.parameters[:] = np.arange(1, program.n_parameters + 1)
    network.buffers[:] = -np.arange(1, program.n_buffers + 1)
    return network


# The same network with and without PyTorch


@given(any_network(), st.integers(1, 7), st.integers(2, 4))
@MANY
def test_the_program_of_a_config_is_that_of_its_module(config: Config, n_features: int, n_classes: int) -> None:
    assert build_program(config, n_features, n_classes) == lower(build_model(config, n_features, n_classes), n_features)


WAYS = st.sampled_from(["glorot_uniform", "lecun_normal"])


@given(any_network(), st.integers(1, 7), st.integers(2, 4), st.integers(0, 2**63 - 1), st.integers(0, 3), WAYS)
@MANY
def test_a_random_network_has_the_bits_of_the_random_module(
    config: Config, n_features: int, n_classes: int, seed: int, member: int, way: str
) -> None:
    program, module = build_program(config, n_features, n_classes), build_model(config, n_features, n_classes)
    initialize_weights(module, seed, member, way)
    actual, expected = initialize_network(program, seed, member, way), network_of(module, program)
    assert actual.program is program
    assert actual.parameters.dtype == expected.parameters.dtype == np.float32
    assert actual.parameters.tobytes() == expected.parameters.tobytes()
    assert actual.buffers.tobytes() == expected.buffers.tobytes()


def test_initial_weights_are_uniform_within_the_bound_of_glorot_and_biases_are_zero() -> None:
    network = initialize_network(build_program(Config(hidden=(80, 50)), 60, 2), seed=3)
    rng = make_rng(3, Purpose.INITIAL_WEIGHTS)
    for name, array in network.named().items():
        if array.ndim == 2:
            bound = np.sqrt(6 / sum(array.shape))
            np.testing.assert_allclose(array, rng.uniform(-bound, bound, array.shape), rtol=1e-6)
        elif name.endswith("bias"):
            assert (array == 0).all()


def test_another_seed_and_another_member_have_other_initial_weights() -> None:
    program = build_program(Config(hidden=(8,)), 4, 2)
    weights = {initialize_network(program, seed, member).parameters.tobytes() for seed in (0, 1) for member in (0, 1)}
    assert len(weights) == 4


@given(any_network(), st.integers(1, 7), st.integers(2, 4))
@MANY
def test_a_network_names_its_arrays_as_pytorch_does(config: Config, n_features: int, n_classes: int) -> None:
    module = build_model(config, n_features, n_classes)
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    network = blank_network(build_program(config, n_features, n_classes))
    assert {name: array.shape for name, array in network.named().items()} == expected
    n_trainable = sum(parameter.numel() for parameter in module.parameters())
    assert network.program.n_parameters == len(network.parameters) == n_trainable
    assert network.program.n_parameters + network.program.n_buffers == sum(map(np.prod, expected.values()))


def test_a_new_network_is_a_new_module_but_for_its_weights() -> None:
    config = Config(model="residual", hidden=(5, 3))
    module = build_model(config, 4, 2)
    state = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    for name, array in blank_network(build_program(config, 4, 2)).named().items():
        is_random = ".linear." in name or ".skip.0." in name
        np.testing.assert_array_equal(array, np.zeros_like(array) if is_random else state[name], err_msg=name)


# Vectors


@given(any_network(), st.integers(1, 7), st.integers(2, 4))
@MANY
def test_every_number_has_a_place_of_its_own_and_matrices_come_first(
    config: Config, n_features: int, n_classes: int
) -> None:
    network = counting_network(build_program(config, n_features, n_classes))
    named = network.named()
    numbers = np.concatenate([array.reshape(-1) for array in named.values()])
    expected = np.concatenate([network.parameters, network.buffers])
    np.testing.assert_array_equal(np.sort(numbers), np.sort(expected))
    for array in named.values():
        is_in_matrices = (array > 0) & (array <= network.program.n_in_matrices)
        assert (is_in_matrices == (array.ndim == 2)).all()


@given(any_network(), st.integers(1, 7), st.integers(2, 4))
@MANY
def test_a_network_goes_through_its_names_and_back(config: Config, n_features: int, n_classes: int) -> None:
    network = counting_network(build_program(config, n_features, n_classes))
    again = blank_network(network.program, np.float64).with_named(network.named())
    np.testing.assert_array_equal(again.parameters, network.parameters)
    np.testing.assert_array_equal(again.buffers, network.buffers)


def test_a_matrix_is_transposed_between_the_vector_and_its_name() -> None:
    builder = Builder(2)
    network = counting_network(builder.finish(builder.add("linear", "layer", 0, d_out=3)))
    np.testing.assert_array_equal(network.parameters[:6].reshape(2, 3), network.named()["layer.weight"].T)
    np.testing.assert_array_equal(network.named()["layer.weight"], [[1, 4], [2, 5], [3, 6]])


def test_named_arrays_and_the_networks_made_of_them_share_no_memory() -> None:
    network = counting_network(residual_program())
    before = network.parameters.copy(), network.buffers.copy()
    named = network.named()
    other = network.with_named(named)
    for array in (*named.values(), other.parameters, other.buffers):
        array[...] = 0
    np.testing.assert_array_equal(network.parameters, before[0])
    np.testing.assert_array_equal(network.buffers, before[1])
    assert all(array.flags.c_contiguous for array in named.values())


def test_an_array_of_another_shape_is_refused_by_name() -> None:
    network = counting_network(residual_program())
    named = network.named()
    name = "network.blocks.2.linear.weight"
    words = re.escape(f"'{name}' must be of shape (3, 5); it is (5, 3)")
    with pytest.raises(ValueError, match=words):
        network.with_named({**named, name: named[name].T})
    with pytest.raises(ValueError, match=r"'standardize\.center' must be of shape \(4,\); it is \(\)"):
        network.with_named({**named, "standardize.center": np.array(1.0)})


@pytest.mark.parametrize("name", ["network.linear.bias", "network.output_norm.running_var"])
def test_an_array_that_is_missing_is_refused_by_name(name: str) -> None:
    network = counting_network(residual_program())
    named = network.named()
    del named[name]
    with pytest.raises(KeyError, match=re.escape(name)):
        network.with_named(named)


# Statistics


def test_statistics_are_put_in_and_read_again_to_the_bit() -> None:
    network = counting_network(residual_program())
    statistics = Statistics(np.array([1e9, -3.0, 0.1, 7.0]), np.array([1e-9, 2.0, 0.0, 1 / 3]))
    other = network.with_statistics(statistics)
    actual = other.statistics()
    assert actual is not None
    np.testing.assert_array_equal(actual.center, statistics.center)
    np.testing.assert_array_equal(actual.scale, statistics.scale)
    np.testing.assert_array_equal(other.parameters, network.parameters)
    np.testing.assert_array_equal(other.buffers[8:], network.buffers[8:])
    assert (network.buffers[:8] < 0).all()


def test_a_network_that_standardizes_nothing_has_no_statistics() -> None:
    builder = Builder(2)
    network = blank_network(builder.finish(builder.add("linear", "layer", 0, d_out=3)))
    assert network.statistics() is None
    assert network.with_statistics(Statistics(np.zeros(2), np.ones(2))) is network


# What is known of a program


TABLE = """\
value  operation             reads  shape     parameters  layer
    0  rows                         (n, 12)
    1  batch_norm                0  (n, 12)           24  input_norm
    2  linear                    1  (n, 100)       1,300  blocks.0.linear
    3  batch_norm                2  (n, 100)         200  blocks.0.norm
    4  relu                      3  (n, 100)              blocks.0.activation
    5  dropout                   4  (n, 100)              blocks.0.dropout
    6  linear                    1  (n, 100)       1,300  blocks.0.skip.0
    7  batch_norm                6  (n, 100)         200  blocks.0.skip.1
    8  add                   5 + 7  (n, 100)              blocks.0
    9  batch_norm                8  (n, 100)         200  output_norm
   10  linear                    9  (n, 1)           101  linear
   11  binary_cross_entropy     10  ()
                                                   3,325  in total"""


def test_a_program_is_printed_as_a_table() -> None:
    module = ResidualMLP(12, (100,), 1, dropout=0.3)
    assert str(lower(module, 12)) == TABLE
    assert sum(parameter.numel() for parameter in module.parameters()) == 3_325


def test_widths_run_from_the_rows_to_the_logits() -> None:
    program = build_program(Config(hidden=(6, 5), dropout=0.2), 4, 3)
    assert program.widths == (4, 4, 6, 6, 6, 5, 5, 5, 3)
    assert (program.n_outputs, program.n_inputs) == (3, 4)
    assert program.operations[-1].kind == "cross_entropy"
    assert program.n_products == 4 * 6 + 6 * 5 + 5 * 3


@pytest.mark.parametrize(("n_classes", "n_outputs"), [(2, 1), (3, 3)])
def test_the_loss_follows_from_the_number_of_logits(n_classes: int, n_outputs: int) -> None:
    program = build_program(Config(model="logistic"), 4, n_classes)
    assert program.n_outputs == n_outputs
    assert program.operations[-1].kind == ("binary_cross_entropy" if n_classes == 2 else "cross_entropy")
    assert program.operations[-1].sources == (2,)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"model": "logistic"}, False), ({"batch_norm": True}, True), ({}, False), ({"model": "residual"}, True)],
)
def test_a_program_knows_whether_it_has_batch_norm(changes: dict[str, Any], expected: bool) -> None:
    assert build_program(Config(**changes), 4, 2).has_batch_norm is expected


@given(st.floats(0, 1))
@MANY
def test_dropout_keeps_a_share_of_15_bits_that_is_never_all_and_is_none_only_for_probability_1(p: float) -> None:
    builder = Builder(3)
    value = builder.dropout("drop", 0, p)
    if p == 0:
        assert (value, builder.operations) == (0, [])
        return
    (share,) = builder.operations[0].constants
    assert abs(share / 2**15 - (1 - p)) <= 2**-15
    assert share == 0 if p == 1 else 1 <= share <= 2**15 - 1


@pytest.mark.parametrize("kind", ["relu", "batch_norm", "layer_norm", "dropout", "add", "standardize", "smooth_clip"])
def test_an_operation_that_keeps_its_width_cannot_be_given_another_one(kind: str) -> None:
    builder = Builder(3)
    with pytest.raises(ValueError, match=rf"^{kind} writes as many columns as it reads: 3, not 4$"):
        builder.add(kind, "layer", 0, d_out=4)
    assert builder.add(kind, "layer", 0, d_out=3) == 1


def test_only_a_network_with_an_encode_operation_has_an_encoding() -> None:
    encoding = one_hot_encoding(2, {1: 2}, (0,))
    network = blank_network(build_program(Config(model="logistic"), 2, 2, encoding))
    assert network.encoding == encoding
    assert {name: array.shape for name, array in network.named().items() if name.startswith("encode")} == {
        "encode.fill": (1,), "encode.lookup": (6,), "encode.vector_row": (3,),
    }  # fmt: skip
    other = blank_network(residual_program())
    assert other.encoding == plain_encoding(other.program.n_inputs)


def test_statistics_go_into_a_network_and_back() -> None:
    encoding = one_hot_encoding(2, {1: 2}, (0,))
    network = blank_network(build_program(Config(model="logistic"), 2, 2, encoding))
    assert np.isnan(network.named()["encode.fill"]).all()
    rng = np.random.default_rng(0)
    given = Statistics(*(rng.normal(size=size) for size in (4, 4, 1, 6, 3)))
    actual = network.with_statistics(given).statistics()
    assert actual is not None
    for name, values in vars(given).items():
        np.testing.assert_array_equal(vars(actual)[name], values)


def test_reading_a_module_copies_it() -> None:
    config = Config(model="residual", hidden=(5,))
    module = build_model(config, 4, 2)
    network = network_of(module, build_program(config, 4, 2))
    before = network.parameters.copy(), network.buffers.copy()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.add_(1)
    np.testing.assert_array_equal(network.parameters, before[0])
    np.testing.assert_array_equal(network.buffers, before[1])


@pytest.mark.parametrize(
    ("changes", "is_linear", "scales"),
    [
        ({}, True, False),
        ({"scaling": "robust"}, False, True),
        ({"scaling": "quantile"}, False, True),
        ({"periodic": 2}, False, False),
        ({"input_scale": True}, False, False),
        ({"model": "mlp"}, False, False),
    ],
)
def test_a_program_knows_whether_its_logits_are_linear(changes: dict[str, Any], is_linear: bool, scales: bool) -> None:
    """Coefficients are shown, and quantiles read from bins, only where they are of standardized columns."""
    program = build_program(Config(**{"model": "logistic", **changes}), 4, 2)
    assert (program.is_linear, program.scales_numbers) == (is_linear, scales)


def test_a_network_that_memory_could_not_hold_is_refused() -> None:
    words = r"^a network of 100,060,001 parameters is too large, at most 50,000,000 are possible: .*\(10000, 10000\)$"
    with pytest.raises(SettingsError, match=words):
        build_program(Config(hidden=(10_000, 10_000)), 3, 2)
    assert build_program(Config(hidden=(7_000, 7_000)), 3, 2).n_parameters == 49_042_001


# Bins


def network_with_bins(column: Any, lower: Any, inverse: Any) -> Network:
    """Return a network of four inputs with these bins."""
    builder = Builder(4)
    value = builder.add("piecewise_linear", "bins", 0, d_out=4 + len(column))
    network = blank_network(builder.finish(builder.add("linear", "linear", value, d_out=1)))
    network.buffers[:] = np.concatenate([column, lower, inverse])
    return network


def test_bins_that_are_fitted_are_apart() -> None:
    """Also where a number has one value, few values, or missing cells."""
    rng = np.random.default_rng(0)
    X = np.stack(
        [rng.normal(size=200), rng.normal(size=200).round(), np.ones(200), np.exp(9 * rng.normal(size=200))], axis=1
    )
    X[::7, 0] = np.nan
    statistics = Statistics(np.nanmean(X, axis=0), 1 / np.array([1.0, 1.0, np.inf, X[:, 3].std()]))
    fitted = fit_bins(X, statistics, (16, 16, 3, 30), np.arange(200), np.ones(200))
    assert are_bins_apart(network_with_bins(fitted.column, fitted.lower, fitted.inverse))
    assert are_bins_apart(network_with_bins([3, 0, 0, 0], [-0.5, -1, 0, 0], [1, 1, 4, 0]))


@pytest.mark.parametrize(
    ("column", "lower", "inverse"),
    [
        ([0, 0], [0, 0.5], [1, 1]),
        ([0, 0], [1, 0], [1, 1]),
        ([0, 0], [0, 1], [0, 1]),
        ([0, 1, 0], [0, 0, 1], [1, 1, 1]),
    ],
    ids=["they overlap", "they descend", "one that is 0 comes first", "another number comes between"],
)
def test_other_bins_are_computed(column: Any, lower: Any, inverse: Any) -> None:
    assert not are_bins_apart(network_with_bins(column, lower, inverse))


def test_a_network_without_bins_has_none_that_are_not_apart() -> None:
    builder = Builder(4)
    assert are_bins_apart(blank_network(builder.finish(builder.add("linear", "linear", 0, d_out=1))))

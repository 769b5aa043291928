"""Inference: PyTorch's numbers, and a row's bits whatever rows are beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from helpers import programs, random_network
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort.data.encoder import CategoryEncoding, Encoding, Statistics, one_hot_encoding
from tabcohort.data.table import Table
from tabcohort.engines.compiled import inference
from tabcohort.engines.compiled.inference import Inference
from tabcohort.engines.compiled.inference_kernels import AFFINE, ROWS_PER_BLOCK, run
from tabcohort.engines.compiled.tree_kernels import run_trees
from tabcohort.network.lower import to_module
from tabcohort.network.ops import ACTIVATIONS, OPS
from tabcohort.network.program import Builder, Network, Program, blank_network, build_program
from tabcohort.network.trees import blank_trees
from tabcohort.settings import Config
from tabcohort.types import FloatArray

FEW = hypothesis_settings(max_examples=60, deadline=None)


def rows_for(program: Program, n_rows: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng([seed, 1]).normal(size=(n_rows, program.n_inputs))


def logits_of(network: Network, X: FloatArray) -> FloatArray:
    """Return the logits of one network."""
    return Inference([network]).logits(X)[:, 0]


def logits_of_pytorch(network: Network, X: FloatArray) -> FloatArray:
    with torch.no_grad():
        return to_module(network).double()(torch.from_numpy(X)).numpy()


# PyTorch's numbers


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@given(program=programs(), seed=st.integers(0, 2**32))
@FEW
def test_logits_are_those_of_pytorch_in_double_precision(
    program: Program, seed: int, dtype: type[np.floating], tolerance: float
) -> None:
    network, X = random_network(program, dtype, seed), rows_for(program, 70, seed)
    actual, expected = logits_of(network, X), logits_of_pytorch(network, X)
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * max(1.0, np.abs(expected).max()))
    assert actual.shape == (70, program.n_outputs)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_activations_are_those_of_pytorch_to_their_ends(name: str, dtype: type[np.floating], tolerance: float) -> None:
    builder = Builder(1)
    value = builder.add(name, "activation", 0, constants=(0.2 if name == "leaky_relu" else 0.0,))
    network = blank_network(builder.finish(builder.add("linear", "last", value, d_out=1)), dtype)
    network = network.with_named({"last.weight": np.ones((1, 1)), "last.bias": np.zeros(1)})
    sizes = np.concatenate([np.logspace(-30, 3, 200), [0.0, 80.0, 88.0, 89.0, 100.0, 104.0]])
    X = np.concatenate([sizes, -sizes])[:, None].astype(dtype).astype(np.float64)
    actual, expected = logits_of(network, X), logits_of_pytorch(network, X)
    # Values next to the smallest number may be zero; PyTorch too has no more digits of GELU's far negative side.
    smallest = tolerance if name == "gelu" else 100 * float(np.finfo(dtype).tiny)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=smallest)


def test_a_residual_block_whose_skipped_value_is_read_twice_keeps_it() -> None:
    """A batch norm is folded into the linear layer before it only where nothing else reads that layer."""
    for between in (False, True):
        builder = Builder(3)
        start = builder.add("linear", "start", 0, d_out=4)
        value = builder.dropout("dropout", start, 0.5) if between else start
        value = builder.add("batch_norm", "norm", value, constants=(1e-5, 0.1))
        value = builder.add("add", "sum", value, start)
        program = builder.finish(builder.add("linear", "last", value, d_out=2))
        network, X = random_network(program, np.float64), rows_for(program, 9)
        np.testing.assert_allclose(logits_of(network, X), logits_of_pytorch(network, X), rtol=1e-12, atol=1e-12)


def test_columns_far_from_zero_keep_their_digits() -> None:
    program = build_program(Config(hidden=(16,)), 3, 3)
    rng = np.random.default_rng(0)
    statistics = Statistics(np.array([1e9, -4e12, 0.0]), np.array([0.5, 2.0, 1.0]))
    network = random_network(program, np.float32).with_statistics(statistics)
    near = random_network(program, np.float32).with_statistics(Statistics(np.zeros(3), statistics.scale))
    X = np.round(rng.normal(0, 3, (50, 3)) * 16) / 16  # so that adding the center costs no digit
    np.testing.assert_array_equal(logits_of(network, X + statistics.center), logits_of(near, X))
    expected = logits_of_pytorch(network, X + statistics.center)
    np.testing.assert_allclose(logits_of(near, X), expected, rtol=1e-5, atol=1e-5)
    assert np.abs(np.diff(logits_of(near, X), axis=0)).min() > 0


def test_a_column_that_never_varied_changes_nothing() -> None:
    program = build_program(Config(hidden=(6,)), 2, 2)
    network = random_network(program, np.float32).with_statistics(Statistics(np.zeros(2), np.array([1.0, 0.0])))
    X = rows_for(program, 20)
    other = X.copy()
    other[:, 1] = 1e30
    np.testing.assert_array_equal(logits_of(network, X), logits_of(network, other))


def test_models_that_joblib_maps_into_memory_need_no_other_kernel(tmp_path: Path) -> None:
    """Such arrays are read-only, which is another type to the compiler."""
    network = random_network(build_program(Config(hidden=(6,)), 2, 2), np.float32)
    models, X = Inference([network, blank_trees(2, (), 1)]), rows_for(network.program, 20)
    expected = models.logits(X)
    n_compiled = len(run.signatures), len(run_trees.signatures)
    joblib.dump(models, tmp_path / "models")
    np.testing.assert_array_equal(joblib.load(tmp_path / "models", mmap_mode="r").logits(X), expected)
    assert (len(run.signatures), len(run_trees.signatures)) == n_compiled


def test_the_networks_numbers_are_copied() -> None:
    program = build_program(Config(hidden=(6,)), 2, 2)
    network, X = random_network(program, np.float32), rows_for(program, 20)
    predict = Inference([network])
    before = predict.logits(X)
    network.parameters[:] = 0
    network.buffers[:] = 0
    np.testing.assert_array_equal(predict.logits(X), before)


# A row's bits


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(program=programs(), seed=st.integers(0, 2**32), data=st.data())
@FEW
def test_a_rows_bits_do_not_depend_on_the_rows_beside_it_or_on_its_place(
    program: Program, seed: int, data: st.DataObject, dtype: type[np.floating]
) -> None:
    n_rows = 2 * ROWS_PER_BLOCK + 5
    predict, X = Inference([random_network(program, dtype, seed)]), rows_for(program, n_rows, seed)
    together = predict.logits(X)
    alone = np.concatenate([predict.logits(row[None]) for row in X])
    np.testing.assert_array_equal(alone, together)
    for _ in range(4):
        rows = data.draw(st.lists(st.integers(0, n_rows - 1), min_size=1, max_size=n_rows), label="rows")
        np.testing.assert_array_equal(predict.logits(X, np.array(rows)), together[rows])
        np.testing.assert_array_equal(predict.logits(X[rows]), together[rows])


@pytest.mark.parametrize("model", ["logistic", "mlp", "residual"])
@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 7, 8, 9, 63, 64, 65, 200])
def test_a_batch_of_any_length_has_the_bits_of_its_rows(model: str, n_rows: int) -> None:
    program = build_program(Config(model=model, hidden=(67, 33, 3), activation="tanh"), 13, 3)
    predict, X = Inference([random_network(program, np.float32)]), rows_for(program, n_rows)
    alone = np.concatenate([predict.logits(row[None]) for row in X])
    np.testing.assert_array_equal(predict.logits(X), alone)
    np.testing.assert_array_equal(predict.logits(X[::-1])[::-1], alone)


@pytest.mark.parametrize(("min_rows", "n_cores"), [(1, 7), (10, 3), (100, 64), (2048, 1)])
def test_a_rows_bits_do_not_depend_on_the_number_of_threads(
    min_rows: int, n_cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = build_program(Config(model="residual", hidden=(33, 17)), 5, 4)
    predict, X = Inference([random_network(program, np.float32)]), rows_for(program, 301)
    monkeypatch.setattr(inference, "n_cores", lambda: 1)
    expected = predict.logits(X)
    pools: list[int] = []
    real_pool = inference.ThreadPoolExecutor

    def pool(n_threads: int) -> object:
        pools.append(n_threads)
        return real_pool(n_threads)

    monkeypatch.setattr(inference, "ThreadPoolExecutor", pool)
    monkeypatch.setattr(inference, "MIN_ROWS_PER_THREAD", min_rows)
    monkeypatch.setattr(inference, "n_cores", lambda: n_cores)
    np.testing.assert_array_equal(predict.logits(X), expected)
    some = np.arange(300, 0, -2)
    np.testing.assert_array_equal(predict.logits(X, some), expected[some])
    assert pools == {1: [6, 6], 10: [2, 2], 100: [3, 1], 2048: []}[min_rows]  # beside the thread that asks


def test_rows_in_any_layout_have_the_same_bits() -> None:
    program = build_program(Config(hidden=(9,)), 4, 2)
    predict, X = Inference([random_network(program, np.float32)]), rows_for(program, 50)
    expected = predict.logits(X)
    read_only = X.copy()
    read_only.flags.writeable = False
    for same in (np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], np.repeat(X, 3, axis=1)[:, ::3], read_only):
        np.testing.assert_array_equal(predict.logits(same), expected)


# No rows


@given(program=programs())
@hypothesis_settings(max_examples=20, deadline=None)
def test_no_rows_have_no_logits(program: Program) -> None:
    predict, X = Inference([random_network(program, np.float32)]), rows_for(program, 5)
    assert predict.logits(X[:0]).shape == (0, 1, program.n_outputs)
    assert predict.logits(X, np.array([], dtype=np.int64)).shape == (0, 1, program.n_outputs)


# What the kernel may be given


def test_rows_in_any_layout_of_memory_use_the_same_code() -> None:
    network = random_network(build_program(Config(hidden=(8,)), 4, 2), np.float32)
    X = np.random.default_rng(0).normal(size=(20, 4))
    predict, locked = Inference([network]), X.copy()
    locked.setflags(write=False)
    expected = predict.logits(X)
    known = len(inference.run.signatures)
    for same in (np.asfortranarray(X), locked, np.repeat(X, 2, axis=0)[::2]):
        np.testing.assert_array_equal(predict.logits(same), expected)
    assert len(inference.run.signatures) == known


def test_rows_of_another_width_are_refused() -> None:
    network = random_network(build_program(Config(hidden=(8,)), 4, 2), np.float32)
    with pytest.raises(ValueError, match=r"^the rows must be of shape \(n, 4\); they are of \(2, 3\)$"):
        Inference([network]).logits(np.zeros((2, 3)))


# Networks together


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_networks_that_predict_together_have_the_bits_of_one_alone(dtype: type[np.floating]) -> None:
    configs = (Config(model="logistic"), Config(hidden=(33, 9)), Config(model="residual", hidden=(5,)))
    networks = [random_network(build_program(config, 4, 3), dtype, seed) for seed, config in enumerate(configs)]
    X = rows_for(networks[0].program, 300)
    together = Inference(networks).logits(X)
    for number, network in enumerate(networks):
        np.testing.assert_array_equal(together[:, number], logits_of(network, X))


def test_networks_of_other_encodings_have_the_bits_of_one_alone_too() -> None:
    """A logistic model has no learned vectors, so its columns are others than those of a network beside it."""
    config, logistic = Config(hidden=(8,)), Config(model="logistic")
    table = Table.from_frame({"city": [f"city {i % 12}" for i in range(120)], "y": [i % 2 for i in range(120)]}, "y")
    encodings = [table.schema.encoding(own) for own in (config, logistic, config)]
    assert encodings[0] != encodings[1]
    networks = [
        random_network(build_program(own, 1, 2, encoding), np.float32, seed)
        for seed, (own, encoding) in enumerate(zip((config, logistic, config), encodings, strict=True))
    ]
    networks = [network.with_statistics(_with_vector_rows(network)) for network in networks]
    together = Inference(networks).logits(table.X)
    for number, network in enumerate(networks):
        np.testing.assert_array_equal(together[:, number], logits_of(network, table.X))


def _with_vector_rows(network: Network) -> Statistics:
    """Return a network's statistics with rows that its table of learned vectors has."""
    statistics = network.statistics()
    assert statistics is not None
    return replace(statistics, vector_row=np.arange(len(statistics.vector_row)) % max(1, network.encoding.vector_rows))


@pytest.mark.parametrize(
    ("n_features", "n_classes", "dtype", "words"),
    [
        (5, 3, np.float32, "^models that predict together must read the same inputs and have the same outputs$"),
        (4, 2, np.float32, "^models that predict together must read the same inputs and have the same outputs$"),
        (4, 3, np.float64, "^networks that predict together must have numbers of one dtype$"),
    ],
)
def test_networks_of_other_rows_outputs_or_numbers_do_not_predict_together(
    n_features: int, n_classes: int, dtype: type[np.floating], words: str
) -> None:
    one = random_network(build_program(Config(hidden=(8,)), 4, 3), np.float32)
    other = random_network(build_program(Config(hidden=(8,)), n_features, n_classes), dtype)
    with pytest.raises(ValueError, match=words):
        Inference([one, other])


# What cannot be predicted with


def test_an_operation_without_an_inference_kernel_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(inference.KERNELS, OPS["tanh"].code)
    network = random_network(build_program(Config(hidden=(8,), activation="tanh"), 4, 2), np.float32)
    words = r"^the operation 'tanh' has no inference kernel; predict with `to_module\(network\)`$"
    with pytest.raises(ValueError, match=words):
        Inference([network])


def test_a_column_of_a_feature_that_the_rows_do_not_have_is_refused() -> None:
    """The kernel checks no bounds."""
    program = build_program(Config(model="logistic"), 2, 2, one_hot_encoding(3, {1: 2}, (0,)))
    with pytest.raises(ValueError, match=r"value 1, 'encode', has widths or constants that do not fit"):
        Inference([blank_network(program)])


@pytest.mark.parametrize("row", [-2.0, 4.0, 0.5, np.nan])
def test_a_code_without_a_row_in_the_table_of_vectors_is_refused(row: float) -> None:
    encoding = Encoding((), (), (0,), (CategoryEncoding(3, False, 2, n_learned=2),))
    network = blank_network(build_program(Config(), 1, 2, encoding))
    assert encoding.vector_rows == 4
    named = {**network.named(), "encode.vector_row": np.array([0.0, row, -1.0])}
    with pytest.raises(ValueError, match=r"^a code has an impossible row in the table of learned vectors$"):
        Inference([network.with_named(named)])


# Folding, and compiling


def kinds_of(predict: Inference) -> list[int]:
    return predict._groups[0][1].table[:, 0].tolist()


def test_batch_norms_are_folded_into_the_linear_layers_before_them() -> None:
    program = build_program(Config(model="residual", hidden=(6, 6)), 4, 2)
    network, X = random_network(program, np.float64), rows_for(program, 9)
    np.testing.assert_allclose(logits_of(network, X), logits_of_pytorch(network, X), rtol=1e-12, atol=1e-12)
    kinds = kinds_of(Inference([network]))
    n_norms = sum(op.kind == "batch_norm" for op in program.operations)
    # Of the projected skip, and of the two blocks; the norms of the inputs and of the output follow no linear layer.
    assert n_norms - kinds.count(AFFINE) == 3
    assert kinds.count(OPS["linear"].code) == sum(op.kind == "linear" for op in program.operations)


def test_dropout_and_standardizing_are_no_instructions() -> None:
    program = build_program(Config(hidden=(6,), dropout=0.3), 4, 2)
    kinds = kinds_of(Inference([random_network(program, np.float32)]))
    assert kinds == [OPS[kind].code for kind in ("linear", "relu", "linear")]


def test_the_kernels_that_are_compiled_ahead_are_those_that_predict() -> None:
    for dtype in (np.float32, np.float64):
        network = random_network(build_program(Config(hidden=(8,)), 4, 2), dtype)
        Inference([network, network]).logits(np.zeros((3, 4)))
    known = set(inference.run.signatures)
    for dtype in (np.float32, np.float64):
        inference.compile_loop(np.dtype(dtype).name)
    assert set(inference.run.signatures) == known

"""The two engines are each other's test: the same batches give the same numbers, by autograd and by hand."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import SMALL, called_from_python, data_of_inputs, programs, random_network
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression as SklearnLogistic
from torch import nn

from tabcohort import (
    MLP,
    Config,
    LogisticRegression,
    ResidualMLP,
    Table,
    build_model,
    initialize_weights,
    load_sample,
)
from tabcohort.cohort.fit import fit
from tabcohort.data.encoder import encode, standardize
from tabcohort.data.splits import train_validation_test_split
from tabcohort.engines.batches import Batches, BatchPlan
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.compiled.inference import Inference
from tabcohort.engines.compiled.kernels import gather
from tabcohort.engines.protocol import MemberData
from tabcohort.engines.reading import make_reading
from tabcohort.engines.torch_loop import TorchEngine, has_batch_norm, hashed_dropout, loss_sum
from tabcohort.network.lower import network_of, to_module
from tabcohort.network.models import (
    Embed,
    Periodic,
    PiecewiseLinear,
    QuantileScale,
    RobustScale,
    Scale,
    SmoothClip,
)
from tabcohort.network.ops import ACTIVATIONS
from tabcohort.network.program import Network, Program, build_program, initialize_network
from tabcohort.training.member import fit_on_training_rows, member_data
from tabcohort.training.module import CompiledModuleEngine

D_IN = 7
CPU = torch.device("cpu")
TWICE, DROPOUT = nn.ReLU(), nn.Dropout(0.5)


def bins_of(n_columns: int, n_bins: int) -> PiecewiseLinear:
    """Return a layer with bins of any columns, the last of which is 0 everywhere."""
    rng, layer = np.random.default_rng(5), PiecewiseLinear(n_bins)
    layer.column[:] = torch.from_numpy(rng.integers(n_columns, size=n_bins))
    layer.lower[:], layer.inverse[:-1] = torch.linspace(-2, 2, n_bins), torch.linspace(0.3, 3, n_bins - 1)
    return layer


def bins_apart() -> PiecewiseLinear:
    """Return a layer with 3, 9 and 2 bins of three columns, one with bins that are 0 everywhere and one with a gap."""
    layer, edges = PiecewiseLinear(14), torch.linspace(-2, 2, 9)
    layer.column[:3], layer.column[3:12], layer.column[12:] = 4, 0, 2
    layer.lower[:3], layer.inverse[:3] = torch.tensor([-1.0, -0.25, 0.5]), torch.tensor([1 / 0.75, 1 / 0.75, 1.0])
    layer.lower[3:10], layer.inverse[3:10] = edges[:7], 2.0
    layer.lower[12:], layer.inverse[12:] = torch.tensor([-0.5, 0.5]), torch.tensor([2.0, 0.7])
    return layer


def numbers_scaled(layer: RobustScale | QuantileScale) -> nn.Module:
    """Return a layer with statistics."""
    rng = np.random.default_rng(6)
    for name, buffer in layer.named_buffers():
        values = rng.uniform(0.5, 2, len(buffer)) if name == "inverse_range" else rng.normal(size=len(buffer))
        buffer[:] = torch.from_numpy(np.sort(values.reshape(5, -1), axis=1).ravel())
    return layer


LAYERS: dict[str, nn.Module] = {
    "linear": nn.Linear(D_IN, 1),
    "linear to three": nn.Linear(D_IN, 3),
    "batch norm": nn.Sequential(nn.Linear(D_IN, 5), nn.BatchNorm1d(5), nn.Linear(5, 1)),
    "batch norm of the rows": nn.Sequential(nn.BatchNorm1d(D_IN, momentum=0.3), nn.Linear(D_IN, 1)),
    "layer norm": nn.Sequential(nn.Linear(D_IN, 5), nn.LayerNorm(5, eps=1e-3), nn.Linear(5, 1)),
    "leaky relu": nn.Sequential(nn.Linear(D_IN, 5), nn.LeakyReLU(0.2), nn.Linear(5, 1)),
    "dropout": nn.Sequential(nn.Dropout(0.3), nn.Linear(D_IN, 5), nn.Dropout(0.5), nn.Linear(5, 3)),
    "dropout of all": nn.Sequential(nn.Linear(D_IN, 5), nn.Dropout(1.0), nn.Linear(5, 1)),
    "identity": nn.Sequential(nn.Identity(), nn.Sequential(nn.Linear(D_IN, 2), nn.Identity())),
    "residual": ResidualMLP(D_IN, (6, 6, 4), 3, dropout=0.2),
    "smooth clip": nn.Sequential(SmoothClip(0.7), nn.Linear(D_IN, 5), nn.ReLU(), nn.Linear(5, 1)),
    "piecewise linear": nn.Sequential(bins_of(D_IN, 12), nn.Linear(D_IN + 12, 5), nn.ReLU(), nn.Linear(5, 1)),
    "bins apart": nn.Sequential(bins_apart(), nn.Linear(D_IN + 14, 19), nn.ReLU(), nn.Linear(19, 1)),
    "bins apart, embed": nn.Sequential(bins_apart(), Embed(2, 6, 3), MLP(D_IN + 18, (5,), 1, batch_norm=True)),
    "robust": nn.Sequential(numbers_scaled(RobustScale(5)), nn.Linear(D_IN, 5), nn.ReLU(), nn.Linear(5, 1)),
    "quantile": nn.Sequential(numbers_scaled(QuantileScale(5, 4)), nn.Linear(D_IN, 5), nn.ReLU(), nn.Linear(5, 1)),
    "robust, bins apart": nn.Sequential(numbers_scaled(RobustScale(5)), bins_apart(), nn.Linear(D_IN + 14, 19)),
    "periodic": nn.Sequential(Periodic(3, 4, 0.4, first=2), nn.Linear(D_IN + 12, 5), nn.Tanh(), nn.Linear(5, 1)),
    "scale": nn.Sequential(Scale(D_IN), nn.Linear(D_IN, 5), nn.Tanh(), nn.Linear(5, 1)),
    "learned inputs": nn.Sequential(
        numbers_scaled(QuantileScale(5, 4)), bins_apart(), Embed(2, 6, 3), Periodic(5, 2, 0.4, first=14),
        Scale(D_IN + 28), MLP(D_IN + 28, (5,), 1, "mish"),
    ),
    "one dropout twice": nn.Sequential(nn.Linear(D_IN, 5), DROPOUT, nn.Linear(5, 5), DROPOUT, nn.Linear(5, 1)),
    "embed": nn.Sequential(Embed(2, 6, 3), nn.Linear(D_IN + 4, 5), nn.ReLU(), nn.Linear(5, 1)),
    "one layer twice": nn.Sequential(nn.Linear(D_IN, 5), TWICE, nn.Linear(5, 4), TWICE, nn.Linear(4, 1)),
    **{name: MLP(D_IN, (6, 5), 1, activation=name) for name in ACTIVATIONS},
}  # fmt: skip


def data_of(batches: BatchPlan, n_classes: int, d_in: int = D_IN, n_validation: int | None = None) -> MemberData:
    """Return rows with soft, weighted targets; the validation rows are the first training rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(batches.n_rows, d_in))
    targets = np.eye(n_classes)[rng.integers(n_classes, size=len(X))] + 0.1
    n_validation = len(X) // 2 if n_validation is None else n_validation
    return data_of_inputs(X, targets * rng.uniform(0.5, 2, (len(X), 1)), X[np.arange(n_validation) % len(X)], batches)


def full_batch(module: nn.Module, n_rows: int = 9) -> BatchPlan:
    return BatchPlan(n_rows, n_rows, 0.0, 0.0, has_batch_norm(module), seed=3)


def n_classes_of(module: nn.Module) -> int:
    n_outputs = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1].out_features
    return max(2, n_outputs)


def prepared(module: nn.Module) -> nn.Module:
    """Return a float64 copy with random weights and normalisation that is not trivial."""
    module = copy.deepcopy(module).double()
    initialize_weights(module, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def both(
    module: nn.Module, data: MemberData, config: Config
) -> tuple[nn.Module, TorchEngine, nn.Module, CompiledModuleEngine]:
    other = copy.deepcopy(module)
    reference, compiled = TorchEngine(module, data, config, CPU), CompiledModuleEngine(other, data, config)
    return module, reference, other, compiled


def largest_difference(first: nn.Module, second: nn.Module) -> float:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs if a.is_floating_point())


def gradients_by_autograd(module: nn.Module, data: MemberData, key: int) -> dict[str, np.ndarray]:
    """Return the gradient of the mean loss by every parameter, by its name, with the masks of this key."""
    module.train()
    with hashed_dropout(module) as dropout:
        dropout.take_key(key)
        logits = module(torch.from_numpy(data.reading.inputs(data.train)).double())
        loss = loss_sum(logits, torch.from_numpy(data.soft_targets).double()) / len(logits)
        gradients = torch.autograd.grad(loss, list(module.parameters()))
    names = [name for name, _ in module.named_parameters()]
    return {name: gradient.numpy() for name, gradient in zip(names, gradients, strict=True)}


@pytest.mark.parametrize("module", LAYERS.values(), ids=LAYERS.keys())
def test_every_gradient_is_that_of_autograd_and_of_central_differences(module: nn.Module) -> None:
    module = prepared(module)
    data = data_of(full_batch(module), n_classes_of(module))
    engine = CompiledModuleEngine(module, data, Config(weight_decay=0.0))
    state = engine.snapshot()
    loss = engine.run_epoch(1, [0.0]).step_losses[0]
    gradient = engine._gradient.copy()
    expected = gradients_by_autograd(module, data, int(Batches(data.batches).epoch(1).layer_keys[0]))
    named = Network(engine.network.program, gradient, engine.network.buffers).named()
    largest = max(np.abs(wanted).max() for wanted in expected.values())
    assert expected.keys() == named.keys() - {name for name, _ in module.named_buffers()}
    for name, wanted in expected.items():
        np.testing.assert_allclose(named[name], wanted, rtol=1e-9, atol=1e-9 * largest + 1e-15, err_msg=name)
    for place in np.random.default_rng(0).choice(gradient.size, min(12, gradient.size), replace=False):
        ends = []
        for side in (1e-5, -1e-5):
            moved = state["parameters"].copy()
            moved[place] += side
            engine.restore({**state, "parameters": moved})
            ends.append(engine.run_epoch(1, [0.0]).train_loss)
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(gradient[place], rel=1e-5, abs=1e-7)
    assert np.isfinite(loss)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("kind", ["logistic", "mlp", "residual", "clipped", "bins", "learned inputs"])
def test_after_200_steps_with_everything_on_the_engines_agree(kind: str, optimizer: str) -> None:
    modules = {
        "logistic": LogisticRegression(D_IN, 1),
        "mlp": MLP(D_IN, (8, 5), 3, "gelu", dropout=0.2),
        "residual": ResidualMLP(D_IN, (8, 5), 1, dropout=0.2),
        "clipped": nn.Sequential(SmoothClip(1.0), MLP(D_IN, (8, 5), 3)),
        "bins": nn.Sequential(bins_apart(), MLP(D_IN + 14, (18, 5), 3)),
        "learned inputs": nn.Sequential(
            numbers_scaled(QuantileScale(5, 4)), Periodic(5, 2, 0.4), Scale(D_IN + 10),
            MLP(D_IN + 10, (8, 5), 3, "selu", dropout=0.3, batch_norm=True),
        ),
    }  # fmt: skip
    config = Config(optimizer=optimizer, weight_decay=0.01, mixup_alpha=0.3, clip_norm=0.5)
    if kind in ("learned inputs", "mlp", "residual"):
        config = replace(config, decay_schedule="flat_cosine", dropout_schedule="flat_cosine", max_epochs=50)
    if kind == "learned inputs":
        config = replace(config, bias_rate_factor=0.1, scale_rate_factor=6.0)
    batches = BatchPlan(100, 32, 0.3, 0.5, has_batch_norm(modules[kind]), seed=0)
    data = data_of(batches, n_classes_of(modules[kind]))
    module, reference, other, compiled = both(prepared(modules[kind]), data, config)
    rates = [0.01 * 0.98**epoch for epoch in range(1, 51)]
    for epoch in range(1, 51):  # of four steps, the last one short
        expected, actual = reference.run_epoch(epoch, rates), compiled.run_epoch(epoch, rates)
        np.testing.assert_allclose(actual.step_losses, expected.step_losses, rtol=1e-8)
        np.testing.assert_allclose(actual.val_logits, expected.val_logits, rtol=1e-7, atol=1e-8)
    reference.release()
    compiled.release()
    assert largest_difference(module, other) < 1e-8


def test_each_group_of_parameters_has_a_rate_of_its_own() -> None:
    """One step of plain gradient descent, with factors of the rates and without: in both engines."""
    start = prepared(nn.Sequential(Periodic(5, 2, 0.4), Scale(D_IN + 10), MLP(D_IN + 10, (8,), 1)))
    data = data_of(full_batch(start), 2)
    steps: list[list[dict[str, torch.Tensor]]] = []
    for factors in ({}, {"bias_rate_factor": 0.1, "scale_rate_factor": 6.0}):
        config = Config(optimizer="sgd", momentum=0.0, weight_decay=0.0, **factors)
        module, reference, other, compiled = both(copy.deepcopy(start), data, config)
        for engine in (reference, compiled):
            engine.run_epoch(1, [0.5])
            engine.release()
        before = start.state_dict()
        steps.append([{name: new - before[name] for name, new in own.state_dict().items()} for own in (module, other)])
    for plain, with_factors in zip(*steps, strict=True):
        for name, step in plain.items():
            factor = 6.0 if name == "1.weight" else 0.1 if step.ndim == 1 else 1.0
            assert step.abs().max() > 1e-4
            torch.testing.assert_close(with_factors[name], factor * step, rtol=1e-9, atol=1e-12)


@st.composite
def networks(draw: st.DrawFn) -> nn.Sequential:
    """Any chain of layers of any widths."""
    layers: list[nn.Module] = []
    width = D_IN
    for _ in range(draw(st.integers(0, 4))):
        d_out = draw(st.integers(1, 9))
        layers.append(nn.Linear(width, d_out))
        width = d_out
        middle = draw(st.sampled_from([nn.BatchNorm1d(width), nn.LayerNorm(width), nn.Dropout(0.4), nn.Identity()]))
        layers += [
            middle,
            draw(st.sampled_from([nn.ReLU(), nn.SiLU(), nn.Tanh(), nn.GELU(), nn.Sigmoid(), nn.Mish(), nn.SELU()])),
        ]
    return nn.Sequential(*layers, nn.Linear(width, draw(st.integers(1, 4))))


@settings(max_examples=40, deadline=None)
@given(network=networks(), n_rows=st.integers(4, 40), batch_size=st.integers(2, 17))
def test_random_networks_agree(network: nn.Sequential, n_rows: int, batch_size: int) -> None:
    config = Config(optimizer="sgd", momentum=0.5, weight_decay=0.01, clip_norm=1.0)
    batches = BatchPlan(n_rows, batch_size, 0.2, 0.5, has_batch_norm(network), seed=0)
    data = data_of(batches, n_classes_of(network))
    module, reference, other, compiled = both(prepared(network), data, config)
    for epoch in (1, 2):
        expected, actual = reference.run_epoch(epoch, [0.05] * 2), compiled.run_epoch(epoch, [0.05] * 2)
        np.testing.assert_allclose(actual.val_logits, expected.val_logits, rtol=1e-6, atol=1e-7)
    reference.release()
    compiled.release()
    assert largest_difference(module, other) < 1e-7


@settings(max_examples=100, deadline=None)
@given(program=programs(max_width=9, has_inputs=False), n_rows=st.integers(4, 40), batch_size=st.integers(2, 17))
def test_networks_whose_values_are_read_many_times_agree(program: Program, n_rows: int, batch_size: int) -> None:
    """Sums of any values, read anywhere later: no module is lowered to these so far."""
    config = Config(optimizer="sgd", momentum=0.5, weight_decay=0.01, clip_norm=1.0)
    batches = BatchPlan(n_rows, batch_size, 0.2, 0.5, program.has_batch_norm, seed=0)
    data = data_of(batches, max(2, program.n_outputs), program.n_inputs)
    network = random_network(program, np.float64)
    module = to_module(network)
    reference, compiled = TorchEngine(module, data, config, CPU), CompiledEngine(network, data, config)
    for epoch in (1, 2):
        expected, actual = reference.run_epoch(epoch, [0.01] * 2), compiled.run_epoch(epoch, [0.01] * 2)
        np.testing.assert_allclose(actual.step_losses, expected.step_losses, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(actual.val_logits, expected.val_logits, rtol=1e-6, atol=1e-6)
    reference.release()
    compiled.release()
    for name, array in network_of(module, program).named().items():
        np.testing.assert_allclose(network.named()[name], array, rtol=1e-6, atol=1e-6, err_msg=name)


def test_a_whole_float32_run_on_breast_cancer_predicts_the_same() -> None:
    sample = load_sample("breast-cancer")
    table = Table.from_frame(sample.frame, sample.target, positive=sample.positive)
    config = Config(model="logistic", max_epochs=100, patience=None, batch_size=32)
    proba = [
        fit(table, replace(config, engine=engine), SMALL).predict_proba(table.X) for engine in ("torch", "compiled")
    ]
    np.testing.assert_allclose(proba[0], proba[1], atol=1e-4)


def test_full_batches_to_convergence_equal_scikit_learn_without_penalty() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = rng.random(200) < 1 / (1 + np.exp(-X @ [1.0, -2.0, 0.5]))
    module = nn.Linear(3, 1).double()
    data = data_of_inputs(X, np.eye(2)[y.astype(int)], X[:5], full_batch(module, 200))
    engine = CompiledModuleEngine(module, data, Config(optimizer="sgd", momentum=0.9, weight_decay=0.0))
    for epoch in range(1, 2001):
        engine.run_epoch(epoch, [0.5] * 2000)
    engine.release()
    expected = SklearnLogistic(C=np.inf, tol=1e-10, max_iter=1000).fit(data.reading.inputs(data.train).astype(float), y)
    np.testing.assert_allclose(module.weight.detach().numpy(), expected.coef_, atol=1e-4)
    np.testing.assert_allclose(module.bias.detach().numpy(), expected.intercept_, atol=1e-4)


def test_the_report_says_which_engine_ran() -> None:
    X = np.random.default_rng(0).normal(size=(60, 3))
    for engine in ("torch", "compiled"):
        report = fit(Table.from_arrays(X, X[:, 0] > 0), Config(model="logistic", engine=engine, max_epochs=2)).report
        assert (report.engine, report.device) == (engine, "cpu")


def test_the_kernels_are_plain_python_without_a_compiler() -> None:
    test = "test_every_gradient_is_that_of_autograd_and_of_central_differences[residual]"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::{test}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("batch_size", [4, 41])
@pytest.mark.parametrize("n_validation", [1, 3, 300, 512])
def test_the_longest_step_and_any_number_of_validation_rows_have_room(batch_size: int, n_validation: int) -> None:
    """The kernels check no bounds; a lone last row joins the step before it, which is then one row longer."""
    network = nn.Sequential(nn.Linear(D_IN, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)).double()
    data = data_of(BatchPlan(41, batch_size, 0.0, 0.0, needs_pairs=True, seed=0), 2, n_validation=n_validation)
    assert np.diff(data.batches.bounds).max() == (5 if batch_size == 4 else 41)
    module, reference, other, compiled = both(network, data, Config(optimizer="sgd"))
    for epoch in (1, 2):
        expected, actual = reference.run_epoch(epoch, [0.05] * 2), compiled.run_epoch(epoch, [0.05] * 2)
        assert actual.val_logits.shape == (n_validation, 1)
        np.testing.assert_allclose(actual.val_logits, expected.val_logits, rtol=1e-6, atol=1e-7)
    reference.release()
    compiled.release()
    assert largest_difference(module, other) < 1e-7


def mixed_data(config: Config, n_classes: int = 2, n_rows: int = 120) -> tuple[Table, Program, MemberData]:
    """Return a table of numbers and categories with missing cells, a network for it, and what its engine sees."""
    rng = np.random.default_rng(0)
    y = np.arange(n_rows) % n_classes
    city = rng.integers(12, size=n_rows)
    frame = {
        "age": np.where(rng.random(n_rows) < 0.2, np.nan, rng.normal(size=n_rows) + y),
        "sex": rng.choice(["f", "m"], n_rows),
        "city": [f"city {code}" for code in city],
        "shop": [f"shop {code}" for code in (city * 7 + y) % 30],
        "weather": rng.choice(["sun", "rain", ""], n_rows),
        "y": [f"class {code}" for code in y],
    }
    table = Table.from_frame(frame, "y")
    bins = table.bins(config)
    program = build_program(config, table.X.shape[1], n_classes, table.schema.encoding(config), sum(bins))
    split = train_validation_test_split(table, config)
    encoding = program.operations[0].encoding
    assert encoding is not None
    reading = make_reading(
        table.stored_rows(), encoding, *fit_on_training_rows(table, split, encoding, bins, config.scaling)
    )
    return table, program, member_data(table, split, config, reading, program.has_batch_norm)


@pytest.mark.parametrize("bins", [0, 4])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("model", ["logistic", "mlp", "residual"])
def test_the_engines_agree_on_categories_missing_cells_and_learned_vectors(
    model: str, n_classes: int, bins: int
) -> None:
    config = Config(
        model=model, hidden=(8,), batch_size=16, mixup_alpha=0.4, mixup_probability=0.6, clip_norm=0.5, bins=bins
    )
    table, program, data = mixed_data(config, n_classes)
    assert any(op.kind == "embed" for op in program.operations) == (model != "logistic")
    encoding = program.operations[0].encoding
    whole = build_model(config, table.X.shape[1], n_classes, encoding, program.n_bins).double()
    if bins:
        split = train_validation_test_split(table, config)
        statistics, _ = fit_on_training_rows(table, split, encoding, table.bins(config))
        for name in ("column", "lower", "inverse"):
            getattr(whole[2], name)[:] = torch.from_numpy(getattr(statistics, name))
    learning = prepared(nn.Sequential(*list(whole)[2:]))  # what comes after encoding and standardizing
    module, reference, other, compiled = both(learning, data, config)
    rates = [0.01] * 30
    for epoch in range(1, 31):
        expected, actual = reference.run_epoch(epoch, rates), compiled.run_epoch(epoch, rates)
        np.testing.assert_allclose(actual.step_losses, expected.step_losses, rtol=1e-8)
        np.testing.assert_allclose(actual.val_logits, expected.val_logits, rtol=1e-7, atol=1e-8)
    reference.release()
    compiled.release()
    assert largest_difference(module, other) < 1e-8


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
@pytest.mark.parametrize("model", ["logistic", "mlp", "residual"])
def test_a_trained_network_predicts_what_its_layers_compute_from_the_tables_inputs(model: str, scaling: str) -> None:
    """Encoding, scaling, bins and what is learned of inputs in the inference kernels, beside PyTorch's layers."""
    config = Config(model=model, hidden=(8,), bins=5, scaling=scaling)
    if scaling != "standard":
        config = replace(config, periodic=3, input_scale=True)
    table, program, _ = mixed_data(config, n_classes=3)
    encoding = program.operations[0].encoding
    assert encoding is not None
    split = train_validation_test_split(table, config)
    statistics, _ = fit_on_training_rows(table, split, encoding, table.bins(config), config.scaling)
    network = initialize_network(program, seed=0).with_statistics(statistics)
    assert program.n_bins == 5 * table.schema.n_numbers
    unseen = table.X[:1].copy()
    unseen[0, table.schema.n_numbers :] = [column.n_codes - 1 for column in table.schema.columns if column.n_codes]
    X = np.concatenate([table.X, unseen])
    module = to_module(network)
    with torch.no_grad():
        expected = module(torch.from_numpy(X)).double().numpy()
    actual = Inference([network]).logits(X)[:, 0]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    inputs = standardize(encode(table.X, encoding, statistics), statistics)
    rows = np.concatenate([split.validation, split.test])
    reading = make_reading(table.stored_rows(), encoding, statistics)
    np.testing.assert_allclose(reading.inputs(rows), inputs[rows], rtol=1e-5, atol=1e-6)


def test_the_compiled_engine_reads_rows_as_the_reading_says() -> None:
    config = Config(hidden=(8,))
    _, _, data = mixed_data(config, n_classes=3)
    reading, rows = data.reading, np.concatenate([data.train, data.validation.rows])
    inputs = np.empty((len(rows), reading.n_columns), np.float32)
    called_from_python(gather)(reading, rows, inputs)
    np.testing.assert_allclose(inputs, reading.inputs(rows), rtol=1e-6, atol=1e-7)
    assert len(np.unique(reading.fold[data.train])) == 5
    assert not reading.fold[data.validation.rows].any()

"""Any PyTorch module, trained in place with the loop and either of the engines, and left on its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import SINGLE, SMALL, config_of, logits_of, noisy_rows, table_of, trained_on
from torch import nn

from tabcohort import (
    Config,
    EngineError,
    Split,
    Standardize,
    TabcohortWarning,
    TableError,
    TrainingError,
    fit,
    initialize_weights,
    train,
)
from tabcohort.data.encoder import plain_encoding, store_rows
from tabcohort.data.splits import train_validation_test_split
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.protocol import MemberData
from tabcohort.engines.reading import make_reading
from tabcohort.evaluation.metrics import log_probabilities
from tabcohort.network.lower import lower, network_of
from tabcohort.network.models import SmoothClip, build_model
from tabcohort.network.program import Network, build_program, initialize_network
from tabcohort.training.loop import TrainingState
from tabcohort.training.member import fit_on_training_rows, member_data
from tabcohort.training.module import CompiledModuleEngine, TorchNetworkEngine, as_double, module_logits
from tabcohort.types import FloatArray


def test_the_trained_module_is_in_evaluation_mode_throughout() -> None:
    trained = trained_on(table_of(), config_of(dropout=0.5, batch_norm=True, max_epochs=2))
    assert not any(layer.training for layer in trained.module.modules())


def test_training_neither_depends_on_pytorchs_global_generator_nor_touches_it() -> None:
    X, y = noisy_rows(80)
    trained = []
    for global_seed in (1, 2):
        module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.AlphaDropout(0.2), nn.Linear(8, 1))
        initialize_weights(module, seed=0)
        torch.manual_seed(global_seed)
        before = torch.random.get_rng_state()
        trained.append(train(module, (X, y), config_of(batch_size=16, engine="torch")))
        assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(logits_of(trained[0], X), logits_of(trained[1], X))


def test_a_module_has_no_others_to_be_trained_with() -> None:
    with pytest.raises(EngineError, match="the engine 'batched' trains the members of a cohort together"):
        train(nn.Linear(4, 1), noisy_rows(60), config_of(engine="batched"))


def test_ctrl_c_gives_a_module_with_the_best_weights_so_far() -> None:
    def interrupt(state: TrainingState) -> None:
        if len(state.history) == 6:
            raise KeyboardInterrupt

    table = table_of()
    with pytest.warns(
        TabcohortWarning, match=r"^interrupted: the best weights so far are kept, those of epoch \d of 6$"
    ):
        interrupted = trained_on(table, config_of(), callback=interrupt)
    assert (interrupted.stop_reason, len(interrupted.history)) == ("interrupted", 6)
    whole = trained_on(table, config_of(max_epochs=6))
    np.testing.assert_array_equal(logits_of(interrupted, table.X), logits_of(whole, table.X))


def test_any_module_can_be_trained_in_double_precision_too() -> None:
    X, y = noisy_rows(90, 3)
    module = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.LayerNorm(12), nn.Linear(12, 3)).double()
    initialize_weights(module, seed=0)
    trained = train(module, (X, y), config_of(max_epochs=40))
    assert trained.module is module
    assert next(module.parameters()).dtype == torch.float64
    assert trained.history[-1].train_loss < 0.8 * trained.history[0].train_loss
    rows = trained.split.test
    proba = np.exp(log_probabilities(module_logits(as_double(module), X[rows])))
    assert (proba.argmax(axis=1) == y[rows]).mean() > 0.5  # of three classes


def test_a_module_starts_from_the_weights_that_it_comes_with() -> None:
    X, y = noisy_rows(60)
    module = nn.Linear(4, 1)
    with torch.no_grad():
        module.weight[:] = torch.tensor([[3.0, 0.0, 0.0, 0.0]])
        module.bias.zero_()
    before = module.weight.clone()
    train(module, (X, y), config_of(learning_rate=0.0, max_epochs=2))
    assert torch.equal(module.weight, before)


def test_a_target_of_one_column_is_a_target() -> None:
    X, y = noisy_rows(60)
    flat, column = nn.Linear(4, 1), nn.Linear(4, 1)
    for module, target in ((flat, y), (column, y[:, None])):
        initialize_weights(module, seed=0)
        train(module, (X, target), config_of())
    assert torch.equal(flat.weight, column.weight)


def test_a_module_of_one_dimension_is_an_error() -> None:
    module = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
    with pytest.raises(TrainingError, match=r"must return logits of shape .* for 2 rows it returned \(2,\)"):
        train(module, noisy_rows(60), config_of(engine="torch"))


def test_standardize_of_another_width_is_an_error() -> None:
    module = nn.Sequential(Standardize(3), nn.Linear(3, 1))
    with pytest.raises(TrainingError, match=r"^Standardize has 3 features; the table has 4$"):
        train(module, noisy_rows(60), config_of())


@pytest.mark.parametrize("data", [None, (np.ones((4, 2)),), [np.ones((4, 2)), np.ones(4)], (1, 2, 3, 4)])
def test_data_that_is_neither_table_nor_arrays_is_an_error(data: Any) -> None:
    with pytest.raises(TrainingError, match=r"the data must be a Table or arrays \(X, y\) or \(X, y, sample_weight\)"):
        train(nn.Linear(2, 1), data, config_of())


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(4, 4), Standardize(4), nn.Linear(4, 1)),
        nn.Sequential(Standardize(4), Standardize(4), nn.Linear(4, 1)),
        nn.Sequential(nn.Sequential(Standardize(4), nn.Linear(4, 1))),
        Standardize(4),
    ],
    ids=["second", "twice", "nested", "alone"],
)
def test_standardize_in_another_place_is_an_error(module: nn.Module) -> None:
    if isinstance(module, Standardize):
        module = nn.ModuleDict({"first": module})
    with pytest.raises(TrainingError, match=r"Standardize can be fitted only as the first layer of an nn\.Sequential"):
        train(module, noisy_rows(60), config_of())


def test_after_a_divergence_the_module_is_left_on_its_own() -> None:
    module = nn.Sequential(Standardize(4), nn.Linear(4, 8), nn.Linear(8, 1))
    initialize_weights(module, seed=0)
    with pytest.raises(TrainingError, match="stopped being finite"):
        train(module, noisy_rows(60), config_of(optimizer="sgd", learning_rate=1e30, batch_size=16))
    parameters = list(module.parameters())
    assert len({parameter.untyped_storage().data_ptr() for parameter in parameters}) == len(parameters) == 4
    assert all(parameter.grad is None for parameter in parameters)
    assert not any(layer.training for layer in module.modules())


def test_a_split_beyond_the_table_is_an_error() -> None:
    split = Split(np.arange(40), np.arange(40, 50), np.array([60]))
    with pytest.raises(TrainingError, match=r"^the split has row 60, counted from 0, and the table has 60 rows$"):
        trained_on(noisy_rows(60), config_of(), split=split)


def test_a_split_of_plain_lists_trains() -> None:
    lists = Split(list(range(40)), list(range(40, 50)), list(range(50, 60)))  # type: ignore[arg-type]
    arrays = Split(np.arange(40), np.arange(40, 50), np.arange(50, 60))
    X, y = noisy_rows(60)
    one, other = (trained_on((X, y), config_of(max_epochs=2), split=split) for split in (lists, arrays))
    np.testing.assert_array_equal(logits_of(one, X), logits_of(other, X))


def test_rows_that_are_not_numbers_are_an_error() -> None:
    with pytest.raises(TableError, match="the rows and their weights must be arrays of numbers"):
        train(nn.Linear(1, 1), ([["red"], ["blue"]], [0, 1]))


def test_a_split_beside_rows_of_weight_zero_is_an_error_because_those_rows_are_left_out() -> None:
    weight = np.ones(60)
    weight[:10] = 0  # without these rows every other row has another number
    split = Split(np.arange(10, 40), np.arange(40, 45), np.arange(45, 50))
    with pytest.raises(TrainingError, match=r"^rows of weight 0 are left out, so a split would mean other rows; leave"):
        trained_on((*noisy_rows(60), weight), config_of(), split=split)


def test_batches_without_any_update_leave_the_module_as_it_was() -> None:
    X, y = noisy_rows(60)
    module = nn.Sequential(nn.BatchNorm1d(X.shape[1]), nn.Linear(X.shape[1], 1))
    with pytest.raises(TrainingError, match="batch normalisation needs two rows in a step"):
        train(module, (X, y), config_of(batch_size=1))
    assert all(parameter.grad is None for parameter in module.parameters())
    assert len({parameter.untyped_storage().data_ptr() for parameter in module.parameters()}) == 4


@pytest.mark.parametrize("weight", [np.ones(5), np.where(np.arange(60) == 3, -1.0, 1.0), np.full(60, np.nan)])
def test_weights_that_do_not_fit_the_rows_are_an_error(weight: FloatArray) -> None:
    with pytest.raises(TableError, match="weight"):
        trained_on((*noisy_rows(60), weight), config_of())


# Two engines


MODELS: dict[str, dict[str, Any]] = {
    "logistic": {"model": "logistic"},
    "mlp": {"hidden": (9, 5), "activation": "gelu"},
    "everything": {
        "hidden": (9, 5), "batch_norm": True, "dropout": 0.2, "mixup_alpha": 0.3, "clip_norm": 0.5, "batch_size": 16,
        "label_smoothing": 0.1, "schedule": "cosine", "class_weight": "balanced", "optimizer": "sgd",
    },
    "residual": {"model": "residual", "hidden": (9, 9, 4), "optimizer": "sgd", "dropout": 0.2},
}  # fmt: skip


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("model", MODELS)
def test_fit_by_pytorch_and_by_the_compiled_engine_predict_the_same(model: str, n_classes: int) -> None:
    table = table_of(n_classes=n_classes)
    predictors = [fit(table, config_of(engine=engine, **MODELS[model]), SMALL) for engine in ("torch", "auto")]
    assert [predictor.report.engine for predictor in predictors] == ["torch", "compiled"]
    for one, other in zip(*(predictor.report.members for predictor in predictors), strict=True):
        assert one.best_epoch == other.best_epoch
    proba = [predictor.predict_proba(table.X) for predictor in predictors]
    np.testing.assert_allclose(proba[0], proba[1], atol=1e-4)
    for one, other in zip(*(predictor.models for predictor in predictors), strict=True):
        for name, array in one.named().items():
            close = 1e-3 * max(1.0, np.abs(array).max())
            np.testing.assert_allclose(other.named()[name], array, atol=close, err_msg=name)


@pytest.mark.parametrize("engine", ["torch", "compiled"])
@pytest.mark.parametrize("model", MODELS)
def test_fit_is_train_of_the_module_that_the_config_names(model: str, engine: str) -> None:
    """The rows that a cohort shares are stored around another origin than those of a single training."""
    table, config = table_of(n_classes=3), config_of(engine=engine, **MODELS[model])
    trained, predictor = trained_on(table, config, n_classes=3), fit(table, config, SINGLE)
    state = trained.module.state_dict()
    (network,), (report,) = predictor.models, predictor.report.members
    for name, array in network.named().items():
        expected = state[name].numpy()
        np.testing.assert_allclose(array, expected, atol=1e-4 * max(1.0, np.abs(expected).max()), err_msg=name)
    losses = [[(record.train_loss, record.val_loss) for record in run.history] for run in (trained, report)]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert (report.best_epoch, report.stop_reason) == (trained.best_epoch, trained.stop_reason)
    np.testing.assert_allclose(
        predictor.member_logits(table.X)[:, 0], logits_of(trained, table.X), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("middle", [nn.Softplus(), nn.RReLU(0.1, 0.3)], ids=["softplus", "rrelu"])
def test_a_layer_that_only_pytorch_knows_is_named_and_pytorch_trains_it(middle: nn.Module) -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.Sequential(middle), nn.Linear(6, 1))
    initialize_weights(module, seed=0)
    alone = copy.deepcopy(module)
    words = rf"^the layer '1\.0' \({type(middle).__name__}\(.*\) cannot be compiled, so PyTorch trains it, more slowly$"
    with pytest.warns(TabcohortWarning, match=words) as warned:
        trained = train(module, noisy_rows(), config_of())
    assert [warning.filename for warning in warned] == [__file__]  # where train was called
    assert (trained.engine, trained.device) == ("torch", "cpu")
    silent = train(alone, noisy_rows(), config_of(engine="torch"))  # warns of nothing
    assert_same_numbers(trained.module, silent.module)
    with pytest.raises(EngineError, match=r"the layer '1\.0' .* cannot be compiled; train it with engine='torch'"):
        train(alone, noisy_rows(), config_of(engine="compiled"))


def assert_same_numbers(one: nn.Module, other: nn.Module) -> None:
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


class Skipping(nn.Module):
    """A network of one's own, of several layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x + self.first(x))


def test_a_network_of_ones_own_is_trained_by_pytorch_with_a_warning_of_one_line() -> None:
    with pytest.warns(TabcohortWarning) as warned:
        trained = train(Skipping(), noisy_rows(), config_of(max_epochs=2))
    (line,) = str(warned[0].message).splitlines()
    assert line.startswith("the module (Skipping")
    assert line.endswith("cannot be compiled, so PyTorch trains it, more slowly")
    assert trained.engine == "torch"


def test_a_module_with_a_frozen_parameter_is_trained_by_pytorch_and_the_parameter_stays() -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
    module[0].weight.requires_grad_(False)
    before = copy.deepcopy(module)
    with pytest.warns(
        TabcohortWarning, match=r"^the parameter '0\.weight' is frozen and cannot be compiled, so PyTorch"
    ):
        train(module, noisy_rows(), config_of())
    assert torch.equal(module[0].weight, before[0].weight)
    assert not torch.equal(module[2].weight, before[2].weight)


@pytest.mark.parametrize("engine", ["torch", "compiled"])
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_engine_that_is_asked_for_trains_a_module(engine: str, device: str) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
    trained = train(module, noisy_rows(), config_of(engine=engine, device=device, max_epochs=30, learning_rate=0.05))
    assert (trained.engine, trained.device) == (engine, "cpu")
    assert trained.history[-1].train_loss < 0.9 * trained.history[0].train_loss


def inputs_of_one() -> nn.Sequential:
    return nn.Sequential(Standardize(4), SmoothClip(1.5), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


@pytest.mark.parametrize("mixup_alpha", [0.0, 0.5])
@pytest.mark.parametrize(
    "make",
    [inputs_of_one, lambda: nn.Sequential(Standardize(4), nn.Sequential(*inputs_of_one()[1:]))],
    ids=["in front", "within"],
)
def test_rows_are_standardized_and_clipped_alike_by_both_engines(
    make: Callable[[], nn.Sequential], mixup_alpha: float
) -> None:
    X, y = noisy_rows(120, 3)
    X[::7] *= 1e3  # what is clipped
    logits = []
    for engine in ("torch", "compiled"):
        module = make()
        initialize_weights(module, seed=0)
        config = config_of(engine=engine, mixup_alpha=mixup_alpha, mixup_probability=1.0, batch_size=16)
        trained = train(module, (X + 1e6, y), config)
        np.testing.assert_allclose(module[0].center, (X + 1e6)[trained.split.train].mean(axis=0), rtol=1e-12)
        logits.append(logits_of(trained, X + 1e6))
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-3)


# The engines of modules and of networks


def member_of(network: Network, config: Config) -> MemberData:
    """Return the data of a network's only member on a small table, whose rows are standardized."""
    table = table_of()
    split = train_validation_test_split(table, config)
    statistics, _ = fit_on_training_rows(table, split)
    reading = make_reading(store_rows(table.X, statistics), plain_encoding(4), statistics)
    return member_data(table, split, config, reading, network.program.has_batch_norm)


def test_a_network_trains_as_the_pytorch_module_of_its_config() -> None:
    config = config_of(hidden=(6,), batch_norm=True, dropout=0.2, optimizer="sgd")
    program = build_program(config, 4, 2)
    network, twin = (initialize_network(program, seed=3) for _ in range(2))
    data = member_of(network, config)
    engine, compiled = TorchNetworkEngine(network, data, config), CompiledEngine(twin, data, config)
    before = network.parameters.copy()
    for epoch in (1, 2, 3):
        losses = [trainer.run_epoch(epoch, [0.01] * 3).val_loss for trainer in (engine, compiled)]
        np.testing.assert_allclose(*losses, rtol=1e-4)
    assert np.array_equal(network.parameters, before)  # not before it is released
    engine.release()
    compiled.release()
    assert not np.array_equal(network.parameters, before)
    np.testing.assert_allclose(network.parameters, twin.parameters, atol=1e-4)
    np.testing.assert_allclose(network.buffers, twin.buffers, atol=1e-4)


def test_a_module_that_the_compiled_engine_trained_has_its_numbers_when_it_is_released() -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 1))
    before = copy.deepcopy(module.state_dict())
    config = config_of()
    data = member_of(network_of(module, lower(module, 4)), config)
    engine = CompiledModuleEngine(module.train(), data, config)
    engine.run_epoch(1, [0.01])
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    engine.release()
    assert not module.training
    state = engine.snapshot()
    expected = Network(engine.network.program, state["parameters"], state["buffers"]).named()
    for name, tensor in module.state_dict().items():
        if "num_batches" not in name:
            np.testing.assert_array_equal(tensor.numpy(), expected[name].astype(np.float32))
            assert not torch.equal(tensor, before[name]), name


# What a module keeps


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_a_module_keeps_its_own_parameters_and_their_gradients_are_none(engine: str) -> None:
    module = nn.Sequential(Standardize(4), nn.Linear(4, 6), nn.Tanh(), nn.BatchNorm1d(6), nn.Linear(6, 1))
    before = dict(module.named_parameters())
    numbers = copy.deepcopy(module.state_dict())
    train(module, noisy_rows(), config_of(engine=engine, max_epochs=3))
    after = dict(module.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in after.values())
    assert list(module.state_dict()) == list(numbers)
    for name, tensor in module.state_dict().items():
        assert tensor.dtype == numbers[name].dtype, name
        assert not torch.equal(tensor, numbers[name]) or "num_batches" in name, name
    assert len({parameter.untyped_storage().data_ptr() for parameter in after.values()}) == len(after)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_compiled_training_works_in_the_modules_own_precision(dtype: torch.dtype) -> None:
    states = {}
    for engine in ("torch", "compiled"):
        module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
        initialize_weights(module, seed=0)
        states[engine] = train(module, noisy_rows(90, 3), config_of(engine=engine, batch_size=16)).module.state_dict()
    for name, tensor in states["torch"].items():
        difference = (tensor - states["compiled"][name]).abs().max()
        assert difference < (1e-4 if dtype == torch.float32 else 1e-11), name


def test_a_module_of_half_precision_is_an_error() -> None:
    with (
        pytest.warns(TabcohortWarning, match=r"^the parameter 'weight' is torch\.float16 and cannot be compiled"),
        pytest.raises(TrainingError, match=r"must be float32 or float64; they are torch\.float16"),
    ):
        train(nn.Linear(4, 1, dtype=torch.float16), noisy_rows(), config_of())


# Modules that do not fit the table


@pytest.mark.parametrize("engine", ["torch", "compiled", "auto"])
@pytest.mark.parametrize(
    ("n_outputs", "n_classes", "words"),
    [
        (3, 2, r"of shape \(n, 2\) or \(n, 1\) for 2 classes; for 2 rows it returned \(2, 3\)"),
        (1, 3, r"of shape \(n, 3\) for 3 classes; for 2 rows it returned \(2, 1\)"),
        (2, 3, r"of shape \(n, 3\) for 3 classes; for 2 rows it returned \(2, 2\)"),
    ],
)
def test_logits_of_another_number_of_classes_are_an_error(
    n_outputs: int, n_classes: int, words: str, engine: str
) -> None:
    with pytest.raises(TrainingError, match=f"the module must return logits {words}"):
        train(nn.Linear(4, n_outputs), noisy_rows(60, n_classes), config_of(engine=engine))


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_one_logit_per_class_is_allowed_for_two_classes_too(engine: str) -> None:
    module = nn.Linear(4, 2)
    trained = train(module, noisy_rows(), config_of(engine=engine, max_epochs=30, learning_rate=0.05))
    assert trained.history[-1].train_loss < 0.9 * trained.history[0].train_loss


# Logits


def test_no_rows_have_no_logits_also_behind_batch_norm() -> None:
    module = as_double(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    assert module_logits(module, np.empty((0, 4))).shape == (0, 3)


def test_logits_of_rows_that_cannot_be_written_to_come_without_a_warning() -> None:
    """PyTorch warns of such arrays, once in a process unless it is asked to again."""
    module, X = as_double(nn.Linear(4, 1)), noisy_rows()[0]
    expected = module_logits(module, X)
    X.flags.writeable = False
    torch.set_warn_always(True)
    try:
        np.testing.assert_array_equal(module_logits(module, X), expected)
    finally:
        torch.set_warn_always(False)


def test_a_copy_in_double_precision_leaves_the_module_as_it_is() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).train()
    copied = as_double(module)
    assert (copied[0].weight.dtype, module[0].weight.dtype) == (torch.float64, torch.float32)
    assert (copied.training, module.training) == (False, True)
    assert torch.equal(copied[0].weight.float(), module[0].weight)


@pytest.mark.parametrize("scaling", ["robust", "quantile"])
def test_a_layer_that_scales_numbers_is_fitted_with_standardize(scaling: str) -> None:
    X, y = np.exp(np.random.default_rng(0).normal(size=(120, 2))), np.arange(120) % 2
    module = build_model(Config(hidden=(4,), scaling=scaling), 2, 2)
    trained = train(module, (X, y), Config(max_epochs=2))
    numbers = module[1](module[0](torch.from_numpy(X[trained.split.train]))).detach().numpy()
    np.testing.assert_allclose(np.median(numbers, axis=0), 0, atol=0.05)
    assert trained.engine == "compiled"

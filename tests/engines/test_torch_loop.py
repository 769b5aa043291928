"""The PyTorch engine: steps, epochs, mixup and state, against a loop of plain PyTorch."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from helpers import data_of_inputs
from torch import Tensor

from tabcohort.engines import torch_loop
from tabcohort.engines.batches import Batches, BatchPlan, EpochBatches
from tabcohort.engines.protocol import MemberData
from tabcohort.engines.torch_loop import (
    FlatParameters,
    TorchEngine,
    check_logits,
    choose_device,
    has_batch_norm,
    logits_in_eval_mode,
    loss_sum,
    one_thread,
)
from tabcohort.errors import TabcohortWarning, TrainingError
from tabcohort.network.models import MLP, LogisticRegression, ResidualMLP, initialize_weights
from tabcohort.settings import Config

CPU = torch.device("cpu")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def data_of(
    n_rows: int = 50, n_classes: int = 2, weighted: bool = False, batch_size: int = 16, **changes: Any
) -> MemberData:
    """Return the data of random rows with four features; `changes` are made to the plan of its batches."""
    rng = np.random.default_rng(7)
    targets = np.eye(n_classes)[rng.integers(n_classes, size=n_rows)]
    if weighted:
        targets *= rng.uniform(0.5, 2, (n_rows, 1))
    train, validation = rng.normal(size=(n_rows, 4)), rng.normal(size=(9, 4))
    values = {"mixup_alpha": 0.0, "mixup_probability": 0.5, "needs_pairs": False, "seed": 3, "member": 0, **changes}
    return data_of_inputs(train, targets, validation, BatchPlan(n_rows, batch_size, **values))


def epoch_of(data: MemberData, epoch: int = 1) -> EpochBatches:
    return Batches(data.batches).epoch(epoch)


def targets_of(data: MemberData) -> Tensor:
    return torch.from_numpy(data.soft_targets).double()


def inputs_of(data: MemberData) -> Tensor:
    return torch.from_numpy(data.reading.inputs(data.train)).double()


def val_inputs_of(data: MemberData) -> Tensor:
    return torch.from_numpy(data.reading.inputs(data.validation.rows)).double()


def network(n_classes: int = 2, dtype: torch.dtype = torch.float64, **changes: Any) -> nn.Module:
    changes = {"activation": "tanh", **changes}
    module = MLP(4, (6, 5), 1 if n_classes == 2 else n_classes, **changes).to(dtype)
    initialize_weights(module, seed=1)
    return module


def copy_of_values(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


class Recorder(nn.Module):
    """A linear layer that keeps the inputs and logits of its training steps."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1, dtype=torch.float64)
        initialize_weights(self, seed=2)
        self.steps: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        logits = self.linear(x)
        if self.training:
            self.steps.append((x.detach().clone(), logits.detach().clone()))
        return logits


# Steps

OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.8),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.02, betas=(0.8, 0.95), eps=1e-7),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.02, betas=(0.8, 0.95), eps=1e-7),
}


def train_plainly(module: nn.Module, data: MemberData, config: Config, n_epochs: int) -> None:
    """The loop that anyone would write with torch.optim, on the batches of the plan."""
    dtype = next(module.parameters()).dtype
    inputs, targets = inputs_of(data).to(dtype), targets_of(data).to(dtype)
    decays = [parameter for name, parameter in module.named_parameters() if parameter.ndim == 2]
    others = [parameter for name, parameter in module.named_parameters() if parameter.ndim == 1]
    optimizer = OPTIMIZERS[config.optimizer](
        [{"params": decays, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    )
    module.train()
    for epoch in range(1, n_epochs + 1):
        batches = epoch_of(data, epoch)
        for start, stop in zip(batches.bounds, batches.bounds[1:], strict=False):
            rows = torch.from_numpy(batches.order[start:stop])
            logits, target = module(inputs[rows]), targets[rows]
            if logits.shape[1] == 1:
                weight = target.sum(dim=1)
                loss = F.binary_cross_entropy_with_logits(logits[:, 0], target[:, 1] / weight, weight)
            else:
                loss = -(target * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
            optimizer.zero_grad()
            loss.backward()
            if config.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(module.parameters(), config.clip_norm)
            optimizer.step()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_epochs_equal_a_plain_pytorch_loop(
    optimizer: str, decay: float, n_classes: int, dtype: torch.dtype, tolerance: float
) -> None:
    momenta: dict[str, Any] = {"momentum": 0.8, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-7}
    rate = 0.05 if optimizer == "sgd" else 0.02
    config = Config(optimizer=optimizer, weight_decay=decay, learning_rate=rate, **momenta)
    data = data_of(n_classes=n_classes, weighted=decay > 0)
    module = network(n_classes, dtype)
    plain = copy.deepcopy(module)
    train_plainly(plain, data, config, n_epochs=4)
    engine = TorchEngine(module, data, config, CPU)
    start = engine.parameters.values.clone()
    for epoch in range(1, 5):
        engine.run_epoch(epoch, [rate] * 4)
    assert (engine.parameters.values - start).abs().max() > 0.01
    for parameter, expected in zip(module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, rtol=tolerance, atol=tolerance)


def test_epochs_with_batch_norm_and_clipping_equal_a_plain_pytorch_loop() -> None:
    config = Config(optimizer="sgd", momentum=0.8, weight_decay=0.1, learning_rate=0.05, clip_norm=0.3)
    data = data_of(49, needs_pairs=True)  # 16, 16 and 17 rows
    module = network(batch_norm=True)
    plain = copy.deepcopy(module)
    train_plainly(plain, data, config, n_epochs=3)
    engine = TorchEngine(module, data, config, CPU)
    for epoch in (1, 2, 3):
        engine.run_epoch(epoch, [0.05] * 3)
    assert int(plain.layers[1].num_batches_tracked) == 9
    for name, expected in plain.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], expected, rtol=1e-11, atol=1e-11, msg=name)


def test_the_rate_of_an_epoch_is_its_own_of_those_given() -> None:
    steps = []
    for rates in ([0.1], [0.3], [0.3, 0.7, 0.9]):
        module = network()
        config = Config(optimizer="sgd", momentum=0.0, weight_decay=0.0)
        engine = TorchEngine(module, data_of(batch_size=50), config, CPU)
        start = engine.parameters.values.clone()
        engine.run_epoch(1, rates)
        steps.append(engine.parameters.values - start)
    torch.testing.assert_close(steps[1], 3 * steps[0])
    assert torch.equal(steps[1], steps[2])
    engine.run_epoch(2, rates)
    twin = TorchEngine(network(), data_of(batch_size=50), config, CPU)
    for epoch, own in ((1, [0.3]), (2, [9.9, 0.7])):
        twin.run_epoch(epoch, own)
    assert torch.equal(engine.parameters.values, twin.parameters.values)


def test_vectors_do_not_decay_and_matrices_do() -> None:
    data = data_of(batch_size=50)
    data.soft_targets[:] = 1e-30  # next to no gradient: all that moves is what decays
    config = Config(optimizer="sgd", momentum=0.0, weight_decay=0.5)
    module = ResidualMLP(4, (6,), 1).double()
    initialize_weights(module, seed=0)
    for parameter in module.parameters():
        parameter.data += 0.25
    start = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    TorchEngine(module, data, config, CPU).run_epoch(1, [0.1])
    for name, parameter in module.named_parameters():
        share = 0.95 if name.endswith("weight") and parameter.ndim == 2 else 1.0
        torch.testing.assert_close(parameter.detach(), share * start[name], rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("clip_norm", [0.01, 0.1, 1e6])
def test_clipping_is_by_the_global_norm_as_in_pytorch(clip_norm: float) -> None:
    data = data_of(batch_size=50)
    module = network(dtype=torch.float64)
    plain = copy.deepcopy(module)
    config = Config(optimizer="sgd", momentum=0.0, weight_decay=0.0, clip_norm=clip_norm)
    engine = TorchEngine(module, data, config, CPU)
    start = engine.parameters.values.clone()
    engine.run_epoch(1, [1.0])
    update = start - engine.parameters.values

    F.binary_cross_entropy_with_logits(plain(inputs_of(data))[:, 0], targets_of(data)[:, 1]).backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), clip_norm)
    assert 0.1 < norm < 1e6
    expected = torch.cat([p.grad.reshape(-1) for p in sorted(plain.parameters(), key=lambda p: p.ndim < 2)])
    torch.testing.assert_close(update, expected, rtol=1e-9, atol=1e-12)
    assert update.norm() <= clip_norm * (1 + 1e-9)


# Epochs


@pytest.mark.parametrize(("n_rows", "batch_size"), [(20, 16), (50, 7), (20, 20), (33, 32)])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_at_rate_zero_the_losses_of_an_epoch_add_up_to_one_full_pass(
    n_rows: int, batch_size: int, n_classes: int
) -> None:
    data, module = data_of(n_rows, n_classes, batch_size=batch_size), network(n_classes)
    engine = TorchEngine(module, data, Config(weight_decay=0.0), CPU)
    batches, result = epoch_of(data), engine.run_epoch(1, [0.0])
    logits = logits_in_eval_mode(module, inputs_of(data))
    targets = targets_of(data)
    losses = np.array([loss_sum(logits[[row]], targets[[row]]).item() for row in range(n_rows)])
    assert result.step_losses.sum() == pytest.approx(losses.sum(), rel=1e-12)
    assert result.train_loss == pytest.approx(losses.mean(), rel=1e-12)
    for step in range(batches.n_steps):
        rows = batches.order[batches.bounds[step] : batches.bounds[step + 1]]
        assert result.step_losses[step] == pytest.approx(losses[rows].sum(), rel=1e-12)
    if n_rows == 20 and batch_size == 16:
        mean_of_means = (result.step_losses / np.diff(batches.bounds)).mean()
        assert abs(mean_of_means / losses.mean() - 1) > 0.001
    torch.testing.assert_close(torch.from_numpy(result.val_logits), logits_in_eval_mode(module, val_inputs_of(data)))


@pytest.mark.parametrize("n_rows", [2, 3, 5, 17, 33, 65])
@pytest.mark.parametrize("batch_size", [2, 16, 32])
def test_batch_norm_trains_on_any_number_of_rows(n_rows: int, batch_size: int) -> None:
    module = network(batch_norm=True)
    assert has_batch_norm(module)
    data = data_of(n_rows, batch_size=batch_size, needs_pairs=True)
    result = TorchEngine(module, data, Config(), CPU).run_epoch(1, [0.01])
    assert np.isfinite(result.step_losses).all()
    assert np.isfinite(result.val_logits).all()
    assert result.is_finite


def test_validation_rows_are_passed_in_evaluation_mode() -> None:
    module = network(batch_norm=True, dropout=0.5)
    data = data_of()
    result = TorchEngine(module, data, Config(), CPU).run_epoch(1, [0.05])
    alone = np.concatenate([module.eval()(row).detach().numpy() for row in val_inputs_of(data).split(1)])
    np.testing.assert_allclose(result.val_logits, alone, rtol=1e-12)


def test_a_long_table_is_passed_in_pieces_without_loss() -> None:
    module = network()
    inputs = normal(2 * torch_loop.ROWS_PER_PASS + 3, 4)
    torch.testing.assert_close(
        logits_in_eval_mode(module, inputs), module.eval()(inputs).detach(), rtol=1e-12, atol=1e-12
    )


# Mixup


def test_a_mixed_step_trains_on_mixed_inputs_with_mixed_targets() -> None:
    data, module = data_of(40, mixup_alpha=0.6, mixup_probability=0.7, seed=6), Recorder()
    batches = epoch_of(data, 2)
    assert 0 < (batches.mix < 1).sum() < batches.n_steps
    result = TorchEngine(module, data, Config(), CPU).run_epoch(2, [0.01] * 2)
    train_inputs = data.reading.inputs(data.train)
    for step, (inputs, logits) in enumerate(module.steps):
        here = slice(batches.bounds[step], batches.bounds[step + 1])
        rows, own = batches.order[here], batches.mix[step]
        partners = rows[batches.partners[here]]
        mixed = own * train_inputs[rows] + (1 - own) * train_inputs[partners]
        target = own * data.soft_targets[rows] + (1 - own) * data.soft_targets[partners]
        np.testing.assert_allclose(inputs, mixed, atol=1e-6)
        soft = F.binary_cross_entropy_with_logits(logits[:, 0], torch.from_numpy(target[:, 1]), reduction="sum")
        assert result.step_losses[step] == pytest.approx(soft.item(), rel=1e-6)
        if own < 1:
            hard = F.binary_cross_entropy_with_logits(
                logits[:, 0], torch.from_numpy(data.soft_targets[rows, 1]).double(), reduction="sum"
            )
            assert abs(result.step_losses[step] - hard.item()) > 1e-3


def test_mixed_row_weights_stay_with_their_targets() -> None:
    data = data_of(40, weighted=True, batch_size=40, mixup_alpha=1.0, mixup_probability=1.0)
    module, batches = Recorder(), epoch_of(data)
    result = TorchEngine(module, data, Config(), CPU).run_epoch(1, [0.0])
    logits, own = module.steps[0][1][:, 0], batches.mix[0]
    targets = own * data.soft_targets + (1 - own) * data.soft_targets[batches.partners]
    log_proba = torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], dim=1).numpy()
    assert result.step_losses[0] == pytest.approx(-(targets * log_proba).sum(), rel=1e-6)


# Random layers


def test_random_layers_depend_on_the_batches_and_not_on_pytorchs_global_state() -> None:
    def trained(global_seed: int) -> Tensor:
        torch.manual_seed(global_seed)
        module = nn.Sequential(nn.Linear(4, 6, dtype=torch.float64), nn.AlphaDropout(0.3), nn.RReLU(), nn.Linear(6, 1))
        module = module.double()
        initialize_weights(module, seed=0)
        before = torch.random.get_rng_state()
        engine = TorchEngine(module, data_of(), Config(), CPU)
        engine.run_epoch(1, [0.01])
        assert torch.equal(before, torch.random.get_rng_state())
        return engine.parameters.values

    assert torch.equal(trained(1), trained(2))


# State


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_that_is_restored_gives_the_same_bits_again(optimizer: str) -> None:
    data = data_of(needs_pairs=True)
    engine = TorchEngine(network(batch_norm=True, dropout=0.2), data, Config(optimizer=optimizer), CPU)
    rates = [0.01] * 2
    engine.run_epoch(1, rates)
    kept = engine.snapshot()
    copies = {name: array.copy() for name, array in kept.items()}
    first, state = engine.run_epoch(2, rates), engine.snapshot()
    changed = {name for name, array in state.items() if not np.array_equal(array, kept[name])}
    assert changed == set(state)
    engine.restore(kept)
    second = engine.run_epoch(2, rates)
    np.testing.assert_array_equal(first.val_logits, second.val_logits)
    np.testing.assert_array_equal(first.step_losses, second.step_losses)
    for name, array in engine.snapshot().items():
        np.testing.assert_array_equal(array, state[name])
        np.testing.assert_array_equal(kept[name], copies[name])  # nothing wrote to it


def test_the_state_holds_parameters_buffers_and_moments() -> None:
    engine = TorchEngine(network(batch_norm=True), data_of(), Config(), CPU)
    buffers = {f"buffer.{name}" for name, _ in engine.module.named_buffers()}
    assert len(buffers) == 6
    assert set(engine.snapshot()) == {"parameters", "exp_avg", "exp_avg_sq"} | buffers
    sgd = TorchEngine(network(), data_of(), Config(optimizer="sgd"), CPU)
    assert set(sgd.snapshot()) == {"parameters", "momentum"}


def test_a_released_module_is_in_evaluation_mode_with_storage_of_its_own() -> None:
    module = network(batch_norm=True)
    engine = TorchEngine(module, data_of(needs_pairs=True), Config(), CPU)
    engine.run_epoch(1, [0.01])
    trained = copy_of_values(module)
    engine.release()
    engine.parameters.values.zero_()
    assert not module.training
    assert len({parameter.untyped_storage().data_ptr() for parameter in module.parameters()}) == 10
    for name, parameter in module.named_parameters():
        assert parameter.grad is None
        assert torch.equal(parameter, trained[name])


def test_frozen_parameters_stay_as_they_are() -> None:
    module = network()
    module.layers[0].weight.requires_grad_(False)
    before = copy_of_values(module)
    TorchEngine(module, data_of(), Config(weight_decay=0.1), CPU).run_epoch(1, [0.1])
    after = module.state_dict()
    assert torch.equal(before["layers.0.weight"], after["layers.0.weight"])
    assert not torch.equal(before["layers.2.weight"], after["layers.2.weight"])


def test_an_epoch_leaves_the_number_of_threads_as_it_was() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with one_thread():
            assert torch.get_num_threads() == 1
        TorchEngine(network(), data_of(), Config(), CPU).run_epoch(1, [0.1])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


# Errors


class Flat(nn.Module):
    """Returns `(n,)`."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)[:, 0]


class Pair(Flat):
    """Returns a tuple."""

    def forward(self, x: Tensor) -> Tensor:
        return x, x  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("module", "n_classes", "words"),
    [
        (Flat(), 2, "of shape (n, 2) or (n, 1) for 2 classes; for 2 rows it returned (2,)"),
        (nn.Linear(4, 3), 2, "of shape (n, 2) or (n, 1) for 2 classes; for 2 rows it returned (2, 3)"),
        (nn.Linear(4, 1), 3, "of shape (n, 3) for 3 classes; for 2 rows it returned (2, 1)"),
        (nn.Flatten(0), 2, "of shape (n, 2) or (n, 1) for 2 classes; for 2 rows it returned (8,)"),
    ],
)
def test_logits_of_another_shape_are_an_error(module: nn.Module, n_classes: int, words: str) -> None:
    with pytest.raises(TrainingError, match=re.escape(f"the module must return logits {words}")):
        check_logits(module, torch.zeros(1, 4), n_classes)


def test_an_engine_refuses_a_module_that_returns_one_dimension() -> None:
    with pytest.raises(TrainingError, match=r"must return logits of shape .* it returned \(2,\)"):
        TorchEngine(Flat(), data_of(), Config(), CPU)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_one_logit_per_class_is_allowed_for_any_number_of_classes(n_classes: int) -> None:
    check_logits(nn.Linear(4, n_classes), torch.zeros(1, 4), n_classes)
    check_logits(nn.Linear(4, 1), torch.zeros(1, 4), 2)


@pytest.mark.parametrize("module", [nn.Linear(5, 1), Pair()])
def test_a_module_that_cannot_take_the_rows_or_gives_no_tensor_is_an_error(module: nn.Module) -> None:
    with pytest.raises(TrainingError, match=r"the module must map a float tensor of shape \(n, 4\) to logits: "):
        check_logits(module, torch.zeros(1, 4), 2)


def test_a_module_without_trainable_parameters_is_an_error() -> None:
    module = LogisticRegression(4, 1).requires_grad_(False)
    with pytest.raises(TrainingError, match="the module has no trainable parameters; there is nothing to train"):
        FlatParameters(module)


def test_a_device_that_is_not_available_gives_the_cpu_and_a_warning() -> None:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    missing = [name for name, is_available in available.items() if not is_available]
    assert missing  # no machine has both
    for name in missing:
        with pytest.warns(
            TabcohortWarning, match=f"PyTorch finds no {name} device on this machine; training on the CPU"
        ):
            assert choose_device(name) == CPU
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type not in missing


class Replacing(nn.Module):
    """Puts a new tensor in its buffer's place whenever it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)
        self.register_buffer("mean_of_rows", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean_of_rows = 0.9 * self.mean_of_rows + 0.1 * x.detach().mean(dim=0)
        return self.linear(x - self.mean_of_rows)


class InPlace(Replacing):
    """Does the same in the buffer's own storage."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean_of_rows.lerp_(x.detach().mean(dim=0), 0.1)
        return self.linear(x - self.mean_of_rows)


def test_a_module_that_replaces_its_buffer_is_an_error_that_names_it() -> None:
    engine = TorchEngine(Replacing(), data_of(), Config(), CPU)
    with pytest.raises(TrainingError, match=r"the module replaces its buffer 'mean_of_rows' in forward.*buffer\.copy_"):
        engine.run_epoch(1, [0.01])
    engine = TorchEngine(InPlace(), data_of(), Config(), CPU)
    engine.run_epoch(1, [0.01])
    assert np.abs(engine.snapshot()["buffer.mean_of_rows"]).max() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_module_of_half_precision_is_an_error(dtype: torch.dtype) -> None:
    with pytest.raises(TrainingError, match=f"parameters must be float32 or float64; they are {dtype}"):
        TorchEngine(nn.Linear(4, 1, dtype=dtype), data_of(), Config(), CPU)

"""The PyTorch engine: losses, steps, masks and state, against PyTorch itself."""

import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from tabcohort.engines import torch_loop
from tabcohort.engines.batches import BatchPlan
from tabcohort.engines.protocol import MemberData
from tabcohort.engines.torch_loop import (
    FlatParameters,
    TorchEngine,
    check_logits,
    choose_device,
    forward,
    hashed_dropout,
    loss_sum,
    one_thread,
)
from tabcohort.errors import TabcohortWarning, TrainingError
from tabcohort.network.models import MLP, LogisticRegression, ResidualMLP, initialize_weights
from tabcohort.settings import Config

CPU = torch.device("cpu")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def member_data(n_rows: int = 50, n_features: int = 4, n_classes: int = 2, weighted: bool = False) -> MemberData:
    rng = np.random.default_rng(7)
    mass = np.eye(n_classes)[rng.integers(n_classes, size=n_rows)]
    if weighted:
        mass *= rng.uniform(0.5, 2, (n_rows, 1))
    train, stop = rng.normal(size=(n_rows, n_features)), rng.normal(size=(9, n_features))
    return MemberData.of_inputs(train.astype(np.float32), mass.astype(np.float32), stop.astype(np.float32))


def member_plan(n_rows: int = 50, batch_size: int = 16, **changes: Any) -> BatchPlan:
    values = {"mixup_alpha": 0.0, "mixup_probability": 0.5, "needs_pairs": False, "seed": 3, "member": 0, **changes}
    return BatchPlan(n_rows, batch_size, **values)


def network(n_classes: int = 2, dtype: torch.dtype = torch.float64, **choices: Any) -> nn.Module:
    choices = {"activation": "tanh", **choices}
    module = MLP(4, (6, 5), 1 if n_classes == 2 else n_classes, **choices).to(dtype)
    initialize_weights(module, seed=1)
    return module


def copy_of_values(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


class Recorder(nn.Module):
    """A linear layer that remembers what went in and what came out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1, dtype=torch.float64)
        initialize_weights(self, seed=2)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        logits = self.linear(x)
        if self.training:
            self.seen.append((x.detach().clone(), logits.detach().clone()))
        return logits


# Losses


def test_the_loss_of_two_classes_is_that_of_pytorch() -> None:
    logits, target, weight = normal(20, 1), torch.rand(20, dtype=torch.float64), torch.rand(20, dtype=torch.float64) + 1
    mass = weight[:, None] * torch.stack([1 - target, target], dim=1)
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], target, weight=weight, reduction="sum")
    torch.testing.assert_close(loss_sum(logits, mass), expected)
    unit = torch.stack([1 - target, target], dim=1)
    torch.testing.assert_close(loss_sum(logits, unit, unit_mass=True), loss_sum(logits, unit, unit_mass=False))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_more_classes_is_that_of_pytorch(smoothing: float) -> None:
    logits, y = normal(20, 4), torch.arange(20) % 4
    class_weight = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    target = F.one_hot(y, 4) * (1 - smoothing) + smoothing / 4
    torch.testing.assert_close(
        loss_sum(logits, target), F.cross_entropy(logits, y, reduction="sum", label_smoothing=smoothing)
    )
    weighted = F.cross_entropy(logits, y, reduction="none", label_smoothing=smoothing) * class_weight[y]
    torch.testing.assert_close(loss_sum(logits, target * class_weight[y][:, None]), weighted.sum())


def test_pytorchs_class_weights_are_row_weights_without_smoothing() -> None:
    logits, y = normal(20, 4), torch.arange(20) % 4
    class_weight = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    expected = F.cross_entropy(logits, y, weight=class_weight, reduction="sum")
    torch.testing.assert_close(loss_sum(logits, F.one_hot(y, 4) * class_weight[y][:, None]), expected)


def test_one_logit_and_two_logits_of_two_classes_have_the_same_loss() -> None:
    logit, mass = normal(20, 1), torch.rand(20, 2, dtype=torch.float64) + 0.1
    torch.testing.assert_close(loss_sum(logit, mass), loss_sum(torch.cat([torch.zeros_like(logit), logit], 1), mass))


@pytest.mark.parametrize("unit_mass", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_of_two_classes_give_finite_losses_and_right_gradients(
    unit_mass: bool, dtype: torch.dtype
) -> None:
    logits = torch.tensor([[1e4], [-1e4], [1e4], [-1e4]], dtype=dtype, requires_grad=True)
    mass = torch.tensor([[1, 0], [0, 1], [0, 1], [1, 0]], dtype=dtype)
    loss = loss_sum(logits, mass, unit_mass)
    loss.backward()
    assert loss.item() == 2e4
    torch.testing.assert_close(logits.grad, torch.tensor([[1.0], [-1.0], [0.0], [0.0]], dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_of_more_classes_give_finite_losses_and_right_gradients(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    mass = torch.tensor([[0, 1, 0], [1, 0, 0]], dtype=dtype)
    loss = loss_sum(logits, mass)
    loss.backward()
    assert loss.item() == 2e4
    torch.testing.assert_close(logits.grad, torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]], dtype=dtype))


def test_a_confident_mistake_still_has_a_gradient() -> None:
    logits = torch.tensor([[17.0], [40.0], [100.0]], requires_grad=True)
    loss_sum(logits, torch.tensor([[1.0, 0.0]] * 3), unit_mass=True).backward()
    torch.testing.assert_close(logits.grad, torch.ones(3, 1))


# Steps

OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.8),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.02, betas=(0.8, 0.95), eps=1e-7),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.02, betas=(0.8, 0.95), eps=1e-7),
}


def train_plainly(module: nn.Module, data: MemberData, plan: BatchPlan, config: Config, n_epochs: int) -> None:
    """The loop that anyone would write with torch.optim, on the batches of the plan."""
    dtype = next(module.parameters()).dtype
    inputs, mass = (torch.from_numpy(array).to(dtype) for array in (data.inputs(data.train), data.soft_targets))
    decays = [parameter for name, parameter in module.named_parameters() if parameter.ndim == 2]
    others = [parameter for name, parameter in module.named_parameters() if parameter.ndim == 1]
    optimizer = OPTIMIZERS[settings.optimizer](
        [{"params": decays, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    )
    module.train()
    for epoch in range(1, n_epochs + 1):
        plan_of_epoch = plan.epoch(epoch)
        for start, stop in zip(plan_of_epoch.bounds, plan_of_epoch.bounds[1:], strict=False):
            rows = torch.from_numpy(plan_of_epoch.order[start:stop])
            logits, target = module(inputs[rows]), mass[rows]
            if logits.shape[1] == 1:
                weight = target.sum(dim=1)
                loss = F.binary_cross_entropy_with_logits(logits[:, 0], target[:, 1] / weight, weight)
            else:
                loss = -(target * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
            optimizer.zero_grad()
            loss.backward()
            if settings.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(module.parameters(), settings.clip_norm)
            optimizer.step()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_epochs_equal_a_plain_pytorch_loop(
    optimizer: str, decay: float, n_classes: int, dtype: torch.dtype, tolerance: float
) -> None:
    choices: dict[str, Any] = {"momentum": 0.8, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-7}
    rate = 0.05 if optimizer == "sgd" else 0.02
    settings = Config(optimizer=optimizer, weight_decay=decay, learning_rate=rate, **choices)
    data, plan = member_data(n_classes=n_classes, weighted=decay > 0), member_plan()
    module = network(n_classes, dtype)
    plain = copy.deepcopy(module)
    train_plainly(plain, data, plan, settings, n_epochs=4)
    engine = TorchEngine(module, data, settings, CPU)
    start = engine.parameters.values.clone()
    for epoch in range(1, 5):
        engine.run_epoch(plan.epoch(epoch), rate)
    assert (engine.parameters.values - start).abs().max() > 0.01
    for found, expected in zip(module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_epochs_with_batch_norm_and_clipping_equal_a_plain_pytorch_loop() -> None:
    settings = Config(optimizer="sgd", momentum=0.8, weight_decay=0.1, learning_rate=0.05, clip_norm=0.3)
    data, plan = member_data(n_rows=49), member_plan(49, needs_pairs=True)  # 16, 16 and 17 rows
    module = network(batch_norm=True)
    plain = copy.deepcopy(module)
    train_plainly(plain, data, plan, settings, n_epochs=3)
    engine = TorchEngine(module, data, settings, CPU)
    for epoch in (1, 2, 3):
        engine.run_epoch(plan.epoch(epoch), 0.05)
    assert int(plain.layers[1].num_batches_tracked) == 9
    for name, expected in plain.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], expected, rtol=1e-11, atol=1e-11, msg=name)


def test_the_rate_of_an_epoch_is_the_one_given() -> None:
    steps = []
    for rate in (0.1, 0.3):
        module = network()
        engine = TorchEngine(module, member_data(), Config(optimizer="sgd", momentum=0.0, weight_decay=0.0), CPU)
        start = engine.parameters.values.clone()
        engine.run_epoch(member_plan(batch_size=50).epoch(1), rate)
        steps.append(engine.parameters.values - start)
    torch.testing.assert_close(steps[1], 3 * steps[0])


def test_vectors_do_not_decay_and_matrices_do() -> None:
    data = member_data()
    data.soft_targets[:] = 1e-30  # next to no gradient: all that moves is what decays
    settings = Config(optimizer="sgd", momentum=0.0, weight_decay=0.5)
    module = ResidualMLP(4, (6,), 1).double()
    initialize_weights(module, seed=0)
    for parameter in module.parameters():
        parameter.data += 0.25
    start = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    TorchEngine(module, data, settings, CPU).run_epoch(member_plan(batch_size=50).epoch(1), 0.1)
    for name, parameter in module.named_parameters():
        share = 0.95 if name.endswith("weight") and parameter.ndim == 2 else 1.0
        torch.testing.assert_close(parameter.detach(), share * start[name], rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("clip_norm", [0.01, 0.1, 1e6])
def test_clipping_is_by_the_global_norm_as_in_pytorch(clip_norm: float) -> None:
    data = member_data()
    module = network(dtype=torch.float64)
    plain = copy.deepcopy(module)
    settings = Config(optimizer="sgd", momentum=0.0, weight_decay=0.0, clip_norm=clip_norm)
    engine = TorchEngine(module, data, settings, CPU)
    start = engine.parameters.values.clone()
    engine.run_epoch(member_plan(batch_size=50).epoch(1), 1.0)
    update = start - engine.parameters.values

    inputs, mass = torch.from_numpy(data.inputs(data.train)).double(), torch.from_numpy(data.soft_targets).double()
    F.binary_cross_entropy_with_logits(plain(inputs)[:, 0], mass[:, 1]).backward()
    norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), clip_norm)
    assert 0.1 < norm < 1e6
    expected = torch.cat([p.grad.reshape(-1) for p in sorted(plain.parameters(), key=lambda p: p.ndim < 2)])
    torch.testing.assert_close(update, expected, rtol=1e-9, atol=1e-12)
    assert update.norm() <= clip_norm * (1 + 1e-9)


# EpochBlock


@pytest.mark.parametrize(("n_rows", "batch_size"), [(20, 16), (50, 7), (20, 20), (33, 32)])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_at_rate_zero_the_losses_of_an_epoch_add_up_to_one_full_pass(
    n_rows: int, batch_size: int, n_classes: int
) -> None:
    data, module = member_data(n_rows, n_classes=n_classes), network(n_classes)
    engine = TorchEngine(module, data, Config(weight_decay=0.0), CPU)
    plan = member_plan(n_rows, batch_size).epoch(1)
    outcome = engine.run_epoch(plan, 0.0)
    logits = forward(module, torch.from_numpy(data.inputs(data.train)).double())
    mass = torch.from_numpy(data.soft_targets).double()
    losses = np.array([loss_sum(logits[[row]], mass[[row]]).item() for row in range(n_rows)])
    assert outcome.step_losses.sum() == pytest.approx(losses.sum(), rel=1e-12)
    for step in range(plan.n_steps):
        rows = plan.order[plan.bounds[step] : plan.bounds[step + 1]]
        assert outcome.step_losses[step] == pytest.approx(losses[rows].sum(), rel=1e-12)
    if n_rows == 20 and batch_size == 16:
        mean_of_means = (outcome.step_losses / np.diff(plan.bounds)).mean()
        assert abs(mean_of_means / losses.mean() - 1) > 0.001
    torch.testing.assert_close(
        torch.from_numpy(outcome.val_logits), forward(module, torch.from_numpy(data.inputs(data.stop)).double())
    )


@pytest.mark.parametrize("n_rows", [2, 3, 5, 17, 33, 65])
@pytest.mark.parametrize("batch_size", [2, 16, 32])
def test_batch_norm_trains_on_any_number_of_rows(n_rows: int, batch_size: int) -> None:
    module = network(batch_norm=True)
    engine = TorchEngine(module, member_data(n_rows), Config(), CPU)
    assert engine.has_batch_norm
    outcome = engine.run_epoch(member_plan(n_rows, batch_size, needs_pairs=True).epoch(1), 0.01)
    assert np.isfinite(outcome.step_losses).all()
    assert np.isfinite(outcome.val_logits).all()


def test_stopping_rows_are_passed_in_evaluation_mode() -> None:
    module = network(batch_norm=True, dropout=0.5)
    data = member_data()
    engine = TorchEngine(module, data, Config(), CPU)
    outcome = engine.run_epoch(member_plan().epoch(1), 0.05)
    val_inputs = torch.from_numpy(data.inputs(data.stop)).double()
    alone = np.concatenate([module.eval()(row).detach().numpy() for row in val_inputs.split(1)])
    np.testing.assert_allclose(outcome.val_logits, alone, rtol=1e-12)


def test_a_long_table_is_passed_in_pieces_without_loss() -> None:
    module = network()
    inputs = normal(2 * torch_loop.ROWS_PER_PASS + 3, 4)
    torch.testing.assert_close(forward(module, inputs), module.eval()(inputs).detach(), rtol=1e-12, atol=1e-12)


# Mixup


def test_a_mixed_step_trains_on_mixed_inputs_with_mixed_targets() -> None:
    data, module = member_data(40), Recorder()
    plan = member_plan(40, 16, mixup_alpha=0.6, mixup_probability=0.7, seed=6).epoch(2)
    assert 0 < (plan.mix < 1).sum() < plan.n_steps
    outcome = TorchEngine(module, data, Config(), CPU).run_epoch(plan, 0.01)
    train_inputs = data.inputs(data.train)
    for step, (inputs, logits) in enumerate(module.seen):
        rows = plan.order[plan.bounds[step] : plan.bounds[step + 1]]
        partners, own = rows[plan.partners[plan.bounds[step] : plan.bounds[step + 1]]], plan.mix[step]
        mixed = own * train_inputs[rows] + (1 - own) * train_inputs[partners]
        target = own * data.soft_targets[rows] + (1 - own) * data.soft_targets[partners]
        np.testing.assert_allclose(inputs, mixed, atol=1e-6)
        soft = F.binary_cross_entropy_with_logits(logits[:, 0], torch.from_numpy(target[:, 1]), reduction="sum")
        assert outcome.step_losses[step] == pytest.approx(soft.item(), rel=1e-6)
        if own < 1:
            hard = F.binary_cross_entropy_with_logits(
                logits[:, 0], torch.from_numpy(data.soft_targets[rows, 1]).double(), reduction="sum"
            )
            assert abs(outcome.step_losses[step] - hard.item()) > 1e-3


def test_mixed_row_weights_stay_with_their_targets() -> None:
    data, module = member_data(40, weighted=True), Recorder()
    plan = member_plan(40, 40, mixup_alpha=1.0, mixup_probability=1.0).epoch(1)
    outcome = TorchEngine(module, data, Config(), CPU).run_epoch(plan, 0.0)
    logits = module.seen[0][1][:, 0]
    mass = plan.mix[0] * data.soft_targets + (1 - plan.mix[0]) * data.soft_targets[plan.partners]
    log_proba = torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], dim=1).numpy()
    assert outcome.step_losses[0] == pytest.approx(-(mass * log_proba).sum(), rel=1e-6)


# Dropout

N_WIDE = 20_000


def masks(p: float, keys: list[int], n_layers: int = 2, width: int = N_WIDE) -> np.ndarray:
    """What ones become, `(n_keys, n_layers, width)`."""

    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Dropout(p) for _ in range(n_layers))

        def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
            return [layer(x) for layer in self.layers]

    module, drawn = Stack().train(), []
    with hashed_dropout(module) as dropout:
        for key in keys:
            dropout.take_key(key)
            drawn.append(torch.stack(module(torch.ones(1, width)))[:, 0].numpy())
    return np.array(drawn)


def correlation_in_sigmas(a: np.ndarray, b: np.ndarray) -> float:
    return float(abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) * np.sqrt(a.size))


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_scales_it_up(p: float) -> None:
    drawn = masks(p, member_plan(200, 10).epoch(1).layer_keys.tolist())
    kept = (drawn > 0).mean()
    # Masks may round the share to 15 bits.
    assert abs(kept - (1 - p)) < 5 * np.sqrt(p * (1 - p) / drawn.size) + 2**-16
    np.testing.assert_allclose(np.unique(drawn), [0, 1 / (1 - p)], rtol=2**-15 / (1 - p))


def test_dropout_of_neighbours_layers_and_steps_is_uncorrelated() -> None:
    drawn = masks(0.3, member_plan(200, 10).epoch(1).layer_keys.tolist())
    for lag in (1, 2, 3, 4, 16, 128, 256):
        assert correlation_in_sigmas(drawn[:, :, lag:], drawn[:, :, :-lag]) < 5, lag
    assert correlation_in_sigmas(drawn[:, 0], drawn[:, 1]) < 5
    assert correlation_in_sigmas(drawn[1:], drawn[:-1]) < 5
    assert correlation_in_sigmas(drawn[:, :, ::2], drawn[:, :, 1::2]) < 5


def test_dropout_masks_are_those_of_their_key() -> None:
    first, other, again = masks(0.5, [123, 456, 123])
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.45


@given(st.integers(1, 9), st.integers(0, 2**63 - 1), st.floats(0.05, 0.95))
@hypothesis_settings(max_examples=30, deadline=None)
def test_dropout_takes_any_shape_and_key(width: int, key: int, p: float) -> None:
    assert masks(p, [key], width=width).shape == (1, 2, width)


def test_gradients_pass_where_dropout_keeps() -> None:
    module = nn.Sequential(nn.Dropout(0.4)).train()
    x = torch.ones(1, 500, requires_grad=True)
    with hashed_dropout(module) as dropout:
        dropout.take_key(99)
        out = module(x)
    out.sum().backward()
    assert 200 < (out > 0).sum() < 400
    torch.testing.assert_close(x.grad, out.detach())


def test_dropout_that_drops_everything_gives_zeros() -> None:
    module = nn.Sequential(nn.Dropout(1.0)).train()
    with hashed_dropout(module) as dropout:
        dropout.take_key(1)
        assert (module(torch.ones(1, 100_000)) == 0).all()


def test_dropout_layers_are_pytorchs_own_again_afterwards() -> None:
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 3))
    with hashed_dropout(module):
        assert "forward" in vars(module[0])
    assert "forward" not in vars(module[0])
    assert module[0].forward.__func__ is nn.Dropout.forward


def test_dropout_layers_are_pytorchs_own_again_after_an_error_too() -> None:
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 3))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), hashed_dropout(module):
        module(torch.ones(2, 5))
    assert "forward" not in vars(module[0])


def test_dropout_in_evaluation_mode_changes_nothing() -> None:
    module = nn.Sequential(nn.Dropout(0.5)).eval()
    x = torch.ones(2, 50)
    with hashed_dropout(module):
        assert torch.equal(module(x), x)


def test_other_random_layers_depend_on_the_plan_and_not_on_pytorchs_global_state() -> None:
    def trained(global_seed: int) -> Tensor:
        torch.manual_seed(global_seed)
        module = nn.Sequential(nn.Linear(4, 6, dtype=torch.float64), nn.AlphaDropout(0.3), nn.RReLU(), nn.Linear(6, 1))
        module = module.double()
        initialize_weights(module, seed=0)
        before = torch.random.get_rng_state()
        engine = TorchEngine(module, member_data(), Config(), CPU)
        engine.run_epoch(member_plan().epoch(1), 0.01)
        assert torch.equal(before, torch.random.get_rng_state())
        return engine.parameters.values

    assert torch.equal(trained(1), trained(2))


# State


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_written_back_gives_the_same_bits_again(optimizer: str) -> None:
    engine = TorchEngine(network(batch_norm=True, dropout=0.2), member_data(), Config(optimizer=optimizer), CPU)
    plan = member_plan(needs_pairs=True)
    engine.run_epoch(plan.epoch(1), 0.01)
    kept = {name: array.copy() for name, array in engine.state.items()}
    first = engine.run_epoch(plan.epoch(2), 0.01)
    changed = {name for name, array in engine.state.items() if not np.array_equal(array, kept[name])}
    assert changed == set(engine.state)
    for name, array in engine.state.items():
        array[...] = kept[name]
    second = engine.run_epoch(plan.epoch(2), 0.01)
    np.testing.assert_array_equal(first.val_logits, second.val_logits)
    np.testing.assert_array_equal(first.step_losses, second.step_losses)


def test_the_state_holds_parameters_buffers_and_moments() -> None:
    engine = TorchEngine(network(batch_norm=True), member_data(), Config(), CPU)
    buffers = {f"buffer.{name}" for name, _ in engine.module.named_buffers()}
    assert len(buffers) == 6
    assert set(engine.state) == {"parameters", "exp_avg", "exp_avg_sq"} | buffers


def test_a_released_module_is_in_evaluation_mode_with_storage_of_its_own() -> None:
    module = network(batch_norm=True)
    engine = TorchEngine(module, member_data(), Config(), CPU)
    engine.run_epoch(member_plan(needs_pairs=True).epoch(1), 0.01)
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
    TorchEngine(module, member_data(), Config(weight_decay=0.1), CPU).run_epoch(member_plan().epoch(1), 0.1)
    after = module.state_dict()
    assert torch.equal(before["layers.0.weight"], after["layers.0.weight"])
    assert not torch.equal(before["layers.2.weight"], after["layers.2.weight"])


def test_an_epoch_leaves_the_number_of_threads_as_it_was() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with one_thread():
            assert torch.get_num_threads() == 1
        TorchEngine(network(), member_data(), Config(), CPU).run_epoch(member_plan().epoch(1), 0.1)
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
    """Returns two things."""

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
        TorchEngine(Flat(), member_data(), Config(), CPU)


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


def test_a_device_that_is_not_there_gives_the_cpu_and_a_warning() -> None:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    missing = [name for name, found in there.items() if not found]
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
    engine = TorchEngine(Replacing(), member_data(), Config(), CPU)
    with pytest.raises(TrainingError, match=r"the module replaces its buffer 'mean_of_rows' in forward.*buffer\.copy_"):
        engine.run_epoch(member_plan().epoch(1), 0.01)
    engine = TorchEngine(InPlace(), member_data(), Config(), CPU)
    engine.run_epoch(member_plan().epoch(1), 0.01)
    assert np.abs(engine.state["buffer.mean_of_rows"]).max() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_module_of_half_precision_is_an_error(dtype: torch.dtype) -> None:
    with pytest.raises(TrainingError, match=f"parameters must be float32 or float64; they are {dtype}"):
        TorchEngine(nn.Linear(4, 1, dtype=dtype), member_data(), Config(), CPU)

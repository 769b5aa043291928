"""The operations: what `OPS` says is what PyTorch's layers and the kernels do; one is added in one file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import config_of, noisy_rows
from torch import Tensor, nn

from tabcohort import MLP, Config, EngineError, ResidualMLP, lower, train
from tabcohort.data.encoder import CategoryEncoding, Encoding
from tabcohort.engines.compiled.operations import KERNELS
from tabcohort.network.models import PiecewiseLinear
from tabcohort.network.ops import (
    ACTIVATIONS,
    KEEP_UNITS,
    OPS,
    ArraySpec,
    Match,
    Operation,
    OpSpec,
    keep_share,
    scheduled_share,
)
from tabcohort.network.program import build_program
from tabcohort.network.program_checks import check_program

LOSSES = ("binary_cross_entropy", "cross_entropy")
WITH_LAYER = [kind for kind, spec in OPS.items() if spec.layer]
# A valid operation of each kind that has constants.
CONSTANTS: dict[str, tuple[float, ...]] = {
    "smooth_clip": (2.5,),
    "batch_norm": (1e-3, 0.2),
    "layer_norm": (1e-4,),
    "leaky_relu": (0.3,),
    "dropout": (keep_share(0.25),),
    "embed": (2, 6, 4),
    "robust_scale": (2.5, 2),
    "quantile_scale": (4, 2),
    "periodic": (2, 1, 0.5),
    **{name: (0.0,) for name in ACTIVATIONS if name != "leaky_relu"},
}


# Of two numbers, one of which may be missing, and a category that has a learned vector.
ENCODING = Encoding((0, 1), (1,), (2,), (CategoryEncoding(4, True, 2, n_learned=2),))


def operation_of(kind: str, d_in: int = 3, d_out: int = 5) -> Operation:
    d_out = {"encode": ENCODING.n_columns, "embed": 1 + 2 * 4, "periodic": 3 + 2 * 2}.get(kind, d_out)
    d_out = d_out if OPS[kind].changes_width else d_in
    encoding = ENCODING if kind == "encode" else None
    return Operation(kind, "layer", (0,), 1, d_out, constants=CONSTANTS.get(kind, ()), encoding=encoding)


# The table


def test_every_operation_has_a_code_of_its_own() -> None:
    codes = [spec.code for spec in OPS.values()]
    assert len(set(codes)) == len(codes)
    assert min(codes) >= 0  # a negative one is the affine map of the inference kernels


def test_every_operation_has_kernels_or_is_done_before_or_after_them() -> None:
    """Rows come encoded and standardized, and the loss has a kernel of its own."""
    assert KERNELS.keys() == OPS.keys() - {"encode", "standardize", *LOSSES}


def test_no_operation_has_more_parameters_than_a_row_of_the_kernels_table() -> None:
    for kind in KERNELS:
        assert len(OPS[kind].parameters) <= 2, kind


def test_the_buffers_of_an_operation_lie_one_after_another_as_kernels_read_them() -> None:
    module = nn.Sequential(PiecewiseLinear(4), nn.Linear(7, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))
    for op in lower(module, 3).operations:
        sizes = [int(np.prod(array.shape(op, 3))) for array in op.spec.buffers]
        assert op.buffers == tuple(op.buffers[0] + np.cumsum([0, *sizes[:-1]])) if sizes else op.buffers == ()


def test_only_operations_that_learn_nothing_may_come_before_rows_are_mixed() -> None:
    preparing = {kind for kind, spec in OPS.items() if spec.prepares_input}
    assert preparing == {"encode", "standardize", "robust_scale", "quantile_scale", "piecewise_linear", "smooth_clip"}
    for kind in preparing:
        assert OPS[kind].parameters == ()
        assert OPS[kind].only_after is not None
        assert OPS[kind].only_after <= preparing


@pytest.mark.parametrize("kind", WITH_LAYER)
def test_the_arrays_of_an_operation_are_those_of_its_layers_state(kind: str) -> None:
    op = operation_of(kind)
    state = {
        name: tensor
        for name, tensor in op.spec.make_layer(op, 3).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    arrays = (*op.spec.parameters, *op.spec.buffers)
    assert {array.name: array.shape(op, 3) for array in arrays} == {
        name: tuple(tensor.shape) for name, tensor in state.items()
    }
    for array in arrays:
        is_random = isinstance(array.initial, str) or kind == "linear"  # also PyTorch's biases
        if not is_random and array.name != "lookup":  # which is one-hot at first in the layer
            np.testing.assert_array_equal(state[array.name].numpy(), array.initial, err_msg=f"{kind}.{array.name}")


@pytest.mark.parametrize("kind", WITH_LAYER)
def test_the_layer_of_an_operation_is_lowered_to_that_operation(kind: str) -> None:
    op = operation_of(kind)
    match = op.spec.match(op.spec.make_layer(op, 3), 3)
    assert isinstance(match, Match)
    assert match.constants == pytest.approx(op.constants, abs=0.0)
    assert (op.d_out if match.d_out is None else match.d_out) == op.d_out
    assert match.encoding == op.encoding


@pytest.mark.parametrize("kind", ["linear", "batch_norm", "layer_norm", "scale"])
def test_a_layer_of_another_width_is_not_lowered(kind: str) -> None:
    op = operation_of(kind)
    assert op.spec.match(op.spec.make_layer(op, 3), 4) is None


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_a_layer_without_arguments_parameters_or_another_width(name: str) -> None:
    spec = OPS[name]
    layer = spec.layer_class()()
    assert layer(torch.linspace(-2, 2, 7)).shape == (7,)
    assert list(layer.parameters()) == []
    assert (spec.parameters, spec.buffers, spec.changes_width) == ((), (), False)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (MLP(3, (5, 4), 2), 3 * 5 + 5 * 4 + 4 * 2),
        (ResidualMLP(3, (5,), 1), 2 * 3 * 5 + 5),
        (nn.Sequential(nn.Linear(3, 7), nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, 2)), 3 * 7 + 7 * 2),
    ],
    ids=["mlp", "residual", "batch norm"],
)
def test_products_are_those_of_the_linear_layers(module: nn.Module, expected: int) -> None:
    assert lower(module, 3).n_products == expected


@pytest.mark.parametrize(
    ("p", "expected"),
    [(0.5, KEEP_UNITS // 2), (0.25, 3 * KEEP_UNITS // 4), (1.0, 0), (1e-9, KEEP_UNITS - 1), (1 - 1e-9, 1)],
)
def test_dropout_keeps_a_share_in_32768ths_that_is_never_all_and_none_only_for_1(p: float, expected: int) -> None:
    assert keep_share(p) == expected


@pytest.mark.parametrize("kind", ["robust_scale", "quantile_scale", "periodic"])
def test_a_layer_of_more_numbers_than_there_are_columns_is_not_lowered(kind: str) -> None:
    """The kernels check no bounds."""
    op = operation_of(kind)
    n_columns = 2 + (kind == "periodic")
    assert op.spec.match(op.spec.make_layer(op, n_columns), n_columns) is not None
    assert op.spec.match(op.spec.make_layer(op, n_columns), n_columns - 1) is None


@pytest.mark.parametrize("share", [0, 1, 22_938, KEEP_UNITS - 1])
def test_scheduled_dropout_drops_less_and_never_nothing(share: int) -> None:
    assert scheduled_share(share, 1.0) == share
    shares = [scheduled_share(share, factor) for factor in (0.9, 0.5, 0.1, 0.0)]
    assert shares == sorted(shares)
    assert scheduled_share(share, 0.0) == KEEP_UNITS - 1
    assert abs((KEEP_UNITS - shares[1]) - (KEEP_UNITS - share) / 2) <= 1


def test_the_spec_of_an_operation_is_that_of_its_kind() -> None:
    for kind in OPS:
        assert operation_of(kind).spec is OPS[kind]


# Adding an operation

FOLDER = Path(__file__).parent
RUN = """
import copy, json
import numpy as np
import learned_bend
import torch
from torch import nn
from tabcohort import Config, lower, to_module, train
from tabcohort.engines.batches import BatchPlan
from tabcohort.engines.compiled.inference import Inference
from tabcohort.data.encoder import plain_encoding, store_rows
from tabcohort.engines.protocol import MemberData
from tabcohort.engines.reading import make_reading
from tabcohort.engines.torch_loop import TorchEngine
from tabcohort.engines.validation import ValidationSet
from tabcohort.network.lower import network_of
from tabcohort.network.program import Network
from tabcohort.training.module import CompiledModuleEngine

def chain():
    torch.manual_seed(0)
    bend = learned_bend.Bend
    return nn.Sequential(bend(3), nn.Linear(3, 4), nn.Tanh(), bend(4), nn.Linear(4, 1))

def largest_difference(one, other):
    return max(float((a - b).abs().max()) for a, b in zip(one.parameters(), other.parameters()))

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
y = (X[:, 0] + 0.5 * X[:, 1] > 0).astype(np.int64)

# Both engines, by `train`, in float32.
trained = {}
for engine in ("torch", "compiled", "auto"):
    config = Config(engine=engine, max_epochs=8, patience=None, learning_rate=0.02, batch_size=16)
    trained[engine] = train(chain(), (X, y), config)
modules = {engine: run.module for engine, run in trained.items()}

# Two hundred steps with everything on, in float64.
module = chain().double()
start = copy.deepcopy(module)
rows, targets = X.astype(np.float32), np.eye(2, dtype=np.float32)[y]
data = MemberData(
    make_reading(store_rows(rows, None), plain_encoding(3), None), np.arange(50), targets[:50],
    BatchPlan(50, 16, 0.3, 0.5, False, seed=0), ValidationSet(np.arange(50, 60), y[50:], np.ones(10), None),
)
config = Config(weight_decay=0.01, mixup_alpha=0.3, clip_norm=0.5)
twin = copy.deepcopy(module)
engines = TorchEngine(module, data, config, torch.device("cpu")), CompiledModuleEngine(twin, data, config)
rates = [0.01] * 50
results = [[engine.run_epoch(epoch, rates) for epoch in range(1, 51)] for engine in engines]
losses = [np.concatenate([result.step_losses for result in run]) for run in results]
for engine in engines:
    engine.release()

# The gradient of a full batch, by autograd and by hand.
plan = BatchPlan(50, 50, 0.0, 0.0, False, seed=0)
full = MemberData(data.reading, data.train, data.soft_targets, plan, data.validation)
by_hand = CompiledModuleEngine(copy.deepcopy(start), full, Config(weight_decay=0.0))
by_hand.run_epoch(1, [0.0])
gradients = Network(by_hand.network.program, by_hand._gradient, by_hand.network.buffers).named()
loss = nn.functional.binary_cross_entropy_with_logits(
    start(torch.from_numpy(rows[:50]).double())[:, 0], torch.from_numpy(y[:50]).double()
)
loss.backward()
network = network_of(modules["compiled"], lower(modules["compiled"], 3))
try:
    Inference([network])
except ValueError as error:
    message = str(error)
print(json.dumps({
    "engines": [trained[engine].engine for engine in ("torch", "compiled", "auto")],
    "moved": largest_difference(modules["torch"], chain()),
    "difference": largest_difference(modules["torch"], modules["compiled"]),
    "auto": largest_difference(modules["auto"], modules["compiled"]),
    "n_steps": len(losses[0]),
    "moved in float64": largest_difference(start, module),
    "losses in float64": float(np.abs(losses[0] / losses[1] - 1).max()),
    "difference in float64": largest_difference(module, twin),
    "gradient": max(float(np.abs(gradients[name] - p.grad.numpy()).max()) for name, p in start.named_parameters()),
    "size of gradient": min(float(p.grad.abs().max()) for p in start.parameters()),
    "back": largest_difference(to_module(network), modules["compiled"]),
    "program": [operation.kind for operation in network.program.operations],
    "n_in_matrices": network.program.n_in_matrices,
    "inference": message,
}))
"""


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """What a process measures that adds the operation of `learned_bend`, without a compiler."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", RUN]
    done = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_operation_is_added_in_one_file_and_both_engines_train_it_alike(measured: dict[str, Any]) -> None:
    bend = "learned_bend"
    assert measured["program"] == [bend, "linear", "tanh", bend, "linear", "binary_cross_entropy"]
    assert measured["engines"] == ["torch", "compiled", "compiled"]
    assert measured["moved"] > 0.05
    assert measured["difference"] < 1e-5
    assert measured["auto"] == 0
    assert measured["back"] == 0
    assert measured["n_in_matrices"] == 3 * 4 + 4  # its weight is a vector, which does not decay


def test_an_added_operations_gradients_are_those_of_autograd_also_after_200_steps(measured: dict[str, Any]) -> None:
    assert measured["size of gradient"] > 1e-3
    assert measured["gradient"] < 1e-14
    assert measured["n_steps"] == 200
    assert measured["moved in float64"] > 0.1
    assert measured["losses in float64"] < 1e-8
    assert measured["difference in float64"] < 1e-8


def test_two_operations_of_one_code_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the kernel of one would silently predict for both."""
    monkeypatch.setitem(OPS, "square", OpSpec(OPS["linear"].code))
    with pytest.raises(ValueError, match=r"every operation needs a code of its own; 'linear' and 'square' share one$"):
        check_program(build_program(Config(model="logistic"), 3, 2))


def test_an_added_operation_predicts_by_its_module(measured: dict[str, Any]) -> None:
    words = "the operation 'learned_bend' has no inference kernel; predict with `to_module(network)`"
    assert measured["inference"] == words


class Shift(nn.Module):
    """Adds a learned number to each column; there are no kernels for it."""

    def __init__(self, n_columns: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_columns))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the operation of `Shift` without kernels."""
    spec = OpSpec(
        101, parameters=(ArraySpec("bias"),), layer=f"{__name__}.Shift", arguments=lambda operation, d_in: (d_in,)
    )
    monkeypatch.setitem(OPS, "shift", spec)


@pytest.mark.usefixtures("without_kernels")
def test_the_compiled_engine_refuses_an_operation_without_kernels_by_name() -> None:
    module = nn.Sequential(Shift(4), nn.Linear(4, 1))
    words = r"^the operation 'shift' has no kernels; add them to KERNELS$"
    with pytest.raises(EngineError, match=words):
        train(module, noisy_rows(), config_of(engine="compiled"))


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_pytorch_trains_an_operation_without_kernels(engine: str) -> None:
    module = nn.Sequential(Shift(4), nn.Linear(4, 1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trained = train(module, noisy_rows(), config_of(engine=engine))
    reason = "the operation 'shift' has no kernels, so PyTorch trains it, more slowly"
    assert [str(warning.message) for warning in caught] == [reason] * (engine == "auto")
    assert trained.engine == "torch"
    assert trained.history[-1].train_loss < trained.history[0].train_loss
    assert module[0].bias.abs().min() > 0


def test_a_layer_is_lowered_only_while_its_operation_is_in_the_table() -> None:
    with pytest.raises(EngineError, match=r"^the layer '0' \(Shift\(\)\) cannot be compiled; train it with engine="):
        lower(nn.Sequential(Shift(4), nn.Linear(4, 1)), 4)

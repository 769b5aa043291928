"""The reference engine: PyTorch's autograd runs any module, on a CPU or an accelerator.

The page to read is `TorchEngine.run_epoch`. What makes it fast: the whole table lies in two tensors and a batch is
a gather, all parameters are views of one flat vector (so that clipping and the fused optimiser step are one call
each), losses stay on the device until the epoch is over, and dropout masks come from an integer hash.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from tabcohort.engines.batches import EpochPlan
from tabcohort.engines.protocol import EpochOutcome, MemberData, OneEpochAtATime, State, check_shape_of_logits
from tabcohort.errors import TabcohortWarning, TrainingError
from tabcohort.network.models import SmoothClip
from tabcohort.settings import Settings

ROWS_PER_PASS = 1_024  # activations of more rows leave the cache


class TorchEngine(OneEpochAtATime):
    """Trains a module in place; see `tabcohort.engines.protocol.Engine` for what its attributes mean.

    Args:
        module: maps `(n_rows, n_features)` float tensors to `(n_rows, n_outputs)` logits.
        data: the member's rows.
        settings: optimiser, decay and clipping are used.
        device: where to train.

    Raises:
        TrainingError: the module's logits do not fit the number of classes.
    """

    name = "torch"

    def __init__(self, module: nn.Module, data: MemberData, settings: Settings, device: torch.device) -> None:
        self.module = module.to(device)
        self.settings = settings
        self.device = device
        self.device_name = device.type
        dtype = next((parameter.dtype for parameter in module.parameters()), torch.float32)
        if dtype not in (torch.float32, torch.float64):
            raise TrainingError(f"the module's parameters must be float32 or float64; they are {dtype}")
        preparing, self.learning = _parts(module)  # rows are prepared once, and mixed after that
        self.inputs = preparing(torch.from_numpy(data.inputs(data.train)).to(device, dtype))
        self.mass = torch.from_numpy(data.train_mass).to(device, dtype)
        self.stop_inputs = preparing(torch.from_numpy(data.inputs(data.stop)).to(device, dtype))
        self.has_batch_norm = has_batch_norm(module)
        self.has_unit_mass = bool((data.train_mass.sum(axis=1) == 1).all())
        check_logits(self.learning, self.stop_inputs[:1], n_classes=data.train_mass.shape[1])
        self.parameters = FlatParameters(module)
        self.moments = {
            name: torch.zeros_like(self.parameters.values) for name in MOMENTS_OF_OPTIMIZER[settings.optimizer]
        }
        self.steps_taken = torch.zeros((), device=device)
        self._on_device = self._tensors_of_state()
        self.state: State = {name: tensor.cpu().numpy() for name, tensor in self._on_device.items()}

    def run_epoch(self, plan: EpochPlan, learning_rate: float) -> EpochOutcome:
        """Run every step of the plan at this rate, then pass the stopping rows through the network once."""
        self._take_state()
        self.steps_taken.fill_((plan.epoch - 1) * plan.n_steps)
        order, all_partners = (torch.from_numpy(each).to(self.device) for each in (plan.order, plan.partners))
        losses = torch.zeros(plan.n_steps, dtype=self.mass.dtype, device=self.device)
        self.module.train()
        with one_thread(), hashed_dropout(self.module) as dropout:
            for step in range(plan.n_steps):
                here = slice(plan.bounds[step], plan.bounds[step + 1])
                rows = order[here]
                inputs, mass = self.inputs.index_select(0, rows), self.mass.index_select(0, rows)
                if plan.mix[step] < 1:
                    partners = all_partners[here]
                    inputs = torch.lerp(inputs.index_select(0, partners), inputs, plan.mix[step])
                    mass = torch.lerp(mass.index_select(0, partners), mass, plan.mix[step])
                dropout.take_key(int(plan.layer_keys[step]))
                loss = loss_sum(self.learning(inputs), mass, self.has_unit_mass)
                self.parameters.gradient.zero_()
                loss.backward(torch.full_like(loss, 1 / len(rows)))  # the gradient of the mean over the rows
                self._clip()
                self._update(learning_rate)
                losses[step] = loss.detach()
            stop_logits = forward(self.learning, self.stop_inputs).cpu().numpy()
        self._check_buffers()
        self._give_state()
        return EpochOutcome(losses.cpu().numpy().astype(np.float64), stop_logits)

    def _clip(self) -> None:
        if self.settings.clip_norm is not None:
            gradient = self.parameters.gradient
            norm = gradient.dot(gradient).sqrt()
            gradient.mul_(torch.clamp(self.settings.clip_norm / (norm + 1e-6), max=1.0))

    def release(self) -> None:
        """Leave the module by itself: in evaluation mode, on the CPU, its parameters with storage of their own."""
        self._take_state()
        self.parameters.release(self.module)
        self.module.to("cpu").eval()

    def _update(self, learning_rate: float) -> None:
        """Take one step of the optimiser; decay is put on the matrices, which come first, and on nothing else."""
        settings, values, gradient = self.settings, self.parameters.values, self.parameters.gradient
        matrices = slice(self.parameters.n_in_matrices)
        if settings.weight_decay > 0 and settings.optimizer == "adamw":
            values[matrices].add_(values[matrices], alpha=-learning_rate * settings.weight_decay)
        elif settings.weight_decay > 0:
            gradient[matrices].add_(values[matrices], alpha=settings.weight_decay)
        if settings.optimizer == "sgd":
            sgd(
                [values],
                [gradient],
                [self.moments["momentum"]],
                fused=True,
                lr=learning_rate,
                momentum=settings.momentum,
                weight_decay=0.0,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
        else:
            adam(
                [values],
                [gradient],
                [self.moments["exp_avg"]],
                [self.moments["exp_avg_sq"]],
                [],
                [self.steps_taken],
                fused=True,
                lr=learning_rate,
                beta1=settings.beta1,
                beta2=settings.beta2,
                eps=settings.epsilon,
                weight_decay=0.0,
                amsgrad=False,
                maximize=False,
            )

    def _tensors_of_state(self) -> dict[str, Tensor]:
        tensors = {"parameters": self.parameters.values, **self.moments}
        tensors.update({f"buffer.{name}": buffer for name, buffer in self.module.named_buffers()})
        return tensors

    def _check_buffers(self) -> None:
        """Raise `TrainingError` if the module put another tensor in a buffer's place, which no state would restore."""
        for name, buffer in self.module.named_buffers():
            if buffer is not self._on_device.get(f"buffer.{name}"):
                raise TrainingError(
                    f"the module replaces its buffer {name!r} in forward, so the best epoch's could not be restored; "
                    "change the buffer in place (buffer.copy_(...)) instead"
                )

    def _take_state(self) -> None:
        """Bring `state` to the device; on a CPU the arrays share the tensors' memory and there is nothing to do."""
        if self.device.type != "cpu":
            for name, tensor in self._on_device.items():
                tensor.copy_(torch.from_numpy(self.state[name]))

    def _give_state(self) -> None:
        if self.device.type != "cpu":
            for name, tensor in self._on_device.items():
                self.state[name][...] = tensor.cpu().numpy()


MOMENTS_OF_OPTIMIZER = {
    "sgd": ("momentum",),
    "adam": ("exp_avg", "exp_avg_sq"),
    "adamw": ("exp_avg", "exp_avg_sq"),
}


class FlatParameters:
    """A module's trainable parameters and their gradients as views of two flat vectors, matrices first.

    Weight decay is for matrices: vectors (biases, the gains and shifts of normalisation) are left out of it.

    Args:
        module: its parameters are moved into `values` and share its storage from then on.

    Raises:
        TrainingError: the module has no trainable parameters.
    """

    def __init__(self, module: nn.Module) -> None:
        trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if not trainable:
            raise TrainingError("the module has no trainable parameters; there is nothing to train")
        trainable.sort(key=lambda parameter: parameter.ndim < 2)
        self.n_in_matrices = sum(parameter.numel() for parameter in trainable if parameter.ndim >= 2)
        self.values = torch.cat([parameter.detach().reshape(-1) for parameter in trainable])
        self.gradient = torch.zeros_like(self.values)
        start = 0
        for parameter in trainable:
            part = slice(start, start + parameter.numel())
            parameter.data = self.values[part].view_as(parameter)
            parameter.grad = self.gradient[part].view_as(parameter)
            start = part.stop

    def release(self, module: nn.Module) -> None:
        """Give every parameter of the module storage of its own again, and take its gradient away."""
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.clone()
                parameter.grad = None


def _parts(module: nn.Module) -> tuple[nn.Sequential, nn.Module]:
    """Return the layers at a module's beginning that prepare rows and learn nothing, and the module behind them."""
    layers = _flat(module)
    n_preparing = len(list(itertools.takewhile(lambda layer: isinstance(layer, SmoothClip), layers)))
    learning = nn.Sequential(*layers[n_preparing:]) if n_preparing else module
    return nn.Sequential(*layers[:n_preparing]), learning


def _flat(module: nn.Module) -> list[nn.Module]:
    """Return the layers of an `nn.Sequential` and of those within it."""
    if type(module) is not nn.Sequential:
        return [module]
    return [layer for child in module._modules.values() if child is not None for layer in _flat(child)]


def has_batch_norm(module: nn.Module) -> bool:
    """Return whether a layer of the module works with the statistics of its batch."""
    return any(isinstance(layer, _BatchNorm) for layer in module.modules())


def loss_sum(logits: Tensor, mass: Tensor, unit_mass: bool = False) -> Tensor:
    """Return the cross-entropy `-sum_k mass_k log p_k`, summed over rows, from logits and never from probabilities.

    Args:
        logits: `(n_rows, 1)`, the logit of the second of two classes, or `(n_rows, n_classes)`.
        mass: soft targets times row weights, `(n_rows, n_classes)`.
        unit_mass: whether every row of `mass` is known to sum to 1, which saves a pass.
    """
    if logits.shape[1] > 1:
        return F.cross_entropy(logits, mass, reduction="sum")
    if unit_mass:
        return F.binary_cross_entropy_with_logits(logits, mass[:, 1:], reduction="sum")
    total = mass.sum(dim=1, keepdim=True).clamp_min(torch.finfo(mass.dtype).tiny)
    return F.binary_cross_entropy_with_logits(logits, mass[:, 1:] / total, total, reduction="sum")


@torch.no_grad()
def forward(module: nn.Module, inputs: Tensor) -> Tensor:
    """Return the module's output for all rows, in evaluation mode, a few thousand rows at a time."""
    module.eval()
    return torch.cat([module(rows) for rows in inputs.split(ROWS_PER_PASS)])


def check_logits(module: nn.Module, row: Tensor, n_classes: int) -> None:
    """Raise `TrainingError` unless the module gives `(n, n_classes)` logits, or `(n, 1)` for two classes.

    A module that returns `(n,)` would otherwise be compared with `(n, 1)` targets as an `(n, n)` table.
    """
    rows = row.repeat(2, 1)
    try:
        shape = tuple(forward(module, rows).shape)
    except (RuntimeError, TypeError) as error:
        raise TrainingError(
            f"the module must map a float tensor of shape (n, {row.shape[1]}) to logits: {str(error).splitlines()[0]}"
        ) from None
    check_shape_of_logits(shape, n_classes)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch's CPU operations on one thread: sums then have one order, so a run has the same bits anywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class HashedDropout:
    """The dropout layers of a module, and the key from which their next masks are made.

    Elements `2 i` and `2 i + 1` of a step's call `l` take 15 bits each of a 32-bit hash of (key, l, i), and are kept
    where these are below the share to keep. Such a mask needs no generator, does not depend on threads, and costs a
    sixth of a Bernoulli draw on a CPU. The mixing function is `lowbias32` (Wellons 2018).
    """

    def __init__(self, module: nn.Module) -> None:
        self.layers = [layer for layer in module.modules() if isinstance(layer, nn.Dropout) and layer.p > 0]
        self.key = 0
        self.n_calls = 0  # of this step: a layer that is used twice has two masks
        self.counters = torch.empty(0, dtype=torch.int32)

    def take_key(self, key: int) -> None:
        """Draw the masks of the coming step from this 63-bit key, and seed PyTorch for any other random layer."""
        self.key, self.n_calls = key, 0
        torch.default_generator.manual_seed(key)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed(key)

    def apply(self, p: float, x: Tensor) -> Tensor:
        """Return `x` with each element set to zero with probability `p`, the others scaled up to keep the mean."""
        layer, self.n_calls = self.n_calls, self.n_calls + 1
        if p == 1:
            return x * 0
        n_hashes = (x.numel() + 1) // 2
        if len(self.counters) < n_hashes or self.counters.device != x.device:
            self.counters = torch.arange(n_hashes, dtype=torch.int32, device=x.device)
        start = _as_int32(self.key + layer * 0x9E3779B9)
        mixed = (self.counters[:n_hashes] + start).bitwise_xor_(self.key >> 32)
        # PyTorch shifts signed integers with their sign; the mask makes it the logical shift of the hash.
        mixed.bitwise_xor_(mixed.bitwise_right_shift(16).bitwise_and_(0xFFFF)).mul_(0x7FEB352D)
        mixed.bitwise_xor_(mixed.bitwise_right_shift(15).bitwise_and_(0x1FFFF)).mul_(_as_int32(0x846CA68B))
        mixed.bitwise_xor_(mixed.bitwise_right_shift(16).bitwise_and_(0xFFFF))
        # 15 bits less the share to keep are negative where the element is kept. Shifted, that is -1 and elsewhere 0,
        # without a comparison, which would be the slowest operation here.
        share = min(max(round((1 - p) * 2**15), 1), 2**15 - 1)
        kept = mixed.view(torch.int16).bitwise_and_(0x7FFF).sub_(share).bitwise_right_shift_(15)[: x.numel()]
        return x * kept.view_as(x).to(x.dtype).mul_(-(2**15) / share)


def _as_int32(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


@contextmanager
def hashed_dropout(module: nn.Module) -> Iterator[HashedDropout]:
    """Let every `nn.Dropout` of the module draw its masks from a hash; the module is as before when this ends."""
    dropout = HashedDropout(module)

    def replacement(layer: nn.Dropout) -> Callable[[Tensor], Tensor]:
        return lambda x: dropout.apply(layer.p, x) if layer.training else x

    with torch.random.fork_rng():
        for layer in dropout.layers:
            layer.forward = replacement(layer)  # type: ignore[method-assign, assignment]
        try:
            yield dropout
        finally:
            for layer in dropout.layers:
                del layer.forward


def choose_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is CUDA, then MPS, then the CPU, whichever is there first.

    Warns:
        TabcohortWarning: the device is not there; the CPU is used.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(each for each, there in available.items() if there)
    if not available[name]:
        warnings.warn(
            f"PyTorch finds no {name} device on this machine; training on the CPU", TabcohortWarning, stacklevel=2
        )
        name = "cpu"
    return torch.device(name)

"""The reference engine: PyTorch's autograd runs any module, on a CPU or an accelerator.

The page to read is `TorchEngine.run_epoch`. It is fast because the whole table is in two tensors and a batch is a
gather, all parameters are views of one flat vector (so that clipping and the fused optimizer step are one call each),
losses stay on the device until the epoch is over, and dropout masks come from an integer hash.
"""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from tabcohort.engines.batches import Batches
from tabcohort.engines.layers import LayerArrays, average_gradient, layer_arrays
from tabcohort.engines.process_group import ranks
from tabcohort.engines.protocol import MemberData, State, check_shape_of_logits
from tabcohort.engines.reading import Reading
from tabcohort.engines.regularization import schedule_factor
from tabcohort.engines.validation import EpochResult
from tabcohort.errors import TabcohortWarning, TrainingError, first_line
from tabcohort.network.models import PiecewiseLinear, QuantileScale, RobustScale, Scale, SmoothClip
from tabcohort.network.ops import keep_share, scheduled_share
from tabcohort.settings import Config
from tabcohort.types import IntArray

ROWS_PER_PASS = 1_024  # activations of more rows leave the cache
PREPROCESSING = (SmoothClip, RobustScale, QuantileScale, PiecewiseLinear)


class TorchEngine:
    """Trains a module in place; see `tabcohort.engines.protocol.Engine`.

    Under `torchrun`, every process has such an engine and computes its share of the rows of each step; they begin with
    the module of the first process, and all have the same numbers after each step.

    Args:
        module: maps `(n_rows, n_features)` float tensors to `(n_rows, n_outputs)` logits.
        data: the member's rows.
        config: optimizer, decay, clipping, `max_epochs` and the schedules of decay and dropout are used.
        device: where to train.

    Raises:
        TrainingError: the module's logits do not fit the number of classes, or the processes of a training have
            different modules, rows or configs.
    """

    name = "torch"

    def __init__(self, module: nn.Module, data: MemberData, config: Config, device: torch.device) -> None:
        self.module = module.to(device)
        self.config = config
        self.device = device
        self.device_name = device.type
        self.data, self.batches = data, Batches(data.batches)
        dtype = next((parameter.dtype for parameter in module.parameters()), torch.float32)
        if dtype not in (torch.float32, torch.float64):
            raise TrainingError(f"the module's parameters must be float32 or float64; they are {dtype}")
        preprocessing, self.learning = _parts(module)  # rows are preprocessed once, and mixed after that
        self._preprocessing, self._dtype = preprocessing, dtype
        self._load(data.reading, data.train, data.soft_targets)
        self.val_inputs = self._inputs_of(*data.validation_rows())
        check_logits(self.learning, self.val_inputs[:1], n_classes=data.n_classes)
        self.parameters = FlatParameters(module)
        self.moments = {
            name: torch.zeros_like(self.parameters.values) for name in MOMENTS_OF_OPTIMIZER[config.optimizer]
        }
        self.groups = self.parameters.groups(config)
        self.steps_taken = [torch.zeros((), device=device) for _ in self.groups]
        self._tensors = {"parameters": self.parameters.values, **self.moments}
        self._tensors.update({f"buffer.{name}": buffer for name, buffer in module.named_buffers()})
        self.ranks = ranks()
        self.ranks.check_same(self._digests())
        self.ranks.copy_from_first([self.parameters.values, *module.buffers()])

    def run_epoch(self, epoch: int, rates: Sequence[float]) -> EpochResult:
        """Run every step of the epoch, then pass the validation rows through the network once."""
        block, learning_rate = self.batches.block(epoch, 1), rates[epoch - 1]
        batches = block[0]
        for steps in self.steps_taken:
            steps.fill_((epoch - 1) * batches.n_steps)
        partners = torch.from_numpy(batches.partners).to(self.device)
        losses = torch.zeros(batches.n_steps, dtype=self._dtype, device=self.device)
        decay = self.config.weight_decay * schedule_factor(self.config.decay_schedule, epoch, self.config)
        self.module.train()
        with one_thread(), hashed_dropout(self.module) as dropout, self.ranks.joint_batch_norm(self.module):
            dropout.factor = schedule_factor(self.config.dropout_schedule, epoch, self.config)
            for part in self.data.parts(block):
                if part.train is not self._train:  # the rows of the part before
                    self._load(part.reading, part.train, part.soft_targets)
                order, first = torch.from_numpy(part.orders[0]).to(self.device), batches.bounds[part.steps.start]
                for step in range(part.steps.start, part.steps.stop):
                    start, stop = batches.bounds[step : step + 2]
                    share = self.ranks.share(stop - start)
                    dropout.take_key(int(batches.layer_keys[step]), first_row=share.start, rank=self.ranks.rank)
                    losses[step] = self._gradient_of_step(
                        order[start - first : stop - first], share, partners[start:stop], batches.mix[step]
                    )
                    self._update(learning_rate, decay)
                del part  # before the next one is read
            val_logits = self._val_logits()
        self._check_buffers()
        self.ranks.add_up(losses)
        step_losses = losses.cpu().numpy().astype(np.float64)
        (result,) = self.data.validation.results(step_losses[None], val_logits[None], n_train=len(batches.order))
        return result

    def _gradient_of_step(self, rows: Tensor, share: slice, partners: Tensor, mix: float) -> Tensor:
        """Compute the clipped gradient of a step, and return its loss, summed over the rows of this process.

        Args:
            rows: that the step trains on, as places in the loaded rows, `(n,)`.
            share: which of them this process computes.
            partners: the place in `rows` of the row that each is mixed with, `(n,)`; empty without mixup.
            mix: the weight of a row's own values; 1 is a step without mixup.
        """
        inputs, targets = self._rows(rows[share])
        if mix < 1:
            other_inputs, other_targets = self._rows(rows[partners[share]])
            inputs = self._mixed(inputs, other_inputs, mix)
            targets = torch.lerp(other_targets, targets, mix)
        loss = loss_sum(self.learning(inputs), targets, self.targets_sum_to_one)
        self.parameters.gradient.zero_()
        loss.backward(torch.full_like(loss, 1 / len(rows)))  # the gradient of the mean over the rows
        self.ranks.add_up(self.parameters.gradient)
        self._clip()
        return loss.detach()

    def _inputs_of(self, reading: Reading, rows: IntArray) -> Tensor:
        """Return the preprocessed inputs of rows, on the device."""
        return self._preprocessing(torch.from_numpy(reading.inputs(rows)).to(self.device, self._dtype))

    def _load(self, reading: Reading, train: IntArray, soft_targets: NDArray[np.float32]) -> None:
        """Take over the rows that are trained on."""
        self._train, self.inputs = train, self._inputs_of(reading, train)
        self.targets = torch.from_numpy(soft_targets).to(self.device, self._dtype)
        self.targets_sum_to_one = bool((soft_targets.sum(axis=1) == 1).all())

    def snapshot(self) -> State:
        """Return copies of parameters, buffers and moments."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self._tensors.items()}

    def restore(self, state: State) -> None:
        """Continue from a snapshot."""
        with torch.no_grad():
            for name, array in state.items():
                self._tensors[name].copy_(torch.from_numpy(np.array(array)))

    def layer_arrays(self, epoch: int) -> list[LayerArrays]:
        """Return copies of each parameter array and of its average gradients."""
        n_steps, moment = epoch * (len(self.data.batches.bounds) - 1), next(iter(self.moments.values()))
        if self.config.optimizer == "sgd" and self.config.momentum == 0:  # PyTorch keeps none then
            moment = self.parameters.gradient
        values = self.parameters.values.detach().cpu().numpy().copy()
        gradients = average_gradient(moment.cpu().numpy(), self.config, n_steps)
        return layer_arrays(self.parameters.places, values, gradients)

    def _rows(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and soft targets of some training rows."""
        return self.inputs.index_select(0, rows), self.targets.index_select(0, rows)

    def _val_logits(self) -> NDArray[np.floating]:
        """Return the logits of the validation rows, `(n_val, n_outputs)`, of which each process computes its share."""
        self.ranks.copy_from_first(self.module.buffers())  # of a module that counts rows, say
        n_rows = len(self.val_inputs)
        if n_rows < self.ranks.size:
            return logits_in_eval_mode(self.learning, self.val_inputs).cpu().numpy()
        logits = logits_in_eval_mode(self.learning, self.val_inputs[self.ranks.share(n_rows)])
        return self.ranks.gather_rows(logits, n_rows).cpu().numpy()

    def _digests(self) -> dict[str, str]:
        """Return a SHA-256 of the module, of the rows that train and validate, and of the config."""
        if self.ranks.size == 1:
            return {}
        rows = hashlib.sha256()
        for tensor in (self.inputs, self.targets, self.val_inputs):
            rows.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
        shapes = [(name, tuple(tensor.shape), str(tensor.dtype)) for name, tensor in self.module.state_dict().items()]
        texts = {"the module": f"{self.module} {shapes}", "the config": f"{self.config} {self.data.batches}"}
        hashed = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
        return {"the table": rows.hexdigest(), **hashed}

    def _mixed(self, own: Tensor, other: Tensor, weight: float) -> Tensor:
        """Return `weight * own + (1 - weight) * other`; rows of learned vectors are those of the heavier one."""
        n_mixed = own.shape[1] - len(self.data.reading.learned)
        heavier = own if weight >= 0.5 else other
        return torch.cat([torch.lerp(other[:, :n_mixed], own[:, :n_mixed], weight), heavier[:, n_mixed:]], dim=1)

    def _clip(self) -> None:
        if self.config.clip_norm is not None:
            gradient = self.parameters.gradient
            norm = gradient.dot(gradient).sqrt()
            gradient.mul_(torch.clamp(self.config.clip_norm / (norm + 1e-6), max=1.0))

    def release(self) -> None:
        """Leave the module in evaluation mode, on the CPU, its parameters with storage of their own."""
        self.parameters.release(self.module)
        self.module.to("cpu").eval()

    def _update(self, learning_rate: float, weight_decay: float) -> None:
        """Take one step of the optimizer, for one group of parameters after another; only the matrices decay."""
        config, values, gradient = self.config, self.parameters.values, self.parameters.gradient
        matrices = slice(self.parameters.n_in_matrices)
        if weight_decay > 0 and config.optimizer == "adamw":
            values[matrices].add_(values[matrices], alpha=-learning_rate * weight_decay)
        elif weight_decay > 0:
            gradient[matrices].add_(values[matrices], alpha=weight_decay)
        for (group, factor), steps in zip(self.groups, self.steps_taken, strict=True):
            if config.optimizer == "sgd":
                sgd(
                    [values[group]],
                    [gradient[group]],
                    [self.moments["momentum"][group]],
                    fused=True,
                    lr=learning_rate * factor,
                    momentum=config.momentum,
                    weight_decay=0.0,
                    dampening=0.0,
                    nesterov=False,
                    maximize=False,
                )
            else:
                adam(
                    [values[group]],
                    [gradient[group]],
                    [self.moments["exp_avg"][group]],
                    [self.moments["exp_avg_sq"][group]],
                    [],
                    [steps],
                    fused=True,
                    lr=learning_rate * factor,
                    beta1=config.beta1,
                    beta2=config.beta2,
                    eps=config.epsilon,
                    weight_decay=0.0,
                    amsgrad=False,
                    maximize=False,
                )

    def _check_buffers(self) -> None:
        """Raise `TrainingError` if the module replaced a buffer by another tensor, which no snapshot would restore."""
        for name, buffer in self.module.named_buffers():
            if buffer is not self._tensors.get(f"buffer.{name}"):
                raise TrainingError(
                    f"the module replaces its buffer {name!r} in forward, so the best epoch's could not be restored; "
                    "change the buffer in place (buffer.copy_(...)) instead"
                )


MOMENTS_OF_OPTIMIZER = {
    "sgd": ("momentum",),
    "adam": ("exp_avg", "exp_avg_sq"),
    "adamw": ("exp_avg", "exp_avg_sq"),
}


class FlatParameters:
    """A module's trainable parameters and their gradients as views of two flat vectors, matrices first.

    Weight decay is for matrices only, not for vectors (biases, the gains and shifts of normalisation).

    Args:
        module: its parameters are moved into `values` and share its storage from then on.

    Raises:
        TrainingError: the module has no trainable parameters.
    """

    def __init__(self, module: nn.Module) -> None:
        named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
        if not named:
            raise TrainingError("the module has no trainable parameters; there is nothing to train")
        named.sort(key=lambda pair: pair[1].ndim < 2)
        trainable = [parameter for _, parameter in named]
        self.n_in_matrices = sum(parameter.numel() for parameter in trainable if parameter.ndim >= 2)
        self.values = torch.cat([parameter.detach().reshape(-1) for parameter in trainable])
        self.gradient = torch.zeros_like(self.values)
        scales = {id(layer.weight) for layer in module.modules() if isinstance(layer, Scale)}
        self._scales: list[slice] = []
        self.places: list[tuple[str, slice]] = []  # name and place of each parameter, in the module's order
        start = 0
        for name, parameter in named:
            part = slice(start, start + parameter.numel())
            self.places.append((name, part))
            if id(parameter) in scales:
                self._scales.append(part)
            parameter.data = self.values[part].view_as(parameter)
            parameter.grad = self.gradient[part].view_as(parameter)
            start = part.stop
        places = dict(self.places)
        self.places = [(name, places[name]) for name, _ in module.named_parameters() if name in places]

    def groups(self, config: Config) -> list[tuple[slice, float]]:
        """Return groups of parameters with factors of their learning rates: one where all factors are 1."""
        if config.bias_rate_factor == config.scale_rate_factor == 1:
            return [(slice(None), 1.0)]
        groups, start = [(slice(self.n_in_matrices), 1.0)], self.n_in_matrices
        for scale in self._scales:
            groups += [(slice(start, scale.start), config.bias_rate_factor), (scale, config.scale_rate_factor)]
            start = scale.stop
        return [*groups, (slice(start, None), config.bias_rate_factor)]

    def release(self, module: nn.Module) -> None:
        """Give every parameter of the module storage of its own again, and remove its gradient."""
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.clone()
                parameter.grad = None


def _parts(module: nn.Module) -> tuple[nn.Sequential, nn.Module]:
    """Return the layers at a module's beginning that preprocess rows and learn nothing, and the module after them."""
    layers = _flat(module)
    n_leading = len(list(itertools.takewhile(lambda layer: isinstance(layer, PREPROCESSING), layers)))
    learning = nn.Sequential(*layers[n_leading:]) if n_leading else module
    return nn.Sequential(*layers[:n_leading]), learning


def _flat(module: nn.Module) -> list[nn.Module]:
    """Return the layers of an `nn.Sequential` and of those within it."""
    if type(module) is not nn.Sequential:
        return [module]
    return [layer for child in module._modules.values() if child is not None for layer in _flat(child)]


def has_batch_norm(module: nn.Module) -> bool:
    """Return whether a layer of the module uses the statistics of its batch."""
    return any(isinstance(layer, _BatchNorm) for layer in module.modules())


def loss_sum(logits: Tensor, soft_targets: Tensor, targets_sum_to_one: bool = False) -> Tensor:
    """Return the cross-entropy `-sum_k target_k log p_k`, summed over rows, from logits and never from probabilities.

    Args:
        logits: `(n_rows, 1)`, the logit of the second of two classes, or `(n_rows, n_classes)`.
        soft_targets: soft targets times row weights, `(n_rows, n_classes)`.
        targets_sum_to_one: whether every row's targets are known to sum to 1, which saves a pass.
    """
    if logits.shape[1] > 1:
        return F.cross_entropy(logits, soft_targets, reduction="sum")
    if targets_sum_to_one:
        return F.binary_cross_entropy_with_logits(logits, soft_targets[:, 1:], reduction="sum")
    total = soft_targets.sum(dim=1, keepdim=True).clamp_min(torch.finfo(soft_targets.dtype).tiny)
    return F.binary_cross_entropy_with_logits(logits, soft_targets[:, 1:] / total, total, reduction="sum")


def loss_per_row(logits: Tensor, soft_targets: Tensor) -> Tensor:
    """Return what `loss_sum` sums, `(n_rows,)`."""
    if logits.shape[1] > 1:
        return F.cross_entropy(logits, soft_targets, reduction="none")
    total = soft_targets.sum(dim=1, keepdim=True).clamp_min(torch.finfo(soft_targets.dtype).tiny)
    return F.binary_cross_entropy_with_logits(logits, soft_targets[:, 1:] / total, total, reduction="none")[:, 0]


@torch.no_grad()
def logits_in_eval_mode(module: nn.Module, inputs: Tensor) -> Tensor:
    """Return the module's output for all rows, in evaluation mode, a thousand rows at a time."""
    module.eval()
    return torch.cat([module(rows) for rows in inputs.split(ROWS_PER_PASS)])


def check_logits(module: nn.Module, row: Tensor, n_classes: int) -> None:
    """Raise `TrainingError` unless the module gives `(n, n_classes)` logits, or `(n, 1)` for two classes.

    A module that returns `(n,)` would otherwise be compared with `(n, 1)` targets as an `(n, n)` table.
    """
    rows = row.repeat(2, 1)
    try:
        shape = tuple(logits_in_eval_mode(module, rows).shape)
    except (RuntimeError, TypeError) as error:
        raise TrainingError(
            f"the module must map a float tensor of shape (n, {row.shape[1]}) to logits: {first_line(error)}"
        ) from None
    check_shape_of_logits(shape, n_classes)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch's CPU operations on one thread: sums then have one order, so every bit is the same anywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class HashedDropout:
    """The dropout layers of a module, and the key that their next masks are computed from.

    Elements `2 i` and `2 i + 1` of a step's call `l` use 15 bits each of a 32-bit hash of (key, l, i), and are kept
    where these are below the share to keep. Such a mask needs no generator, does not depend on threads, and costs a
    sixth of a Bernoulli draw on a CPU. The mixing function is `lowbias32` (Wellons 2018).

    Args:
        module: its `nn.Dropout` layers.

    The probability is multiplied by `factor`.
    """

    def __init__(self, module: nn.Module) -> None:
        self.layers = [layer for layer in module.modules() if isinstance(layer, nn.Dropout) and layer.p > 0]
        self.key, self.factor = 0, 1.0
        self.n_calls = 0  # in this step: a layer that is used twice has two masks
        self.first_row = 0
        self.counters = torch.empty(0, dtype=torch.int32)

    def take_key(self, key: int, first_row: int = 0, rank: int = 0) -> None:
        """Compute the next step's masks from this 63-bit key, and seed PyTorch for any other random layer.

        Args:
            key: of the step.
            first_row: rows of the step before those that the module is given, which other processes compute.
            rank: of this process: other random layers draw different numbers in each.
        """
        self.key, self.n_calls, self.first_row = key, 0, first_row
        torch.default_generator.manual_seed(key ^ rank)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed(key ^ rank)

    def apply(self, p: float, x: Tensor) -> Tensor:
        """Return `x` with each element set to zero with probability `p`, the others scaled up to keep the mean."""
        layer, self.n_calls = self.n_calls, self.n_calls + 1
        share = scheduled_share(keep_share(p), self.factor)
        if share == 0 or x.numel() == 0:
            return x * 0
        first, skipped = divmod(self.first_row * (x.numel() // len(x)), 2)
        end = first + (skipped + x.numel() + 1) // 2
        if len(self.counters) < end or self.counters.device != x.device:
            self.counters = torch.arange(end, dtype=torch.int32, device=x.device)
        start = as_int32(self.key + layer * HASH_OF_LAYER)
        kept = kept_elements(self.counters[first:end], start, self.key >> 32, share)[skipped : skipped + x.numel()]
        return x * kept.view_as(x).to(x.dtype).mul_(-(2**15) / share)


HASH_OF_LAYER = 0x9E3779B9


def kept_elements(counters: Tensor, start: int | Tensor, high: int | Tensor, share: int | Tensor) -> Tensor:
    """Return -1 for each element that dropout keeps and 0 for the others, int16, two elements per counter.

    Args:
        counters: half the numbers of the elements, `(n,)`, int32.
        start: the lower 32 bits of the key, with the layer's number; or of several keys, `(n_keys, 1)`, int32.
        high: the upper bits of the key, or of several.
        share: of the elements to keep, in 32,768ths; or of several keys, `(n_keys, 1)`, int16.
    """
    mixed = (counters + start).bitwise_xor_(high)
    # PyTorch's shift of signed integers keeps the sign; the mask makes it the logical shift of the hash.
    mixed.bitwise_xor_(mixed.bitwise_right_shift(16).bitwise_and_(0xFFFF)).mul_(0x7FEB352D)
    mixed.bitwise_xor_(mixed.bitwise_right_shift(15).bitwise_and_(0x1FFFF)).mul_(as_int32(0x846CA68B))
    mixed.bitwise_xor_(mixed.bitwise_right_shift(16).bitwise_and_(0xFFFF))
    # 15 bits less the share to keep are negative where the element is kept. Shifted, that is -1 and elsewhere 0,
    # without a comparison, which would be the slowest operation here.
    return mixed.view(torch.int16).bitwise_and_(0x7FFF).sub_(share).bitwise_right_shift_(15)


def as_int32(value: int) -> int:
    """Return the signed number that has the lower 32 bits of another one."""
    return (value + 2**31) % 2**32 - 2**31


@contextmanager
def hashed_dropout(module: nn.Module) -> Iterator[HashedDropout]:
    """Let every `nn.Dropout` of the module compute its masks from a hash while this context lasts."""
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
    """Return the device of that name; "auto" is CUDA, MPS or the CPU, the first that is available.

    Warns:
        TabcohortWarning: the device is not available; the CPU is used.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, is_available in available.items() if is_available)
    if not available[name]:
        warnings.warn(
            f"PyTorch finds no {name} device on this machine; training on the CPU", TabcohortWarning, stacklevel=2
        )
        name = "cpu"
    return torch.device(name)

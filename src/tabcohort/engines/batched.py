"""The batched engine: members of one config train side by side, each operation on all of them in one call.

A step of a small network on a GPU is a hundred launches of nearly nothing. Here the networks of several members are one
program whose arrays have a leading axis of members: a linear layer is one `torch.baddbmm`, and the optimizer is a few
operations on a matrix of all parameters. A member's batches, dropout masks and mixup are those of the other engines.

Each member has an engine of its own, which the training loop drives as any other; an epoch runs when all members of the
block wait for their next one. So schedules, early stopping, best weights and checkpoints are per member, a member that
stops leaves the block, and one that begins joins it. Members of a block may be in different epochs.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from numpy.typing import NDArray
from torch import Tensor

from tabcohort.engines.batches import Batches, EpochBatches
from tabcohort.engines.layers import LayerArrays, average_gradient, layer_arrays
from tabcohort.engines.protocol import MemberData, State, check_shape_of_logits
from tabcohort.engines.regularization import schedule_factor
from tabcohort.engines.stacked_program import CapturedStep, StackedProgram, StepInputs
from tabcohort.engines.torch_loop import ROWS_PER_PASS, choose_device, loss_per_row
from tabcohort.engines.validation import EpochResult
from tabcohort.network.ops import scheduled_share
from tabcohort.network.program import Network, Program
from tabcohort.settings import Config

_ONE_AT_A_TIME = threading.Lock()  # epochs of different blocks, which share a device


class BatchedEngine:
    """Trains one member, together with the others of its block; see `tabcohort.engines.protocol.Engine`.

    Its state has the names and shapes of the compiled engine's.

    Args:
        network: its numbers are read now and written back by `release`.
        data: the member's rows.
        config: the same for all members of the block.
        block: the members that train together; this one joins now, and leaves at `release`.

    Raises:
        TrainingError: the network's logits do not fit the number of classes.
    """

    name = "batched"

    def __init__(self, network: Network, data: MemberData, config: Config, block: Block) -> None:
        check_shape_of_logits((2, network.n_outputs), data.soft_targets.shape[1])
        self.network, self.data, self.config, self.block = network, data, config, block
        self.device_name = block.device.type
        self.batches = Batches(data.batches)
        rows = (data.reading.inputs(part) for part in (data.train, data.validation.rows))
        self.inputs, self.val_inputs = (_preprocessed(network, torch.from_numpy(part)) for part in rows)
        self.stack: Stack | None = None  # where its numbers are, once an epoch has run
        parameters = network.parameters
        self._state: State = {
            "parameters": parameters.copy(),
            "buffers": network.buffers.copy(),
            "first_moment": np.zeros_like(parameters),
            "second_moment": np.zeros_like(parameters if config.optimizer != "sgd" else parameters[:0]),
        }
        block.join(self)

    def run_epoch(self, epoch: int, rates: Sequence[float]) -> EpochResult:
        """Wait until all members of the block want their next epoch, and return this member's result."""
        return self.block.run_epoch(self, epoch, rates[epoch - 1])

    def snapshot(self) -> State:
        """Return the member's part of the block's numbers."""
        if self.stack is not None:
            return self.stack.state_of(self)
        return {name: array.copy() for name, array in self._state.items()}

    def restore(self, state: State) -> None:
        """Continue from a snapshot."""
        if state:
            self._state, self.stack = {name: np.array(array) for name, array in state.items()}, None

    def layer_arrays(self, epoch: int) -> list[LayerArrays]:
        """Return each parameter array with its average gradients after the last epoch."""
        state, n_steps = self.snapshot(), epoch * (len(self.data.batches.bounds) - 1)
        gradients = average_gradient(state["first_moment"], self.config, n_steps)
        return layer_arrays(self.network.program.parameter_places(), state["parameters"], gradients)

    def release(self) -> None:
        """Write parameters and buffers back into the network, and leave the block."""
        try:
            state = self.snapshot()
        finally:
            self.block.leave(self)  # the others would wait for it
        self.network.parameters[:], self.network.buffers[:] = state["parameters"], state["buffers"]


class Block:
    """Members with the same network and config, which train side by side on one device.

    Args:
        program: of their networks.
        config: of the members; its device is where they train.
    """

    def __init__(self, program: Program, config: Config) -> None:
        self.program, self.config, self.device = program, config, choose_device(config.device)
        self._condition = threading.Condition()
        self._members: list[BatchedEngine] = []
        self._waiting: dict[BatchedEngine, tuple[int, float]] = {}  # epoch and rate
        self._results: dict[BatchedEngine, EpochResult | BaseException] = {}

    def make_engine(self, network: Network, data: MemberData) -> BatchedEngine:
        """Return the engine of a member, which joins this block."""
        return BatchedEngine(network, data, self.config, self)

    def join(self, member: BatchedEngine) -> None:
        """Add a member: from now on, the others wait for it before each epoch."""
        with self._condition:
            self._members.append(member)

    def leave(self, member: BatchedEngine) -> None:
        """Remove a member; the others need not wait for it any more."""
        with self._condition:
            self._members.remove(member)
            self._condition.notify_all()

    def run_epoch(self, member: BatchedEngine, epoch: int, rate: float) -> EpochResult:
        """Return the result of a member's next epoch, which the last member to call this runs for all."""
        with self._condition:
            self._waiting[member] = epoch, rate
            while member not in self._results:
                if len(self._waiting) == len(self._members):
                    self._run_all()
                else:
                    self._condition.wait()
            result = self._results.pop(member)
        if isinstance(result, BaseException):
            raise result
        return result

    def _run_all(self) -> None:
        """Run the next epoch of all members, those with steps of the same sizes together."""
        waiting, self._waiting = self._waiting, {}
        kinds: dict[bytes, dict[BatchedEngine, tuple[int, float]]] = {}
        for member in sorted(waiting, key=lambda member: member.data.batches.member):
            kinds.setdefault(member.data.batches.bounds[:-1].tobytes(), {})[member] = waiting[member]
        for asked in kinds.values():
            try:
                with _ONE_AT_A_TIME:
                    self._results.update(self._stack_of(list(asked)).run_epoch(asked))
            except BaseException as error:  # raised by each of them
                self._results.update(dict.fromkeys(asked, error))
        self._condition.notify_all()

    def _stack_of(self, members: Sequence[BatchedEngine]) -> Stack:
        """Return the numbers of these members side by side: those of before, while most of them are still used."""
        stack = members[0].stack
        is_current = stack is not None and all(member.stack is stack for member in members)
        if stack is None or not is_current or 2 * len(members) <= len(stack.members):
            stack = Stack(members, self.program, self.config, self.device)
        return stack


def seconds_per_epoch(network: Network, data: MemberData, config: Config, n_members: int) -> float:
    """Return how long an epoch of this many members takes together, which are copies of one: the second of two epochs.

    It is infinite where the device of the config is the CPU.

    Args:
        network, data: of the member; they are not changed.
        config: its device is used.
        n_members: number of copies.
    """
    block = Block(network.program, config)
    if block.device.type == "cpu":
        return math.inf
    return time_epoch([block.make_engine(network, data) for _ in range(n_members)])


def time_epoch(members: Sequence[BatchedEngine]) -> float:
    """Return the seconds of the second of two epochs of members of one block, which no others train."""
    block = members[0].block
    stack = Stack(members, block.program, block.config, block.device)
    for epoch in (1, 2):
        began = time.perf_counter()
        stack.run_epoch(dict.fromkeys(members, (epoch, block.config.learning_rate)))
        seconds = time.perf_counter() - began
    return seconds


class Stack:
    """The numbers of several members side by side: every tensor has a leading axis of members.

    Args:
        members: their states are read now; from now on they are here.
        program: of their networks.
        config: `optimizer`, `clip_norm`, `precision` and the schedules of decay and dropout are used.
        device: where the tensors are.
    """

    def __init__(
        self, members: Sequence[BatchedEngine], program: Program, config: Config, device: torch.device
    ) -> None:
        self.members, self.program, self.config, self.device = members, program, config, device
        states = [member.snapshot() for member in members]
        self._buffers = [state["buffers"] for state in states]  # in 64 bits; those that prepare inputs never change
        self.values, self.buffers, self.first_moment, self.second_moment = (
            self._on_device(np.stack([state[name] for state in states]))
            for name in ("parameters", "buffers", "first_moment", "second_moment")
        )
        self.net = StackedProgram(program, self.values, self.buffers)
        self.inputs = torch.cat([member.inputs for member in members]).to(device)
        self.targets = self._on_device(np.concatenate([member.data.soft_targets for member in members]))
        self.val_inputs = nn.utils.rnn.pad_sequence([member.val_inputs for member in members], True).to(device)
        self.starts = np.cumsum([0, *(len(member.inputs) for member in members[:-1])])
        self.n_learned = len(members[0].data.reading.learned)
        self.rate_factors = self._on_device(_rate_factors(config, program))
        self.asked: dict[BatchedEngine, tuple[int, float]] = {}
        self._steps: dict[tuple[Any, ...], Callable[[StepInputs], Tensor]] = {}
        for member in members:
            member.stack = self

    def state_of(self, member: BatchedEngine) -> State:
        """Return copies of a member's numbers."""
        slot = self.members.index(member)
        named = {
            "parameters": self.values, "first_moment": self.first_moment, "second_moment": self.second_moment,
        }  # fmt: skip
        state: State = {name: values[slot].detach().cpu().numpy().copy() for name, values in named.items()}
        buffers, statistics = self._buffers[slot].copy(), self.buffers[slot].cpu().numpy()
        for place in self.net.places_of_statistics:
            buffers[place] = statistics[place]
        return {**state, "buffers": buffers}

    def run_epoch(self, asked: Mapping[BatchedEngine, tuple[int, float]]) -> dict[BatchedEngine, EpochResult]:
        """Run an epoch of each member: of the number, and at the learning rate, that it asks for.

        A member that has left goes on with what it last asked for, and nobody looks at it.
        """
        self.asked.update(asked)
        epochs = [self.asked[member] for member in self.members]
        batches = [member.batches.epoch(epoch) for member, (epoch, _) in zip(self.members, epochs, strict=True)]
        steps = self._step_inputs(batches, [rate for _, rate in epochs])
        losses = torch.stack([self._step(step) for step in steps], dim=1)
        step_losses, val_logits = losses.cpu().numpy().astype(np.float64), self._val_logits().cpu().numpy()
        results = {}
        for slot, member in enumerate(self.members):
            if member in asked:
                validation = member.data.validation
                logits = val_logits[slot, : len(validation.rows)]
                n_train = len(member.data.train)
                (results[member],) = validation.results(step_losses[slot][None], logits[None], n_train)
        return results

    def _step(self, step: StepInputs) -> Tensor:
        """Take one step of all members, and return the sums of their losses, `(n_members,)`."""
        kind = tuple(tensor.shape for tensor in step.tensors())
        if kind not in self._steps:
            state = (self.values, self.buffers, self.first_moment, self.second_moment)
            is_cuda = self.device.type == "cuda"
            self._steps[kind] = CapturedStep(self._eager_step, step, state) if is_cuda else self._eager_step
        return self._steps[kind](step)

    def _eager_step(self, step: StepInputs) -> Tensor:
        inputs, targets = self._rows(step.rows)
        if len(step.partners):
            other_inputs, other_targets = self._rows(step.partners)
            n_mixed = inputs.shape[2] - self.n_learned
            heavier = torch.where(step.mix >= 0.5, inputs, other_inputs)[:, :, n_mixed:]
            mixed = torch.lerp(other_inputs[:, :, :n_mixed], inputs[:, :, :n_mixed], step.mix)
            inputs, targets = torch.cat([mixed, heavier], dim=2), torch.lerp(other_targets, targets, step.mix)
        if len(step.mask):
            targets = targets * step.mask
        with self._autocast():
            logits = self.net.logits(inputs, step)
        losses = loss_per_row(logits.float().flatten(0, 1), targets.flatten(0, 1)).view(len(targets), -1).sum(dim=1)
        gradients = torch.autograd.grad(losses, self.net.leaves, 1 / step.sizes[:, 0])
        with torch.no_grad():
            self._update(torch.cat([gradient.flatten(1) for gradient in gradients], dim=1), step)
        return losses.detach()

    def _rows(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and soft targets, `(n_members, n, ...)`, of rows `(n_members, n)`."""
        flat = rows.flatten()
        return tuple(table.index_select(0, flat).unflatten(0, rows.shape) for table in (self.inputs, self.targets))

    def _update(self, gradient: Tensor, step: StepInputs) -> None:
        """Take one step of the optimizer, as `tabcohort.engines.torch_loop` does for a single network."""
        config, matrices = self.config, (slice(None), slice(self.program.n_in_matrices))
        if config.clip_norm is not None:
            norm = gradient.norm(dim=1, keepdim=True)
            gradient.mul_(torch.clamp(config.clip_norm / (norm + 1e-6), max=1.0))
        if config.weight_decay > 0 and config.optimizer == "adamw":
            self.values[matrices].mul_(1 - step.rate * step.decay)
        elif config.weight_decay > 0:
            gradient[matrices].add_(self.values[matrices] * step.decay)
        rates = step.rate * self.rate_factors
        if config.optimizer == "sgd":
            self.first_moment.mul_(config.momentum).add_(gradient)
            self.values.sub_(rates * self.first_moment)
            return
        self.first_moment.lerp_(gradient, 1 - config.beta1)
        self.second_moment.mul_(config.beta2).addcmul_(gradient, gradient, value=1 - config.beta2)
        deviation = (self.second_moment / step.bias2).sqrt_().add_(config.epsilon)
        self.values.sub_(rates / step.bias1 * self.first_moment / deviation)

    @torch.no_grad()
    def _val_logits(self) -> Tensor:
        """Return the logits of the validation rows, `(n_members, n_val, n_outputs)`."""
        with self._autocast():
            parts = [self.net.logits(rows, None) for rows in self.val_inputs.split(ROWS_PER_PASS, dim=1)]
        return torch.cat(parts, dim=1).float()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def _step_inputs(self, batches: Sequence[EpochBatches], rates: Sequence[float]) -> list[StepInputs]:
        """Return what each step of an epoch needs."""
        config, bounds, n_steps = self.config, batches[0].bounds[:-1], batches[0].n_steps
        sizes = np.stack([np.diff(epoch.bounds) for epoch in batches])  # they differ in the last step only
        width = int(bounds[-1]) + int(sizes[:, -1].max())
        rows, partners = self._padded_rows(batches, width)
        keys = np.stack([epoch.layer_keys for epoch in batches])
        mix = np.stack([epoch.mix for epoch in batches])
        epochs = np.array([epoch.epoch for epoch in batches])
        taken = (epochs[:, None] - 1) * n_steps + np.arange(1, n_steps + 1)
        decays = [config.weight_decay * schedule_factor(config.decay_schedule, epoch, config) for epoch in epochs]
        shares = self._shares(epochs)
        fixed = {"rate": self._on_device(np.array(rates))[:, None], "decay": self._on_device(np.array(decays))[:, None]}
        low, high = (self._ints(half) for half in (keys & 0xFFFFFFFF, keys >> 32))
        bias1, bias2 = (self._on_device(1 - beta**taken) for beta in (config.beta1, config.beta2))
        numbers, shares_kept = self._on_device(sizes), torch.from_numpy(shares).to(self.device)
        steps = []
        for step in range(n_steps):
            n = int(sizes[:, step].max())
            here = slice(int(bounds[step]), int(bounds[step]) + n)
            is_row = np.arange(n) < sizes[:, step, None]
            column = slice(step, step + 1)
            steps.append(
                StepInputs(
                    rows[:, here], low[:, column], high[:, column], numbers[:, column], fixed["rate"], fixed["decay"],
                    bias1[:, column], bias2[:, column], shares_kept,
                    partners[:, here] if (mix[:, step] < 1).any() else rows[:0],
                    self._on_device(mix[:, column])[:, :, None],
                    self._on_device(is_row if not is_row.all() else is_row[:0])[:, :, None],
                )
            )  # fmt: skip
        return steps

    def _padded_rows(self, batches: Sequence[EpochBatches], width: int) -> tuple[Tensor, Tensor]:
        """Return the rows of an epoch and those that they are mixed with, `(n_members, width)`."""
        rows = np.repeat(self.starts[:, None], width, axis=1)
        partners = rows.copy()
        for slot, epoch in enumerate(batches):
            rows[slot, : len(epoch.order)] += epoch.order
            if len(epoch.partners):
                begins = np.repeat(epoch.bounds[:-1], np.diff(epoch.bounds))
                partners[slot, : len(epoch.order)] += epoch.order[begins + epoch.partners]
        return torch.from_numpy(rows).to(self.device), torch.from_numpy(partners).to(self.device)

    def _shares(self, epochs: Iterable[int]) -> NDArray[np.int16]:
        """Return the shares that dropout operations keep, `(n_dropouts, n_members, 1)`."""
        config, kept = self.config, [int(op.constants[0]) for op in self.program.operations if op.kind == "dropout"]
        factors = [schedule_factor(config.dropout_schedule, epoch, config) for epoch in epochs]
        shares = [[[scheduled_share(share, factor)] for factor in factors] for share in kept]
        return np.array(shares, dtype=np.int16).reshape(len(kept), len(factors), 1)

    def _on_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array.astype(np.float32)).to(self.device)

    def _ints(self, array: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(array.astype(np.uint32).view(np.int32)).to(self.device)


def _rate_factors(config: Config, program: Program) -> NDArray[np.float64]:
    """Return what the learning rate of each parameter is multiplied by, `(n_parameters,)`."""
    factors = np.full(program.n_parameters, config.bias_rate_factor)
    factors[: program.n_in_matrices] = 1
    for op in program.operations:
        if op.kind == "scale":
            factors[op.parameters[0] : op.parameters[0] + op.d_out] = config.scale_rate_factor
    return factors


@torch.no_grad()
def _preprocessed(network: Network, inputs: Tensor) -> Tensor:
    """Return a member's inputs after the operations that prepare them, which are always the same."""
    program, arrays = network.program, network.named()
    for op in program.operations:
        if op.spec.prepares_input and op.kind not in ("encode", "standardize"):  # these two the reading has done
            layer = op.spec.make_layer(op, program.widths[op.sources[0]])
            for name, buffer in layer.named_buffers():
                buffer.copy_(torch.from_numpy(arrays[f"{op.path}.{name}"]))
            inputs = layer(inputs)
    return inputs

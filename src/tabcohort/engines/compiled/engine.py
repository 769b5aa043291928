"""The compiled engine: hand-derived gradients in machine code, no Python between steps, no PyTorch.

The arithmetic is in `operations.py` and `kernels.py`; this lays out a program's memory and calls them. Batches, mixup
partners and dropout masks are those of the torch engine, from the same plan.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numba import typeof
from numpy.typing import NDArray

from tabcohort.data.encoder import plain_encoding, store_rows
from tabcohort.engines.batches import Batches, BatchPlan, EpochBlock
from tabcohort.engines.compiled import inference, inference_kernels, jit, kernels
from tabcohort.engines.compiled.calls import addresses, backward_types, forward_types
from tabcohort.engines.compiled.layout import Layout
from tabcohort.engines.compiled.operations import KERNELS
from tabcohort.engines.layers import LayerArrays, average_gradient, layer_arrays
from tabcohort.engines.protocol import EpochPart, MemberData, State, check_shape_of_logits
from tabcohort.engines.reading import make_reading
from tabcohort.engines.regularization import schedule_factor
from tabcohort.engines.validation import EpochResult, ValidationSet
from tabcohort.errors import EngineError
from tabcohort.network.ops import OPS, scheduled_share
from tabcohort.network.program import Network, Program, are_bins_apart, build_program
from tabcohort.network.program_checks import check_network
from tabcohort.settings import Config

OPTIMIZERS = {"sgd": kernels.SGD, "adam": kernels.ADAM, "adamw": kernels.ADAMW}
ROWS_PER_PASS = 256
MAX_EPOCHS_PER_CALL, PRODUCTS_PER_CALL = 32, 2_000_000  # so that a call of several epochs takes a millisecond at most


class CompiledEngine:
    """Trains a network; see `tabcohort.engines.protocol.Engine`.

    Short epochs run ahead, several in a call of the kernel, which keeps the state after each of them.

    Args:
        network: its numbers are read now and written back by `release`. The `encode` and `standardize` operations at
            its beginning are what `data` does to the rows.
        data: the member's rows.
        config: optimizer, decay, clipping, `max_epochs` and the schedules of decay and dropout are used.

    Raises:
        TrainingError: the network's logits do not fit the number of classes.
        EngineError: an operation has no kernels, or a bin reads a column that there is not.
    """

    name, device_name = "compiled", "cpu"

    def __init__(self, network: Network, data: MemberData, config: Config) -> None:
        self.network, self.data, self.config = network, data, config
        self.batches = Batches(data.batches)
        parameters, program = network.parameters, network.program
        self.dtype = parameters.dtype
        self.n_outputs = program.n_outputs
        n_classes = data.n_classes
        check_shape_of_logits((2, self.n_outputs), n_classes)
        check_kernels(program)
        try:
            check_network(network)
        except ValueError as error:
            raise EngineError(str(error)) from None
        self._state: State = {
            "parameters": parameters.copy(),
            "buffers": network.buffers.copy(),
            "first_moment": np.zeros_like(parameters),
            "second_moment": np.zeros_like(parameters if config.optimizer != "sgd" else parameters[:0]),
        }
        self._gradient = np.zeros_like(parameters)
        self._optimizer = _optimizer_arguments(config, program, self.dtype)
        products = max(1, program.n_products * data.batches.n_rows)  # no linear layer, no products
        self._epochs_per_call = max(1, min(MAX_EPOCHS_PER_CALL, PRODUCTS_PER_CALL // products))
        if data.is_in_parts:
            self._epochs_per_call = 1
        rows_per_step = int(np.diff(data.batches.bounds).max())
        rows = max(rows_per_step, min(ROWS_PER_PASS, len(data.validation.rows)))
        self._layout = Layout(program, rows, n_classes, self.dtype, are_bins_apart(network))
        # The epochs of the last call: their results, rates and the states after them; how many were handed out.
        self._first, self._n_taken = 1, 0
        self._results: list[EpochResult] = []
        self._rates: Sequence[float] = ()
        self._kept: State = {}
        kinds = dict.fromkeys(op.kind for op in program.operations)
        jit.ensure_compiled(jobs_of(kinds, self.dtype.name), f"training in {self.dtype}")  # before training begins
        _ = self._kernels

    @functools.cached_property
    def _kernels(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The addresses of the forward and backward kernels of each operation, in this process."""
        own = [KERNELS[kind] for kind in self._layout.kinds]
        forwards = addresses([kernels.forward for kernels in own], forward_types(self.dtype))
        return forwards, addresses([kernels.backward for kernels in own], backward_types(self.dtype))

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: not the addresses."""
        return {name: value for name, value in self.__dict__.items() if name != "_kernels"}

    def run_epoch(self, epoch: int, rates: Sequence[float]) -> EpochResult:
        """Return the result of an epoch: from the last call of the kernel, if that ran ahead so far at this rate."""
        place = epoch - self._first
        if self._n_taken == place < len(self._results) and self._rates[place] == rates[epoch - 1]:
            self._n_taken += 1
            return self._results[place]
        if self._n_taken < len(self._results):  # it ran too far, or at other rates
            self.restore(self.snapshot())
        rates = rates[epoch - 1 : epoch - 1 + self._epochs_per_call]
        block = self.batches.block(epoch, len(rates))
        n_epochs, n_steps = block.mixes.shape
        state, data, validation = self._state, self.data, self.data.validation
        n_kept = n_epochs if n_epochs > 1 else 0  # the state after a single epoch is the engine's own
        kept = {name: np.empty((n_kept, array.size), array.dtype) for name, array in state.items()}
        losses = np.empty((n_epochs, n_steps))
        val_logits = np.empty((n_epochs, len(validation.rows), self.n_outputs), self.dtype)
        for part in data.parts(block):
            self._run_steps(part, block, rates[:n_epochs], kept, losses, val_logits)
            del part  # before the next one is read
        self._first, self._n_taken, self._rates = epoch, 1, rates
        self._kept = kept if n_kept else {}
        self._results = validation.results(losses, val_logits, n_train=data.batches.n_rows)
        return self._results[0]

    def _run_steps(
        self,
        part: EpochPart,
        block: EpochBlock,
        rates: Sequence[float],
        kept: State,
        losses: NDArray[np.float64],
        val_logits: NDArray[np.floating],
    ) -> None:
        """Run steps of some epochs; the validation rows come after the last one of an epoch.

        Args:
            part: which steps of each epoch.
            block: the epochs.
            rates: the learning rate of each epoch.
            kept, losses, val_logits: where states after each epoch, losses and logits go.
        """
        layout, steps, n_steps = self._layout, part.steps, block.mixes.shape[1]
        bounds = block.bounds[steps.start : steps.stop + 1]
        validation_reading, validation = self.data.validation_rows()
        if steps.stop < n_steps:
            validation = validation[:0]
        decays, constants = self._scheduled(range(block.first, block.first + len(block)))
        self._call(
            *self._kernels, layout.operations, constants, layout.values, layout.n_preprocessing,
            *self._state.values(),
            self._gradient, *kept.values(), layout.work, layout.spare, layout.batch_targets, part.reading, part.train,
            part.soft_targets.astype(self.dtype, copy=False), part.orders, bounds - bounds[0],
            block.mixes[:, steps].astype(self.dtype), block.partners[:, bounds[0] : bounds[-1]],
            block.layer_keys[:, steps], losses[:, steps], (block.first - 1) * n_steps + steps.start,
            np.array(rates, self.dtype), decays, *self._optimizer, validation_reading, validation, layout.rows,
            val_logits,
        )  # fmt: skip

    def _call(self, *arguments: Any) -> None:
        kernels.run_epochs(*arguments)

    def _scheduled(self, epochs: range) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the weight decay of some epochs, and the constants of the operations in each, dropout's share too."""
        config = self.config
        decay, dropout = (
            np.array([schedule_factor(schedule, epoch, config) for epoch in epochs])
            for schedule in (config.decay_schedule, config.dropout_schedule)
        )
        constants = np.repeat(self._layout.constants[None], len(epochs), axis=0)
        for number, column in self._layout.dropouts:
            share = int(self._layout.constants[number, column])
            constants[:, number, column] = [scheduled_share(share, factor) for factor in dropout]
        return (config.weight_decay * decay).astype(self.dtype), constants

    def snapshot(self) -> State:
        """Return the state after the last epoch that was handed out."""
        if self._n_taken and self._kept:
            return {name: states[self._n_taken - 1] for name, states in self._kept.items()}
        return {name: array.copy() for name, array in self._state.items()}

    def restore(self, state: State) -> None:
        """Continue from a snapshot."""
        for name, array in state.items():
            self._state[name][...] = array
        self._results, self._n_taken, self._kept = [], 0, {}

    def layer_arrays(self, epoch: int) -> list[LayerArrays]:
        """Return each parameter array with its average gradients after the last epoch that was handed out."""
        state, n_steps = self.snapshot(), epoch * (len(self.data.batches.bounds) - 1)
        parameters, gradients = state["parameters"], average_gradient(state["first_moment"], self.config, n_steps)
        return layer_arrays(self.network.program.parameter_places(), parameters, gradients)

    def release(self) -> None:
        """Write parameters and buffers, as `snapshot` returns them, back into the network."""
        state = self.snapshot()  # the engine's own may be some epochs ahead
        self.network.parameters[:], self.network.buffers[:] = state["parameters"], state["buffers"]


def _optimizer_arguments(config: Config, program: Program, dtype: np.dtype[np.floating]) -> tuple[object, ...]:
    """Return what the kernel takes for the optimizer: its number, the groups of parameters, and its constants."""
    beta1 = config.momentum if config.optimizer == "sgd" else config.beta1
    constants = (beta1, config.beta2, config.epsilon, config.clip_norm or 0.0)
    groups, *factors = _groups(config, program)
    numbers = (*(own.astype(dtype) for own in factors), *(dtype.type(constant) for constant in constants))
    return OPTIMIZERS[config.optimizer], groups, *numbers


def _groups(config: Config, program: Program) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return where groups of parameters begin and the last ends, and factors of their learning rates and decays.

    Matrices come first, and then vectors, between which the scales of inputs are groups of their own.

    Returns:
        The places, `(n_groups + 1,)`, and both factors, `(n_groups,)`.
    """
    ends, rates = [0, program.n_in_matrices], [1.0]
    for op in program.operations:
        if op.kind == "scale":
            ends += [op.parameters[0], op.parameters[0] + op.d_out]
            rates += [config.bias_rate_factor, config.scale_rate_factor]
    rates.append(config.bias_rate_factor)
    return np.array([*ends, program.n_parameters]), np.array(rates), np.array([1.0, *[0.0] * (len(rates) - 1)])


def check_kernels(program: Program) -> None:
    """Raise `EngineError` if there are no kernels for an operation of the program."""
    for op in program.operations[:-1]:
        if op.kind not in KERNELS and op.kind not in ("encode", "standardize"):
            raise EngineError(f"the operation {op.kind!r} has no kernels; add them to KERNELS")


def jobs_of(kinds: Iterable[str], dtype: str) -> list[jit.Job]:
    """Return what trains with operations of these kinds, and what then predicts."""
    known = [kind for kind in kinds if kind in KERNELS]
    own = {
        kernel: (kind, direction)
        for kind in known
        for direction, kernel in (("forward", KERNELS[kind].forward), ("backward", KERNELS[kind].backward))
    }
    operations = [
        jit.Job(kernel, dtype, (__name__, "compile_operation", *names, dtype)) for kernel, names in own.items()
    ]
    codes = [inference_kernels.AFFINE, *(OPS[kind].code for kind in known)]
    predicting = inference.jobs_of([code for code in codes if code in inference_kernels.KERNELS], dtype)
    return [jit.Job(kernels.run_epochs, dtype, (__name__, "compile_loop", dtype)), *operations, *predicting]


def compile_operation(kind: str, direction: str, dtype: str) -> None:
    """Compile the forward or the backward pass of an operation."""
    kinds = forward_types(dtype) if direction == "forward" else backward_types(dtype)
    addresses([getattr(KERNELS[kind], direction)], kinds)


def compile_loop(dtype: str) -> None:
    """Compile what calls the kernels of operations for the steps of epochs, and none of them."""
    _train_a_row(_LoopCompiler, dtype)


class _LoopCompiler(CompiledEngine):
    """Compiles where another engine runs; nothing is called."""

    @functools.cached_property
    def _kernels(self) -> tuple[NDArray[Any], NDArray[Any]]:
        none = np.zeros(len(self._layout.kinds), np.int64)
        return none, none

    def _call(self, *arguments: Any) -> None:
        kernels.run_epochs.compile(tuple(map(typeof, arguments)))
        *_, val_logits = arguments
        val_logits[...] = 0


def compile_kernels(dtype: str, kinds: Iterable[str] | None = None) -> None:
    """Compile what trains and what then predicts, side by side, where this installation has not done so.

    Args:
        dtype: of the parameters.
        kinds: the networks' operations; all that there are when omitted.
    """
    jobs = [*jobs_of(KERNELS if kinds is None else kinds, dtype), inference.job_of_trees()]
    jit.ensure_compiled(jobs, f"training in {dtype}")
    _train_a_row(CompiledEngine, dtype)


def _train_a_row(engine: type[CompiledEngine], dtype: str) -> None:
    program = build_program(Config(model="logistic"), 1, 2)
    network = Network(program, np.zeros(program.n_parameters, dtype), np.zeros(program.n_buffers))
    rows, targets = np.arange(2), np.zeros((2, 2), np.float32)
    batches, validation = BatchPlan(2, 2, 0.0, 0.0, False, seed=0), ValidationSet(rows, rows, np.ones(2), None)
    reading = make_reading(store_rows(np.zeros((2, 1)), None), plain_encoding(1), None)
    data = MemberData(reading, rows, targets, batches, validation)
    engine(network, data, Config()).run_epoch(1, [0.0])

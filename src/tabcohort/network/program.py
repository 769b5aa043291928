"""A network as a flat list of operations over one parameter vector and one buffer vector, without PyTorch.

An operation reads one value (`add` reads two) and writes the next. Value 0 is the rows of the table; the last operation
is the loss, and what it reads are the logits. `print(program)` shows the list.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.encoder import Encoding, Statistics, plain_encoding
from tabcohort.data.scaling import N_KNOTS, ROBUST_LIMIT
from tabcohort.errors import SettingsError
from tabcohort.network.ops import (
    GLOROT,
    LECUN,
    NORMAL,
    OPS,
    SCALING,
    TURNS,
    VECTORS,
    ArraySpec,
    Operation,
    keep_share,
)
from tabcohort.randomness import Purpose, make_rng
from tabcohort.settings import Config
from tabcohort.types import FloatArray


@dataclass(frozen=True)
class Program:
    """A network as a flat list of operations over one parameter vector, without PyTorch.

    Args:
        operations: in the order of the forward pass; the last is the loss.
        n_inputs: columns of the rows.
        n_parameters: length of the parameter vector; matrices come first, as only they decay.
        n_in_matrices: number of parameters that are in matrices.
        n_buffers: length of the buffer vector.
    """

    operations: tuple[Operation, ...]
    n_inputs: int
    n_parameters: int
    n_in_matrices: int
    n_buffers: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of each value, the rows' first and the logits' last."""
        return (self.n_inputs, *(operation.d_out for operation in self.operations[:-1]))

    @property
    def n_outputs(self) -> int:
        """Columns of the logits: for two classes one, the logit of the second class."""
        return self.widths[-1]

    @property
    def has_batch_norm(self) -> bool:
        """Whether a step of a single row is impossible."""
        return any(operation.kind == "batch_norm" for operation in self.operations)

    @property
    def n_bins(self) -> int:
        """Columns of its piecewise-linear encoding; 0 where it has none."""
        widths = self.widths
        return sum(op.d_out - widths[op.sources[0]] for op in self.operations if op.kind == "piecewise_linear")

    @property
    def scales_numbers(self) -> bool:
        """Whether numbers are scaled after they are standardized."""
        return any(operation.kind in SCALING.values() for operation in self.operations)

    @property
    def is_linear(self) -> bool:
        """Whether the logits are linear in the standardized columns."""
        return {op.kind for op in self.operations[:-1]} <= {"encode", "standardize", "linear"}

    @property
    def n_products(self) -> int:
        """Multiplications and additions of a row's forward pass."""
        widths = self.widths
        return sum(op.spec.n_products(widths[op.sources[0]], op.d_out) for op in self.operations)

    def parameter_places(self) -> list[tuple[str, slice]]:
        """Return the name of each parameter array, as `Network.named` has it, and where it is in the vector."""
        widths, places = self.widths, []
        for op in self.operations:
            for start, array in zip(op.parameters, op.spec.parameters, strict=True):
                size = math.prod(array.shape(op, widths[op.sources[0]]))
                places.append((f"{op.path}.{array.name}" if op.path else array.name, slice(start, start + size)))
        return places

    def __str__(self) -> str:
        lines = [("value", "operation", "reads", "shape", "parameters", "layer")]
        lines.append(("0", "rows", "", f"(n, {self.n_inputs})", "", ""))
        for op in self.operations:
            reads = " + ".join(str(source) for source in op.sources)
            count = f"{op.n_parameters:,}" if op.n_parameters else ""
            shape = f"(n, {op.d_out})" if op.d_out else "()"
            lines.append((str(op.result), op.kind, reads, shape, count, op.path))
        lines.append(("", "", "", "", f"{self.n_parameters:,}", "in total"))
        widths = [max(len(line[column]) for line in lines) for column in range(6)]
        return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    sides = "rlrlrl"  # numbers to the right
    pairs = zip(cells, widths, sides, strict=True)
    return "  ".join(cell.rjust(w) if side == "r" else cell.ljust(w) for cell, w, side in pairs).rstrip()


@dataclass
class Builder:
    """Collects the operations of a program; `finish` returns it.

    Args:
        n_inputs: columns of the rows.
        operations: those that were added so far.
    """

    n_inputs: int
    operations: list[Operation] = field(default_factory=list)

    def width(self, value: int) -> int:
        """Return the columns of a value."""
        return self.operations[value - 1].d_out if value else self.n_inputs

    def add(
        self,
        kind: str,
        path: str,
        *sources: int,
        d_out: int | None = None,
        constants: Sequence[float] = (),
        encoding: Encoding | None = None,
    ) -> int:
        """Add an operation and return the value that it writes.

        Args:
            kind: a name in `OPS`.
            path: where the layer is in the module.
            sources: the values that it reads.
            d_out: columns of what it writes; as many as it reads when omitted.
            constants, encoding: see `Operation`.
        """
        d_in = self.width(sources[0])
        d_out = d_in if d_out is None else d_out
        if d_out != d_in and not OPS[kind].changes_width:
            raise ValueError(f"{kind} writes as many columns as it reads: {d_in}, not {d_out}")
        result = len(self.operations) + 1
        op = Operation(kind, path, sources, result, d_out, constants=tuple(constants), encoding=encoding)
        n_parameters = sum(math.prod(array.shape(op, d_in)) for array in op.spec.parameters)
        self.operations.append(replace(op, n_parameters=n_parameters))
        return result

    def dropout(self, path: str, source: int, p: float) -> int:
        """Add dropout with probability `p` of a zero; nothing where `p` is 0."""
        return source if p == 0 else self.add("dropout", path, source, constants=(keep_share(p),))

    def finish(self, logits: int) -> Program:
        """Lay out the vectors, matrices first, and return the program that ends in the loss of these logits."""
        self.add("binary_cross_entropy" if self.width(logits) == 1 else "cross_entropy", "", logits, d_out=0)
        sizes = [self._sizes(op, op.spec.parameters) for op in self.operations]
        n_in_matrices = sum(size for op_sizes in sizes for size, is_matrix in op_sizes if is_matrix)
        matrices, vectors, buffers = _Space(0), _Space(n_in_matrices), _Space(0)
        laid_out = []
        for op, op_sizes in zip(self.operations, sizes, strict=True):
            parameters = tuple((matrices if is_matrix else vectors).take(size) for size, is_matrix in op_sizes)
            starts = tuple(buffers.take(size) for size, _ in self._sizes(op, op.spec.buffers))
            laid_out.append(replace(op, parameters=parameters, buffers=starts))
        return Program(tuple(laid_out), self.n_inputs, vectors.end, n_in_matrices, buffers.end)

    def _sizes(self, op: Operation, arrays: tuple[ArraySpec, ...]) -> list[tuple[int, bool]]:
        """Return the size of each array of an operation, and whether it is a matrix."""
        shapes = [array.shape(op, self.width(op.sources[0])) for array in arrays]
        return [(math.prod(shape), len(shape) == 2) for shape in shapes]


@dataclass
class _Space:
    """Hands out places in a vector, one behind the other."""

    end: int

    def take(self, size: int) -> int:
        start = self.end
        self.end += size
        return start


# Operations whose buffers are statistics of training rows.
FITTED = ("encode", "standardize", *SCALING.values(), "piecewise_linear")


@dataclass(frozen=True)
class Network:
    """A program with its parameters and buffers.

    Args:
        program: the operations.
        parameters: the trainable numbers, `(n_parameters,)`, float32 or float64.
        buffers: statistics of the training rows and of batches, `(n_buffers,)`, float64.
    """

    program: Program
    parameters: NDArray[np.floating]
    buffers: FloatArray

    @property
    def n_inputs(self) -> int:
        """Inputs of a row."""
        return self.program.n_inputs

    @property
    def n_outputs(self) -> int:
        """Logits: for two classes one, that of the second class."""
        return self.program.n_outputs

    @property
    def n_parameters(self) -> int:
        """What training changes."""
        return self.program.n_parameters

    def named(self) -> dict[str, NDArray[np.floating]]:
        """Return every array by the name and in the shape that PyTorch's `state_dict` gives it; copies."""
        return {name: np.array(view, order="C") for name, view, _ in self.views()}

    def with_named(self, arrays: Mapping[str, NDArray[Any]]) -> Network:
        """Return this network with the numbers of a `state_dict`.

        Raises:
            KeyError: an array is missing.
            ValueError: an array has another shape.
        """
        network = Network(self.program, self.parameters.copy(), self.buffers.copy())
        for name, view, _ in network.views():
            if arrays[name].shape != view.shape:
                raise ValueError(f"{name!r} must be of shape {view.shape}; it is {arrays[name].shape}")
            view[...] = arrays[name]
        return network

    def with_statistics(self, statistics: Statistics) -> Network:
        """Return this network with these statistics in the operations that prepare its inputs, where it has them."""
        if self._buffers_of("standardize") is None:
            return self
        network = Network(self.program, self.parameters.copy(), self.buffers.copy())
        for kind in FITTED:
            for name, buffer in (network._buffers_of(kind) or {}).items():
                buffer[:] = getattr(statistics, name)
        return network

    def statistics(self) -> Statistics | None:
        """Return the statistics of the operations that prepare its inputs; None where it has no `standardize`."""
        if self._buffers_of("standardize") is None:
            return None
        buffers: dict[str, FloatArray] = {}
        for kind in FITTED:
            buffers |= self._buffers_of(kind) or {}
        return Statistics(**buffers)

    @property
    def encoding(self) -> Encoding:
        """How its inputs become columns: unchanged, where it has no `encode` operation."""
        first = self.program.operations[0]
        return first.encoding or plain_encoding(self.program.n_inputs)

    def views(self) -> Iterator[tuple[str, NDArray[np.floating], ArraySpec]]:
        """Yield name, numbers and specification of every array; writing to the numbers changes the network.

        PyTorch keeps a matrix as `(d_out, d_in)`. The parameter vector has it the other way round, as rows times matrix
        is faster then.
        """
        widths = self.program.widths
        for op in self.program.operations:
            prefix = f"{op.path}." if op.path else ""
            for vector, starts, arrays in (
                (self.parameters, op.parameters, op.spec.parameters),
                (self.buffers, op.buffers, op.spec.buffers),
            ):
                for start, array in zip(starts, arrays, strict=True):
                    shape = array.shape(op, widths[op.sources[0]])
                    view = vector[start : start + math.prod(shape)].reshape(shape[::-1]).T
                    yield f"{prefix}{array.name}", view, array

    def _buffers_of(self, kind: str) -> dict[str, FloatArray] | None:
        """Return the buffers of the only operation of a kind by name; None where there is none."""
        widths = self.program.widths
        for op in self.program.operations:
            if op.kind == kind:
                sizes = [math.prod(array.shape(op, widths[op.sources[0]])) for array in op.spec.buffers]
                places = zip(op.spec.buffers, op.buffers, sizes, strict=True)
                return {array.name: self.buffers[start : start + size] for array, start, size in places}
        return None


def check_bins(network: Network) -> None:
    """Raise `ValueError` unless bins read columns that there are, and rise: kernels check no bounds."""
    largest = float(np.finfo(np.float32).max)
    for op, d_in, (column, lower, inverse) in _bins(network):
        wrong = np.flatnonzero(~((column >= 0) & (column < d_in) & (column == np.floor(column))))
        if len(wrong):
            raise ValueError(
                f"bin {wrong[0]} of the layer {op.path!r} reads column {column[wrong[0]]:g}; they are 0 to {d_in - 1}"
            )
        if not ((np.abs(lower) <= largest) & (inverse >= 0) & (inverse <= largest)).all():
            raise ValueError(f"the layer {op.path!r} has bins that do not rise, or are beyond float32")


def are_bins_apart(network: Network) -> bool:
    """Return whether a row is inside of one bin of each number at most, as it is where `fit_bins` made them.

    The bins of a number must be beside each other, ascend and not overlap; those that are 0 everywhere must come last.
    """
    for _, _, (column, lower, inverse) in _bins(network):
        begins_number = np.diff(column) != 0
        # From the end of a bin to the beginning of the next, in widths of the first; rounded, it may be below 0.
        gap = np.diff(lower) * inverse[:-1] - 1
        follows = (inverse[1:] == 0) | ((inverse[:-1] > 0) & (gap >= -1e-6))
        if begins_number.sum() != len(np.unique(column)) - 1 or not (begins_number | follows).all():
            return False
    return True


def _bins(network: Network) -> Iterator[tuple[Operation, int, FloatArray]]:
    """Yield each operation with bins, the columns that it reads, and its column, lower and inverse, `(3, n_bins)`."""
    widths = network.program.widths
    for op in network.program.operations:
        if op.kind == "piecewise_linear":
            d_in = widths[op.sources[0]]
            n_numbers = 3 * (op.d_out - d_in)
            yield op, d_in, network.buffers[op.buffers[0] : op.buffers[0] + n_numbers].reshape(3, -1)


def blank_network(program: Program, dtype: type[np.floating] = np.float32) -> Network:
    """Return a network before training: gains, scales and variances are 1, everything else 0."""
    network = Network(program, np.zeros(program.n_parameters, dtype), np.zeros(program.n_buffers))
    for _, view, array in network.views():
        view[...] = 0.0 if isinstance(array.initial, str) else array.initial
    return network


def initialize_network(program: Program, seed: int, member: int = 0, weight_init: str = GLOROT) -> Network:
    """Return a network whose matrices are drawn as `weight_init` says (see `Config`); its biases are zero.

    Learned vectors are drawn from +-1 / sqrt(length), frequencies from a standard normal distribution and phases from
    +-1/2. `tabcohort.network.models.initialize_weights` draws the same.

    Args:
        program: of the network.
        seed: seed of the random stream.
        member: number of the member, which also selects the random stream.
        weight_init: "glorot_uniform" or "lecun_normal".
    """
    network = blank_network(program)
    rng = make_rng(seed, Purpose.INITIAL_WEIGHTS, member)
    for _, view, array in network.views():
        if array.initial == GLOROT and weight_init == LECUN:
            view[...] = rng.standard_normal(view.shape) / math.sqrt(view.shape[1])
        elif array.initial == GLOROT:
            bound = math.sqrt(6 / sum(view.shape))
            view[...] = rng.uniform(-bound, bound, view.shape)
        elif array.initial == VECTORS:
            bound = 1 / math.sqrt(view.shape[0])
            view[...] = rng.uniform(-bound, bound, view.shape)
        elif array.initial == NORMAL:
            view[...] = rng.standard_normal(view.shape)
        elif array.initial == TURNS:
            view[...] = rng.uniform(-0.5, 0.5, view.shape)
    return network


def build_program(
    config: Config, n_inputs: int, n_classes: int, encoding: Encoding | None = None, n_bins: int = 0
) -> Program:
    """Return the program of a config's network: the one that `tabcohort.network.models.build_model` builds.

    Args:
        config: the network.
        n_inputs: number of inputs of a row.
        n_classes: number of classes.
        encoding: how inputs become columns; None if they are the columns.
        n_bins: bins of all numbers, see `Table.bins`.

    Raises:
        SettingsError: the network has too many parameters.
    """
    builder = Builder(n_inputs)
    value, n_numbers = 0, n_inputs if encoding is None else len(encoding.numbers)
    if encoding is not None:
        value = builder.add("encode", "encode", 0, d_out=encoding.n_columns, encoding=encoding)
    value = builder.add("standardize", "standardize", value)
    if n_numbers and config.scaling in SCALING:
        size = ROBUST_LIMIT if config.scaling == "robust" else N_KNOTS
        value = builder.add(SCALING[config.scaling], "scaling", value, constants=(size, n_numbers))
    if n_bins:
        value = builder.add("piecewise_linear", "bins", value, d_out=builder.width(value) + n_bins)
    if encoding is not None and encoding.learned:
        n_learned = len(encoding.learned)
        value = builder.add(
            "embed", "embed", value, d_out=n_bins + encoding.n_plain + n_learned * VECTOR_LENGTH,
            constants=(n_learned, encoding.vector_rows, VECTOR_LENGTH),
        )  # fmt: skip
    if n_numbers and config.periodic:
        value = builder.add(
            "periodic", "periodic", value, d_out=builder.width(value) + n_numbers * config.periodic,
            constants=(n_numbers, n_bins, config.periodic_scale),
        )  # fmt: skip
    if config.input_scale:
        value = builder.add("scale", "scale", value)
    networks = {"logistic": _logistic, "mlp": _mlp, "residual": _residual}
    value = networks[config.model](builder, value, config, 1 if n_classes == 2 else n_classes)
    program = builder.finish(value)
    if program.n_parameters > MAX_PARAMETERS:
        raise SettingsError(
            f"a network of {program.n_parameters:,} parameters is too large, at most {MAX_PARAMETERS:,} are possible: "
            f"make the layers of 'hidden' smaller; it is {config.hidden}"
        )
    return program


MAX_PARAMETERS = 50_000_000
VECTOR_LENGTH = 8  # of a category's learned vectors (Holzmüller et al. 2024)
BATCH_NORM = (1e-5, 0.1)  # epsilon, and the momentum of the running statistics: PyTorch's defaults
LEAKY_SLOPE = 0.01


def _logistic(builder: Builder, value: int, config: Config, n_outputs: int) -> int:
    return builder.add("linear", "network.linear", value, d_out=n_outputs)


def _mlp(builder: Builder, value: int, config: Config, n_outputs: int) -> int:
    paths = (f"network.layers.{number}" for number in itertools.count())
    for width in config.hidden:
        value = builder.add("linear", next(paths), value, d_out=width)
        if config.batch_norm:
            value = builder.add("batch_norm", next(paths), value, constants=BATCH_NORM)
        slope = LEAKY_SLOPE if config.activation == "leaky_relu" else 0.0
        value = builder.add(config.activation, next(paths), value, constants=(slope,))
        if config.dropout > 0:
            value = builder.dropout(next(paths), value, config.dropout)
    return builder.add("linear", next(paths), value, d_out=n_outputs)


def _residual(builder: Builder, value: int, config: Config, n_outputs: int) -> int:
    value = builder.add("batch_norm", "network.input_norm", value, constants=BATCH_NORM)
    for number, width in enumerate(config.hidden):
        path = f"network.blocks.{number}"
        main = builder.add("linear", f"{path}.linear", value, d_out=width)
        main = builder.add("batch_norm", f"{path}.norm", main, constants=BATCH_NORM)
        main = builder.add("relu", f"{path}.activation", main, constants=(0.0,))
        main = builder.dropout(f"{path}.dropout", main, config.dropout)
        if builder.width(value) != width:
            value = builder.add("linear", f"{path}.skip.0", value, d_out=width)
            value = builder.add("batch_norm", f"{path}.skip.1", value, constants=BATCH_NORM)
        value = builder.add("add", path, main, value)
    value = builder.add("batch_norm", "network.output_norm", value, constants=BATCH_NORM)
    return builder.add("linear", "network.linear", value, d_out=n_outputs)

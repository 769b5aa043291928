"""A network as a flat list of operations over one parameter vector and one buffer vector; no PyTorch in it.

An operation reads one value (`add` reads two), and writes the next. Value 0 is the rows of the table; the last
operation is the loss, and what it reads are the logits. `print(program)` shows the list.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.encoder import Encoding, Statistics
from tabcohort.randomness import Purpose, make_rng
from tabcohort.settings import Settings
from tabcohort.types import FloatArray

KINDS = (
    "encode", "standardize", "smooth_clip", "linear", "batch_norm", "layer_norm", "relu", "leaky_relu", "gelu", "silu",
    "tanh", "sigmoid", "dropout", "add", "binary_cross_entropy", "cross_entropy",
)  # fmt: skip
PREPARING = ("encode", "standardize", "smooth_clip")  # come first, before rows are mixed, and learn nothing from losses
# What each kind keeps: in the parameter vector first (weight, then bias), then in the buffer vector.
PARAMETERS: dict[str, tuple[str, ...]] = dict.fromkeys(("linear", "batch_norm", "layer_norm"), ("weight", "bias"))
BUFFERS: dict[str, tuple[str, ...]] = {
    "encode": ("source", "level"),
    "standardize": ("centre", "scale"),
    "batch_norm": ("running_mean", "running_var"),
}


@dataclass(frozen=True)
class Operation:
    """One step of the network.

    Args:
        kind: one of `KINDS`.
        path: where the layer is in the module, as PyTorch names it.
        sources: the values it reads.
        result: the value it writes.
        d_out: columns of what it writes.
        weight: where its matrix `(d_in, d_out)`, or its gains, begin in the parameter vector.
        bias: where its biases, or its shifts, begin.
        buffers: where its two buffers begin in the buffer vector, each `(d_out,)`, one after the other.
        constants: epsilon and momentum of batch norm, epsilon of layer norm, the slope of leaky ReLU, the share that
            dropout keeps in 32,768ths, the limit of smooth clip.
        n_parameters: how many it has.
    """

    kind: str
    path: str
    sources: tuple[int, ...]
    result: int
    d_out: int
    weight: int = 0
    bias: int = 0
    buffers: int = 0
    constants: tuple[float, ...] = ()
    n_parameters: int = 0


@dataclass(frozen=True)
class Program:
    """A network.

    Args:
        operations: in the order of the forward pass; the last is the loss.
        n_inputs: columns of the rows.
        n_parameters: length of the parameter vector; matrices come first, as only they decay.
        n_in_matrices: how many of the parameters are in matrices.
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
        """Columns of the logits: one, the logit of the second class, for two classes."""
        return self.widths[-1]

    @property
    def has_batch_norm(self) -> bool:
        """Whether a step of a single row is impossible."""
        return any(operation.kind == "batch_norm" for operation in self.operations)

    @property
    def n_products(self) -> int:
        """Multiplications and additions of a row's way forward."""
        widths = self.widths
        return sum(widths[each.sources[0]] * each.d_out for each in self.operations if each.kind == "linear")

    def __str__(self) -> str:
        lines = [("value", "operation", "reads", "shape", "parameters", "layer")]
        lines.append(("0", "rows", "", f"(n, {self.n_inputs})", "", ""))
        for each in self.operations:
            reads = " + ".join(str(source) for source in each.sources)
            count = f"{each.n_parameters:,}" if each.n_parameters else ""
            shape = f"(n, {each.d_out})" if each.d_out else "()"
            lines.append((str(each.result), each.kind, reads, shape, count, each.path))
        lines.append(("", "", "", "", f"{self.n_parameters:,}", "in all"))
        widths = [max(len(line[column]) for line in lines) for column in range(6)]
        return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    sides = "rlrlrl"  # numbers to the right
    pairs = zip(cells, widths, sides, strict=True)
    return "  ".join(cell.rjust(w) if side == "r" else cell.ljust(w) for cell, w, side in pairs).rstrip()


@dataclass
class Builder:
    """Collects the operations of a program.

    Args:
        n_inputs: columns of the rows.
    """

    n_inputs: int
    operations: list[Operation] = field(default_factory=list)

    def width(self, value: int) -> int:
        """Return the columns of a value."""
        return self.operations[value - 1].d_out if value else self.n_inputs

    def add(
        self, kind: str, path: str, *sources: int, d_out: int | None = None, constants: Sequence[float] = ()
    ) -> int:
        """Add an operation, as wide as what it reads unless `d_out` is given, and return the value that it writes."""
        d_in = self.width(sources[0])
        d_out = d_in if d_out is None else d_out
        n_parameters = d_out + (d_in * d_out if kind == "linear" else d_out) if kind in PARAMETERS else 0
        self.operations.append(
            Operation(
                kind, path, sources, len(self.operations) + 1, d_out,
                constants=tuple(constants), n_parameters=n_parameters,
            )
        )  # fmt: skip
        return len(self.operations)

    def dropout(self, path: str, source: int, p: float) -> int:
        """Add dropout with probability `p` of a zero; none where `p` is 0."""
        if p == 0:
            return source
        share = 0 if p == 1 else min(max(round((1 - p) * 2**15), 1), 2**15 - 1)
        return self.add("dropout", path, source, constants=(share,))

    def finish(self, logits: int) -> Program:
        """Lay out the vectors, matrices first, and return the program that ends in the loss of these logits."""
        self.add("binary_cross_entropy" if self.width(logits) == 1 else "cross_entropy", "", logits, d_out=0)
        matrices = [each.n_parameters - each.d_out if each.kind == "linear" else 0 for each in self.operations]
        next_matrix, next_vector, next_buffer = 0, sum(matrices), 0
        laid_out = []
        for each, size in zip(self.operations, matrices, strict=True):
            weight, bias, buffers = 0, 0, 0
            if size:
                weight, next_matrix = next_matrix, next_matrix + size
                bias, next_vector = next_vector, next_vector + each.d_out
            elif each.n_parameters:
                weight, bias, next_vector = next_vector, next_vector + each.d_out, next_vector + 2 * each.d_out
            if each.kind in BUFFERS:
                buffers, next_buffer = next_buffer, next_buffer + 2 * each.d_out
            laid_out.append(replace(each, weight=weight, bias=bias, buffers=buffers))
        return Program(tuple(laid_out), self.n_inputs, next_vector, sum(matrices), next_buffer)


@dataclass(frozen=True)
class Network:
    """A program and its numbers.

    Args:
        program: what is done.
        parameters: what training changes, `(n_parameters,)`, float32 or float64.
        buffers: statistics of the training rows and of batches, `(n_buffers,)`, float64.
    """

    program: Program
    parameters: NDArray[np.floating]
    buffers: FloatArray

    def named(self) -> dict[str, NDArray[np.floating]]:
        """Return every array by the name and in the shape that PyTorch's `state_dict` gives it; copies."""
        return {name: np.array(view, order="C") for name, view in self._views()}

    def with_named(self, arrays: Mapping[str, NDArray[Any]]) -> Network:
        """Return this network with the numbers of a `state_dict`.

        Raises:
            KeyError: an array is missing.
            ValueError: an array has another shape.
        """
        network = Network(self.program, self.parameters.copy(), self.buffers.copy())
        for name, view in network._views():
            if arrays[name].shape != view.shape:
                raise ValueError(f"{name!r} must be of shape {view.shape}; it is {arrays[name].shape}")
            view[...] = arrays[name]
        return network

    def with_statistics(self, statistics: Statistics) -> Network:
        """Return this network with these statistics in its `standardize` operation, where it has one."""
        path = next((each.path for each in self.program.operations if each.kind == "standardize"), None)
        if path is None:
            return self
        named = {f"{path}.centre": statistics.centre, f"{path}.scale": statistics.scale}
        return self.with_named({**dict(self._views()), **named})

    def statistics(self) -> Statistics | None:
        """Return the statistics of its `standardize` operation; None where it has none."""
        found = self._buffers_of("standardize")
        return None if found is None else Statistics(*found)

    def encoding(self) -> Encoding | None:
        """Return the columns of its `encode` operation; None where it has none."""
        found = self._buffers_of("encode")
        return None if found is None else Encoding(found[0].astype(np.int64), found[1])

    def _buffers_of(self, kind: str) -> FloatArray | None:
        """Return the buffers of the only operation of a kind, `(2, d_out)`; None where there is none."""
        for each in self.program.operations:
            if each.kind == kind:
                return self.buffers[each.buffers : each.buffers + 2 * each.d_out].reshape(2, -1)
        return None

    def _views(self) -> Iterator[tuple[str, NDArray[np.floating]]]:
        widths = self.program.widths
        for each in self.program.operations:
            prefix = f"{each.path}." if each.path else ""
            if each.n_parameters:
                d_in = widths[each.sources[0]] if each.kind == "linear" else 1
                weight = self.parameters[each.weight : each.weight + d_in * each.d_out]
                # PyTorch keeps a matrix as (d_out, d_in); rows times matrix is faster the other way round.
                yield f"{prefix}weight", weight.reshape(d_in, each.d_out).T if each.kind == "linear" else weight
                yield f"{prefix}bias", self.parameters[each.bias : each.bias + each.d_out]
            for number, name in enumerate(BUFFERS.get(each.kind, ())):
                start = each.buffers + number * each.d_out
                yield f"{prefix}{name}", self.buffers[start : start + each.d_out]


def blank_network(program: Program, dtype: type[np.floating] = np.float32) -> Network:
    """Return a network before training: gains, scales and variances are 1, everything else 0."""
    network = Network(program, np.zeros(program.n_parameters, dtype), np.zeros(program.n_buffers))
    for each in program.operations:
        if each.kind in ("batch_norm", "layer_norm"):
            network.parameters[each.weight : each.weight + each.d_out] = 1
        if each.kind in ("batch_norm", "standardize"):
            network.buffers[each.buffers + each.d_out : each.buffers + 2 * each.d_out] = 1
    return network


def draw_network(program: Program, seed: int, member: int = 0) -> Network:
    """Return a network whose matrices are drawn uniformly from +-sqrt(6 / (d_in + d_out)); its biases are zero.

    The bound is that of Glorot & Bengio (2010): the draw's standard deviation is then sqrt(2 / (d_in + d_out)).
    `tabcohort.network.models.draw_weights` draws the same numbers for a module.
    """
    network = blank_network(program)
    draw = make_rng(seed, Purpose.INITIAL_WEIGHTS, member)
    for _, view in network._views():
        if view.ndim == 2:
            bound = math.sqrt(6 / sum(view.shape))
            view[...] = draw.uniform(-bound, bound, view.shape)
    return network


def program_of(settings: Settings, n_features: int, n_classes: int) -> Program:
    """Return the program of the network that the settings name: that of `tabcohort.network.models.build_model`."""
    builder = Builder(n_features)
    value = builder.add("standardize", "standardize", 0)
    networks = {"logistic": _logistic, "mlp": _mlp, "residual": _residual}
    value = networks[settings.model](builder, value, settings, 1 if n_classes == 2 else n_classes)
    return builder.finish(value)


BATCH_NORM = (1e-5, 0.1)  # epsilon, and how far a batch moves the running statistics: PyTorch's defaults
LEAKY_SLOPE = 0.01


def _logistic(builder: Builder, value: int, settings: Settings, n_outputs: int) -> int:
    return builder.add("linear", "network.linear", value, d_out=n_outputs)


def _mlp(builder: Builder, value: int, settings: Settings, n_outputs: int) -> int:
    paths = (f"network.layers.{number}" for number in itertools.count())
    for width in settings.hidden:
        value = builder.add("linear", next(paths), value, d_out=width)
        if settings.batch_norm:
            value = builder.add("batch_norm", next(paths), value, constants=BATCH_NORM)
        slope = LEAKY_SLOPE if settings.activation == "leaky_relu" else 0.0
        value = builder.add(settings.activation, next(paths), value, constants=(slope,))
        if settings.dropout > 0:
            value = builder.dropout(next(paths), value, settings.dropout)
    return builder.add("linear", next(paths), value, d_out=n_outputs)


def _residual(builder: Builder, value: int, settings: Settings, n_outputs: int) -> int:
    value = builder.add("batch_norm", "network.input_norm", value, constants=BATCH_NORM)
    for number, width in enumerate(settings.hidden):
        path = f"network.blocks.{number}"
        main = builder.add("linear", f"{path}.linear", value, d_out=width)
        main = builder.add("batch_norm", f"{path}.norm", main, constants=BATCH_NORM)
        main = builder.add("relu", f"{path}.activation", main, constants=(0.0,))
        main = builder.dropout(f"{path}.dropout", main, settings.dropout)
        if builder.width(value) != width:
            value = builder.add("linear", f"{path}.skip.0", value, d_out=width)
            value = builder.add("batch_norm", f"{path}.skip.1", value, constants=BATCH_NORM)
        value = builder.add("add", path, main, value)
    value = builder.add("batch_norm", "network.output_norm", value, constants=BATCH_NORM)
    return builder.add("linear", "network.linear", value, d_out=n_outputs)

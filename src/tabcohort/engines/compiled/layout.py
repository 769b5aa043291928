"""Where everything is in memory while a program runs, and which of its operations are fused into one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tabcohort.engines.compiled import tables
from tabcohort.engines.compiled.dropout import KEEP_ALL
from tabcohort.engines.compiled.operations import KERNELS
from tabcohort.network.ops import SCALING, Operation
from tabcohort.network.program import Program
from tabcohort.types import IntArray

CACHE_LINE = 64  # bytes


class Layout:
    """The tables that the kernels read, and the memory that they work in, for up to `rows` rows at a time.

    Args:
        program: the network; value 0 of the layout is what its `encode` and `standardize` operations write.
        rows: maximum rows of a step.
        n_classes: columns of a target.
        dtype: of the work memory.
        bins_are_apart: see `tabcohort.network.program.are_bins_apart`; they are then multiplied by their weights
            without being computed.

    `operations` and `values` are the tables of `tables`; `constants` has a row per operation.
    """

    def __init__(
        self, program: Program, rows: int, n_classes: int, dtype: np.dtype[np.floating], bins_are_apart: bool = False
    ) -> None:
        skipped = sum(op.kind in ("encode", "standardize") for op in program.operations)
        n_uses, memory = _uses(program), _Memory()
        fused = fuse(program.operations[skipped:-1], n_uses)
        fused = with_products_of_bins(fused, n_uses, program.widths) if bins_are_apart else fused
        sets_gradient = _who_sets_gradients(fused, n_uses, _values_with_gradient(program))
        self.rows = rows
        self.n_preprocessing = sum(op.spec.prepares_input for op in fused)
        self.values = _table_of_values(program, fused, skipped, n_uses, rows, memory)
        self.kinds = [op.kind for op in fused]
        self.operations = _table_of_operations(fused, sets_gradient, skipped, rows, self.values, memory)
        self.constants = np.zeros((len(fused), 3), dtype)
        for number, op in enumerate(fused):
            self.constants[number, : len(op.constants)] = op.constants
        self.dropouts = [  # operation and column of the constants that are shares of dropout
            (number, len(op.constants) - 1)
            for number, op in enumerate(fused)
            if op.kind == "dropout" or (op.kind == "batch_norm" and op.constants[2] != KEEP_ALL)
        ]
        self.work = aligned(memory.size, dtype)
        self.spare = aligned(rows * max(*program.widths, n_classes), dtype)
        self.batch_targets = np.zeros((rows, n_classes), dtype)


class _Memory:
    """Hands out places for arrays, one after another, each beginning at a cache line."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, n_numbers: int) -> int:
        """Return where an array of this many numbers begins."""
        start = self.size
        self.size += -(-n_numbers // 16) * 16
        return start


def _table_of_values(
    program: Program, fused: Sequence[FusedOperation], skipped: int, n_uses: Counter[int], rows: int, memory: _Memory
) -> IntArray:
    """Return the table of values from value `skipped` on: the inputs of the first operation that is left."""
    stored = {skipped, *(op.result for op in fused)}  # values inside a fused operation are never stored
    table = np.zeros((len(program.widths), 3), np.int64)
    widths = dict(enumerate(program.widths)) | {op.result: op.d_out for op in fused}
    for value, width in widths.items():
        table[value, tables.WIDTH] = width
        if value in stored:
            table[value, tables.VALUE] = memory.take(rows * width)
            table[value, tables.GRADIENT] = memory.take(rows * width)
    for op in reversed(program.operations):
        for source in op.sources if op.kind == "add" else ():
            if n_uses[source] == 1:  # its gradient is that of the sum
                table[source, tables.GRADIENT] = table[op.result, tables.GRADIENT]
    for linear in (op for op in fused if op.kind == "linear" and len(op.sources) == 2):
        table[linear.sources[1], tables.GRADIENT] = table[linear.result, tables.GRADIENT]
    return table[skipped:]


def _table_of_operations(
    fused: Sequence[FusedOperation],
    sets_gradient: Sequence[Sequence[int]],
    skipped: int,
    rows: int,
    values: IntArray,
    memory: _Memory,
) -> IntArray:
    """Return the table of operations, whose values are counted from value `skipped` on."""
    table = np.zeros((len(fused), tables.N_COLUMNS), np.int64)
    # Of what `embed` writes, only the vectors, which come last, are learned.
    n_plain = {op.result: op.d_out - int(op.constants[0] * op.constants[2]) for op in fused if op.kind == "embed"}
    for row, op, sets in zip(table, fused, sets_gradient, strict=True):
        row[tables.KIND] = op.spec.code
        row[[tables.SOURCE, tables.SOURCE_2][: len(op.sources)]] = np.array(op.sources) - skipped
        row[tables.RESULT] = op.result - skipped
        row[[tables.WEIGHT, tables.BIAS][: len(op.parameters)]] = op.parameters
        row[tables.BUFFERS] = op.buffers[0] if op.buffers else 0
        d_in = int(values[row[tables.SOURCE], tables.WIDTH])
        row[tables.SCRATCH] = memory.take(KERNELS[op.kind].scratch(rows, d_in, op.d_out))
        row[[tables.SETS_GRADIENT, tables.SETS_GRADIENT_2][: len(sets)]] = sets
        row[tables.LAYER] = op.layer
        row[tables.FUSES_ADD], row[tables.FUSES_RELU] = len(op.sources) == 2, op.fuses_relu
        row[tables.BIAS_CANCELS] = op.bias_cancels
        row[tables.NEEDED_FROM] = n_plain.get(op.sources[0], 0)
        row[tables.N_BINS] = op.n_bins
    return table


def aligned(
    size: int, dtype: np.dtype[np.floating], make: Callable[..., NDArray[np.floating]] = np.zeros
) -> NDArray[np.floating]:
    """Return an array that begins at a cache line, as wide vectors that cross two lines cost twice.

    Args:
        size: number of its elements.
        dtype: of its elements.
        make: `np.zeros`, or `np.empty` where everything is written before it is read.
    """
    room = make(size + CACHE_LINE // dtype.itemsize, dtype)
    start = -room.ctypes.data % CACHE_LINE // dtype.itemsize
    return room[start : start + size]


@dataclass(frozen=True)
class FusedOperation(Operation):
    """An operation with those that the kernels compute in the same pass.

    Args:
        fuses_relu: whether a batch norm also computes the ReLU that follows; constant 2 is then the share to keep of
            the dropout that follows that, or all. A batch norm that also computes an `add` has its other source as a
            second one.
        layer: the number of the dropout layer.
        bias_cancels: whether a batch norm follows a linear, and subtracts its bias again: the bias has no gradient.
        n_bins: of a piecewise-linear encoding that is multiplied by its weights, which the linear then adds as its
            second source; 0 where it is only computed.
    """

    fuses_relu: bool = False
    layer: int = 0
    bias_cancels: bool = False
    n_bins: int = 0


def fuse(operations: Sequence[Operation], n_uses: Counter[int]) -> list[FusedOperation]:
    """Return the operations, fused where possible: values between them are then never stored.

    A batch norm is fused with what follows it if nothing else uses its result: a ReLU and then dropout, or an addition.

    Args:
        operations: of a program, without the loss.
        n_uses: how often each value is read.
    """
    n_dropouts = 0
    fused: list[FusedOperation] = []
    for operation in operations:
        op = FusedOperation(**vars(operation), layer=n_dropouts)
        n_dropouts += op.kind == "dropout"
        last = fused[-1] if fused else None
        follows = last is not None and last.result in op.sources and n_uses[last.result] == 1
        if op.kind == "batch_norm":
            op = replace(op, constants=(*op.constants, KEEP_ALL))
            if last is not None and follows and last.kind == "linear":
                fused[-1] = replace(last, bias_cancels=True)
        both = _fused_with(last, op, n_uses) if last is not None and follows else None
        if both is None:
            fused.append(op)
        else:
            fused[-1] = both
    return fused


def _fused_with(norm: FusedOperation, op: FusedOperation, n_uses: Counter[int]) -> FusedOperation | None:
    """Return a batch norm that also computes the operation that follows it; None where it cannot."""
    if norm.kind != "batch_norm" or len(norm.sources) == 2:
        return None
    if op.kind == "relu" and not norm.fuses_relu:
        return replace(norm, result=op.result, fuses_relu=True)
    if op.kind == "dropout" and norm.fuses_relu and norm.constants[2] == KEEP_ALL:
        constants = (*norm.constants[:2], *op.constants)
        return replace(norm, result=op.result, constants=constants, layer=op.layer)
    if op.kind == "add" and not norm.fuses_relu:
        other = next(source for source in op.sources if source != norm.result)
        if n_uses[other] == 1:  # so that the gradient of the sum serves as its gradient
            return replace(norm, result=op.result, sources=(*norm.sources, other))
    return None


def with_products_of_bins(
    operations: Sequence[FusedOperation], n_uses: Counter[int], widths: Sequence[int]
) -> list[FusedOperation]:
    """Return the operations with bins multiplied by their rows of the weights, if all that reads them is a linear.

    The linear is left with the other columns, learned vectors among them or not, and adds the product of the bins.
    Before the bins, numbers may be scaled.

    Args:
        operations: of a program, fused.
        n_uses: how often each value is read.
        widths: of the program's values.
    """
    n_before = sum(op.kind in SCALING.values() for op in operations[:1])
    n_chain = n_before + (3 if "embed" in [op.kind for op in operations[n_before + 1 : n_before + 2]] else 2)
    before, chain, others = operations[:n_before], operations[n_before:n_chain], operations[n_chain:]
    if [op.kind for op in chain] not in (["piecewise_linear", "linear"], ["piecewise_linear", "embed", "linear"]):
        return list(operations)
    if any(n_uses[op.result] != 1 or reader.sources != (op.result,) for op, reader in pairwise(chain)):
        return list(operations)
    bins, *embeds, linear = chain
    source, n_bins, (weight, bias) = bins.sources[0], bins.d_out - widths[bins.sources[0]], linear.parameters
    return [
        *before,
        replace(bins, d_out=linear.d_out, parameters=(weight,), n_bins=n_bins),
        *(replace(embed, sources=(source,), d_out=embed.d_out - n_bins) for embed in embeds),
        replace(
            linear,
            sources=(embeds[0].result if embeds else source, bins.result),
            parameters=(weight + n_bins * linear.d_out, bias),
        ),
        *others,
    ]


def _uses(program: Program) -> Counter[int]:
    """Return how often each value is read."""
    return Counter(source for op in program.operations for source in op.sources)


def _values_with_gradient(program: Program) -> set[int]:
    """Return the values that depend on a parameter: those whose gradients are needed."""
    values: set[int] = set()
    for op in program.operations:
        if op.n_parameters or values.intersection(op.sources):
            values.add(op.result)
    return values


def _who_sets_gradients(
    operations: Sequence[FusedOperation], n_uses: Counter[int], needed: set[int]
) -> list[list[int]]:
    """Return for each source of each operation whether the backward pass sets its gradient (1) or adds to it (0).

    It does neither (-1) where the gradient is not needed, or where a sum's own gradient serves what only the sum reads.
    """
    written: set[int] = set()
    rows = []
    for op in reversed(operations):
        row = []
        for source in op.sources:
            is_served = source not in needed or (op.kind == "add" and n_uses[source] == 1)
            row.append(-1 if is_served else int(source not in written))
            written.add(source)  # at once, as a sum may read one value twice
        rows.append(row)
    return rows[::-1]

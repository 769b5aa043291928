"""Where everything lies while a program runs, and which of its operations are done in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tabcohort.engines.compiled.kernels import GRADIENT
from tabcohort.engines.compiled.operations import ALL
from tabcohort.network.program import KINDS, PREPARING, Operation, Program


class Layout:
    """The tables that the kernels read, and the memory that they work in, for up to `rows` rows at a time.

    A row of `operations`: kind; the values read, and written; where weight, bias, buffers and auxiliary numbers begin;
    whether the backward pass sets the gradient of what was read (1), adds to it (0), or leaves it, as nobody wants it
    (-1), for both; the number of the dropout layer; and what `Merged` says. A row of `values`: its columns, and
    where it and its gradient begin in `work`.

    Args:
        program: the network; value 0 of the layout is what its `encode` and `standardize` operations write.
        rows: the most rows of a step.
        n_classes: columns of a target.
        dtype: of the work.
    """

    def __init__(self, program: Program, rows: int, n_classes: int, dtype: np.dtype[np.floating]) -> None:
        skipped = sum(each.kind in ("encode", "standardize") for each in program.operations)
        readers, space = _readers(program), _Space()
        merged = merge(program.operations[skipped:-1], readers)
        firsts = _first_to_write(merged, readers, _learned(program))
        self.rows = rows
        self.n_prepared = sum(each.kind in PREPARING for each in merged)
        self.values = _table_of_values(program, merged, skipped, readers, rows, space)
        self.operations = _table_of_operations(merged, firsts, skipped, rows, space)
        self.constants = np.zeros((len(merged), 3), dtype)
        for number, each in enumerate(merged):
            self.constants[number, : len(each.constants)] = each.constants
        self.work = aligned(space.size, dtype)
        self.spare = aligned(rows * max(*program.widths, n_classes), dtype)
        self.batch_mass = np.zeros((rows, n_classes), dtype)


class _Space:
    """Places for arrays, one behind another, each from the beginning of a cache line on."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, n_numbers: int) -> int:
        """Return where an array of so many numbers begins."""
        start = self.size
        self.size += -(-n_numbers // 16) * 16
        return start


def _table_of_values(
    program: Program, merged: list[Merged], skipped: int, readers: Counter[int], rows: int, space: _Space
) -> NDArray[np.int64]:
    """Return the table of values, from that of value `skipped` on: the inputs of the first operation that is left."""
    kept = {skipped, *(each.result for each in merged)}  # what lies inside a merged operation is never stored
    table = np.array([
        [width, *((space.take(rows * width), space.take(rows * width)) if value in kept else (0, 0))]
        for value, width in enumerate(program.widths)
    ], np.int64)  # fmt: skip
    for each in reversed(program.operations):
        for source in each.sources if each.kind == "add" else ():
            if readers[source] == 1:  # its gradient is that of the sum
                table[source, GRADIENT] = table[each.result, GRADIENT]
    return table[skipped:]


def _table_of_operations(
    merged: list[Merged], firsts: list[list[int]], skipped: int, rows: int, space: _Space
) -> NDArray[np.int64]:
    """Return the table of operations, whose values are counted from value `skipped` on."""
    table = np.zeros((len(merged), 14), np.int64)
    for number, (each, first_of) in enumerate(zip(merged, firsts, strict=True)):
        n_aux = {"batch_norm": 5 * each.d_out, "layer_norm": rows * (each.d_out + 1)}.get(each.kind, 0)
        source, source_2 = (*(source - skipped for source in each.sources), 0)[:2]
        first, first_2 = (*first_of, 0)[:2]
        table[number] = (
            KINDS.index(each.kind), source, source_2, each.result - skipped, each.weight, each.bias, each.buffers,
            space.take(n_aux), first, first_2, each.layer, len(each.sources) == 2, each.rectifies, each.idle_bias,
        )  # fmt: skip
    return table


def aligned(
    size: int, dtype: np.dtype[np.floating], make: Callable[..., NDArray[np.floating]] = np.zeros
) -> NDArray[np.floating]:
    """Return zeros, or what `make` makes, that begin at a cache line, as wide vectors that straddle two cost twice."""
    room = make(size + 64 // dtype.itemsize, dtype)
    start = -room.ctypes.data % 64 // dtype.itemsize
    return room[start : start + size]


@dataclass(frozen=True)
class Merged(Operation):
    """An operation with those that the kernels do in the same pass.

    Args:
        rectifies: whether a batch norm also does the ReLU that follows; constant 2 is then the share to keep of the
            dropout that follows that, or all. A batch norm that also does an `add` has its other source as a second.
        layer: the number of the dropout layer.
        idle_bias: whether a batch norm follows a linear, and takes its bias out again: the bias has no gradient.
    """

    rectifies: bool = False
    layer: int = 0
    idle_bias: bool = False


def merge(operations: tuple[Operation, ...], readers: Counter[int]) -> list[Merged]:
    """Return the operations, those merged that can be: values between them are then never stored.

    A batch norm takes in what follows it, if nobody else reads its result: a ReLU and then dropout, or an addition.

    Args:
        operations: of a program, without the loss.
        readers: how often each value is read.
    """
    n_dropouts = 0
    merged: list[Merged] = []
    for operation in operations:
        each = Merged(**vars(operation), layer=n_dropouts)
        n_dropouts += each.kind == "dropout"
        last = merged[-1] if merged else None
        follows = last is not None and last.result in each.sources and readers[last.result] == 1
        if each.kind == "batch_norm":
            each = replace(each, constants=(*each.constants, ALL))
            if last is not None and follows and last.kind == "linear":
                merged[-1] = replace(last, idle_bias=True)
        taken = _taken_in(last, each, readers) if last is not None and follows else None
        if taken is None:
            merged.append(each)
        else:
            merged[-1] = taken
    return merged


def _taken_in(norm: Merged, each: Merged, readers: Counter[int]) -> Merged | None:
    """Return a batch norm that also does the operation that follows it; None where it cannot."""
    if norm.kind != "batch_norm" or len(norm.sources) == 2:
        return None
    if each.kind == "relu" and not norm.rectifies:
        return replace(norm, result=each.result, rectifies=True)
    if each.kind == "dropout" and norm.rectifies and norm.constants[2] == ALL:
        constants = (*norm.constants[:2], *each.constants)
        return replace(norm, result=each.result, constants=constants, layer=each.layer)
    if each.kind == "add" and not norm.rectifies:
        other = next(source for source in each.sources if source != norm.result)
        if readers[other] == 1:  # so that the gradient of the sum serves as its gradient
            return replace(norm, result=each.result, sources=(*norm.sources, other))
    return None


def _readers(program: Program) -> Counter[int]:
    """Return how often each value is read."""
    return Counter(source for operation in program.operations for source in operation.sources)


def _learned(program: Program) -> set[int]:
    """Return the values that depend on a parameter: those whose gradients are wanted."""
    learned: set[int] = set()
    for each in program.operations:
        if each.n_parameters or learned.intersection(each.sources):
            learned.add(each.result)
    return learned


def _first_to_write(operations: list[Merged], readers: Counter[int], learned: set[int]) -> list[list[int]]:
    """Return for each source of each operation whether the backward pass writes its gradient there first (1) or adds
    to it (0); -1 where it need not: nobody wants it, or a sum's own gradient serves what only the sum reads."""
    written: set[int] = set()
    found = []
    for each in reversed(operations):
        firsts = []
        for source in each.sources:
            is_served = source not in learned or (each.kind == "add" and readers[source] == 1)
            firsts.append(-1 if is_served else int(source not in written))
            written.add(source)  # at once, as a sum may read one value twice
        found.append(firsts)
    return found[::-1]

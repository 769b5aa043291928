"""Whether a program and its numbers are possible ones, proved before kernels see them: those check no bounds."""

from __future__ import annotations

import math

import numpy as np

from tabcohort.data.encoder import NO_ROW, Encoding
from tabcohort.errors import listed
from tabcohort.network.ops import OPS, Operation
from tabcohort.network.program import Builder, Network, Program, check_bins

LOSSES = ("binary_cross_entropy", "cross_entropy")
PLACED = ("encode", "standardize", "embed")  # others may prepare inputs in any order
MAY_BE_MISSING = ("fill", "lookup")  # buffers in which NaN stands for the mean


def check_program(program: Program) -> None:
    """Check that all that a program's kernels read and write is where the program says it is.

    Raises:
        ValueError: an operation is unknown, reads a value that is not written before it, or has widths, constants or
            places that do not fit; the message names it.
    """
    if not isinstance(program.n_inputs, int) or program.n_inputs < 1 or not program.operations:
        raise ValueError(f"a program must have inputs and operations; it has {program.n_inputs} inputs")
    builder = Builder(program.n_inputs)
    for op in program.operations[:-1]:
        _check_operation(op, builder)
        builder.add(op.kind, op.path, *op.sources, d_out=op.d_out, constants=op.constants, encoding=op.encoding)
    loss = program.operations[-1]
    if loss.kind not in LOSSES:
        raise ValueError(f"the last operation must be a loss; it is {loss.kind!r}")
    _check_operation(loss, builder)
    if builder.finish(loss.sources[0]) != program:
        raise ValueError("the numbers of an operation are not where those of this program must be")


def _check_operation(op: Operation, builder: Builder) -> None:
    """Raise `ValueError` unless an operation may follow those of a builder."""
    result = len(builder.operations) + 1
    where = f"the operation that writes value {result}, {op.kind!r},"
    if op.kind not in OPS:
        raise ValueError(f"there is no operation {op.kind!r}; it would write value {result}")
    if others := [kind for kind, spec in OPS.items() if spec.code == op.spec.code and kind != op.kind]:
        raise ValueError(f"every operation needs a code of its own; {op.kind!r} and {others[0]!r} share one")
    n_sources = 2 if op.kind == "add" else 1
    first = _first_value_to_read(builder)
    if len(op.sources) != n_sources or not all(isinstance(source, int) for source in op.sources):
        raise ValueError(f"{where} must read {n_sources} value(s); it reads {op.sources}")
    if not all(first <= source < result for source in op.sources):
        raise ValueError(f"{where} must read values from {first} to {result - 1}; it reads {listed(op.sources, 5)}")
    widths = [builder.width(source) for source in op.sources]
    if len(set(widths)) > 1 or not isinstance(op.d_out, int) or (not op.spec.changes_width and op.d_out != widths[0]):
        raise ValueError(f"{where} reads {listed(widths, 5)} columns and cannot write {op.d_out}")
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in op.constants):
        raise ValueError(f"{where} has constants that are no finite numbers: {listed(op.constants, 5)}")
    before = {other.kind for other in builder.operations}
    if op.kind in PLACED and not before <= (op.spec.only_after or set()):
        raise ValueError(f"{where} may not follow {listed(sorted(before - (op.spec.only_after or set())), 5)}")
    if (op.spec.prepares_input or op.kind == "embed") and (
        op.sources[0] != result - 1 or not all(OPS[kind].prepares_input for kind in before)
    ):
        raise ValueError(
            f"{where} must come before others than those that prepare inputs, and read the value before it"
        )
    if not op.spec.is_possible(op, widths[0]) or (op.kind == "embed" and not _fits_encoding(op, builder)):
        raise ValueError(f"{where} has widths or constants that do not fit: {op.d_out}, {listed(op.constants, 5)}")


def _first_value_to_read(builder: Builder) -> int:
    """Return the value after `encode` and `standardize`, which kernels do as they read rows: none before it is kept."""
    return sum(op.kind in ("encode", "standardize") for op in builder.operations)


def _fits_encoding(op: Operation, builder: Builder) -> bool:
    """Return whether the last columns that `embed` reads are rows of its table, where they come from categories."""
    encoding = builder.operations[0].encoding if builder.operations else None
    return encoding is None or op.constants[:2] == (len(encoding.learned), encoding.vector_rows)


def check_network(network: Network) -> None:
    """Check a program, and that its numbers are ones that kernels can compute with.

    Raises:
        ValueError: as in `check_program`; or there are more or fewer numbers than the program has, one is not finite, a
            variance is negative, or 0 without an epsilon, or a bin or a code points to a column or vector that does not
            exist.
    """
    program = network.program
    check_program(program)
    for name, vector, size, dtypes in (
        ("parameters", network.parameters, program.n_parameters, (np.float32, np.float64)),
        ("buffers", network.buffers, program.n_buffers, (np.float64,)),
    ):
        if vector.shape != (size,) or vector.dtype not in dtypes:
            raise ValueError(f"the {name} must be {size} numbers; they are of shape {vector.shape} and {vector.dtype}")
    for name, view, array in network.views():
        if array.name == "vector_row":
            _check_vector_rows(view, network.encoding)
        is_wrong = np.isinf(view) if array.name in MAY_BE_MISSING else ~np.isfinite(view)
        if is_wrong.any():
            raise ValueError(f"{name!r} holds a number that is not finite")
        if array.name == "running_var" and (view < 0).any():
            raise ValueError(f"{name!r} holds a variance below 0")
    _check_divisors(network)
    check_bins(network)


def _check_divisors(network: Network) -> None:
    """Raise `ValueError` if a batch norm without epsilon would divide by a variance of 0."""
    for op in network.program.operations:
        if op.kind == "batch_norm":
            start = op.buffers[1]
            if (network.buffers[start : start + op.d_out] + op.constants[0] <= 0).any():
                raise ValueError(f"{op.path!r} has an epsilon of 0 and a variance of 0, so it would divide by 0")


def _check_vector_rows(rows: np.ndarray, encoding: Encoding) -> None:
    if not ((rows >= NO_ROW) & (rows < max(encoding.vector_rows, 1)) & (rows == np.floor(rows))).all():
        raise ValueError("a code has an impossible row in the table of learned vectors")

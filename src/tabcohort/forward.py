"""The finished network's forward pass: machine code, no PyTorch, and one order of summation for every row.

A row's logits are the same to the bit alone, in any batch, and on any number of threads: each is summed from the first
input to the last by the same instructions, whatever rows are beside it. A matrix product of BLAS does not keep that.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tabcohort.compiling import prepare
from tabcohort.engines import MemberData
from tabcohort.engines.forward_kernels import AFFINE, ROWS_AT_A_TIME, run
from tabcohort.engines.layout import aligned
from tabcohort.engines.operations import LINEAR
from tabcohort.plan import MemberPlan
from tabcohort.prepare import Encoding, FloatArray, IntArray
from tabcohort.program import KINDS, Network, Operation, program_of
from tabcohort.settings import Settings

ROWS_WORTH_A_THREAD = 2048


@dataclass(frozen=True)
class Instruction:
    """An operation of the forward pass, with what it can take over from its neighbours.

    Args:
        kind: of `KINDS`, by number, or `AFFINE`.
        sources, result: the values it reads and writes.
        weight: `(d_in, d_out)` matrix or `(d_out,)` gains, float64 so far.
        bias: `(d_out,)`.
        constant: epsilon, slope or limit.
    """

    kind: int
    sources: tuple[int, ...]
    result: int
    weight: FloatArray
    bias: FloatArray
    constant: float = 0.0


class Forward:
    """A network made ready to answer: batch normalisations are folded into the layers before them.

    Args:
        network: its numbers are copied.
    """

    def __init__(self, network: Network) -> None:
        program = network.program
        self.n_outputs = program.n_outputs
        self.dtype = network.parameters.dtype
        encoding, statistics = network.encoding(), network.statistics()
        self.encoding = encoding or Encoding(np.arange(program.n_inputs), np.full(program.n_inputs, math.nan))
        n_columns = len(self.encoding.source)
        self.centre, self.scale = np.zeros(n_columns), np.ones(n_columns)
        if statistics is not None:
            self.centre, self.scale = statistics.centre.copy(), statistics.scale.copy()
        instructions, last = _instructions(network)
        # Value 0 holds the prepared rows, which may be wider than the table's.
        widths = (n_columns, *program.widths[1:])
        # Each value has a place in the work memory; in `table` a row is kind, two sources, result, where the weights
        # and biases begin, columns read and written.
        starts = np.concatenate([[0], np.cumsum([ROWS_AT_A_TIME * -(-width // 16) * 16 for width in widths])])
        self.work_size, self.first, self.last = int(starts[-1]), int(starts[0]), int(starts[last])
        table, constants, numbers, size = [], [], [np.empty(0)], 0
        for each in instructions:
            source, source_2 = (*each.sources, each.sources[0])[:2]
            d_in, d_out = widths[each.sources[0]], widths[each.result]
            table.append(
                (each.kind, starts[source], starts[source_2], starts[each.result], size, size + each.weight.size,
                 d_in, d_out)
            )  # fmt: skip
            constants.append(each.constant)
            numbers += [each.weight.reshape(-1), each.bias]
            size += each.weight.size + each.bias.size
        self.table = np.array(table, dtype=np.int64).reshape(-1, 8)
        self.constants = np.array(constants, dtype=self.dtype)
        self.numbers = np.concatenate(numbers).astype(self.dtype)
        self.n_inputs = program.n_inputs
        if self.encoding.source.max(initial=0) >= program.n_inputs:  # the kernel looks at no bounds
            raise ValueError(f"a column is made of feature {self.encoding.source.max()} of {program.n_inputs}")

    def logits(self, X: FloatArray, rows: IntArray | None = None) -> FloatArray:
        """Return the logits of rows, `(n_rows, n_outputs)`, float64.

        Args:
            X: features as they are in the table, `(n, n_features)`, float64.
            rows: which of them; all when left out.

        Raises:
            ValueError: the rows have another number of features.
        """
        if X.shape[1:] != (self.n_inputs,):
            raise ValueError(f"the rows must be of shape (n, {self.n_inputs}); they are of {X.shape}")
        prepare(run, self.dtype.name)  # here, as an unpickled object comes without `__init__`
        rows = np.arange(len(X)) if rows is None else rows
        if X.dtype != np.float64 or not (X.flags.c_contiguous and X.flags.writeable):
            # For rows that lie otherwise in memory the compiler would write another kernel.
            X, rows = np.array(X[rows], np.float64, order="C"), np.arange(len(rows))
        rows = np.require(rows, np.int64, ["C", "W"])
        logits = np.empty((len(rows), self.n_outputs))
        n_parts = min(os.cpu_count() or 1, -(-len(rows) // ROWS_WORTH_A_THREAD))
        if n_parts <= 1:
            self._pass(X, rows, logits)
        else:
            parts = np.linspace(0, len(rows), n_parts + 1).astype(int)
            with ThreadPoolExecutor(n_parts) as pool:
                work = [pool.submit(self._pass, X, rows[a:b], logits[a:b]) for a, b in itertools.pairwise(parts)]
                for each in work:
                    each.result()
        return logits

    def _pass(self, X: FloatArray, rows: IntArray, logits: FloatArray) -> None:
        work = aligned(self.work_size, self.dtype)
        run(
            self.table, self.constants, self.numbers, work, self.last, X, rows, self.encoding.source,
            self.encoding.level, self.centre, self.scale, logits,
        )  # fmt: skip


def _instructions(network: Network) -> tuple[list[Instruction], int]:
    """Return the instructions of a network's forward pass, and the value that is its logits."""
    program = network.program
    where = list(range(len(program.operations) + 1))  # in whose place each value is found
    for each in program.operations:
        if each.kind in ("encode", "standardize", "dropout"):  # rows come standardised; dropout is for training
            where[each.result] = where[each.sources[0]]
    acting = [each for each in program.operations[:-1] if where[each.result] == each.result]
    readers = Counter(where[source] for each in (*acting, program.operations[-1]) for source in each.sources)
    found: list[Instruction] = []
    for each in acting:
        sources = tuple(where[source] for source in each.sources)
        weight, bias = _weight_and_bias(network, each)
        before = found[-1] if found else None
        if each.kind != "batch_norm":
            constant = each.constants[0] if each.constants else 0.0
            found.append(Instruction(KINDS.index(each.kind), sources, each.result, weight, bias, constant))
        elif before and before.kind == LINEAR and before.result == sources[0] and readers[sources[0]] == 1:
            weight, bias = before.weight * weight, before.bias * weight + bias
            found[-1] = Instruction(LINEAR, before.sources, each.result, weight, bias)
        else:
            found.append(Instruction(AFFINE, sources, each.result, weight, bias))
    return found, where[program.operations[-1].sources[0]]


def _weight_and_bias(network: Network, each: Operation) -> tuple[FloatArray, FloatArray]:
    """Return an operation's numbers in float64; a batch norm's are those of `x gain + shift` in evaluation mode."""
    if not each.n_parameters:
        return np.empty(0), np.empty(0)
    numbers = network.parameters.astype(np.float64)
    bias = numbers[each.bias : each.bias + each.d_out]
    weight = numbers[each.weight : each.weight + each.n_parameters - each.d_out]
    if each.kind == "linear":
        return weight.reshape(-1, each.d_out), bias
    if each.kind == "batch_norm":
        mean, var = network.buffers[each.buffers : each.buffers + 2 * each.d_out].reshape(2, -1)
        gain = weight / np.sqrt(var + each.constants[0])
        return gain, bias - mean * gain
    return weight, bias


def compile_training(dtype: str) -> None:
    """Compile what trains with numbers of this type, on a network that is as small as can be."""
    from tabcohort.engines.compiled import CompiledEngine  # predicting does without it

    rows = np.zeros((2, 1), np.float32)
    data = MemberData.of_inputs(rows, np.ones((2, 2), np.float32), rows)
    engine = CompiledEngine(_smallest_network(dtype), data, Settings())
    engine.run_epoch(MemberPlan(2, 2, 0.0, 0.0, False, seed=0).epoch(1), 0.0)


def compile_predicting(dtype: str) -> None:
    """Compile what predicts with numbers of this type."""
    Forward(_smallest_network(dtype)).logits(np.zeros((2, 1)))


def _smallest_network(dtype: str) -> Network:
    program = program_of(Settings(model="logistic"), 1, 2)
    return Network(program, np.zeros(program.n_parameters, dtype), np.zeros(program.n_buffers))

"""The finished network's forward pass: machine code, no PyTorch, and one order of summation for every row.

A row's logits are the same to the bit alone, in any batch, and on any number of threads: each is summed from the first
input to the last by the same instructions, whatever rows are beside it. A matrix product of BLAS does not keep that.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tabcohort.data.encoder import Encoding, Statistics
from tabcohort.engines.batches import MemberPlan
from tabcohort.engines.compiled.inference_kernels import AFFINE, ROWS_AT_A_TIME, run
from tabcohort.engines.compiled.jit import n_cores, prepare
from tabcohort.engines.compiled.layout import aligned
from tabcohort.engines.compiled.operations import LINEAR
from tabcohort.engines.protocol import MemberData
from tabcohort.network.program import KINDS, Network, Operation, program_of
from tabcohort.settings import Settings
from tabcohort.types import FloatArray, IntArray

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
    """Networks made ready to answer together: batch normalisations are folded into the layers before them.

    Args:
        networks: of the same rows and outputs; their numbers are copied.

    Raises:
        ValueError: the networks read or give different things.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        first = networks[0]
        self.n_inputs, self.n_outputs = first.program.n_inputs, first.program.n_outputs
        self.dtype = first.parameters.dtype
        self.encoding = _encoding_of(first)
        if self.encoding.source.max(initial=0) >= self.n_inputs:  # the kernel looks at no bounds
            raise ValueError(f"a column is made of feature {self.encoding.source.max()} of {self.n_inputs}")
        statistics, table, constants, begins, lasts = [], [], [], [0], []
        numbers, n_numbers, self.work_size = [np.empty(0)], 0, 0
        for network in networks:
            _check_same(network, first, self.encoding)
            statistics.append(_statistics_of(network, len(self.encoding.source)))
            instructions, last = _instructions(network)
            starts, widths = _places_of_values(network, len(self.encoding.source))
            # A row of `table` is kind, two sources, result, where weights and biases begin, columns read and written.
            for each in instructions:
                source, source_2 = (*each.sources, each.sources[0])[:2]
                bias = n_numbers + each.weight.size
                table.append(
                    (each.kind, starts[source], starts[source_2], starts[each.result], n_numbers, bias,
                     widths[source], widths[each.result])
                )  # fmt: skip
                constants.append(each.constant)
                numbers += [each.weight.reshape(-1), each.bias]
                n_numbers = bias + each.bias.size
            begins.append(len(table))
            lasts.append(starts[last])
            self.work_size = max(self.work_size, starts[-1])
        self.table = np.array(table, dtype=np.int64).reshape(-1, 8)
        self.begins, self.lasts = np.array(begins), np.array(lasts)
        self.constants = np.array(constants, dtype=self.dtype)
        self.numbers = np.concatenate(numbers).astype(self.dtype)
        self.centres = np.array([each.centre for each in statistics])
        self.scales = np.array([each.scale for each in statistics])

    def logits(self, X: FloatArray, rows: IntArray | None = None) -> FloatArray:
        """Return the logits of rows by each network, `(n_rows, n_networks, n_outputs)`, float64.

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
        logits = np.empty((len(rows), len(self.lasts), self.n_outputs))
        n_parts = min(n_cores(), -(-len(rows) * len(self.lasts) // ROWS_WORTH_A_THREAD), max(1, len(rows)))
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
        work = aligned(self.work_size, self.dtype, np.empty)  # each value is written before it is read
        run(
            self.table, self.begins, self.lasts, self.constants, self.numbers, work, X, rows, self.encoding.source,
            self.encoding.level, self.centres, self.scales, logits,
        )  # fmt: skip


def _encoding_of(network: Network) -> Encoding:
    """Return what makes the columns that a network learns from: every feature as it is, where it says nothing else."""
    n_inputs = network.program.n_inputs
    return network.encoding() or Encoding(np.arange(n_inputs), np.full(n_inputs, math.nan))


def _statistics_of(network: Network, n_columns: int) -> Statistics:
    """Return what standardises a network's columns; it may be nothing."""
    return network.statistics() or Statistics(np.zeros(n_columns), np.ones(n_columns))


def _check_same(network: Network, first: Network, encoding: Encoding) -> None:
    """Raise `ValueError` unless a network reads the columns that the first one reads, and has outputs of its kind."""
    own = _encoding_of(network)
    if not (
        network.program.n_inputs == first.program.n_inputs
        and network.program.n_outputs == first.program.n_outputs
        and network.parameters.dtype == first.parameters.dtype
        and np.array_equal(own.source, encoding.source)
        and np.array_equal(own.level, encoding.level, equal_nan=True)
    ):
        raise ValueError("networks that answer together must read the same columns and give the same outputs")


def _places_of_values(network: Network, n_columns: int) -> tuple[list[int], list[int]]:
    """Return where each value of a network's program begins in the work memory, and where the last ends; their widths.

    Value 0 holds the prepared rows, which may be wider than the table's.
    """
    widths = [n_columns, *network.program.widths[1:]]
    ends = np.cumsum([ROWS_AT_A_TIME * -(-width // 16) * 16 for width in widths])
    return [0, *ends.tolist()], widths


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
    from tabcohort.engines.compiled.engine import CompiledEngine  # predicting does without it

    rows = np.zeros((2, 1), np.float32)
    data = MemberData.of_inputs(rows, np.ones((2, 2), np.float32), rows)
    engine = CompiledEngine(_smallest_network(dtype), data, Settings())
    engine.run_epoch(MemberPlan(2, 2, 0.0, 0.0, False, seed=0).epoch(1), 0.0)


def compile_predicting(dtype: str) -> None:
    """Compile what predicts with numbers of this type."""
    Forward([_smallest_network(dtype)]).logits(np.zeros((2, 1)))


def _smallest_network(dtype: str) -> Network:
    program = program_of(Settings(model="logistic"), 1, 2)
    return Network(program, np.zeros(program.n_parameters, dtype), np.zeros(program.n_buffers))

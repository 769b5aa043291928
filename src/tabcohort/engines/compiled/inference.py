"""Inference: the forward pass of finished networks and trees, with one order of summation for every row.

A row's logits are the same to the bit alone, in any batch, and on any number of threads: each is summed from the first
input to the last by the same instructions, whatever rows are beside it. A matrix product of BLAS does not ensure that.
"""

from __future__ import annotations

import functools
import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import typeof
from numpy.typing import NDArray

from tabcohort.data.encoder import Encoding, Statistics
from tabcohort.engines.compiled.calls import addresses, inference_types
from tabcohort.engines.compiled.inference_kernels import (
    AFFINE,
    KERNELS,
    KIND,
    LINEAR,
    ROWS_PER_BLOCK,
    Columns,
    Fitted,
    run,
)
from tabcohort.engines.compiled.jit import Job, ensure_compiled, n_cores
from tabcohort.engines.compiled.layout import aligned
from tabcohort.engines.compiled.tree_kernels import TreeArrays, run_trees
from tabcohort.network.ops import Operation
from tabcohort.network.program import Network, build_program
from tabcohort.network.program_checks import check_network
from tabcohort.network.trees import Trees, blank_trees
from tabcohort.settings import Config
from tabcohort.types import FloatArray, IntArray

MIN_ROWS_PER_THREAD = 2048


@dataclass(frozen=True)
class Instruction:
    """An operation of the forward pass, with batch normalisation folded into it.

    Args:
        kind: the operation's code in `OPS`, or `AFFINE`.
        sources, result: the values that it reads and writes.
        weight: `(d_in, d_out)` matrix or `(d_out,)` gains, float64 so far.
        bias: `(d_out,)`.
        constants: of the operation.
    """

    kind: int
    sources: tuple[int, ...]
    result: int
    weight: FloatArray
    bias: FloatArray
    constants: tuple[float, ...] = ()


class Inference:
    """Models that predict together: encoded rows in, logits out.

    Args:
        models: networks and trees with the same inputs and outputs; their numbers are copied.

    Raises:
        ValueError: they have different inputs or outputs, or a program or its numbers are not possible.
    """

    def __init__(self, models: Sequence[Network | Trees]) -> None:
        for model in models:
            if isinstance(model, Network):
                check_network(model)
        first = models[0]
        if any((model.n_inputs, model.n_outputs) != (first.n_inputs, first.n_outputs) for model in models):
            raise ValueError("models that predict together must read the same inputs and have the same outputs")
        networks: dict[Encoding, dict[int, Network]] = {}
        trees: dict[int, Trees] = {}
        for place, model in enumerate(models):
            if isinstance(model, Trees):
                trees[place] = model
            else:
                networks.setdefault(model.encoding, {})[place] = model
        self.n_models, self.n_outputs = len(models), first.n_outputs
        self._groups: list[tuple[list[int], _Group]] = [
            (list(group), _Networks(list(group.values()))) for group in networks.values()
        ]
        if trees:
            self._groups.append((list(trees), _BoostedTrees(list(trees.values()))))

    def logits(self, X: FloatArray, rows: IntArray | None = None) -> FloatArray:
        """Return the logits of rows by each model, `(n_rows, n_models, n_outputs)`, float64.

        Args:
            X: inputs as they are in the table, `(n, n_inputs)`, float64.
            rows: row numbers, `(n_rows,)`; all rows when omitted.

        Raises:
            ValueError: the rows have another number of inputs.
        """
        if len(self._groups) == 1:
            return self._groups[0][1].logits(X, rows)
        logits = np.empty((len(X) if rows is None else len(rows), self.n_models, self.n_outputs))
        for places, group in self._groups:
            logits[:, places] = group.logits(X, rows)
        return logits


class _Group(ABC):
    """Models that one call of a kernel runs.

    Args:
        n_inputs, n_models, n_outputs: of the group.
    """

    n_inputs: int
    n_models: int
    n_outputs: int

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle, and copy arrays that are read-only, as `joblib.load` may map them into memory."""
        self.__dict__.update({name: _writeable(value) for name, value in state.items()})

    def logits(self, X: FloatArray, rows: IntArray | None = None) -> FloatArray:
        """See `Inference.logits`."""
        if X.shape[1:] != (self.n_inputs,):
            raise ValueError(f"the rows must be of shape (n, {self.n_inputs}); they are of {X.shape}")
        self.prepare()  # here, as unpickling does not call `__init__`
        rows = np.arange(len(X)) if rows is None else np.require(rows, np.int64, ["C", "W"])
        if X.dtype != np.float64 or not (X.flags.c_contiguous and X.flags.writeable):
            # For another memory layout the compiler would compile another kernel.
            X, rows = np.array(X[rows], np.float64, order="C"), np.arange(len(rows))
        logits = np.empty((len(rows), self.n_models, self.n_outputs))
        n_parts = min(n_cores(), -(-len(rows) * self.n_models // MIN_ROWS_PER_THREAD), max(1, len(rows)))
        if n_parts <= 1:
            self._pass(X, rows, logits)
        else:
            first, *others = itertools.pairwise(np.linspace(0, len(rows), n_parts + 1).astype(int))
            with ThreadPoolExecutor(n_parts - 1) as pool:
                futures = [pool.submit(self._pass, X, rows[a:b], logits[a:b]) for a, b in others]
                self._pass(X, rows[: first[1]], logits[: first[1]])
                for future in futures:
                    future.result()
        return logits

    @abstractmethod
    def prepare(self) -> None:
        """Compile the kernels that predict, where that was not done before."""

    @abstractmethod
    def _pass(self, X: FloatArray, rows: IntArray, logits: FloatArray) -> None:
        """Compute the logits of rows, on one thread."""


def _writeable(value: Any) -> Any:
    """Return an array, or the arrays of a named tuple, writeable: for others the compiler would compile a kernel."""
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        return np.array(value)
    if isinstance(value, (Columns, Fitted, TreeArrays)):
        return type(value)(*map(_writeable, value))
    return value


class _BoostedTrees(_Group):
    """Boosted trees of several members, one after another."""

    def __init__(self, members: Sequence[Trees]) -> None:
        first = members[0]
        if any((own.n_numbers, own.n_codes) != (first.n_numbers, first.n_codes) for own in members):
            raise ValueError("trees that predict together must have the same numbers and categories")
        self.n_inputs, self.n_models, self.n_outputs = first.n_inputs, len(members), first.n_outputs
        n_trees, n_nodes, n_levels = (
            np.cumsum([0, *(len(getattr(member, name)) for member in members)]) for name in ("roots", "right", "levels")
        )

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(member, name) for member in members])

        roots, right, split = [], [], []
        for own, node, level in zip(members, n_nodes[:-1], n_levels[:-1], strict=True):
            roots.append(own.roots + node)
            right.append(np.where(own.right > 0, own.right + node, 0))
            split.append(np.where(own.split >= 0, own.split + level, own.split))
        self.trees = TreeArrays(
            begins=n_trees,
            baseline=np.array([member.baseline for member in members]),
            roots=np.concatenate(roots).astype(np.int32),
            outputs=joined("outputs"),
            right=np.concatenate(right).astype(np.int32),
            feature=joined("feature"),
            number=joined("number"),
            split=np.concatenate(split).astype(np.int32),
            levels=joined("levels"),
            group=np.array([member.group for member in members]),
            n_codes=np.array(first.n_codes, dtype=np.int64),
            code_starts=first.code_starts,
            n_numbers=first.n_numbers,
        )

    def prepare(self) -> None:
        """See `_Group.prepare`."""
        ensure_compiled([job_of_trees()], "predictions by trees", "two seconds")

    def _pass(self, X: FloatArray, rows: IntArray, logits: FloatArray) -> None:
        run_trees(self.trees, X, rows, logits)


class _Networks(_Group):
    """Networks of one encoding: their statistics are rows of the same arrays.

    Batch normalisations are folded into the layers before them.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        first = networks[0]
        if any(network.parameters.dtype != first.parameters.dtype for network in networks):
            raise ValueError("networks that predict together must have numbers of one dtype")
        self.n_inputs, self.n_models, self.n_outputs = first.n_inputs, len(networks), first.n_outputs
        self.dtype = first.parameters.dtype
        statistics, rows, constants, begins, lasts = [], [], [], [0], []
        arrays, n_numbers, self.work_size = [np.empty(0)], 0, 0
        for network in networks:
            statistics.append(_statistics_of(network))
            instructions, last = instructions_of(network)
            starts, widths = _places_of_values(network)
            # A row of `table` is kind, two sources, result, where weights and biases begin, columns read and written.
            for instruction in instructions:
                source, source_2 = (*instruction.sources, instruction.sources[0])[:2]
                bias = n_numbers + instruction.weight.size
                rows.append(
                    (instruction.kind, starts[source], starts[source_2], starts[instruction.result], n_numbers, bias,
                     widths[source], widths[instruction.result])
                )  # fmt: skip
                constants.append((*instruction.constants, 0.0, 0.0, 0.0)[:3])
                arrays += [instruction.weight.reshape(-1), instruction.bias]
                n_numbers = bias + instruction.bias.size
            begins.append(len(rows))
            lasts.append(starts[last])
            self.work_size = max(self.work_size, starts[-1])
        self.table = np.array(rows, dtype=np.int64).reshape(-1, 8)
        self.begins, self.lasts = np.array(begins), np.array(lasts)
        self.constants = np.array(constants, dtype=self.dtype).reshape(-1, 3)
        with np.errstate(over="ignore"):
            self.numbers = np.concatenate(arrays).astype(self.dtype)
        if not np.isfinite(self.numbers).all():
            raise ValueError(f"weights are too large for {self.dtype} once batch normalizations are folded into them")
        self.columns = _columns(first.encoding)
        self.fitted = Fitted(*(np.array([getattr(own, name) for own in statistics]) for name in Fitted._fields))

    def prepare(self) -> None:
        """See `_Group.prepare`."""
        _ = self._kernels

    def _pass(self, X: FloatArray, rows: IntArray, logits: FloatArray) -> None:
        run(*self.arguments(X, rows, logits))

    @functools.cached_property
    def _kernels(self) -> NDArray[Any]:
        kinds = self.table[:, KIND].tolist()
        ensure_compiled(jobs_of(kinds, self.dtype.name), f"predictions by networks in {self.dtype}", "five seconds")
        return addresses([KERNELS[kind] for kind in kinds], inference_types(self.dtype))

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: not the addresses, which are those of this process."""
        return {name: value for name, value in self.__dict__.items() if name != "_kernels"}

    def arguments(self, X: FloatArray, rows: IntArray, logits: FloatArray) -> tuple[Any, ...]:
        """Return what `run` is called with."""
        work = aligned(self.work_size, self.dtype, np.empty)  # every value is written before it is read
        return (
            self._kernels, self.table, self.begins, self.lasts, self.constants, self.numbers, work, X, rows,
            self.columns, self.fitted, logits,
        )  # fmt: skip


def _columns(encoding: Encoding) -> Columns:
    vectors = (
        encoding.numbers,
        encoding.missing,
        encoding.codes,
        encoding.learned,
        [category.n_codes for category in encoding.categories],
        [category.width for category in encoding.categories],
        encoding.lookup_starts,
        encoding.code_starts,
    )
    return Columns(*(np.array(vector, dtype=np.int64) for vector in vectors))


def _statistics_of(network: Network) -> Statistics:
    """Return the statistics of a network; neutral ones where it has none."""
    encoding = network.encoding
    own = network.statistics() or Statistics(np.zeros(encoding.n_columns), np.ones(encoding.n_columns))
    return own if len(own.fill) else replace(own, fill=np.full(len(encoding.numbers), np.nan))


def _places_of_values(network: Network) -> tuple[list[int], list[int]]:
    """Return where each value of a network's program begins in the work memory, and where the last ends; their widths.

    Value 0 holds the encoded rows, which may be wider than the table's.
    """
    widths = [network.encoding.n_columns, *network.program.widths[1:]]
    ends = np.cumsum([ROWS_PER_BLOCK * -(-width // 16) * 16 for width in widths])
    return [0, *ends.tolist()], widths


def instructions_of(network: Network) -> tuple[list[Instruction], int]:
    """Return the instructions of a network's forward pass, and the value that is its logits."""
    program = network.program
    alias = list(range(len(program.operations) + 1))  # the value that stands for each value
    for op in program.operations:
        if op.kind in ("encode", "standardize", "dropout"):  # rows come standardized; dropout is for training
            alias[op.result] = alias[op.sources[0]]
    computed = [op for op in program.operations[:-1] if alias[op.result] == op.result]
    n_uses = Counter(alias[source] for op in (*computed, program.operations[-1]) for source in op.sources)
    instructions: list[Instruction] = []
    for op in computed:
        if op.kind not in ("batch_norm", "scale") and op.spec.code not in KERNELS:
            raise ValueError(f"the operation {op.kind!r} has no inference kernel; predict with `to_module(network)`")
        sources = tuple(alias[source] for source in op.sources)
        weight, bias = _weight_and_bias(network, op)
        before = instructions[-1] if instructions else None
        if op.kind == "scale":
            instructions.append(Instruction(AFFINE, sources, op.result, weight, bias))
        elif op.kind != "batch_norm":
            instructions.append(Instruction(op.spec.code, sources, op.result, weight, bias, op.constants))
        elif before and before.kind == LINEAR and before.result == sources[0] and n_uses[sources[0]] == 1:
            weight, bias = before.weight * weight, before.bias * weight + bias
            instructions[-1] = Instruction(LINEAR, before.sources, op.result, weight, bias)
        else:
            instructions.append(Instruction(AFFINE, sources, op.result, weight, bias))
    return instructions, alias[program.operations[-1].sources[0]]


def _weight_and_bias(network: Network, op: Operation) -> tuple[FloatArray, FloatArray]:
    """Return an operation's numbers in float64; a batch norm's are those of `x gain + shift` in evaluation mode."""
    if op.spec.prepares_input and op.buffers:
        d_in = network.program.widths[op.sources[0]]
        size = sum(array.shape(op, d_in)[0] for array in op.spec.buffers)
        return network.buffers[op.buffers[0] : op.buffers[0] + size], np.empty(0)
    if not op.n_parameters:
        return np.empty(0), np.empty(0)
    numbers, start = network.parameters.astype(np.float64), op.parameters[0]
    if op.kind == "embed":
        return numbers[start : start + op.n_parameters], np.empty(0)
    if op.kind == "scale":
        return numbers[start : start + op.d_out], np.zeros(op.d_out)
    if op.kind == "periodic":
        return numbers[start : op.parameters[1]], numbers[op.parameters[1] : start + op.n_parameters]
    bias_start = op.parameters[1]
    bias = numbers[bias_start : bias_start + op.d_out]
    weight = numbers[start : start + op.n_parameters - op.d_out]
    if op.kind == "linear":
        return weight.reshape(-1, op.d_out), bias
    if op.kind == "batch_norm":
        mean, var = (network.buffers[begin : begin + op.d_out] for begin in op.buffers)
        gain = weight / np.sqrt(var + op.constants[0])
        return gain, bias - mean * gain
    return weight, bias


def jobs_of(kinds: Iterable[int], dtype: str) -> list[Job]:
    """Return what predicts by operations of these codes; see `Instruction`."""
    own = {KERNELS[kind]: kind for kind in kinds}
    operations = [Job(kernel, dtype, (__name__, "compile_operation", str(kind), dtype)) for kernel, kind in own.items()]
    return [Job(run, dtype, (__name__, "compile_loop", dtype)), *operations]


def job_of_trees() -> Job:
    """Return what predicts by trees."""
    return Job(run_trees, "trees", (__name__, "compile_trees"))


def compile_operation(kind: str, dtype: str) -> None:
    """Compile the kernel of an operation, by its code."""
    addresses([KERNELS[int(kind)]], inference_types(dtype))


def compile_loop(dtype: str) -> None:
    """Compile what calls the kernels of operations for rows, for a network that has none."""
    program = build_program(Config(model="logistic"), 1, 2)
    networks = _Networks([Network(program, np.zeros(program.n_parameters, dtype), np.zeros(program.n_buffers))])
    networks.table = networks.table[:0]
    run.compile(tuple(map(typeof, networks.arguments(np.zeros((2, 1)), np.arange(2), np.zeros((2, 1, 1))))))


def compile_trees() -> None:
    """Compile what predicts by trees, on one that is as small as can be."""
    _BoostedTrees([blank_trees(1, (), 1)]).logits(np.zeros((2, 1)))

"""Where everything is in memory: no two arrays in one place, and every gradient is set once and then added to."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from helpers import programs
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort.engines.compiled.dropout import KEEP_ALL
from tabcohort.engines.compiled.layout import CACHE_LINE, FusedOperation, Layout, aligned, fuse
from tabcohort.engines.compiled.operations import KERNELS
from tabcohort.engines.compiled.tables import (
    BIAS,
    BIAS_CANCELS,
    BUFFERS,
    FUSES_ADD,
    FUSES_RELU,
    GRADIENT,
    KIND,
    LAYER,
    N_BINS,
    NEEDED_FROM,
    RESULT,
    SCRATCH,
    SETS_GRADIENT,
    SETS_GRADIENT_2,
    SOURCE,
    SOURCE_2,
    VALUE,
    WEIGHT,
    WIDTH,
)
from tabcohort.network.ops import OPS
from tabcohort.network.program import Builder, Program, build_program
from tabcohort.settings import Config

MANY = hypothesis_settings(max_examples=200, deadline=None)
KIND_OF = {spec.code: kind for kind, spec in OPS.items()}
ROWS = 9
NORM = (1e-5, 0.1)


def layout_of(program: Program, rows: int = ROWS) -> Layout:
    return Layout(program, rows, max(2, program.n_outputs), np.dtype(np.float32))


def stored_values(layout: Layout) -> set[int]:
    """Return the values that an operation reads or writes, and the rows."""
    results = set(layout.operations[:, RESULT].tolist())
    sources = set(layout.operations[:, SOURCE].tolist())
    return {0} | results | sources


def fuses_add(row: Any) -> bool:
    return bool(row[FUSES_ADD]) and KIND_OF[row[KIND]] == "batch_norm"


def sources_of(row: Any) -> list[int]:
    """Return the values that an operation of the table reads; of a sum, and what it is fused into, there are two."""
    columns = (SOURCE, SOURCE_2) if KIND_OF[row[KIND]] == "add" or row[FUSES_ADD] else (SOURCE,)
    return [int(row[column]) for column in columns]


# Places


@given(programs(), st.integers(1, 40))
@MANY
def test_no_two_arrays_share_memory_but_gradients_of_sums_and_their_sources(program: Program, rows: int) -> None:
    layout = layout_of(program, rows)
    values, gradients, scratch = set(), set(), set()
    for value in stored_values(layout):
        width, start, gradient = (int(layout.values[value, column]) for column in (WIDTH, VALUE, GRADIENT))
        values.add((start, start + rows * width))
        gradients.add((gradient, gradient + rows * width))  # a set: a sum's gradient is also that of its sources
    assert len(values) == len(stored_values(layout))
    for row in layout.operations:
        size = KERNELS[KIND_OF[row[KIND]]].scratch(
            rows, int(layout.values[row[SOURCE], WIDTH]), int(layout.values[row[RESULT], WIDTH])
        )
        if size:
            scratch.add((int(row[SCRATCH]), int(row[SCRATCH]) + size))
    places = sorted([*values, *gradients, *scratch])
    for (_, end), (start, _) in pairwise(places):
        assert end <= start
    assert places[0][0] >= 0
    assert places[-1][1] <= layout.work.size
    assert all(start % 16 == 0 for start, _ in places)


@given(programs())
@MANY
def test_every_place_of_a_parameter_is_that_of_the_program(program: Program) -> None:
    layout = layout_of(program)
    by_result = {op.result: op for op in program.operations}
    skipped = sum(op.kind in ("encode", "standardize") for op in program.operations)
    learning = [op for op in program.operations[skipped:-1] if op.n_parameters]
    rows = [row for row in layout.operations if OPS[KIND_OF[row[KIND]]].parameters]
    assert len(learning) == len(rows)  # what has parameters is never fused away
    for op, row in zip(learning, rows, strict=True):
        assert KIND_OF[row[KIND]] == op.kind
        assert tuple(row[[WEIGHT, BIAS]][: len(op.parameters)]) == op.parameters
        assert not op.buffers or row[BUFFERS] == op.buffers[0]
        assert row[SOURCE] == op.sources[0] - skipped
        assert row[RESULT] + skipped in by_result
    np.testing.assert_array_equal(layout.values[:, WIDTH], program.widths[skipped:])


@given(st.integers(1, 1000), st.sampled_from([np.float32, np.float64]))
@MANY
def test_arrays_begin_at_a_cache_line(size: int, dtype: Any) -> None:
    for make in (np.zeros, np.empty):
        array = aligned(size, np.dtype(dtype), make)
        assert (array.size, array.dtype, array.flags.c_contiguous) == (size, dtype, True)
        assert array.ctypes.data % CACHE_LINE == 0
    assert (aligned(size, np.dtype(dtype)) == 0).all()


def test_there_is_room_for_the_widest_value_and_for_all_classes() -> None:
    program = build_program(Config(hidden=(30,)), 5, 2)
    layout = Layout(program, 10, 2, np.dtype(np.float64))
    assert layout.spare.size == 10 * 30
    assert layout.batch_targets.shape == (10, 2)
    assert {layout.work.dtype, layout.spare.dtype, layout.batch_targets.dtype, layout.constants.dtype} == {
        np.dtype(np.float64)
    }


# Gradients


def values_that_learn(layout: Layout) -> set[int]:
    """Return the values that depend on a parameter."""
    learning: set[int] = set()
    for row in layout.operations:
        if OPS[KIND_OF[row[KIND]]].parameters or learning.intersection(sources_of(row)):
            learning.add(int(row[RESULT]))
    return learning


def values_that_matter(layout: Layout) -> set[int]:
    """Return the values that the logits depend on."""
    mattering = {len(layout.values) - 1}
    for row in layout.operations[::-1]:
        if int(row[RESULT]) in mattering:
            mattering.update(sources_of(row))
    return mattering


@given(programs())
@MANY
def test_every_gradient_is_set_before_it_is_added_to_or_read(program: Program) -> None:
    """By going through the tables as the backward pass does, with places in memory for gradients."""
    layout = layout_of(program)
    learning, mattering = values_that_learn(layout), values_that_matter(layout)
    place = layout.values[:, GRADIENT].tolist()
    written = {place[-1]}  # by the loss
    n_read = Counter(source for row in layout.operations for source in sources_of(row))
    for row in layout.operations[::-1]:
        result, sources = int(row[RESULT]), sources_of(row)
        assert result not in learning & mattering or place[result] in written
        if fuses_add(row):  # the sum's own gradient is that of its second source
            assert place[sources.pop()] == place[result]
        for source, flag in zip(sources, (SETS_GRADIENT, SETS_GRADIENT_2), strict=False):
            if row[flag] == 1:
                assert place[source] not in written
                written.add(place[source])
            elif row[flag] == 0:
                assert place[source] in written
            else:
                serves = KIND_OF[row[KIND]] == "add" and n_read[source] == 1 and place[source] == place[result]
                assert source not in learning or serves


def test_what_comes_before_all_parameters_has_no_gradient() -> None:
    builder = Builder(3)
    value = builder.add("relu", "relu", 0, constants=(0.0,))
    value = builder.add("tanh", "tanh", value, constants=(0.0,))
    layout = layout_of(builder.finish(builder.add("linear", "linear", value, d_out=1)))
    assert layout.operations[:, SETS_GRADIENT].tolist() == [-1, -1, -1]


def test_a_value_that_is_read_twice_has_its_gradient_set_by_the_last_and_added_to_by_the_first() -> None:
    builder = Builder(3)
    value = builder.add("linear", "first", 0, d_out=4)
    other = builder.add("tanh", "tanh", value, constants=(0.0,))
    value = builder.add("add", "sum", other, value)
    layout = layout_of(builder.finish(builder.add("linear", "last", value, d_out=1)))
    kinds = [KIND_OF[kind] for kind in layout.operations[:, KIND]]
    assert kinds == ["linear", "tanh", "add", "linear"]
    first, tanh, total, last = layout.operations
    assert last[SETS_GRADIENT] == 1
    assert (total[SETS_GRADIENT], total[SETS_GRADIENT_2]) == (-1, 1)  # tanh alone reads nothing else: served
    assert tanh[SETS_GRADIENT] == 0
    assert first[SETS_GRADIENT] == -1
    assert layout.values[other, GRADIENT] == layout.values[int(total[RESULT]), GRADIENT]


# What is fused


def fused(*kinds: str, extra_use: int | None = None) -> list[FusedOperation]:
    """Return a chain of operations that was fused; value `extra_use` is read once more by a sum at its end."""
    builder, value = Builder(3), 0
    constants = {"batch_norm": NORM, "dropout": (16_000,)}
    for number, kind in enumerate(kinds):
        if kind == "linear":
            value = builder.add(kind, f"layer{number}", value, d_out=3)
        else:
            value = builder.add(kind, f"layer{number}", value, constants=constants.get(kind, (0.0,)))
    if extra_use is not None:
        builder.add("add", "sum", value, extra_use)
    uses = Counter(source for op in builder.operations for source in op.sources)
    uses[len(builder.operations)] += 1  # the loss
    return fuse(builder.operations, uses)


def test_relu_and_dropout_are_fused_into_the_batch_norm_before_them() -> None:
    (op,) = fused("batch_norm", "relu", "dropout")
    assert (op.kind, op.fuses_relu, op.constants, op.sources, op.result) == (
        "batch_norm", True, (*NORM, 16_000), (0,), 3,
    )  # fmt: skip
    (op,) = fused("batch_norm", "relu")
    assert (op.fuses_relu, op.constants, op.result) == (True, (*NORM, KEEP_ALL), 2)


@pytest.mark.parametrize(
    "kinds",
    [
        ("batch_norm", "tanh"),
        ("batch_norm", "dropout"),
        ("relu", "dropout"),
        ("layer_norm", "relu"),
        ("batch_norm", "batch_norm"),
    ],
    ids="+".join,
)
def test_nothing_else_is_fused(kinds: tuple[str, ...]) -> None:
    assert [op.kind for op in fused(*kinds)] == list(kinds)


def test_a_second_relu_or_dropout_stays() -> None:
    assert [op.kind for op in fused("batch_norm", "relu", "relu")] == ["batch_norm", "relu"]
    assert [op.kind for op in fused("batch_norm", "relu", "dropout", "dropout")] == ["batch_norm", "dropout"]


@pytest.mark.parametrize(("extra_use", "kinds"), [(1, ["batch_norm", "relu", "add"]), (2, ["batch_norm", "add"])])
def test_a_value_that_is_read_elsewhere_is_stored(extra_use: int, kinds: list[str]) -> None:
    """Value 1 is that of the batch norm, and value 2 that of its ReLU."""
    operations = fused("batch_norm", "relu", extra_use=extra_use)
    assert [op.kind for op in operations] == kinds
    assert operations[0].fuses_relu == (extra_use == 2)


def test_dropout_layers_keep_their_numbers_when_they_are_fused() -> None:
    """The PyTorch engine counts them in the order of the forward pass; their masks depend on it."""
    operations = fused("dropout", "batch_norm", "relu", "dropout", "tanh", "dropout")
    assert [(op.kind, op.layer) for op in operations if op.kind in ("dropout", "batch_norm")] == [
        ("dropout", 0), ("batch_norm", 1), ("dropout", 2),
    ]  # fmt: skip


def test_a_bias_before_a_batch_norm_cancels() -> None:
    assert [op.bias_cancels for op in fused("linear", "batch_norm")] == [True, False]
    assert [op.bias_cancels for op in fused("linear", "relu", "batch_norm")] == [False, False, False]
    assert not any(op.bias_cancels for op in fused("linear", "batch_norm", extra_use=1))


def program_with_bins(*kinds: str) -> Program:
    """Return a program of 6 bins of 4 columns and these operations, with two learned vectors of 3 numbers."""
    builder = Builder(4)
    value = builder.add("piecewise_linear", "bins", 0, d_out=10)
    for number, kind in enumerate(kinds):
        d_out = {"embed": 8 + 6, "linear": 5}.get(kind)
        constants = {"embed": (2, 7, 3), "batch_norm": NORM}.get(kind, ())
        value = builder.add(kind, f"layer{number}", value, d_out=d_out, constants=constants)
    return builder.finish(builder.add("linear", "last", value, d_out=1))


@pytest.mark.parametrize("kinds", [("linear", "batch_norm"), ("embed", "linear")], ids="+".join)
def test_bins_before_a_linear_are_multiplied_by_their_weights(kinds: tuple[str, ...]) -> None:
    program = program_with_bins(*kinds)
    layout = Layout(program, ROWS, 2, np.dtype(np.float32), bins_are_apart=True)
    bins, linear = layout.operations[0], layout.operations[kinds.index("linear") + 1]
    weight, bias = program.operations[kinds.index("linear") + 1].parameters
    assert (bins[N_BINS], bins[WEIGHT], layout.values[1, WIDTH]) == (6, weight, 5)
    assert (linear[N_BINS], linear[WEIGHT], linear[BIAS]) == (0, weight + 6 * 5, bias)
    assert (linear[SOURCE], linear[SOURCE_2], linear[FUSES_ADD]) == (2 if "embed" in kinds else 0, 1, 1)
    assert layout.values[1, GRADIENT] == layout.values[linear[RESULT], GRADIENT]
    if "embed" in kinds:
        assert (layout.operations[1][SOURCE], layout.values[2, WIDTH], linear[NEEDED_FROM]) == (0, 8, 2)
    assert layout_of(program).operations[0, N_BINS] == 0


@pytest.mark.parametrize("kinds", [("batch_norm", "linear"), ("embed", "batch_norm")], ids="+".join)
def test_bins_that_anything_else_reads_are_computed(kinds: tuple[str, ...]) -> None:
    layout = Layout(program_with_bins(*kinds), ROWS, 2, np.dtype(np.float32), bins_are_apart=True)
    assert not layout.operations[:, N_BINS].any()
    assert layout.values[1, WIDTH] == 10


def test_bins_that_are_read_twice_are_computed() -> None:
    builder = Builder(4)
    bins = builder.add("piecewise_linear", "bins", 0, d_out=10)
    value = builder.add("linear", "first", bins, d_out=10)
    program = builder.finish(builder.add("add", "sum", value, bins))
    layout = Layout(program, ROWS, 10, np.dtype(np.float32), bins_are_apart=True)
    assert not layout.operations[:, N_BINS].any()


def test_the_residual_network_is_fused_to_batch_norms_and_linear_layers() -> None:
    program = build_program(Config(model="residual", hidden=(4, 4, 6), dropout=0.3), 4, 3)
    layout = layout_of(program)
    kinds = [KIND_OF[kind] for kind in layout.operations[:, KIND]]
    assert set(kinds) == {"batch_norm", "linear", "add"}
    assert kinds.count("batch_norm") == sum(op.kind == "batch_norm" for op in program.operations)
    assert layout.operations[:, FUSES_RELU].sum() == 3
    assert sum(fuses_add(row) for row in layout.operations) == 1  # where the skip is projected
    assert kinds.count("add") == 2
    fused_norms = layout.operations[layout.operations[:, FUSES_RELU] == 1]
    assert fused_norms[:, LAYER].tolist() == [0, 1, 2]
    assert layout.operations[:, BIAS_CANCELS].sum() == 4  # of three blocks and a projection

"""Programs and numbers that kernels could not be trusted with are refused in words, whatever is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import programs, random_network
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tabcohort.data.encoder import CategoryEncoding, Encoding
from tabcohort.engines.compiled.inference import Inference
from tabcohort.network.ops import OPS
from tabcohort.network.program import Builder, Network, Program, blank_network, build_program
from tabcohort.network.program_checks import check_network, check_program
from tabcohort.settings import Config

ENCODING = Encoding((0, 1), (1,), (2,), (CategoryEncoding(5, False, 2, n_learned=3),))
CONFIG = Config(hidden=(4, 4), batch_norm=True, dropout=0.2, scaling="robust", periodic=2, input_scale=True)
PROGRAM = build_program(CONFIG, 3, 3, ENCODING, n_bins=4)
RESIDUAL = build_program(Config(model="residual", hidden=(5, 3)), 4, 2)


def place_of(kind: str, program: Program = PROGRAM) -> int:
    return next(place for place, op in enumerate(program.operations) if op.kind == kind)


def with_operation(name: str, program: Program = PROGRAM, /, **changes: Any) -> Program:
    """Return a program with these changes to its first operation of a kind."""
    place = place_of(name, program)
    operations = list(program.operations)
    operations[place] = replace(operations[place], **changes)
    return replace(program, operations=tuple(operations))


@pytest.mark.parametrize("program", [PROGRAM, RESIDUAL], ids=["all that a config can have", "residual"])
def test_the_programs_of_configs_are_possible(program: Program) -> None:
    check_network(blank_network(program))


@given(program=programs())
@hypothesis_settings(max_examples=100, deadline=None)
def test_all_programs_of_a_builder_are_possible(program: Program) -> None:
    check_network(random_network(program, np.float32))


WRONG: dict[str, tuple[Program, str]] = {
    "encode reads a value before the rows": (with_operation("encode", sources=(-1,)), "must read values from 0 to 0"),
    "an operation reads its own value": (
        with_operation("relu", sources=(PROGRAM.operations[place_of("relu")].result,)), "must read values from 2",
    ),
    "a cycle": (with_operation("batch_norm", sources=(10,)), "must read values from 2 to"),
    "the rows are read after they are encoded": (with_operation("linear", sources=(0,)), "must read values from 2 to"),
    "a sum of one value": (with_operation("add", RESIDUAL, sources=(3,)), "must read 2 value"),
    "a sum of two widths": (with_operation("add", RESIDUAL, sources=(1, 2)), "columns and cannot write"),
    "a source that is no number": (with_operation("linear", sources=("1",)), "must read 1 value"),
    "an unknown operation": (with_operation("relu", kind="call"), "there is no operation 'call'"),
    "another value": (with_operation("relu", result=1), "are not where those of this program must be"),
    "no columns": (with_operation("linear", d_out=0), "has widths or constants that do not fit"),
    "a width that changes": (with_operation("relu", d_out=5), "columns and cannot write 5"),
    "a huge width": (with_operation("linear", d_out=2**40), "columns and cannot write|are not where"),
    "a width that is no whole number": (with_operation("linear", d_out=4.5), "columns and cannot write"),
    "weights after the end": (with_operation("linear", parameters=(10**6, 0)), "are not where those of this program"),
    "weights before the beginning": (with_operation("linear", parameters=(-8, 0)), "are not where those of this"),
    "weights of another operation": (with_operation("linear", parameters=(1, 0)), "are not where those of this"),
    "buffers after the end": (with_operation("batch_norm", buffers=(10**6, 0)), "are not where those of this program"),
    "a loss in the middle": (with_operation("relu", kind="cross_entropy"), "columns and cannot|do not fit"),
    "no loss": (replace(PROGRAM, operations=PROGRAM.operations[:-1]), "the last operation must be a loss"),
    "the loss of another number of classes": (
        with_operation("cross_entropy", kind="binary_cross_entropy"), "are not where those of this program",
    ),
    "no operations": (replace(PROGRAM, operations=()), "must have inputs and operations"),
    "no inputs": (replace(PROGRAM, n_inputs=0), "must have inputs and operations"),
    "more inputs": (replace(PROGRAM, n_inputs=4), "'encode', has widths or constants that do not fit"),
    "a count below zero": (replace(PROGRAM, n_parameters=-1), "are not where those of this program must be"),
    "a huge count": (replace(PROGRAM, n_buffers=2**62), "are not where those of this program must be"),
    "a constant that is no number": (with_operation("relu", constants=(np.nan,)), "no finite numbers"),
    "an endless constant": (with_operation("batch_norm", constants=(np.inf, 0.1)), "no finite numbers"),
    "no constants": (with_operation("batch_norm", constants=()), "has widths or constants that do not fit"),
    "a variance that eps makes negative": (with_operation("batch_norm", constants=(-1.0, 0.1)), "do not fit"),
    "more numbers than columns": (with_operation("robust_scale", constants=(3.0, 99)), "do not fit"),
    "half a number": (with_operation("robust_scale", constants=(3.0, 1.5)), "do not fit"),
    "vectors after the end of their table": (with_operation("embed", constants=(1, 4, 8)), "do not fit"),
    "vectors of more categories": (with_operation("embed", constants=(2, 5, 8)), "do not fit"),
    "no vectors": (with_operation("embed", constants=(0, 5, 8)), "do not fit"),
    "waves of columns that there are not": (with_operation("periodic", constants=(2, 90, 0.1)), "do not fit"),
    "waves of no numbers": (with_operation("periodic", constants=(0, 4, 0.1)), "do not fit"),
    "bins that are fewer than none": (with_operation("piecewise_linear", d_out=2), "do not fit"),
    "dropout of more than all": (with_operation("dropout", constants=(40_000,)), "do not fit"),
    "no encoding": (with_operation("encode", encoding=None), "do not fit"),
    "an input that there is not": (with_operation("encode", encoding=replace(ENCODING, numbers=(0, 7))), "do not fit"),
    "an indicator of no number": (with_operation("encode", encoding=replace(ENCODING, missing=(5,))), "do not fit"),
    "a category that is not encoded": (with_operation("encode", encoding=replace(ENCODING, categories=())), "do not"),
    "inputs are encoded again": (
        with_operation("standardize", kind="encode", encoding=ENCODING), "'encode', may not follow encode",
    ),
    "inputs are prepared late": (with_operation("relu", kind="smooth_clip", constants=(1.0,)), "must come before"),
    "inputs are encoded twice": (
        replace(PROGRAM, operations=(PROGRAM.operations[0], *PROGRAM.operations)), "must read values from 1 to 1; it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_impossible_program_is_refused_in_words(name: str) -> None:
    program, words = WRONG[name]
    with pytest.raises(ValueError, match=words):
        check_program(program)


def test_learned_vectors_without_an_encoding_are_zero_for_numbers_that_are_no_rows() -> None:
    """The numbers are data then, and may be anything."""
    builder = Builder(2)
    value = builder.add("embed", "embed", 0, d_out=5, constants=(1, 4, 4))
    program = builder.finish(builder.add("linear", "linear", value, d_out=1))
    network = replace(blank_network(program), parameters=np.ones(program.n_parameters, np.float32))
    inputs = np.array([[0.0, row] for row in (0.0, 3.0, -1.0, 4.0, 1e9, -1e9)])
    assert Inference([network]).logits(inputs)[:, 0, 0].tolist() == [5.0, 5.0, 1.0, 1.0, 1.0, 1.0]


def with_array(name: str, place: int, value: float) -> Network:
    network = random_network(RESIDUAL, np.float32)
    named = network.named()
    named[name].flat[place] = value
    return network.with_named(named)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("network.linear.weight", np.nan, "'network.linear.weight' holds a number that is not finite"),
        ("network.blocks.0.linear.bias", np.inf, "'network.blocks.0.linear.bias' holds a number that is not finite"),
        ("network.input_norm.running_mean", -np.inf, "'network.input_norm.running_mean' holds a number"),
        ("network.input_norm.running_var", -1e-9, "'network.input_norm.running_var' holds a variance below 0"),
        ("standardize.center", np.nan, "'standardize.center' holds a number that is not finite"),
    ],
)
def test_impossible_numbers_are_refused_by_name(name: str, value: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Inference([with_array(name, 0, value)])


def test_a_variance_of_0_needs_an_epsilon() -> None:
    for epsilon in (1e-5, 0.0):
        network = blank_network(with_operation("batch_norm", constants=(epsilon, 0.1)))
        check_network(network)
        named = network.named()
        variance = next(name for name in named if name.endswith("running_var"))
        named[variance].flat[-1] = 0.0
        if epsilon:
            check_network(network.with_named(named))
        else:
            with pytest.raises(ValueError, match="has an epsilon of 0 and a variance of 0, so it would divide by 0"):
                check_network(network.with_named(named))


def test_numbers_that_overflow_when_they_are_folded_are_refused() -> None:
    network = random_network(RESIDUAL, np.float32)
    named = network.named()
    named["network.blocks.0.linear.weight"][:] = 3e38
    named["network.blocks.0.norm.weight"][:] = 1e4
    with pytest.raises(ValueError, match="weights are too large for float32 once batch normalizations are folded"):
        Inference([network.with_named(named)])


def test_more_or_fewer_numbers_than_a_program_has_are_refused() -> None:
    network = blank_network(RESIDUAL)
    for wrong in (
        replace(network, parameters=network.parameters[:-1]),
        replace(network, buffers=np.append(network.buffers, 0.0)),
        replace(network, parameters=network.parameters.astype(np.float16)),
    ):
        with pytest.raises(ValueError, match=r"must be \d+ numbers; they are of shape"):
            check_network(wrong)


FIELDS: dict[str, Callable[[st.DataObject], Any]] = {
    "kind": lambda data: data.draw(st.sampled_from([*OPS, ""])),
    "sources": lambda data: tuple(data.draw(st.lists(st.integers(-3, 12), max_size=3))),
    "result": lambda data: data.draw(st.integers(-1, 12)),
    "d_out": lambda data: data.draw(st.integers(-1, 50) | st.just(2**62)),
    "parameters": lambda data: tuple(data.draw(st.lists(st.integers(-9, 2_000), max_size=3))),
    "buffers": lambda data: tuple(data.draw(st.lists(st.integers(-9, 200), max_size=4))),
    "constants": lambda data: tuple(data.draw(st.lists(st.floats(-9, 9) | st.just(40_000.0), max_size=4))),
}  # fmt: skip


@given(program=programs(max_width=9), data=st.data())
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_program_with_anything_changed_is_refused_or_still_one_that_a_builder_makes(
    program: Program, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(program.operations) - 1))
    field = data.draw(st.sampled_from(sorted(FIELDS)))
    operations = list(program.operations)
    operations[place] = replace(operations[place], **{field: FIELDS[field](data)})
    changed = replace(program, operations=tuple(operations))
    try:
        check_program(changed)
    except ValueError:
        return
    ends = [place.stop for _, place in changed.parameter_places()]
    assert max(ends, default=0) == changed.n_parameters
    assert all(0 <= source < op.result for op in changed.operations for source in op.sources)
    for (_, view, _), op in zip(blank_network(changed).views(), changed.operations, strict=False):
        assert view.size or not op.n_parameters

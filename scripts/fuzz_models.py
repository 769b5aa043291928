"""Fuzz what reads model files, and what checks programs before kernels see them, with Atheris.

    python scripts/fuzz_models.py container --seconds 1200
    NUMBA_DISABLE_JIT=1 python scripts/fuzz_models.py programs --seconds 1200

`container`: the header and the document of a file with a right checksum are any bytes; only a `ModelFileError` may come
of it. `programs`: any field of a program's operations is changed; it is refused with a `ValueError`, or it predicts.
With `NUMBA_DISABLE_JIT=1` the kernels run as Python on NumPy arrays, whose bounds are checked, so an index outside of
an array is an `IndexError` that ends the run. What was found interesting is kept in build/fuzz, and used next time.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import inspect
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from tabcohort import Config, ModelFileError, container, plain_values
from tabcohort.container import KEY, MAGIC, read_container
from tabcohort.data.encoder import CategoryEncoding, Encoding
from tabcohort.engines.compiled.inference import Inference
from tabcohort.network import ops, program_checks
from tabcohort.network.ops import OPS, Operation
from tabcohort.network.program import Network, Program, blank_network, build_program

CORPUS = Path("build/fuzz")
ENCODING = Encoding((0, 1), (1,), (2,), (CategoryEncoding(5, False, 2, n_learned=3),))
CONFIG = Config(hidden=(4, 4), batch_norm=True, dropout=0.2, scaling="robust", periodic=2, input_scale=True)
NUMBERS = (0, 1, -1, 2, 3, 5, 7, 15, 16, 255, 10**6, 2**31, 2**62, -(2**63), 0.5, 1e308, float("nan"), float("inf"))
VALID_HEADER = {
    "__metadata__": {KEY: json.dumps({"kind": "model", "format": container.FORMAT})},
    "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
}


@functools.cache
def valid_programs() -> tuple[Program, ...]:
    """Return the programs that are changed."""
    residual = build_program(Config(model="residual", hidden=(5, 3)), 3, 2)
    return build_program(CONFIG, 3, 3, ENCODING, n_bins=4), residual


# -- one input -------------------------------------------------------------------------------------------------------


def read_bytes(data: bytes, folder: Path) -> bool:
    """Read bytes as all that follows a right checksum; return whether they are a file of ours."""
    path = folder / "fuzzed.tabcohort"
    path.write_bytes(MAGIC + hashlib.sha256(data).digest() + data)
    try:
        read_container(path, "model")
    except ModelFileError:
        return False
    return True


class _Choices:
    """Turns bytes into choices, one after another; what is after their end is 0."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def below(self, n: int) -> int:
        """Return a whole number from 0, below `n`."""
        byte = self._data[self._place] if self._place < len(self._data) else 0
        self._place += 1
        return byte % n

    def number(self) -> Any:
        """Return a number, most often a small one."""
        return NUMBERS[self.below(len(NUMBERS))] if self.below(2) else self.below(24)


def program_of(data: bytes) -> Program:
    """Return a valid program with up to three changes that bytes choose."""
    choices = _Choices(data)
    program = valid_programs()[choices.below(2)]
    for _ in range(1 + choices.below(3)):
        if choices.below(8) == 0:
            name = ("n_inputs", "n_parameters", "n_in_matrices", "n_buffers")[choices.below(4)]
            program = replace(program, **{name: choices.number()})
            continue
        operations = list(program.operations)
        place = choices.below(len(operations))
        operations[place] = _changed(operations[place], choices)
        program = replace(program, operations=tuple(operations))
    return program


def _changed(op: Operation, choices: _Choices) -> Operation:
    names = [field.name for field in fields(Operation) if field.name not in ("path", "encoding")]
    name = names[choices.below(len(names))]
    if name == "kind":
        return replace(op, kind=list(OPS)[choices.below(len(OPS))])
    if not isinstance(getattr(op, name), tuple):
        return replace(op, **{name: choices.number()})
    values = list(getattr(op, name)) or [0]
    values[choices.below(len(values))] = choices.number()
    return replace(op, **{name: tuple(values)})


def predict_with(program: Program) -> bool:
    """Predict two rows with a program, if it is possible, and return whether it is.

    Its numbers are those of a network before training, which are as many as the program says, unless that is absurd.
    """
    if not all(isinstance(n, int) and 0 <= n <= 10**6 for n in (program.n_parameters, program.n_buffers)):
        network = Network(program, np.zeros(0, np.float32), np.zeros(0))
    else:
        network = Network(program, np.ones(program.n_parameters, np.float32), np.zeros(program.n_buffers))
    try:
        network = blank_network(program) if program in valid_programs() else network
        logits = Inference([network]).logits(np.array([[0.5, np.nan, 1.0], [-2.0, 3.0, 9.0]]))
    except ValueError:
        return False
    assert logits.shape == (2, 1, program.n_outputs)
    return True


# -- many inputs -----------------------------------------------------------------------------------------------------


def seeds_of(target: str) -> list[bytes]:
    """Return the inputs that a run begins with."""
    if target == "programs":
        return [bytes([place, change, 1, operation]) for place in (0, 1) for change in (0, 2) for operation in (0, 5)]
    header = json.dumps(VALID_HEADER).encode()
    return [len(header).to_bytes(8, "little") + header + bytes(8), b"", b"{}"]


def _functions_to_follow() -> Iterator[Callable[..., object]]:
    """Yield the functions whose branches tell the fuzzer that an input is a new one."""
    for module in (container, plain_values, program_checks, ops):
        owners = [module, *(value for value in vars(module).values() if inspect.isclass(value))]
        for owner in owners:
            for value in list(vars(owner).values()):
                if inspect.isfunction(value) and value.__module__ == module.__name__:
                    yield value


def main() -> int:
    """Fuzz one target for some time; what ends the run is kept in a file that is named."""
    parser = argparse.ArgumentParser(description="Fuzz model files or programs.")
    parser.add_argument("target", choices=("container", "programs"))
    parser.add_argument("--seconds", type=int, default=1_200)
    options = parser.parse_args()
    try:
        import atheris
    except ImportError:
        print("Atheris is not installed here, so nothing was fuzzed", file=sys.stderr)
        return 2
    for function in _functions_to_follow():
        atheris.instrument_func(function)
    corpus = CORPUS / options.target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds_of(options.target)):
        (corpus / f"seed{number}").write_bytes(seed)
    with tempfile.TemporaryDirectory() as folder:
        read: Callable[[bytes], object] = lambda data: read_bytes(data, Path(folder))  # noqa: E731
        predict: Callable[[bytes], object] = lambda data: predict_with(program_of(data))  # noqa: E731
        arguments = [sys.argv[0], str(corpus), f"-max_total_time={options.seconds}", f"-artifact_prefix={CORPUS}/"]
        atheris.Setup(
            [*arguments, "-max_len=4096", "-rss_limit_mb=4096"], read if options.target == "container" else predict
        )
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A short run of what `make fuzz` does to model files and programs for an hour, from fixed seeds."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from fuzz_models import VALID_HEADER, predict_with, program_of, read_bytes, seeds_of, valid_programs
from hostile_tables import mutated

from tabcohort.network.program_checks import check_program

N_CASES = 400


def test_a_header_of_any_bytes_is_refused_or_read(tmp_path: Path) -> None:
    rng, seeds = random.Random(0), seeds_of("container")
    assert read_bytes(seeds[0], tmp_path)
    n_read = 0
    for _ in range(N_CASES):
        text = mutated(json.dumps(VALID_HEADER).encode(), rng)
        n_read += read_bytes(len(text).to_bytes(8, "little") + text + bytes(8), tmp_path)
    assert n_read < N_CASES / 2


def test_a_program_with_changes_is_refused_or_predicts() -> None:
    rng, n_predicted = random.Random(0), 0
    assert all(predict_with(program) for program in valid_programs())
    for _ in range(N_CASES):
        n_predicted += predict_with(program_of(rng.randbytes(16)))
    assert 0 < n_predicted < N_CASES / 2


def test_a_program_that_is_not_checked_reads_outside_of_its_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The changes are such that the checks are needed."""
    rng, n_refused = random.Random(0), 0
    for _ in range(100):
        program = program_of(rng.randbytes(16))
        try:
            check_program(program)
        except ValueError:
            n_refused += any(source < 0 or source >= op.result for op in program.operations for source in op.sources)
    assert n_refused > 2

"""The columns of the tables that kernels read: all different, as many as the tables have, and filled by the layout."""

from __future__ import annotations

import numpy as np

from tabcohort.engines.compiled import tables
from tabcohort.engines.compiled.layout import Layout
from tabcohort.network.ops import OPS
from tabcohort.network.program import build_program
from tabcohort.settings import Config

OPERATION_COLUMNS = (
    "KIND", "SOURCE", "SOURCE_2", "RESULT", "WEIGHT", "BIAS", "BUFFERS", "SCRATCH", "SETS_GRADIENT",
    "SETS_GRADIENT_2", "LAYER", "FUSES_ADD", "FUSES_RELU", "BIAS_CANCELS", "N_BINS", "NEEDED_FROM",
)  # fmt: skip


def test_every_column_of_an_operation_has_a_place_of_its_own() -> None:
    assert sorted(getattr(tables, name) for name in OPERATION_COLUMNS) == list(range(tables.N_COLUMNS))


def test_every_column_of_a_value_has_a_place_of_its_own() -> None:
    assert sorted((tables.WIDTH, tables.VALUE, tables.GRADIENT)) == [0, 1, 2]


def test_the_layout_fills_tables_of_these_columns() -> None:
    program = build_program(Config(model="residual", hidden=(4,)), 3, 2)
    layout = Layout(program, 10, 2, np.dtype(np.float32))
    assert layout.operations.shape[1] == tables.N_COLUMNS
    assert layout.values.shape == (len(program.widths) - 1, 3)  # the standardized rows are its value 0
    np.testing.assert_array_equal(layout.values[:, tables.WIDTH], program.widths[1:])
    kinds = {OPS[kind].code for kind in ("batch_norm", "linear")}  # ReLU, dropout and the sum are fused
    assert set(layout.operations[:, tables.KIND]) == kinds

"""An operation that tabcohort does not have, added in one file: `out = x + weight x^2`, a weight for each column."""

from __future__ import annotations

import torch
from numba import njit
from torch import Tensor, nn

from tabcohort.engines.compiled.jit import COMPILED
from tabcohort.engines.compiled.operations import KERNELS, OpKernels
from tabcohort.engines.compiled.simd import part
from tabcohort.engines.compiled.tables import RESULT, SETS_GRADIENT, SOURCE, WEIGHT
from tabcohort.engines.compiled.values import gradient_of, value_of
from tabcohort.network.ops import OPS, ArraySpec, Match, OpSpec


class Bend(nn.Module):
    """Adds the square of each column times a learned weight, which is 0 at first.

    **Shape**: `(n_rows, n_columns)` to the same.
    """

    def __init__(self, n_columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_columns))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight * x * x


OPS["learned_bend"] = OpSpec(
    code=100,
    parameters=(ArraySpec("weight", initial=0.0),),
    layer=f"{__name__}.Bend",
    arguments=lambda operation, d_in: (d_in,),
    match=lambda layer, d_in: Match() if len(layer.weight) == d_in else None,
)


@njit(**COMPILED)
def bend_forward(op, constant, values, parameters, buffers, work, rows, training, key):  # type: ignore[no-untyped-def]
    """out = x + weight x^2"""
    x, out = value_of(work, values, op[SOURCE], rows), value_of(work, values, op[RESULT], rows)
    weight = part(parameters, op[WEIGHT], x.shape[1])
    for i in range(rows):
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] + weight[j] * x[i, j] * x[i, j]


@njit(**COMPILED)
def bend_backward(op, constant, values, parameters, gradient, work, rows, key, spare):  # type: ignore[no-untyped-def]
    """dweight = column sums of dout x^2,  dx = dout (1 + 2 weight x)"""
    x, dx = value_of(work, values, op[SOURCE], rows), gradient_of(work, values, op[SOURCE], rows)
    dout, sets = gradient_of(work, values, op[RESULT], rows), op[SETS_GRADIENT]
    weight, dweight = part(parameters, op[WEIGHT], x.shape[1]), part(gradient, op[WEIGHT], x.shape[1])
    for j in range(x.shape[1]):
        dweight[j] = 0
    for i in range(rows):
        for j in range(x.shape[1]):
            dweight[j] += dout[i, j] * x[i, j] * x[i, j]
            if sets >= 0:
                dx[i, j] = dout[i, j] * (1 + 2 * weight[j] * x[i, j]) + (0 if sets else dx[i, j])


KERNELS["learned_bend"] = OpKernels(bend_forward, bend_backward)

"""The forward pass in one order of summation: what `tabcohort.engines.compiled.inference` runs."""

from __future__ import annotations

import numpy as np
from numba import njit

from tabcohort.engines.compiled.jit import IN_ORDER, KEPT
from tabcohort.engines.compiled.matmul import product
from tabcohort.engines.compiled.operations import ADD, LAYER_NORM, LINEAR, SMOOTH_CLIP, activation_forward, smooth_clip
from tabcohort.engines.compiled.simd import matrix, part

ROWS_AT_A_TIME = 256  # so that the values of a block stay in the cache
FARTHEST = 1e12  # standard deviations from the mean; beyond it, products in float32 might overflow
AFFINE = -1  # what is left of a batch normalisation: out = x gain + shift


@njit(**IN_ORDER)
def layer_norm(x, gain, shift, out, eps):
    """out = gain (x - mean) / sqrt(var + eps) + shift, by row"""
    width = x.shape[1]
    for i in range(x.shape[0]):
        mean, var = x.dtype.type(0), x.dtype.type(0)
        for j in range(width):
            mean += x[i, j]
        mean /= width
        for j in range(width):
            var += (x[i, j] - mean) * (x[i, j] - mean)
        inverse = x.dtype.type(1) / np.sqrt(var / width + eps)
        for j in range(width):
            out[i, j] = gain[j] * ((x[i, j] - mean) * inverse) + shift[j]


@njit(**IN_ORDER)
def prepare_rows(X, rows, source, level, centre, scale, out):
    """out = (encoded X - centre) scale, of some rows, 0 where it is missing; see `tabcohort.data.encoder.Encoding`

    A value farther from the mean than `FARTHEST` is taken to be there.
    """
    for i in range(rows.size):
        row = rows[i]
        for j in range(centre.size):
            cell = X[row, source[j]]
            if level[j] == np.inf:
                cell = 1.0 if np.isnan(cell) else 0.0
            elif not np.isnan(level[j]):
                cell = 1.0 if cell == level[j] else 0.0
            x = (cell - centre[j]) * scale[j]
            x = min(max(x, -FARTHEST), FARTHEST)
            out[i, j] = 0.0 if np.isnan(cell) else x


@njit(**{**IN_ORDER, **KEPT})
def run(table, begins, lasts, constants, numbers, work, X, rows, source_of, level, centres, scales, logits):
    """Work out the logits of rows, a block at a time, by each of some networks.

    Network m does the operations `begins[m]` to `begins[m + 1]`, and its logits are then at `lasts[m]`.
    """
    capacity, n_columns = ROWS_AT_A_TIME, centres.shape[1]
    for start in range(0, rows.size, capacity):
        n = min(capacity, rows.size - start)
        of_block = rows[start : start + n]
        for m in range(lasts.size):
            prepare_rows(X, of_block, source_of, level, centres[m], scales[m], matrix(work, 0, n, n_columns))
            for o in range(begins[m], begins[m + 1]):
                kind, source, source_2, result, weight, bias, d_in, d_out = table[o]
                x = matrix(work, source, n, d_in)
                out = matrix(work, result, n, d_out)
                if kind == LINEAR:
                    product(x, matrix(numbers, weight, d_in, d_out), part(numbers, bias, d_out), out)
                elif kind == AFFINE:
                    for i in range(n):
                        for j in range(d_out):
                            out[i, j] = x[i, j] * numbers[weight + j] + numbers[bias + j]
                elif kind == LAYER_NORM:
                    layer_norm(x, part(numbers, weight, d_out), part(numbers, bias, d_out), out, constants[o])
                elif kind == ADD:
                    y = matrix(work, source_2, n, d_out)
                    for i in range(n):
                        for j in range(d_out):
                            out[i, j] = x[i, j] + y[i, j]
                elif kind == SMOOTH_CLIP:
                    smooth_clip(x, out, constants[o])
                else:
                    activation_forward(kind, x, out, constants[o])
            for i in range(n):
                for k in range(logits.shape[2]):
                    logits[start + i, m, k] = work[lasts[m] + i * logits.shape[2] + k]

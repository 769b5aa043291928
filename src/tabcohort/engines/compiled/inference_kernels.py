"""The forward pass in one order of summation: what `tabcohort.engines.compiled.inference` runs."""

from __future__ import annotations

import numpy as np
from numba import njit

from tabcohort.engines.compiled.jit import IN_ORDER, KEPT
from tabcohort.engines.compiled.matmul import product
from tabcohort.engines.compiled.operations import activate, smooth_clip
from tabcohort.engines.compiled.simd import matrix, part
from tabcohort.network.ops import ACTIVATIONS, OPS

ROWS_PER_BLOCK = 256  # so that the values of a block stay in the cache
MAX_DEVIATIONS = 1e12  # standard deviations from the mean; beyond it, products in float32 might overflow
AFFINE = -1  # what is left of a batch normalisation: out = x gain + shift
LINEAR, LAYER_NORM, ADD, SMOOTH_CLIP = (OPS[name].code for name in ("linear", "layer_norm", "add", "smooth_clip"))
SUPPORTED = frozenset((AFFINE, LINEAR, LAYER_NORM, ADD, SMOOTH_CLIP, *(OPS[name].code for name in ACTIVATIONS)))


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
def encode_rows(X, rows, source, level, center, scale, out):
    """out = (encoded X - center) scale, for some rows, 0 where it is missing; see `tabcohort.data.encoder.Encoding`

    A value farther from the mean than `MAX_DEVIATIONS` is clipped.
    """
    for i in range(rows.size):
        row = rows[i]
        for j in range(center.size):
            cell = X[row, source[j]]
            if level[j] == np.inf:
                cell = 1.0 if np.isnan(cell) else 0.0
            elif not np.isnan(level[j]):
                cell = 1.0 if cell == level[j] else 0.0
            x = (cell - center[j]) * scale[j]
            x = min(max(x, -MAX_DEVIATIONS), MAX_DEVIATIONS)
            out[i, j] = 0.0 if np.isnan(cell) else x


@njit(**{**IN_ORDER, **KEPT})
def run(table, begins, lasts, constants, numbers, work, X, rows, source_of, level, centers, scales, logits):
    """Compute the logits of rows, a block at a time, by each of some networks.

    Network m has the operations `begins[m]` to `begins[m + 1]`, and its logits are then at `lasts[m]`.
    """
    capacity, n_columns = ROWS_PER_BLOCK, centers.shape[1]
    for start in range(0, rows.size, capacity):
        n = min(capacity, rows.size - start)
        block = rows[start : start + n]
        for m in range(lasts.size):
            encode_rows(X, block, source_of, level, centers[m], scales[m], matrix(work, 0, n, n_columns))
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
                    activate(kind, x, out, constants[o])
            for i in range(n):
                for k in range(logits.shape[2]):
                    logits[start + i, m, k] = work[lasts[m] + i * logits.shape[2] + k]

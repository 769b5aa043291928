"""The forward pass in one order of summation: what `tabcohort.engines.compiled.inference` runs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from tabcohort.engines.compiled.activations import activate
from tabcohort.engines.compiled.jit import IN_ORDER, KEPT
from tabcohort.engines.compiled.learned_inputs import embed, periodic
from tabcohort.engines.compiled.matmul import product
from tabcohort.engines.compiled.preprocessing import piecewise_linear, quantile_scale, robust_scale, smooth_clip
from tabcohort.engines.compiled.simd import matrix, part
from tabcohort.network.ops import ACTIVATIONS, OPS
from tabcohort.types import FloatArray, IntArray

ROWS_PER_BLOCK = 256  # so that the values of a block stay in the cache
MAX_DEVIATIONS = 1e12  # standard deviations from the mean; beyond it, products in float32 might overflow
AFFINE = -1  # what is left of a batch normalisation: out = x gain + shift
_KINDS = (
    "linear", "layer_norm", "add", "smooth_clip", "robust_scale", "quantile_scale", "piecewise_linear", "embed",
    "periodic",
)  # fmt: skip
LINEAR, LAYER_NORM, ADD, SMOOTH_CLIP, ROBUST_SCALE, QUANTILE_SCALE, PIECEWISE_LINEAR, EMBED, PERIODIC = (
    OPS[name].code for name in _KINDS
)
SUPPORTED = frozenset((AFFINE, *(OPS[name].code for name in (*_KINDS, *ACTIVATIONS))))


class Columns(NamedTuple):
    """How inputs become columns, as `tabcohort.data.encoder.Encoding` says it; all are int64 vectors.

    Args:
        numbers, missing, codes, learned: as there.
        n_codes, widths: of each category.
        lookup_starts, code_starts: where each category begins in the lookup, and among all codes.
    """

    numbers: IntArray
    missing: IntArray
    codes: IntArray
    learned: IntArray
    n_codes: IntArray
    widths: IntArray
    lookup_starts: IntArray
    code_starts: IntArray


class Fitted(NamedTuple):
    """The statistics of each network, `(n_networks, ...)`, float64; see `tabcohort.data.encoder.Statistics`."""

    center: FloatArray
    scale: FloatArray
    fill: FloatArray
    lookup: FloatArray
    vector_row: FloatArray


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
def standardized(cell, center, scale):
    """(cell - center) scale, 0 where it is NaN, clipped at `MAX_DEVIATIONS`"""
    x = min(max((cell - center) * scale, -MAX_DEVIATIONS), MAX_DEVIATIONS)
    return 0.0 if np.isnan(cell) else x


@njit(**IN_ORDER)
def encode_rows(X, rows, columns, fitted, m, out):
    """out = (encoded X - center) scale, for some rows and network m, then rows of its table of learned vectors."""
    center, scale, n_numbers = fitted.center[m], fitted.scale[m], columns.numbers.size
    for i in range(rows.size):
        row, column = rows[i], n_numbers
        for j in range(n_numbers):
            cell = X[row, columns.numbers[j]]
            out[i, j] = standardized(fitted.fill[m, j] if np.isnan(cell) else cell, center[j], scale[j])
        for k in range(columns.missing.size):
            is_missing = np.isnan(X[row, columns.numbers[columns.missing[k]]])
            out[i, column] = standardized(1.0 if is_missing else 0.0, center[column], scale[column])
            column += 1
        for c in range(columns.codes.size):
            code, start = code_of(X[row, columns.codes[c]], columns.n_codes[c]), columns.lookup_starts[c]
            for j in range(columns.widths[c]):
                cell = fitted.lookup[m, start + code * columns.widths[c] + j]
                out[i, column] = standardized(cell, center[column], scale[column])
                column += 1
        for k in range(columns.learned.size):
            c = columns.learned[k]
            code = code_of(X[row, columns.codes[c]], columns.n_codes[c])
            out[i, column + k] = fitted.vector_row[m, columns.code_starts[c] + code]


@njit(**IN_ORDER)
def code_of(cell, n_codes):
    """The code in a cell; the last one, "unknown", where it holds none"""
    return np.int64(cell) if cell >= 0 and cell < n_codes and cell == np.floor(cell) else n_codes - 1


@njit(**{**IN_ORDER, **KEPT})
def run(table, begins, lasts, constants, numbers, work, X, rows, columns, fitted, logits):
    """Compute the logits of rows, a block at a time, by each of some networks.

    Network m has the operations `begins[m]` to `begins[m + 1]`, and its logits are then at `lasts[m]`.
    """
    capacity, n_columns = ROWS_PER_BLOCK, fitted.center.shape[1]
    for start in range(0, rows.size, capacity):
        n = min(capacity, rows.size - start)
        block = rows[start : start + n]
        for m in range(lasts.size):
            encode_rows(X, block, columns, fitted, m, matrix(work, 0, n, n_columns))
            for o in range(begins[m], begins[m + 1]):
                kind, source, source_2, result, weight, bias, d_in, d_out = table[o]
                x = matrix(work, source, n, d_in)
                out = matrix(work, result, n, d_out)
                if kind == LINEAR:
                    product(x, matrix(numbers, weight, d_in, d_out), part(numbers, bias, d_out), out)
                elif kind == PIECEWISE_LINEAR:
                    n_bins = d_out - d_in
                    piecewise_linear(
                        x, part(numbers, weight, n_bins), part(numbers, weight + n_bins, n_bins),
                        part(numbers, weight + 2 * n_bins, n_bins), out,
                    )  # fmt: skip
                elif kind == EMBED:
                    vectors = matrix(numbers, weight, np.int64(constants[o, 1]), np.int64(constants[o, 2]))
                    embed(x, vectors, np.int64(constants[o, 0]), out)
                elif kind == AFFINE:
                    for i in range(n):
                        for j in range(d_out):
                            out[i, j] = x[i, j] * numbers[weight + j] + numbers[bias + j]
                elif kind == LAYER_NORM:
                    layer_norm(x, part(numbers, weight, d_out), part(numbers, bias, d_out), out, constants[o, 0])
                elif kind == ADD:
                    y = matrix(work, source_2, n, d_out)
                    for i in range(n):
                        for j in range(d_out):
                            out[i, j] = x[i, j] + y[i, j]
                elif kind == SMOOTH_CLIP:
                    smooth_clip(x, out, constants[o, 0])
                elif kind == ROBUST_SCALE:
                    size = np.int64(constants[o, 1])
                    robust_scale(
                        x, part(numbers, weight, size), part(numbers, weight + size, size), constants[o, 0], out
                    )  # fmt: skip
                elif kind == QUANTILE_SCALE:
                    size = np.int64(constants[o, 0]) * np.int64(constants[o, 1])
                    quantile_scale(
                        x, part(numbers, weight, size), part(numbers, weight + size, size),
                        np.int64(constants[o, 0]), out,
                    )  # fmt: skip
                elif kind == PERIODIC:
                    n_waves = d_out - d_in
                    periodic(
                        x, np.int64(constants[o, 1]), constants[o, 2], part(numbers, weight, n_waves),
                        part(numbers, bias, n_waves), n_waves // np.int64(constants[o, 0]), out,
                    )  # fmt: skip
                else:
                    activate(kind, x, out, constants[o, 0])
            for i in range(n):
                for k in range(logits.shape[2]):
                    logits[start + i, m, k] = work[lasts[m] + i * logits.shape[2] + k]

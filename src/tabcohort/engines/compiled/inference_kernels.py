"""The forward pass in one order of summation: what `tabcohort.engines.compiled.inference` runs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from tabcohort.engines.compiled.activations import activate
from tabcohort.engines.compiled.calls import call
from tabcohort.engines.compiled.jit import IN_ORDER, KEPT, PREDICTING
from tabcohort.engines.compiled.learned_inputs import embed, periodic
from tabcohort.engines.compiled.matmul import product
from tabcohort.engines.compiled.preprocessing import piecewise_linear, quantile_scale, robust_scale, smooth_clip
from tabcohort.engines.compiled.simd import flat, matrix, part
from tabcohort.network.ops import ACTIVATIONS, OPS
from tabcohort.types import FloatArray, IntArray

ROWS_PER_BLOCK = 256  # so that the values of a block stay in the cache
MAX_DEVIATIONS = 1e12  # standard deviations from the mean; beyond it, products in float32 might overflow
AFFINE = -1  # what is left of a batch normalisation: out = x gain + shift
# A row of the table of instructions: the operation's code in `OPS` or `AFFINE`; where the values that it reads, and
# the one that it writes, are in the work memory; where its weights and biases are; the columns read and written.
KIND, SOURCE, SOURCE_2, RESULT, WEIGHT, BIAS, D_IN, D_OUT = range(8)


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
def source_of(op, work, rows):
    """Return the value that an operation reads, `(rows, d_in)`."""
    return matrix(work, op[SOURCE], rows, op[D_IN])


@njit(**IN_ORDER)
def result_of(op, work, rows):
    """Return the value that an operation writes, `(rows, d_out)`."""
    return matrix(work, op[RESULT], rows, op[D_OUT])


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


# -- a kernel for each operation: of its row of the table, constants, all numbers, work memory, and number of rows -----


@njit(**PREDICTING)
def linear(op, constant, numbers, work, rows):
    """out = x W + b"""
    x, out, d_in, d_out = source_of(op, work, rows), result_of(op, work, rows), op[D_IN], op[D_OUT]
    product(x, matrix(numbers, op[WEIGHT], d_in, d_out), part(numbers, op[BIAS], d_out), out)


@njit(**PREDICTING)
def affine(op, constant, numbers, work, rows):
    """out = x gain + shift"""
    x, out = source_of(op, work, rows), result_of(op, work, rows)
    gain, shift = part(numbers, op[WEIGHT], op[D_OUT]), part(numbers, op[BIAS], op[D_OUT])
    for i in range(rows):
        for j in range(gain.size):
            out[i, j] = x[i, j] * gain[j] + shift[j]


@njit(**PREDICTING)
def layer_norm_step(op, constant, numbers, work, rows):
    """See `layer_norm`"""
    gain, shift = part(numbers, op[WEIGHT], op[D_OUT]), part(numbers, op[BIAS], op[D_OUT])
    layer_norm(source_of(op, work, rows), gain, shift, result_of(op, work, rows), constant[0])


@njit(**PREDICTING)
def add(op, constant, numbers, work, rows):
    """out = x + y"""
    x, y, out = source_of(op, work, rows), matrix(work, op[SOURCE_2], rows, op[D_OUT]), result_of(op, work, rows)
    for i in range(rows):
        for j in range(out.shape[1]):
            out[i, j] = x[i, j] + y[i, j]


@njit(**PREDICTING)
def activation(op, constant, numbers, work, rows):
    """out = f(x)"""
    activate(op[KIND], source_of(op, work, rows), result_of(op, work, rows), constant[0])


@njit(**PREDICTING)
def smooth_clip_step(op, constant, numbers, work, rows):
    """See `smooth_clip`"""
    smooth_clip(source_of(op, work, rows), result_of(op, work, rows), constant[0])


@njit(**PREDICTING)
def robust_scale_step(op, constant, numbers, work, rows):
    """See `robust_scale`"""
    x, out, size = source_of(op, work, rows), result_of(op, work, rows), np.int64(constant[1])
    robust_scale(x, part(numbers, op[WEIGHT], size), part(numbers, op[WEIGHT] + size, size), constant[0], out)


@njit(**PREDICTING)
def quantile_scale_step(op, constant, numbers, work, rows):
    """See `quantile_scale`"""
    x, out, size = source_of(op, work, rows), result_of(op, work, rows), np.int64(constant[0]) * np.int64(constant[1])
    values, quantiles = part(numbers, op[WEIGHT], size), part(numbers, op[WEIGHT] + size, size)
    quantile_scale(x, values, quantiles, np.int64(constant[0]), out)


@njit(**PREDICTING)
def piecewise_linear_step(op, constant, numbers, work, rows):
    """See `piecewise_linear`"""
    x, out, n_bins, start = source_of(op, work, rows), result_of(op, work, rows), op[D_OUT] - op[D_IN], op[WEIGHT]
    column, lower = part(numbers, start, n_bins), part(numbers, start + n_bins, n_bins)
    piecewise_linear(x, column, lower, part(numbers, start + 2 * n_bins, n_bins), out)


@njit(**PREDICTING)
def embed_step(op, constant, numbers, work, rows):
    """See `embed`"""
    vectors = matrix(numbers, op[WEIGHT], np.int64(constant[1]), np.int64(constant[2]))
    embed(source_of(op, work, rows), vectors, np.int64(constant[0]), result_of(op, work, rows))


@njit(**PREDICTING)
def periodic_step(op, constant, numbers, work, rows):
    """See `periodic`"""
    x, out, n_waves = source_of(op, work, rows), result_of(op, work, rows), op[D_OUT] - op[D_IN]
    frequencies, phases = part(numbers, op[WEIGHT], n_waves), part(numbers, op[BIAS], n_waves)
    periodic(x, np.int64(constant[1]), constant[2], frequencies, phases, n_waves // np.int64(constant[0]), out)


KERNELS: dict[int, Any] = {
    AFFINE: affine,
    **{
        OPS[kind].code: kernel
        for kind, kernel in {
            "linear": linear, "layer_norm": layer_norm_step, "add": add, "smooth_clip": smooth_clip_step,
            "robust_scale": robust_scale_step, "quantile_scale": quantile_scale_step,
            "piecewise_linear": piecewise_linear_step, "embed": embed_step, "periodic": periodic_step,
            **dict.fromkeys(ACTIVATIONS, activation),
        }.items()
    },
}  # fmt: skip
LINEAR, ADD, EMBED, PIECEWISE_LINEAR = (OPS[kind].code for kind in ("linear", "add", "embed", "piecewise_linear"))


@njit(**{**IN_ORDER, **KEPT})
def run(kernels, table, begins, lasts, constants, numbers, work, X, rows, columns, fitted, logits):
    """Compute the logits of rows, a block at a time, by each of some networks.

    Network m has the operations `begins[m]` to `begins[m + 1]`, whose kernels have these addresses, and its logits are
    then at `lasts[m]`.
    """
    capacity, n_columns = ROWS_PER_BLOCK, fitted.center.shape[1]
    # Views without references: counting those of all arguments would take longer than a small kernel.
    numbers, work, flat_table, flat_constants = flat(numbers), flat(work), flat(table), flat(constants)
    width, n_constants = table.shape[1], constants.shape[1]
    for start in range(0, rows.size, capacity):
        n = min(capacity, rows.size - start)
        block = rows[start : start + n]
        for m in range(lasts.size):
            encode_rows(X, block, columns, fitted, m, matrix(work, 0, n, n_columns))
            for o in range(begins[m], begins[m + 1]):
                op, constant = part(flat_table, o * width, width), part(flat_constants, o * n_constants, n_constants)
                call(kernels[o], (op, constant, numbers, work, n))
            for i in range(n):
                for k in range(logits.shape[2]):
                    logits[start + i, m, k] = work[lasts[m] + i * logits.shape[2] + k]

"""What comes before anything is learned, so without a gradient: scaling of numbers, smooth clipping, and bins.

Bins may also be multiplied by their weights without being computed: see `bin_products`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tabcohort.engines.compiled.bin_products import bins_gradient, bins_product, count_numbers, find_begins, locate
from tabcohort.engines.compiled.jit import COMPILED, OPERATION
from tabcohort.engines.compiled.simd import matrix, part
from tabcohort.engines.compiled.tables import BUFFERS, N_BINS, RESULT, SCRATCH, SOURCE, WEIGHT
from tabcohort.engines.compiled.values import gradient_of, value_of


@njit(**OPERATION)
def no_backward(op, constant, values, parameters, gradient, work, rows, key, spare):
    """Nothing that is learned comes before."""


# -- scaling of the numbers, which are the first columns -------------------------------------------------------------


@njit(**COMPILED)
def robust_scale(x, median, inverse_range, limit, out):
    """out = z / sqrt(1 + (z / limit)^2) with z = (x - median) inverse_range, and then the other columns of x"""
    one = x.dtype.type(1)
    for i in range(x.shape[0]):
        for j in range(median.size):
            z = (x[i, j] - x.dtype.type(median[j])) * x.dtype.type(inverse_range[j])
            out[i, j] = z / np.sqrt(one + (z / limit) * (z / limit))
        for j in range(median.size, x.shape[1]):
            out[i, j] = x[i, j]


@njit(**COMPILED)
def quantile_scale(x, knots, heights, n_knots, out):
    """out = each number's height between those of the knots around it, and then the other columns of x"""
    n_numbers = knots.size // n_knots
    for i in range(x.shape[0]):
        for j in range(n_numbers):
            first, n_below, end = j * n_knots, 0, n_knots
            while n_below < end:  # in the end, the knots up to x
                middle = (n_below + end) // 2
                if x.dtype.type(knots[first + middle]) <= x[i, j]:
                    n_below = middle + 1
                else:
                    end = middle
            left, right = first + max(n_below - 1, 0), first + min(n_below, n_knots - 1)
            low, height = x.dtype.type(knots[left]), x.dtype.type(heights[left])
            if n_below > 0 and n_below < n_knots:
                share = (x[i, j] - low) / (x.dtype.type(knots[right]) - low)
                height += share * (x.dtype.type(heights[right]) - height)
            out[i, j] = height
        for j in range(n_numbers, x.shape[1]):
            out[i, j] = x[i, j]


@njit(**OPERATION)
def robust_scale_forward(op, constant, values, parameters, buffers, work, rows, training, key):
    """See `robust_scale`"""
    n_numbers, start = np.int64(constant[1]), op[BUFFERS]
    robust_scale(
        value_of(work, values, op[SOURCE], rows), part(buffers, start, n_numbers),
        part(buffers, start + n_numbers, n_numbers), constant[0], value_of(work, values, op[RESULT], rows),
    )  # fmt: skip


@njit(**OPERATION)
def quantile_scale_forward(op, constant, values, parameters, buffers, work, rows, training, key):
    """See `quantile_scale`"""
    n_knots, size, start = np.int64(constant[0]), np.int64(constant[0]) * np.int64(constant[1]), op[BUFFERS]
    quantile_scale(
        value_of(work, values, op[SOURCE], rows), part(buffers, start, size), part(buffers, start + size, size),
        n_knots, value_of(work, values, op[RESULT], rows),
    )  # fmt: skip


# -- smooth clip: out = x / sqrt(1 + (x / limit)^2) ------------------------------------------------------------------


@njit(**COMPILED)
def smooth_clip(x, out, limit):
    """out = x / sqrt(1 + (x / limit)^2)"""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] / np.sqrt(1 + (x[i, j] / limit) * (x[i, j] / limit))


@njit(**OPERATION)
def smooth_clip_forward(op, constant, values, parameters, buffers, work, rows, training, key):
    """out = x / sqrt(1 + (x / limit)^2)"""
    smooth_clip(value_of(work, values, op[SOURCE], rows), value_of(work, values, op[RESULT], rows), constant[0])


# -- piecewise-linear encoding ---------------------------------------------------------------------------------------


@njit(**COMPILED)
def piecewise_linear(x, column, lower, inverse, out):
    """out = for each bin (x_column - lower) inverse, from 0 to 1, and then the columns of x"""
    n_bins, zero, one = column.size, x.dtype.type(0), x.dtype.type(1)
    for i in range(x.shape[0]):
        for b in range(n_bins):
            rise = (x[i, np.int64(column[b])] - x.dtype.type(lower[b])) * x.dtype.type(inverse[b])
            out[i, b] = min(max(rise, zero), one)
        for j in range(x.shape[1]):
            out[i, n_bins + j] = x[i, j]


@njit(**OPERATION)
def piecewise_linear_forward(op, constant, values, parameters, buffers, work, rows, training, key):
    """See `piecewise_linear`; or out = bins W"""
    x, out = value_of(work, values, op[SOURCE], rows), value_of(work, values, op[RESULT], rows)
    n_bins, start = op[N_BINS] if op[N_BINS] > 0 else out.shape[1] - x.shape[1], op[BUFFERS]
    column, lower = part(buffers, start, n_bins), part(buffers, start + n_bins, n_bins)
    inverse = part(buffers, start + 2 * n_bins, n_bins)
    if op[N_BINS] == 0:
        piecewise_linear(x, column, lower, inverse, out)
    else:
        d_in, begins_at = x.shape[1], op[SCRATCH] + 2 * x.size
        places, fractions = matrix(work, op[SCRATCH], rows, d_in), matrix(work, op[SCRATCH] + x.size, rows, d_in)
        begins = part(work, begins_at, find_begins(column, part(work, begins_at, d_in + 1)) + 1)
        locate(x, column, lower, inverse, begins, places, fractions)
        bins_product(places, fractions, begins, matrix(parameters, op[WEIGHT], n_bins, out.shape[1]), out)


@njit(**OPERATION)
def piecewise_linear_backward(op, constant, values, parameters, gradient, work, rows, key, spare):
    """dW = bins^T dout, where the bins are multiplied by W"""
    if op[N_BINS] > 0:
        x, dout = value_of(work, values, op[SOURCE], rows), gradient_of(work, values, op[RESULT], rows)
        d_in, begins_at = x.shape[1], op[SCRATCH] + 2 * x.size
        places, fractions = matrix(work, op[SCRATCH], rows, d_in), matrix(work, op[SCRATCH] + x.size, rows, d_in)
        begins = part(work, begins_at, count_numbers(part(work, begins_at, d_in + 1), op[N_BINS]) + 1)
        bins_gradient(places, fractions, begins, dout, matrix(gradient, op[WEIGHT], op[N_BINS], dout.shape[1]))

"""Batch and layer normalisation, forward and backward, derived by hand.

Rows run down and columns across; `x` is what an operation reads, `out` what it writes, `d...` the gradient of the loss
by that thing.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tabcohort.engines.compiled.dropout import BITS_AT_ONCE, KEEP_ALL, dropout_scale, mask_bits
from tabcohort.engines.compiled.jit import COMPILED
from tabcohort.engines.compiled.simd import part


@njit(**COMPILED)
def clear(numbers):
    """Set numbers to 0."""
    for i in range(numbers.size):
        numbers[i] = 0


# -- batch normalisation: hat = (x - mean) inverse by column, inverse = 1 / sqrt(var + eps) --------------------------
#
# What follows is fused into the same pass where nothing else reads the values in between (see `layout.fuse`):
# out = dropout(relu(gain hat + shift)), with or without the dropout, or out = gain hat + shift + other.
# `columns` keeps mean and inverse by column, then sums and factors of a pass.


@njit(**COMPILED)
def add_moments(x, start, n, mean, squares):
    """Add `n` rows to the sums of d and of d^2, where d is the difference from the first row."""
    for j in range(x.shape[1]):
        of_d = of_d_squared = x.dtype.type(0)
        for i in range(start, start + n):
            d = x[i, j] - x[0, j]
            of_d += d
            of_d_squared += d * d
        mean[j] += of_d
        squares[j] += of_d_squared


@njit(**COMPILED)
def batch_norm_statistics(x, columns, running_mean, running_var, momentum, eps):
    """mean = x_0 + mean(d),  var = mean(d^2) - mean(d)^2,  with d = x - x_0, so that a large mean costs no digits.

    Also moves the running mean, and the running variance (the unbiased one), towards the batch's.
    """
    rows, width = x.shape
    one = x.dtype.type(1)
    per_row, unbiased = x.dtype.type(1 / rows), x.dtype.type(1 / (rows - 1))
    mean, inverse = columns[0], columns[1]
    clear(mean)
    clear(inverse)
    for start in range(0, rows - 3, 4):  # four rows at a time, as loading the sums costs more than adding
        add_moments(x, start, 4, mean, inverse)
    for start in range(rows - rows % 4, rows):
        add_moments(x, start, 1, mean, inverse)
    for j in range(width):
        mean[j] *= per_row
        squares = max(inverse[j] - rows * mean[j] * mean[j], mean[j] - mean[j])
        mean[j] += x[0, j]
        running_mean[j] += momentum * (mean[j] - running_mean[j])
        running_var[j] += momentum * (squares * unbiased - running_var[j])
        inverse[j] = one / np.sqrt(squares * per_row + eps)


@njit(**COMPILED)
def batch_norm_by_running(columns, running_mean, running_var, eps):
    """In evaluation mode the running statistics replace the batch's."""
    for j in range(running_mean.size):
        columns[0, j] = running_mean[j]
        columns[1, j] = 1 / np.sqrt(running_var[j] + eps)


@njit(**COMPILED)
def batch_norm_forward(x, gain, shift, columns, other, out, relu, key, layer, keep):
    """out = gain hat + shift, or with `other` added, or with ReLU, or with ReLU and dropout if keep < KEEP_ALL"""
    rows, width = x.shape
    mean, inverse, scale, level = columns[0], columns[1], columns[2], columns[3]
    zero, growth = x.dtype.type(0), dropout_scale(x, keep)  # a positive factor may come before the ReLU
    for j in range(width):
        scale[j] = growth * gain[j] * inverse[j]
        level[j] = growth * shift[j]
    if other.size:
        for i in range(rows):
            for j in range(width):
                out[i, j] = (x[i, j] - mean[j]) * scale[j] + level[j] + other[i, j]
    elif keep == KEEP_ALL:
        floor = x.dtype.type(0 if relu else -np.inf)
        for i in range(rows):
            for j in range(width):
                y = (x[i, j] - mean[j]) * scale[j] + level[j]
                out[i, j] = floor if y < floor else y
    else:
        together = 1 + BITS_AT_ONCE // width
        words = np.empty(together * width // 2 + 1, np.uint32)
        for start in range(0, rows, together):
            bits = mask_bits(words, key, layer, start * width)
            for i in range(start, min(start + together, rows)):
                of_row = part(bits, (i - start) * width, width)
                for j in range(width):
                    y = (x[i, j] - mean[j]) * scale[j] + level[j]
                    out[i, j] = zero if y < zero or of_row[j] >= keep else y


@njit(**COMPILED)
def add_products(dout, kept, least, x, start, n, columns):
    """Add `n` rows to the sums of d and of d (x - mean), where d is dout where it passes, else 0."""
    mean, of_d, of_d_x = columns[0], columns[3], columns[4]
    for j in range(x.shape[1]):
        sum_d = sum_d_x = x.dtype.type(0)
        for i in range(start, start + n):
            d = dout[i, j] if kept[i, j] > least else x.dtype.type(0)
            sum_d += d
            sum_d_x += d * (x[i, j] - mean[j])
        of_d[j] += sum_d
        of_d_x[j] += sum_d_x


@njit(**COMPILED)
def batch_norm_backward(dout, x, out, columns, dgain, dshift, dx, needs_dx, relu, keep):
    """dgain = sums of d hat,  dshift = sums of d,  dx = gain inverse (d - mean(d) - hat mean(d hat))

    Here d is the gradient by gain hat + shift: growth dout, but 0 where ReLU or dropout made the output 0. Sums of d
    and of d (x - mean) suffice.
    """
    rows, width = dout.shape
    mean, inverse, scale, of_d, of_d_x = columns[0], columns[1], columns[2], columns[3], columns[4]
    zero, growth, per_row = x.dtype.type(0), dropout_scale(x, keep), x.dtype.type(1 / rows)
    kept, least = (out, zero) if relu else (x, x.dtype.type(-np.inf))
    clear(of_d)
    clear(of_d_x)
    for start in range(0, rows - 3, 4):
        add_products(dout, kept, least, x, start, 4, columns)
    for start in range(rows - rows % 4, rows):
        add_products(dout, kept, least, x, start, 1, columns)
    for j in range(width):
        dshift[j] = growth * of_d[j]
        dgain[j] = growth * of_d_x[j] * inverse[j]
        of_d[j] *= per_row * scale[j]
        of_d_x[j] *= per_row * scale[j] * inverse[j] * inverse[j]
    if not needs_dx:
        return
    for i in range(rows):
        for j in range(width):
            d = dout[i, j] if kept[i, j] > least else zero
            dx[i, j] = scale[j] * d - of_d[j] - of_d_x[j] * (x[i, j] - mean[j])


# -- layer normalisation: the same by row ----------------------------------------------------------------------------


@njit(**COMPILED)
def layer_norm_forward(x, gain, shift, hat, inverse, out, eps):
    """hat = (x - mean) / sqrt(var + eps) by row, out = gain hat + shift"""
    rows, width = x.shape
    per_column = x.dtype.type(1 / width)
    for i in range(rows):
        mean = x.dtype.type(0)
        for j in range(width):
            mean += x[i, j]
        mean *= per_column
        var = x.dtype.type(0)
        for j in range(width):
            var += (x[i, j] - mean) * (x[i, j] - mean)
        inverse[i] = x.dtype.type(1) / np.sqrt(var * per_column + eps)
        for j in range(width):
            hat[i, j] = (x[i, j] - mean) * inverse[i]
            out[i, j] = gain[j] * hat[i, j] + shift[j]


@njit(**COMPILED)
def layer_norm_backward(dout, hat, inverse, gain, dgain, dshift, dx, sets):
    """With g = gain dout:  dx = inverse (g - mean(g) - hat mean(g hat)), the means taken over the row"""
    rows, width = dout.shape
    per_column = dout.dtype.type(1 / width)
    clear(dgain)
    clear(dshift)
    for i in range(rows):
        of_g = dout.dtype.type(0)
        of_g_hat = dout.dtype.type(0)
        for j in range(width):
            dshift[j] += dout[i, j]
            dgain[j] += dout[i, j] * hat[i, j]
            of_g += gain[j] * dout[i, j]
            of_g_hat += gain[j] * dout[i, j] * hat[i, j]
        if sets >= 0:
            for j in range(width):
                d = inverse[i] * (gain[j] * dout[i, j] - per_column * (of_g + hat[i, j] * of_g_hat))
                dx[i, j] = d if sets else dx[i, j] + d

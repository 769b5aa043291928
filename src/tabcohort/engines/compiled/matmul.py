"""Matrix products by rows with one order of summation: as fast as BLAS, and faster for small matrices."""

from __future__ import annotations

import numpy as np
from numba import njit

from tabcohort.engines.compiled.jit import IN_ORDER
from tabcohort.engines.compiled.simd import add_times, lanes_of, load, store, total


@njit(**IN_ORDER)
def eight_rows(x, i, panel, start, j, out):
    """out = start + x w for 8 rows from i on and the panel's columns from j on: the sums stay in registers."""
    last, left = x.shape[0] - 1, start.size - j
    # Beyond the end the last row again, which gives the same sums.
    i1, i2, i3, i4 = min(i + 1, last), min(i + 2, last), min(i + 3, last), min(i + 4, last)
    i5, i6, i7 = min(i + 5, last), min(i + 6, last), min(i + 7, last)
    x0, x1, x2, x3, x4, x5, x6, x7 = x[i], x[i1], x[i2], x[i3], x[i4], x[i5], x[i6], x[i7]
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = load(start, j, left)
    for k in range(x.shape[1]):
        row = load(panel[k], 0, lanes_of(x))  # a whole vector: a load without a mask
        s0 = add_times(s0, x0[k], row)
        s1 = add_times(s1, x1[k], row)
        s2 = add_times(s2, x2[k], row)
        s3 = add_times(s3, x3[k], row)
        s4 = add_times(s4, x4[k], row)
        s5 = add_times(s5, x5[k], row)
        s6 = add_times(s6, x6[k], row)
        s7 = add_times(s7, x7[k], row)
    store(out[i], j, left, s0)
    store(out[i1], j, left, s1)
    store(out[i2], j, left, s2)
    store(out[i3], j, left, s3)
    store(out[i4], j, left, s4)
    store(out[i5], j, left, s5)
    store(out[i6], j, left, s6)
    store(out[i7], j, left, s7)


@njit(**IN_ORDER)
def one_row(x, W, b, out):
    """out = x W + b for one row: the same sums as those of eight"""
    d_in, d_out = W.shape
    for j in range(d_out):
        out[j] = b[j]
    for k in range(0, d_in - d_in % 4, 4):
        x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        for j in range(d_out):
            out[j] = out[j] + x0 * W[k, j] + x1 * W[k + 1, j] + x2 * W[k + 2, j] + x3 * W[k + 3, j]
    for k in range(d_in - d_in % 4, d_in):
        for j in range(d_out):
            out[j] = out[j] + x[k] * W[k, j]


@njit(**IN_ORDER)
def one_column(x, w, b, out, j):
    """out = x w + b for column j: a vector of partial sums for a row, added up at the end"""
    lanes = lanes_of(x)
    whole = w.size - w.size % lanes
    for i in range(x.shape[0]):
        row, sums = x[i], load(w, 0, 0)
        for k in range(0, whole, lanes):
            sums = add_times(sums, load(row, k, lanes), load(w, k, lanes))
        sums = add_times(sums, load(row, whole, w.size - whole), load(w, whole, w.size - whole))
        out[i, j] = b[j] + total(sums)


@njit(**IN_ORDER)
def column_sums(x, out):
    """out = sums of x over its rows"""
    for j in range(0, out.size, lanes_of(x)):
        left, sums = out.size - j, load(out, 0, 0)
        for i in range(x.shape[0]):
            sums = add_times(sums, x.dtype.type(1), load(x[i], j, left))
        store(out, j, left, sums)


@njit(**IN_ORDER)
def product(x, W, b, out):
    """out = x W + b; a row's result is the same to the bit whatever rows are beside it, and wherever it is"""
    rows, (d_in, d_out), lanes = x.shape[0], W.shape, lanes_of(x)
    if d_out < 4:
        w = np.empty(d_in, x.dtype)
        for j in range(d_out):
            for k in range(d_in):
                w[k] = W[k, j]
            one_column(x, w, b, out, j)
    elif rows < 4:
        for i in range(rows):
            one_row(x[i], W, b, out[i])
    else:
        panel = np.empty((d_in, lanes), x.dtype)
        for j in range(0, d_out, lanes):
            for k in range(d_in):  # what the tiles read, contiguous: it is on fewer pages
                store(panel[k], 0, lanes, load(W[k], j, d_out - j))
            for i in range(0, rows, 8):
                eight_rows(x, i, panel, b, j, out)


@njit(**IN_ORDER)
def inputs(dout, W, dx, first):
    """dx = dout W^T, from about column `first` on"""
    (d_in, d_out), lanes = W.shape, lanes_of(W)
    panel, zeros = np.empty((d_out, lanes), W.dtype), np.zeros(d_in, W.dtype)
    for j in range(first - first % lanes, d_in, lanes):
        part = W[j : j + lanes]
        for k in range(d_out):
            for c in range(part.shape[0]):
                panel[k, c] = part[c, k]
        for i in range(0, dout.shape[0], 8):
            eight_rows(dout, i, panel, zeros, j, dx)


@njit(**IN_ORDER)
def inputs_of_one(dout, W, dx):
    """dx = dout W^T for a W of one column"""
    for i in range(dx.shape[0]):
        d, row = dout[i, 0], dx[i]
        for j in range(row.size):
            row[j] = d * W[j, 0]

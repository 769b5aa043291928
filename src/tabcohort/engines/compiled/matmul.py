"""Matrix products by rows with one order of summation: as fast as BLAS, and faster for small matrices."""

from __future__ import annotations

import numpy as np
from numba import njit

from tabcohort.engines.compiled.jit import IN_ORDER
from tabcohort.engines.compiled.simd import add_times, lanes_of, load, store, total


@njit(**IN_ORDER)
def six_rows(x, i, panel, start, j, out):
    """out = start + x w for 6 rows from i on and the panel's columns from j on: the sums stay in registers.

    Twelve sums, as many as keep the multipliers busy while each waits for its last addition.
    """
    last, lanes = x.shape[0] - 1, lanes_of(x)
    left, left_2 = start.size - j, start.size - j - lanes
    # Beyond the end the last row again, which gives the same sums.
    i1, i2, i3, i4, i5 = min(i + 1, last), min(i + 2, last), min(i + 3, last), min(i + 4, last), min(i + 5, last)
    x0, x1, x2, x3, x4, x5 = x[i], x[i1], x[i2], x[i3], x[i4], x[i5]
    s0 = s1 = s2 = s3 = s4 = s5 = load(start, j, left)
    t0 = t1 = t2 = t3 = t4 = t5 = load(start, j + lanes, left_2)
    for k in range(x.shape[1]):
        row, row_2 = load(panel[k], 0, lanes), load(panel[k], lanes, lanes)  # whole vectors: loads without a mask
        s0, t0 = add_times(s0, x0[k], row), add_times(t0, x0[k], row_2)
        s1, t1 = add_times(s1, x1[k], row), add_times(t1, x1[k], row_2)
        s2, t2 = add_times(s2, x2[k], row), add_times(t2, x2[k], row_2)
        s3, t3 = add_times(s3, x3[k], row), add_times(t3, x3[k], row_2)
        s4, t4 = add_times(s4, x4[k], row), add_times(t4, x4[k], row_2)
        s5, t5 = add_times(s5, x5[k], row), add_times(t5, x5[k], row_2)
    store(out[i], j, left, s0)
    store(out[i], j + lanes, left_2, t0)
    store(out[i1], j, left, s1)
    store(out[i1], j + lanes, left_2, t1)
    store(out[i2], j, left, s2)
    store(out[i2], j + lanes, left_2, t2)
    store(out[i3], j, left, s3)
    store(out[i3], j + lanes, left_2, t3)
    store(out[i4], j, left, s4)
    store(out[i4], j + lanes, left_2, t4)
    store(out[i5], j, left, s5)
    store(out[i5], j + lanes, left_2, t5)


@njit(**IN_ORDER)
def one_row(x, W, b, out):
    """out = x W + b for one row: the same sums as those of six"""
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
        panel = np.empty((d_in, 2 * lanes), x.dtype)
        for j in range(0, d_out, 2 * lanes):
            for k in range(d_in):  # what the tiles read, contiguous: it is on fewer pages
                store(panel[k], 0, lanes, load(W[k], j, d_out - j))
                store(panel[k], lanes, lanes, load(W[k], j + lanes, d_out - j - lanes))
            for i in range(0, rows, 6):
                six_rows(x, i, panel, b, j, out)


@njit(**IN_ORDER)
def inputs(dout, W, dx, first):
    """dx = dout W^T, from about column `first` on"""
    (d_in, d_out), lanes = W.shape, lanes_of(W)
    panel, zeros = np.empty((d_out, 2 * lanes), W.dtype), np.zeros(d_in, W.dtype)
    for j in range(first - first % lanes, d_in, 2 * lanes):
        part = W[j : j + 2 * lanes]
        for k in range(d_out):
            for c in range(part.shape[0]):
                panel[k, c] = part[c, k]
        for i in range(0, dout.shape[0], 6):
            six_rows(dout, i, panel, zeros, j, dx)


@njit(**IN_ORDER)
def inputs_of_one(dout, W, dx):
    """dx = dout W^T for a W of one column"""
    for i in range(dx.shape[0]):
        d, row = dout[i, 0], dx[i]
        for j in range(row.size):
            row[j] = d * W[j, 0]

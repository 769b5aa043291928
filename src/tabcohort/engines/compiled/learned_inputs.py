"""What is learned ahead of the first layer: vectors of categories, periodic embeddings, and a scale for each column."""

from __future__ import annotations

import numpy as np
from numba import njit

from tabcohort.engines.compiled.elementary import cos_turns
from tabcohort.engines.compiled.jit import COMPILED, IN_ORDER, OPERATION
from tabcohort.engines.compiled.simd import flat, matrix, part
from tabcohort.engines.compiled.tables import BIAS, RESULT, SETS_GRADIENT, SOURCE, WEIGHT
from tabcohort.engines.compiled.values import gradient_of, value_of

# -- embed: learned vectors in place of the last columns, which hold rows of their table -------------------------------


@njit(**IN_ORDER)
def embed(x, vectors, n_learned, out):
    """out = the plain columns of x, then the vector of each row number; zeros where the table has no such row"""
    n_plain, length = x.shape[1] - n_learned, vectors.shape[1]
    for i in range(x.shape[0]):
        for j in range(n_plain):
            out[i, j] = x[i, j]
        for c in range(n_plain, x.shape[1]):
            start = n_plain + (c - n_plain) * length
            is_row = -1 < x[i, c] < vectors.shape[0]  # its fraction is cut off
            row = np.int64(x[i, c]) if is_row else 0
            for j in range(length):
                out[i, start + j] = vectors[row, j] if is_row else 0


@njit(**OPERATION)
def embed_forward(op, constant, values, parameters, buffers, work, rows, training, key):
    """See `embed`"""
    x, out = value_of(work, values, op[SOURCE], rows), value_of(work, values, op[RESULT], rows)
    vectors = matrix(parameters, op[WEIGHT], np.int64(constant[1]), np.int64(constant[2]))
    embed(x, vectors, np.int64(constant[0]), out)


@njit(**OPERATION)
def embed_backward(op, constant, values, parameters, gradient, work, rows, key, spare):
    """dvectors[row] = the sum of dout over the columns that hold this row; what comes before learns nothing"""
    x, dout = value_of(work, values, op[SOURCE], rows), gradient_of(work, values, op[RESULT], rows)
    length = np.int64(constant[2])
    n_plain = x.shape[1] - np.int64(constant[0])
    dvectors = matrix(gradient, op[WEIGHT], np.int64(constant[1]), length)
    numbers = flat(dvectors)
    for i in range(numbers.size):
        numbers[i] = 0
    for i in range(rows):
        for c in range(n_plain, x.shape[1]):
            if -1 < x[i, c] < dvectors.shape[0]:
                row, start = np.int64(x[i, c]), n_plain + (c - n_plain) * length
                for j in range(length):
                    dvectors[row, j] += dout[i, start + j]


# -- periodic embeddings: out = cos(2 pi (sigma w x + b)) for each frequency, and then x -----------------------------


@njit(**IN_ORDER)
def periodic(x, first, sigma, weight, bias, n_frequencies, out):
    """out = cos(2 pi (sigma w x + b)), frequencies of the numbers from column `first` on, and then the columns of x"""
    n_waves = weight.size
    for i in range(x.shape[0]):
        for k in range(n_waves):
            out[i, k] = cos_turns(sigma * weight[k] * x[i, first + k // n_frequencies] + bias[k])
        for j in range(x.shape[1]):
            out[i, n_waves + j] = x[i, j]


@njit(**COMPILED)
def periodic_backward(x, first, sigma, weight, bias, n_frequencies, dout, dweight, dbias, dx, sets):
    """With d = -2 pi sin(2 pi (sigma w x + b)) dout: db = sum of d, dw = sum of sigma x d, and dx gets sigma w d"""
    n_waves, quarter, factor = weight.size, x.dtype.type(0.25), x.dtype.type(-2 * np.pi)
    for k in range(n_waves):
        dweight[k], dbias[k] = 0, 0
    for i in range(x.shape[0]):
        if sets >= 0:
            for j in range(x.shape[1]):
                dx[i, j] = dout[i, n_waves + j] if sets else dx[i, j] + dout[i, n_waves + j]
        for k in range(n_waves):
            j = first + k // n_frequencies
            turns = sigma * weight[k] * x[i, j] + bias[k]
            d = factor * cos_turns(turns - quarter) * dout[i, k]
            dbias[k] += d
            dweight[k] += sigma * x[i, j] * d
            if sets >= 0:
                dx[i, j] += sigma * weight[k] * d


@njit(**OPERATION)
def periodic_step_forward(op, constant, values, parameters, buffers, work, rows, training, key):
    """See `periodic`"""
    x, out = value_of(work, values, op[SOURCE], rows), value_of(work, values, op[RESULT], rows)
    n_waves = out.shape[1] - x.shape[1]
    weight, bias = part(parameters, op[WEIGHT], n_waves), part(parameters, op[BIAS], n_waves)
    periodic(x, np.int64(constant[1]), constant[2], weight, bias, n_waves // np.int64(constant[0]), out)


@njit(**OPERATION)
def periodic_step_backward(op, constant, values, parameters, gradient, work, rows, key, spare):
    """See `periodic_backward`"""
    x, dx = value_of(work, values, op[SOURCE], rows), gradient_of(work, values, op[SOURCE], rows)
    dout = gradient_of(work, values, op[RESULT], rows)
    n_waves = dout.shape[1] - x.shape[1]
    weight, bias = part(parameters, op[WEIGHT], n_waves), part(parameters, op[BIAS], n_waves)
    dweight, dbias = part(gradient, op[WEIGHT], n_waves), part(gradient, op[BIAS], n_waves)
    periodic_backward(
        x, np.int64(constant[1]), constant[2], weight, bias, n_waves // np.int64(constant[0]), dout, dweight, dbias, dx,
        op[SETS_GRADIENT],
    )  # fmt: skip


# -- scale: out = x weight, by column --------------------------------------------------------------------------------


@njit(**OPERATION)
def scale_forward(op, constant, values, parameters, buffers, work, rows, training, key):
    """out = x weight"""
    x, out = value_of(work, values, op[SOURCE], rows), value_of(work, values, op[RESULT], rows)
    weight = part(parameters, op[WEIGHT], x.shape[1])
    for i in range(rows):
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] * weight[j]


@njit(**OPERATION)
def scale_backward(op, constant, values, parameters, gradient, work, rows, key, spare):
    """dweight = column sums of dout x,  dx = dout weight"""
    x, dx = value_of(work, values, op[SOURCE], rows), gradient_of(work, values, op[SOURCE], rows)
    dout, sets = gradient_of(work, values, op[RESULT], rows), op[SETS_GRADIENT]
    weight, dweight = part(parameters, op[WEIGHT], x.shape[1]), part(gradient, op[WEIGHT], x.shape[1])
    for j in range(x.shape[1]):
        dweight[j] = 0
    for i in range(rows):
        for j in range(x.shape[1]):
            dweight[j] += dout[i, j] * x[i, j]
            if sets >= 0:
                d = dout[i, j] * weight[j]
                dx[i, j] = d if sets else dx[i, j] + d

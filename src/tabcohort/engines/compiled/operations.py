"""The arithmetic of each operation, forward and backward, derived by hand, and of the loss.

Everything here is a Numba function of arrays and scalars. With NUMBA_DISABLE_JIT=1 it is plain Python with the same
results but for rounding. Rows run down and columns across; `x` is what an operation reads, `out` what it writes,
`d...` the gradient of the loss by that thing. Where `first` is 0, a gradient is added to what is there; else it is set.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from tabcohort.engines.compiled.elementary import exp, log1p, tanh
from tabcohort.engines.compiled.jit import COMPILED, IN_ORDER
from tabcohort.engines.compiled.matmul import column_sums, inputs, inputs_of_one
from tabcohort.engines.compiled.simd import flat, part

# Kinds of operations, in the order of `tabcohort.network.program.KINDS`.
(ENCODE, STANDARDIZE, SMOOTH_CLIP, LINEAR, BATCH_NORM, LAYER_NORM, RELU, LEAKY_RELU, GELU, SILU, TANH, SIGMOID,
 DROPOUT, ADD) = range(14)  # fmt: skip
ALL = 2**15  # shares of dropout are counted in 32,768ths
BITS_AT_ONCE = 1024  # elements whose bits lie in the cache while they are used


@njit(**COMPILED)
def clear(numbers):
    """Set numbers to 0."""
    for i in range(numbers.size):
        numbers[i] = 0


@njit(**COMPILED)
def accumulate(source, target, first):
    """Set the target to the source, or add the source to it."""
    source, target = flat(source), flat(target)
    for i in range(source.size):
        target[i] = source[i] if first else target[i] + source[i]


# -- inputs ----------------------------------------------------------------------------------------------------------


@njit(**COMPILED)
def smooth_clip(x, out, limit):
    """out = x / sqrt(1 + (x / limit)^2)"""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] / np.sqrt(1 + (x[i, j] / limit) * (x[i, j] / limit))


# -- linear: out = x W + b -------------------------------------------------------------------------------------------


@njit(**COMPILED)
def linear_backward(x, W, dout, dW, db, dx, first, spare):
    """dW = x^T dout,  db = column sums of dout (where it is wanted),  dx = dout W^T"""
    if db.size:
        column_sums(dout, db)
    np.dot(x.T, dout, dW)
    if first < 0:
        return
    target = dx if first == 1 else spare
    if W.shape[1] == 1:
        inputs_of_one(dout, W, target)
    else:
        inputs(dout, W, target)
    if first == 0:
        accumulate(spare, dx, 0)


# -- batch normalisation: hat = (x - mean) inverse by column, inverse = 1 / sqrt(var + eps) --------------------------
#
# What follows it is done in the same pass where nobody else reads what lies between (see `Layout`):
# out = dropout(relu(gain hat + shift)), with or without the dropout, or out = gain hat + shift + other.
# `columns` keeps mean and inverse by column, then sums and factors of a pass.


@njit(**COMPILED)
def add_moments(x, start, n, mean, squares):
    """Add to sums of d and of d^2, where d is the distance from the first row, those of `n` rows."""
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
    share, unbiased = x.dtype.type(1 / rows), x.dtype.type(1 / (rows - 1))
    mean, inverse = columns[0], columns[1]
    clear(mean)
    clear(inverse)
    for start in range(0, rows - 3, 4):  # four rows at a time, as the sums cost more to fetch than to add to
        add_moments(x, start, 4, mean, inverse)
    for start in range(rows - rows % 4, rows):
        add_moments(x, start, 1, mean, inverse)
    for j in range(width):
        mean[j] *= share
        squares = max(inverse[j] - rows * mean[j] * mean[j], mean[j] - mean[j])
        mean[j] += x[0, j]
        running_mean[j] += momentum * (mean[j] - running_mean[j])
        running_var[j] += momentum * (squares * unbiased - running_var[j])
        inverse[j] = one / np.sqrt(squares * share + eps)


@njit(**COMPILED)
def batch_norm_by_running(columns, running_mean, running_var, eps):
    """In evaluation mode the running statistics stand for the batch's."""
    for j in range(running_mean.size):
        columns[0, j] = running_mean[j]
        columns[1, j] = 1 / np.sqrt(running_var[j] + eps)


@njit(**COMPILED)
def batch_norm_forward(x, gain, shift, columns, other, out, rectifies, key, layer, share):
    """out = gain hat + shift, or with `other` added, or rectified, or rectified and dropped out if share < ALL"""
    rows, width = x.shape
    mean, inverse, scale, level = columns[0], columns[1], columns[2], columns[3]
    zero, growth = x.dtype.type(0), dropout_scale(x, share)  # positive numbers may be scaled before they are rectified
    for j in range(width):
        scale[j] = growth * gain[j] * inverse[j]
        level[j] = growth * shift[j]
    if other.size:
        for i in range(rows):
            for j in range(width):
                out[i, j] = (x[i, j] - mean[j]) * scale[j] + level[j] + other[i, j]
    elif share == ALL:
        floor = x.dtype.type(0 if rectifies else -np.inf)
        for i in range(rows):
            for j in range(width):
                y = (x[i, j] - mean[j]) * scale[j] + level[j]
                out[i, j] = floor if y < floor else y
    else:
        together = 1 + BITS_AT_ONCE // width
        words = np.empty(together * width // 2 + 1, np.uint32)
        for start in range(0, rows, together):
            bits = draw_bits(words, key, layer, start * width)
            for i in range(start, min(start + together, rows)):
                of_row = part(bits, (i - start) * width, width)
                for j in range(width):
                    y = (x[i, j] - mean[j]) * scale[j] + level[j]
                    out[i, j] = zero if y < zero or of_row[j] >= share else y


@njit(**COMPILED)
def add_products(dout, kept, least, x, start, n, columns):
    """Add to sums of d and of d (x - mean), where d is dout where it was let through, those of `n` rows."""
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
def batch_norm_backward(dout, x, out, columns, dgain, dshift, dx, wanted, rectifies, share):
    """dgain = sums of d hat,  dshift = sums of d,  dx = gain inverse (d - mean(d) - hat mean(d hat))

    Here d is the gradient by gain hat + shift: growth dout, but 0 where the output was rectified or dropped, and so is
    0 itself. Sums of d and of d (x - mean) give all of it.
    """
    rows, width = dout.shape
    mean, inverse, scale, of_d, of_d_x = columns[0], columns[1], columns[2], columns[3], columns[4]
    zero, growth, per_row = x.dtype.type(0), dropout_scale(x, share), x.dtype.type(1 / rows)
    kept, least = (out, zero) if rectifies else (x, x.dtype.type(-np.inf))
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
    if not wanted:
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
    share = x.dtype.type(1 / width)
    for i in range(rows):
        mean = x.dtype.type(0)
        for j in range(width):
            mean += x[i, j]
        mean *= share
        var = x.dtype.type(0)
        for j in range(width):
            var += (x[i, j] - mean) * (x[i, j] - mean)
        inverse[i] = x.dtype.type(1) / np.sqrt(var * share + eps)
        for j in range(width):
            hat[i, j] = (x[i, j] - mean) * inverse[i]
            out[i, j] = gain[j] * hat[i, j] + shift[j]


@njit(**COMPILED)
def layer_norm_backward(dout, hat, inverse, gain, dgain, dshift, dx, first):
    """With g = gain dout:  dx = inverse (g - mean(g) - hat mean(g hat)), the means taken over the row"""
    rows, width = dout.shape
    share = dout.dtype.type(1 / width)
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
        if first >= 0:
            for j in range(width):
                d = inverse[i] * (gain[j] * dout[i, j] - share * (of_g + hat[i, j] * of_g_hat))
                dx[i, j] = d if first else dx[i, j] + d


# -- activations -----------------------------------------------------------------------------------------------------


@njit(**IN_ORDER)
def activation_forward(kind, x, out, constant):
    """out = f(x); the constant is the slope of a leaky ReLU below zero"""
    x, out = flat(x), flat(out)
    zero, one = x.dtype.type(0), x.dtype.type(1)
    # A loop for each, which the compiler turns into vector instructions.
    if kind == RELU:  # no product with 0, which of an infinite number would be NaN
        for i in range(x.size):
            out[i] = zero if x[i] < zero else x[i]
    elif kind == LEAKY_RELU:
        for i in range(x.size):
            out[i] = x[i] if x[i] > 0 else constant * x[i]
    elif kind == TANH:
        for i in range(x.size):
            out[i] = tanh(x[i])
    elif kind == SIGMOID:
        for i in range(x.size):
            out[i] = one / (one + exp(-x[i]))
    elif kind == SILU:
        for i in range(x.size):
            out[i] = x[i] / (one + exp(-x[i]))
    else:  # GELU: x Phi(x), with Phi the normal distribution function
        for i in range(x.size):
            out[i] = x[i] * (0.5 + 0.5 * math.erf(x[i] * 0.7071067811865476))


@njit(**COMPILED)
def activation_backward(kind, x, out, dout, dx, first, constant):
    """dx = dout f'(x), with f' written by out where that is shorter"""
    x, out, dout, dx = flat(x), flat(out), flat(dout), flat(dx)
    one = x.dtype.type(1)
    if first == 0:
        before = dx.copy()
    if kind in (RELU, LEAKY_RELU):
        for i in range(x.size):
            dx[i] = dout[i] if x[i] > 0 else constant * dout[i]
    elif kind == TANH:
        for i in range(x.size):
            dx[i] = dout[i] * (one - out[i] * out[i])
    elif kind == SIGMOID:
        for i in range(x.size):
            dx[i] = dout[i] * out[i] * (one - out[i])
    elif kind == SILU:
        for i in range(x.size):
            s = one / (one + exp(-x[i]))
            dx[i] = dout[i] * (s + out[i] * (one - s))
    else:  # Phi(x) + x phi(x)
        for i in range(x.size):
            density = x.dtype.type(0.3989422804014327) * exp(-x.dtype.type(0.5) * x[i] * x[i])
            dx[i] = dout[i] * (0.5 + 0.5 * math.erf(x[i] * 0.7071067811865476) + x[i] * density)
    if first == 0:
        for i in range(x.size):
            dx[i] += before[i]


# -- dropout: the masks of `tabcohort.engines.torch_loop.HashedDropout` -----------------------------------------------


@njit(**COMPILED)
def low_32(word):
    """The low half of 64 bits; products are taken in 64 bits so that plain Python sees no overflow."""
    return np.uint32(word & np.uint64(0xFFFFFFFF))


@njit(**COMPILED)
def hash_32(word):
    """`lowbias32` (Wellons 2018)"""
    word = np.uint32(word ^ (word >> np.uint32(16)))
    word = low_32(np.uint64(word) * np.uint64(0x7FEB352D))
    word = np.uint32(word ^ (word >> np.uint32(15)))
    word = low_32(np.uint64(word) * np.uint64(0x846CA68B))
    return np.uint32(word ^ (word >> np.uint32(16)))


@njit(**COMPILED)
def draw_bits(words, key, layer, place):
    """Return 15 bits for each element of a layer from flat place `place` on, as many as `words` can hold."""
    start = low_32(np.uint64(key) + np.uint64(layer) * np.uint64(0x9E3779B9) + np.uint64(place // 2))
    high = low_32(np.uint64(key) >> np.uint64(32))
    for pair in range(words.size):
        word = hash_32(np.uint32(low_32(np.uint64(pair) + np.uint64(start)) ^ high))
        words[pair] = word & np.uint32(0x7FFF7FFF)
    return words.view(np.int16)[place % 2 :]


@njit(**COMPILED)
def dropout_scale(x, share):
    """1 / kept share, in the type of x"""
    return x.dtype.type(ALL / share if share > 0 else 0)


@njit(**COMPILED)
def dropout(x, out, key, layer, share, first):
    """out = x / kept share where kept, 0 elsewhere; the backward pass is the same with the gradients"""
    x, out = flat(x), flat(out)
    scale, zero = dropout_scale(x, share), x.dtype.type(0)
    words = np.empty(BITS_AT_ONCE // 2, np.uint32)
    for start in range(0, x.size, BITS_AT_ONCE):
        bits = draw_bits(words, key, layer, start)
        size = min(BITS_AT_ONCE, x.size - start)
        source, target = part(x, start, size), part(out, start, size)
        for i in range(size):
            kept = source[i] * (scale if bits[i] < share else zero)
            target[i] = kept if first else target[i] + kept


# -- the loss ---------------------------------------------------------------------------------------------------------


@njit(**COMPILED)
def largest_of(row):
    """Return the largest number; NaN is passed over, and comes to light in e^x."""
    largest = row[0]
    for k in range(1, row.size):
        largest = row[k] if row[k] > largest else largest
    return largest


@njit(**COMPILED)
def loss_and_gradient(logits, mass, dlogits):
    """Return -sum_k mass_k log p_k over the rows; dlogits is the gradient of its mean over the rows.

    Of one logit z, that of the second class: log(1 + e^z) mass - z mass_1, and mass sigmoid(z) - mass_1.
    """
    rows, width = logits.shape
    one, zero, share = logits.dtype.type(1), logits.dtype.type(0), logits.dtype.type(1 / rows)
    total_loss = 0.0
    if width == 1:
        for i in range(rows):
            z, second = logits[i, 0], mass[i, 1]
            total = mass[i, 0] + second
            e = exp(-abs(z))
            total_loss += total * ((z if z > zero else zero) + log1p(e)) - z * second
            dlogits[i, 0] = share * (total * (one if z > zero else e) / (one + e) - second)
        return total_loss
    for i in range(rows):
        largest = largest_of(logits[i])
        for k in range(width):
            dlogits[i, k] = logits[i, k] - largest
    powers = flat(dlogits)
    for i in range(powers.size):
        powers[i] = exp(powers[i])
    for i in range(rows):
        partition, total = zero, zero
        for k in range(width):
            partition += dlogits[i, k]
            total += mass[i, k]
        log_partition = largest_of(logits[i]) + np.log(partition)
        for k in range(width):
            total_loss += mass[i, k] * (log_partition - logits[i, k])
            dlogits[i, k] = share * (total * dlogits[i, k] / partition - mass[i, k])
    return total_loss

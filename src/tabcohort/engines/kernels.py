"""The compiled engine's arithmetic: every operation forward and backward, the optimisers, an epoch in one call.

Everything here is a Numba function of arrays and scalars: it is compiled once per machine, kept on disk, and lets go
of Python's lock while it runs. With NUMBA_DISABLE_JIT=1 it is plain Python with the same results. Rows run down and
columns across; `x` is what an operation reads, `out` what it writes, `d...` the gradient of the loss by that thing.

Full fast-math is left out on purpose: it would let the compiler assume that no number is NaN, and a training that
diverges must be seen.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit


def can_be_kept() -> bool:
    """Return whether Numba finds a folder to keep machine code in: beside this file, or in the user's cache."""
    try:
        njit(cache=True)(can_be_kept)
    except RuntimeError:
        return False
    return True


COMPILED = {
    "nogil": True,
    "cache": can_be_kept(),
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}

# Kinds of operations, in the order of `tabcohort.program.KINDS`.
LINEAR, BATCH_NORM, LAYER_NORM, RELU, LEAKY_RELU, GELU, SILU, TANH, SIGMOID, DROPOUT, ADD = range(11)
# Columns of the table of operations. FIRST and FIRST_2: whether the backward pass writes the gradient of what was read
# for the first time, and so sets it, or adds to it; -1 where nobody wants that gradient.
KIND, SOURCE, SOURCE_2, RESULT, WEIGHT, BIAS, BUFFERS, AUX, FIRST, FIRST_2, LAYER = range(11)
# Columns of the table of values: width, and where the value and its gradient lie in the workspace.
WIDTH, VALUE, GRADIENT = range(3)
SGD, ADAM, ADAMW = range(3)


@njit(**COMPILED)
def matrix(flat, start, rows, columns):
    """Return a view of part of a flat array as a matrix."""
    return flat[start : start + rows * columns].reshape((rows, columns))


# -- linear: out = x W + b -------------------------------------------------------------------------------------------


@njit(**COMPILED)
def linear_forward(x, W, b, out):
    """out = x W + b"""
    if W.shape[1] == 1:  # a product with a vector: BLAS would cost more than the sum
        for i in range(x.shape[0]):
            total = b[0]
            for j in range(x.shape[1]):
                total += x[i, j] * W[j, 0]
            out[i, 0] = total
        return
    np.dot(x, W, out)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] += b[j]


@njit(**COMPILED)
def linear_backward(x, W, dout, dW, db, dx, first, spare):
    """dW = x^T dout,  db = column sums of dout,  dx = dout W^T"""
    db[:] = 0
    for i in range(dout.shape[0]):
        for j in range(dout.shape[1]):
            db[j] += dout[i, j]
    if W.shape[1] == 1:
        dW[:] = 0
        for i in range(x.shape[0]):
            for j in range(x.shape[1]):
                dW[j, 0] += dout[i, 0] * x[i, j]
        if first >= 0:
            for i in range(x.shape[0]):
                for j in range(x.shape[1]):
                    dx[i, j] = dout[i, 0] * W[j, 0] + (0 if first else dx[i, j])
        return
    np.dot(x.T, dout, dW)
    if first == 1:
        np.dot(dout, W.T, dx)
    elif first == 0:
        np.dot(dout, W.T, spare)
        accumulate(spare, dx, first)


@njit(**COMPILED)
def accumulate(source, target, first):
    """Set the target to the source, or add the source to it."""
    for i in range(source.shape[0]):
        if first:
            for j in range(source.shape[1]):
                target[i, j] = source[i, j]
        else:
            for j in range(source.shape[1]):
                target[i, j] += source[i, j]


# -- batch normalisation: hat = (x - mean) / sqrt(var + eps) by column, out = gain hat + shift ------------------------


@njit(**COMPILED)
def batch_norm_forward(x, gain, shift, hat, inverse, out, running_mean, running_var, momentum, eps):
    """Also moves the running mean, and the running variance (the unbiased one), towards the batch's."""
    rows, width = x.shape
    share = x.dtype.type(1 / rows)
    unbiased = x.dtype.type(1 / (rows - 1))
    mean = np.zeros_like(gain)
    for i in range(rows):
        for j in range(width):
            mean[j] += x[i, j]
    for j in range(width):
        mean[j] *= share
        inverse[j] = 0
    for i in range(rows):
        for j in range(width):
            inverse[j] += (x[i, j] - mean[j]) * (x[i, j] - mean[j])
    for j in range(width):
        running_mean[j] += momentum * (mean[j] - running_mean[j])
        running_var[j] += momentum * (inverse[j] * unbiased - running_var[j])
        inverse[j] = x.dtype.type(1) / np.sqrt(inverse[j] * share + eps)
    for i in range(rows):
        for j in range(width):
            hat[i, j] = (x[i, j] - mean[j]) * inverse[j]
            out[i, j] = gain[j] * hat[i, j] + shift[j]


@njit(**COMPILED)
def batch_norm_backward(dout, hat, inverse, gain, dgain, dshift, dx, first):
    """dgain = sums of dout hat,  dshift = sums of dout,  dx = gain inverse (dout - mean(dout) - hat mean(dout hat))"""
    rows, width = dout.shape
    share = dout.dtype.type(1 / rows)
    dgain[:] = 0
    dshift[:] = 0
    for i in range(rows):
        for j in range(width):
            dshift[j] += dout[i, j]
            dgain[j] += dout[i, j] * hat[i, j]
    if first < 0:
        return
    for i in range(rows):
        if first:
            for j in range(width):
                dx[i, j] = gain[j] * inverse[j] * (dout[i, j] - share * (dshift[j] + hat[i, j] * dgain[j]))
        else:
            for j in range(width):
                dx[i, j] += gain[j] * inverse[j] * (dout[i, j] - share * (dshift[j] + hat[i, j] * dgain[j]))


@njit(**COMPILED)
def batch_norm_by_running(x, gain, shift, out, running_mean, running_var, eps):
    """In evaluation mode the running statistics stand for the batch's."""
    for j in range(x.shape[1]):
        factor = gain[j] / np.sqrt(running_var[j] + eps)
        for i in range(x.shape[0]):
            out[i, j] = (x[i, j] - running_mean[j]) * factor + shift[j]


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
    dgain[:] = 0
    dshift[:] = 0
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


@njit(**COMPILED)
def sigmoid(z):
    """1 / (1 + e^-z), without overflow"""
    if z >= 0:
        return 1 / (1 + np.exp(-z))
    return np.exp(z) / (1 + np.exp(z))


@njit(**COMPILED)
def activation_forward(kind, x, out, constant):
    """out = f(x); the constant is the slope of a leaky ReLU below zero, and 0 for a ReLU"""
    x, out = x.reshape(-1), out.reshape(-1)
    if kind in (RELU, LEAKY_RELU):  # a loop of their own, which the compiler turns into vector instructions
        for i in range(x.size):
            out[i] = x[i] if x[i] > 0 else constant * x[i]
        return
    for i in range(x.size):
        if kind == TANH:
            out[i] = np.tanh(x[i])
        elif kind == SIGMOID:
            out[i] = sigmoid(x[i])
        elif kind == SILU:
            out[i] = x[i] * sigmoid(x[i])
        else:  # GELU: x Phi(x), with Phi the normal distribution function
            out[i] = x[i] * (0.5 + 0.5 * math.erf(x[i] * 0.7071067811865476))


@njit(**COMPILED)
def activation_backward(kind, x, out, dout, dx, first, constant):
    """dx = dout f'(x), with f' written by out where that is shorter"""
    x, out, dout, dx = x.reshape(-1), out.reshape(-1), dout.reshape(-1), dx.reshape(-1)
    if kind in (RELU, LEAKY_RELU):
        if first:
            for i in range(x.size):
                dx[i] = dout[i] if x[i] > 0 else constant * dout[i]
        else:
            for i in range(x.size):
                dx[i] += dout[i] if x[i] > 0 else constant * dout[i]
        return
    for i in range(x.size):
        if kind == TANH:
            slope = 1 - out[i] * out[i]
        elif kind == SIGMOID:
            slope = out[i] * (1 - out[i])
        elif kind == SILU:
            s = sigmoid(x[i])
            slope = s + out[i] * (1 - s)
        else:  # Phi(x) + x phi(x)
            slope = 0.5 + 0.5 * math.erf(x[i] * 0.7071067811865476)
            slope += x[i] * 0.3989422804014327 * np.exp(-0.5 * x[i] * x[i])
        dx[i] = dout[i] * slope if first else dx[i] + dout[i] * slope


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
def dropout(x, out, key, layer, share, first):
    """out = x / kept share where kept, 0 elsewhere; the backward pass is the same with the gradients"""
    x, out = x.reshape(-1), out.reshape(-1)
    start = low_32(np.uint64(key) + np.uint64(layer) * np.uint64(0x9E3779B9))
    high = low_32(np.uint64(key) >> np.uint64(32))
    scale = x.dtype.type(32768 / share) if share > 0 else x.dtype.type(0)
    zero = x.dtype.type(0)
    if not first:
        for i in range(x.size):
            word = hash_32(np.uint32(low_32(np.uint64(i // 2) + np.uint64(start)) ^ high))
            bits = np.int32((word >> np.uint32(16 * (i % 2))) & np.uint32(0x7FFF))
            out[i] += x[i] * (scale if bits < share else zero)
        return
    for pair in range(x.size // 2):
        word = hash_32(np.uint32(low_32(np.uint64(pair) + np.uint64(start)) ^ high))
        out[2 * pair] = x[2 * pair] * (scale if np.int32(word & np.uint32(0x7FFF)) < share else zero)
        second = np.int32((word >> np.uint32(16)) & np.uint32(0x7FFF))
        out[2 * pair + 1] = x[2 * pair + 1] * (scale if second < share else zero)
    if x.size % 2:
        word = hash_32(np.uint32(low_32(np.uint64(x.size // 2) + np.uint64(start)) ^ high))
        out[-1] = x[-1] * (scale if np.int32(word & np.uint32(0x7FFF)) < share else zero)


# -- the network -----------------------------------------------------------------------------------------------------


@njit(**COMPILED)
def value_of(work, values, number, rows):
    """Return a value of the program, `(rows, width)`."""
    return matrix(work, values[number, VALUE], rows, values[number, WIDTH])


@njit(**COMPILED)
def gradient_of(work, values, number, rows):
    """Return the gradient of the loss by a value, `(rows, width)`."""
    return matrix(work, values[number, GRADIENT], rows, values[number, WIDTH])


@njit(**COMPILED)
def forward(operations, constants, values, parameters, buffers, work, rows, training, key):
    """Work out every value from value 0, the inputs, on."""
    for o in range(operations.shape[0]):
        op, constant = operations[o], constants[o]
        kind = op[KIND]
        x = value_of(work, values, op[SOURCE], rows)
        out = value_of(work, values, op[RESULT], rows)
        d_in, d_out = x.shape[1], out.shape[1]
        if kind == LINEAR:
            W = matrix(parameters, op[WEIGHT], d_in, d_out)
            linear_forward(x, W, parameters[op[BIAS] : op[BIAS] + d_out], out)
        elif kind in (BATCH_NORM, LAYER_NORM):
            gain = parameters[op[WEIGHT] : op[WEIGHT] + d_out]
            shift = parameters[op[BIAS] : op[BIAS] + d_out]
            hat = matrix(work, op[AUX], rows, d_out)
            inverse = work[op[AUX] + rows * d_out :]
            mean = buffers[op[BUFFERS] : op[BUFFERS] + d_out]
            var = buffers[op[BUFFERS] + d_out : op[BUFFERS] + 2 * d_out]
            if kind == LAYER_NORM:
                layer_norm_forward(x, gain, shift, hat, inverse, out, constant[0])
            elif training:
                batch_norm_forward(x, gain, shift, hat, inverse, out, mean, var, constant[1], constant[0])
            else:
                batch_norm_by_running(x, gain, shift, out, mean, var, constant[0])
        elif kind == DROPOUT:
            if training:
                dropout(x, out, key, op[LAYER], np.int32(constant[0]), 1)
            else:
                accumulate(x, out, 1)
        elif kind == ADD:
            accumulate(x, out, 1)
            accumulate(value_of(work, values, op[SOURCE_2], rows), out, 0)
        else:
            activation_forward(kind, x, out, constant[0])


@njit(**COMPILED)
def backward(operations, constants, values, parameters, gradient, work, rows, key, spare):
    """Work out every gradient from that of the last value on, back to the parameters."""
    for o in range(operations.shape[0] - 1, -1, -1):
        op, constant = operations[o], constants[o]
        kind, first = op[KIND], op[FIRST]
        x = value_of(work, values, op[SOURCE], rows)
        dx = gradient_of(work, values, op[SOURCE], rows)
        out = value_of(work, values, op[RESULT], rows)
        dout = gradient_of(work, values, op[RESULT], rows)
        d_in, d_out = x.shape[1], out.shape[1]
        if kind == LINEAR:
            W, dW = matrix(parameters, op[WEIGHT], d_in, d_out), matrix(gradient, op[WEIGHT], d_in, d_out)
            db = gradient[op[BIAS] : op[BIAS] + d_out]
            linear_backward(x, W, dout, dW, db, dx, first, matrix(spare, 0, rows, d_in))
        elif kind in (BATCH_NORM, LAYER_NORM):
            gain = parameters[op[WEIGHT] : op[WEIGHT] + d_out]
            dgain = gradient[op[WEIGHT] : op[WEIGHT] + d_out]
            dshift = gradient[op[BIAS] : op[BIAS] + d_out]
            hat = matrix(work, op[AUX], rows, d_out)
            inverse = work[op[AUX] + rows * d_out :]
            if kind == LAYER_NORM:
                layer_norm_backward(dout, hat, inverse, gain, dgain, dshift, dx, first)
            else:
                batch_norm_backward(dout, hat, inverse, gain, dgain, dshift, dx, first)
        elif kind == ADD:
            if first >= 0:
                accumulate(dout, dx, first)
            if op[FIRST_2] >= 0:
                accumulate(dout, gradient_of(work, values, op[SOURCE_2], rows), op[FIRST_2])
        elif first < 0:
            continue
        elif kind == DROPOUT:
            dropout(dout, dx, key, op[LAYER], np.int32(constant[0]), first)
        else:
            activation_backward(kind, x, out, dout, dx, first, constant[0])


@njit(**COMPILED)
def loss_and_gradient(logits, mass, dlogits):
    """Return -sum_k mass_k log p_k over the rows; dlogits is the gradient of its mean over the rows."""
    rows, width = logits.shape
    share = logits.dtype.type(1 / rows)
    total_loss = 0.0
    for i in range(rows):
        if width == 1:  # the logit z of the second class: log(1 + e^z) mass - z mass_1
            z = logits[i, 0]
            total = mass[i, 0] + mass[i, 1]
            total_loss += total * (max(z, z - z) + np.log1p(np.exp(-abs(z)))) - z * mass[i, 1]
            dlogits[i, 0] = share * (total * sigmoid(z) - mass[i, 1])
        else:
            largest, total = logits[i, 0], mass[i, 0]
            for k in range(1, width):
                largest = max(largest, logits[i, k])
                total += mass[i, k]
            partition = largest - largest
            for k in range(width):
                dlogits[i, k] = np.exp(logits[i, k] - largest)
                partition += dlogits[i, k]
            log_partition = largest + np.log(partition)
            for k in range(width):
                total_loss += mass[i, k] * (log_partition - logits[i, k])
                dlogits[i, k] = share * (total * dlogits[i, k] / partition - mass[i, k])
    return total_loss


# -- the update ------------------------------------------------------------------------------------------------------


@njit(**COMPILED)
def clip(gradient, largest_norm):
    """Scale the gradient down to a norm of at most `largest_norm`."""
    squares = gradient[0] - gradient[0]
    for i in range(gradient.size):
        squares += gradient[i] * gradient[i]
    factor = largest_norm / (np.sqrt(squares) + gradient.dtype.type(1e-6))
    if factor < 1:
        for i in range(gradient.size):
            gradient[i] *= factor


@njit(**COMPILED)
def update(optimizer, p, g, first_moment, second_moment, step, rate, decay, n_in_matrices, beta1, beta2, eps):
    """One step of SGD with momentum, Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019)."""
    one = p.dtype.type(1)
    if optimizer == ADAMW:
        for i in range(n_in_matrices):
            p[i] -= rate * decay * p[i]
    else:
        for i in range(n_in_matrices):
            g[i] += decay * p[i]
    if optimizer == SGD:
        for i in range(p.size):
            first_moment[i] = beta1 * first_moment[i] + g[i]
            p[i] -= rate * first_moment[i]
        return
    step_size = p.dtype.type(rate / (1 - np.float64(beta1) ** step))
    root_2 = p.dtype.type(np.sqrt(1 - np.float64(beta2) ** step))
    for i in range(p.size):
        first_moment[i] = beta1 * first_moment[i] + (one - beta1) * g[i]
        second_moment[i] = beta2 * second_moment[i] + (one - beta2) * g[i] * g[i]
        p[i] -= step_size * first_moment[i] / (np.sqrt(second_moment[i]) / root_2 + eps)


# -- an epoch --------------------------------------------------------------------------------------------------------


@njit(**COMPILED)
def gather(inputs, mass, rows, partners, share, batch_inputs, batch_mass):
    """Copy the rows of a batch, or mix each with its partner: share a + (1 - share) b."""
    for i in range(rows.size):
        a = rows[i]
        if partners.size == 0:
            for j in range(inputs.shape[1]):
                batch_inputs[i, j] = inputs[a, j]
            for j in range(mass.shape[1]):
                batch_mass[i, j] = mass[a, j]
        else:
            b = rows[partners[i]]
            for j in range(inputs.shape[1]):
                batch_inputs[i, j] = inputs[b, j] + share * (inputs[a, j] - inputs[b, j])
            for j in range(mass.shape[1]):
                batch_mass[i, j] = mass[b, j] + share * (mass[a, j] - mass[b, j])


@njit(**COMPILED)
def train_epoch(
    operations, constants, values, parameters, gradient, buffers, first_moment, second_moment, steps_taken,
    work, spare, batch_mass, inputs, mass, order, bounds, mix, partners, partner_bounds, keys, losses,
    optimizer, rate, decay, n_in_matrices, beta1, beta2, eps, largest_norm,
):  # fmt: skip
    """Run every step of an epoch, and leave each step's loss, summed over its rows, in `losses`."""
    last = values.shape[0] - 1
    for s in range(bounds.size - 1):
        rows = order[bounds[s] : bounds[s + 1]]
        n = rows.size
        with_partners = partners[partner_bounds[s] : partner_bounds[s + 1]]
        batch_inputs = value_of(work, values, 0, n)
        gather(inputs, mass, rows, with_partners, mix[s], batch_inputs, batch_mass[:n])
        forward(operations, constants, values, parameters, buffers, work, n, True, keys[s])
        losses[s] = loss_and_gradient(
            value_of(work, values, last, n), batch_mass[:n], gradient_of(work, values, last, n)
        )
        backward(operations, constants, values, parameters, gradient, work, n, keys[s], spare)
        if largest_norm > 0:
            clip(gradient, largest_norm)
        steps_taken[0] += 1
        update(
            optimizer, parameters, gradient, first_moment, second_moment, steps_taken[0], rate, decay,
            n_in_matrices, beta1, beta2, eps,
        )  # fmt: skip


@njit(**COMPILED)
def pass_rows(operations, constants, values, parameters, buffers, work, capacity, inputs, logits):
    """Work out the logits of rows, in evaluation mode, `capacity` rows at a time."""
    last = values.shape[0] - 1
    for start in range(0, inputs.shape[0], capacity):
        n = min(capacity, inputs.shape[0] - start)
        accumulate(inputs[start : start + n], value_of(work, values, 0, n), 1)
        forward(operations, constants, values, parameters, buffers, work, n, False, 0)
        accumulate(value_of(work, values, last, n), logits[start : start + n], 1)

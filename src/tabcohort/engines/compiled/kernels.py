"""A program at work: its operations one after another, the optimisers, and an epoch in one call.

Everything here is a Numba function of arrays and scalars: it is compiled once, kept on disk, and lets go of Python's
lock while it runs.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tabcohort.engines.compiled.jit import COMPILED, KEPT
from tabcohort.engines.compiled.matmul import product
from tabcohort.engines.compiled.operations import (
    ADD,
    ALL,
    BATCH_NORM,
    DROPOUT,
    LAYER_NORM,
    LINEAR,
    SMOOTH_CLIP,
    accumulate,
    activation_backward,
    activation_forward,
    batch_norm_backward,
    batch_norm_by_running,
    batch_norm_forward,
    batch_norm_statistics,
    dropout,
    layer_norm_backward,
    layer_norm_forward,
    linear_backward,
    loss_and_gradient,
    smooth_clip,
)
from tabcohort.engines.compiled.simd import matrix, part

# Columns of the table of operations; see `tabcohort.engines.compiled.layout.Layout`.
(KIND, SOURCE, SOURCE_2, RESULT, WEIGHT, BIAS, BUFFERS, AUX, FIRST, FIRST_2, LAYER, HAS_OTHER, RECTIFIES,
 IDLE_BIAS) = range(14)  # fmt: skip
# Columns of the table of values: width, and where the value and its gradient lie in the workspace.
WIDTH, VALUE, GRADIENT = range(3)
SGD, ADAM, ADAMW = range(3)


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
            product(x, W, part(parameters, op[BIAS], d_out), out)
        elif kind == BATCH_NORM:
            gain = part(parameters, op[WEIGHT], d_out)
            shift = part(parameters, op[BIAS], d_out)
            columns = matrix(work, op[AUX], 5, d_out)
            mean = part(buffers, op[BUFFERS], d_out)
            var = part(buffers, op[BUFFERS] + d_out, d_out)
            other = value_of(work, values, op[SOURCE_2], rows if op[HAS_OTHER] else 0)
            if training:
                batch_norm_statistics(x, columns, mean, var, constant[1], constant[0])
            else:
                batch_norm_by_running(columns, mean, var, constant[0])
            share = np.int32(constant[2]) if training else np.int32(ALL)
            batch_norm_forward(x, gain, shift, columns, other, out, op[RECTIFIES], key, op[LAYER], share)
        elif kind == LAYER_NORM:
            gain = part(parameters, op[WEIGHT], d_out)
            shift = part(parameters, op[BIAS], d_out)
            hat = matrix(work, op[AUX], rows, d_out)
            layer_norm_forward(x, gain, shift, hat, part(work, op[AUX] + rows * d_out, rows), out, constant[0])
        elif kind == SMOOTH_CLIP:
            smooth_clip(x, out, constant[0])
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
            db = part(gradient, op[BIAS], 0 if op[IDLE_BIAS] else d_out)
            linear_backward(x, W, dout, dW, db, dx, first, matrix(spare, 0, rows, d_in))
        elif kind == BATCH_NORM:
            columns = matrix(work, op[AUX], 5, d_out)
            dgain = part(gradient, op[WEIGHT], d_out)
            dshift = part(gradient, op[BIAS], d_out)
            target = matrix(spare, 0, rows, d_in) if first == 0 else dx
            share = np.int32(constant[2])
            batch_norm_backward(dout, x, out, columns, dgain, dshift, target, first >= 0, op[RECTIFIES], share)
            if first == 0:
                accumulate(target, dx, first)
        elif kind == LAYER_NORM:
            gain = part(parameters, op[WEIGHT], d_out)
            dgain = part(gradient, op[WEIGHT], d_out)
            dshift = part(gradient, op[BIAS], d_out)
            hat = matrix(work, op[AUX], rows, d_out)
            layer_norm_backward(dout, hat, part(work, op[AUX] + rows * d_out, rows), gain, dgain, dshift, dx, first)
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


# -- the update ------------------------------------------------------------------------------------------------------


@njit(**COMPILED)
def clip_factor(gradient, largest_norm):
    """Return what scales the gradient down to a norm of at most `largest_norm`; 1 if it is shorter, or that is 0."""
    one = gradient.dtype.type(1)
    if largest_norm == 0:
        return one
    squares = one - one
    for i in range(gradient.size):
        squares += gradient[i] * gradient[i]
    factor = largest_norm / (np.sqrt(squares) + gradient.dtype.type(1e-6))
    return factor if factor < 1 else one


@njit(**COMPILED)
def update(optimizer, p, g, factor, moment_1, moment_2, step, rate, decay, n_in_matrices, beta1, beta2, eps):
    """One step of SGD with momentum, Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019) by factor * g.

    Only the matrices decay. AdamW's decay shrinks the parameters; that of the others is a part of the gradient.
    """
    zero, one = p.dtype.type(0), p.dtype.type(1)
    shrink, pull = (rate * decay, zero) if optimizer == ADAMW else (zero, decay)
    if optimizer == SGD:
        for i in range(p.size):
            moment_1[i] = beta1 * moment_1[i] + factor * g[i] + (pull if i < n_in_matrices else zero) * p[i]
            p[i] -= rate * moment_1[i]
        return
    step_size = p.dtype.type(rate / (1 - np.float64(beta1) ** step))
    per_root_2 = p.dtype.type(1 / np.sqrt(1 - np.float64(beta2) ** step))
    for i in range(p.size):
        d = factor * g[i] + (pull if i < n_in_matrices else zero) * p[i]
        m = beta1 * moment_1[i] + (one - beta1) * d
        v = beta2 * moment_2[i] + (one - beta2) * d * d
        p[i] -= (shrink if i < n_in_matrices else zero) * p[i] + step_size * m / (np.sqrt(v) * per_root_2 + eps)
        moment_1[i], moment_2[i] = m, v


# -- an epoch --------------------------------------------------------------------------------------------------------


@njit(**COMPILED)
def gather(stored, centre, scale, rows, inputs):
    """inputs = (stored - centre) scale, of some rows"""
    for i in range(rows.size):
        row = rows[i]  # read once: for all the compiler knows, writing to `inputs` might change it
        for j in range(stored.shape[1]):
            inputs[i, j] = (stored[row, j] - centre[j]) * scale[j]


@njit(**COMPILED)
def mix(batch, partners, share, spare):
    """Mix each row with its partner: share a + (1 - share) b."""
    accumulate(batch, spare, 1)
    for i in range(batch.shape[0]):
        partner = partners[i]
        for j in range(batch.shape[1]):
            batch[i, j] = spare[partner, j] + share * (spare[i, j] - spare[partner, j])


@njit(**{**COMPILED, **KEPT})
def run_epochs(
    operations, constants, values, n_prepared, parameters, buffers, first_moment, second_moment, gradient,
    kept_parameters, kept_buffers, kept_first, kept_second, work, spare, batch_mass, stored, centre, scale, train, mass,
    orders, bounds, shares, partners, keys, losses, steps_before, rates, optimizer, n_in_matrices, decay, beta1, beta2,
    eps, largest_norm, stop, capacity, stop_logits,
):  # fmt: skip
    """Run epochs one after another, each with a pass over the rows that stop; keep its state where there is room.

    Each step's loss, summed over its rows, goes to `losses`. The first `n_prepared` operations prepare the inputs;
    mixup comes behind them. All in one function: each level of calls would be compiled with all that it calls.
    """
    first, last, n_steps = n_prepared, values.shape[0] - 1, losses.shape[1]
    preparing, constants_of_preparing = operations[:first], constants[:first]
    learning, constants_of_learning = operations[first:], constants[first:]
    batch_rows = np.empty(batch_mass.shape[0], np.int64)
    yes, no = n_steps > 0, n_steps < 0  # for a plain True or False the compiler would write a function each
    for e in range(rates.size):
        for s in range(n_steps):
            rows, key, share = orders[e, bounds[s] : bounds[s + 1]], keys[e, s], shares[e, s]
            n = rows.size
            target = batch_mass[:n]
            for i in range(n):
                row = rows[i]
                batch_rows[i] = train[row]
                for k in range(mass.shape[1]):
                    target[i, k] = mass[row, k]
            gather(stored, centre, scale, batch_rows[:n], value_of(work, values, 0, n))
            if first > 0:
                forward(preparing, constants_of_preparing, values, parameters, buffers, work, n, yes, key)
            if share < 1:
                inputs, with_whom = value_of(work, values, first, n), partners[e, bounds[s] : bounds[s + 1]]
                mix(inputs, with_whom, share, matrix(spare, 0, n, inputs.shape[1]))
                mix(target, with_whom, share, matrix(spare, 0, n, mass.shape[1]))
            forward(learning, constants_of_learning, values, parameters, buffers, work, n, yes, key)
            dlogits = gradient_of(work, values, last, n)
            losses[e, s] = loss_and_gradient(value_of(work, values, last, n), target, dlogits)
            backward(learning, constants_of_learning, values, parameters, gradient, work, n, key, spare)
            update(
                optimizer, parameters, gradient, clip_factor(gradient, largest_norm), first_moment, second_moment,
                steps_before + e * n_steps + s + 1, rates[e], decay, n_in_matrices, beta1, beta2, eps,
            )  # fmt: skip
        for start in range(0, stop.size, capacity):
            n = min(capacity, stop.size - start)
            gather(stored, centre, scale, stop[start : start + n], value_of(work, values, 0, n))
            forward(operations, constants, values, parameters, buffers, work, n, no, keys[e, 0])
            accumulate(value_of(work, values, last, n), stop_logits[e, start : start + n], yes)
        if kept_parameters.shape[0] > 0:
            accumulate(parameters, kept_parameters[e], yes)
            accumulate(buffers, kept_buffers[e], yes)
            accumulate(first_moment, kept_first[e], yes)
            accumulate(second_moment, kept_second[e], yes)

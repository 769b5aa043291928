"""A program at work: its operations one after another, the optimizers, and epochs in one call.

Everything here is a Numba function of arrays and scalars: it is compiled once, kept on disk, and releases Python's lock
while it runs.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tabcohort.engines.compiled.calls import call
from tabcohort.engines.compiled.jit import COMPILED, KEPT
from tabcohort.engines.compiled.operations import loss_and_gradient
from tabcohort.engines.compiled.simd import flat, matrix, part
from tabcohort.engines.compiled.tables import N_BINS
from tabcohort.engines.compiled.values import accumulate, gradient_of, value_of

SGD, ADAM, ADAMW = range(3)


# -- the network -----------------------------------------------------------------------------------------------------


@njit(**COMPILED)
def forward(kernels, operations, some, constants, values, parameters, buffers, work, rows, training, key):
    """Compute the values that some operations write, from the first of them to before the last.

    `kernels` has the addresses of their kernels.
    """
    table, width, fixed, n_constants = flat(operations), operations.shape[1], flat(constants), constants.shape[1]
    for o in range(some[0], some[1]):
        op, constant = part(table, o * width, width), part(fixed, o * n_constants, n_constants)
        call(kernels[o], (op, constant, values, parameters, buffers, work, rows, training, key))


@njit(**COMPILED)
def backward(kernels, operations, some, constants, values, parameters, gradient, work, rows, key, spare):
    """Compute the gradients of some operations, the last one first."""
    table, width, fixed, n_constants = flat(operations), operations.shape[1], flat(constants), constants.shape[1]
    for o in range(some[1] - 1, some[0] - 1, -1):
        op, constant = part(table, o * width, width), part(fixed, o * n_constants, n_constants)
        call(kernels[o], (op, constant, values, parameters, gradient, work, rows, key, spare))


# -- the update ------------------------------------------------------------------------------------------------------


@njit(**COMPILED)
def clip_factor(gradient, max_norm):
    """Return the factor that limits the gradient's norm to `max_norm`; 1 if it is shorter, or without a limit (0)."""
    one = gradient.dtype.type(1)
    if max_norm == 0:
        return one
    squares = one - one
    for i in range(gradient.size):
        squares += gradient[i] * gradient[i]
    factor = max_norm / (np.sqrt(squares) + gradient.dtype.type(1e-6))
    return factor if factor < 1 else one


@njit(**COMPILED)
def update(optimizer, p, g, factor, moment_1, moment_2, step, rate, decay, beta1, beta2, eps):
    """One step of SGD with momentum, Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019) by factor * g.

    AdamW's decay shrinks the parameters; that of the others is a term of the gradient.
    """
    zero, one = p.dtype.type(0), p.dtype.type(1)
    decoupled, coupled = (rate * decay, zero) if optimizer == ADAMW else (zero, decay)
    if optimizer == SGD:
        for i in range(p.size):
            moment_1[i] = beta1 * moment_1[i] + factor * g[i] + coupled * p[i]
            p[i] -= rate * moment_1[i]
        return
    step_size = p.dtype.type(rate / (1 - np.float64(beta1) ** step))
    per_root_2 = p.dtype.type(1 / np.sqrt(1 - np.float64(beta2) ** step))
    for i in range(p.size):
        d = factor * g[i] + coupled * p[i]
        m = beta1 * moment_1[i] + (one - beta1) * d
        v = beta2 * moment_2[i] + (one - beta2) * d * d
        p[i] -= decoupled * p[i] + step_size * m / (np.sqrt(v) * per_root_2 + eps)
        moment_1[i], moment_2[i] = m, v


# -- an epoch --------------------------------------------------------------------------------------------------------


@njit(**COMPILED)
def gather(reading, rows, inputs):
    """Compute the columns of some rows; see `tabcohort.engines.reading.Reading`."""
    stored, center, scale = reading.stored, reading.center, reading.scale
    for i in range(rows.size):
        row = rows[i]  # read once: the compiler must assume that writing to `inputs` changes it
        for j in range(stored.shape[1]):
            inputs[i, j] = (stored[row, j] - center[j]) * scale[j]
    if reading.filled.size > 0:
        fill_missing(reading, rows, inputs)
    if reading.codes.shape[1] > 0:
        look_up(reading, rows, inputs)


@njit(**COMPILED)
def fill_missing(reading, rows, inputs):
    """Fill in what stands for missing numbers, and compute their indicators."""
    stored, filled, n_numbers = reading.stored, reading.filled, reading.stored.shape[1]
    for i in range(rows.size):
        row = rows[i]
        for j in range(n_numbers):
            if np.isnan(inputs[i, j]):
                inputs[i, j] = filled[j]
        for k in range(reading.missing.size):
            is_missing = np.isnan(stored[row, reading.missing[k]])
            inputs[i, n_numbers + k] = reading.absent[k] if is_missing else reading.present[k]


@njit(**COMPILED)
def look_up(reading, rows, inputs):
    """Copy the columns of each category's code, and then the rows of learned vectors."""
    codes, first = reading.codes, reading.stored.shape[1] + reading.missing.size
    for i in range(rows.size):
        row, column = rows[i], first
        lookup = reading.lookups[reading.fold[row] if reading.fold.size > 0 else 0]
        for c in range(codes.shape[1]):
            width = reading.widths[c]
            start = reading.lookup_starts[c] + codes[row, c] * width
            for j in range(width):
                inputs[i, column + j] = lookup[start + j]
            column += width
        for k in range(reading.learned.size):
            c = reading.learned[k]
            inputs[i, column + k] = reading.vector_rows[reading.code_starts[c] + codes[row, c]]


@njit(**COMPILED)
def mix(batch, partners, own, spare, n_mixed):
    """Mix each row with its partner: own a + (1 - own) b; columns from `n_mixed` on are those of the heavier one."""
    accumulate(batch, spare, 1)
    for i in range(batch.shape[0]):
        partner = partners[i]
        for j in range(n_mixed):
            batch[i, j] = spare[partner, j] + own * (spare[i, j] - spare[partner, j])
        for j in range(n_mixed, batch.shape[1]):
            batch[i, j] = spare[i, j] if own >= 0.5 else spare[partner, j]


@njit(**COMPILED)
def mix_gradient(gradient, partners, own, spare):
    """Change the gradient by mixed rows to that by rows before `mix`: a row also has its part in another's."""
    mixed_with = np.empty(partners.size, np.int64)
    for i in range(partners.size):
        mixed_with[partners[i]] = i
    mix(gradient, mixed_with, own, spare, gradient.shape[1])


@njit(**{**COMPILED, **KEPT})
def run_epochs(
    forwards, backwards, operations, constants, values, n_preprocessing, parameters, buffers, first_moment,
    second_moment, gradient, kept_parameters, kept_buffers, kept_first, kept_second, work, spare, batch_targets,
    reading, train, targets, orders, bounds, own_weights, partners, keys, losses, steps_before, rates, decays,
    optimizer, groups, group_rates, group_decays, beta1, beta2, eps, max_norm, validation_reading, validation,
    capacity, val_logits,
):  # fmt: skip
    """Run epochs one after another, each with a pass over the validation rows; keep its state where there is room.

    `forwards` and `backwards` have the addresses of the operations' kernels. `groups` are where the groups of
    parameters begin, and where the last one ends; learning rate and weight decay of each are multiplied by its
    `group_rates` and `group_decays`. `constants` has those of each epoch. Each step's loss, summed over its rows, goes
    to `losses`. The first `n_preprocessing` operations preprocess the inputs; mixup comes after them. A single epoch
    may be run some steps at a time, all but the last ones without validation rows. All in one function: each level of
    calls would be compiled with all that it calls.
    """
    # Views without references: counting those of all arguments would take longer than a small kernel.
    values, parameters, buffers = matrix(flat(values), 0, *values.shape), flat(parameters), flat(buffers)
    work, spare, gradient = flat(work), flat(spare), flat(gradient)
    first, last, n_steps = n_preprocessing, values.shape[0] - 1, losses.shape[1]
    multiplies_bins = first > 0 and operations[first - 1, N_BINS] > 0
    preparing, learning, everything = (0, first), (first, operations.shape[0]), (0, operations.shape[0])
    batch_rows = np.empty(batch_targets.shape[0], np.int64)
    yes, no = n_steps > 0, n_steps < 0  # for a literal True or False the compiler would write a function each
    for e in range(rates.size):
        fixed = constants[e]
        for s in range(n_steps):
            rows, key, own = orders[e, bounds[s] : bounds[s + 1]], keys[e, s], own_weights[e, s]
            n = rows.size
            target = batch_targets[:n]
            for i in range(n):
                row = rows[i]
                batch_rows[i] = train[row]
                for k in range(targets.shape[1]):
                    target[i, k] = targets[row, k]
            gather(reading, batch_rows[:n], value_of(work, values, 0, n))
            if first > 0:
                forward(forwards, operations, preparing, fixed, values, parameters, buffers, work, n, yes, key)
            if own < 1:
                inputs, with_whom = value_of(work, values, first, n), partners[e, bounds[s] : bounds[s + 1]]
                if multiplies_bins:  # a product of mixed bins is that of the bins, mixed
                    mix(inputs, with_whom, own, matrix(spare, 0, n, inputs.shape[1]), inputs.shape[1])
                    inputs = value_of(work, values, first - 1, n)
                n_mixed = inputs.shape[1] - reading.learned.size
                mix(inputs, with_whom, own, matrix(spare, 0, n, inputs.shape[1]), n_mixed)
                mix(target, with_whom, own, matrix(spare, 0, n, targets.shape[1]), targets.shape[1])
            forward(forwards, operations, learning, fixed, values, parameters, buffers, work, n, yes, key)
            dlogits = gradient_of(work, values, last, n)
            losses[e, s] = loss_and_gradient(value_of(work, values, last, n), target, dlogits)
            backward(backwards, operations, learning, fixed, values, parameters, gradient, work, n, key, spare)
            if multiplies_bins:
                if own < 1:
                    of_bins = gradient_of(work, values, first, n)
                    mix_gradient(
                        of_bins, partners[e, bounds[s] : bounds[s + 1]], own, matrix(spare, 0, n, of_bins.shape[1])
                    )
                backward(backwards, operations, preparing, fixed, values, parameters, gradient, work, n, key, spare)
            factor, step = clip_factor(gradient, max_norm), steps_before + e * n_steps + s + 1
            for k in range(group_rates.size):
                some = slice(groups[k], groups[k + 1])
                update(
                    optimizer, parameters[some], gradient[some], factor, first_moment[some], second_moment[some], step,
                    rates[e] * group_rates[k], decays[e] * group_decays[k], beta1, beta2, eps,
                )  # fmt: skip
        for start in range(0, validation.size, capacity):
            n = min(capacity, validation.size - start)
            gather(validation_reading, validation[start : start + n], value_of(work, values, 0, n))
            forward(forwards, operations, everything, fixed, values, parameters, buffers, work, n, no, keys[e, 0])
            accumulate(value_of(work, values, last, n), val_logits[e, start : start + n], yes)
        if kept_parameters.shape[0] > 0:
            accumulate(parameters, kept_parameters[e], yes)
            accumulate(buffers, kept_buffers[e], yes)
            accumulate(first_moment, kept_first[e], yes)
            accumulate(second_moment, kept_second[e], yes)

"""The kernels of each operation, forward and backward, with the formula above each; gradients are derived by hand.

Everything here is a Numba function of arrays and scalars. With NUMBA_DISABLE_JIT=1 it is plain Python with the same
results but for rounding. Rows run down and columns across; `x` is what an operation reads, `out` what it writes, `d...`
the gradient of the loss by that thing. Where `sets` is 0 a gradient is added to what is there, where it is 1 it is set.

`KERNELS` says which kernels an operation of `tabcohort.network.ops.OPS` has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  Numba's `np.dot` comes from here
from numba import njit

from tabcohort.engines.compiled.activations import activation_backward, activation_forward
from tabcohort.engines.compiled.dropout import KEEP_ALL, dropout
from tabcohort.engines.compiled.elementary import exp, log1p
from tabcohort.engines.compiled.jit import COMPILED, OPERATION
from tabcohort.engines.compiled.learned_inputs import (
    embed_backward,
    embed_forward,
    periodic_step_backward,
    periodic_step_forward,
    scale_backward,
    scale_forward,
)
from tabcohort.engines.compiled.matmul import column_sums, inputs, inputs_of_one, product
from tabcohort.engines.compiled.normalization import (
    batch_norm_backward,
    batch_norm_by_running,
    batch_norm_forward,
    batch_norm_statistics,
    layer_norm_backward,
    layer_norm_forward,
)
from tabcohort.engines.compiled.preprocessing import (
    no_backward,
    piecewise_linear_backward,
    piecewise_linear_forward,
    quantile_scale_forward,
    robust_scale_forward,
    smooth_clip_forward,
)
from tabcohort.engines.compiled.simd import flat, matrix, part
from tabcohort.engines.compiled.tables import (
    BIAS,
    BIAS_CANCELS,
    BUFFERS,
    FUSES_ADD,
    FUSES_RELU,
    LAYER,
    NEEDED_FROM,
    RESULT,
    SCRATCH,
    SETS_GRADIENT,
    SETS_GRADIENT_2,
    SOURCE,
    SOURCE_2,
    WEIGHT,
)
from tabcohort.engines.compiled.values import accumulate, gradient_of, value_of
from tabcohort.network.ops import ACTIVATIONS


@dataclass(frozen=True)
class OpKernels:
    """The kernels of an operation.

    Args:
        forward: a function of (op, constant, values, parameters, buffers, work, rows, training, key) that computes the
            value that the operation writes. `op` and `constant` are its rows of the tables (see `tables`).
        backward: a function of (op, constant, values, parameters, gradient, work, rows, key, spare) that computes the
            gradients of its parameters and of the values that it reads.
        scratch: numbers of scratch memory that both share, given the rows of a batch, and the columns it reads and
            writes.
    """

    forward: Callable[..., None]
    backward: Callable[..., None]
    scratch: Callable[[int, int, int], int] = lambda rows, d_in, d_out: 0


# -- linear: out = x W + b -------------------------------------------------------------------------------------------


@njit(**OPERATION)
def linear_forward(op, constant, values, parameters, buffers, work, rows, training, key):
    """out = x W + b, with what is fused"""
    x, out = value_of(work, values, op[SOURCE], rows), value_of(work, values, op[RESULT], rows)
    d_in, d_out = x.shape[1], out.shape[1]
    product(x, matrix(parameters, op[WEIGHT], d_in, d_out), part(parameters, op[BIAS], d_out), out)
    if op[FUSES_ADD]:
        accumulate(value_of(work, values, op[SOURCE_2], rows), out, 0)


@njit(**OPERATION)
def linear_backward(op, constant, values, parameters, gradient, work, rows, key, spare):
    """dW = x^T dout,  db = column sums of dout (unless it cancels),  dx = dout W^T; what is added shares dout"""
    x, dx = value_of(work, values, op[SOURCE], rows), gradient_of(work, values, op[SOURCE], rows)
    dout, sets = gradient_of(work, values, op[RESULT], rows), op[SETS_GRADIENT]
    d_in, d_out = x.shape[1], dout.shape[1]
    W = matrix(parameters, op[WEIGHT], d_in, d_out)
    if not op[BIAS_CANCELS]:
        column_sums(dout, part(gradient, op[BIAS], d_out))
    np.dot(x.T, dout, matrix(gradient, op[WEIGHT], d_in, d_out))
    if sets < 0:
        return
    target = dx if sets == 1 else matrix(spare, 0, rows, d_in)
    if d_out == 1:
        inputs_of_one(dout, W, target)
    else:
        inputs(dout, W, target, op[NEEDED_FROM])
    if sets == 0:
        accumulate(target, dx, 0)


# -- normalisation: see `normalization` ------------------------------------------------------------------------------


@njit(**OPERATION)
def batch_norm_step_forward(op, constant, values, parameters, buffers, work, rows, training, key):
    """out = gain hat + shift, with what is fused"""
    x, out = value_of(work, values, op[SOURCE], rows), value_of(work, values, op[RESULT], rows)
    width = x.shape[1]
    gain, shift = part(parameters, op[WEIGHT], width), part(parameters, op[BIAS], width)
    mean, var = part(buffers, op[BUFFERS], width), part(buffers, op[BUFFERS] + width, width)
    columns = matrix(work, op[SCRATCH], 5, width)
    other = value_of(work, values, op[SOURCE_2], rows if op[FUSES_ADD] else 0)
    if training:
        batch_norm_statistics(x, columns, mean, var, constant[1], constant[0])
    else:
        batch_norm_by_running(columns, mean, var, constant[0])
    keep = np.int32(constant[2]) if training else np.int32(KEEP_ALL)
    batch_norm_forward(x, gain, shift, columns, other, out, op[FUSES_RELU], key, op[LAYER], keep)


@njit(**OPERATION)
def batch_norm_step_backward(op, constant, values, parameters, gradient, work, rows, key, spare):
    """See `batch_norm_backward`"""
    x, dx = value_of(work, values, op[SOURCE], rows), gradient_of(work, values, op[SOURCE], rows)
    out, dout = value_of(work, values, op[RESULT], rows), gradient_of(work, values, op[RESULT], rows)
    width, sets = x.shape[1], op[SETS_GRADIENT]
    columns = matrix(work, op[SCRATCH], 5, width)
    dgain, dshift = part(gradient, op[WEIGHT], width), part(gradient, op[BIAS], width)
    target = matrix(spare, 0, rows, width) if sets == 0 else dx
    batch_norm_backward(
        dout, x, out, columns, dgain, dshift, target, sets >= 0, op[FUSES_RELU], np.int32(constant[2])
    )  # fmt: skip
    if sets == 0:
        accumulate(target, dx, sets)


@njit(**OPERATION)
def layer_norm_step_forward(op, constant, values, parameters, buffers, work, rows, training, key):
    """out = gain hat + shift"""
    x, out = value_of(work, values, op[SOURCE], rows), value_of(work, values, op[RESULT], rows)
    width = x.shape[1]
    gain, shift = part(parameters, op[WEIGHT], width), part(parameters, op[BIAS], width)
    hat, inverse = matrix(work, op[SCRATCH], rows, width), part(work, op[SCRATCH] + rows * width, rows)
    layer_norm_forward(x, gain, shift, hat, inverse, out, constant[0])


@njit(**OPERATION)
def layer_norm_step_backward(op, constant, values, parameters, gradient, work, rows, key, spare):
    """See `layer_norm_backward`"""
    dx, dout = gradient_of(work, values, op[SOURCE], rows), gradient_of(work, values, op[RESULT], rows)
    width = dout.shape[1]
    gain, dgain = part(parameters, op[WEIGHT], width), part(gradient, op[WEIGHT], width)
    hat, inverse = matrix(work, op[SCRATCH], rows, width), part(work, op[SCRATCH] + rows * width, rows)
    layer_norm_backward(dout, hat, inverse, gain, dgain, part(gradient, op[BIAS], width), dx, op[SETS_GRADIENT])


# -- dropout and addition --------------------------------------------------------------------------------------------


@njit(**OPERATION)
def dropout_forward(op, constant, values, parameters, buffers, work, rows, training, key):
    """out = x / share of kept units where kept, 0 elsewhere; in evaluation mode out = x"""
    x, out = value_of(work, values, op[SOURCE], rows), value_of(work, values, op[RESULT], rows)
    if training:
        dropout(x, out, key, op[LAYER], np.int32(constant[0]), 1)
    else:
        accumulate(x, out, 1)


@njit(**OPERATION)
def dropout_backward(op, constant, values, parameters, gradient, work, rows, key, spare):
    """dx = dout / share of kept units where kept, 0 elsewhere"""
    if op[SETS_GRADIENT] >= 0:
        dx, dout = gradient_of(work, values, op[SOURCE], rows), gradient_of(work, values, op[RESULT], rows)
        dropout(dout, dx, key, op[LAYER], np.int32(constant[0]), op[SETS_GRADIENT])


@njit(**OPERATION)
def add_forward(op, constant, values, parameters, buffers, work, rows, training, key):
    """out = x + y"""
    out = value_of(work, values, op[RESULT], rows)
    accumulate(value_of(work, values, op[SOURCE], rows), out, 1)
    accumulate(value_of(work, values, op[SOURCE_2], rows), out, 0)


@njit(**OPERATION)
def add_backward(op, constant, values, parameters, gradient, work, rows, key, spare):
    """dx = dy = dout"""
    dout = gradient_of(work, values, op[RESULT], rows)
    if op[SETS_GRADIENT] >= 0:
        accumulate(dout, gradient_of(work, values, op[SOURCE], rows), op[SETS_GRADIENT])
    if op[SETS_GRADIENT_2] >= 0:
        accumulate(dout, gradient_of(work, values, op[SOURCE_2], rows), op[SETS_GRADIENT_2])


# -- the loss ---------------------------------------------------------------------------------------------------------


@njit(**COMPILED)
def largest_of(row):
    """Return the largest number; NaN is ignored here and shows in e^x."""
    largest = row[0]
    for k in range(1, row.size):
        largest = row[k] if row[k] > largest else largest
    return largest


@njit(**COMPILED)
def loss_and_gradient(logits, targets, dlogits):
    """Return -sum_k t_k log p_k over the rows, with soft targets t; dlogits is the gradient of its mean over the rows.

    With one logit z, that of the second class, and total = t_0 + t_1: total log(1 + e^z) - z t_1, and
    total sigmoid(z) - t_1.
    """
    rows, width = logits.shape
    one, zero, per_row = logits.dtype.type(1), logits.dtype.type(0), logits.dtype.type(1 / rows)
    total_loss = 0.0
    if width == 1:
        for i in range(rows):
            z, second = logits[i, 0], targets[i, 1]
            total = targets[i, 0] + second
            e = exp(-abs(z))
            total_loss += total * ((z if z > zero else zero) + log1p(e)) - z * second
            dlogits[i, 0] = per_row * (total * (one if z > zero else e) / (one + e) - second)
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
            total += targets[i, k]
        log_partition = largest_of(logits[i]) + np.log(partition)
        for k in range(width):
            total_loss += targets[i, k] * (log_partition - logits[i, k])
            dlogits[i, k] = per_row * (total * dlogits[i, k] / partition - targets[i, k])
    return total_loss


# -- the registry ----------------------------------------------------------------------------------------------------

_ACTIVATION = OpKernels(activation_forward, activation_backward)

KERNELS: dict[str, OpKernels] = {
    "robust_scale": OpKernels(robust_scale_forward, no_backward),
    "quantile_scale": OpKernels(quantile_scale_forward, no_backward),
    "smooth_clip": OpKernels(smooth_clip_forward, no_backward),
    "piecewise_linear": OpKernels(
        piecewise_linear_forward, piecewise_linear_backward, scratch=lambda rows, d_in, d_out: (2 * rows + 1) * d_in + 1
    ),
    "embed": OpKernels(embed_forward, embed_backward),
    "periodic": OpKernels(periodic_step_forward, periodic_step_backward),
    "scale": OpKernels(scale_forward, scale_backward),
    "linear": OpKernels(linear_forward, linear_backward),
    "batch_norm": OpKernels(
        batch_norm_step_forward, batch_norm_step_backward, scratch=lambda rows, d_in, d_out: 5 * d_out
    ),
    "layer_norm": OpKernels(
        layer_norm_step_forward, layer_norm_step_backward, scratch=lambda rows, d_in, d_out: rows * (d_out + 1)
    ),
    **dict.fromkeys(ACTIVATIONS, _ACTIVATION),
    "dropout": OpKernels(dropout_forward, dropout_backward),
    "add": OpKernels(add_forward, add_backward),
}

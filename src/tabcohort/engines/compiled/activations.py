"""Activations, out = f(x), and their gradients."""

from __future__ import annotations

import math

from numba import njit

from tabcohort.engines.compiled.elementary import exp, expm1, tanh
from tabcohort.engines.compiled.jit import COMPILED, IN_ORDER, OPERATION
from tabcohort.engines.compiled.simd import flat
from tabcohort.engines.compiled.tables import KIND, RESULT, SETS_GRADIENT, SOURCE
from tabcohort.engines.compiled.values import gradient_of, value_of
from tabcohort.network.ops import OPS

RELU, LEAKY_RELU, TANH, SIGMOID, SILU, MISH, SELU = (
    OPS[name].code for name in ("relu", "leaky_relu", "tanh", "sigmoid", "silu", "mish", "selu")
)
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # of Klambauer et al. (2017)


@njit(**IN_ORDER)
def activate(kind, x, out, constant):
    """out = f(x); the constant is the slope of a leaky ReLU below zero"""
    x, out = flat(x), flat(out)
    zero, one, two = x.dtype.type(0), x.dtype.type(1), x.dtype.type(2)
    # A loop for each, which the compiler vectorizes.
    if kind == RELU:  # not a product with 0, which would be NaN for an infinite number
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
    elif kind == MISH:  # x tanh(log(1 + e^x)), with powers of e that are never infinite
        for i in range(x.size):
            e = exp(-abs(x[i]))
            top = one + two * e if x[i] > zero else e * (e + two)
            out[i] = x[i] * (top / (top + two * (e * e if x[i] > zero else one)))
    elif kind == SELU:
        scale, alpha = x.dtype.type(SELU_SCALE), x.dtype.type(SELU_ALPHA)
        for i in range(x.size):
            out[i] = scale * (x[i] if x[i] > zero else alpha * expm1(x[i]))
    else:  # GELU: x Phi(x), with Phi the normal distribution function
        for i in range(x.size):
            out[i] = x[i] * (0.5 + 0.5 * math.erf(x[i] * 0.7071067811865476))


@njit(**COMPILED)
def activate_backward(kind, x, out, dout, dx, sets, constant):
    """dx = dout f'(x), with f' in terms of out where that is shorter"""
    x, out, dout, dx = flat(x), flat(out), flat(dout), flat(dx)
    zero, one, two = x.dtype.type(0), x.dtype.type(1), x.dtype.type(2)
    if sets == 0:
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
    elif kind == MISH:  # t + x s (1 - t) (1 + t), with t = tanh(log(1 + e^x)) and s = 1 / (1 + e^-x)
        for i in range(x.size):
            e = exp(-abs(x[i]))
            top = one + two * e if x[i] > zero else e * (e + two)
            rest = two * (e * e if x[i] > zero else one)
            t, s = top / (top + rest), (one if x[i] > zero else e) / (one + e)
            dx[i] = dout[i] * (t + x[i] * s * (rest / (top + rest)) * (one + t))
    elif kind == SELU:
        scale, alpha = x.dtype.type(SELU_SCALE), x.dtype.type(SELU_ALPHA)
        for i in range(x.size):
            dx[i] = dout[i] * (scale if x[i] > zero else out[i] + scale * alpha)
    else:  # Phi(x) + x phi(x)
        for i in range(x.size):
            density = x.dtype.type(0.3989422804014327) * exp(-x.dtype.type(0.5) * x[i] * x[i])
            dx[i] = dout[i] * (0.5 + 0.5 * math.erf(x[i] * 0.7071067811865476) + x[i] * density)
    if sets == 0:
        for i in range(x.size):
            dx[i] += before[i]


@njit(**OPERATION)
def activation_forward(op, constant, values, parameters, buffers, work, rows, training, key):
    """out = f(x)"""
    activate(op[KIND], value_of(work, values, op[SOURCE], rows), value_of(work, values, op[RESULT], rows), constant[0])


@njit(**OPERATION)
def activation_backward(op, constant, values, parameters, gradient, work, rows, key, spare):
    """dx = dout f'(x)"""
    if op[SETS_GRADIENT] >= 0:
        x, dx = value_of(work, values, op[SOURCE], rows), gradient_of(work, values, op[SOURCE], rows)
        out, dout = value_of(work, values, op[RESULT], rows), gradient_of(work, values, op[RESULT], rows)
        activate_backward(op[KIND], x, out, dout, dx, op[SETS_GRADIENT], constant[0])

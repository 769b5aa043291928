"""The values of a program in the work memory of the kernels, and their gradients."""

from __future__ import annotations

from numba import njit

from tabcohort.engines.compiled.jit import COMPILED
from tabcohort.engines.compiled.simd import flat, matrix
from tabcohort.engines.compiled.tables import GRADIENT, VALUE, WIDTH


@njit(**COMPILED)
def value_of(work, values, number, rows):
    """Return a value of the program, `(rows, width)`."""
    return matrix(work, values[number, VALUE], rows, values[number, WIDTH])


@njit(**COMPILED)
def gradient_of(work, values, number, rows):
    """Return the gradient of the loss by a value, `(rows, width)`."""
    return matrix(work, values[number, GRADIENT], rows, values[number, WIDTH])


@njit(**COMPILED)
def accumulate(source, target, sets):
    """Set the target to the source, or add the source to it."""
    source, target = flat(source), flat(target)
    for i in range(source.size):
        target[i] = source[i] if sets else target[i] + source[i]

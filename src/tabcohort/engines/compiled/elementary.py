"""e^x, e^x - 1, log(1 + e), tanh and cos in steps that the compiler vectorizes; e^x is eight times as fast as in C.

Maximum relative errors over three million arguments: e^x 9e-8 in float32 and 2e-16 in float64, tanh 2e-7 and 4e-16,
e^x - 1 2e-7 and 4e-16; the absolute ones of the cosine are 3e-7 and 4e-16. NaN stays NaN, and overflow and underflow
are those of NumPy.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

from tabcohort.engines.compiled.jit import IN_ORDER

# 1 / n! for e^x, and 2 / (2 n + 1) for log((1 + s) / (1 - s)) = 2 s + 2 s^3 / 3 + ...; A and C in 32 bits, B and D
# in 64.
A2, A3, A4, A5, A6, A7 = (np.float32(1 / math.factorial(n)) for n in range(2, 8))
B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13 = (1 / math.factorial(n) for n in range(2, 14))
C1, C2, C3, C4, C5, C6, C7, C8 = (np.float32(2 / (2 * n + 1)) for n in range(1, 9))
D1, D2, D3, D4, D5, D6, D7, D8, D9, D10, D11, D12, D13, D14, D15, D16 = (2 / (2 * n + 1) for n in range(1, 17))
# (-1)^n (2 pi)^(2 n + 1) / (2 n + 1)! for sin(2 pi q) = q (E0 + E1 q^2 + ...), with E in 32 bits and F in 64.
E0, E1, E2, E3, E4, E5, E6, E7 = (
    np.float32((-1) ** n * (2 * math.pi) ** (2 * n + 1) / math.factorial(2 * n + 1)) for n in range(8)
)
F0, F1, F2, F3, F4, F5, F6, F7, F8, F9, F10, F11 = (
    (-1) ** n * (2 * math.pi) ** (2 * n + 1) / math.factorial(2 * n + 1) for n in range(12)
)
# log 2 as a number of few bits, whose integer multiples are exact, and the rest.
HIGH_32, LOW_32 = np.float32(0.693359375), np.float32(-2.12194440e-4)
HIGH_64, LOW_64 = 6.93147180369123816490e-01, 1.90821492927058770002e-10
LOG2E_32, LOG2E_64 = np.float32(1.4426950408889634), 1.4426950408889634
ONE_32, TWO_32, HALF_32, ZERO_32 = np.float32(1), np.float32(2), np.float32(0.5), np.float32(0)
MIN_32, MAX_32 = np.float32(-104), np.float32(89)  # e^x is 0, and infinite


@njit(**IN_ORDER)
def power_32(k):
    """2^k, for -126 <= k <= 127, from its bits"""
    return np.int32((k + np.int32(127)) << np.int32(23)).view(np.float32)


@njit(**IN_ORDER)
def power_64(k):
    """2^k, for -1022 <= k <= 1023, from its bits"""
    return np.int64((k + np.int64(1023)) << np.int64(52)).view(np.float64)


@njit(**IN_ORDER)
def parts_32(x):
    """Return p and k with e^x = 2^k (1 + p), |p| < 0.42; NaN becomes the lowest argument."""
    x = x if x > MIN_32 else MIN_32
    x = x if x < MAX_32 else MAX_32
    k = np.floor(x * LOG2E_32 + HALF_32)
    r = (x - k * HIGH_32) - k * LOW_32
    p = A2 + r * (A3 + r * (A4 + r * (A5 + r * (A6 + r * A7))))
    return r + r * r * p, np.int32(k)


@njit(**IN_ORDER)
def parts_64(x):
    """Return p and k with e^x = 2^k (1 + p), |p| < 0.42; NaN becomes the lowest argument."""
    x = x if x > -746.0 else -746.0
    x = x if x < 710.0 else 710.0
    k = np.floor(x * LOG2E_64 + 0.5)
    r = (x - k * HIGH_64) - k * LOW_64
    p = B7 + r * (B8 + r * (B9 + r * (B10 + r * (B11 + r * (B12 + r * B13)))))
    p = B2 + r * (B3 + r * (B4 + r * (B5 + r * (B6 + r * p))))
    return r + r * r * p, np.int64(k)


@njit(**IN_ORDER)
def exp_32(x):
    """e^x"""
    p, k = parts_32(x)
    half = k >> np.int32(1)  # 2^k as two factors, as a single one would be out of range near the ends
    y = (ONE_32 + p) * power_32(half) * power_32(k - half)
    return x if np.isnan(x) else y


@njit(**IN_ORDER)
def exp_64(x):
    """e^x"""
    p, k = parts_64(x)
    half = k >> np.int64(1)
    y = (1.0 + p) * power_64(half) * power_64(k - half)
    return x if np.isnan(x) else y


@njit(**IN_ORDER)
def tanh_32(x):
    """(1 - e^(-2 |x|)) / (1 + e^(-2 |x|)), with the sign of x"""
    e = np.float32(-2) * abs(x)
    p, k = parts_32(e if e > np.float32(-20) else np.float32(-20))
    power = power_32(k)
    e = p * power + (power - ONE_32)  # e^(-2 |x|) - 1, exact where it is small
    y = e / (TWO_32 + e)
    y = -y if x > 0 else y
    return x if np.isnan(x) else y


@njit(**IN_ORDER)
def tanh_64(x):
    """(1 - e^(-2 |x|)) / (1 + e^(-2 |x|)), with the sign of x"""
    e = -2.0 * abs(x)
    p, k = parts_64(e if e > -40.0 else -40.0)
    power = power_64(k)
    e = p * power + (power - 1.0)
    y = e / (2.0 + e)
    y = -y if x > 0 else y
    return x if np.isnan(x) else y


@njit(**IN_ORDER)
def expm1_32(x):
    """e^x - 1 for x <= 0"""
    p, k = parts_32(x if x > np.float32(-20) else np.float32(-20))
    power = power_32(k)
    y = p * power + (power - ONE_32)  # exact where x is small
    return x if np.isnan(x) else y


@njit(**IN_ORDER)
def expm1_64(x):
    """e^x - 1 for x <= 0"""
    p, k = parts_64(x if x > -40.0 else -40.0)
    power = power_64(k)
    y = p * power + (power - 1.0)
    return x if np.isnan(x) else y


@njit(**IN_ORDER)
def cos_turns_32(t):
    """cos(2 pi t), as sin(2 pi q) with q from -1/4 to 1/4"""
    q = np.float32(0.25) - abs(t - np.floor(t + HALF_32))
    s = q * q
    p = E4 + s * (E5 + s * (E6 + s * E7))
    return q * (E0 + s * (E1 + s * (E2 + s * (E3 + s * p))))


@njit(**IN_ORDER)
def cos_turns_64(t):
    """cos(2 pi t), as sin(2 pi q) with q from -1/4 to 1/4"""
    q = 0.25 - abs(t - np.floor(t + 0.5))
    s = q * q
    p = F6 + s * (F7 + s * (F8 + s * (F9 + s * (F10 + s * F11))))
    return q * (F0 + s * (F1 + s * (F2 + s * (F3 + s * (F4 + s * (F5 + s * p))))))


@njit(**IN_ORDER)
def log1p_32(e):
    """log(1 + e) for 0 <= e <= 1, as 2 artanh(s)"""
    s = e / (TWO_32 + e)
    q = s * s
    p = C5 + q * (C6 + q * (C7 + q * C8))
    return TWO_32 * s + s * q * (C1 + q * (C2 + q * (C3 + q * (C4 + q * p))))


@njit(**IN_ORDER)
def log1p_64(e):
    """log(1 + e) for 0 <= e <= 1, as 2 artanh(s)"""
    s = e / (2.0 + e)
    q = s * s
    p = D11 + q * (D12 + q * (D13 + q * (D14 + q * (D15 + q * D16))))
    p = D6 + q * (D7 + q * (D8 + q * (D9 + q * (D10 + q * p))))
    return 2.0 * s + s * q * (D1 + q * (D2 + q * (D3 + q * (D4 + q * (D5 + q * p)))))


def by_width(of_32, of_64):
    """Return a function of a number of either width, chosen by its type: at run time in plain Python, else by Numba."""

    def function(x):
        return of_32(x) if isinstance(x, np.float32) else of_64(x)

    @overload(function, inline="never")
    def chosen(x):
        if x == types.float32:
            return lambda x: of_32(x)
        return lambda x: of_64(x)

    return function


cos_turns = by_width(cos_turns_32, cos_turns_64)
exp = by_width(exp_32, exp_64)
expm1 = by_width(expm1_32, expm1_64)
log1p = by_width(log1p_32, log1p_64)
tanh = by_width(tanh_32, tanh_64)

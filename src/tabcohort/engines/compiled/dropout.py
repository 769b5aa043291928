"""Dropout: masks from an integer hash, the same as those of `tabcohort.engines.torch_loop.HashedDropout`."""

from __future__ import annotations

import numpy as np
from numba import njit

from tabcohort.engines.compiled.jit import COMPILED
from tabcohort.engines.compiled.simd import flat, part
from tabcohort.network.ops import KEEP_UNITS

KEEP_ALL = KEEP_UNITS
BITS_AT_ONCE = 1024  # elements whose bits stay in the cache while they are used


@njit(**COMPILED)
def low_32(word):
    """The low half of 64 bits; products are computed in 64 bits so that plain Python sees no overflow."""
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
def mask_bits(words, key, layer, place):
    """Return 15 bits for each element of a layer from flat index `place` on, as many as `words` can hold."""
    start = low_32(np.uint64(key) + np.uint64(layer) * np.uint64(0x9E3779B9) + np.uint64(place // 2))
    high = low_32(np.uint64(key) >> np.uint64(32))
    for pair in range(words.size):
        word = hash_32(np.uint32(low_32(np.uint64(pair) + np.uint64(start)) ^ high))
        words[pair] = word & np.uint32(0x7FFF7FFF)
    return words.view(np.int16)[place % 2 :]


@njit(**COMPILED)
def dropout_scale(x, keep):
    """1 / share of kept units, in the dtype of x"""
    return x.dtype.type(KEEP_ALL / keep if keep > 0 else 0)


@njit(**COMPILED)
def dropout(x, out, key, layer, keep, sets):
    """out = x / share of kept units where kept, 0 elsewhere; the backward pass is the same with the gradients"""
    x, out = flat(x), flat(out)
    scale, zero = dropout_scale(x, keep), x.dtype.type(0)
    words = np.empty(BITS_AT_ONCE // 2, np.uint32)
    for start in range(0, x.size, BITS_AT_ONCE):
        bits = mask_bits(words, key, layer, start)
        size = min(BITS_AT_ONCE, x.size - start)
        source, target = part(x, start, size), part(out, start, size)
        for i in range(size):
            kept = source[i] * (scale if bits[i] < keep else zero)
            target[i] = kept if sets else target[i] + kept

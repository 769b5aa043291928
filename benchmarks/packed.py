"""What sharing weights between members, as TabM does, could save at most: matrix products beside each other.

    make packed

Members that share their weights (Gorishniy, Kotelnikov & Babenko 2025) are one product of all members' batches; ours
have weights of their own, and are a product each. The ratio is the most that packing could save of the time of a layer,
without the scales of each member that it needs in turn. One thread, CPU time, best of nine in turn.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numba import njit

from tabcohort.engines.compiled.jit import IN_ORDER
from tabcohort.engines.compiled.matmul import product

BATCH, REPEATS, OPERATIONS = 128, 9, 4e8
LAYERS = ((30, 128), (128, 64), (250, 128))  # inputs and outputs
MEMBERS = (4, 16)
KERNEL = {**IN_ORDER, "forceinline": False, "no_cpython_wrapper": False}


@njit(**KERNEL)
def shared(x: Any, W: Any, b: Any, out: Any, n: int) -> None:
    """Multiply the batches of all members with the weights of the first, n times."""
    for _ in range(n):
        product(x, W[0], b[0], out)


@njit(**KERNEL)
def separate(x: Any, W: Any, b: Any, out: Any, n: int) -> None:
    """Multiply each member's batch with its weights, n times."""
    rows = x.shape[0] // W.shape[0]
    for _ in range(n):
        for member in range(W.shape[0]):
            part = slice(member * rows, (member + 1) * rows)
            product(x[part], W[member], b[member], out[part])


def cpu_seconds(kernel: Any, *arrays: Any) -> float:
    """Return the CPU time of a call."""
    began = time.process_time()
    kernel(*arrays)
    return time.process_time() - began


def main() -> None:
    """Measure layers of the presets' networks."""
    print("| layer | members | shared / separate |\n|---|---:|---:|")
    rng = np.random.default_rng(0)
    for d_in, d_out in LAYERS:
        for members in MEMBERS:
            x, W = (rng.normal(size=size).astype("f4") for size in ((members * BATCH, d_in), (members, d_in, d_out)))
            b, out = np.zeros((members, d_out), "f4"), np.empty((members * BATCH, d_out), "f4")
            n = max(1, int(OPERATIONS / (out.size * d_in)))
            taken: dict[Any, list[float]] = {kernel: [] for kernel in (shared, separate)}
            for kernel in (shared, separate) * (REPEATS + 1):  # the first call compiles
                taken[kernel].append(cpu_seconds(kernel, x, W, b, out, n))
            ratio = min(taken[shared]) / min(taken[separate])
            print(f"| {d_in} x {d_out} | {members} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()

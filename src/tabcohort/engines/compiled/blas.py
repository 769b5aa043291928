"""The number of threads that BLAS uses for matrix products."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import OpenBLASController, ThreadpoolController

_LOCK = threading.Lock()
_n_inside = 0  # threads that are in `one_blas_thread`
_limiter: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run matrix products on one thread: members share the cores, and two BLAS threads under load are far slower.

    The limit applies to the whole process: the first thread to come sets it, the last to leave restores it.
    """
    global _n_inside, _limiter
    with _LOCK:
        if not _n_inside:
            _free_control()
            _limiter = _libraries().limit(limits=1, user_api="blas")
        _n_inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _n_inside -= 1
            if not _n_inside:
                _free_control()
                _limiter.restore_original_limits()
                _free_control()


def _free_control() -> None:
    """Let the thread that comes next set OpenBLAS's number of threads, which threadpoolctl reserves for the first."""
    OpenBLASController.clear_controlling_thread(force=True)


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()

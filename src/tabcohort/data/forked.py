"""A process that was forked after polars was used: it lacks polars' threads, and would wait for them forever."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from tabcohort.errors import TableError

_THREADS = Path("/proc/self/task")  # on Linux; elsewhere new processes are not forked unless asked for
_had_threads = False  # at the last fork, whether polars had threads here, or had lost them
_lost_threads = False


def require_polars_threads() -> None:
    """Raise `TableError` in a process that was forked after polars had started its threads, as it would hang."""
    if _lost_threads:
        raise TableError(
            "a process that is forked after a table was read can use arrays of numbers only, and no files, frames or "
            "cells of text; start it by multiprocessing.get_context('spawn') or joblib's backend 'loky' instead"
        )


def _before_fork() -> None:
    global _had_threads
    _had_threads = _lost_threads or ("polars" in sys.modules and _polars_has_threads())


def _after_fork() -> None:
    global _lost_threads
    _lost_threads = _had_threads


def _polars_has_threads() -> bool:
    """Return whether the threads of polars' pool, called polars-0 and so on, run in this process."""
    for name in _THREADS.glob("*/comm"):
        with suppress(OSError):  # the thread has just ended
            if re.match(rb"polars-\d", name.read_bytes()):
                return True
    return False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)

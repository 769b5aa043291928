"""Machine code that Numba keeps on disk, where there is room: a full disk costs time, and never a result."""

from __future__ import annotations

import functools
import warnings
from contextlib import suppress
from typing import Any

from numba import config
from numba.core.caching import FunctionCache

from tabcohort.errors import TabcohortWarning


class LenientCache(FunctionCache):
    """Numba's files of a function's machine code, which may be missing, damaged or impossible to write."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the code for a signature, or None if there is none that can be read."""
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception:  # unpickling a file that was cut off raises any
            with suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]  # what is compiled now takes its place
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code for a signature.

        Warns:
            TabcohortWarning: it cannot be written.
        """
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except OSError as error:
            _warn(f"machine code cannot be kept in {self.cache_path!r} ({error.strerror}): it is compiled each time")


@functools.cache
def _warn(message: str) -> None:
    """Warn once, and not for each function."""
    warnings.warn(message, TabcohortWarning, stacklevel=2)


def kept(kernel: Any) -> Any:
    """Keep the machine code of a function that Numba compiles, if Numba finds a folder for it, and return the function.

    Args:
        kernel: what `numba.njit` returns.
    """
    if not config.DISABLE_JIT:  # type: ignore[attr-defined]
        with suppress(RuntimeError):  # there is none: neither beside its file nor in the user's cache
            kernel._cache = LenientCache(kernel.py_func)  # type: ignore[no-untyped-call]
    return kernel

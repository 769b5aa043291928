"""Machine code that Numba keeps on disk, where there is room: a full disk costs time, and never a result."""

from __future__ import annotations

import functools
import warnings
from contextlib import suppress
from pathlib import Path
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
            self._forget()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code for a signature.

        Warns:
            TabcohortWarning: it cannot be written.
        """
        try:
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]
        except OSError as error:
            self._forget()
            _warn(
                f"machine code cannot be written to {self.cache_path!r} ({error.strerror}): functions are compiled in "
                "every process; free space there, or let NUMBA_CACHE_DIR name another folder"
            )

    def _forget(self) -> None:
        """Remove the index: it may be damaged, or name a file of older code, which could not be replaced."""
        with suppress(OSError):
            Path(self._cache_file._index_path).unlink(missing_ok=True)


@functools.cache
def _warn(message: str) -> None:
    """Warn once, and not for each function."""
    warnings.warn(message, TabcohortWarning, stacklevel=2)


def cached(kernel: Any) -> Any:
    """Keep the machine code of a function that Numba compiles, if Numba finds a folder for it, and return the function.

    Args:
        kernel: what `numba.njit` returns.
    """
    if not config.DISABLE_JIT:  # type: ignore[attr-defined]
        with suppress(RuntimeError):  # there is none: neither beside its file nor in the user's cache
            kernel._cache = LenientCache(kernel.py_func)  # type: ignore[no-untyped-call]
    return kernel

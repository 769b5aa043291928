"""How functions here are compiled: once, kept on disk, and letting go of Python's lock while they run on all cores."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
from numba import config, njit

from tabcohort.errors import EngineError, TabcohortWarning

# Full fast-math is left out on purpose: it would let the compiler assume that no number is NaN, and a training that
# diverges must be seen.
COMPILED: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    # Only what Python calls needs to be callable from there; the wrappers of all others would take two seconds.
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
# Without 'reassoc' sums are in the order written down, in a vector's lanes and in plain loops alike. A function keeps
# its own rules inside kernels with others, and is a part of each: were it a function of its own, the first kernel to
# be loaded would bring the copy that all use.
IN_ORDER = {**COMPILED, "fastmath": {"contract", "nsz"}, "forceinline": True}


COMPILING_FOR_ANOTHER = "TABCOHORT_COMPILING_FOR_ANOTHER"  # in the environment of a process that does nothing else


def can_be_kept() -> bool:
    """Return whether Numba finds a folder to keep machine code in: beside this file, or in the user's cache."""
    try:
        njit(cache=True)(can_be_kept)
    except RuntimeError:
        return False
    return True


# For what Python calls; what that calls is kept with it.
KEPT = {"cache": can_be_kept(), "no_cpython_wrapper": False, "no_cfunc_wrapper": False, "forceinline": False}


def n_cores() -> int:
    """Return on how many cores this process may run: fewer than the machine has, in many containers and batch jobs."""
    if hasattr(os, "sched_getaffinity"):  # on Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_PREPARED: set[tuple[Any, str]] = set()  # functions and variants that this process has looked after


def prepare(kernel: Any, variant: str) -> bool:
    """See to it, before a kernel's first call, that no machine code of other sources is used.

    Numba itself looks only at the file that the kernel is in, not at those of the functions that it calls.

    Args:
        kernel: a compiled function.
        variant: what tells apart the types that it is called with.

    Returns:
        Whether the kernel will be compiled for the first time on this machine, and kept.

    Raises:
        EngineError: there is code of other sources, and it cannot be removed.

    Warns:
        TabcohortWarning: it will be compiled, which takes a while.
    """
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return False
    if (kernel.py_func, variant) in _PREPARED:
        return False
    _PREPARED.add((kernel.py_func, variant))
    name = f"{Path(kernel.py_func.__code__.co_filename).stem}.{kernel.py_func.__qualname__}"
    if not KEPT["cache"]:
        message = "compiling kernels; there is no folder to keep them in (NUMBA_CACHE_DIR may name one)"
        warnings.warn(message, TabcohortWarning, stacklevel=3)
        return False
    if _is_kept(Path(kernel.stats.cache_path), name, variant) or COMPILING_FOR_ANOTHER in os.environ:
        return False
    warnings.warn("compiling kernels, once for this installation: about twenty seconds", TabcohortWarning, stacklevel=3)
    return True


def _is_kept(folder: Path, name: str, variant: str) -> bool:
    """Return whether a folder has a kernel's code, of these sources and for this machine; remove code of others."""
    stamp = folder / f"{name}.sources"
    variant = f"{variant}-{sys.implementation.cache_tag}-{numba.__version__}-{llvmlite.binding.get_host_cpu_name()}"
    try:
        digest, *variants = stamp.read_text(encoding="ascii").split()
    except (OSError, ValueError):  # it is missing, or was cut off
        digest, variants = "", []
    if digest != _digest_of_sources():
        try:
            for old in folder.glob(f"{name}-*.nbi"):
                old.unlink(missing_ok=True)
        except OSError as error:
            raise EngineError(
                f"{str(folder)!r} has machine code of another version, which cannot be removed ({error.strerror}); "
                "remove the folder, or let NUMBA_CACHE_DIR name another"
            ) from None
        variants = []
    if variant in variants and any(folder.glob(f"{name}-*.nbi")):
        return True
    with suppress(OSError):  # without a stamp the next process compiles again, no more
        folder.mkdir(parents=True, exist_ok=True)
        temporary = stamp.with_suffix(f".{os.getpid()}")
        temporary.write_text(" ".join([_digest_of_sources(), *{*variants, variant}]), encoding="ascii")
        os.replace(temporary, stamp)  # whole or not at all, as other processes read it
    return False


@functools.cache
def _digest_of_sources() -> str:
    """Return a digest of the files whose functions are compiled, and of all others beside them."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

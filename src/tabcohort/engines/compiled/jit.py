"""How kernels are compiled: once, kept on disk, and releasing Python's lock while they run on all cores."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
from numba import config, njit

from tabcohort.errors import EngineError, TabcohortWarning
from tabcohort.network import ops, trees

# Not full fast-math: it would let the compiler assume that no number is NaN, and a training that diverges must show.
COMPILED: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
    # Only what Python calls needs a wrapper; those of all other functions would take two seconds to compile.
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
# Without 'reassoc' sums have the order in which they are written, in vector lanes and in plain loops alike. A function
# keeps its own flags when it is inlined, and is inlined everywhere: otherwise the first kernel to be loaded would bring
# the copy that all others use.
IN_ORDER = {**COMPILED, "fastmath": {"contract", "nsz"}, "forceinline": True}
# For functions that are called in one place: compiled by themselves, they would take seconds more.
INLINED = {**COMPILED, "inline": "always"}


COMPILING_FOR_ANOTHER = "TABCOHORT_COMPILING_FOR_ANOTHER"  # set for a process that only compiles
SECONDS_TO_COMPILE = 300


def can_be_kept() -> bool:
    """Return whether Numba finds a folder to keep machine code in: beside this file, or in the user's cache."""
    try:
        njit(cache=True)(can_be_kept)
    except RuntimeError:
        return False
    return True


# For functions that Python calls; what these call is kept with them.
KEPT = {"cache": can_be_kept(), "no_cpython_wrapper": False, "no_cfunc_wrapper": False, "forceinline": False}


def n_cores() -> int:
    """Return the number of cores that this process may use: fewer than the machine has, in many containers."""
    if hasattr(os, "sched_getaffinity"):  # on Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_CHECKED: set[tuple[Any, str]] = set()  # functions and variants that this process has checked
_ANNOUNCED: set[str] = set()  # what it has said of them


def ensure_compiled(
    kernel: Any, variant: str, use: str, takes: str = "twenty seconds", elsewhere: bool = False
) -> None:
    """Before a kernel's first call, discard machine code of other sources, and compile if there is none.

    Numba itself looks only at the file that the kernel is in, not at those of the functions that it calls.

    Args:
        kernel: a compiled function.
        variant: what distinguishes the types that it is called with.
        use: what it does, for people: several kernels may be compiled one after another.
        takes: how long compiling it takes.
        elsewhere: whether all kernels are compiled in other processes first; otherwise the first call compiles.

    Raises:
        EngineError: there is code of other sources that cannot be removed.

    Warns:
        TabcohortWarning: the kernel will be compiled, which takes a while.
    """
    if config.DISABLE_JIT or (kernel.py_func, variant) in _CHECKED:  # type: ignore[attr-defined]
        return
    _CHECKED.add((kernel.py_func, variant))
    name = f"{Path(kernel.py_func.__code__.co_filename).stem}.{kernel.py_func.__qualname__}"
    if not KEPT["cache"]:
        _announce("compiling kernels; there is no folder to keep them in (NUMBA_CACHE_DIR may name one)")
    elif kernel.stats.cache_path is None:
        _announce(f"compiling kernels for {use}, in every process, as operations were added: about {takes}")
    elif not _is_kept(Path(kernel.stats.cache_path), name, variant) and COMPILING_FOR_ANOTHER not in os.environ:
        _announce(f"compiling kernels for {use}, once for this installation: about {takes}")
        if elsewhere:
            _compile_elsewhere(variant)


def _announce(message: str) -> None:
    """Warn of what will take a while, once in a process."""
    if message not in _ANNOUNCED:
        _ANNOUNCED.add(message)
        warnings.warn(message, TabcohortWarning, stacklevel=4)


def _compile_elsewhere(dtype: str) -> None:
    """Compile the kernels in two processes side by side, so that this one loads them from disk like all later ones.

    A process that compiles has also compiled the kernel's parts by themselves and would use those, which may round
    differently: its results would differ in the last bits from those of every later run. Two processes also take less
    time: what predicts is a quarter of the work. Without garbage collection the rest takes 0.85 of the time, and half
    as much memory again, 450 MB. If they fail, this process compiles.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return
    # The modules of this process, and none that happen to be in its working folder.
    path = os.pathsep.join(folder for folder in sys.path if folder and Path(folder).is_absolute())
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONINSPECT": "", COMPILING_FOR_ANOTHER: "1", "NUMBA_OPT": "2"}
    nowhere = subprocess.DEVNULL
    with suppress(OSError, subprocess.SubprocessError), ExitStack() as running:
        for module in ("engine", "inference"):
            imported = f"from tabcohort.engines.compiled.{module} import compile_kernels"
            code = f"import gc; gc.disable(); {imported}; compile_kernels({dtype!r})"
            command = [sys.executable, "-P", "-c", code]
            process = subprocess.Popen(command, env=environment, stdin=nowhere, stdout=nowhere, stderr=nowhere)
            running.callback(process.kill)
            running.callback(process.wait, SECONDS_TO_COMPILE)


def _is_kept(folder: Path, name: str, variant: str) -> bool:
    """Return whether a folder has a kernel's code of these sources and for this machine; remove code of others."""
    stamp = folder / f"{name}.sources"
    variant = f"{variant}-{sys.implementation.cache_tag}-{numba.__version__}-{llvmlite.binding.get_host_cpu_name()}"
    try:
        digest, *variants = stamp.read_text(encoding="ascii").split()
    except (OSError, ValueError):  # it is missing or cut off
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
    with suppress(OSError):  # without a stamp the next process only compiles again
        folder.mkdir(parents=True, exist_ok=True)
        temporary = stamp.with_suffix(f".{os.getpid()}")
        temporary.write_text(" ".join([_digest_of_sources(), *{*variants, variant}]), encoding="ascii")
        os.replace(temporary, stamp)  # at once, as other processes may read it
    return False


@functools.cache
def _digest_of_sources() -> str:
    """Return a digest of the files whose functions are compiled, and of those whose constants these have."""
    files = [*sorted(Path(__file__).parent.glob("*.py")), Path(ops.__file__), Path(trees.__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

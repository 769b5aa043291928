"""How kernels are compiled: once, kept on disk, and releasing Python's lock while they run on all cores."""

from __future__ import annotations

import functools
import gc
import hashlib
import importlib
import json
import os
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
from numba import config, njit

from tabcohort import machine_code
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
    # A function keeps its own flags when it is inlined, and is inlined everywhere: otherwise the first kernel to be
    # loaded would bring the copy that all others use.
    "forceinline": True,
}
# Without 'reassoc' sums have the order in which they are written, in vector lanes and in plain loops alike.
IN_ORDER = {**COMPILED, "fastmath": {"contract", "nsz"}}


COMPILING_FOR_ANOTHER = "TABCOHORT_COMPILING_FOR_ANOTHER"  # set for a process that only compiles
SECONDS_TO_COMPILE = 300
MAX_PROCESSES = 4  # that compile side by side; each takes 450 MB


def can_be_kept() -> bool:
    """Return whether Numba finds a folder to keep machine code in: beside this file, or in the user's cache."""
    try:
        njit(cache=True)(can_be_kept)
    except RuntimeError:
        return False
    return True


# For functions that are called by their address, or by Python; what these call is kept with them.
_BY_ADDRESS = {"cache": can_be_kept(), "forceinline": False}
OPERATION, PREDICTING = {**COMPILED, **_BY_ADDRESS}, {**IN_ORDER, **_BY_ADDRESS}
KEPT = {**_BY_ADDRESS, "no_cpython_wrapper": False, "no_cfunc_wrapper": False}


def n_cores() -> int:
    """Return the number of cores that this process may use: fewer than the machine has, in many containers."""
    if hasattr(os, "sched_getaffinity"):  # on Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Job:
    """A kernel that has to be there before something runs.

    Args:
        kernel: a compiled function.
        variant: what distinguishes the types that it is called with.
        command: module, function and arguments that another process compiles it by.
    """

    kernel: Any
    variant: str
    command: tuple[str, ...]

    @property
    def key(self) -> tuple[Any, str]:
        """What it is known by in this process."""
        return self.kernel.py_func, self.variant

    @property
    def name(self) -> str:
        """Of the files that Numba keeps its code in, up to a hyphen."""
        function = self.kernel.py_func
        return f"{Path(function.__code__.co_filename).stem}.{function.__qualname__}"

    @property
    def folder(self) -> Path:
        """Where its code is kept."""
        return Path(self.kernel.stats.cache_path)

    @property
    def stamp(self) -> Path:
        """The file that names the sources of its code."""
        return self.folder / f"{self.name}.sources"


_CHECKED: set[tuple[Any, str]] = set()  # functions and variants that this process has checked
_ANNOUNCED: set[str] = set()  # what it has said of them
_CHECKING = threading.RLock()  # other threads wait until the kernels are compiled


def ensure_compiled(jobs: Iterable[Job], use: str, takes: str = "ten seconds") -> None:
    """Before kernels are called first, discard machine code of other sources, and compile those without code.

    Numba itself looks only at the file that a kernel is in, not at those of the functions that it calls.

    Args:
        jobs: the kernels.
        use: what they do, for people: several kernels may be compiled one after another.
        takes: how long compiling them all takes.

    Raises:
        EngineError: there is code of other sources that cannot be removed.

    Warns:
        TabcohortWarning: kernels will be compiled, which takes a while.
    """
    jobs = list(jobs)
    if config.DISABLE_JIT or all(job.key in _CHECKED for job in jobs):  # type: ignore[attr-defined]
        return
    with _CHECKING:
        unchecked = [job for job in jobs if job.key not in _CHECKED]
        if not KEPT["cache"]:
            _announce("compiling kernels; there is no folder to keep them in (NUMBA_CACHE_DIR may name one)")
        elif any(job.kernel.stats.cache_path is None for job in unchecked):
            _announce(f"compiling kernels for {use}, in every process, as operations were added")
        kept = [job for job in unchecked if KEPT["cache"] and job.kernel.stats.cache_path is not None]
        if COMPILING_FOR_ANOTHER not in os.environ:
            for job in kept:
                machine_code.cached(job.kernel)
        missing = [job for job in kept if not _has_code(job)]
        if missing and COMPILING_FOR_ANOTHER not in os.environ:
            _announce(f"compiling kernels for {use}, once for this installation: about {takes}")
            _compile_elsewhere([job.command for job in missing])
        for job in missing:  # also what this process will compile itself
            _write_stamp(job)
        _CHECKED.update(job.key for job in unchecked)


def _announce(message: str) -> None:
    """Warn of what will take a while, once in a process."""
    if message not in _ANNOUNCED:
        _ANNOUNCED.add(message)
        warnings.warn(message, TabcohortWarning, stacklevel=4)


# -- processes that compile ------------------------------------------------------------------------------------------


def _compile_elsewhere(commands: Sequence[tuple[str, ...]]) -> None:
    """Compile kernels in processes side by side, so that this one loads them from disk like all later ones.

    Without garbage collection compiling takes 0.85 of the time, and half as much memory again. Kernels that no process
    compiled, as there was too little memory, are compiled in this one.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return
    remaining, processes = deque(commands), list[Any]()

    def work() -> None:
        with suppress(OSError, ValueError), _worker_process() as process:
            processes.append(process)
            while remaining:
                with suppress(IndexError):  # another thread took the last one
                    command = remaining.popleft()
                    if not _compiled(command, process):
                        break

    n_processes = min(len(commands), n_cores(), MAX_PROCESSES)
    threads = [threading.Thread(target=work, daemon=True) for _ in range(n_processes)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:  # Ctrl-C: nothing is compiled any more
        remaining.clear()
        for process in processes:
            process.kill()
        raise


@contextmanager
def _worker_process() -> Iterator[Any]:
    # The modules of this process, and none that happen to be in its working folder.
    path = os.pathsep.join(folder for folder in sys.path if folder and Path(folder).is_absolute())
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONINSPECT": "", COMPILING_FOR_ANOTHER: "1", "NUMBA_OPT": "2"}
    command = [sys.executable, "-P", "-c", f"from {__name__} import run_worker; run_worker()"]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=nowhere, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _compiled(command: tuple[str, ...], process: Any) -> bool:
    """Return whether a process compiled a kernel; after `SECONDS_TO_COMPILE` it is ended."""
    timer = threading.Timer(SECONDS_TO_COMPILE, process.kill)
    timer.daemon = True
    timer.start()
    try:
        process.stdin.write(json.dumps(command) + "\n")
        process.stdin.flush()
        return bool(process.stdout.readline())
    finally:
        timer.cancel()


def run_worker() -> None:
    """Compile what each line of standard input names, a JSON list of module, function and arguments; answer each."""
    gc.disable()
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no answer
    for line in sys.stdin:
        module, function, *arguments = json.loads(line)
        getattr(importlib.import_module(module), function)(*arguments)
        print("compiled", file=answers, flush=True)


# -- code on disk ----------------------------------------------------------------------------------------------------


def _has_code(job: Job) -> bool:
    """Return whether there is a kernel's code of these sources and for this machine; remove code of others."""
    digest, variants = _read_stamp(job)
    code = list(job.folder.glob(f"{job.name}-*.nbi"))
    if digest != _digest_of_sources():
        try:
            for old in code:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise EngineError(
                f"{str(job.folder)!r} has machine code of another version, which cannot be removed ({error.strerror}); "
                "remove the folder, or let NUMBA_CACHE_DIR name another"
            ) from None
        return False
    return bool(code) and _variant_here(job) in variants


def _variant_here(job: Job) -> str:
    return f"{job.variant}-{sys.implementation.cache_tag}-{numba.__version__}-{llvmlite.binding.get_host_cpu_name()}"


def _read_stamp(job: Job) -> tuple[str, list[str]]:
    """Return the digest of the sources that code on disk is of, and the variants that there are."""
    try:
        digest, *variants = job.stamp.read_text(encoding="ascii").split()
    except (OSError, ValueError):  # it is missing or cut off
        return "", []
    return digest, variants


def _write_stamp(job: Job) -> None:
    """Note that there is a kernel's code of these sources and for this machine, or soon will be."""
    digest, variants = _read_stamp(job)
    known = variants if digest == _digest_of_sources() else []
    with suppress(OSError):  # without a stamp the next process only compiles again
        job.folder.mkdir(parents=True, exist_ok=True)
        temporary = job.stamp.with_suffix(f".{os.getpid()}")
        temporary.write_text(" ".join([_digest_of_sources(), *{*known, _variant_here(job)}]), encoding="ascii")
        os.replace(temporary, job.stamp)  # at once, as other processes may read it


@functools.cache
def _digest_of_sources() -> str:
    """Return a digest of the files whose functions are compiled, and of those whose constants these have."""
    files = [*sorted(Path(__file__).parent.glob("*.py")), Path(ops.__file__), Path(trees.__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

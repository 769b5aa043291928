"""Code that cannot be kept is compiled again, and code that cannot be read, too: neither is an error."""

from __future__ import annotations

import errno
import importlib.util
import os
import runpy
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numba
import pytest
from numba.core.caching import FunctionCache, IndexDataCacheFile

from tabcohort import TabcohortWarning, machine_code

FULL = """
import resource, sys, warnings
sys.dont_write_bytecode = True
resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, resource.RLIM_INFINITY))
from tabcohort.engines.compiled import inference, jit
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    jit.ensure_compiled([inference.job_of_trees()], "trees")
    inference.compile_trees()
messages = [str(warning.message) for warning in warned if "written" in str(warning.message)]
print(len(inference.run_trees.overloads), *(message.split(" (")[1][:40] for message in messages))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX")
def test_on_a_full_disk_kernels_are_compiled_and_a_warning_says_that_they_are_not_kept(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "code")}
    ran = subprocess.run([sys.executable, "-c", FULL], env=environment, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr[-2000:]) == (0, "")
    assert ran.stdout.strip() == "1 File too large): functions are compiled"


def test_each_reason_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    machine_code._warn.cache_clear()
    monkeypatch.setattr(FunctionCache, "save_overload", refuse)
    cache = machine_code.LenientCache(refuse)
    with pytest.warns(TabcohortWarning, match=r"cannot be written to '.*' \(No space left on device\)"):
        cache.save_overload(None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.save_overload(None, None)


TWICE = """
import numba
from tabcohort.machine_code import cached

@cached
@numba.njit
def twice(x):
    return 2 * x
"""


def test_code_that_was_cut_off_is_compiled_again_and_then_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "code"))
    script = tmp_path / "twice.py"
    script.write_text(TWICE, encoding="utf-8")

    def run() -> tuple[int, int]:
        twice = runpy.run_path(str(script))["twice"]
        return twice(3), sum(twice.stats.cache_hits.values())

    assert (run(), run()) == ((6, 0), (6, 1))
    for ending, n_bytes in (("nbi", 60), ("nbi", 0), ("nbc", 60), ("nbc", 0)):
        (file,) = (tmp_path / "code").rglob(f"*.{ending}")
        file.write_bytes(file.read_bytes()[:n_bytes])
        assert (run(), run()) == ((6, 0), (6, 1))


def test_code_that_could_not_be_replaced_is_not_taken_for_that_of_the_new_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "code"))
    script = tmp_path / "twice.py"
    monkeypatch.setattr(machine_code, "_warn", lambda message: None)

    def run(factor: int) -> int:
        script.write_text(TWICE.replace("2 * x", f"{factor} * x"), encoding="utf-8")
        os.utime(script, (factor, factor))  # Numba keeps the time of the file with the code
        specification = importlib.util.spec_from_file_location("twice", script)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return int(module.twice(5))

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert run(2) == 10
    with monkeypatch.context() as full:  # the small index can be written, and the code cannot
        full.setattr(IndexDataCacheFile, "_save_data", refuse)
        assert run(3) == 15
    assert run(3) == 15


def test_without_a_folder_functions_are_compiled_in_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: object) -> None:
        raise RuntimeError("no locator available")

    kernel = SimpleNamespace(py_func=none)
    monkeypatch.setattr(machine_code, "LenientCache", none)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert machine_code.cached(kernel) is kernel

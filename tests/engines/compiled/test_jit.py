"""Machine code is kept, thrown away when its sources change, and gives the same bits from the first run on."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import helpers
import pytest

from tabcohort import EngineError, TabcohortWarning
from tabcohort.engines.compiled import jit

RUN = """
import warnings
import torch
from helpers import digest_of_a_run
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    print(*(digest_of_a_run("compiled", precision=each) for each in (torch.float32, torch.float64)))
print([str(each.message) for each in told])
"""


def test_the_run_that_compiles_says_so_and_has_the_bits_of_those_that_find_the_code_kept(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", RUN]
    folder = Path(helpers.__file__).parent
    runs = [
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    (first, told), (second, silence) = (run.splitlines() for run in runs)
    assert "compiling kernels, once for this installation: about twenty seconds" in told
    assert silence == "[]"
    assert first == second


def kernel_of(folder: Path) -> Any:
    """Return what `prepare` reads of a compiled function; the code that is kept is this file's."""
    return SimpleNamespace(stats=SimpleNamespace(cache_path=str(folder)), py_func=kernel_of)


def look_after(kernel: Any, variant: str = "float32") -> bool:
    """Prepare a kernel as a new process does."""
    jit._PREPARED.clear()
    return jit.prepare(kernel, variant)


def keep_code(folder: Path) -> Path:
    """Write what stands for machine code that was kept."""
    path = folder / "test_jit.kernel_of-1.py311.nbi"
    path.write_bytes(b"code")
    return path


def test_kept_code_of_these_sources_is_used_without_a_word(tmp_path: Path) -> None:
    with pytest.warns(TabcohortWarning, match="^compiling kernels, once for this installation: about twenty seconds$"):
        look_after(kernel_of(tmp_path))
    code = keep_code(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look_after(kernel_of(tmp_path))
    assert code.exists()


def test_kept_code_of_other_sources_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(TabcohortWarning, match="compiling kernels"):
        look_after(kernel_of(tmp_path))
    code, other = keep_code(tmp_path), tmp_path / "another.kernel-1.nbi"
    other.write_bytes(b"code")
    monkeypatch.setattr(jit, "_digest_of_sources", lambda: "another digest")
    with pytest.warns(TabcohortWarning, match="compiling kernels, once for this installation"):
        look_after(kernel_of(tmp_path))
    assert not code.exists()
    assert other.exists()


def test_code_that_nobody_knows_the_sources_of_is_thrown_away(tmp_path: Path) -> None:
    code = keep_code(tmp_path)
    with pytest.warns(TabcohortWarning, match="compiling kernels"):
        look_after(kernel_of(tmp_path))
    assert not code.exists()


def test_a_kernel_is_looked_after_once_in_a_process(tmp_path: Path) -> None:
    with pytest.warns(TabcohortWarning, match="compiling kernels"):
        look_after(kernel_of(tmp_path))
    for path in tmp_path.iterdir():
        path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not jit.prepare(kernel_of(tmp_path), "float32")
    assert not list(tmp_path.iterdir())


def test_each_type_of_numbers_is_compiled_once(tmp_path: Path) -> None:
    with pytest.warns(TabcohortWarning, match="compiling kernels"):
        assert look_after(kernel_of(tmp_path))
    keep_code(tmp_path)
    with pytest.warns(TabcohortWarning, match="compiling kernels"):
        assert look_after(kernel_of(tmp_path), "float64")
    assert not look_after(kernel_of(tmp_path))
    assert not look_after(kernel_of(tmp_path), "float64")


@pytest.mark.parametrize("stamp", [b"", b"\xff\xfe", b"half a dig"])
def test_a_stamp_that_was_cut_off_is_none(tmp_path: Path, stamp: bytes) -> None:
    code = keep_code(tmp_path)
    (tmp_path / "test_jit.kernel_of.sources").write_bytes(stamp)
    with pytest.warns(TabcohortWarning, match="compiling kernels"):
        look_after(kernel_of(tmp_path))
    assert not code.exists()


def test_code_of_other_sources_that_cannot_be_removed_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool) -> None:
        raise PermissionError(13, "Permission denied")

    keep_code(tmp_path)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(EngineError, match=r"cannot be removed \(Permission denied\); remove the folder, or let NUMBA"):
        look_after(kernel_of(tmp_path))


def test_where_nothing_can_be_kept_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(jit.KEPT, "cache", False)
    with pytest.warns(
        TabcohortWarning,
        match=r"^compiling kernels; there is no folder to keep them in \(NUMBA_CACHE_DIR may name one\)$",
    ):
        look_after(kernel_of(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux lets a process choose its cores")
def test_cores_are_those_that_the_process_may_run_on() -> None:
    choose = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    command = [sys.executable, "-c", f"{choose}; from tabcohort.engines.compiled.jit import n_cores; print(n_cores())"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"
    assert jit.n_cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("machine", "n_cores"), [(6, 6), (None, 1)])
def test_where_no_cores_can_be_chosen_all_count(
    monkeypatch: pytest.MonkeyPatch, machine: int | None, n_cores: int
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: machine)
    assert jit.n_cores() == n_cores


def test_the_digest_is_of_every_file_that_is_compiled() -> None:
    """A function that is compiled in a file that the digest does not know would be used in an old version."""
    root = Path(jit.__file__).parent
    compiled = {path for path in root.rglob("*.py") if "@njit" in path.read_text(encoding="utf-8")}
    read: set[Path] = set()
    real = Path.read_bytes

    def recorded(path: Path) -> bytes:
        read.add(path)
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", recorded)
        jit._digest_of_sources.__wrapped__()
    assert compiled <= read

"""Machine code is kept, discarded when its sources change, and gives the same bits from the first run on."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tabcohort import Config, EngineError, TabcohortWarning
from tabcohort.engines.compiled import jit
from tabcohort.engines.compiled.inference import Inference
from tabcohort.network.program import Network, build_program
from tabcohort.network.trees import blank_trees

RUN = """
import hashlib, warnings
import numpy as np
import torch
from tabcohort import Config, train
rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
torch.manual_seed(0)
module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    trained = train(module, (X, X[:, 0] > 0), Config(engine="compiled", max_epochs=5))
print(hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in trained.module.parameters())).hexdigest())
print([str(warning.message) for warning in warned])
from tabcohort.engines.compiled.kernels import run_epochs
from tabcohort.engines.compiled.operations import KERNELS
kernels = [run_epochs, *(kernel for own in KERNELS.values() for kernel in (own.forward, own.backward))]
for name in ("cache_hits", "cache_misses"):
    print(sum(sum(getattr(kernel.stats, name).values()) for kernel in {*kernels}))
"""


def test_the_run_that_compiles_warns_and_has_the_bits_of_those_that_load_kept_code(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "code")}
    command = [sys.executable, "-c", RUN]
    runs = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout for _ in range(2)
    ]
    (first, warned, *loaded), (second, silence, *loaded_again) = (run.splitlines() for run in runs)
    assert warned == "['compiling kernels for training in float32, once for this installation: about ten seconds']"
    assert silence == "[]"
    assert first == second
    assert loaded == loaded_again
    assert loaded[1] == "0"  # it has compiled nothing itself


def kernel_of(folder: Path) -> Any:
    """Return what `ensure_compiled` reads of a compiled function; its name is that of this function."""
    return SimpleNamespace(stats=SimpleNamespace(cache_path=str(folder)), py_func=kernel_of)


def check(kernel: Any, variant: str = "float32") -> None:
    """Check a kernel's code as a new process does."""
    jit._CHECKED.clear()
    jit._ANNOUNCED.clear()
    jit.ensure_compiled([jit.Job(kernel, variant, ("module", "function", variant))], "tests", "a moment")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What other processes are told to compile; none is started."""
    told: list[Any] = []
    monkeypatch.setattr(jit, "_compile_elsewhere", told.append)
    return told


@pytest.fixture(autouse=True)
def checked_again_later() -> Iterator[None]:
    """Restore what this process has checked: the real kernels need no second look."""
    before = set(jit._CHECKED), set(jit._ANNOUNCED)
    yield
    for known, restored in zip((jit._CHECKED, jit._ANNOUNCED), before, strict=True):
        known.clear()
        known.update(restored)


def keep_code(folder: Path) -> Path:
    """Write what stands for machine code that was kept."""
    path = folder / "test_jit.kernel_of-1.py311.nbi"
    path.write_bytes(b"code")
    return path


def test_kept_code_of_these_sources_is_used_without_a_word(tmp_path: Path) -> None:
    with pytest.warns(
        TabcohortWarning, match="^compiling kernels for tests, once for this installation: about a moment$"
    ):
        check(kernel_of(tmp_path))
    code = keep_code(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(kernel_of(tmp_path))
    assert code.exists()


def test_kept_code_of_other_sources_is_discarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(TabcohortWarning, match="compiling kernels"):
        check(kernel_of(tmp_path))
    code, other = keep_code(tmp_path), tmp_path / "another.kernel-1.nbi"
    other.write_bytes(b"code")
    monkeypatch.setattr(jit, "_digest_of_sources", lambda: "another digest")
    with pytest.warns(TabcohortWarning, match="compiling kernels for tests, once for this installation"):
        check(kernel_of(tmp_path))
    assert not code.exists()
    assert other.exists()


def test_code_of_unknown_sources_is_discarded(tmp_path: Path) -> None:
    code = keep_code(tmp_path)
    with pytest.warns(TabcohortWarning, match="compiling kernels"):
        check(kernel_of(tmp_path))
    assert not code.exists()


def test_a_kernel_is_checked_once_in_a_process(tmp_path: Path) -> None:
    with pytest.warns(TabcohortWarning, match="compiling kernels"):
        check(kernel_of(tmp_path))
    for path in tmp_path.iterdir():
        path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jit.ensure_compiled([jit.Job(kernel_of(tmp_path), "float32", ())], "tests")
    assert not list(tmp_path.iterdir())


def test_each_type_of_numbers_is_compiled_once(tmp_path: Path) -> None:
    with pytest.warns(TabcohortWarning, match="compiling kernels"):
        check(kernel_of(tmp_path))
    keep_code(tmp_path)
    with pytest.warns(TabcohortWarning, match="compiling kernels"):
        check(kernel_of(tmp_path), "float64")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(kernel_of(tmp_path))
        check(kernel_of(tmp_path), "float64")


@pytest.mark.parametrize("stamp", [b"", b"\xff\xfe", b"half a dig"])
def test_a_stamp_that_was_cut_off_counts_as_missing(tmp_path: Path, stamp: bytes) -> None:
    code = keep_code(tmp_path)
    (tmp_path / "test_jit.kernel_of.sources").write_bytes(stamp)
    with pytest.warns(TabcohortWarning, match="compiling kernels"):
        check(kernel_of(tmp_path))
    assert not code.exists()


def test_code_of_other_sources_that_cannot_be_removed_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool) -> None:
        raise PermissionError(13, "Permission denied")

    keep_code(tmp_path)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(EngineError, match=r"cannot be removed \(Permission denied\); remove the folder, or let NUMBA"):
        check(kernel_of(tmp_path))


def test_kernels_of_added_operations_are_compiled_in_every_process_and_not_elsewhere(elsewhere: list[Any]) -> None:
    """Numba keeps no code of theirs, and a process that compiles for this one would not have them."""
    kernel = SimpleNamespace(stats=SimpleNamespace(cache_path=None), py_func=kernel_of)
    with pytest.warns(
        TabcohortWarning, match="^compiling kernels for tests, in every process, as operations were added$"
    ):
        check(kernel)
    assert elsewhere == []


def test_other_processes_compile_only_where_no_code_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: list[Any]
) -> None:
    with pytest.warns(TabcohortWarning, match="compiling kernels"):
        check(kernel_of(tmp_path), "float64")
    assert elsewhere == [[("module", "function", "float64")]]
    keep_code(tmp_path)
    check(kernel_of(tmp_path), "float64")
    assert len(elsewhere) == 1
    with pytest.warns(TabcohortWarning, match="compiling kernels"):
        check(kernel_of(tmp_path), "float32")  # also where another type is kept
    assert elsewhere[1:] == [[("module", "function", "float32")]]
    monkeypatch.setenv(jit.COMPILING_FOR_ANOTHER, "1")  # this one is such a process: it compiles itself
    check(kernel_of(tmp_path), "trees")
    assert len(elsewhere) == 2


class FakeWorker:
    """Stands for a process that compiles: answers each line that it is told, and ends after some."""

    def __init__(self, n_answers: int) -> None:
        self.lines: list[Any] = []
        self.n_answers = n_answers
        self.stdin = SimpleNamespace(write=lambda line: self.lines.append(json.loads(line)), flush=lambda: None)
        self.stdout = SimpleNamespace(readline=lambda: "compiled\n" if len(self.lines) <= self.n_answers else "")
        self.is_killed = False

    def kill(self) -> None:
        self.is_killed = True

    def communicate(self) -> None:
        assert self.is_killed


@pytest.mark.parametrize("n_answers", [100, 1])
def test_processes_that_compile_share_the_work_and_see_the_modules_of_this_one(
    monkeypatch: pytest.MonkeyPatch, n_answers: int
) -> None:
    monkeypatch.undo()
    started: list[FakeWorker] = []

    def start(command: list[str], env: dict[str, str], **pipes: Any) -> FakeWorker:
        assert command[-1] == "from tabcohort.engines.compiled.jit import run_worker; run_worker()"
        assert (env["PYTHONPATH"], env[jit.COMPILING_FOR_ANOTHER]) == ("/absolute", "1")
        started.append(FakeWorker(n_answers))
        return started[-1]

    monkeypatch.setattr(jit.subprocess, "Popen", start)
    monkeypatch.setattr(jit, "n_cores", lambda: 3)
    monkeypatch.setattr(sys, "path", ["", "relative", "/absolute"])
    jit._compile_elsewhere([("module", "function", str(number)) for number in range(7)])
    assert len(started) == 3
    told = sorted(line for process in started for line in process.lines)
    if n_answers == 100:
        assert told == [["module", "function", str(number)] for number in range(7)]
    else:  # a process that ends is told nothing more
        assert max(len(process.lines) for process in started) == 2


def test_a_process_compiles_what_each_line_names_and_answers_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[Any] = []
    monkeypatch.setattr(jit, "_announce", lambda *arguments: done.append(arguments))
    monkeypatch.setattr(jit.gc, "disable", lambda: done.append("no collection"))
    lines = [["tabcohort.engines.compiled.jit", "_announce", "linear", "float32"]] * 2
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(json.dumps(line) + "\n" for line in lines)))
    jit.run_worker()
    assert done == ["no collection", ("linear", "float32"), ("linear", "float32")]
    assert capsys.readouterr().out == "compiled\ncompiled\n"


def test_another_thread_waits_until_the_kernels_are_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would compile them beside the processes that do."""
    is_compiling, steps = threading.Event(), []

    def compile_slowly(commands: Any) -> None:
        is_compiling.set()
        time.sleep(0.2)
        steps.append("compiled")

    monkeypatch.setattr(jit, "_compile_elsewhere", compile_slowly)
    monkeypatch.setattr(jit, "_announce", lambda message: None)
    jobs = [jit.Job(kernel_of(tmp_path), "float32", ())]
    jit._CHECKED.clear()
    first = threading.Thread(target=jit.ensure_compiled, args=(jobs, "tests"))
    first.start()
    is_compiling.wait()
    jit.ensure_compiled(jobs, "tests")
    steps.append("second")
    first.join()
    assert steps == ["compiled", "second"]


def test_ctrl_c_ends_the_processes_that_compile_and_nothing_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    workers: list[FakeWorker] = []
    pressed = threading.Event()

    def start(*command: Any, **pipes: Any) -> FakeWorker:
        workers.append(FakeWorker(1))
        workers[-1].stdout.readline = lambda: "" if pressed.wait(20) else "compiled\n"
        return workers[-1]

    class Interrupted(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(jit.subprocess, "Popen", start)
    monkeypatch.setattr(jit.threading, "Thread", Interrupted)
    monkeypatch.setattr(jit, "_announce", lambda message: None)
    jit._CHECKED.clear()
    jobs = [jit.Job(kernel_of(tmp_path), f"variant {number}", ("m", "f", str(number))) for number in range(9)]
    with pytest.raises(KeyboardInterrupt):
        jit.ensure_compiled(jobs, "tests")
    pressed.set()
    assert all(worker.is_killed for worker in workers)
    assert not jit._CHECKED
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_kept_the_warning_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(jit.KEPT, "cache", False)
    with pytest.warns(
        TabcohortWarning,
        match=r"^compiling kernels; there is no folder to keep them in \(NUMBA_CACHE_DIR may name one\)$",
    ):
        check(kernel_of(tmp_path))
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_kept_that_is_said_once_for_all_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(jit.KEPT, "cache", False)
    jit._CHECKED.clear()
    jit._ANNOUNCED.clear()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for variant in ("float32", "float64", "trees"):
            jit.ensure_compiled([jit.Job(kernel_of(Path()), variant, ())], f"predictions in {variant}")
    assert len(warned) == 1


def test_each_kernel_says_what_it_is_for_and_how_long_it_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An ensemble of networks and trees compiles two, of which the second is no repetition of the first."""
    program = build_program(Config(model="logistic"), 1, 2)
    network = Network(program, np.zeros(program.n_parameters), np.zeros(program.n_buffers))
    monkeypatch.setattr(jit, "_has_code", lambda job: False)
    monkeypatch.setattr(jit, "_write_stamp", lambda job: None)
    jit._CHECKED.clear()
    jit._ANNOUNCED.clear()
    with pytest.warns(TabcohortWarning, match="compiling kernels") as warned:
        Inference([network, blank_trees(1, (), 1)]).logits(np.zeros((2, 1)))
    assert [str(warning.message) for warning in warned] == [
        "compiling kernels for predictions by networks in float64, once for this installation: about five seconds",
        "compiling kernels for predictions by trees, once for this installation: about two seconds",
    ]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux lets a process choose its cores")
def test_cores_are_those_that_the_process_may_use() -> None:
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
    """Otherwise an old version of a function in a file without a digest would be used."""
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

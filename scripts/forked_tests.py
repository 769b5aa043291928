"""Tests that run in forks of a process which has imported what is heavy, with another text in place of a source file.

A fork begins in no time, where a new process imports PyTorch for seconds. What a test starts as a process of its own
reads the file on the disk.
"""

from __future__ import annotations

import gc
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import pickle
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, TypeVar

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "tabcohort"
HEAVY = (
    "torch", "torch._dynamo", "numba", "scipy.special", "scipy.stats", "scipy.optimize", "scipy.sparse.csgraph",
    "sklearn.metrics", "sklearn.linear_model", "polars", "pyarrow", "hypothesis",
)  # fmt: skip
OPTIONS = ("-x", "-p", "no:cacheprovider", "--tb=short", "-q", "-W", "ignore::pytest.PytestAssertRewriteWarning")

T = TypeVar("T")


def in_fork(work: Callable[[], T], seconds: float = float("inf")) -> T | None:
    """Return what a function returns in a fork of this process; None if it crashes or takes longer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result"
        process = os.fork()
        if process == 0:
            try:
                path.with_suffix(".part").write_bytes(pickle.dumps(work()))
                path.with_suffix(".part").rename(path)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        deadline = time.monotonic() + seconds
        while os.waitpid(process, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(process, signal.SIGKILL)
                deadline = float("inf")
            time.sleep(0.01)
        return pickle.loads(path.read_bytes()) if path.exists() else None


def import_heavy() -> None:
    """Import what tests need and what is none of the package."""
    # Read when they are imported; plugins of pytest would take a second in each fork.
    os.environ.update(SCIPY_ARRAY_API="1", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    for module in HEAVY:
        importlib.import_module(module)
    gc.freeze()


def prepare_to_fork() -> None:
    """Do what each fork would do for its first test: load the kernels, collect what Hypothesis takes from modules."""
    from hypothesis import given, settings, strategies

    from tabcohort.engines.compiled.engine import compile_kernels

    settings(max_examples=1)(given(strategies.integers())(lambda number: None))()
    for dtype in ("float32", "float64"):
        compile_kernels(dtype)
    gc.freeze()


def native_threads() -> list[str]:
    """Return the names of this process's threads beside the main one, which its forks lack; on Linux only.

    Polars, for example, starts its threads with the first query, and a query in a fork would wait for them forever: no
    test file may make one while it is imported.
    """
    threads = sorted(Path("/proc/self/task").glob("*"))
    return [(thread / "comm").read_text().strip() for thread in threads if thread.name != str(os.getpid())]


def module_name(path: Path) -> str:
    """Return the name that a source file is imported by."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class MutatedFile(importlib.machinery.SourceFileLoader):
    """Imports a module from a text in place of its file.

    Args:
        module: its name.
        path: its file.
        text: what is imported.
    """

    def __init__(self, module: str, path: Path, text: bytes) -> None:
        super().__init__(module, str(path))
        self.text = text

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the text."""
        return compile(self.text, self.path, "exec", dont_inherit=True)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Find the module, as an entry of `sys.meta_path` does."""
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None


def run_pytest(tests: Iterable[str], plugin: object = None, output: str | Path = os.devnull) -> int:
    """Run tests in this process, write what they print to a file, and return pytest's exit status."""
    from hypothesis import Phase, settings

    settings.register_profile("mutants", derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
    settings.load_profile("mutants")
    with open(output, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    return int(pytest.main([*OPTIONS, *tests], plugins=[plugin] if plugin else []))


# Functions that are changed where they are


def functions_of(path: Path) -> list[FunctionType]:
    """Return all functions that there are of an imported file, also methods and what decorators hold."""
    objects = (thing for thing in gc.get_objects() if isinstance(thing, FunctionType))
    return [function for function in objects if function.__code__.co_filename == str(path)]


def change_functions(functions: Iterable[FunctionType], path: Path, text: bytes) -> bool:
    """Give functions of a file the code that they have in another text, and return whether any has changed.

    Args:
        functions: of the imported file.
        path: of the file.
        text: in place of it; its functions have the same names in the same order.
    """
    before, after = (
        _codes(compile(source, str(path), "exec", dont_inherit=True)) for source in (path.read_bytes(), text)
    )
    names = [[code.co_qualname for code in codes] for codes in (before, after)]
    if names[0] != names[1]:
        return False
    changed = {old: new for old, new in zip(before, after, strict=True) if old != new}
    concerned = [function for function in functions if function.__code__ in changed]
    for function in concerned:
        if function.__code__.co_freevars != changed[function.__code__].co_freevars:
            return False
    for function in concerned:
        function.__code__ = changed[function.__code__]
    return bool(concerned)


def _codes(code: CodeType) -> list[CodeType]:
    """Return the code of the functions and methods of a module, but of none inside another."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    codes = []
    for part in inner:
        codes += [part] if part.co_flags & inspect.CO_OPTIMIZED else _codes(part)  # a class has none of its own
    return codes

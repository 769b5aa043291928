"""Tests that run in forks of a process which has imported what is heavy, with another text in place of a source file.

A fork begins in no time, where a new process imports PyTorch for seconds. What a test starts as a process of its own
reads the file on the disk.
"""

from __future__ import annotations

import ast
import gc
import importlib
import importlib.machinery
import importlib.util
import os
import pickle
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType
from typing import Any, TypeVar

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "tabcohort"
HEAVY = ("torch", "numba", "scipy.stats", "scipy.optimize", "sklearn.metrics", "polars", "pyarrow", "hypothesis")
WARM = ("estimator", "cohort.learning_curve", "engines.torch_loop", "training.module", "model.file")
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


def module_name(path: Path) -> str:
    """Return the name that a source file is imported by."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def importers_of(module: str) -> set[str]:
    """Return the modules that import a module, also indirectly or inside a function, and the module itself."""
    imports = {module_name(path): _imports(path) for path in SOURCE.rglob("*.py")}
    importers, n_before = {module}, 0
    while len(importers) > n_before:
        n_before = len(importers)
        importers |= {name for name, imported in imports.items() if imported & importers}
    return importers


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names - {"tabcohort"}  # the package itself imports nothing


def import_all_but(module: str) -> None:
    """Import what tests need of the package, except a module and those that import it."""
    left_out = importers_of(module)
    needed, reached = [f"tabcohort.{name}" for name in WARM], set[str]()
    while needed:
        name = needed.pop()
        path = SOURCE.parent / Path(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name in reached or not path.is_file() or not name.startswith("tabcohort."):
            continue
        reached.add(name)
        needed += _imports(path)
    for name in sorted(reached - left_out):
        importlib.import_module(name)
    gc.freeze()  # forks need not look through what is here already


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

"""The shape of the package: who may import whom, what is public, and that all of it says what it is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tabcohort

ROOT = Path(tabcohort.__file__).parent
PATHS = sorted(ROOT.rglob("*.py"))
# A module imports only from those before it. All of a folder that is named as a whole has one place.
ORDER = (
    "errors", "compiling", "settings", "prepare", "plan", "roles", "metrics", "evaluate", "calibrate", "ensemble",
    "decide", "schedule", "engines", "training", "columns", "table", "frames", "files", "program", "engines.elementary",
    "engines.vectors", "engines.products", "engines.operations", "engines.kernels", "engines.layout",
    "engines.forward_kernels", "engines.compiled", "forward", "container", "checkpoint", "member", "judged",
    "reports", "predictor", "artifact", "standing", "threads", "running", "conclude", "cohort", "tuning", "models",
    "lower", "engines.torch_loop", "modules", "report", "curves", "estimator", "reproduce", "cli",
)  # fmt: skip
# Imported from a later place, and only inside a function: what is asked for by name in the settings.
ONLY_WHEN_ASKED_FOR = {("cohort", "modules"), ("member", "engines.torch_loop")}
WITH_PYTORCH = ("models", "lower", "engines.torch_loop", "modules", "reproduce")
WHOLE_FOLDERS = ("reproduce",)
PROMISED = ("forward", "extra_repr")  # by `torch.nn.Module`
HEAVY = {"torch", "sklearn", "polars", "pandas", "pyarrow", "matplotlib", "rich", "safetensors", "scipy"}


def name_of(path: Path) -> str:
    """Return a module's name within the package: "" for the package itself, its folder's for an `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def place(module: str) -> int:
    """Return a module's place in the order."""
    name = next((folder for folder in WHOLE_FOLDERS if module.split(".")[0] == folder), module)
    assert name in ORDER, f"{module} has no place in ORDER: say in tests/test_architecture.py what it may import"
    return ORDER.index(name)


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree, but not into what only a type checker reads."""
    for child in ast.iter_child_nodes(tree):
        if not is_for_types_only(child):
            yield child
            yield from nodes(child)


def imported_in_functions(tree: ast.AST) -> Iterator[str]:
    """Yield the modules of the package that functions of a tree import from, each when it is called."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield from imported(node)
        elif not is_for_types_only(node):
            yield from imported_in_functions(node)


def outside_imports(tree: ast.AST) -> Iterator[str]:
    """Yield the packages that a tree imports, anywhere in it."""
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).split(".")[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules of the package that a tree imports from, by their names within it."""
    for node in nodes(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            if node.module == "tabcohort":
                for name in node.names:
                    if name.name in tabcohort._HOME_OF:
                        yield tabcohort._HOME_OF[name.name]
                    elif name.name != "__version__":
                        yield name.name
            elif (node.module or "").startswith("tabcohort."):
                yield str(node.module).removeprefix("tabcohort.")
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "tabcohort":
                    yield name.name.removeprefix("tabcohort").removeprefix(".") or "cli"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: name_of(path) or "tabcohort")
def test_a_module_imports_only_from_those_before_it(path: Path) -> None:
    module = name_of(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    when_asked_for = {other for other in imported_in_functions(tree) if (module, other) in ONLY_WHEN_ASKED_FOR}
    found = list(imported(tree))
    for other in when_asked_for:  # once, in a function: what is imported at the top too stays in the list
        found.remove(other)
    for other in found:
        assert module, f"importing tabcohort imports tabcohort.{other}: name it in _HOMES instead"
        same_folder = place(other) == place(module) and ORDER[place(module)] in WHOLE_FOLDERS
        assert same_folder or place(other) < place(module), f"{module} may not import {other}"


@pytest.mark.parametrize(("module", "other"), sorted(ONLY_WHEN_ASKED_FOR))
def test_what_is_imported_only_when_asked_for_is_imported_in_one_function(module: str, other: str) -> None:
    """So a pair that is no longer needed is struck from the list."""
    tree = ast.parse((ROOT / f"{module}.py").read_text(encoding="utf-8"))
    assert list(imported(tree)).count(other) == list(imported_in_functions(tree)).count(other) == 1


@pytest.mark.parametrize("path", PATHS, ids=lambda path: name_of(path) or "tabcohort")
def test_pytorch_is_imported_by_the_modules_that_are_made_of_it(path: Path) -> None:
    names = set(outside_imports(ast.parse(path.read_text(encoding="utf-8"))))
    is_made_of_it = name_of(path).split(".")[0] in WITH_PYTORCH or name_of(path) in WITH_PYTORCH
    assert is_made_of_it or not names & {"torch"}


def test_every_name_in_the_order_is_a_module() -> None:
    modules = {name_of(path) for path in PATHS}
    assert [name for name in ORDER if name not in modules] == []


@pytest.mark.parametrize(
    "name", ["", "errors", "settings", "cli", "container", "report", "files", "columns", "table", "plan", "program"]
)
def test_what_answers_at_once_imports_nothing_heavy_at_its_top(name: str) -> None:
    path = ROOT / name / "__init__.py" if not name else ROOT / f"{name}.py"
    allowed = {"report": {"rich"}}.get(name, set())
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        assert not {each.split(".")[0] for each in names} & (HEAVY - allowed)


def test_the_public_names_are_those_with_a_home_and_each_is_there() -> None:
    assert sorted(tabcohort.__all__) == sorted(tabcohort._HOME_OF)
    assert len(set(tabcohort.__all__)) == len(tabcohort.__all__)
    assert dir(tabcohort) == sorted([*tabcohort.__all__, "__version__"])
    for name in tabcohort.__all__:
        thing = getattr(tabcohort, name)
        assert thing.__name__ == name
        assert thing.__module__ == f"tabcohort.{tabcohort._HOME_OF[name]}"


def test_the_names_for_the_type_checker_are_the_public_names() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    found = {
        name.name: str(node.module).removeprefix("tabcohort.")
        for block in tree.body
        if is_for_types_only(block)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert found == tabcohort._HOME_OF


def test_a_name_that_is_not_public_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'tabcohort' has no attribute 'fitt'"):
        tabcohort.fitt  # noqa: B018


@pytest.mark.parametrize("path", PATHS, ids=lambda path: name_of(path) or "tabcohort")
def test_every_public_name_says_what_it_is_for(path: Path) -> None:
    """A method that PyTorch's own documentation promises need not repeat it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module has no docstring"
    for scope in [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")]:
        for node in scope.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_" and node.name not in PROMISED:
                assert ast.get_docstring(node), f"{node.name} has no docstring"

"""The shape of the package: who may import whom, what is public, and that all of it says what it is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import tabcohort

ROOT = Path(tabcohort.__file__).parent
PATHS = sorted(ROOT.rglob("*.py"))
# A package, or a module of its own, imports only from those before it.
LAYERS = (
    "errors", "types", "randomness", "container", "evaluation", "settings", "data", "network", "engines", "training",
    "model", "cohort", "reporting", "reproduce", "estimator", "cli",
)  # fmt: skip
WITH_PYTORCH = ("network.models", "network.lower", "engines.torch_loop", "training.module", "reproduce")
PROMISED = ("forward", "extra_repr")  # by `torch.nn.Module`
HEAVY = {"torch", "sklearn", "polars", "pandas", "pyarrow", "matplotlib", "rich", "safetensors", "scipy"}


def name_of(path: Path) -> str:
    """Return a module's name within the package: "" for the package itself, its folder's for an `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> int:
    """Return the place of a module's layer in the order."""
    return LAYERS.index(module.split(".")[0])


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree, but not into what only a type checker reads."""
    for child in ast.iter_child_nodes(tree):
        if not is_for_types_only(child):
            yield child
            yield from nodes(child)


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


def imports_of(path: Path) -> list[str]:
    return list(imported(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: name_of(path) or "tabcohort")
def test_a_package_imports_only_from_those_below_it(path: Path) -> None:
    module = name_of(path)
    for other in imports_of(path):
        assert module, f"importing tabcohort imports tabcohort.{other}: name it in _HOMES instead"
        same_layer = layer_of(other) == layer_of(module) and "." in other
        assert same_layer or layer_of(other) < layer_of(module), f"{module} may not import {other}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name_of(path): set(imports_of(path)) for path in PATHS}
    TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_the_layers_are_all_there_is() -> None:
    assert {name_of(path).split(".")[0] for path in PATHS} - {""} == set(LAYERS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: name_of(path) or "tabcohort")
def test_pytorch_is_imported_by_the_modules_that_are_made_of_it(path: Path) -> None:
    names = set(outside_imports(ast.parse(path.read_text(encoding="utf-8"))))
    is_made_of_it = name_of(path).split(".")[0] in WITH_PYTORCH or name_of(path) in WITH_PYTORCH
    assert is_made_of_it or not names & {"torch"}


@pytest.mark.parametrize(
    "name",
    [
        "__init__", "errors", "settings", "cli", "container", "reporting/terminal", "data/sources", "data/columns",
        "data/table", "engines/batches", "network/program",
    ],
)  # fmt: skip
def test_what_answers_at_once_imports_nothing_heavy_at_its_top(name: str) -> None:
    path = ROOT / f"{name}.py"
    allowed = {"reporting/terminal": {"rich"}}.get(name, set())
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

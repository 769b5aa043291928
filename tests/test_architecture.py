"""The shape of the package: what may import what, what is public, and that every part is documented and tested."""

from __future__ import annotations

import ast
import functools
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import tabcohort

ROOT = Path(tabcohort.__file__).parent
TESTS = Path(__file__).parent
PATHS = sorted(ROOT.rglob("*.py"))
# A package, or a module of its own, imports only from those before it.
LAYERS = (
    "errors", "types", "machine_code", "randomness", "plain_values", "file_locks", "container", "notebook",
    "evaluation", "settings", "data", "network", "engines", "training", "model", "cohort", "reporting", "cluster",
    "live", "reproduce", "estimator", "mlflow", "server", "cli", "__main__",
)  # fmt: skip
WITH_PYTORCH = (
    "network.models",
    "network.lower",
    "engines.torch_loop",
    "engines.distributed",
    "engines.batched",
    "engines.stacked_program",
    "training.module",
    "reproduce",
)
NAMES_ONLY = ("reproduce.experiments",)  # of `reproduce`, what the command line's help reads
# Made of PyTorch, and imported inside a function by a module that is not: what is asked for by name.
ONLY_WHEN_ASKED_FOR = {
    ("cohort.members", "training.module"), ("cohort.blocks", "engines.batched"), ("cohort.trial", "engines.batched"),
    ("training.member", "engines.torch_loop"), ("engines.process_group", "engines.distributed"),
    ("reproduce.experiments", "reproduce.patent_grid"), ("reproduce.experiments", "reproduce.patent_tables"),
}  # fmt: skip
COMPILED = "engines/compiled"  # kernels take every array as an argument of its own
MAX_ARGUMENTS, MAX_LINES = 8, 60
PROMISED = ("forward", "extra_repr")  # by `torch.nn.Module`
HEAVY = {"torch", "sklearn", "polars", "pandas", "pyarrow", "matplotlib", "rich", "safetensors", "scipy"}


def name_of(path: Path) -> str:
    """Return a module's name within the package: "" for the package itself, its folder's for an `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path) for path in PATHS}


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
                module = str(node.module).removeprefix("tabcohort.")
                for name in node.names:  # of the module, or a module of the package
                    yield f"{module}.{name.name}" if f"{module}.{name.name}" in MODULES else module
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "tabcohort":
                    yield name.name.removeprefix("tabcohort").removeprefix(".") or "cli"


def imported_in_functions(tree: ast.AST) -> Iterator[str]:
    """Yield the modules of the package that functions of a tree import from when they are called."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield from imported(node)
        elif not is_for_types_only(node):
            yield from imported_in_functions(node)


EVERY_MODULE = pytest.mark.parametrize("path", PATHS, ids=lambda path: name_of(path) or "tabcohort")


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def imports_of(path: Path) -> list[str]:
    return list(imported(parsed(path)))


@EVERY_MODULE
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


def is_made_of_pytorch(module: str) -> bool:
    """Return whether a module may import PyTorch."""
    is_listed = module in WITH_PYTORCH or module.split(".")[0] in WITH_PYTORCH
    return is_listed and module not in NAMES_ONLY


@EVERY_MODULE
def test_pytorch_is_imported_by_the_modules_that_are_made_of_it(path: Path) -> None:
    names = set(outside_imports(parsed(path)))
    assert is_made_of_pytorch(name_of(path)) or not names & {"torch"}


@EVERY_MODULE
def test_modules_made_of_pytorch_are_imported_by_others_only_when_asked_for(path: Path) -> None:
    module = name_of(path)
    if not is_made_of_pytorch(module):
        for other in imports_of(path):
            assert not is_made_of_pytorch(other) or (module, other) in ONLY_WHEN_ASKED_FOR, f"{module}: {other}"


@pytest.mark.parametrize(("module", "other"), sorted(ONLY_WHEN_ASKED_FOR))
def test_what_is_imported_only_when_asked_for_is_imported_in_one_function(module: str, other: str) -> None:
    """So a pair that is no longer needed is struck from the list."""
    tree = parsed(ROOT / f"{module.replace('.', '/')}.py")
    assert list(imported(tree)).count(other) == list(imported_in_functions(tree)).count(other) == 1


def test_every_name_in_the_lists_is_a_module() -> None:
    pairs = [name for pair in ONLY_WHEN_ASKED_FOR for name in pair]
    assert [name for name in (*LAYERS, *WITH_PYTORCH, *NAMES_ONLY, *pairs) if name not in MODULES] == []


@pytest.mark.parametrize(
    "name",
    [
        "__init__", "errors", "types", "settings", "container", "cli/main", "cli/parser", "cli/commands",
        "cli/model_commands", "cli/serve_command", "cli/source_options",
        "reproduce/__init__", "reproduce/experiments", "reporting/terminal", "data/sources", "data/columns",
        "data/table", "engines/batches", "network/program",
    ],
)  # fmt: skip
def test_what_answers_at_once_imports_nothing_heavy_at_its_top(name: str) -> None:
    path = ROOT / f"{name}.py"
    allowed = {"reporting/terminal": {"rich"}}.get(name, set())
    for node in parsed(path).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        assert not {imported_name.split(".")[0] for imported_name in names} & (HEAVY - allowed)


def test_the_public_names_are_those_with_a_home_and_all_of_them_are_there() -> None:
    assert sorted(tabcohort.__all__) == sorted(tabcohort._HOME_OF)
    assert len(set(tabcohort.__all__)) == len(tabcohort.__all__)
    assert dir(tabcohort) == sorted([*tabcohort.__all__, "__version__"])
    for name in tabcohort.__all__:
        value = getattr(tabcohort, name)
        assert value.__name__ == name
        assert value.__module__ == f"tabcohort.{tabcohort._HOME_OF[name]}"


def test_the_names_for_the_type_checker_are_the_public_names() -> None:
    tree = parsed(ROOT / "__init__.py")
    homes = {
        name.name: str(node.module).removeprefix("tabcohort.")
        for block in tree.body
        if is_for_types_only(block)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert homes == tabcohort._HOME_OF


def test_a_name_that_is_not_public_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'tabcohort' has no attribute 'fitt'"):
        tabcohort.fitt  # noqa: B018


@EVERY_MODULE
def test_every_public_name_has_a_docstring(path: Path) -> None:
    """A method that PyTorch's own documentation promises need not repeat it."""
    tree = parsed(path)
    assert ast.get_docstring(tree), "the module has no docstring"
    for scope in [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_")]:
        for node in scope.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_" and node.name not in PROMISED:
                assert ast.get_docstring(node), f"{node.name} has no docstring"


# Sizes


def functions_of(path: Path) -> Iterator[ast.FunctionDef]:
    """Yield every function of a module, also methods and those inside others."""
    tree = parsed(path)
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def arguments_of(function: ast.FunctionDef) -> list[str]:
    """Return the names of a function's arguments but for `self` and `cls`."""
    given = function.args
    every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    return [argument.arg for argument in every if argument is not None and argument.arg not in ("self", "cls")]


def n_lines_of(function: ast.FunctionDef) -> int:
    """Return the number of lines of a function's body but for its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@EVERY_MODULE
def test_no_function_takes_more_than_a_few_arguments(path: Path) -> None:
    if path.relative_to(ROOT).parent.as_posix() != COMPILED:
        too_many = {function.name: arguments_of(function) for function in functions_of(path)}
        assert {name: names for name, names in too_many.items() if len(names) > MAX_ARGUMENTS} == {}


@EVERY_MODULE
def test_every_function_fits_on_a_screen(path: Path) -> None:
    n_lines = {function.name: n_lines_of(function) for function in functions_of(path)}
    assert {name: number for name, number in n_lines.items() if number > MAX_LINES} == {}


def test_arguments_and_lines_are_counted_as_they_are_read() -> None:
    text = (
        'class A:\n    def f(self, a, /, b, *c, d=1, **e):\n        """Say.\n\n        More.\n        """\n'
        '        x = (\n            a\n        )\n        return x\n    def g(self):\n        """Nothing."""\n'
    )
    first, second = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))
    assert (arguments_of(first), n_lines_of(first)) == (["a", "b", "c", "d", "e"], 4)
    assert (arguments_of(second), n_lines_of(second)) == ([], 0)


# Tests


@pytest.mark.parametrize(
    "path", [path for path in PATHS if path.stem not in ("__init__", "__main__")], ids=lambda path: name_of(path)
)
def test_every_module_has_a_test_file_in_the_mirrored_place(path: Path) -> None:
    place = path.relative_to(ROOT)
    assert (TESTS / place.with_name(f"test_{place.name}")).is_file()


def test_test_files_have_names_of_their_own() -> None:
    """Without packages, pytest cannot distinguish two files of one name."""
    names = Counter(path.name for path in TESTS.rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []

"""Mutations of a source file: small changes of meaning, each of which a test should notice.

Text that only people read is left alone: docstrings, messages of errors and warnings, f-strings, annotations.
"""

from __future__ import annotations

import ast
import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

OPERATORS: dict[type[ast.AST], tuple[str, str]] = {  # how each is found in the text, and what replaces it
    ast.Lt: (r"<", "<="), ast.LtE: (r"<=", "<"), ast.Gt: (r">", ">="), ast.GtE: (r">=", ">"), ast.Eq: (r"==", "!="),
    ast.NotEq: (r"!=", "=="), ast.Is: (r"\bis\b", "is not"), ast.IsNot: (r"\bis\s+not\b", "is"),
    ast.In: (r"\bin\b", "not in"), ast.NotIn: (r"\bnot\s+in\b", "in"),
    ast.Add: (r"\+", "-"), ast.Sub: (r"-", "+"), ast.Mult: (r"\*", "/"), ast.Div: (r"/", "*"),
    ast.FloorDiv: (r"//", "/"), ast.Mod: (r"%", "//"), ast.Pow: (r"\*\*", "*"), ast.BitAnd: (r"&", "|"),
    ast.BitOr: (r"\|", "&"), ast.BitXor: (r"\^", "&"), ast.And: (r"\band\b", "or"), ast.Or: (r"\bor\b", "and"),
}  # fmt: skip
PAIRS = (
    ("min", "max"), ("argmin", "argmax"), ("minimum", "maximum"), ("any", "all"), ("zeros", "ones"), ("ceil", "floor"),
    ("sum", "mean"),
)  # fmt: skip
FUNCTIONS = {**dict(PAIRS), **{second: first for first, second in PAIRS}}
LEFT_OUT = ("abs", "sort", "sorted", "replace", "copy")  # calls of which the first argument, or the object, is left
KEYWORDS_WITHOUT_MEANING = ("strict", "stacklevel", "dtype", "match")


@dataclass(frozen=True)
class Mutant:
    """A change of a source file.

    Args:
        start, end: of the bytes that it replaces.
        text: what stands there then.
        first_line, last_line: of the statement that it is in, counted from 1.
        is_in_function: whether that statement runs when a function is called; others run when the file is imported.
    """

    start: int
    end: int
    text: str
    first_line: int
    last_line: int
    is_in_function: bool

    def apply(self, source: bytes) -> bytes:
        """Return the source with the change."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def lines(self, source: bytes) -> tuple[str, str]:
        """Return the lines that it changes, as they are and as they become; of what is left out, a comment is left."""
        begin = source.rfind(b"\n", 0, self.start) + 1
        end = source.find(b"\n", self.end)
        changed = source[begin : self.start] + self.text.encode() + source[self.end : end]
        one_line = re.compile(r"\s+")
        before, after = (one_line.sub(" ", text.decode()).strip() for text in (source[begin:end], changed))
        return before, f"pass  # {before}" if after == "pass" else after


def mutants_of(source: bytes) -> list[Mutant]:
    """Return all mutants of a source file that are valid Python, in the order of the text."""
    return [mutant for mutant in candidates_of(source) if _is_valid(mutant.apply(source))]


def candidates_of(source: bytes) -> list[Mutant]:
    """Return the mutants of a source file in the order of the text, some of which may not be valid Python."""
    return sorted(set(_Finder(source).all()), key=lambda mutant: (mutant.start, mutant.end, mutant.text))


def sample(mutants: list[Mutant], n_mutants: int, seed: int = 0) -> list[Mutant]:
    """Return at most so many of the mutants, drawn without replacement, in the order of the text."""
    if len(mutants) <= n_mutants:
        return mutants
    return [mutants[i] for i in sorted(random.Random(seed).sample(range(len(mutants)), n_mutants))]


def _is_valid(source: bytes) -> bool:
    try:
        compile(source, "", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


class _Finder:
    """Finds the mutants of a source.

    Args:
        source: the file, in UTF-8.
    """

    def __init__(self, source: bytes) -> None:
        self.source = source
        self._starts = list(itertools.accumulate(map(len, source.splitlines(keepends=True)), initial=0))
        self._statement = 1, 1
        self._in_function = False

    def all(self) -> Iterator[Mutant]:
        """Yield every mutant, some of which may not be valid Python."""
        return self._of_node(ast.parse(self.source))

    def _of_node(self, node: ast.AST) -> Iterator[Mutant]:
        before = self._statement, self._in_function
        if isinstance(node, ast.stmt):
            self._statement = _lines_of(node)
            yield from self._of_statement(node)
        elif isinstance(node, ast.expr):
            yield from self._of_expression(node)
        for child in _children(node):
            if isinstance(node, ast.FunctionDef) and isinstance(child, ast.stmt):
                self._in_function = True
            yield from self._of_node(child)
        self._statement, self._in_function = before

    def _of_statement(self, node: ast.stmt) -> Iterator[Mutant]:
        match node:
            case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
                yield self._replaced(node, "pass")
            case ast.AugAssign(op=operator):
                yield self._replaced(node, "pass")
                yield from self._operator(type(operator), self._end(node.target), self._start(node.value))
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                pass
            case ast.If(test=test):
                yield from (self._replaced(test, value) for value in ("True", "False"))
            case ast.While(test=test):
                yield self._replaced(test, "False")
            case ast.Break():
                yield self._replaced(node, "continue")
            case ast.Continue():
                yield self._replaced(node, "break")

    def _of_expression(self, node: ast.expr) -> Iterator[Mutant]:
        match node:
            case ast.Compare(left=left, ops=operators, comparators=comparators):
                for first, operator, second in zip([left, *comparators], operators, comparators, strict=False):
                    yield from self._operator(type(operator), self._end(first), self._start(second))
            case ast.BinOp(left=left, op=operator, right=right) if self._in_function:
                yield from self._operator(type(operator), self._end(left), self._start(right))
            case ast.BoolOp(op=operator, values=values):
                for first, second in itertools.pairwise(values):
                    yield from self._operator(type(operator), self._end(first), self._start(second))
            case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
                yield self._replaced(node, self._text(operand))
            case ast.IfExp(test=test):
                yield from (self._replaced(test, value) for value in ("True", "False"))
            case ast.ListComp(generators=parts) | ast.SetComp(generators=parts) | ast.GeneratorExp(generators=parts):
                yield from (self._replaced(test, "True") for part in parts for test in part.ifs)
            case ast.DictComp(generators=parts):
                yield from (self._replaced(test, "True") for part in parts for test in part.ifs)
            case ast.Slice(lower=lower, upper=upper):
                yield from (self._replaced(bound, "") for bound in (lower, upper) if bound is not None)
            case ast.Constant(value=value):
                yield from (self._replaced(node, text) for text in _other_values(value))
            case ast.Call():
                yield from self._of_call(node)

    def _of_call(self, node: ast.Call) -> Iterator[Mutant]:
        name = _name_of(node.func)
        if name in FUNCTIONS:
            end = self._end(node.func)
            yield self._mutant(end - len(name), end, FUNCTIONS[name])
        if name in LEFT_OUT:
            is_method = isinstance(node.func, ast.Attribute) and not node.args
            kept = node.func.value if is_method else next(iter(node.args), None)  # type: ignore[attr-defined]
            if kept is not None:
                yield self._replaced(node, f"({self._text(kept)})")

    def _operator(self, operator: type[ast.AST], start: int, end: int) -> Iterator[Mutant]:
        """Replace an operator that is somewhere between two operands."""
        pattern, text = OPERATORS.get(operator, ("(?!)", ""))
        if match := re.search(pattern.encode(), self.source[start:end]):
            yield self._mutant(start + match.start(), start + match.end(), text)

    def _replaced(self, node: ast.expr | ast.stmt, text: str) -> Mutant:
        return self._mutant(self._start(node), self._end(node), text)

    def _mutant(self, start: int, end: int, text: str) -> Mutant:
        return Mutant(start, end, text, *self._statement, self._in_function)

    def _start(self, node: ast.expr | ast.stmt) -> int:
        return self._starts[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.end_lineno - 1] + node.end_col_offset

    def _text(self, node: ast.expr) -> str:
        return self.source[self._start(node) : self._end(node)].decode()


def _lines_of(node: ast.stmt) -> tuple[int, int]:
    """Return the first and the last line of a statement, of one with a block those before the block."""
    match node:
        case ast.Try() | ast.Match():
            return node.lineno, node.lineno
        case ast.If() | ast.For() | ast.While() | ast.With() | ast.FunctionDef() | ast.ClassDef():
            return node.lineno, max(node.lineno, node.body[0].lineno - 1)
    return node.lineno, node.end_lineno or node.lineno


def _children(node: ast.AST) -> list[ast.AST]:
    """Return the children of a node in which there are mutants: none that only people or type checkers read."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.JoinedStr() | ast.Raise() | ast.Expr(value=ast.Constant()):
            return []
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return []
        case ast.Call() if _name_of(node.func) == "warn":
            return []
        case ast.AnnAssign():
            return [node.value] if node.value is not None else []
        case ast.FunctionDef():
            return [*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body]
        case ast.Lambda():
            return [node.body]
        case ast.ClassDef():
            return list(node.body)
        case ast.keyword(arg=name) if name in KEYWORDS_WITHOUT_MEANING:
            return []
    return list(ast.iter_child_nodes(node))


def _name_of(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _other_values(value: object) -> list[str]:
    """Return the code of a value that a constant may have instead."""
    match value:
        case bool():
            return [str(not value)]
        case int():
            return [str(value + 1)]
        case float():
            return [repr(2 * value) if value else "1.0"]
        case str():
            return [repr(f"not {value}")]
    return []

"""Mutants: what is changed in a source, what is left alone, and that survivors which are known are mutants."""

from __future__ import annotations

import textwrap

import pytest
from forked_tests import SOURCE
from mutants import known_survivors
from mutations import candidates_of, mutants_of, sample


def changed_lines(source: str) -> list[str]:
    """Return the line that each mutant changes, as it becomes."""
    text = textwrap.dedent(source).encode()
    return [mutant.lines(text)[1] for mutant in mutants_of(text)]


@pytest.mark.parametrize(
    ("line", "mutants"),
    [
        ("return a < b", ["a <= b"]),
        ("return a is not b", ["a is b"]),
        ("return a not in b", ["a in b"]),
        ("return (a) + (b)", ["(a) - (b)"]),
        ("return a and b or c", ["a or b or c", "a and b and c"]),
        ("return not a", ["a"]),
        ("return a if b else c", ["a if False else c", "a if True else c"]),
        ("return [a for a in b if a]", ["[a for a in b if True]"]),
        ("return a[b:]", ["a[:]"]),
        ("return 3", ["4"]),
        ("return 0.5", ["1.0"]),
        ("return True", ["False"]),
        ("return 'a'", ["'not a'"]),
        ("return max(a)", ["min(a)"]),
        ("return np.zeros(a)", ["np.ones(a)"]),
        ("return a.copy()", ["(a)"]),
        ("return replace(a, b=c)", ["(a)"]),
        ("return zip(a, strict=True)", []),
    ],
)
def test_an_expression_is_changed_in_one_place_at_a_time(line: str, mutants: list[str]) -> None:
    assert changed_lines(f"def f():\n    {line}\n") == [f"return {mutant}" for mutant in mutants]


def test_statements_are_left_out_and_conditions_are_always_or_never_true() -> None:
    source = """
    def f(a):
        if a:
            a.append(a)
        a[a] = a
        a += a
        raise a
    """
    assert changed_lines(source) == [
        "if False:", "if True:", "pass  # a.append(a)", "pass  # a[a] = a", "pass  # a += a", "a -= a",
        "pass  # raise a",
    ]  # fmt: skip


def test_what_people_read_is_left_alone() -> None:
    source = """
    '''Say 1.'''
    from a import b
    A: Literal["a"]
    if TYPE_CHECKING:
        from c import d
    @b(1)
    def f(a: Literal["a"]) -> Literal["a"]:
        '''Say 1 + 1.'''
        raise ValueError("a" + str(1))
        warnings.warn("a", stacklevel=2)
        return f"{a + 1}"
    """
    assert [line[:4] for line in changed_lines(source)] == ["pass", "pass"]


def test_a_mutant_knows_its_statement_and_when_it_runs() -> None:
    source = b"A = 1\n\n\ndef f(a):\n    if (\n        a == 2\n    ):\n        return 3\n    return 4\n"
    places = {source[mutant.start : mutant.end]: mutant for mutant in mutants_of(source)}
    assert not places[b"1"].is_in_function
    assert places[b"3"].is_in_function
    assert (places[b"1"].first_line, places[b"1"].last_line) == (1, 1)
    assert (places[b"2"].first_line, places[b"2"].last_line) == (5, 7)
    assert (places[b"3"].first_line, places[b"3"].last_line) == (8, 8)


def test_a_sample_is_the_same_again_and_in_the_order_of_the_text() -> None:
    mutants = mutants_of(b"A = [" + b"1, " * 50 + b"]\n")
    some = sample(mutants, 10)
    assert some == sample(mutants, 10) == sorted(some, key=lambda mutant: mutant.start)
    assert len(set(some)) == 10
    assert sample(mutants, 10, seed=1) != some
    assert sample(mutants, 50) == mutants


@pytest.mark.parametrize("name", sorted({name for name, _ in known_survivors()}))
def test_every_survivor_that_is_known_is_a_mutant_of_the_source(name: str) -> None:
    source = (SOURCE / f"{name}.py").read_bytes()
    lines = {mutant.lines(source)[1] for mutant in candidates_of(source)}
    assert [line for file, line in known_survivors() if file == name and line not in lines] == []

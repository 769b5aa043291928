"""The errors: one tree, all of them value errors, and what helps their messages."""

from __future__ import annotations

import inspect
import pickle

import pytest

from tabcohort import errors
from tabcohort.errors import TabcohortError, TabcohortWarning, first_line, listed, nearest, printable

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and value.__module__ == errors.__name__]
ERRORS = [kind for kind in CLASSES if issubclass(kind, Exception) and not issubclass(kind, Warning)]


def test_every_error_is_ours_and_a_value_error() -> None:
    assert len(ERRORS) == 7
    for kind in ERRORS:
        assert issubclass(kind, TabcohortError)
        assert issubclass(kind, ValueError)


def test_the_warning_is_shown_by_default() -> None:
    """Python hides some kinds of warnings, but not this one."""
    assert issubclass(TabcohortWarning, UserWarning)
    assert not issubclass(TabcohortWarning, TabcohortError)


@pytest.mark.parametrize("kind", CLASSES)
def test_the_tree_in_the_documentation_has_every_class_with_its_own_words(kind: type) -> None:
    assert errors.__doc__ is not None
    assert kind.__name__ in errors.__doc__
    assert inspect.getdoc(kind)


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_comes_back_from_another_process(kind: type[Exception]) -> None:
    error = pickle.loads(pickle.dumps(kind("row 2, column 'a' is missing")))
    assert type(error) is kind
    assert str(error) == "row 2, column 'a' is missing"


@pytest.mark.parametrize(
    ("name", "names", "expected"),
    [
        ("droput", ["dropout", "momentum"], " (did you mean 'dropout'?)"),
        ("zzz", ["dropout", "momentum"], ""),
        ("a", [], ""),
        ("ida", iter(["id", "idb", "x0"]), " (did you mean 'id'?)"),
        ("AGE", ["sage", "Age "], " (did you mean 'Age '?)"),
    ],
)
def test_the_nearest_name_is_offered_if_there_is_a_near_one(name: str, names: list[str], expected: str) -> None:
    assert nearest(name, names) == expected


def test_a_name_that_is_less_alike_than_it_must_be_is_not_offered() -> None:
    assert nearest("answer", ["cancer"], 0.5) == " (did you mean 'cancer'?)"
    assert nearest("answer", ["cancer"], 0.7) == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [(OSError("a\nb"), "a"), (RuntimeError("\n a\r\nb"), "a"), (TypeError(), "TypeError"), (OSError(" \n"), "OSError")],
)
def test_an_error_in_a_message_is_one_line_even_if_it_says_nothing(error: Exception, line: str) -> None:
    assert first_line(error) == line


@pytest.mark.parametrize(
    ("n_names", "expected"), [(0, ""), (1, "0"), (2, "0; 1"), (3, "0; 1 and 1 more"), (3_002, "0; 1 and 3,000 more")]
)
def test_a_list_that_is_cut_says_how_many_more_there_are(n_names: int, expected: str) -> None:
    assert listed(range(n_names), 2, "; ") == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 日本", "größe 日本"),
        ("red \x1b[31m", r"red \x1b[31m"),
        ("title \x9d0;x\x07", r"title \x9d0;x\x07"),
        ("a\nb\rc\td\x00", r"a\nb\rc\td\x00"),
        ("a\u2028b\u202ec\u2066", r"a\u2028b\u202ec\u2066"),
        ("bad byte \udcff", r"bad byte \udcff"),
        (r"already \x1b", r"already \x1b"),
    ],
)
def test_what_would_change_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
    assert printable({text: [1, (text, None)]}) == {shown: [1, [shown, None]]}

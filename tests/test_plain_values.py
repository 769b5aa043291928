"""Values of JSON are what they are asked to be, or an error names them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabcohort.plain_values import PlainValues, plain_values

VALUES = PlainValues(
    {
        "n": 3, "x": 0.5, "none": None, "word": "up", "yes": True, "part": {"n": -1}, "parts": [{"n": 1}, {"n": "x"}],
        "numbers": [1, 2.5], "holes": [1, None], "words": ["a", "b"], "mixed": ["a", 1], "huge": 10**400,
        "long": "y" * 100, "escape": "\x1b[31m",
    },
    "report",
)  # fmt: skip


def test_values_are_returned_as_what_they_are() -> None:
    assert VALUES.whole("n") == 3
    assert (VALUES.number("n"), type(VALUES.number("n"))) == (3.0, float)
    assert math.isnan(VALUES.number_or_nan("none"))
    assert VALUES.number_or_nan("x") == 0.5
    assert PlainValues({"shape": [2, 0]}, "").wholes("shape") == (2, 0)
    assert VALUES.numbers("numbers") == [1.0, 2.5]
    assert VALUES.numbers_or_nan("holes")[0] == 1.0
    assert math.isnan(VALUES.numbers_or_nan("holes")[1])
    assert (VALUES.text("word"), VALUES.texts("words"), VALUES.flag("yes")) == ("up", ("a", "b"), True)
    assert [part.path for part in VALUES.children("parts")] == ["report.parts[0]", "report.parts[1]"]
    assert VALUES.is_null("none")
    assert not VALUES.is_null("n")
    VALUES.only(VALUES.values)


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda: VALUES.whole("m"), "report.m is missing"),
        (lambda: VALUES.whole("x"), "report.x must be a whole number from 0, and is 0.5"),
        (lambda: VALUES.whole("yes"), "report.yes must be a whole number from 0, and is True"),
        (lambda: VALUES.whole("n", high=2), "report.n must be a whole number from 0 to 2, and is 3"),
        (lambda: VALUES.whole("huge"), f"report.huge must be a whole number from 0, and is 1{'0' * 39}…"),
        (lambda: VALUES.number("huge"), f"report.huge must be a number, and is 1{'0' * 39}…"),
        (lambda: VALUES.number("yes"), "report.yes must be a number, and is True"),
        (lambda: VALUES.number("none"), "report.none must be a number, and is null"),
        (lambda: VALUES.number("x", 0.6, 1), "report.x must be a number from 0.6 to 1, and is 0.5"),
        (lambda: VALUES.numbers("holes"), "report.holes[1] must be a number, and is null"),
        (lambda: PlainValues({"x": [1.0, math.nan]}, "").numbers("x"), "x[1] must be a number, and is nan"),
        (lambda: PlainValues({"x": [1.0, math.inf]}, "").numbers("x"), "x[1] must be a number, and is inf"),
        (lambda: PlainValues({}, "part").get("a\x1b\n"), r"part.'a\x1b\n' is missing"),
        (lambda: VALUES.numbers("n"), "report.n must be a list, and is 3"),
        (lambda: VALUES.wholes("numbers"), "report.numbers must be a list of whole numbers from 0, and is a list"),
        (lambda: VALUES.text("n"), "report.n must be a text, and is 3"),
        (lambda: VALUES.text("word", ("a", "b")), "report.word must be one of 'a', 'b', and is 'up'"),
        (lambda: VALUES.text("escape", ("a",)), r"report.escape must be one of 'a', and is '\x1b[31m'"),
        (lambda: VALUES.text("long", ("a",)), f"report.long must be one of 'a', and is '{'y' * 39}…"),
        (lambda: VALUES.texts("mixed"), "report.mixed must be a list of texts, and is a list"),
        (lambda: VALUES.flag("n"), "report.n must be true or false, and is 3"),
        (lambda: VALUES.child("n"), "report.n must be an object, and is 3"),
        (lambda: VALUES.child("part").whole("n"), "report.part.n must be a whole number from 0, and is -1"),
        (lambda: VALUES.children("words"), "report.words[0] must be an object, and is 'a'"),
        (lambda: VALUES.children("parts")[1].whole("n"), "report.parts[1].n must be a whole number from 0, and is 'x'"),
        (lambda: VALUES.child("part").only(["m"]), "report.part has the unknown part 'n'"),
        (lambda: PlainValues({"n": 1}, "").only([]), "the document has the unknown part 'n'"),
        (lambda: plain_values([], ""), "the document must be an object, and is a list"),
        (lambda: PlainValues({}, "").get("n"), "n is missing"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(read: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError) as raised:
        read()
    assert str(raised.value) == words


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=2), values, max_size=3),
    max_leaves=5,
)
LISTS = ("wholes", "numbers", "numbers_or_nan", "texts", "children")
READERS = ("whole", "number", "number_or_nan", "text", "flag", "child", *LISTS)


@given(value=JSON, reader=st.sampled_from(READERS))
def test_whatever_is_there_is_read_or_a_value_error_of_one_line(value: Any, reader: str) -> None:
    message = ""
    try:
        read = getattr(PlainValues({"x": value}, "report"), reader)("x")
    except ValueError as error:
        message = str(error)
    else:
        assert not isinstance(read, float) or math.isfinite(read) or value is None
        assert isinstance(read, list | tuple) == (reader in LISTS)
    assert "\n" not in message
    assert message.startswith("report.x") or not message

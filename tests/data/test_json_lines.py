"""JSON lines are read; a JSON document, and a line that is no object, are refused."""

from __future__ import annotations

import pytest

from tabcohort import TableError
from tabcohort.data.json_lines import looks_like_json, read_json_lines


@pytest.mark.parametrize(
    "data", [b'{"a": 1}\n', b'\n {"a" : 1}\n', b"[[1, 2]]\n", b'[\n {"a": 1}]\n', b"{}\n", b'{"a\\"b":1}']
)
def test_json_is_told_from_text(data: bytes) -> None:
    assert looks_like_json(data)


@pytest.mark.parametrize("data", [b"[a],b\n", b"{a},b\n", b"[1],[2]\n", b'{"a",b\n', b"a,b\n", b'["a"],b\n'])
def test_brackets_alone_are_not_json(data: bytes) -> None:
    assert not looks_like_json(data)


def test_a_key_is_a_column() -> None:
    frame = read_json_lines(b'{"a": 1, "b": "x"}\n\n{"b": null, "a": 2.5}\n{"c": true}\n', "t.json")
    assert frame.to_dict(as_series=False) == {"a": [1.0, 2.5, None], "b": ["x", None, None], "c": [None, None, True]}


def test_text_beside_numbers_makes_a_column_text() -> None:
    assert read_json_lines(b'{"a": 1}\n{"a": "x"}\n', "t.json")["a"].to_list() == ["1", "x"]


@pytest.mark.parametrize("data", [b"[[1, 2], [3, 4]]\n", b'[\n{"a": 1}\n]\n', b'{\n"a": 1\n}\n', b'[{"a": 1}]\n'])
def test_a_document_is_not_a_table(data: bytes) -> None:
    with pytest.raises(TableError, match=r"'t\.json' is a JSON document, not a table; save it as JSON lines"):
        read_json_lines(data, "t.json")


@pytest.mark.parametrize("line", [b'{"a": 2', b'{"a": 2} x', b"[1]", b'"x"'])
def test_a_line_that_is_no_object_is_named(line: bytes) -> None:
    with pytest.raises(TableError, match=r"'t\.json', line 3 is not a JSON object; every line must be one"):
        read_json_lines(b'{"a": 1}\n\n' + line + b"\n", "t.json")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"a": 1, "b": [1, 2]}\n', r"'t\.json': 'b' holds arrays or objects; every value must be a text, number"),
        (b'{"a": 1}\n{"a": {"x": 1}}\n', r"'t\.json'(, line 2)?: 'a' holds (arrays or objects|an array or object)"),
        (b'{"a": [1]}\n{"a": {"x": 1}}\n', r"'t\.json', line 1: 'a' holds an array or object; every value must be"),
        (b'{"a": 1}\n{"a": 1e400}\n', r"'t\.json', line 2: 'a' holds a number that is too large to be read; make it"),
        (b'{"a": ' + b"9" * 60 + b"}\n", r"'t\.json', line 1: 'a' holds a number that is too large to be read"),
        (b'{"a": 1}\n{"a": NaN}\n', r"'t\.json', line 2 is not a JSON object"),
        (b'{"a": 1.5}\n{"a": true}\n', r"'t\.json', line 2: 'a' holds truth values and others; make all of them texts"),
    ],
)
def test_nested_values_and_endless_numbers_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(TableError, match=words):
        read_json_lines(data, "t.json")

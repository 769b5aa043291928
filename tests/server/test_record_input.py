"""JSON records are read strictly: what is not exactly a record of the model's columns is refused, and not repeated."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from asking import record_of
from hypothesis import given, settings
from hypothesis import strategies as st

from tabcohort import Predictor
from tabcohort.data.inputs import row_inputs, table_inputs
from tabcohort.server.problems import Problem
from tabcohort.server.record_input import (
    MAX_ERRORS,
    RecordReader,
    parse_json,
    record_schema,
    records_of,
)

SECRET = "patient-4711"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON: Expecting property name enclosed in double quotes in line 1, column 2"),
        (b"", "not JSON"),
        (b"\xff\xfe", "JSON in UTF-8"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": 1, "a": 2}', "an object has a name twice"),
        (b'{"a": {"b": 1, "b": 1}}', "an object has a name twice"),
        (b'{"a": "\\ud800"}', "JSON in UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 10_000, "a number is too long"),
        (b"{} {}", "not JSON"),
    ],
)
def test_what_is_not_strict_json_is_a_bad_request(body: bytes, words: str) -> None:
    with pytest.raises(Problem, match=words) as caught:
        parse_json(body)
    assert caught.value.status == 400


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda values: st.lists(values) | st.dictionaries(st.text(), values),
        max_leaves=20,
    )
)
@settings(max_examples=40, deadline=None)  # fmt: skip
def test_strict_json_is_read_as_it_is(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ([], 422, "an object with a list of records"),
        ({"x0": 1}, 422, "an object with a list of records"),
        ({"records": {}}, 422, "must be a list of objects"),
        ({"records": [1]}, 422, "must be a list of objects"),
        ({"records": []}, 422, "'records' is empty"),
        ({"records": [{}], "recordz": 1}, 422, "'recordz', which is not known"),
        ({"records": [{}] * 4}, 422, "there are 4 records, and at most 3"),
    ],
)
def test_a_request_of_another_form_is_refused(body: Any, status: int, words: str) -> None:
    with pytest.raises(Problem, match=words) as caught:
        records_of(body, 3)
    assert caught.value.status == status


def test_a_request_may_have_the_other_names_that_it_is_told_of() -> None:
    assert records_of({"records": [{"a": 1}], "top": 2}, 3, ("top",)) == [{"a": 1}]


def test_numbers_are_read_as_the_library_reads_them(predictor: Predictor) -> None:
    records = [{"x0": 1, "x1": -0.0, "x2": None}, {"x2": 1e100, "x1": 5e-324, "x0": -1e100}]
    expected = np.concatenate([row_inputs(record, predictor.schema.columns) for record in records])
    assert RecordReader(predictor.schema).inputs(records).tobytes() == expected.tobytes()


def test_columns_of_all_types_are_read_as_the_table_is(mixed: Predictor, visits: pl.DataFrame) -> None:
    records = [record_of(visits, row, mixed.schema.features) for row in range(len(visits))]
    X = RecordReader(mixed.schema).inputs(json.loads(json.dumps(records)))
    assert X.tobytes() == table_inputs(visits, mixed.schema.columns).tobytes()


@pytest.mark.parametrize(
    ("change", "column", "must"),
    [
        ({"size": SECRET}, "size", "a number or null"),
        ({"size": True}, "size", "a number or null"),
        ({"size": [1]}, "size", "a number or null"),
        ({"size": 1.1e100}, "size", "at most 1e100"),
        ({"size": 10**400}, "size", "at most 1e100"),
        ({"city": 1.5}, "city", "text or null"),
        ({"city": {"a": SECRET}}, "city", "text or null"),
        ({"city": SECRET * 10_000}, "city", "text of at most 100,000 characters"),
        ({"flag": SECRET}, "flag", "true, false or null"),
        ({"flag": 7}, "flag", "true, false or null"),
        ({"when": SECRET}, "when", "a date as text"),
        ({"when": 20240101}, "when", "a date as text"),
        ({"note": 5}, "note", "text or null"),
    ],
)
def test_a_cell_of_another_type_is_named_by_its_column_and_not_repeated(
    mixed: Predictor, visits: pl.DataFrame, change: dict[str, Any], column: str, must: str
) -> None:
    record = {**record_of(visits, 0, mixed.schema.features), **change}
    with pytest.raises(Problem, match=f"record 0: the column '{column}' must be .*{must}") as caught:
        RecordReader(mixed.schema).inputs([record])
    assert caught.value.status == 422
    assert [error["column"] for error in caught.value.errors] == [column]
    assert SECRET not in json.dumps(caught.value.to_dict())


def test_a_column_that_is_missing_or_unknown_is_named_with_the_nearest_one(predictor: Predictor) -> None:
    with pytest.raises(
        Problem, match=r"record 1: the column 'x2' is missing; a missing cell is null \(and at least 1 more\)"
    ):
        RecordReader(predictor.schema).inputs([dict.fromkeys(("x0", "x1", "x2"), 1), {"x0": 1, "x1": 2, "x22": 3}])
    with pytest.raises(Problem) as caught:
        RecordReader(predictor.schema).inputs([{"x0": 1, "x1": 2, "x2": 3, "x22": 3}])
    assert caught.value.errors[0]["detail"].startswith("there is no column 'x22' (did you mean 'x")


def test_keys_and_the_target_may_stand_in_a_record(model_file: Any) -> None:
    from tabcohort import load

    reader = RecordReader(load(model_file).schema)
    record = {"x0": 1, "x1": 2, "x2": 3}
    assert reader.inputs([{**record, "id": "p1", "answer": "yes"}]).tolist() == reader.inputs([record]).tolist()


def test_only_some_errors_are_named(predictor: Predictor) -> None:
    with pytest.raises(Problem) as caught:
        RecordReader(predictor.schema).inputs([{}] * 1_000)
    assert len(caught.value.errors) == MAX_ERRORS


@given(cells=st.lists(st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
                      | st.booleans() | st.lists(st.integers()) | st.dictionaries(st.text(), st.integers()),
                      min_size=8, max_size=8))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_json_is_read_or_refused(mixed: Predictor, cells: list[Any]) -> None:
    record = dict(zip(mixed.schema.features, cells, strict=False))
    try:
        X = RecordReader(mixed.schema).inputs([record])
    except Problem as problem:
        assert problem.status == 422  # noqa: PT017
    else:
        assert X.shape == (1, mixed.schema.n_numbers + len(mixed.schema.n_codes))


def test_the_schema_of_a_record_allows_a_row_and_no_other_columns(mixed: Predictor) -> None:
    schema = record_schema(mixed.schema)
    assert schema["required"] == list(mixed.schema.features)
    assert schema["additionalProperties"] is False
    assert schema["properties"]["size"]["type"] == ["number", "null"]
    assert set(schema["properties"]["city"]["examples"]) == {"Oslo", "Rome", "caf\u00e9"}
    assert schema["properties"]["flag"]["type"] == ["boolean", "null"]


def test_a_record_of_very_many_unknown_names_is_refused_at_once(predictor: Predictor) -> None:
    record = {f"name {number} " + "x" * 90: 1 for number in range(50_000)}
    with pytest.raises(Problem) as caught:
        RecordReader(predictor.schema).inputs([record])
    assert len(caught.value.errors) == MAX_ERRORS

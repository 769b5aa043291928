"""Answers are those of the library and the command line, and what is wrong is a problem document."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from asking import Server, record_of

from tabcohort import Predictor, save
from tabcohort.model.explain import explanation_facts
from tabcohort.reporting.prediction_files import csv_text
from tabcohort.server.prediction_log import LogPolicy, answer_facts, read_log
from tabcohort.server.problems import PROBLEM

RECORD = {"x0": 1.5, "x1": -2, "x2": None}


def test_a_record_is_answered_as_the_library_does(server: Server, predictor: Predictor) -> None:
    answer = server().post("/v1/models/two/predict", json={"records": [RECORD, {**RECORD, "x0": 900}]})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert (body["model"], body["version"]) == ("two", answer.headers["x-model-version"])
    with pytest.warns(UserWarning, match="missing|standard"):
        pass_through = [predictor.predict_row(record) for record in (RECORD, {**RECORD, "x0": 900})]
    assert body["predictions"] == [answer_facts(prediction) for prediction in pass_through]


def test_columns_of_all_types_are_answered_to_the_bit(server: Server, mixed: Predictor, visits: pl.DataFrame) -> None:
    records = [record_of(visits, row, mixed.schema.features) for row in range(len(visits))]
    body = server("mixed").post("/v1/models/mixed/predict", json={"records": records}).json()
    proba = np.array([list(own["probability"].values()) for own in body["predictions"]])
    assert proba.tobytes() == mixed.predict_proba(visits).tobytes()


def test_many_records_are_answered_like_few(server: Server, three_classes: Predictor) -> None:
    rng = np.random.default_rng(0)
    records = [dict(zip(("x0", "x1", "x2"), row, strict=True)) for row in rng.normal(size=(300, 3)).tolist()]
    client = server("three")
    whole = client.post("/v1/models/three/predict", json={"records": records}).json()["predictions"]
    parts = [
        own
        for start in range(0, 300, 100)
        for own in client.post("/v1/models/three/predict", json={"records": records[start : start + 100]}).json()[
            "predictions"
        ]
    ]
    assert whole == parts


def test_csv_is_answered_as_the_command_line_does(server: Server, mixed: Predictor, visits: pl.DataFrame) -> None:
    text = visits.write_csv()
    client = server("mixed")
    answer = client.post("/v1/models/mixed/predict", content=text, headers={"content-type": "text/csv; charset=utf-8"})
    frame = pl.read_csv(io.StringIO(text), infer_schema=False)
    numbers = [*mixed.probability_names(), "spread"]
    assert answer.text == csv_text(mixed.predict_frame(frame, frame.columns), numbers, is_terminal=False)
    packed = {"content-type": "text/csv", "content-encoding": "gzip"}
    assert (
        client.post("/v1/models/mixed/predict", content=gzip.compress(text.encode()), headers=packed).text
        == answer.text
    )


def test_a_table_of_many_pieces_is_one_answer(
    server: Server, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabcohort.server.inference_service.CHUNK_ROWS", 7)
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(rng.normal(size=(50, 3)), schema=["x0", "x1", "x2"])
    client = server()
    for media_type, accept in (("text/csv", "*/*"), ("text/csv", "application/vnd.apache.arrow.stream")):
        answer = client.post(
            "/v1/models/two/predict?columns=none", content=frame.write_csv(),
            headers={"content-type": media_type, "accept": accept},
        )  # fmt: skip
        own = (
            pl.read_csv(io.BytesIO(answer.content))
            if accept == "*/*"
            else pl.read_ipc_stream(io.BytesIO(answer.content))
        )
        assert own.columns == ["predicted", "probability no", "probability yes", "spread", "set", "warnings"]
        assert np.allclose(own["probability yes"].to_numpy(), predictor.predict_proba(frame)[:, 1], rtol=1e-5)
        assert len(own) == 50


@pytest.mark.parametrize("columns", ["x0", "x0,x2", "none", "all"])
def test_the_columns_beside_the_predictions_are_chosen(columns: str, server: Server) -> None:
    answer = server().post(
        f"/v1/models/two/predict?columns={columns}",
        content="x0,x1,x2,more\n1,2,3,z\n",
        headers={"content-type": "text/csv"},
    )
    names = {"none": [], "all": ["x0", "x1", "x2", "more"]}.get(columns, columns.split(","))
    assert answer.text.splitlines()[0].split(",")[: len(names) + 1] == [*names, "predicted"]


BAD = [
    (b"{", "application/json", 400), (b"[]", "application/json", 422),
    (b'{"records": [{"x0": NaN}]}', "application/json", 400),
    (b'{"records": [{"x0": "a"}]}', "application/json", 422), (b'{"records": []}', "application/json", 422),
    (b"x0\n1\n", "text/csv", 422), (b"", "text/csv", 400), (b"x0,x1,x2\n1,2\n", "text/csv", 400),
    (b"PAR1", "application/vnd.apache.parquet", 400),
    (b"{}", "text/plain", 415), (b"{}", "", 415), (b"<a>", "application/xml", 415),
]  # fmt: skip


@pytest.mark.parametrize(("body", "media_type", "status"), BAD)
def test_what_is_wrong_is_a_problem_document(body: bytes, media_type: str, status: int, server: Server) -> None:
    answer = server().post("/v1/models/two/predict", content=body, headers={"content-type": media_type})
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    document = answer.json()
    assert document["status"] == status
    assert document["detail"]


def test_bounds_of_rows_records_and_bytes_hold(server: Server) -> None:
    client = server(max_records=2, max_rows=2, max_body_bytes=200)
    for content, media_type in (
        (json.dumps({"records": [RECORD] * 3}), "application/json"), ("x0,x1,x2\n" + "1,2,3\n" * 3, "text/csv"),
        ("x" * 201, "text/csv"),
    ):  # fmt: skip
        answer = client.post("/v1/models/two/predict", content=content, headers={"content-type": media_type})
        assert answer.status_code == (422 if media_type == "application/json" else 413)


def test_explanations_are_those_of_the_library(server: Server, mixed: Predictor, visits: pl.DataFrame) -> None:
    record = record_of(visits, 2, mixed.schema.features)
    client = server("mixed", background=visits)
    answer = client.post("/v1/models/mixed/explain", json={"records": [record], "class": "well", "top": 3})
    (own,) = answer.json()["explanations"]
    expected = explanation_facts(mixed.explain(record, visits), "well")
    assert own == json.loads(json.dumps({**expected, "columns": expected["columns"][:3]}))
    (other,) = client.post("/v1/models/mixed/explain", json={"records": [record]}).json()["explanations"]
    assert other["class"] == "ill"
    assert len(other["columns"]) == len(mixed.schema.features)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"class": "dead"}, 422), ({"class": []}, 422), ({"class": 1}, 422), ({"class": True}, 422), ({"top": 0}, 422),
        ({"top": True}, 422), ({"top": "3"}, 422), ({"top": 1.5}, 422), ({"more": 1}, 422),
        ({"records": [RECORD] * 21}, 422), ({"top": 2.0}, 200), ({"class": None, "top": None}, 200),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_explanation_is_said(change: dict[str, Any], status: int, server: Server) -> None:
    background = pl.DataFrame({"x0": [1.0] * 12, "x1": [2.0] * 12, "x2": [float(i) for i in range(12)]})
    client = server(background=background)
    answer = client.post("/v1/models/two/explain", json={"records": [RECORD], **change})
    assert answer.status_code == status


def test_without_rows_to_compare_with_there_is_no_explanation(server: Server) -> None:
    answer = server().post("/v1/models/two/explain", json={"records": [RECORD]})
    assert answer.status_code == 409
    assert "--background TABLE" in answer.json()["detail"]


def test_a_model_in_shadow_is_compared_and_not_given(server: Server, files: Path, predictor: Predictor) -> None:
    other = predictor.with_decision_rule(0.01)
    save(other, files / "other.tabcohort")
    client = server(shadows={"two": files / "other.tabcohort"})
    body = client.post("/v1/models/two/predict", json={"records": [RECORD]}).json()
    assert body["predictions"][0]["label"] == predictor.predict_inputs(np.array([[1.5, -2, np.nan]]))[0].label
    text = client.get("/metrics").text
    assert 'tabcohort_shadow_rows_total{model="two"} 1.0' in text
    assert 'tabcohort_shadow_probability_difference_total{model="two"} 0.0' in text


def test_predictions_are_recorded_before_they_are_given(server: Server, tmp_path: Path) -> None:
    client = server(log=LogPolicy(tmp_path / "log"))
    answer = client.post("/v1/models/two/predict", json={"records": [RECORD]}, headers={"x-request-id": "r1"})
    (entry,) = read_log(tmp_path / "log")
    assert entry is not None
    assert entry["request"] == "r1"
    assert entry["answer"] == answer.json()["predictions"][0]
    assert entry["fingerprint"].startswith(answer.json()["version"])
    client.app.state.context.inference.log.close()  # type: ignore[attr-defined]
    answer = client.post("/v1/models/two/predict", json={"records": [RECORD]})
    assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
    assert "cannot be recorded" in answer.json()["detail"]
    answer = client.post("/v1/models/two/predict", content="x0,x1,x2\n1,2,3\n", headers={"content-type": "text/csv"})
    assert answer.status_code == 503


def test_explained_predictions_are_recorded_too(server: Server, tmp_path: Path) -> None:
    background = pl.DataFrame({"x0": [1.0] * 12, "x1": [2.0] * 12, "x2": [float(i) for i in range(12)]})
    client = server(log=LogPolicy(tmp_path / "log"), background=background)
    assert client.post("/v1/models/two/explain", json={"records": [RECORD], "class": "dead"}).status_code == 422
    answer = client.post("/v1/models/two/explain", json={"records": [RECORD], "class": "yes"})
    (entry,) = read_log(tmp_path / "log")
    assert entry is not None
    (own,) = answer.json()["explanations"]
    assert entry["answer"]["probability"]["yes"] == pytest.approx(own["output"]["probability"], rel=1e-9)


def test_rows_of_a_table_have_their_places_in_the_log_and_gaps_where_numbers_are_none(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tabcohort.server.inference_service.CHUNK_ROWS", 2)
    frame = pl.DataFrame({"x0": [1.0, float("nan"), 3.0, 4.0, 5.0], "x1": [0.0] * 5, "x2": [1.0] * 5})
    file = io.BytesIO()
    frame.write_parquet(file)
    client = server(log=LogPolicy(tmp_path / "log", keeps_records=True))
    headers = {"content-type": "application/vnd.apache.parquet"}
    assert client.post("/v1/models/two/predict", content=file.getvalue(), headers=headers).status_code == 200
    entries = [entry for entry in read_log(tmp_path / "log") if entry is not None]
    assert [entry["row"] for entry in entries] == [0, 1, 2, 3, 4]
    assert [entry["record"]["x0"] for entry in entries] == [1.0, None, 3.0, 4.0, 5.0]
    assert len({entry["request"] for entry in entries}) == 1


def test_a_shadow_model_that_fails_does_not_fail_the_request(
    server: Server, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = server(shadows={"two": files / "two.tabcohort"})
    shadow = client.app.state.context.inference.store.shadow_of("two")  # type: ignore[attr-defined]
    monkeypatch.setattr(shadow.predictor, "predict_inputs", lambda X: 1 / 0)
    assert client.post("/v1/models/two/predict", json={"records": [RECORD]}).status_code == 200
    assert 'tabcohort_shadow_errors_total{model="two"} 1.0' in client.get("/metrics").text


def test_a_query_parameter_that_there_is_not_is_named(server: Server) -> None:
    headers = {"content-type": "text/csv"}
    answer = server().post("/v1/models/two/predict?column=none", content="x0,x1,x2\n1,2,3\n", headers=headers)
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith("(did you mean 'columns'?); there is 'columns'")

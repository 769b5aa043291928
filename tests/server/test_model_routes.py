"""Models are described, and the server says how it is."""

from __future__ import annotations

from asking import Server

from tabcohort import Predictor

RECORD = {"x0": 1.5, "x1": -2, "x2": None}


def test_models_are_described(server: Server, mixed: Predictor) -> None:
    client = server("two", "mixed")
    assert [own["name"] for own in client.get("/v1/models").json()["models"]] == ["two", "mixed"]
    body = client.get("/v1/models/mixed").json()
    assert body["classes"] == ["ill", "well"]
    assert body["quality"]["metrics"]["accuracy"]["value"] == mixed.report.evaluation.metrics["accuracy"].value
    assert body["card"].startswith("---")
    answer = client.post("/v1/models/mixed/predict", json={"records": [body["example"]]})
    assert answer.status_code == 200
    page = client.get("/v1/models/two/report")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "Content-Security-Policy" in page.text


def test_counts_are_given_to_prometheus(server: Server) -> None:
    client = server()
    client.post("/v1/models/two/predict", json={"records": [RECORD] * 2})
    client.get("/nothing/4711")
    text = client.get("/metrics").text
    assert 'tabcohort_requests_total{route="/v1/models/{name}/predict",status="200"} 1.0' in text
    assert 'tabcohort_requests_total{route="unknown",status="404"} 1.0' in text
    assert "4711" not in text
    assert (
        sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("tabcohort_predictions_total")) == 2
    )

"""Addresses that there are not, and models that are replaced while the application runs."""

from __future__ import annotations

import shutil
from pathlib import Path

from asking import Server

from tabcohort import Predictor, save
from tabcohort.server.problems import PROBLEM

RECORD = {"x0": 1.5, "x1": -2, "x2": None}


def test_addresses_that_there_are_not_and_methods_that_they_do_not_have(server: Server) -> None:
    client = server()
    for method, path, status in (
        ("GET", "/v1/nothing", 404), ("GET", "/v1/models/other", 404), ("POST", "/v1/models/other/predict", 404),
        ("GET", "/v1/models/two/predict", 405), ("DELETE", "/v1/models", 405), ("GET", "/v1/models/", 404),
        ("GET", "/static/other.js", 404), ("GET", "/static/..%2fapp.py", 404),
    ):  # fmt: skip
        answer = client.request(method, path, json={"records": [RECORD]})
        assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), (method, path)
        assert ("allow" in answer.headers) == (status == 405)
        assert status != 405 or answer.json()["detail"] == f"this endpoint supports {answer.headers['allow']} only"


def test_a_changed_file_is_served_soon(server: Server, files: Path, predictor: Predictor, tmp_path: Path) -> None:
    import asyncio
    import os

    from tabcohort.server.app import reload

    path = files / "changing.tabcohort"
    shutil.copy(files / "two.tabcohort", path)
    client = server("changing")
    before = client.get("/readyz").json()["models"]["changing"]
    save(predictor.with_decision_rule(0.2), path)
    os.utime(path, ns=(1, 1))
    asyncio.run(reload(client.app.state.context))  # type: ignore[attr-defined]
    after = client.get("/readyz").json()["models"]["changing"]
    assert after != before
    answer = client.post("/v1/models/changing/predict", json={"records": [RECORD]})
    assert answer.json()["version"] == answer.headers["x-model-version"] == after
    assert 'tabcohort_model_reloads_total{model="changing",result="replaced"} 1.0' in client.get("/metrics").text

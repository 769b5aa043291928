from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import patients
import pytest
from fhir.resources.R4B.operationoutcome import OperationOutcome
from helpers import fit_quickly, make_small_table
from patients import BASE, full_bundle, mapping, model_folder, predicted, start
from starlette.testclient import TestClient
from test_cds_hooks import request

from tabcohort import SettingsError, save
from tabcohort.cli.main import main
from tabcohort.server.app import create_app
from tabcohort.server.medical.fhir_mapping import require_mapping
from tabcohort.server.model_store import ModelStore
from tabcohort.server.options import ServerOptions
from tabcohort.server.prediction_log import LogError, LogPolicy, PredictionLog, answer_facts

FHIR_JSON = "application/fhir+json"


def evaluate(client: TestClient, content: Any, media_type: str = FHIR_JSON, **headers: str) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return client.post("/fhir/$evaluate", content=body, headers={"content-type": media_type, **headers})


@pytest.mark.parametrize(
    "media_type",
    [
        FHIR_JSON,
        "application/json",
        "application/fhir+json; charset=utf-8; fhirVersion=4.0",
        'Application/FHIR+JSON;fhirVersion="4.0"',
    ],
)
def test_media_types_of_json_are_taken(media_type: str) -> None:
    assert evaluate(patients.client(), full_bundle(), media_type).status_code == 200


@pytest.mark.parametrize(
    ("content", "media_type", "status", "code"),
    [
        (full_bundle(), "application/fhir+xml", 415, "not-supported"),
        (full_bundle(), "text/plain", 415, "not-supported"),
        (full_bundle(), "application/fhir+json; fhirVersion=5.0", 415, "not-supported"),
        (b"{", FHIR_JSON, 400, "structure"), (b"", FHIR_JSON, 400, "structure"), (b"\xff", FHIR_JSON, 400, "structure"),
        (b'{"a": NaN}', FHIR_JSON, 400, "structure"), (b'{"a": 1, "a": 2}', FHIR_JSON, 400, "structure"),
        (b"[" * 100_000, FHIR_JSON, 400, "structure"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_gets_an_operation_outcome(content: Any, media_type: str, status: int, code: str) -> None:
    answer = evaluate(patients.client(), content, media_type)
    assert (answer.status_code, answer.headers["content-type"]) == (status, FHIR_JSON)
    OperationOutcome.model_validate(answer.json())
    assert answer.json()["issue"][0]["code"] == code


def test_a_body_may_be_packed() -> None:
    body = gzip.compress(json.dumps(full_bundle()).encode())
    assert evaluate(patients.client(), body, **{"content-encoding": "gzip"}).status_code == 200
    damaged = evaluate(patients.client(), body[:-9], **{"content-encoding": "gzip"})
    assert (damaged.status_code, damaged.json()["resourceType"]) == (400, "OperationOutcome")


def test_a_body_that_is_too_large_gets_an_operation_outcome() -> None:
    answer = evaluate(start(max_body_bytes=1_000), full_bundle())
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (413, "too-long")


def test_predictions_are_recorded_and_counted_like_others(tmp_path: Path) -> None:
    client = start(log=LogPolicy(tmp_path / "log", True, "always"))
    answer = evaluate(client, full_bundle(), **{"x-request-id": "r7"})
    hook = client.post("/cds-services/sepsis", json=request(), headers={"x-request-id": "r8"})
    assert (answer.status_code, hook.status_code) == (200, 200)
    lines = [line for path in sorted((tmp_path / "log").rglob("*.jsonl")) for line in path.read_text().splitlines()]
    entries = [own for own in map(json.loads, lines) if "record" in own]
    assert [own["request"] for own in entries] == ["r7", "r8"]
    assert all(own["record"] == BASE for own in entries)
    assert all(own["answer"] == answer_facts(predicted(BASE)) for own in entries)
    text = client.get("/metrics").text
    assert 'model="sepsis"' in text
    assert '"/fhir/$evaluate"' in text


def test_a_prediction_that_cannot_be_recorded_is_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise LogError("the disk is full")

    monkeypatch.setattr(PredictionLog, "append", fail)
    answer = evaluate(start(log=LogPolicy(tmp_path / "log")), full_bundle())
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (503, "transient")
    assert "cannot be recorded, and so is not given" in answer.json()["issue"][0]["diagnostics"]


def test_a_key_is_needed_as_everywhere() -> None:
    client = start(keys=("a-long-enough-key",))
    assert evaluate(client, full_bundle()).status_code == 401
    assert client.get("/cds-services").status_code == 401
    assert evaluate(client, full_bundle(), authorization="Bearer a-long-enough-key").status_code == 200


def test_without_a_mapping_there_are_no_such_addresses() -> None:
    store = ModelStore({"sepsis": model_folder() / "sepsis.tabcohort"})
    client = TestClient(create_app(store, ServerOptions(reload_interval_seconds=0.0)), base_url="http://localhost")
    assert evaluate(client, full_bundle()).status_code == 404
    assert client.get("/cds-services").status_code == 404


def test_other_methods_are_refused() -> None:
    assert patients.client().get("/fhir/$evaluate").status_code == 405


def test_a_mapping_for_another_model_is_refused() -> None:
    store = ModelStore({"sepsis": model_folder() / "sepsis.tabcohort"})
    require_mapping(mapping(), store)
    with pytest.raises(SettingsError, match=r"mapping\.toml: there is no model 'other'; there are 'sepsis'"):
        require_mapping(replace(mapping(), model="other"), store)
    with pytest.raises(SettingsError, match="of the model is not mapped"):
        start(replace(mapping(), columns=mapping().columns[:3]))


def test_a_model_with_other_columns_does_not_replace_the_one_that_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "sepsis.tabcohort"
    shutil.copy(model_folder() / "sepsis.tabcohort", path)
    store = ModelStore({"sepsis": path})
    app = create_app(store, ServerOptions(reload_interval_seconds=0.0), None, mapping())
    client = TestClient(app, base_url="http://localhost")
    assert evaluate(client, full_bundle()).status_code == 200
    save(fit_quickly(make_small_table(), model="logistic"), path)
    (kept,) = store.reload()
    assert not kept.is_replaced
    assert "mapping.toml: the column" in kept.message
    assert evaluate(client, full_bundle()).status_code == 200


# -- the command -----------------------------------------------------------------------------------------------------


def serve(*options: Any) -> tuple[int, list[Any]]:
    """Return the exit status of `serve`, and the plans that would have been served."""
    plans: list[Any] = []

    def keep(plan: Any, listening: Any, on_ready: Any) -> int:
        listening.close()
        plans.append(plan)
        return 0

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr("tabcohort.server.processes.serve", keep)
        model = f"sepsis={model_folder() / 'sepsis.tabcohort'}"
        return main(["serve", model, "--port", "0", *map(str, options)]), plans


def test_the_command_serves_a_mapping() -> None:
    status, plans = serve("--fhir-mapping", model_folder() / "mapping.toml")
    assert status == 0
    assert plans[0].mapping == mapping()
    assert serve()[1][0].mapping is None


def test_the_command_refuses_a_mapping_for_another_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mapping.toml"
    path.write_text(patients.MAPPING.replace('model = "sepsis"', 'model = "other"'), encoding="utf-8")
    assert serve("--fhir-mapping", path) == (2, [])
    assert "there is no model 'other'; there are 'sepsis'" in capsys.readouterr().err


def test_reading_a_mapping_does_not_import_what_counts_requests() -> None:
    """It reads its environment when it is imported, which several processes change before."""
    code = (
        "import sys; from tabcohort.server.medical.fhir_mapping import require_mapping, read_mapping; "
        f"read_mapping({str(model_folder() / 'mapping.toml')!r}); "
        "assert not {'prometheus_client', 'fhir'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_addresses_are_in_the_openapi_document() -> None:
    client = start()
    document = client.get("/openapi.json").json()
    served = {route.path for route in client.app.routes}  # type: ignore[attr-defined]
    medical = {path for path in served if path.startswith(("/fhir", "/cds-services"))}
    assert medical == {path for path in document["paths"] if path.startswith(("/fhir", "/cds-services"))}
    assert "/fhir/$evaluate" in client.get("/docs").text

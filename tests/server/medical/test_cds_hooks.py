from __future__ import annotations

import re
import uuid
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import patients
import pytest
from patients import BASE, full_bundle, glucose, mapping, observations, patient, predicted
from test_fhir import assessment_of, prediction_of

from tabcohort.server.medical.cds_hooks import card, discovery, prefetch_templates, read_request
from tabcohort.server.medical.fhir_reading import Gap
from tabcohort.server.problems import Problem

HOOK = {
    "hook": "patient-view", "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
    "context": {"userId": "Practitioner/example", "patientId": patients.PATIENT_ID},
}  # fmt: skip
SCREEN = "https://tables.example/models/sepsis"


def searchset(*more: Any, **changes: Any) -> dict[str, Any]:
    """Return what a FHIR server answers to the search of observations."""
    return {**patients.bundle(*observations(**changes).values(), *more), "type": "searchset"}


def request(**changes: Any) -> dict[str, Any]:
    """Return a request; changes are made to what is prefetched."""
    return {**HOOK, "prefetch": {"patient": patient(), "observations": searchset(), **changes}}


# -- discovery -------------------------------------------------------------------------------------------------------


def test_the_service_is_described_as_the_specification_asks() -> None:
    (service,) = discovery(mapping())["services"]
    assert (service["hook"], service["id"], service["title"]) == ("patient-view", "sepsis", "Sepsis within a day")
    assert "not a medical device" in service["description"]
    assert service["prefetch"] == prefetch_templates(mapping())
    assert all(service.values())  # nothing may be null or empty


def test_prefetch_templates_are_simple_searches_for_the_codes_of_the_mapping() -> None:
    templates = prefetch_templates(mapping())
    assert templates["patient"] == "Patient/{{context.patientId}}"
    parts = urlsplit(templates["observations"])
    query = parse_qs(parts.query)
    assert (parts.path, list(query)) == ("Observation", ["patient", "code"])
    assert query["patient"] == ["{{context.patientId}}"]
    assert query["code"][0].split(",") == [f"{system}|{code}" for system, code in mapping().by_code]
    assert "http://loinc.org|2345-7" in query["code"][0]


# -- requests --------------------------------------------------------------------------------------------------------


def test_a_request_holds_the_record_of_its_patient() -> None:
    evidence = read_request(request(), mapping())
    assert evidence is not None
    assert evidence.record == BASE


def test_prefetched_data_that_is_null_is_data_that_there_is_not() -> None:
    assert read_request(request(observations=None), mapping()) is None
    assert read_request(request(observations={**searchset(), "entry": []}), mapping()) is None


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ([], "must be a JSON object"), ({"hook": "order-sign"}, "'hook' must be 'patient-view'"),
        ({"hook": None}, "'hook' must be"), ({"hookInstance": "7"}, "'hookInstance' must be a UUID"),
        ({"hookInstance": None}, "'hookInstance' must be a UUID"), ({"context": []}, "must be objects"),
        ({"context": None}, "must be objects"), ({"prefetch": []}, "must be objects"),
        ({"context": {"patientId": "p1"}}, "'context.userId' must be text"),
        ({"context": {"userId": "u", "patientId": 7}}, "'context.patientId' must be text"),
        ({"context": {"userId": "u", "patientId": ""}}, "'context.patientId' must be text"),
        ({"context": {"userId": "u", "patientId": "p2"}}, "must be the Patient of 'context.patientId'"),
        ({"prefetch": {"patient": [], "observations": None}}, "'prefetch.patient' must be a Patient"),
        ({"prefetch": {"patient": glucose(), "observations": None}}, "'prefetch.patient' must be a Patient"),
    ],
)  # fmt: skip
def test_what_is_no_request_of_the_hook_is_refused(change: Any, detail: str) -> None:
    body = {**request(), **change} if isinstance(change, dict) else change
    with pytest.raises(Problem, match=detail) as raised:
        read_request(body, mapping())
    assert raised.value.status == 400


@pytest.mark.parametrize(
    "prefetch",
    [
        {}, {"patient": patient()}, {"observations": searchset()}, {"patient": None, "observations": searchset()},
        {"patient": patient(), "observations": {"resourceType": "OperationOutcome", "issue": []}},
        {"patient": patient(), "observations": {**searchset(), "link": [{"relation": "next", "url": "u"}]}},
    ],
)  # fmt: skip
def test_prefetched_data_that_is_missing_is_a_failed_precondition(prefetch: Any) -> None:
    with pytest.raises(
        Problem, match="this service never calls a FHIR server: satisfy its prefetch templates"
    ) as raised:
        read_request({**HOOK, "prefetch": prefetch}, mapping())
    assert raised.value.status == 412


def test_a_request_without_prefetched_data_is_a_failed_precondition() -> None:
    with pytest.raises(Problem) as raised:
        read_request({**HOOK, "fhirServer": "https://ehr.example/fhir"}, mapping())
    assert raised.value.status == 412


@pytest.mark.parametrize(
    ("resources", "status", "expression"),
    [
        (searchset(glucose("g2", 140.0)), 422, "prefetch.observations.entry[0].resource"),
        (searchset(glucose=glucose(status="x")), 400, "prefetch.observations.entry[0].resource.status"),
        ([], 400, "prefetch.observations"),
    ],
)
def test_what_is_wrong_with_a_resource_is_a_problem_document(resources: Any, status: int, expression: str) -> None:
    with pytest.raises(Problem) as raised:
        read_request(request(observations=resources), mapping())
    assert type(raised.value) is Problem
    assert raised.value.status == status
    assert raised.value.errors[0]["expressions"][0] == expression


# -- cards -----------------------------------------------------------------------------------------------------------


def test_a_card_has_what_the_specification_asks_for() -> None:
    identity = str(uuid.uuid4())
    own = card(assessment_of(prediction_of("yes", ("yes",))), identity, SCREEN)
    assert own["summary"] == "Sepsis within a day: Sepsis, probability 93.0 %; not a medical device"
    assert (own["uuid"], own["indicator"]) == (identity, "info")
    assert own["source"] == {"label": "tabcohort model sepsis, version 0123456789ab; not a medical device"}
    assert own["links"] == [{"label": "Open the model sepsis", "url": SCREEN, "type": "absolute"}]
    assert own["detail"].startswith("**This is not a medical device.")
    assert "| Sepsis | 93.0 % |\n| No sepsis | 7.0 % |" in own["detail"]


@pytest.mark.parametrize(
    ("classes", "evidence", "warnings"),
    [
        (("no", "yes"), {}, ""), ((), {}, ""), (("yes",), {"missing": (Gap("age", "no birthDate"),)}, ""),
        (("yes",), {}, "glucose is unusual"),
    ],
)  # fmt: skip
def test_a_card_warns_of_an_abstention_of_missing_cells_and_of_what_is_unusual(
    classes: tuple[str, ...], evidence: dict[str, Any], warnings: str
) -> None:  # fmt: skip
    own = card(assessment_of(prediction_of("yes", classes, warnings=warnings), **evidence), "u", SCREEN)
    assert own["indicator"] == "warning"
    assert ("the model abstains" in own["summary"]) is (classes != ("yes",))
    for text in (*(gap.column for gap in evidence.get("missing", ())), warnings):
        assert text in own["detail"]


def test_a_summary_has_fewer_than_140_characters_and_keeps_the_disclaimer() -> None:
    own = replace(assessment_of(prediction_of("yes", ("yes",))), mapping=replace(mapping(), title="a" * 200))
    summary = card(own, "u", SCREEN)["summary"]
    assert len(summary) == 139
    assert summary.endswith("…; not a medical device")


def test_names_are_no_markdown() -> None:
    gaps = (Gap("[a](javascript:b) | <i>_c_</i>", "x"),)
    detail = card(assessment_of(prediction_of("yes", ("yes",)), missing=gaps), "u", SCREEN)["detail"]
    assert r"\[a\]\(javascript:b\) \| \<i\>\_c\_\</i\>" in detail


# -- over HTTP -------------------------------------------------------------------------------------------------------


def test_the_service_answers_with_the_prediction() -> None:
    client = patients.client()
    assert client.get("/cds-services").json() == discovery(mapping())
    answer = client.post("/cds-services/sepsis", json=request())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    (own,) = answer.json()["cards"]
    expected = predicted(BASE)
    shares = dict(re.findall(r"\| (\w+(?: \w+)?) \| ([\w. ]+) % \|", own["detail"]))
    assert (
        shares[{"no": "No sepsis", "yes": "Sepsis"}[expected.label]]
        == f"{100 * expected.probability[expected.label]:.1f}"
    )
    assert own["links"][0]["url"] == "http://localhost/models/sepsis"
    assert uuid.UUID(own["uuid"])
    assert client.get("/models/sepsis").status_code == 200


def test_without_a_value_there_are_no_cards() -> None:
    answer = patients.client().post("/cds-services/sepsis", json=request(observations=None))
    assert (answer.status_code, answer.json()) == (200, {"cards": []})


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/cds-services/other", HOOK, 404), ("/cds-services/sepsis", HOOK, 412), ("/cds-services/sepsis", [], 400),
        ("/cds-services/sepsis", {**request(), "hook": "x"}, 400),
    ],
)  # fmt: skip
def test_errors_are_problem_documents(path: str, body: Any, status: int) -> None:
    answer = patients.client().post(path, json=body)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"


def test_no_bundle_of_evaluate_is_a_request_of_the_hook() -> None:
    assert patients.client().post("/cds-services/sepsis", json=full_bundle()).status_code == 400

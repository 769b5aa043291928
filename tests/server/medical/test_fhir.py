"""The figure of the answers: each of the well-formed and malformed Bundles, sent to the server."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import patients
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.operationoutcome import OperationOutcome
from fhir.resources.R4B.riskassessment import RiskAssessment
from patients import full_bundle, glucose, mapping, observation, observations, predicted, predictor

from tabcohort import Prediction
from tabcohort.server.medical.fhir import DISCLAIMER, Assessment, percent, risk_assessment
from tabcohort.server.medical.fhir_reading import Evidence, Gap

WELL_FORMED, MALFORMED = list(patients.well_formed()), list(patients.malformed())
OUTCOMES = {"no": "No sepsis", "yes": "Sepsis"}


def send(body: Any, **headers: str) -> Any:
    """Return the answer to a Bundle."""
    own = {"content-type": "application/fhir+json", "x-request-id": "r1", **headers}
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return patients.client().post("/fhir/$evaluate", content=text, headers=own)


def assessment_of(prediction: Prediction, **evidence: Any) -> Assessment:
    """Return an assessment of a prediction."""
    own = Evidence(**{"record": {}, "patient": "Patient/p1", "basis": ("Observation/a",), **evidence})
    return Assessment(own, prediction, mapping(), "0123456789ab", 0.9)


def prediction_of(label: str, classes: tuple[str, ...], share: float = 0.93, warnings: str = "") -> Prediction:
    other = "no" if label == "yes" else "yes"
    return Prediction(label, {label: share, other: 1 - share}, 0.01, classes, warnings)


def resource_of(assessment: Assessment) -> dict[str, Any]:
    resource = risk_assessment(assessment, "r1", datetime(2024, 3, 2, 8, 0, 1, tzinfo=UTC))
    RiskAssessment.model_validate(resource)
    return resource


@pytest.mark.parametrize(("bundle", "record"), [own[1:] for own in WELL_FORMED], ids=[own[0] for own in WELL_FORMED])
def test_a_well_formed_bundle_gets_the_prediction_of_its_record_to_the_bit(
    bundle: dict[str, Any], record: dict[str, Any]
) -> None:  # fmt: skip
    answer = send(bundle)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fhir+json"
    resource = answer.json()
    RiskAssessment.model_validate(resource)
    expected = predicted(record)
    given = {own["outcome"]["text"]: own["probabilityDecimal"] for own in resource["prediction"]}
    assert given == {OUTCOMES[label]: share for label, share in expected.probability.items()}
    assert all(0 <= share <= 1 for share in given.values())
    codes = {own["outcome"]["text"]: own["qualitativeRisk"]["coding"][0]["code"] for own in resource["prediction"]}
    if expected.classes == (expected.label,):
        assert codes == {
            text: "predicted" if label == expected.label else "not-predicted" for label, text in OUTCOMES.items()
        }
    else:
        assert set(codes.values()) == {"abstains"}
    missing = sum(cell is None for cell in record.values())
    assert ("Missing: " in answer.text) == (missing > 0)


@pytest.mark.parametrize(
    ("bundle", "status", "code", "expression"), [own[1:] for own in MALFORMED], ids=[own[0] for own in MALFORMED]
)
def test_a_malformed_bundle_gets_an_operation_outcome(bundle: Any, status: int, code: str, expression: str) -> None:
    answer = send(bundle)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/fhir+json"
    OperationOutcome.model_validate(answer.json())
    issue = answer.json()["issue"][0]
    assert (issue["severity"], issue["code"], issue["expression"][0]) == ("error", code, expression)
    assert len(issue["diagnostics"]) > 10


SECRETS = ("110.5", "1960-05-17", "17.5.1960", "Jane Doe", "p11", "p2", "yesterday", "g2", "fasting")


@pytest.mark.parametrize("bundle", [own[1] for own in MALFORMED], ids=[own[0] for own in MALFORMED])
def test_no_error_repeats_a_value_of_the_patient(bundle: Any) -> None:
    text = send(bundle).text
    assert [secret for secret in SECRETS if secret in text] == []


def test_the_well_formed_bundles_are_valid_resources() -> None:
    for _, bundle, _ in WELL_FORMED:
        Bundle.model_validate(bundle)


def test_the_basis_is_the_observations_that_are_used() -> None:
    resource = send(full_bundle(glucose("old", 99.0, effectiveDateTime="2023"), smoker=None)).json()
    names = ("glucose", "temperature", "leukocytes", "systolic", "score", "pregnant")
    assert resource["basis"] == [{"reference": f"Observation/{name}"} for name in names]
    assert resource["subject"] == {"reference": "Patient/p1"}


def test_the_method_names_the_model_and_its_version() -> None:
    answer = send(full_bundle())
    version = answer.headers["x-model-version"]
    assert answer.json()["method"] == {"text": f"tabcohort model sepsis, version {version}"}
    assert answer.json()["identifier"][0]["value"] == answer.headers["x-request-id"] == "r1"
    assert answer.json()["status"] == "final"


def test_several_issues_are_all_named_up_to_a_number() -> None:
    bad = [observation(f"o{place}", patients.GLUCOSE, valueString="x") for place in range(30)]
    issues = send(full_bundle(*bad)).json()["issue"]
    assert len(issues) == 20
    assert len({issue["expression"][0] for issue in issues}) == 20


def test_a_person_reads_that_it_is_not_a_medical_device() -> None:
    resource = send(full_bundle(smoker=None)).json()
    assert resource["note"][0]["text"] == DISCLAIMER
    assert DISCLAIMER.startswith("This is not a medical device.")
    assert all(DISCLAIMER in own["rationale"] for own in resource["prediction"])
    text = "".join(ElementTree.fromstring(resource["text"]["div"]).itertext())
    assert DISCLAIMER in text
    assert "Missing: smoker (there is no Observation that can be used)." in text


def test_the_narrative_is_xhtml_also_where_names_have_signs_of_it() -> None:
    gaps = (Gap("<b>&\x1b", "it is < 3"),)
    resource = resource_of(assessment_of(prediction_of("yes", ("yes",)), missing=gaps))
    text = "".join(ElementTree.fromstring(resource["text"]["div"]).itertext())
    assert r"<b>&\x1b (it is < 3)" in text


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        (("no", "yes"), "The model abstains: its 90% prediction set holds No sepsis and Sepsis."),
        ((), "The model abstains: its 90% prediction set is empty."),
        (("no",), "The model abstains: its 90% prediction set holds No sepsis."),  # the threshold says yes
    ],
)
def test_an_abstention_is_said_of_every_outcome(classes: tuple[str, ...], text: str) -> None:
    resource = resource_of(assessment_of(prediction_of("yes", classes)))
    risks = [own["qualitativeRisk"] for own in resource["prediction"]]
    assert risks == [{"coding": [{"system": "urn:tabcohort:prediction-set", "code": "abstains"}], "text": text}] * 2


def test_a_single_class_is_the_predicted_one() -> None:
    resource = resource_of(assessment_of(prediction_of("yes", ("yes",)), not_used=(Gap("glucose", "preliminary"),)))
    first, second = resource["prediction"]
    assert first["outcome"] == mapping().outcomes["yes"]
    assert first["outcome"]["coding"][0]["display"] == "Sepsis (disorder)"
    assert first["qualitativeRisk"]["coding"][0]["code"] == "predicted"
    assert first["qualitativeRisk"]["text"] == "Predicted: Sepsis (the only outcome in the 90% prediction set)."
    assert second["qualitativeRisk"]["coding"][0]["code"] == "not-predicted"
    assert "Observations that were not used, by status: glucose (preliminary)." in resource["note"][1]["text"]


def test_what_is_unusual_is_noted() -> None:
    resource = resource_of(assessment_of(prediction_of("yes", ("yes",), warnings="glucose is far from all")))
    assert resource["note"][-1]["text"] == "Unusual: glucose is far from all."


def test_probabilities_are_written_as_the_mapping_says() -> None:
    own = replace(assessment_of(prediction_of("yes", ("yes",))), mapping=replace(mapping(), probability="percent"))
    assert [each["probabilityDecimal"] for each in resource_of(own)["prediction"]] == [93.0, 100 * (1 - 0.93)]


@pytest.mark.parametrize("share", [1.0000001, -0.1, float("nan")])
def test_a_probability_out_of_range_is_never_sent(share: float) -> None:
    prediction = Prediction("yes", {"yes": share, "no": 0.5}, 0.0, ("yes",))
    with pytest.raises(ValueError, match=r"not in \[0, 1\]"):
        resource_of(assessment_of(prediction))


def test_percentages_are_read_easily_and_never_say_certain_of_what_is_not() -> None:
    shares = (0.0, 1e-9, 0.001, 0.5, 0.999, 0.9999, 1.0)
    assert list(map(percent, shares)) == [
        "0.0 %", "less than 0.1 %", "0.1 %", "50.0 %", "99.9 %", "more than 99.9 %", "100.0 %",
    ]  # fmt: skip


def test_the_model_of_the_tests_has_all_kinds_of_columns() -> None:
    assert {column.kind for column in predictor().schema.columns} >= {"number", "category", "boolean"}
    assert set(observations()) < set(predictor().schema.features)
